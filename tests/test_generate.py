"""The main path on `tiny`: the whole stack with random weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kineograph import generate as gen
from kineograph.errors import RequestError
from kineograph.flow.solvers import load_state, save_state
from kineograph.generate import Event, generate, load, run
from kineograph.media.image import fit_image, read_image
from kineograph.media.video import read_video
from kineograph.presets import TINY
from kineograph.request import GenerationRequest, resolve
from kineograph.sidecar import read_sidecar, request_from_sidecar, sidecar_path

PROMPT = "a red ball rolls left"


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(**changes):
    settings = {"model": "tiny", "num_frames": 5, "seed": 7, "steps": 3}
    return resolve(GenerationRequest(PROMPT, **settings | changes), TINY)


def frames_of(pipeline, request, **named):
    return np.concatenate(list(generate(pipeline, request, **named)))


def states_of(pipeline, request):
    states = []
    frames = frames_of(pipeline, request, on_step=states.append)
    return states, frames


def picture(path: Path, shade: int) -> str:
    ramp = np.linspace(0, 255, 80, dtype=np.uint8)
    pixels = np.stack([np.tile(ramp, (60, 1)), np.full((60, 80), shade, np.uint8)] * 2, -1)
    Image.fromarray(pixels[..., :3]).save(path)
    return str(path)


@pytest.mark.parametrize("ratio", ["1:1", "16:9", "9:16", "21:9"])
def test_a_clip_has_the_size_and_length_that_was_resolved(tiny, ratio):
    request = asked(aspect_ratio=ratio, steps=1)
    frames = frames_of(tiny, request)
    assert frames.dtype == np.uint8
    assert frames.shape == (5, request.out_height, request.out_width, 3)
    assert frames.std() > 10


def test_a_single_frame_can_be_made(tiny):
    assert frames_of(tiny, asked(num_frames=1)).shape == (1, 256, 256, 3)


def test_frames_come_as_a_stream(tiny):
    assert [len(chunk) for chunk in generate(tiny, asked(num_frames=9, steps=1))] == [1, 4, 4]


def test_the_same_request_gives_the_same_bits(tiny):
    assert np.array_equal(frames_of(tiny, asked()), frames_of(load("tiny"), asked()))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"guidance_scale": 2.0},
        {"negative_prompt": "green"},
        {"steps": 4},
        {"shift": 3.0},
        {"solver": "heun"},
    ],
)
def test_everything_that_is_asked_reaches_the_frames(tiny, change):
    assert not np.array_equal(frames_of(tiny, asked()), frames_of(tiny, asked(**change)))


def test_the_prompt_reaches_the_frames(tiny):
    other = replace(asked(), prompt="a blue cube falls")
    assert not np.array_equal(frames_of(tiny, asked()), frames_of(tiny, other))


def test_without_guidance_the_negative_prompt_does_nothing(tiny):
    plain = asked(guidance_scale=1.0)
    other = asked(guidance_scale=1.0, negative_prompt="green")
    assert np.array_equal(frames_of(tiny, plain), frames_of(tiny, other))


def test_the_noise_is_the_generators_own_and_leaves_the_global_one_alone(tiny):
    before = torch.get_rng_state()
    noise = gen.initial_noise(tiny, asked())
    load("tiny")
    shape = (1, *TINY.latent_shape("1:1", 5))
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    assert torch.equal(noise, expected)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("solver", ["euler", "heun", "multistep", "unipc"])
def test_stopped_after_any_step_and_resumed_it_ends_in_the_same_bits(tiny, solver, tmp_path):
    request = asked(solver=solver)
    states = []
    first = next(generate(tiny, request, on_step=states.append))
    end = states[-1]
    assert end.index == 3
    for state in states:
        save_state(state, tmp_path / "state.safetensors")
        resumed, after = load_state(tmp_path / "state.safetensors"), []
        again = next(generate(tiny, request, state=resumed, on_step=after.append))
        assert torch.equal(after[-1].x, end.x)
        assert np.array_equal(again, first)


def test_resumed_in_another_process_it_ends_in_the_same_bits(tiny, tmp_path, run_python):
    request = asked(solver="unipc")
    states, frames = states_of(tiny, request)
    save_state(states[2], tmp_path / "state.safetensors")
    code = (
        "import sys, json, numpy as np\n"
        "import torch; torch.set_num_threads(int(sys.argv[2]))\n"
        "from kineograph.generate import load, generate\n"
        "from kineograph.flow.solvers import load_state\n"
        "from kineograph.request import ResolvedRequest\n"
        "request = ResolvedRequest.from_dict(json.loads(sys.argv[1]))\n"
        "state = load_state('state.safetensors')\n"
        "np.save('frames.npy', np.concatenate(list(generate(load('tiny'), request, state=state))))"
    )
    threads = str(torch.get_num_threads())
    run = run_python("-c", code, json.dumps(request.to_dict()), threads, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert np.array_equal(np.load(tmp_path / "frames.npy"), frames)


def test_a_first_image_is_kept_to_the_bit_and_opens_the_clip(tiny, tmp_path):
    path = picture(tmp_path / "a.png", 40)
    request = asked(image=path)
    still = fit_image(read_image(path), 64, 64)
    states, frames = states_of(tiny, request)
    mean, _ = tiny.vae.encode(still[None, :, None])
    latent = tiny.vae.normalise(mean)
    for state in states:
        assert torch.equal(state.x[:, :, :1], latent)
    assert not torch.equal(states[0].x[:, :, 1:], states[-1].x[:, :, 1:])
    (first,) = gen.deliver(tiny, gen.decode(tiny, latent))
    assert np.array_equal(frames[:1], gen.to_frames(first, 256, 256))
    assert not np.array_equal(frames, frames_of(tiny, asked()))


def test_a_last_image_is_the_end_of_a_clip_of_itself(tiny, tmp_path):
    first, last = picture(tmp_path / "a.png", 40), picture(tmp_path / "b.png", 200)
    request = asked(num_frames=9, image=first, last_image=last, solver="heun")
    states, _ = states_of(tiny, request)
    still = fit_image(read_image(last), 64, 64)
    mean, _ = tiny.vae.encode(still[None, :, None].expand(-1, -1, 5, -1, -1))
    x = states[-1].x
    assert torch.equal(x[:, :, -1:], tiny.vae.normalise(mean)[:, :, -1:])
    assert torch.equal(x[:, :, 0], states[0].x[:, :, 0])
    assert not torch.equal(x[:, :, 1], states[0].x[:, :, 1])
    alone, _ = states_of(tiny, replace(request, image=None))
    assert torch.equal(alone[-1].x[:, :, -1], x[:, :, -1])
    assert not torch.equal(alone[-1].x[:, :, 0], x[:, :, 0])


def test_low_precision_is_close_and_stays_inside(tiny):
    rough = frames_of(load("tiny", dtype=torch.bfloat16), asked()).astype(int)
    assert not torch.is_autocast_enabled("cpu")
    assert 0 < np.abs(rough - frames_of(tiny, asked())).mean() < 8


def test_without_the_upsamplers_file_the_clip_is_enlarged(tiny):
    plain = replace(tiny, upsampler=None)
    frames = frames_of(plain, asked())
    assert frames.shape == (5, 256, 256, 3)
    small = np.concatenate([gen.to_frames(v, 64, 64) for v in gen.decode(plain, _last(plain))])
    shrunk = frames.reshape(5, 64, 4, 64, 4, 3).mean((2, 4))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.9
    assert "upsampler" in gen._warnings(plain, asked())[0]


def _last(pipeline):
    return states_of(pipeline, asked())[0][-1].x


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


def test_a_clip_made_again_from_its_sidecar_is_the_same_file(here):
    run(GenerationRequest(PROMPT, model="tiny", num_frames=5, output="x.mp4"))
    run(request_from_sidecar(Path("x.json")))
    assert Path("x.mp4").read_bytes() == Path("x-again.mp4").read_bytes()
    again = read_sidecar(Path("x-again.json")).request
    assert replace(again, output="x.mp4") == read_sidecar(Path("x.json")).request


@pytest.mark.parametrize("format", ["png", "gif", "webm"])
def test_every_format_is_written(here, format):
    run(GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, format=format, output="x"
        if format == "png" else f"x.{format}"))  # fmt: skip
    assert len(list(here.iterdir())) == 2
    if format == "png":
        request = read_sidecar(Path("x.json")).request
        pictures = [read_image(p) for p in sorted(Path("x").iterdir())]
        assert np.array_equal(np.stack(pictures), frames_of(load("tiny"), request))


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
    monkeypatch.setattr(gen, "load", lambda name: changed)
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
    monkeypatch.setattr(gen, "load", lambda name: pytest.fail("loaded"))
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
    path = picture(here / "a.png", 40)
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, image=path, output="x.mp4"
    )
    (artifact,) = run(request)
    assert len(json.loads(artifact.sidecar.read_text())["images"][path]) == 64


@pytest.mark.parametrize("output", ["x.mp4", "x/"])
def test_a_preview_plays_the_file_that_was_written(here, monkeypatch, output):
    shown = []
    monkeypatch.setattr(gen, "play", lambda frames, fps: shown.extend(frames))
    request = GenerationRequest(
        PROMPT, model="tiny", num_frames=5, steps=1, aspect_ratio="16:9", output=output
    )
    run(request, preview=True)
    assert [frame.shape for frame in shown] == [(180, 320, 3)] * 5


def test_a_preview_can_be_stopped(here, monkeypatch):
    def stop(frames, fps):
        raise KeyboardInterrupt

    monkeypatch.setattr(gen, "play", stop)
    request = GenerationRequest(PROMPT, model="tiny", num_frames=5, steps=1, output="x.mp4")
    (artifact,) = run(request, preview=True)
    assert artifact.path.exists()
    assert sidecar_path(resolve(request, TINY)).exists()
