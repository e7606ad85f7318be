"""The main path on `tiny`: the whole stack with random weights."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kineograph import conditions, decoding
from kineograph import generate as gen
from kineograph import pipeline as pipelines
from kineograph.errors import RequestError
from kineograph.flow.path import add_noise
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import load_state, save_state
from kineograph.generate import generate, steps_done
from kineograph.inputs import first_frames, last_frames
from kineograph.media.image import fit_image, read_image
from kineograph.media.video import open_writer
from kineograph.models.dit import control_rows
from kineograph.models.interpolator import interpolated
from kineograph.models.upsampler import VideoUpsampler
from kineograph.pipeline import load
from kineograph.presets import PRESETS, TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.spec import InterpolatorConfig
from kineograph.weights.folder import random_parts

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


def test_the_same_request_gives_the_same_bits(plain):
    assert np.array_equal(plain, frames_of(load("tiny"), asked()))


@pytest.fixture(scope="module")
def plain(tiny):
    """The frames of a request without anything special."""
    return frames_of(tiny, asked())


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
def test_everything_that_is_asked_reaches_the_frames(tiny, plain, change):
    assert not np.array_equal(plain, frames_of(tiny, asked(**change)))


def test_the_prompt_reaches_the_frames(tiny, plain):
    other = replace(asked(), prompt="a blue cube falls")
    assert not np.array_equal(plain, frames_of(tiny, other))


def test_without_guidance_the_negative_prompt_does_nothing(tiny):
    plain = asked(guidance_scale=1.0)
    other = asked(guidance_scale=1.0, negative_prompt="green")
    assert np.array_equal(frames_of(tiny, plain), frames_of(tiny, other))


def test_the_noise_is_the_generators_own_and_leaves_the_global_one_alone(tiny):
    before = torch.get_rng_state()
    noise = gen.initial_noise(tiny, asked())
    load("tiny")
    shape = (1, *TINY.latent_shape(TINY.sizes["1:1"], 5))
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
        "from kineograph.generate import generate\n"
        "from kineograph.pipeline import load\n"
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


def test_a_first_image_is_kept_to_the_bit_and_opens_the_clip(tiny, plain, tmp_path):
    path = picture(tmp_path / "a.png", 40)
    request = asked(image=path)
    still = fit_image(read_image(path), 64, 64)
    states, frames = states_of(tiny, request)
    latent = latent_of(tiny, still[:, None])
    for state in states:
        assert torch.equal(state.x[:, :, :1], latent)
    assert not torch.equal(states[0].x[:, :, 1:], states[-1].x[:, :, 1:])
    (first,) = decoding.deliver(tiny, decoding.decode(tiny, latent), 4)
    assert np.array_equal(frames[:1], decoding.to_frames(first, 256, 256))
    assert not np.array_equal(frames, plain)


def test_a_last_image_is_the_end_of_a_clip_of_itself(tiny, tmp_path):
    first, last = picture(tmp_path / "a.png", 40), picture(tmp_path / "b.png", 200)
    request = asked(num_frames=9, image=first, last_image=last, solver="heun")
    states, _ = states_of(tiny, request)
    still = fit_image(read_image(last), 64, 64)
    latent = latent_of(tiny, still[:, None].expand(-1, 5, -1, -1))
    x = states[-1].x
    assert torch.equal(x[:, :, -1:], latent[:, :, -1:])
    assert torch.equal(x[:, :, 0], states[0].x[:, :, 0])
    assert not torch.equal(x[:, :, 1], states[0].x[:, :, 1])
    alone, _ = states_of(tiny, replace(request, image=None))
    assert torch.equal(alone[-1].x[:, :, -1], x[:, :, -1])
    assert not torch.equal(alone[-1].x[:, :, 0], x[:, :, 0])


def video(path: Path, count: int, fps: int = 10) -> str:
    """A bright bar that moves to the right over a ramp."""
    ramp = np.repeat(np.linspace(0, 160, 80).astype(np.uint8)[None, :, None], 60, 0).repeat(3, 2)
    with open_writer(path, fps, 80, 60) as writer:
        for i in range(count):
            frame = ramp.copy()
            frame[:, 2 * i : 2 * i + 20, 0] = 255
            writer.write(frame[None])
    return str(path)


def latent_of(pipeline, frames):
    return decoding.encode_video(pipeline, frames)


SIZE = TINY.sizes["1:1"]


def test_keyframes_are_kept_to_the_bit_where_they_belong(tiny, tmp_path):
    a, b = picture(tmp_path / "a.png", 40), picture(tmp_path / "b.png", 200)
    request = asked(num_frames=17, keyframes=(f"{a}@0.5", f"{b}@1.6"), solver="multistep")
    states, _ = states_of(tiny, request)
    x = states[-1].x
    for path, place in ((a, 2), (b, 4)):
        still = fit_image(read_image(path), 64, 64)
        wanted = latent_of(tiny, still[:, None].expand(-1, 5, -1, -1))
        assert torch.equal(x[:, :, place], wanted[:, :, -1])
    for place in (0, 1, 3):
        assert not torch.equal(x[:, :, place], states[0].x[:, :, place])
    first, _ = states_of(tiny, asked(keyframes=(f"{a}@0",)))
    as_image, _ = states_of(tiny, asked(image=a))
    assert torch.equal(first[-1].x, as_image[-1].x)


def test_the_end_of_what_comes_before_is_kept_to_the_bit(tiny, tmp_path):
    path = video(tmp_path / "a.mp4", 14)
    states, _ = states_of(tiny, asked(num_frames=17, before=path, solver="unipc"))
    wanted = latent_of(tiny, last_frames(path, 9, 10, SIZE))
    for state in states:
        assert torch.equal(state.x[:, :, :3], wanted)
    assert not torch.equal(states[-1].x[:, :, 3:], states[0].x[:, :, 3:])


def test_the_beginning_of_what_comes_after_is_kept_to_the_bit(tiny, tmp_path):
    path = video(tmp_path / "a.mp4", 14)
    states, _ = states_of(tiny, asked(num_frames=17, after=path, solver="heun"))
    # Its first frame is the past of the eight that are shared.
    wanted = latent_of(tiny, first_frames(path, 9, 10, SIZE))[:, :, 1:]
    for state in states:
        assert torch.equal(state.x[:, :, -2:], wanted)
    assert not torch.equal(states[-1].x[:, :, :-2], states[0].x[:, :, :-2])


def test_a_clip_can_lie_between_two_videos_and_pass_through_a_picture(tiny, tmp_path):
    one, two = video(tmp_path / "a.mp4", 9), video(tmp_path / "b.webm", 22, fps=20)
    still = picture(tmp_path / "c.png", 90)
    request = asked(num_frames=25, before=one, after=two, keyframes=(f"{still}@1.2",))
    states, frames = states_of(tiny, request)
    assert len(frames) == 25
    alone, _ = states_of(tiny, replace(request, keyframes=None))
    for place in (0, 1, 2, 5, 6):
        assert torch.equal(states[-1].x[:, :, place], alone[-1].x[:, :, place])
        assert torch.equal(states[-1].x[:, :, place], states[0].x[:, :, place])
    assert torch.equal(states[-1].x[:, :, 3], states[0].x[:, :, 3])
    assert not torch.equal(states[-1].x[:, :, 4], states[0].x[:, :, 4])


def test_a_video_that_is_too_short_for_its_way_in_is_refused(tiny, tmp_path):
    path = video(tmp_path / "a.mp4", 8)
    for changes in ({"before": path}, {"after": path}, {"video": path}):
        with pytest.raises(RequestError, match="has 8 frames at 10 fps; at least"):
            frames_of(tiny, asked(num_frames=17, **changes))


@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize("solver", ["euler", "heun", "multistep", "unipc"])
def test_a_changed_video_begins_at_the_very_level_of_its_strength(tiny, tmp_path, solver, steps):
    path = video(tmp_path / "a.mp4", 5)
    request = asked(video=path, strength=0.6, steps=steps, solver=solver)
    states, _ = states_of(tiny, request)
    plain, (sigmas, index) = make_sigmas(steps, request.shift), gen.levels(tiny, request)
    assert states[0].index == index
    assert sigmas[index] == torch.tensor(0.6) and (sigmas.diff() < 0).all()
    assert (sigmas != plain).sum() <= 1
    source = latent_of(tiny, first_frames(path, 5, 10, SIZE))
    noise = gen.initial_noise(tiny, request)
    assert torch.equal(states[0].x, add_noise(source, noise, torch.tensor([0.6])))
    assert states[-1].index == steps


def test_at_full_strength_a_video_does_nothing(tiny, tmp_path):
    path = video(tmp_path / "a.mp4", 5)
    changed, plain = states_of(tiny, asked(video=path, strength=1.0)), states_of(tiny, asked())
    assert changed[0][0].index == 0
    assert torch.equal(changed[0][-1].x, plain[0][-1].x)
    assert np.array_equal(changed[1], plain[1])


def test_at_the_least_strength_a_video_stays_close_to_itself(tiny, tmp_path):
    path = video(tmp_path / "a.mp4", 5)
    source = latent_of(tiny, first_frames(path, 5, 10, SIZE))
    itself = np.concatenate(list(decoding.frames_of(tiny, asked(), source))).astype(float)

    def off(strength):
        frames = frames_of(tiny, asked(video=path, strength=strength, steps=40))
        return np.abs(frames - itself).mean()

    least = off(0.05)
    assert least < 3
    assert least < off(0.4) / 4 < off(1.0) / 4


def test_with_few_steps_the_last_is_always_taken(tiny, tmp_path):
    path = video(tmp_path / "a.mp4", 5)
    states, _ = states_of(tiny, asked(video=path, strength=0.05, steps=2))
    assert [state.index for state in states] == [1, 2]


def test_a_picture_can_be_changed(tiny, tmp_path):
    path = picture(tmp_path / "a.png", 40)
    request = resolve(
        GenerationRequest(PROMPT, model="tiny", seed=7, video=path, strength=0.05, steps=40), TINY
    )
    still = fit_image(read_image(path), 64, 64)
    latent = latent_of(tiny, still[:, None])
    itself = np.concatenate(list(decoding.frames_of(tiny, request, latent)))
    frames = frames_of(tiny, request)
    assert frames.shape == (1, 256, 256, 3)
    assert np.abs(frames.astype(float) - itself).mean() < 3


@pytest.mark.parametrize("changes", [{"video": "a.mp4"}, {"loop": True}, {"before": "a.mp4"}])
def test_every_way_in_is_resumed_to_the_same_bits(tiny, tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    video(Path("a.mp4"), 17)
    request = asked(num_frames=17, solver="unipc", steps=4, **changes)
    states, frames = states_of(tiny, request)
    assert states[-1].index == 4
    for state in (states[0], states[-3]):
        save_state(state, tmp_path / "state.safetensors")
        resumed, after = load_state(tmp_path / "state.safetensors"), []
        again = frames_of(tiny, request, state=resumed, on_step=after.append)
        assert torch.equal(after[-1].x, states[-1].x)
        assert np.array_equal(again, frames)


@pytest.mark.parametrize("frames", [17, 25])
def test_a_loop_has_the_length_that_was_asked_for(tiny, frames):
    chunks = list(generate(tiny, asked(num_frames=frames, loop=True, steps=1)))
    assert sum(len(chunk) for chunk in chunks) == frames
    assert {chunk.shape[1:] for chunk in chunks} == {(256, 256, 3)}


def test_a_loop_leads_from_its_end_to_its_beginning(tiny):
    request = asked(num_frames=21, loop=True)
    states, frames = states_of(tiny, request)
    whole = replace(request, loop=None, num_frames=17)
    first, shown = states_of(tiny, whole)
    assert torch.equal(states[request.steps].x, first[-1].x)
    states = states[request.steps + 1 :]  # of the part that leads back
    clip = torch.cat(list(decoding.decode(tiny, first[-1].x)), 2)[0]
    # Of the first part 14 frames are kept. The last nine go before the bridge, frames 1 to 8
    # come after it, and frame 0 is where it ends.
    x = states[-1].x
    assert x.shape[2] == 7
    assert torch.equal(x[:, :, :3], latent_of(tiny, clip[:, 5:14]))
    assert torch.equal(x[:, :, 5:], latent_of(tiny, clip[:, :9])[:, :, 1:])
    assert not torch.equal(x[:, :, 3:5], states[0].x[:, :, 3:5])
    back = np.concatenate(list(decoding.frames_of(tiny, request, x)))
    assert np.array_equal(frames[14:], back[9:16])
    # Both seams fade: a tenth more of the one with every frame.
    for i in range(5):
        faded = back[16 + i] + (shown[i] - back[16 + i].astype(float)) * (i + 1) / 10
        assert np.abs(frames[i] - faded).max() <= 0.51
    for i in range(4, 9):
        faded = shown[5 + i] + (back[i] - shown[5 + i].astype(float)) * (i + 1) / 10
        assert np.abs(frames[5 + i] - faded).max() <= 0.51


def test_a_loop_goes_on_from_any_state_of_both_its_parts(tiny, tmp_path):
    request = asked(num_frames=17, loop=True, steps=2)
    states, frames = states_of(tiny, request)
    assert [steps_done(request, state) for state in states] == [0, 1, 2, 2, 3, 4]
    assert request.all_steps == 4
    for state in states[1:5]:
        save_state(state, tmp_path / "state.safetensors")
        resumed, after = load_state(tmp_path / "state.safetensors"), []
        again = frames_of(tiny, request, state=resumed, on_step=after.append)
        assert steps_done(request, after[0]) == steps_done(request, state)
        assert np.array_equal(again, frames)


def test_a_loop_may_begin_with_a_picture(tiny, tmp_path):
    path = picture(tmp_path / "a.png", 40)
    request = asked(num_frames=17, loop=True, image=path, steps=1)
    frames = frames_of(tiny, request)
    assert len(frames) == 17
    plain = frames_of(tiny, replace(request, image=None))
    # The beginning fades in from the bridge's end; the picture shows most where that is over.
    assert not np.array_equal(frames[8], plain[8])


AXES = {"pan": 7.0, "zoom": 0.1, "speed": 1.0}


@pytest.fixture(scope="module")
def steered(tiny):
    """`tiny` with numbers to obey."""
    spec = replace(TINY, controls=AXES, dit=replace(TINY.dit, num_controls=3, text_dim=16))
    dit = random_parts(spec)["dit"]
    return replace(tiny, spec=spec, dit=dit)


def steered_by(**changes):
    settings = {"model": "tiny", "num_frames": 5, "seed": 7, "steps": 2}
    spec = replace(TINY, controls=AXES)
    return resolve(GenerationRequest(PROMPT, **settings | changes), spec)


NONE = math.nan


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({}, [NONE, NONE, NONE]),
        ({"camera": "pan=14"}, [2.0, 0.0, NONE]),
        ({"camera": "zoom=-0.05"}, [0.0, -0.5, NONE]),
        ({"motion_speed": 0.5}, [NONE, NONE, 0.5]),
        ({"camera": "pan=-7,zoom=0", "motion_speed": 2.0}, [-1.0, 0.0, 2.0]),
    ],
)
def test_numbers_follow_the_context_in_their_units(steered, changes, values):
    context = conditions.encode_prompt(steered, PROMPT)
    found = conditions.with_controls(steered, context, steered_by(**changes))
    assert torch.equal(found[:, : context.shape[1]], context)
    wanted = control_rows(torch.tensor([values]), context.shape[2])
    assert torch.allclose(found[:, context.shape[1] :], wanted)


def test_the_negative_context_has_no_numbers(steered):
    request = steered_by(camera="pan=7", motion_speed=2.0)
    conditioning, negative = conditions.condition(steered, request)
    none = control_rows(torch.full((1, 3), NONE), negative.shape[2])
    assert torch.equal(negative[:, -3:], none)
    assert conditioning.context.shape == negative.shape
    assert not torch.equal(conditioning.context[:, -3:], none)


def test_a_model_without_controls_keeps_its_context(tiny):
    context = conditions.encode_prompt(tiny, PROMPT)
    assert torch.equal(conditions.with_controls(tiny, context, asked()), context)


def test_numbers_reach_the_frames(steered):
    plain = frames_of(steered, steered_by())
    for changes in ({"camera": "pan=7"}, {"camera": "pan=-7"}, {"motion_speed": 2.0}):
        assert not np.array_equal(frames_of(steered, steered_by(**changes)), plain)


def test_low_precision_is_close_and_stays_inside(plain):
    rough = frames_of(load("tiny", dtype=torch.bfloat16), asked()).astype(int)
    assert not torch.is_autocast_enabled("cpu")
    assert 0 < np.abs(rough - plain).mean() < 8


def test_without_the_upsamplers_file_the_clip_is_enlarged(tiny):
    plain = replace(tiny, upsampler=None)
    frames = frames_of(plain, asked())
    assert frames.shape == (5, 256, 256, 3)
    decoded = decoding.decode(plain, _last(plain))
    small = np.concatenate([decoding.to_frames(v, 64, 64) for v in decoded])
    shrunk = frames.reshape(5, 64, 4, 64, 4, 3).mean((2, 4))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.9


def test_an_upsampler_is_applied_again_until_the_clip_is_as_large_as_it_is_delivered(tiny):
    config = replace(TINY.upsampler, scale=2)
    model = VideoUpsampler(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.05, generator=generator)
    twice = replace(tiny, upsampler=model, spec=replace(tiny.spec, upsampler=config))
    video = torch.rand(1, 3, 4, 8, 8, generator=generator) * 2 - 1
    for times in (1, 2, 4, 8):
        found = torch.cat(list(decoding.deliver(twice, video.split(2, 2), times)), 2)
        assert found.shape == (1, 3, 4, 8 * times, 8 * times)
        wanted = video
        for _ in range(round(math.log2(times))):
            wanted = model(wanted)
        torch.testing.assert_close(found, wanted)
    with pytest.raises(AssertionError, match="never makes x3"):
        next(decoding.deliver(twice, [video], 3))


def _last(pipeline):
    return states_of(pipeline, asked())[0][-1].x


@pytest.fixture(scope="module")
def finer():
    """`tiny` at twice its rate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", replace(TINY, interpolator=InterpolatorConfig(8)))
        yield load("tiny")


