"""Stages find what they need or name what is missing; interrupted, they say how to go on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kineograph import cli, flags
from kineograph.errors import KineographError, RequestError
from kineograph.generate import generate
from kineograph.models.interpolator import FrameInterpolator
from kineograph.pipeline import load
from kineograph.presets import TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.spec import InterpolatorConfig
from kineograph.train import main, pool, stages
from kineograph.train.stages import FEW_STEPS, STAGES, How, assemble, run_stage
from kineograph.train.vae import VaeTask
from kineograph.train.world1 import FirstWorld
from kineograph.weights.files import build, load_weights, save_weights
from kineograph.weights.folder import MODELS_VARIABLE, open_parts, random_parts, spec_of
from kineograph.weights.header import sha256

VAE_RECIPE = """
from kineograph.train.recipe import Schedule, VaeRecipe
RECIPE = VaeRecipe(
    "tiny", Schedule(2, log_every=1), batch=1, num_frames=5, validation_clips=1, compiled=False
)
"""
POOL_RECIPE = VAE_RECIPE.replace('"tiny",', '"tiny", pool=True, schedule=')
RECIPES = {
    "clips": "from kineograph.train.recipe import ClipRecipe\n"
    "RECIPE = ClipRecipe('tiny', clips=2, shard=1, compiled=False)",
    "vae": VAE_RECIPE,
    "tokenizer": "from kineograph.train.recipe import TokenizerRecipe\n"
    "RECIPE = TokenizerRecipe('tiny', captions=40)",
    "text": "from kineograph.train.recipe import Schedule, TextRecipe\n"
    "RECIPE = TextRecipe('tiny', Schedule(1))",
    "latents": "from kineograph.train.recipe import LatentRecipe\n"
    "RECIPE = LatentRecipe('tiny', clips=2, shard=1, validation_clips=1, compiled=False)",
    "dit": "from kineograph.train.recipe import DiTRecipe, Schedule\n"
    "RECIPE = DiTRecipe('tiny', Schedule(1))",
    "fewstep": "from kineograph.train.recipe import FewStepRecipe, Schedule\n"
    "RECIPE = FewStepRecipe('tiny', Schedule(1))",
    "upsampler": "from kineograph.train.recipe import Schedule, UpsamplerRecipe\n"
    "RECIPE = UpsamplerRecipe('tiny', Schedule(1), compiled=False)",
    "interpolator": "from kineograph.train.recipe import InterpolatorRecipe, Schedule\n"
    "RECIPE = InterpolatorRecipe('tiny', Schedule(1), compiled=False)",
}


@pytest.fixture
def recipes(tmp_path) -> dict[str, Path]:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for kind, text in RECIPES.items():
        (folder / f"{kind}.py").write_text(text)
    return {kind: folder / f"{kind}.py" for kind in RECIPES}


def test_the_command_line_offers_the_stages_in_their_order():
    assert tuple(STAGES) == flags.STAGES == tuple(RECIPES)


def test_an_unknown_stage_is_refused(recipes, tmp_path):
    with pytest.raises(RequestError, match=r"'vea'.*vae, tokenizer, text"):
        run_stage("vea", recipes["vae"], tmp_path / "run" / "vae", How())
    assert not (tmp_path / "run").exists()


def test_a_vae_begins_with_the_stage_that_its_recipe_names(recipes, tmp_path):
    more = recipes["vae"].with_name("more.py")
    more.write_text(VAE_RECIPE.replace('"tiny",', '"tiny", begin_with="first", schedule='))
    with pytest.raises(RequestError, match=r"first.vae.safetensors is missing; run the first"):
        run_stage("vae", more, tmp_path / "run" / "vae", How())
    assert not (tmp_path / "run").exists()
    run_stage("vae", recipes["vae"], tmp_path / "run" / "first", How())
    run_stage("vae", more, tmp_path / "run" / "vae", How())
    first, second = (tmp_path / "run" / name / "log.jsonl" for name in ("first", "vae"))
    losses = [json.loads(f.read_text().splitlines()[0])["loss"] for f in (first, second)]
    assert losses[1] != losses[0]  # of the same clips, seen by other weights


@pytest.fixture
def tasks(monkeypatch) -> list[VaeTask]:
    """The tasks that stages make, in place of training them."""
    made: list[VaeTask] = []
    monkeypatch.setattr(stages, "_train", lambda task, *_: made.append(task) or True)
    return made


@pytest.mark.parametrize("how", ["by its name", "by its folder"])
def test_a_vae_begins_with_the_model_that_its_recipe_names(
    recipes, tasks, tmp_path, tiny_vae, monkeypatch, how
):
    model = tmp_path / "models" / "tiny"
    model.mkdir(parents=True)
    shutil.copy(tiny_vae, model)
    (model / "tokenizer.json").write_text("{}")
    (model / "model.json").write_text('{"preset": "tiny"}')
    monkeypatch.setenv(MODELS_VARIABLE, str(model.parent))
    name = "tiny" if how == "by its name" else str(model)
    begin = f'"tiny", begin_with="model:{name}", schedule='
    recipes["vae"].write_text(VAE_RECIPE.replace('"tiny",', begin))
    run_stage("vae", recipes["vae"], tmp_path / "run" / "vae", How())
    (task,) = tasks
    assert task.begun_with == sha256(tiny_vae)
    assert all(map(torch.equal, task.vae.parameters(), build("vae", tiny_vae).parameters()))


def test_a_model_that_is_not_there_is_no_beginning(recipes, tasks, tmp_path):
    for name, said in (("dragon", "unknown model 'dragon'"), ("small", "weights of small")):
        begin = f'"tiny", begin_with="model:{name}", schedule='
        recipes["vae"].write_text(VAE_RECIPE.replace('"tiny",', begin))
        with pytest.raises(KineographError, match=said):
            run_stage("vae", recipes["vae"], tmp_path / "run" / "vae", How())
    assert not tasks


def test_a_vae_with_a_pool_needs_the_clips_stage_and_draws_from_it(
    recipes, tasks, tmp_path, monkeypatch
):
    monkeypatch.setattr(FirstWorld, "num_frames", 5)
    monkeypatch.setattr(pool, "cores", lambda: 1)
    run = tmp_path / "run"
    recipes["vae"].write_text(POOL_RECIPE)
    with pytest.raises(RequestError, match=r"clips is missing; run the clips stage first"):
        run_stage("vae", recipes["vae"], run / "vae", How())
    assert not run.exists() and not tasks
    with pytest.raises(KeyboardInterrupt):
        run_stage("clips", recipes["clips"], run / "clips", How(seconds=0.0))
    run_stage("clips", recipes["clips"], run / "clips", How(resume=True))
    run_stage("vae", recipes["vae"], run / "vae", How())
    (task,) = tasks
    assert task.pool is not None and len(task.pool.shards) == 2


@pytest.mark.parametrize(
    ("kind", "there", "missing"),
    [
        ("text", [], "tokenizer"),
        ("latents", [], "vae"),
        ("dit", ["vae"], "latents"),
        ("dit", ["vae", "latents"], "tokenizer"),
        ("dit", ["latents", "tokenizer"], "vae"),
        ("dit", ["vae", "latents", "tokenizer"], "text"),
        ("fewstep", ["vae", "latents", "tokenizer", "text"], "dit"),
        ("upsampler", [], "vae"),
        ("interpolator", [], "vae"),
    ],
)
def test_a_stage_whose_turn_has_not_come_names_the_one_before(
    recipes, tmp_path, store, tiny_vae, tokenizer, tiny_text, kind, there, missing
):
    sources = {
        "vae": tiny_vae.parent, "latents": store, "tokenizer": tokenizer.parent,
        "text": tiny_text.parent,
    }  # fmt: skip
    run = tmp_path / "run"
    for name in there:
        shutil.copytree(sources[name], run / name)
    with pytest.raises(RequestError, match=rf"{missing}.* is missing; run the {missing} stage"):
        run_stage(kind, recipes[kind], run / kind, How())
    assert not (run / kind).exists()


def test_a_recipe_of_another_stage_is_refused(recipes, tmp_path):
    with pytest.raises(RequestError, match=r"dit\.py must define RECIPE as a VaeRecipe"):
        run_stage("vae", recipes["dit"], tmp_path / "vae", How())


def test_the_tokenizer_stage_writes_its_files(recipes, tmp_path):
    main("tokenizer", recipes["tokenizer"], tmp_path / "run" / "tokenizer")
    names = {path.name for path in (tmp_path / "run" / "tokenizer").iterdir()}
    assert names == {"tokenizer.json", "words.json"}


def test_an_interrupted_stage_ends_with_130_and_says_how_to_go_on(
    recipes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    honest = VaeTask.loss

    def interrupted(self, step):
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does
        return honest(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(VaeTask, "loss", interrupted)
        assert cli.main(["train", "vae", str(recipes["vae"]), "--out", "run/vae"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    advice = f"kineo train --resume vae {recipes['vae']} --out run/vae"
    assert last == f"kineo: interrupted; go on with: {advice}"
    assert {"checkpoint.pt", "log.jsonl", "log.png", "recipe.json"} == {
        path.name for path in Path("run/vae").iterdir()
    }

    assert cli.main(shlex.split(advice)[1:]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "resuming at step 1"
    assert said[-1] == "vae: finished"
    assert Path("run/vae/vae.safetensors").exists()

    # Without --resume the finished run is not touched.
    assert cli.main(["train", "vae", str(recipes["vae"]), "--out", "run/vae"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "kineo: error: run/vae holds a run; add --resume or choose another --out"


def test_a_stage_stops_when_its_time_is_up_and_goes_on(recipes, tmp_path, capsys):
    out, how = tmp_path / "vae", How(seconds=0.0)
    text = recipes["vae"].read_text().replace("Schedule(2,", "Schedule(3,")
    recipes["vae"].write_text(text)
    with pytest.raises(KeyboardInterrupt):
        run_stage("vae", recipes["vae"], out, how)
    assert not (out / "vae.safetensors").exists() and (out / "checkpoint.pt").exists()
    run_stage("vae", recipes["vae"], out, How(resume=True))
    assert (out / "vae.safetensors").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_device_that_is_not_there_is_refused(recipes, tmp_path, capsys):
    arguments = ["train", "vae", str(recipes["vae"]), "--out", str(tmp_path / "vae")]
    assert cli.main([*arguments, "--device", "cuda"]) == 2
    assert "device 'cuda' is not there" in capsys.readouterr().err
    assert not (tmp_path / "vae").exists()


def test_a_stage_that_stopped_is_no_success(recipes, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(stages.STAGES, "dit", lambda *_: False)
    with pytest.raises(KeyboardInterrupt):
        run_stage("dit", recipes["dit"], tmp_path, How())
    assert "finished" not in capsys.readouterr().err


@pytest.fixture(scope="session")
def finished(tmp_path_factory, store, tokenizer) -> Path:
    """A run folder as every stage leaves it."""
    run, parts = tmp_path_factory.mktemp("run"), random_parts(TINY)
    shutil.copytree(store, run / "latents")
    shutil.copytree(tokenizer.parent, run / "tokenizer")
    for stage, kind in (
        ("vae", "vae"), ("dit", "dit"), ("text", "text"), ("upsampler", "upsampler")
    ):  # fmt: skip
        (run / stage).mkdir(exist_ok=True)
        path, metadata = run / stage / f"{kind}.safetensors", {"recipe": f"of the {stage}"}
        save_weights(path, parts[kind], getattr(TINY, kind), metadata)
    (run / "dit" / "recipe.json").write_text('{"model": "nano"}')
    return run


def test_a_finished_run_becomes_a_model_folder(finished, tmp_path, capsys):
    folder = tmp_path / "models" / "mine"
    assert cli.main(["assemble", str(finished), "-o", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert {path.name for path in folder.iterdir()} == {
        "vae.safetensors", "dit.safetensors", "text.safetensors", "upsampler.safetensors",
        "tokenizer.json", "words.json", "model.json",
    }  # fmt: skip
    parts = open_parts(str(folder))
    assert set(parts.modules) == {"vae", "dit", "text", "upsampler"}
    numbers = json.loads((finished / "latents" / "statistics.json").read_text())
    assert parts.spec.vae.latents_mean == tuple(numbers["mean"])
    assert parts.spec.vae.latents_std == tuple(numbers["std"])
    assert load_weights(folder / "vae.safetensors", "vae")[2]["recipe"] == "of the vae"


@pytest.fixture(scope="module")
def shortened_way(finished, tmp_path_factory) -> Path:
    """A finished run whose transformer has learnt to take few steps."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("few") / "run")
    config = replace(TINY.dit, flow_map=True)
    few = random_parts(replace(TINY, dit=config), seed=1)["dit"]
    (run / "fewstep").mkdir()
    save_weights(run / "fewstep" / "dit.safetensors", few, config, {"recipe": "of few steps"})
    (run / "fewstep" / "recipe.json").write_text('{"model": "tiny"}')
    return run


