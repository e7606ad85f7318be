"""From a request to frames: the main path, top to bottom.

`generate` is the path itself: noise, conditioning, guided velocity, solver, decoding as a
stream. `produce.run` makes files of it, as the command does.

Letters: b batch, c latent channels, t frames (_t: of a chunk, another number each time), h
height, w width, l context tokens, d context channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.flow.guidance import ModelFn, guided
from kineograph.flow.path import VelocityFn, add_noise, with_known
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import SamplerState, sample, start
from kineograph.inputs import first_frames, join, last_frames, still
from kineograph.models.conditioning import Conditioning
from kineograph.models.dit import VideoDiT, control_rows
from kineograph.models.image import ImageEncoder
from kineograph.models.interpolator import FrameInterpolator, interpolated
from kineograph.models.text import TextEncoder, encode_context
from kineograph.models.tokenizer import Tokenizer
from kineograph.models.umt5 import UmT5Tokenizer
from kineograph.models.upsampler import VideoUpsampler
from kineograph.models.vae import VideoVAE
from kineograph.nn.causal import ConvCache
from kineograph.nn.embed import SIGMA_SCALE
from kineograph.request import ResolvedRequest
from kineograph.runtime.residence import Residence, Strategy
from kineograph.spec import ModelSpec, size_of
from kineograph.ways import (
    AFTER_LATENTS,
    BEFORE_LATENTS,
    LOOP_LATENTS,
    latent_place,
    split_lora,
)
from kineograph.weights.adapters import Attached, read_adapter
from kineograph.weights.folder import open_parts, spec_of

COMPANIONS = ("upsampler", "interpolator")  # small, and at work beside the VAE: always there


@dataclass(frozen=True)
class Pipeline:
    """A model that is loaded: its parts, where they are and how they compute."""

    spec: ModelSpec
    vae: VideoVAE
    dit: VideoDiT
    low_dit: VideoDiT | None  # the expert for low noise, where there are two
    text: TextEncoder
    image: ImageEncoder | None  # what sees pictures besides the VAE
    tokenizer: Tokenizer | UmT5Tokenizer
    upsampler: VideoUpsampler | None
    interpolator: FrameInterpolator | None
    device: torch.device
    dtype: torch.dtype  # of the arithmetic; below float32 by autocast
    hashes: Mapping[str, str]  # sha256 of every file that decides the frames
    residence: Residence  # where the weights are meanwhile
    adapted: tuple[Attached, ...] = ()  # what changes the transformers at present

    def working(self, kind: str) -> AbstractContextManager[object]:
        """Return the context in which a part works, its weights on the device."""
        self.residence.need(kind)
        half = self.dtype != torch.float32 and not (kind == "vae" and self.spec.float_vae)
        return torch.autocast(self.device.type, self.dtype if half else None, enabled=half)

    def unknown_words(self, request: ResolvedRequest) -> list[str]:
        """Return the words of both prompts that the model was not trained on."""
        return self.tokenizer.unknown_words(f"{request.prompt}\n{request.negative_prompt}")


def load(
    name: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    fit: Strategy = "resident",
) -> Pipeline:
    """Open a preset, or a folder of weights, for inference.

    It computes in `dtype`; by default in float32, or in bfloat16 where the model's row and the
    processor are for it. `fit` says how much of it is on the device at a time.

    Raises:
        RequestError: `name` is neither.
        WeightsError: files are missing, damaged, or do not fit together.
    """
    spec, device = spec_of(name), torch.device(device)
    dtype = default_dtype(spec, device) if dtype is None else dtype
    parts = open_parts(name, dtype if spec.hub else None)
    modules = parts.modules
    main = {kind: part for kind, part in modules.items() if kind not in COMPANIONS}
    for kind in modules.keys() - main.keys():
        modules[kind].to(device)
    vae, dit, text = (modules[kind] for kind in ("vae", "dit", "text"))
    low_dit, image = modules.get("low_dit"), modules.get("image")
    upsampler, interpolator = modules.get("upsampler"), modules.get("interpolator")
    assert isinstance(vae, VideoVAE) and isinstance(dit, VideoDiT) and isinstance(text, TextEncoder)
    assert low_dit is None or isinstance(low_dit, VideoDiT)
    assert image is None or isinstance(image, ImageEncoder)
    assert upsampler is None or isinstance(upsampler, VideoUpsampler)
    assert interpolator is None or isinstance(interpolator, FrameInterpolator)
    reader = UmT5Tokenizer if parts.spec.hub else Tokenizer
    tokenizer = reader.load(parts.tokenizer, parts.spec.dit.text_len)
    return Pipeline(
        parts.spec, vae, dit, low_dit, text, image, tokenizer, upsampler, interpolator, device,
        dtype, parts.hashes, Residence(main, device, fit),
    )  # fmt: skip


def adapt(pipeline: Pipeline, loras: Sequence[str], merge: bool = False) -> Pipeline:
    """Return a pipeline whose transformers are changed by these adapters and by no others.

    Entries are those of `GenerationRequest.lora`; none takes all off again. With `merge` they are
    added to the weights, which makes a step no dearer but takes memory.

    Raises:
        WeightsError: a file is damaged or for another model.
    """
    experts: dict[str, VideoDiT] = {"high": pipeline.dit}
    if pipeline.low_dit is not None:
        experts["low"] = pipeline.low_dit
    wanted = {
        name: [
            (read_adapter(path, dit, second=name == "low"), scale)
            for path, scale, expert in map(split_lora, loras)
            if expert in ("", name)
        ]
        for name, dit in experts.items()
    }
    old = pipeline.residence
    old.close()
    for attached in pipeline.adapted:
        attached.detach()
    adapted = tuple(Attached(experts[name], some, merge) for name, some in wanted.items() if some)
    residence = Residence(old.parts, old.device, old.strategy, old.always, old.tell)
    return replace(pipeline, residence=residence, adapted=adapted)


def default_dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    """Return what a model is computed in on a device unless it is asked for."""
    return torch.bfloat16 if spec.half and fast_bfloat16(device) else torch.float32


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices of bfloat16 faster than of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.12 or later
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def generate(
    pipeline: Pipeline,
    request: ResolvedRequest,
    *,
    state: SamplerState | None = None,
    on_step: Callable[[SamplerState], None] = lambda state: None,
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Yield the frames of one clip, a few at a time.

    `on_step` sees the state before the first step and after every evaluation; any of them,
    given back as `state` here or in another process, leads to the same frames.

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


def denoise(
    pipeline: Pipeline,
    request: ResolvedRequest,
    conditioning: Conditioning,
    negative: Float[Tensor, "b l d"],
    state: SamplerState,
    on_step: Callable[[SamplerState], None] = lambda state: None,
) -> SamplerState:
    """Return the state of the finished latent."""
    sigmas = make_sigmas(request.steps, request.shift, sigma_max=pipeline.spec.sigma_max)
    scale, low = request.guidance_scale, request.low_guidance_scale
    velocity = guided_velocity(pipeline, conditioning, negative, scale, sigmas, low)
    on_step(state)
    while True:
        try:
            for state in sample(velocity, state, sigmas):  # noqa: B020 - on from where it is
                on_step(state)
            return state
        except torch.OutOfMemoryError:  # nothing but the step in hand is lost
            if not pipeline.residence.step_down():
                raise


def frames_of(
    pipeline: Pipeline, request: ResolvedRequest, latent: Float[Tensor, "1 c t h w"]
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Yield the frames of a finished latent, a few at a time, as they are delivered."""
    video = decode(pipeline, latent)
    if request.times_fps > 1:
        video = finer(pipeline, video)
    for chunk in deliver(pipeline, video, size_of(request).enlarged):
        yield to_frames(chunk, request.out_height, request.out_width)