def asked_finer(**changes):
    settings = {"model": "tiny", "num_frames": 5, "seed": 7, "steps": 1}
    return resolve(
        GenerationRequest(PROMPT, **settings | changes),
        replace(TINY, interpolator=InterpolatorConfig(8)),
    )


@pytest.mark.parametrize(("count", "chunks"), [(1, [1]), (5, [1, 6, 2]), (9, [1, 6, 8, 2])])
def test_twice_the_rate_is_twice_the_frames_but_one(finer, count, chunks):
    found = [len(chunk) for chunk in generate(finer, asked_finer(num_frames=count))]
    assert found == chunks and sum(found) == 2 * count - 1


@pytest.mark.parametrize("count", [1, 9])
def test_at_the_models_own_rate_frames_are_as_without_an_interpolator(finer, tiny, count):
    frames = frames_of(finer, asked_finer(num_frames=count, fps=10))
    assert len(frames) == count
    assert np.array_equal(frames, frames_of(tiny, asked(num_frames=count, steps=1)))


def test_frames_between_are_the_interpolators_and_are_enlarged_as_the_others(finer):
    request = asked_finer()
    state = states_of(finer, request)[0][-1]
    video = torch.cat(list(decoding.decode(finer, state.x)), 2)
    fine = torch.cat(list(interpolated(finer.interpolator, [video])), 2)
    assert torch.equal(fine[:, :, ::2], video)
    (wanted,) = decoding.deliver(finer, [fine], 4)
    frames = frames_of(finer, request)
    assert np.abs(frames - decoding.to_frames(wanted, 256, 256).astype(int)).max() <= 1