def test_a_transformer_begins_with_the_stage_that_its_recipe_names(
    recipes, tasks, shortened_way
):
    more = "Schedule(1), batch=2, begin_with='fewstep'"
    text = recipes["dit"].read_text().replace("Schedule(1)", more)
    recipes["dit"].write_text(text)
    run_stage("dit", recipes["dit"], shortened_way / "on", How())
    assert tasks[0].begun_with == sha256(shortened_way / "fewstep" / "dit.safetensors")
    recipes["dit"].write_text(text.replace("'fewstep'", "'gone'"))
    with pytest.raises(RequestError, match=r"gone.dit.safetensors is missing; run the gone"):
        run_stage("dit", recipes["dit"], shortened_way / "on", How())


def test_weights_for_few_steps_go_first_and_bring_defaults_of_their_own(shortened_way, tmp_path):
    folder = tmp_path / "model"
    assemble(shortened_way, folder)
    assert json.loads((folder / "model.json").read_text()) == {
        "preset": "tiny",
        "defaults": {"steps": FEW_STEPS, "guidance_scale": 1.0, "solver": "euler"},
    }
    assert load_weights(folder / "dit.safetensors", "dit")[2]["recipe"] == "of few steps"
    spec = spec_of(str(folder))
    assert (spec.steps, spec.guidance_scale, spec.solver) == (FEW_STEPS, 1, "euler")
    assert spec == replace(
        TINY, name=str(folder), steps=FEW_STEPS, guidance_scale=1.0, solver="euler"
    )
    assert open_parts(str(folder)).modules["dit"].config.flow_map


