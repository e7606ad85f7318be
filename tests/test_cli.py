from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import resource
import shlex
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kineograph import __version__, cli
from kineograph.errors import KineographError, RequestError, WeightsError
from kineograph.presets import NANO, PRESETS
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.sidecar import Sidecar, sidecar_path, write_sidecar


@dataclass(frozen=True)
class Event:
    stage: str
    done: int = 0
    total: int = 0
    message: str | None = None


@dataclass(frozen=True)
class Artifact:
    path: Path
    sidecar: Path
    timings: dict[str, float]


class FakeProduce(ModuleType):
    """Stands in for kineograph.produce: records the call, then does as it is told."""

    def __init__(self):
        super().__init__("kineograph.produce")
        self.calls: list[GenerationRequest] = []
        self.settings: dict[str, bool] = {}
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.weights = {"dit.safetensors": "ab"}

    def run(self, request, *, resume=False, preview=False, options=None, on_event=None):
        self.calls.append(request)
        self.settings = {"resume": resume, "preview": preview}
        for event in self.events:
            on_event(event)
        if self.error is not None:
            raise self.error
        resolved = resolve(request, NANO)
        sidecar = sidecar_path(resolved)
        write_sidecar(sidecar, Sidecar(resolved, {}, self.weights, []))
        return [Artifact(Path(resolved.output), sidecar, {"denoise": 1.5, "decode": 0.25})]


@pytest.fixture
def fake(monkeypatch, tmp_path):
    module = FakeProduce()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    return module


def stub(monkeypatch, name: str, **functions: object) -> None:
    """Put a module of these functions in the place of one that imports much."""
    module = ModuleType(name)
    module.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_every_flag_of_generate_reaches_the_request(fake, capsys):
    words = shlex.split(
        "generate 'a red ball' --model nano --aspect-ratio 4:3 --duration 0.5 --num-frames 5 "
        "--fps 10 --seed 3 --steps 9 --guidance-scale 2.5 --solver heun --shift 2 "
        "--negative-prompt fog --image a.png --count 1 --format gif -o x.gif --resume --preview"
    )
    assert cli.main(words) == 0
    assert fake.calls == [
        GenerationRequest(
            "a red ball",
            model="nano",
            aspect_ratio="4:3",
            duration=0.5,
            num_frames=5,
            fps=10,
            seed=3,
            steps=9,
            guidance_scale=2.5,
            solver="heun",
            shift=2.0,
            negative_prompt="fog",
            image="a.png",
            count=1,
            format="gif",
            output="x.gif",
        )
    ]
    assert fake.settings == {"resume": True, "preview": True}
    said = capsys.readouterr()
    assert said.out == "x.gif\n"
    assert said.err == "kineo: denoise 1.50 s, decode 0.25 s\n"


def test_every_way_in_reaches_the_request(fake):
    for line, given in (
        ("--keyframe a.png@0.5 --keyframe b.png@1.5", {"keyframes": ("a.png@0.5", "b.png@1.5")}),
        ("--last-image a.png --before b.mp4", {"last_image": "a.png", "before": "b.mp4"}),
        ("--image a.png --after b.mp4", {"image": "a.png", "after": "b.mp4"}),
        ("--loop", {"loop": True}),
        ("--video a.mp4 --strength 0.3", {"video": "a.mp4", "strength": 0.3}),
    ):
        assert cli.main(["generate", "a red ball", *line.split()]) == 0
        assert fake.calls[-1] == GenerationRequest("a red ball", **given)
    fake.error = RequestError("the fake knows nano alone")
    words = "--model small --camera pan=-7,zoom=0.1 --motion-speed 2"
    cli.main(["generate", "a red ball", *words.split()])
    assert fake.calls[-1] == GenerationRequest(
        "a red ball", model="small", camera="pan=-7,zoom=0.1", motion_speed=2.0
    )


def test_keyframes_beside_a_sidecar_take_the_place_of_those_recorded(fake):
    words = ["generate", "a red ball", "--keyframe", "a.png@1", "-o", "ball.mp4"]
    assert cli.main(words) == 0
    assert cli.main(["generate", "--from", "ball.json"]) == 0
    assert fake.calls[1].keyframes == ("a.png@1",)
    assert cli.main(["generate", "--from", "ball.json", "--keyframe", "b.png@2"]) == 0
    assert fake.calls[2].keyframes == ("b.png@2",)


def test_a_bare_prompt_leaves_everything_else_open(fake):
    assert cli.main(["generate", "a red ball"]) == 0
    assert fake.calls == [GenerationRequest("a red ball")]
    assert fake.settings == {"resume": False, "preview": False}