def test_without_the_interpolators_file_frames_between_are_means(finer):
    plain = replace(finer, interpolator=None, upsampler=None)
    before = torch.get_rng_state()
    frames = frames_of(plain, asked_finer(num_frames=9)).astype(float)
    assert torch.equal(before, torch.get_rng_state())
    assert len(frames) == 17
    # Means of what is not yet cut to 0 to 255; elsewhere off by the rounding of three.
    inner = (frames > 1).all(0) & (frames < 254).all(0)
    off = frames[1::2] - (frames[:-2:2] + frames[2::2]) / 2
    assert inner.mean() > 0.3 and np.abs(off[:, inner]).max() <= 1
    assert np.abs(off).mean() > 0


@pytest.mark.parametrize("frames", [17, 25])
def test_a_loop_at_twice_the_rate_has_twice_the_frames(finer, frames):
    chunks = list(generate(finer, asked_finer(num_frames=frames, loop=True)))
    # The frame between its last and its first is one of them.
    assert sum(len(chunk) for chunk in chunks) == 2 * frames


def test_a_loop_at_twice_the_rate_leads_from_its_end_to_its_beginning(finer):
    request = asked_finer(num_frames=21, loop=True)
    states, frames = states_of(finer, request)
    assert len(frames) == request.delivered_frames
    _, shown = states_of(finer, replace(request, loop=None, num_frames=17))
    back = np.concatenate(list(decoding.frames_of(finer, request, states[-1].x)))
    assert (len(frames), len(shown), len(back)) == (42, 33, 49)
    # As at its own rate, every place doubled: 14 frames are kept, the bridge is one of 16.
    assert np.array_equal(frames[27:], back[17:32])
    for i in range(10):
        faded = back[32 + i] + (shown[i] - back[32 + i].astype(float)) * (i + 1) / 18
        assert np.abs(frames[i] - faded).max() <= 0.51
    for i in range(7, 17):
        faded = shown[10 + i] + (back[i] - shown[10 + i].astype(float)) * (i + 1) / 18
        assert np.abs(frames[10 + i] - faded).max() <= 0.51


