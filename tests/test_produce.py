"""Runs on `tiny`, the whole stack with random weights: files, sidecars, interruptions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kineograph import produce
from kineograph.errors import RequestError, WeightsError
from kineograph.flow.solvers import load_state
from kineograph.generate import generate
from kineograph.inputs import fitted
from kineograph.media.image import read_image
from kineograph.media.video import open_writer, read_video
from kineograph.pipeline import load
from kineograph.presets import PRESETS, TINY
from kineograph.produce import Event, run
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.sidecar import read_sidecar, request_from_sidecar, sidecar_path
from kineograph.spec import InterpolatorConfig
from kineograph.weights.header import sha256

PROMPT = "a red ball rolls left"


@pytest.fixture(scope="module")
def opened():
    """The models that were opened: each is, once."""
    return {}


@pytest.fixture(autouse=True)
def opened_once(opened, monkeypatch):
    def once(name, *, options, team):
        assert team is None
        key = (name, PRESETS[name].interpolator, options)
        if key not in opened:
            opened[key] = load(name, options=options)
        return opened[key]

    monkeypatch.setattr(produce, "load", once)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_writes_a_clip_and_a_sidecar_and_nothing_else(here):
    request = GenerationRequest(PROMPT + ", a dragon", model="tiny", num_frames=5, output="x.mp4")
    events = []
    (artifact,) = run(request, on_event=events.append)
    assert sorted(p.name for p in here.iterdir()) == ["x.json", "x.mp4"]
    with read_video("x.mp4") as video:
        assert (video.width, video.height, float(video.fps)) == (256, 256, 10.0)
        assert len(list(video)) == 5
    sidecar = read_sidecar(artifact.sidecar)
    assert sidecar.request.prompt == request.prompt
    assert artifact.timings == sidecar.timings
    assert sidecar.timings.keys() == {
        "load", "condition", "denoise", "decode", "write", "total"
    }  # fmt: skip
    assert len(sidecar.weights["tokenizer.json"]) == 64
    assert sidecar.warnings == ["the model does not know the word 'dragon'"]
    assert Event("warning", message=sidecar.warnings[0]) in events
    assert Event("denoise", 4, 4) in events and Event("decode", 5, 5) in events
    made_on = json.loads(artifact.sidecar.read_text())["made_on"]
    assert made_on["torch"] == torch.__version__
    assert made_on["dtype"] == "float32"
    assert made_on["threads"] == str(torch.get_num_threads())


def test_a_missing_upsampler_is_a_warning(here, monkeypatch):
    plain = replace(load("tiny"), upsampler=None)
    monkeypatch.setattr(produce, "load", lambda name, *_, **__: plain)
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, output="x.mp4")
    (artifact,) = run(request)
    (warning,) = read_sidecar(artifact.sidecar).warnings
    assert "upsampler" in warning


def test_a_clip_made_again_from_its_sidecar_is_the_same_file(here):
    run(GenerationRequest(PROMPT, model="tiny", num_frames=5, output="x.mp4"))
    run(request_from_sidecar(Path("x.json")))
    assert Path("x.mp4").read_bytes() == Path("x-again.mp4").read_bytes()
    again = read_sidecar(Path("x-again.json")).request
    assert replace(again, output="x.mp4") == read_sidecar(Path("x.json")).request


def test_one_frame_is_a_picture_without_loss(here):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=1, steps=1, count=2, seed=3)
    assert [a.path.name for a in run(request)] == [
        "a-red-ball-rolls-left-1.png", "a-red-ball-rolls-left-2.png"
    ]  # fmt: skip
    assert len(list(here.iterdir())) == 4
    recorded = read_sidecar(Path("a-red-ball-rolls-left-2.json")).request
    (frame,) = np.concatenate(list(generate(load("tiny"), recorded)))
    with Image.open("a-red-ball-rolls-left-2.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
    assert np.array_equal(read_image("a-red-ball-rolls-left-2.png"), frame)


@pytest.mark.parametrize("format", ["png", "gif", "webm"])
def test_every_format_is_written(here, format):
    run(GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, format=format, output="x"
        if format == "png" else f"x.{format}"))  # fmt: skip
    assert len(list(here.iterdir())) == 2
    if format == "png":
        request = read_sidecar(Path("x.json")).request
        pictures = [read_image(p) for p in sorted(Path("x").iterdir())]
        frames = np.concatenate(list(generate(load("tiny"), request)))
        assert np.array_equal(np.stack(pictures), frames)


def test_count_makes_clips_of_consecutive_seeds(here):
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, seed=7, count=2, output="x.mp4"
    )
    assert [a.path.name for a in run(request)] == ["x-1.mp4", "x-2.mp4"]
    run(replace(request, count=1, seed=8, output="second.mp4"))
    assert Path("x-2.mp4").read_bytes() == Path("second.mp4").read_bytes()
    assert Path("x-1.mp4").read_bytes() != Path("x-2.mp4").read_bytes()


def interrupt_at(stage, number):
    """Return an `on_event` that interrupts, as Ctrl-C would, at a point of the run."""
    def on_event(event):
        if event.stage == stage and event.done == number:
            raise KeyboardInterrupt

    return on_event


@pytest.mark.parametrize(
    ("stage", "number", "step"), [("denoise", 0, 0), ("denoise", 2, 2), ("decode", 1, 4)]
)
def test_an_interrupted_run_goes_on_to_the_same_file(here, stage, number, step):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, solver="unipc", output="x.mp4")
    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=interrupt_at(stage, number))
    partial = Path("x.mp4.partial.safetensors")
    assert list(here.iterdir()) == [here / partial]
    events = []
    run(request, resume=True, on_event=events.append)  # the seed was nobody's choice
    assert Event("resume", message=f"going on after step {step} of 4") in events
    assert sorted(p.name for p in here.iterdir()) == ["x.json", "x.mp4"]
    seed = read_sidecar(Path("x.json")).request.seed
    run(replace(request, seed=seed, output="whole.mp4"))
    assert Path("x.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_a_run_of_many_clips_goes_on_at_the_clip_it_was_at(here):
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, count=3, output="x.mp4"
    )
    seen = []

    def second_clip(event):
        seen.append(event)
        if sum(e == Event("decode", 1, 5) for e in seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=second_clip)
    first = Path("x-1.mp4").stat().st_mtime_ns
    events = []
    artifacts = run(request, resume=True, on_event=events.append)
    assert Event("resume", message="x-1.mp4 is already complete") in events
    assert Path("x-1.mp4").stat().st_mtime_ns == first
    seeds = [read_sidecar(a.sidecar).request.seed for a in artifacts]
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]
    assert not list(here.glob("*.partial*"))


def test_with_nothing_to_resume_the_run_starts(here):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, output="x.mp4")
    assert run(request, resume=True)[0].path.exists()


def test_a_finished_clip_of_another_request_is_made_anew(here):
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, seed=1, output="x.mp4"
    )
    run(request)
    run(replace(request, steps=2), resume=True)
    assert read_sidecar(Path("x.json")).request.steps == 2


def test_a_state_of_another_request_or_of_other_weights_is_refused(here, monkeypatch):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, seed=1, output="x.mp4")
    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=interrupt_at("denoise", 2))
    with pytest.raises(RequestError, match=r"its steps is 4, not 9.*--resume"):
        run(replace(request, steps=9), resume=True)
    changed = replace(load("tiny"), hashes={"tokenizer.json": "0" * 64})
    monkeypatch.setattr(produce, "load", lambda name, *_, **__: changed)
    with pytest.raises(RequestError, match=r"tokenizer\.json has changed"):
        run(request, resume=True)
    assert Path("x.mp4.partial.safetensors").exists()


def test_a_change_of_threads_is_told(here, monkeypatch):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, seed=1, output="x.mp4")
    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=interrupt_at("denoise", 2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    (artifact,) = run(request, resume=True)
    assert "threads" in read_sidecar(artifact.sidecar).warnings[0]


def test_what_can_be_refused_is_refused_before_the_model_is_loaded(here, monkeypatch):
    monkeypatch.setattr(produce, "load", lambda name, *_, **__: pytest.fail("loaded"))
    ask = GenerationRequest(PROMPT, model="tiny", output="x.mp4")
    Path("dir.mp4").mkdir()
    Path("bad.png").write_bytes(b"\x89PNG, but not really")
    for change, says in (
        ({"model": "giant"}, "giant"),
        ({"output": "none/x.mp4"}, "none"),
        ({"output": "dir.mp4"}, "folder"),
        ({"image": "none.png"}, "none.png"),
        ({"image": "bad.png"}, "bad.png"),
        ({"last_image": "bad.png"}, "bad.png"),
        ({"steps": 0}, "steps"),
    ):
        with pytest.raises(RequestError, match=says):
            run(replace(ask, **change))
    assert {p.name for p in here.iterdir()} == {"dir.mp4", "bad.png"}


def test_an_input_that_cannot_be_used_is_refused_before_the_model_is_loaded(here, monkeypatch):
    monkeypatch.setattr(produce, "load", lambda name, *_, **__: pytest.fail("loaded"))
    Path("notes.mp4").write_text("no video")
    Image.new("RGB", (80, 60), "red").save("a.png")
    short = film("short.mp4", 8)
    ask = GenerationRequest(PROMPT, model="tiny", num_frames=17, output="x.mp4")
    there = set(here.iterdir())
    for change, says in (
        ({"keyframes": ("none.png@1",)}, "none.png"),
        ({"image": short}, "short.mp4"),
        ({"before": "none.mp4"}, "none.mp4"),
        ({"before": "notes.mp4"}, "not a video we know"),
        ({"before": "a.png"}, "a.png has 1 frames at 10 fps; at least 9"),
        ({"before": short}, "short.mp4 has 8 frames at 10 fps; at least 9"),
        ({"after": short}, "short.mp4 has 8 frames at 10 fps; at least 9"),
        ({"video": short}, "short.mp4 has 8 frames at 10 fps; at least 17"),
    ):
        with pytest.raises(RequestError, match=says):
            run(replace(ask, **change))
    assert set(here.iterdir()) == there


def test_an_input_is_never_written_over(here, monkeypatch):
    monkeypatch.setattr(produce, "load", lambda name, *_, **__: pytest.fail("loaded"))
    path = film("x.mp4", 12)
    Path("other.mp4").symlink_to("x.mp4")
    bytes_before = Path(path).read_bytes()
    ask = GenerationRequest(PROMPT, model="tiny", num_frames=17)
    for given, output in (("x.mp4", "x.mp4"), (str(here / "x.mp4"), "./x.mp4"),
                          ("other.mp4", "x.mp4"), ("x.mp4", "other.mp4")):  # fmt: skip
        with pytest.raises(RequestError, match="is an input as well; name another file"):
            run(replace(ask, before=given, output=output))
    Image.new("RGB", (80, 60), "red").save("a.png")
    with pytest.raises(RequestError, match=r"'a\.png' is an input as well"):
        run(replace(ask, num_frames=None, video="a.png", output="a.png"))
    assert Path(path).read_bytes() == bytes_before


def test_a_prompt_of_too_many_tokens_is_refused_and_leaves_nothing(here):
    prompt = " ".join(["zyx"] * 60)
    with pytest.raises(RequestError, match="tokens; at most 64"):
        run(GenerationRequest(prompt, model="tiny", output="x.mp4"))
    assert not list(here.iterdir())


def test_a_run_that_fails_keeps_its_state_and_no_part_of_a_file(here, monkeypatch):
    def full(self, frames):
        raise RequestError("cannot write x.mp4: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("kineograph.media.video.VideoWriter.write", full)
        with pytest.raises(RequestError, match="No space"):
            run(GenerationRequest(PROMPT, model="tiny", num_frames=5, output="x.mp4"))
    assert [p.name for p in here.iterdir()] == ["x.mp4.partial.safetensors"]
    assert load_state("x.mp4.partial.safetensors").index == 4


def test_the_images_of_a_clip_are_recorded(here):
    path = str(here / "a.png")
    Image.new("RGB", (80, 60), "red").save(path)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, image=path, output="x.mp4"
    )
    (artifact,) = run(request)
    assert len(json.loads(artifact.sidecar.read_text())["images"][path]) == 64


def film(path: str, count: int, fps: int = 10, shade: int = 8) -> str:
    """Write a video of flat frames, each brighter than the one before."""
    with open_writer(path, fps, 80, 60) as writer:
        for i in range(count):
            writer.write(np.full((1, 60, 80, 3), shade * i, np.uint8))
    return path


def written(folder: str):
    return np.stack([read_image(path) for path in sorted(Path(folder).iterdir())])


def alone(artifact):
    """The frames of a clip without what stands before and behind it."""
    return np.concatenate(list(generate(load("tiny"), read_sidecar(artifact.sidecar).request)))


def recorded_images(artifact):
    return json.loads(artifact.sidecar.read_text())["images"]


def test_what_comes_before_is_written_in_front_of_the_clip(here):
    source = film("a.webm", 30, fps=20)  # 15 frames at 10 fps
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=17, steps=1, seed=3, before=source, output="x/"
    )
    events = []
    (artifact,) = run(request, on_event=events.append)
    frames, clip = written("x"), alone(artifact)
    assert len(frames) == 15 - 9 + 17
    assert recorded_images(artifact) == {source: sha256(Path(source))}
    old = np.stack(list(fitted(source, 10, 256, 256)))
    assert np.array_equal(frames[:6], old[:6])
    assert np.array_equal(frames[15:], clip[9:])
    for i in range(9):
        faded = old[6 + i] + (clip[i] - old[6 + i].astype(float)) * (i + 1) / 10
        assert np.abs(frames[6 + i] - faded).max() <= 0.51
    # The clip comes first, then the file: progress is told in the order of the work.
    stages = [event.stage for event in events]
    assert stages.index("denoise") < stages.index("decode")
    assert Event("decode", len(frames), 0) in events


def test_what_comes_after_is_written_behind_the_clip(here):
    source = film("a.mp4", 14)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=17, steps=1, seed=3, after=source, output="x/"
    )
    (artifact,) = run(request)
    frames, clip = written("x"), alone(artifact)
    assert len(frames) == 17 + 14 - 9
    assert recorded_images(artifact) == {source: sha256(Path(source))}
    new = np.stack(list(fitted(source, 10, 256, 256)))
    assert np.array_equal(frames[:9], clip[:9])
    assert np.array_equal(frames[17:], new[9:])
    for i in range(8):
        faded = clip[9 + i] + (new[1 + i] - clip[9 + i].astype(float)) * (i + 1) / 9
        assert np.abs(frames[9 + i] - faded).max() <= 0.51


def test_a_clip_between_two_videos_joins_them(here):
    one, two = film("a.mp4", 12), film("b.gif", 12)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=21, steps=1, before=one, after=two, output="x/"
    )
    (artifact,) = run(request)
    assert len(list(Path("x").iterdir())) == 12 + 21 + 12 - 9 - 9
    assert recorded_images(artifact) == {p: sha256(Path(p)) for p in (one, two)}


def test_an_interrupted_extension_goes_on_to_the_same_frames(here):
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=17, seed=3, before=film("a.mp4", 12), output="x/"
    )
    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=interrupt_at("denoise", 2))
    assert sorted(p.name for p in here.iterdir()) == ["a.mp4", "x.partial.safetensors"]
    run(request, resume=True)
    run(replace(request, output="whole/"))
    names = sorted(p.name for p in Path("x").iterdir())
    assert len(names) == 12 - 9 + 17
    for name in names:
        assert Path("x", name).read_bytes() == Path("whole", name).read_bytes()


def test_a_state_made_from_another_video_is_refused(here):
    path = film("a.mp4", 12)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=17, seed=3, video=film("a.mp4", 17), output="x.mp4"
    )
    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=interrupt_at("denoise", 3))
    film(path, 17, shade=9)
    with pytest.raises(RequestError, match=r"a\.mp4 has changed"):
        run(request, resume=True)


@pytest.mark.parametrize("output", ["x.mp4", "x/"])
def test_a_preview_plays_the_file_that_was_written(here, monkeypatch, output):
    shown = []
    monkeypatch.setattr(produce, "play", lambda frames, fps: shown.extend(frames))
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, aspect_ratio="16:9", output=output
    )
    run(request, preview=True)
    assert [frame.shape for frame in shown] == [(180, 320, 3)] * 5


def test_a_preview_shows_one_picture_too(here, monkeypatch):
    shown = []
    monkeypatch.setattr(produce, "play", lambda frames, fps: shown.extend(frames))
    run(GenerationRequest(PROMPT, model="tiny", num_frames=1, steps=1, output="x.png"),
        preview=True)  # fmt: skip
    assert [frame.shape for frame in shown] == [(256, 256, 3)]


def test_a_preview_can_be_stopped(here, monkeypatch):
    def stop(frames, fps):
        raise KeyboardInterrupt

    monkeypatch.setattr(produce, "play", stop)
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, output="x.mp4")
    (artifact,) = run(request, preview=True)
    assert artifact.path.exists()
    assert sidecar_path(resolve(request, TINY)).exists()


@pytest.fixture
def finer(here, monkeypatch):
    """A folder where `tiny` delivers twice its rate."""
    spec = replace(TINY, interpolator=InterpolatorConfig(8))
    monkeypatch.setitem(PRESETS, "tiny", spec)
    return here


def test_a_model_with_an_interpolator_delivers_twice_its_rate(finer):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=9, steps=1, seed=3)
    events = []
    (artifact,) = run(replace(request, output="x.mp4"), on_event=events.append)
    with read_video("x.mp4") as video:
        assert float(video.fps) == 20
        assert len(list(video)) == 17
    assert Event("decode", 17, 17) in events
    sidecar = read_sidecar(artifact.sidecar)
    assert not sidecar.warnings
    assert (sidecar.request.fps, sidecar.request.out_fps) == (10, 20)
    assert sidecar.request.duration == 0.9
    run(replace(request, fps=10, output="y.mp4"))
    with read_video("y.mp4") as video:
        assert float(video.fps) == 10
        assert len(list(video)) == 9
    with pytest.raises(RequestError, match="fps 15 cannot be made; tiny makes 10 or 20"):
        run(replace(request, fps=15, output="z.mp4"))


@pytest.mark.parametrize("fps", [None, 10])
def test_a_clip_at_either_rate_is_made_again_from_its_sidecar(finer, fps):
    run(GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, fps=fps, output="x/"))
    run(request_from_sidecar(Path("x.json")))
    assert len(written("x")) == (5 if fps else 9)
    assert np.array_equal(written("x"), written("x-again"))
    again = read_sidecar(Path("x-again.json")).request
    assert replace(again, output="x") == read_sidecar(Path("x.json")).request


def test_a_picture_of_a_model_with_an_interpolator_is_one_frame(finer):
    (artifact,) = run(GenerationRequest(PROMPT, model="tiny", num_frames=1, steps=1))
    assert artifact.path.name == "a-red-ball-rolls-left.png"
    assert read_image(str(artifact.path)).shape == (256, 256, 3)


def test_a_missing_interpolator_is_a_warning_where_it_is_missed(finer, monkeypatch):
    plain = replace(load("tiny"), interpolator=None)
    monkeypatch.setattr(produce, "load", lambda name, *_, **__: plain)
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, output="x/")
    (artifact,) = run(request)
    (warning,) = read_sidecar(artifact.sidecar).warnings
    assert "interpolator's file is missing" in warning
    assert len(written("x")) == 9
    (artifact,) = run(replace(request, fps=10, output="y/"))
    assert not read_sidecar(artifact.sidecar).warnings


@pytest.mark.parametrize("count", [29, 30])
def test_at_twice_the_rate_a_video_before_fades_where_both_show_the_same(finer, count):
    source = film("a.webm", count, fps=20)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=17, steps=1, seed=3, before=source, output="x/"
    )
    (artifact,) = run(request)
    frames, clip = written("x"), alone(artifact)
    shared = 2 * 9 - 1
    assert len(clip) == 33 and len(frames) == count + 33 - shared
    old = np.stack(list(fitted(source, 20, 256, 256)))
    assert len(old) == count
    assert np.array_equal(frames[: count - shared], old[:-shared])
    assert np.array_equal(frames[count:], clip[shared:])
    for i in range(shared):
        one = old[count - shared + i]
        faded = one + (clip[i] - one.astype(float)) * (i + 1) / (shared + 1)
        assert np.abs(frames[count - shared + i] - faded).max() <= 0.51


def test_at_twice_the_rate_a_video_after_fades_where_both_show_the_same(finer):
    source = film("a.webm", 24, fps=20)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=17, steps=1, seed=3, after=source, output="x/"
    )
    (artifact,) = run(request)
    frames, clip = written("x"), alone(artifact)
    # All but its first frame, with which the last 16 of the clip begin.
    assert len(clip) == 33 and len(frames) == 33 + 23 - 16
    new = np.stack(list(fitted(source, 20, 256, 256)))
    assert np.array_equal(frames[:17], clip[:17])
    assert np.array_equal(frames[33:], new[17:])
    for i in range(16):
        faded = clip[17 + i] + (new[1 + i] - clip[17 + i].astype(float)) * (i + 1) / 17
        assert np.abs(frames[17 + i] - faded).max() <= 0.51


def test_at_twice_the_rate_two_videos_are_joined_and_a_loop_is_whole(finer):
    one, two = film("a.mp4", 12), film("b.gif", 12)  # 23 frames at 20 fps
    ask = GenerationRequest(PROMPT, model="tiny", steps=1, output="x/")
    run(replace(ask, num_frames=21, before=one, after=two))
    assert len(written("x")) == 23 + 41 + 23 - 17 - 17
    run(replace(ask, num_frames=17, loop=True, output="loop.mp4"))
    with read_video("loop.mp4") as video:
        assert (float(video.fps), len(list(video))) == (20.0, 34)
    run(replace(ask, num_frames=17, loop=True, fps=10, output="slow.mp4"))
    with read_video("slow.mp4") as video:
        assert (float(video.fps), len(list(video))) == (10.0, 17)


def test_at_twice_the_rate_an_interrupted_run_goes_on_to_the_same_frames(finer):
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, seed=3, output="x/")
    with pytest.raises(KeyboardInterrupt):
        run(request, on_event=interrupt_at("denoise", 2))
    with pytest.raises(RequestError, match="its out_fps is 20, not 10"):
        run(replace(request, fps=10), resume=True)
    run(request, resume=True)
    run(replace(request, output="whole/"))
    assert np.array_equal(written("x"), written("whole"))


def test_that_open_weights_are_not_here_is_said_before_anything_else(here):
    events = []
    with pytest.raises(WeightsError, match=r"not here; .*published as Wan-AI/Wan2.1-T2V-1.3B"):
        run(GenerationRequest("a ball", model="wan2.1-t2v-1.3b"), on_event=events.append)
    assert events == [] and list(here.iterdir()) == []
