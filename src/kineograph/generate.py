"""From a request to frames: the main path, top to bottom.

`generate` is the path itself: noise, conditioning, guided velocity, solver, decoding as a
stream. `produce.run` makes files of it, as the command does.

Letters: b batch, c latent channels, t frames (_t: of a chunk, another number each time), h
height, w width, l context tokens, d context channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.conditions import condition, nothing_known
from kineograph.decoding import decode, encode_video, frames_of
from kineograph.errors import RequestError
from kineograph.flow.guidance import ModelFn, PairFn, guided, one_by_one, together
from kineograph.flow.path import VelocityFn, add_noise, with_known
from kineograph.flow.shortcuts import Memory, guidance_every, step_cache
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import SamplerState, on_device, sample, start
from kineograph.inputs import first_frames, join
from kineograph.models.conditioning import Conditioning
from kineograph.nn.embed import SIGMA_SCALE
from kineograph.pipeline import Pipeline
from kineograph.request import ResolvedRequest
from kineograph.spec import ModelSpec, size_of
from kineograph.ways import AFTER_LATENTS, BEFORE_LATENTS, made_frames

FIRST_PART = "first_part"  # as what a loop's second part remembers the latent of its first


def generate(
    pipeline: Pipeline,
    request: ResolvedRequest,
    *,
    state: SamplerState | None = None,
    on_step: Callable[[SamplerState], None] = lambda state: None,
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Yield the frames of one clip, a few at a time.

    `on_step` sees the state before the first step and after every evaluation; any of them,
    given back as `state` here or in another process, leads to the same frames. `steps_done`
    tells how far one is.

    Raises:
        RequestError: a prompt has too many tokens, or a picture or a video cannot be read.
    """
    if request.loop:
        yield from looped(pipeline, request, state=state, on_step=on_step)
        return
    conditioning, negative = condition(pipeline, request)
    if state is None:
        state = begin(pipeline, request, conditioning)
    state = denoise(pipeline, request, conditioning, negative, state, on_step)
    yield from frames_of(pipeline, request, state.x)


def steps_done(request: ResolvedRequest, state: SamplerState) -> int:
    """Return how many of all steps (`request.all_steps`) of a clip lie behind a state."""
    return state.index + (request.steps if FIRST_PART in state.memory else 0)


def denoise(
    pipeline: Pipeline,
    request: ResolvedRequest,
    conditioning: Conditioning,
    negative: Float[Tensor, "b l d"],
    state: SamplerState,
    on_step: Callable[[SamplerState], None] = lambda state: None,
) -> SamplerState:
    """Return the state of the finished latent."""
    sigmas, _ = levels(pipeline, request)
    state = on_device(state, pipeline.device)
    memory: Memory = dict(state.memory)
    velocity = guided_velocity(pipeline, request, conditioning, negative, sigmas, memory)
    on_step(state)
    while True:
        try:
            for state in sample(velocity, state, sigmas):  # noqa: B020 - on from where it is
                state = replace(state, memory=dict(memory))
                on_step(state)
            return state
        except torch.OutOfMemoryError:  # nothing but the step in hand is lost
            memory.clear()
            memory.update(state.memory)
            if not pipeline.step_down():
                raise


def levels(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Float[Tensor, " steps_plus_1"], int]:
    """Return the noise levels of a clip, from noise to 0, and at which of them it begins.

    A video that is to be changed is taken up at the level `strength`, which takes the place of the
    next one below it; what comes before that is left out (arXiv 2108.01073).
    """
    sigmas = make_sigmas(request.steps, request.shift, sigma_max=pipeline.spec.sigma_max)
    if request.video is None or request.strength == 1:
        return sigmas, 0
    assert request.strength is not None
    index = min(int((sigmas[:-1] > request.strength).sum()), request.steps - 1)
    sigmas[index] = request.strength
    return sigmas, index


