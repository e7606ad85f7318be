"""From a request to frames: the main path, top to bottom.

`generate` is the path itself: noise, conditioning, guided velocity, solver, decoding as a
stream. `produce.run` makes files of it, as the command does.

Letters: b batch, c latent channels, t frames (_t: of a chunk, another number each time), h
height, w width, l context tokens, d context channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.flow.guidance import guided
from kineograph.flow.path import VelocityFn, with_known
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import SamplerState, sample, start
from kineograph.media.image import fit_image, read_image
from kineograph.models.conditioning import Conditioning
from kineograph.models.dit import VideoDiT
from kineograph.models.text import TextEncoder, encode_context
from kineograph.models.tokenizer import Tokenizer
from kineograph.models.upsampler import VideoUpsampler
from kineograph.models.vae import VideoVAE
from kineograph.nn.causal import ConvCache
from kineograph.request import ResolvedRequest
from kineograph.spec import ModelSpec
from kineograph.weights.folder import open_parts


@dataclass(frozen=True)
class Pipeline:
    """A model that is loaded: its parts, where they are and how they compute."""

    spec: ModelSpec
    vae: VideoVAE
    dit: VideoDiT
    text: TextEncoder
    tokenizer: Tokenizer
    upsampler: VideoUpsampler | None
    device: torch.device
    dtype: torch.dtype  # of the arithmetic; below float32 by autocast over float32 weights
    hashes: Mapping[str, str]  # sha256 of every file that decides the frames

    def arithmetic(self) -> AbstractContextManager[object]:
        """Return the context in which the networks run."""
        half = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if half else None, enabled=half)

    def unknown_words(self, request: ResolvedRequest) -> list[str]:
        """Return the words of both prompts that the model was not trained on."""
        return self.tokenizer.unknown_words(f"{request.prompt}\n{request.negative_prompt}")


def load(
    name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Pipeline:
    """Open a preset, or a folder of weights, for inference.

    Raises:
        RequestError: `name` is neither.
        WeightsError: files are missing, damaged, or do not fit together.
    """
    parts, device = open_parts(name), torch.device(device)
    modules = {kind: module.to(device) for kind, module in parts.modules.items()}
    vae, dit, text, upsampler = (modules.get(k) for k in ("vae", "dit", "text", "upsampler"))
    assert isinstance(vae, VideoVAE) and isinstance(dit, VideoDiT) and isinstance(text, TextEncoder)
    assert upsampler is None or isinstance(upsampler, VideoUpsampler)
    tokenizer = Tokenizer.load(parts.tokenizer, parts.spec.dit.text_len)
    return Pipeline(
        parts.spec, vae, dit, text, tokenizer, upsampler, device, dtype, parts.hashes
    )


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
        RequestError: a prompt has too many tokens, or a picture cannot be read.
    """
    sigmas = make_sigmas(request.steps, request.shift)
    conditioning, negative = condition(pipeline, request)
    velocity = guided_velocity(pipeline, conditioning, negative, request.guidance_scale)
    if state is None:
        noise = initial_noise(pipeline, request)
        state = start(conditioning.insert(noise), request.solver)
    on_step(state)
    for state in sample(velocity, state, sigmas):  # noqa: B020 - it goes on from where it is
        on_step(state)
    for video in deliver(pipeline, decode(pipeline, state.x)):
        yield to_frames(video, request.out_height, request.out_width)


def initial_noise(pipeline: Pipeline, request: ResolvedRequest) -> Float[Tensor, "1 c t h w"]:
    """Return the noise of a seed, drawn on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(request.seed)
    shape = pipeline.spec.latent_shape(request.aspect_ratio, request.num_frames)
    return torch.randn(1, *shape, generator=generator).to(pipeline.device)


def condition(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Conditioning, Float[Tensor, "1 l d"]]:
    """Return what the clip is conditioned on, and the negative context.

    The empty negative prompt is encoded as any other text: training dropped prompts so.
    """
    context = encode_prompt(pipeline, request.prompt)
    negative = encode_prompt(pipeline, request.negative_prompt)
    if request.image is None and request.last_image is None:
        return Conditioning(context), negative
    shape = pipeline.spec.latent_shape(request.aspect_ratio, request.num_frames)
    known = torch.zeros(1, *shape, device=pipeline.device)
    mask = torch.zeros(1, shape[1], dtype=torch.bool, device=pipeline.device)
    # A latent frame after the first stands for `stride` frames and depends on those before it:
    # the last image is encoded as the end of a clip in which nothing else is ever seen.
    stride = pipeline.spec.vae.temporal_stride
    for place, picture, frames in ((0, request.image, 1), (-1, request.last_image, 1 + stride)):
        if picture is not None:
            still = fit_image(read_image(picture), request.height, request.width)
            known[:, :, place] = encode_still(pipeline, still, frames)[:, :, -1]
            mask[:, place] = True
    return Conditioning(context, known, mask), negative


def encode_prompt(pipeline: Pipeline, prompt: str) -> Float[Tensor, "1 l d"]:
    """Return the context of a prompt; a `RequestError` says if it has too many tokens."""
    ids, mask = (part.to(pipeline.device) for part in pipeline.tokenizer.encode([prompt]))
    with pipeline.arithmetic():
        return encode_context(pipeline.text, ids, mask, pipeline.spec.dit.text_len).float()


def encode_still(
    pipeline: Pipeline, picture: Float[Tensor, "3 h w"], frames: int
) -> Float[Tensor, "1 c t h2 w2"]:
    """Return the normalised latent of a clip that shows one picture in [-1, 1] throughout."""
    video = repeat(picture.to(pipeline.device), "c h w -> 1 c t h w", t=frames)
    with pipeline.arithmetic():
        mean, _ = pipeline.vae.encode(video)
    return pipeline.vae.normalise(mean)


def guided_velocity(
    pipeline: Pipeline,
    conditioning: Conditioning,
    negative: Float[Tensor, "b l d"],
    guidance_scale: float,
) -> VelocityFn:
    """Return the velocity of the transformer, guided, with known latent frames held."""

    def model(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        with pipeline.arithmetic():
            velocity: Tensor = pipeline.dit(x, sigma, context)
        return velocity

    method = pipeline.spec.guidance
    velocity = guided(model, conditioning.context, negative, guidance_scale, method=method)
    if conditioning.known is None or conditioning.known_mask is None:
        return velocity
    return with_known(velocity, conditioning.known, conditioning.known_mask)


def decode(
    pipeline: Pipeline, latent: Float[Tensor, "b c t h w"]
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield the video of a normalised latent at the base size, a latent frame at a time."""
    yield from _under(
        pipeline, pipeline.vae.decode_stream(pipeline.vae.denormalise(latent))
    )


def deliver(
    pipeline: Pipeline, chunks: Iterable[Float[Tensor, "b 3 _t h w"]]
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield a video, given in chunks, at the size it is delivered at before cropping.

    Where the upsampler's file is missing the enlargement is bicubic.
    """
    if pipeline.spec.upsampler is None:
        yield from chunks
        return
    cache = ConvCache()
    for video in chunks:
        if pipeline.upsampler is None:
            yield _bicubic(video, pipeline.spec.upsampler.scale)
            continue
        with pipeline.arithmetic():
            larger = pipeline.upsampler(video, cache).float()
        yield larger


def _under(pipeline: Pipeline, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Draw each chunk within the arithmetic, which a generator would leak to its caller."""
    while True:
        with pipeline.arithmetic():
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