def test_warnings_and_messages_are_lines_on_stderr(fake, capsys):
    fake.events = [
        Event("warning", message="the model does not know 'dragon'"),
        Event("denoise", 0, 24),
        Event("denoise", 24, 24, "done"),
    ]
    assert cli.main(["generate", "a dragon"]) == 0
    assert capsys.readouterr().err.splitlines()[:2] == [
        "kineo: warning: the model does not know 'dragon'",
        "kineo: done",
    ]


def test_from_makes_a_recorded_clip_again_and_flags_overrule_it(fake, capsys, tmp_path):
    assert cli.main(["generate", "a red ball", "--seed", "5", "-o", "ball.mp4"]) == 0
    first = fake.calls[0]
    assert cli.main(["generate", "--from", "ball.json"]) == 0
    again = resolve(fake.calls[1], NANO)
    assert again == replace(resolve(first, NANO), output="ball-again.mp4")
    assert "weights" not in capsys.readouterr().err

    fake.weights = {"dit.safetensors": "cd"}
    assert cli.main(["generate", "--from", "ball.json", "--seed", "6", "-o", "other.gif"]) == 0
    assert (fake.calls[2].seed, fake.calls[2].output) == (6, "other.gif")
    assert "warning: the weights are not those of ball.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RequestError("fps 3 cannot be made"), 2, "kineo: error: fps 3 cannot be made"),
        (WeightsError("dit is truncated"), 2, "kineo: error: dit is truncated"),
        (KineographError("no\n  luck"), 1, "kineo: error: no luck"),
        (
            OSError(28, os.strerror(28), "x.mp4"),
            2,
            "kineo: error: x.mp4: No space left on device",
        ),
        (OSError("disk gone"), 2, "kineo: error: disk gone"),
        (
            ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib"),
            1,
            "kineo: error: needs matplotlib: pip install 'kineograph[train]'",
        ),
        (
            ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"),
            1,
            "kineo: error: needs pyarrow: pip install 'kineograph[data]'",
        ),
        (
            ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy.exc"),
            1,
            "kineo: error: needs sqlalchemy.exc: pip install 'kineograph[serve]'",
        ),
        (
            KeyboardInterrupt(),
            130,
            "kineo: interrupted; go on with: kineo generate --resume 'a ball' -o b.mp4",
        ),
    ],
)
def test_a_failure_is_one_line_and_a_status(fake, capsys, error, status, line):
    fake.error = error
    assert cli.main(["generate", "a ball", "-o", "b.mp4"]) == status
    said = capsys.readouterr()
    assert said.err.splitlines() == [line]
    assert said.out == ""


def test_the_advice_after_an_interruption_is_a_command_that_goes_on(fake, capsys):
    fake.error = KeyboardInterrupt()
    words = ["generate", "a 'quoted' ball", "--seed", "3", "--resume"]
    cli.main(words)
    advice = shlex.split(capsys.readouterr().err.partition("go on with: ")[2])
    fake.error = None
    assert cli.main(advice[1:]) == 0
    assert fake.calls[0] == fake.calls[1]
    assert fake.settings["resume"]