def test_without_them_a_model_has_no_defaults_of_its_own(finished, tmp_path):
    assemble(finished, tmp_path / "model")
    assert json.loads((tmp_path / "model" / "model.json").read_text()) == {"preset": "nano"}


def test_few_steps_that_have_not_finished_are_passed_over_and_it_is_said(
    finished, tmp_path, capsys
):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "fewstep").mkdir()
    assemble(run, tmp_path / "model")
    assert f"{run / 'fewstep'} has not finished" in capsys.readouterr().err
    assert json.loads((tmp_path / "model" / "model.json").read_text()) == {"preset": "nano"}


def test_what_two_cores_have_made_of_small_is_a_model(root, tmp_path):
    assemble(root / "runs" / "small-cpu" / "done", tmp_path / "small", torch.int8)
    parts = open_parts(str(tmp_path / "small"))
    assert set(parts.modules) == {"vae", "dit", "text", "upsampler", "interpolator"}
    spec = spec_of(str(tmp_path / "small"))
    assert (spec.steps, spec.guidance_scale, spec.out_fps) == (FEW_STEPS, 1, 24)


def test_few_steps_without_their_recipe_are_refused(shortened_way, tmp_path):
    run = shutil.copytree(shortened_way, tmp_path / "run")
    (run / "fewstep" / "recipe.json").unlink()
    with pytest.raises(RequestError, match=r"recipe\.json is missing; run the fewstep stage"):
        assemble(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_without_an_upsampler_and_one_with_an_interpolator_make_models(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(run / "upsampler")
    assemble(run, tmp_path / "without")
    assert set(open_parts(str(tmp_path / "without")).modules) == {"vae", "dit", "text"}
    (run / "interpolator").mkdir()
    with pytest.raises(RequestError, match=r"interpolator\.safetensors is missing; run the inter"):
        assemble(run, tmp_path / "with")
    made = FrameInterpolator(InterpolatorConfig(8))
    save_weights(run / "interpolator" / "interpolator.safetensors", made, made.config)
    assemble(run, tmp_path / "with")
    parts = open_parts(str(tmp_path / "with"))
    assert set(parts.modules) == {"vae", "dit", "text", "interpolator"}
    assert parts.modules["interpolator"].config == made.config


def test_a_model_in_8_bits_makes_almost_the_same_frames(shortened_way, tmp_path, monkeypatch):
    monkeypatch.setattr("kineograph.weights.files.SMALL", 0)  # all of tiny would be
    frames = {}
    for bits in ("8", "16"):
        folder = tmp_path / bits
        assert cli.main(["assemble", str(shortened_way), "-o", str(folder), "--bits", bits]) == 0
        pipeline = load(str(folder))
        request = resolve(
            GenerationRequest("a red ball", num_frames=5, seed=1), pipeline.spec
        )
        assert (request.steps, request.guidance_scale) == (FEW_STEPS, 1)
        frames[bits] = np.concatenate(list(generate(pipeline, request))).astype(float)
    with safe_open(tmp_path / "8" / "dit.safetensors", framework="pt") as file:
        assert file.get_tensor("blocks.0.ffn.0.weight").dtype == torch.int8
    off = np.abs(frames["8"] - frames["16"]).mean()
    assert 0 < off < 0.2 * frames["16"].std()


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("vae/vae.safetensors", "vae"),
        ("text/text.safetensors", "text"),
        ("tokenizer/words.json", "tokenizer"),
        ("upsampler/upsampler.safetensors", "upsampler"),
        ("latents/statistics.json", "latents"),
    ],
)
def test_an_unfinished_run_is_refused_before_anything_is_written(
    finished, tmp_path, missing, stage
):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / missing).unlink()
    with pytest.raises(RequestError, match=rf"{missing} is missing; run the {stage} stage"):
        assemble(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


KINEO = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in *"train $FAILS "*) exit 130 ;; esac
"""


@pytest.mark.parametrize("fails", ["nothing", "latents"])
def test_the_script_of_a_run_calls_every_stage_and_stops_with_one(root, tmp_path, fails):
    fake = tmp_path / "bin" / "kineo"
    fake.parent.mkdir()
    fake.write_text(KINEO)
    fake.chmod(0o755)
    calls = tmp_path / "calls"
    env = os.environ | {
        "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(calls),
        "FAILS": fails,
    }
    done = subprocess.run(
        ["bash", str(root / "runs" / "nano-cpu.sh"), "RUN"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    # The VAE renders as it trains, in two parts; no few steps are learnt.
    names = ["vae_first", "vae", "tokenizer", "text", "latents", "dit", "upsampler"]
    wanted = [
        f"train {name.removesuffix('_first')} {root}/runs/nano/{name}.py --out RUN/{name} --resume"
        for name in names
    ]
    if fails == "nothing":
        assert done.returncode == 0, done.stderr
        wanted.append("assemble RUN -o RUN/nano")
    else:
        assert done.returncode == 130
        wanted = wanted[: names.index(fails) + 1]
    assert calls.read_text().splitlines() == wanted
    for line in wanted:  # each is a command that the real one understands
        cli.build_parser().parse_args(line.split())


def test_the_script_for_a_gpu_does_what_is_next_until_its_time_is_up(root, tmp_path):
    fake = tmp_path / "bin" / "kineo"
    fake.parent.mkdir()
    fake.write_text(KINEO)
    fake.chmod(0o755)
    calls, run = tmp_path / "calls", tmp_path / "run"
    run.mkdir()

    def call(fails: str, minutes: int = 9) -> tuple[int, list[str]]:
        calls.write_text("")
        env = os.environ | {
            "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(calls), "FAILS": fails, "MINUTES": str(minutes),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", str(root / "runs" / "small-gpu.sh"), str(run)],
            env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, calls.read_text().splitlines()

    stages, stopped = list(STAGES), list(STAGES).index("latents")
    status, lines = call("latents")  # which stops when its time is up
    assert status == 130
    assert [line.split()[1] for line in lines] == stages[: stopped + 1]
    for line in lines:
        words = cli.build_parser().parse_args(line.split())
        assert (words.device, words.resume) == ("cuda", True) and words.minutes >= 8
    assert call("nothing", minutes=0) == (130, [])
    status, lines = call("nothing")
    assert status == 0
    assert [line.split()[1] for line in lines[:-1]] == stages[stopped:]
    assert lines[-1] == f"assemble {run} -o {run}/small"