def begin(
    pipeline: Pipeline, request: ResolvedRequest, conditioning: Conditioning
) -> SamplerState:
    """Return the state before the first step: noise, and what is known.

    A video that is to be changed is noised as far as `strength` says, and what comes before
    that on the way down is left out (arXiv 2108.01073).
    """
    noise = initial_noise(pipeline, request)
    if request.video is None or request.strength == 1:
        return start(conditioning.insert(noise), request.solver)
    assert request.strength is not None
    sigmas = make_sigmas(request.steps, request.shift, sigma_max=pipeline.spec.sigma_max)
    index = int((sigmas[:-1] > request.strength).sum())
    index = min(index, request.steps - 1)
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
    made with both in sight; `state` and `on_step` are of this second part, since the first
    comes out the same again. At both seams the two show the same frames, and fade.
    """
    stride = pipeline.spec.vae.temporal_stride
    lead, tail = 1 + stride * (BEFORE_LATENTS - 1), stride * AFTER_LATENTS
    bridge = stride * LOOP_LATENTS
    # The bridge's last frame is the clip's first again and does not count: one more is kept of
    # the first part, and the others that its last latent frame stands for are left out.
    kept = request.num_frames - bridge + 1
    first = replace(request, loop=None, num_frames=kept + stride - 1)
    conditioning, negative = condition(pipeline, first)
    done = denoise(
        pipeline, first, conditioning, negative, begin(pipeline, first, conditioning)
    )
    video = torch.cat(list(decode(pipeline, done.x)), 2)[0]
    second = replace(request, loop=None, image=None, num_frames=lead + bridge + tail)
    known, mask = nothing_known(pipeline, second)
    known[:, :, :BEFORE_LATENTS] = encode_video(pipeline, video[:, kept - lead : kept])
    known[:, :, -AFTER_LATENTS:] = encode_video(pipeline, video[:, : 1 + tail])[:, :, 1:]
    mask[:, :BEFORE_LATENTS] = mask[:, -AFTER_LATENTS:] = True
    conditioning = replace(conditioning, known=known, known_mask=mask)
    if state is None:
        state = begin(pipeline, second, conditioning)
    state = denoise(pipeline, second, conditioning, negative, state, on_step)
    back = list(_singly(frames_of(pipeline, second, state.x)))
    begun = islice(_singly(frames_of(pipeline, first, done.x)), request.delivered(kept))
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
    shape = pipeline.spec.latent_shape(size_of(request), request.num_frames)
    return torch.randn(1, *shape, generator=generator).to(pipeline.device)


def nothing_known(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Float[Tensor, "1 c t h w"], Bool[Tensor, "1 t"]]:
    """Return a latent and a mask of its frames to fill in with what is known."""
    shape = pipeline.spec.latent_shape(size_of(request), request.num_frames)
    mask = torch.zeros(1, shape[1], dtype=torch.bool, device=pipeline.device)
    return torch.zeros(1, *shape, device=pipeline.device), mask


def condition(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Conditioning, Float[Tensor, "1 l d"]]:
    """Return what the clip is conditioned on, and the negative context.

    The empty negative prompt is encoded as any other text: training dropped prompts so.
    """
    context = with_controls(pipeline, encode_prompt(pipeline, request.prompt), request)
    negative = with_controls(pipeline, encode_prompt(pipeline, request.negative_prompt))
    if pipeline.spec.concatenates:
        return beside(pipeline, request, context), negative
    pictures = request.pictures()
    if not pictures and request.before is None and request.after is None:
        return Conditioning(context), negative
    known, mask = nothing_known(pipeline, request)
    # A latent frame after the first stands for `stride` frames and depends on those before it:
    # a picture there is encoded as the end of a clip in which nothing else is ever seen.
    stride, size = pipeline.spec.vae.temporal_stride, size_of(request)
    for path, frame in pictures:
        place = latent_place(frame, stride)
        video = repeat(still(path, size), "c h w -> c t h w", t=1 + stride if place else 1)
        known[:, :, place] = encode_video(pipeline, video)[:, :, -1]
        mask[:, place] = True
    if request.before is not None:
        count = 1 + stride * (BEFORE_LATENTS - 1)
        video = last_frames(request.before, count, request.fps, size, request.times_fps)
        known[:, :, :BEFORE_LATENTS] = encode_video(pipeline, video)
        mask[:, :BEFORE_LATENTS] = True
    if request.after is not None:
        video = first_frames(request.after, 1 + stride * AFTER_LATENTS, request.fps, size)
        known[:, :, -AFTER_LATENTS:] = encode_video(pipeline, video)[:, :, 1:]
        mask[:, -AFTER_LATENTS:] = True
    return Conditioning(context, known, mask), negative


def beside(
    pipeline: Pipeline, request: ResolvedRequest, context: Float[Tensor, "1 l d"]
) -> Conditioning:
    """Return pictures as Wan's first models take them: as channels beside the noisy latent.

    They are which frames are given, a channel for each of those that a latent frame stands for,
    and the latent of a clip that shows the pictures and is grey elsewhere. Wan 2.1 also attends
    to what CLIP sees in them.
    """
    size, stride = size_of(request), pipeline.spec.vae.temporal_stride
    video = torch.zeros(3, request.num_frames, size.height, size.width)
    given = torch.zeros(request.num_frames)
    for path, frame in request.pictures():
        video[:, frame], given[frame] = still(path, size), 1
    latent = encode_video(pipeline, video)
    # The first latent frame stands for one frame alone, which is counted as often as the others.
    counted = rearrange(torch.cat((given[:1].expand(stride - 1), given)), "(t i) -> i t", i=stride)
    mask = counted[None, :, :, None, None].to(latent).expand(-1, -1, -1, *latent.shape[-2:])
    image = None
    if pipeline.image is not None:
        seen = pipeline.image.prepare(video[:, given > 0].transpose(0, 1).to(pipeline.device))
        with pipeline.working("image"):
            image = rearrange(pipeline.image(seen), "p i j -> 1 (p i) j").float()
    return Conditioning(context, channels=torch.cat((mask, latent), 1), image=image)


def with_controls(
    pipeline: Pipeline, context: Float[Tensor, "1 l d"], request: ResolvedRequest | None = None
) -> Float[Tensor, "1 m d"]:
    """Return a context with the rows of the model's controls, if it has any, behind it.

    A camera that is given in numbers stands along the axes that it does not name. Without a
    request no number is given.
    """
    units = pipeline.spec.controls
    if not units:
        return context
    numbers = dict.fromkeys(units, math.nan)
    if request is not None and request.camera is not None:
        numbers |= {name: 0.0 for name in units if name != "speed"} | request.camera_rates()
    if request is not None and request.motion_speed is not None:
        numbers["speed"] = request.motion_speed
    values = torch.tensor([[numbers[name] / unit for name, unit in units.items()]])
    return torch.cat((context, control_rows(values.to(context.device), context.shape[2])), 1)


def encode_prompt(pipeline: Pipeline, prompt: str) -> Float[Tensor, "1 l d"]:
    """Return the context of a prompt; a `RequestError` says if it has too many tokens."""
    ids, mask = (part.to(pipeline.device) for part in pipeline.tokenizer.encode([prompt]))
    with pipeline.working("text"):
        return encode_context(pipeline.text, ids, mask, pipeline.spec.dit.text_len).float()


def encode_video(
    pipeline: Pipeline, video: Float[Tensor, "3 t h w"]
) -> Float[Tensor, "1 c t2 h2 w2"]:
    """Return the normalised latent of a clip in [-1, 1]."""
    with pipeline.working("vae"):
        mean, _ = pipeline.vae.encode(video[None].to(pipeline.device))
    return pipeline.vae.normalise(mean.float())


def guided_velocity(
    pipeline: Pipeline,
    conditioning: Conditioning,
    negative: Float[Tensor, "b l d"],
    guidance_scale: float,
    sigmas: Float[Tensor, " steps_plus_1"],
    low_guidance_scale: float | None = None,
) -> VelocityFn:
    """Return the velocity of the transformer, guided, with known latent frames held.

    A flow map is told which of `sigmas` comes next. Where there are two experts the second one,
    with its own scale, takes over below the boundary.
    """
    method = pipeline.spec.guidance

    def guided_by(kind: str, scale: float) -> VelocityFn:
        model = model_of(pipeline, kind, conditioning, sigmas)
        return guided(model, conditioning.context, negative, scale, method=method)

    velocity = guided_by("dit", guidance_scale)
    if pipeline.low_dit is not None:
        assert low_guidance_scale is not None
        high, low = velocity, guided_by("low_dit", low_guidance_scale)
        boundary = pipeline.spec.boundary

        def by_noise(x: Tensor, sigma: Tensor) -> Tensor:
            expert = high if float(told_sigma(pipeline.spec, sigma).max()) >= boundary else low
            return expert(x, sigma)

        velocity = by_noise
    if conditioning.known is None or conditioning.known_mask is None:
        return velocity
    return with_known(velocity, conditioning.known, conditioning.known_mask)


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

    def model(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        to = None
        if dit.config.flow_map:
            # The nearest level below; what is known stays at 0.
            after = torch.where(levels < sigma[..., None] - 1e-6, levels, 0.0).amax(-1)
            to = torch.where(sigma > 0, after, 0.0)
        if conditioning.channels is not None:
            x = torch.cat((x, conditioning.channels.to(x.dtype)), 1)
        sigma = told_sigma(pipeline.spec, sigma)
        with pipeline.working(kind):
            velocity: Tensor = dit(x, sigma, context, to=to, image=conditioning.image)
        return velocity

    return model


def told_sigma(spec: ModelSpec, sigma: Float[Tensor, "b *t"]) -> Float[Tensor, "b *t"]:
    """Return noise levels as the network is told them: some know whole thousandths alone."""
    if not spec.whole_steps:
        return sigma
    # Levels are float32: one that is meant to be whole may lie a little below it.
    return (sigma.double() * SIGMA_SCALE + 1e-4).floor().to(sigma.dtype) / SIGMA_SCALE


def decode(
    pipeline: Pipeline, latent: Float[Tensor, "b c t h w"]
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield the video of a normalised latent at the base size, a latent frame at a time.

    Where the device runs out of memory it begins again, with less there, and what has been
    yielded is not yielded twice.
    """
    raw, done = pipeline.vae.denormalise(latent), 0
    while True:
        try:
            chunks = _under(pipeline, "vae", pipeline.vae.decode_stream(raw))
            for chunk in islice(chunks, done, None):
                yield chunk
                done += 1
            return
        except torch.OutOfMemoryError:
            if not pipeline.residence.step_down():
                raise