def test_our_own_bugs_keep_their_traceback(fake):
    fake.error = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        cli.main(["generate", "a ball"])
    fake.error = ModuleNotFoundError("No module named 'kineograph.x'", name="kineograph.x")
    with pytest.raises(ModuleNotFoundError):
        cli.main(["generate", "a ball"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", ["COMMAND"]),
        ("generte x", ["'generte'", "generate", "evaluate"]),
        ("generate", ["prompt is missing"]),
        ("generate x y", ["unrecognized", "y"]),
        ("generate x --steps many", ["--steps", "'many'", "kineo generate --help"]),
        ("generate x --step 3", ["--step"]),
        ("generate x --threads 0", ["--threads", "'0'", "1 or more"]),
        ("generate x --keyframe", ["--keyframe", "expected one argument"]),
        ("generate x --keyframe a.png", ["'a.png'", "FILE@SECONDS"]),
        ("generate x --keyframe a.png@9", ["'a.png'", "9 s", "2.4 s"]),
        ("generate x --keyframe none.png@1", ["none.png", "no such file"]),
        ("generate x --loop yes", ["unrecognized", "yes"]),
        ("generate x --loop --num-frames 9", ["num_frames 9", "loop", "at least 17"]),
        ("generate x --before none.mp4", ["none.mp4", "no such file"]),
        ("generate x --after none.mp4 --loop", ["loop and after"]),
        ("generate x --video none.mp4 --strength half", ["--strength", "'half'"]),
        ("generate x --video none.mp4 --strength 2", ["strength 2.0", "0.05 to 1"]),
        ("generate x --strength 0.5", ["strength 0.5", "video"]),
        ("generate x --camera pan=7", ["nano", "camera"]),
        ("generate x --model small --camera left=7", ["'left'", "pan", "orbit"]),
        ("generate x --motion-speed 2", ["nano", "motion_speed"]),
        ("generate x --num-frames 1 -o x.jpg", ["'x.jpg'", ".png for one picture"]),
        ("generate x -o x.png", ["'x.png'", "25 frames", "num_frames 1"]),
        ("generate --from none.json", ["none.json", "No such file"]),
        ("world", ["WHAT"]),
        ("world sheet", ["--out"]),
        ("world sample --out d --count 0", ["--count", "'0'", "1 or more"]),
        ("world sample --out d --seed -1", ["--seed", "'-1'", "0 or more"]),
        ("world sample --out d --aspect-ratio 2:1", ["2:1", "21:9"]),
        ("train words r.py --out d", ["'words'", "tokenizer", "vae"]),
        ("train vae r.py --out d --device tpu", ["--device", "'tpu'", "cpu", "cuda"]),
        ("train vae r.py --out d --minutes 0", ["--minutes", "'0'", "1 or more"]),
        ("assemble run", ["--output"]),
        ("assemble run -o d --bits 4", ["--bits", "4", "8, 16"]),
        ("evaluate", ["--out"]),
        ("evaluate --out d --prompts x", ["--prompts", "'x'", "--videos"]),
        ("evaluate --out d --prompts 0", ["--prompts", "'0'", "1 or more"]),
        ("evaluate --out d --videos v", ["--videos", "--prompts FILE", "kineo world suite"]),
        ("evaluate --out d --videos v --model nano --prompts p", ["--videos", "--model"]),
        ("world suite", ["--out"]),
        ("world suite --out d --prompts 0", ["--prompts", "'0'", "1 or more"]),
        ("export --format onnx -o d", ["onnx", "diffusers"]),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_line(
    tmp_path, monkeypatch, words, said, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    seen = capsys.readouterr()
    (line,) = seen.err.splitlines()
    assert line.startswith("kineo: error: ")
    assert all(part in line for part in said)
    assert seen.out == ""
    assert not list(tmp_path.iterdir())


def test_the_other_commands_hand_their_flags_down(monkeypatch, capsys):
    calls: list[tuple[object, ...]] = []

    def note(*words: object, **named: object) -> None:
        calls.append((*words, named))

    stub(monkeypatch, "kineograph.world.sample", write_samples=note, write_sheet=note)
    stub(monkeypatch, "kineograph.train", main=note)
    stub(monkeypatch, "kineograph.train.stages", assemble=note)
    stub(monkeypatch, "kineograph.evaluate.run", main=note, score=note)
    stub(monkeypatch, "kineograph.evaluate.v2.run", score=partial(note, "second world"))
    stub(
        monkeypatch, "kineograph.evaluate.prompts",
        version_of=lambda path: 2 if path == Path("p2.jsonl") else 1,
    )  # fmt: skip
    stub(monkeypatch, "kineograph.weights.export", export_diffusers=note)
    for line in (
        "world sample --out d --count 3 --seed 4 --aspect-ratio 16:9 --compile",
        "world sheet --out s.png",
        "train dit recipe.py --out run/dit --resume",
        "train vae recipe.py --out run/vae --device cuda --minutes 9",
        "assemble run -o model",
        "assemble run -o model --bits 8",
        "evaluate --model tiny --suite camera --prompts 20 --out report",
        "evaluate --out report",
        "evaluate --videos clips --prompts p.jsonl --suite pair --out report",
        "evaluate --videos clips --prompts p2.jsonl --out report",
        "export --format diffusers -o folder",
    ):
        assert cli.main(line.split()) == 0
    drawn = {"count": 3, "seed": 4, "aspect_ratio": "16:9", "compiled": True}
    sheet = {"count": 24, "seed": 0, "aspect_ratio": "1:1", "compiled": False}
    assert calls == [
        (Path("d"), drawn),
        (Path("s.png"), sheet),
        (
            "dit", Path("recipe.py"), Path("run/dit"),
            {"resume": True, "device": "cpu", "minutes": None},
        ),
        (
            "vae", Path("recipe.py"), Path("run/vae"),
            {"resume": False, "device": "cuda", "minutes": 9},
        ),
        (Path("run"), Path("model"), torch.bfloat16, {}),
        (Path("run"), Path("model"), torch.int8, {}),
        ({"model": "tiny", "suite": "camera", "prompts": 20, "out": Path("report")},),
        ({"model": "nano", "suite": None, "prompts": None, "out": Path("report")},),
        (
            {
                "videos": Path("clips"),
                "prompts": Path("p.jsonl"),
                "suite": "pair",
                "out": Path("report"),
            },
        ),
        (
            "second world",
            {
                "videos": Path("clips"),
                "prompts": Path("p2.jsonl"),
                "suite": None,
                "out": Path("report"),
            },
        ),
        ("nano", Path("folder"), {}),
    ]
    assert capsys.readouterr().out.splitlines() == ["d", "s.png", "model", "model", "folder"]


def test_world_suite_hands_its_flags_down_and_shows_how_far_it_is(monkeypatch, capsys):
    calls = []

    def write_suite(*words, on_progress, **named):
        on_progress(1, 2)
        calls.append((*words, named))
        return Path("d/prompts.jsonl")

    stub(monkeypatch, "kineograph.evaluate.prompts", write_suite=write_suite)
    stub(
        monkeypatch, "kineograph.evaluate.v2.prompts", write_suite=partial(write_suite, "second")
    )
    stub(monkeypatch, "kineograph.produce", Event=Event)
    for line in (
        "world suite --out d --suite two --prompts 3 --size 128",
        "world suite --out d",
        "world suite --world 2 --out d",
    ):
        assert cli.main(line.split()) == 0
    assert calls == [
        (Path("d"), "two", 3, {"side": 128}),
        (Path("d"), None, None, {"side": 512}),
        ("second", Path("d"), None, None, {"side": 512}),
    ]
    assert capsys.readouterr().out == "d/prompts.jsonl\n" * 3


def test_models_lists_every_row_as_a_table_and_as_json(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["models"]) == 0
    table = capsys.readouterr().out
    assert cli.main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(PRESETS)
    for row in rows:
        spec = PRESETS[row["name"]]
        assert row["name"] in table
        assert row["licence"] == spec.licence and spec.licence in table
        assert row["delivered_fps"] == spec.out_fps
        assert row["num_frames"] == spec.allowed_frames()
        square = spec.sizes["1:1"]
        assert row["sizes"]["1:1"] == f"{square.out_width}x{square.out_height}"
        assert (row["bytes"] > 0) == (row["parameters"] > 0)
        assert row["here"] == (row["bytes"] > 0 or row["name"] == "tiny")


def test_a_damaged_model_is_one_line_that_names_the_file(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "nano"
    folder.mkdir()
    for kind in ("vae", "dit", "text"):
        (folder / f"{kind}.safetensors").write_bytes(b"\xff" * 20)
    monkeypatch.setenv("KINEOGRAPH_MODELS", str(tmp_path))
    assert cli.main(["models"]) == 2
    assert re.fullmatch(r"kineo: error: .*nano/\w+\.safetensors.*\n", capsys.readouterr().err)


def test_version(capsys):
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [p for child in action.choices.values() for p in parsers(child)]
    return found


def test_every_command_and_flag_says_what_it_is():
    for parser in parsers(cli.build_parser()):
        assert parser.description.endswith(".")
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, f"{parser.prog} {action.dest}"


def test_docs_and_readme_name_every_command_and_flag(root):
    script = importlib.util.spec_from_file_location("build_cli", root / "docs" / "build_cli.py")
    build_cli = importlib.util.module_from_spec(script)
    script.loader.exec_module(build_cli)
    page = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == build_cli.page(), "run `python docs/build_cli.py`"
    readme = (root / "README.md").read_text(encoding="utf-8")
    for parser in parsers(cli.build_parser())[1:]:
        group = any(isinstance(a, argparse._SubParsersAction) for a in parser._actions)
        assert group or f"`{parser.prog}`" in page
        assert "`" + " ".join(parser.prog.split()[:2]) in readme
        for action in parser._actions:
            for flag in action.option_strings:
                assert f"`{flag}`" in page or flag in ("-h", "--help")


def test_the_readme_commands_start_from_nothing(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    ends = {"test": " --dist loadfile --no-loadscope-reorder", "generate": 'checkered floor"'}
    for name, end in ends.items():
        block = re.search(rf"<!-- line: {name} -->\n```sh\n(.*)\n```\n", readme)
        assert block is not None
        assert block[1].startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert block[1].endswith(end)
    command = shlex.split(block[1].rpartition("&& .venv/bin/kineo ")[2])
    args = cli.build_parser().parse_args(command)
    assert resolve(GenerationRequest(args.prompt), NANO).duration >= 2


def test_help_costs_less_than_half_a_second(run_python):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_python("-m", "kineograph", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert "generate" in done.stdout
    # CPU time, not the clock: a busy machine must not fail it.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_process_ends_with_the_status_and_the_line(run_python, tmp_path):
    done = run_python("-m", "kineograph", "generate", "x", "--from", "no.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "kineo: error: no.json: No such file or directory\n"
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_polite_kill_ends_as_ctrl_c_does(run_python):
    code = (
        "import os, signal, kineograph.cli as cli\n"
        "cli.version = lambda args: os.kill(os.getpid(), signal.SIGTERM)\n"
        "import sys; sys.argv = ['kineo', 'version']\n"
        "cli.entry()"
    )
    done = run_python("-c", code)
    assert (done.returncode, done.stderr) == (130, "kineo: interrupted\n")