def begin(
    pipeline: Pipeline, request: ResolvedRequest, conditioning: Conditioning
) -> SamplerState:
    """Return the state before the first step: noise, and what is known.

    A video that is to be changed is noised as far as `strength` says.
    """
    noise = initial_noise(pipeline, request)
    if request.video is None or request.strength == 1:
        return start(conditioning.insert(noise), request.solver)
    sigmas, index = levels(pipeline, request)
    source = first_frames(request.video, request.num_frames, request.fps, size_of(request))
    level = sigmas[index].expand(1).to(pipeline.device)
    x = add_noise(encode_video(pipeline, source), noise, level)
    return replace(start(x, request.solver), index=index)


def looped(
    pipeline: Pipeline,
    request: ResolvedRequest,
    *,
    state: SamplerState | None,
    on_step: Callable[[SamplerState], None],
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Yield a clip that leads back to its own beginning.

    Most of it is a clip like any other. The rest lies between its end and its beginning, and is
    made with both in sight; the states of this second part remember the first one's latent. At
    both seams the two show the same frames, and fade.
    """
    stride = pipeline.spec.vae.temporal_stride
    lead, tail = 1 + stride * (BEFORE_LATENTS - 1), stride * AFTER_LATENTS
    made, way_back = made_frames(request, stride)
    bridge = way_back - lead - tail
    # The bridge's last frame is the clip's first again and does not count: one more is kept of
    # the first part, and the others that its last latent frame stands for are left out.
    kept = request.num_frames - bridge + 1
    first = replace(request, loop=None, num_frames=made)
    conditioning, negative = condition(pipeline, first)
    latent = None if state is None else state.memory.get(FIRST_PART)
    if latent is None:
        if state is None:
            state = begin(pipeline, first, conditioning)
        latent = denoise(pipeline, first, conditioning, negative, state, on_step).x
        state = None
    latent = latent.to(pipeline.device)
    video = torch.cat(list(decode(pipeline, latent)), 2)[0]
    second = replace(request, loop=None, image=None, num_frames=way_back)
    known, mask = nothing_known(pipeline, second)
    known[:, :, :BEFORE_LATENTS] = encode_video(pipeline, video[:, kept - lead : kept])
    known[:, :, -AFTER_LATENTS:] = encode_video(pipeline, video[:, : 1 + tail])[:, :, 1:]
    mask[:, :BEFORE_LATENTS] = mask[:, -AFTER_LATENTS:] = True
    conditioning = replace(conditioning, known=known, known_mask=mask)
    if state is None:
        state = begin(pipeline, second, conditioning)
        state = replace(state, memory={FIRST_PART: latent})
    state = denoise(pipeline, second, conditioning, negative, state, on_step)
    back = list(_singly(frames_of(pipeline, second, state.x)))
    begun = islice(_singly(frames_of(pipeline, first, latent)), request.delivered(kept))
    home = request.times_fps * (lead + bridge - 1)  # where in `back` the clip begins again
    body = join(back[home:], begun, request.delivered(1 + tail))
    for frame in join(body, back[:home], request.delivered(lead)):
        yield frame[None]


def _singly(
    chunks: Iterable[UInt8[ndarray, "_t h w 3"]],
) -> Iterator[UInt8[ndarray, "h w 3"]]:
    return (frame for chunk in chunks for frame in chunk)


def initial_noise(pipeline: Pipeline, request: ResolvedRequest) -> Float[Tensor, "1 c t h w"]:
    """Return the noise of a seed, drawn on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(request.seed)
    c, t, h, w = pipeline.spec.latent_shape(size_of(request), request.num_frames)
    t += len(request.references or ())  # pictures that stand before the clip, for the model alone
    return torch.randn(1, c, t, h, w, generator=generator).to(pipeline.device)


def guided_velocity(
    pipeline: Pipeline,
    request: ResolvedRequest,
    conditioning: Conditioning,
    negative: Float[Tensor, "b l d"],
    sigmas: Float[Tensor, " steps_plus_1"],
    memory: Memory,
) -> VelocityFn:
    """Return the velocity of the transformer, guided, with known latent frames held.

    Where there are two experts the second one, with its own scale, takes over below the boundary.
    What is left out at the request's wish is made up from `memory`.
    """
    method = pipeline.spec.guidance
    both = pair_of(pipeline, request)

    def guided_by(kind: str, scale: float) -> VelocityFn:
        model, pair = model_of(pipeline, kind, conditioning, sigmas), both
        if request.guidance_every is not None and request.guidance_every > 1:
            pair = guidance_every(pair, request.guidance_every, memory, kind)
        return guided(model, conditioning.context, negative, scale, method=method, pair=pair)

    velocity = guided_by("dit", request.guidance_scale)
    if pipeline.low_dit is not None:
        assert request.low_guidance_scale is not None
        high, low = velocity, guided_by("low_dit", request.low_guidance_scale)
        boundary = pipeline.spec.boundary

        def by_noise(x: Tensor, sigma: Tensor) -> Tensor:
            expert = high if float(told_sigma(pipeline.spec, sigma).max()) >= boundary else low
            return expert(x, sigma)

        velocity = by_noise
    if conditioning.known is not None and conditioning.known_mask is not None:
        velocity = with_known(velocity, conditioning.known, conditioning.known_mask)
    if request.step_cache is not None:
        velocity = step_cache(velocity, request.step_cache, sigmas, memory)
    return velocity


def pair_of(pipeline: Pipeline, request: ResolvedRequest) -> PairFn:
    """Return how both sides of a guided step are evaluated.

    Raises `RequestError` where they are wanted in one call and the request leaves some out.
    """
    if pipeline.team is not None:
        return pipeline.team.pair
    if pipeline.options.guidance_batch != "on":
        return one_by_one
    every = request.guidance_every
    if every is not None and every > 1:
        raise RequestError(
            f"guidance_batch 'on' does not go with guidance_every {every}, which evaluates one "
            "side alone; auto and off do"
        )
    return together


def model_of(
    pipeline: Pipeline,
    kind: str,
    conditioning: Conditioning,
    sigmas: Float[Tensor, " steps_plus_1"],
) -> ModelFn:
    """Return a transformer as guidance calls it, what is the same at every step put in."""
    levels = sigmas.to(pipeline.device)
    dit = pipeline.dit if kind == "dit" else pipeline.low_dit
    assert dit is not None
    control = conditioning.control

    def model(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        to = None
        if dit.config.flow_map:
            # The nearest level below; what is known stays at 0.
            after = torch.where(levels < sigma[..., None] - 1e-6, levels, 0.0).amax(-1)
            to = torch.where(sigma > 0, after, 0.0)
        more: dict[str, Any] = {}
        if control is not None:
            more = {"control": again(control, x), "control_scale": conditioning.control_scale}
        if conditioning.image is not None:
            more["image"] = again(conditioning.image, x)
        if conditioning.channels is not None:
            x = torch.cat((x, again(conditioning.channels, x).to(x.dtype)), 1)
        sigma = told_sigma(pipeline.spec, sigma)
        with pipeline.working(kind):
            velocity: Tensor = dit(x, sigma, context, to=to, **more)
        return velocity

    def again(given: Tensor, x: Tensor) -> Tensor:
        """Return what is given of each clip as often as the clips stand in x."""
        times = x.shape[0] // given.shape[0]
        return given if times == 1 else torch.cat([given] * times)

    return model


def told_sigma(spec: ModelSpec, sigma: Float[Tensor, "b *t"]) -> Float[Tensor, "b *t"]:
    """Return noise levels as the network is told them: some know whole thousandths alone."""
    if not spec.whole_steps:
        return sigma
    # Levels are float32: one that is meant to be whole may lie a little below it.
    return (sigma.double() * SIGMA_SCALE + 1e-4).floor().to(sigma.dtype) / SIGMA_SCALE