def test_what_comes_before_is_known_up_to_its_last_delivered_frame(finer, tmp_path):
    path = video(tmp_path / "a.mp4", 24, fps=20)
    states, frames = states_of(finer, asked_finer(num_frames=17, before=path))
    assert len(frames) == 33
    wanted = latent_of(finer, last_frames(path, 9, 10, SIZE, times=2))
    other = latent_of(finer, last_frames(path, 9, 10, SIZE))
    assert torch.equal(states[-1].x[:, :, :3], wanted) and not torch.equal(wanted, other)
    states, _ = states_of(finer, asked_finer(num_frames=17, before=path, fps=10))
    assert torch.equal(states[-1].x[:, :, :3], other)


@pytest.fixture(scope="module")
def mapped(tiny):
    """`tiny` with a transformer that is told where a step ends, and what it was told."""
    spec = replace(TINY, dit=replace(TINY.dit, flow_map=True))
    return replace(tiny, spec=spec, dit=random_parts(spec)["dit"])


def told_to(pipeline, monkeypatch, request):
    """The noise levels of every evaluation and where the transformer was told that it ends."""
    told, inner = [], pipeline.dit.forward

    def forward(x, sigma, context, to=None, image=None):
        told.append((sigma, to))
        return inner(x, sigma, context, to=to, image=image)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.dit, "forward", forward)
        frames_of(pipeline, request)
    return told


