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
from kineograph.flow.solvers import load_state, save_state
from kineograph.generate import generate, load
from kineograph.media.image import fit_image, read_image
from kineograph.presets import TINY
from kineograph.request import GenerationRequest, resolve

PROMPT = "a red ball rolls left"


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


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


def _last(pipeline):
    return states_of(pipeline, asked())[0][-1].x