def finer(
    pipeline: Pipeline, chunks: Iterable[Float[Tensor, "b 3 _t h w"]]
) -> Iterator[Float[Tensor, "b 3 _t h w"]]:
    """Yield a video, given in chunks, at twice its rate.

    Where the interpolator's file is missing a frame between is the mean of its neighbours.
    """
    between = _mean if pipeline.interpolator is None else pipeline.interpolator
    yield from _under(pipeline, "interpolator", interpolated(between, chunks))


def _mean(frames: Float[Tensor, "b k c h w"]) -> Float[Tensor, "b c h w"]:
    """Return the mean of the two in the middle, with which an interpolator begins."""
    return frames[:, 1:3].mean(1)


def deliver(
    pipeline: Pipeline, chunks: Iterable[Float[Tensor, "b 3 _t h w"]], enlarged: int
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield a video, given in chunks, at the size it is delivered at before cropping.

    The upsampler is applied again until it is `enlarged` times as high and wide. Where its file
    is missing the enlargement is bicubic.
    """
    if enlarged == 1:
        yield from chunks
        return
    config = pipeline.spec.upsampler
    assert config is not None, f"{pipeline.spec.name} has no upsampler"
    passes = round(math.log(enlarged, config.scale))
    assert config.scale**passes == enlarged, f"x{config.scale} never makes x{enlarged}"
    caches = [ConvCache() for _ in range(passes)]
    for video in chunks:
        if pipeline.upsampler is None:
            yield _bicubic(video, enlarged)
            continue
        for cache in caches:
            with pipeline.working("upsampler"):
                video = pipeline.upsampler(video, cache).float()
        yield video


def _under(pipeline: Pipeline, kind: str, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Draw each chunk in the context of a part, which a generator would leak to its caller."""
    while True:
        with pipeline.working(kind):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _bicubic(video: Tensor, scale: int) -> Tensor:
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    larger = F.interpolate(frames, scale_factor=float(scale), mode="bicubic")
    return rearrange(larger, "(b t) c h w -> b c t h w", b=video.shape[0])


def to_frames(
    video: Float[Tensor, "1 3 t h w"], height: int, width: int
) -> UInt8[ndarray, "t height width 3"]:
    """Cut the middle out of a video in [-1, 1] and return it as pixels."""
    top, left = (video.shape[-2] - height) // 2, (video.shape[-1] - width) // 2
    cut = video[0, :, :, top : top + height, left : left + width]
    pixels = cut.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    frames: UInt8[ndarray, "t h w 3"] = rearrange(pixels, "c t h w -> t h w c").cpu().numpy()
    return np.ascontiguousarray(frames)