@pytest.mark.parametrize("steps", [1, 3, 60])
def test_a_flow_map_is_told_the_next_level(mapped, monkeypatch, steps):
    request = asked(steps=steps, guidance_scale=1.0, num_frames=1)
    told, sigmas = told_to(mapped, monkeypatch, request), make_sigmas(steps, request.shift)
    assert torch.equal(torch.cat([sigma for sigma, _ in told]), sigmas[:-1])
    assert torch.equal(torch.cat([to for _, to in told]), sigmas[1:])


def test_what_is_known_has_no_way_to_go(mapped, monkeypatch, tmp_path):
    request = asked(image=picture(tmp_path / "a.png", 40), steps=2, guidance_scale=2.0)
    sigmas = make_sigmas(2, request.shift)
    for i, (sigma, to) in enumerate(told_to(mapped, monkeypatch, request)):
        assert sigma.tolist() == [[0, sigmas[i // 2]]]
        assert to.tolist() == [[0, sigmas[i // 2 + 1]]]


def test_any_other_transformer_is_told_nothing(tiny, monkeypatch):
    assert {to for _, to in told_to(tiny, monkeypatch, asked(steps=2))} == {None}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_half_precision_takes_a_model_for_it_and_a_processor_that_is_fast_at_it(
    monkeypatch, half, fast
):
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, half=half))
    monkeypatch.setattr(pipelines, "fast_bfloat16", lambda device: fast)
    assert load("tiny").dtype == (torch.bfloat16 if half and fast else torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        assert load("tiny", dtype=dtype).dtype == dtype


@pytest.mark.parametrize(
    ("able", "fast"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_processor_is_fast_at_half_precision_if_torch_says_so(monkeypatch, able, fast):
    if able is None:  # torch before 2.12
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert pipelines.fast_bfloat16(torch.device("cpu")) is fast
