"""From a finished latent to pixels, a few frames at a time: decoded, in between, enlarged, cut.

Letters: b batch, c latent channels, t frames (_t: of a chunk, another number each time), h
height, w width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.models.interpolator import interpolated
from kineograph.nn.causal import ConvCache
from kineograph.pipeline import Pipeline
from kineograph.request import ResolvedRequest
from kineograph.runtime.tiles import decode_tiled, encode_tiled
from kineograph.spec import size_of


def frames_of(
    pipeline: Pipeline, request: ResolvedRequest, latent: Float[Tensor, "1 c t h w"]
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Yield the frames of a finished latent, a few at a time, as they are delivered."""
    pictures = len(request.references or ())  # that stand before the clip, for the model alone
    video = decode(pipeline, latent[:, :, pictures:])
    if request.times_fps > 1:
        video = finer(pipeline, video)
    for chunk in deliver(pipeline, video, size_of(request).enlarged):
        yield to_frames(chunk, request.out_height, request.out_width)


def encode_video(
    pipeline: Pipeline, video: Float[Tensor, "3 t h w"]
) -> Float[Tensor, "1 c t2 h2 w2"]:
    """Return the normalised latent of a clip in [-1, 1], which need not be on the device."""

    def encode() -> Tensor:
        clip = video[None]
        with pipeline.working("vae"), torch.no_grad():
            if pipeline.residence.strategy == "tiles":
                return encode_tiled(pipeline.vae, clip)[0]
            chunks = (chunk.to(pipeline.device) for chunk in pipeline.vae.chunks(clip))
            return torch.cat([mean for mean, _ in pipeline.vae.encode_stream(chunks)], 2)

    return pipeline.vae.normalise(pipeline.persist(encode).float())


def decode(
    pipeline: Pipeline, latent: Float[Tensor, "b c t h w"]
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield the video of a normalised latent at the base size, a latent frame at a time.

    Where the device runs out of memory it begins again, with less there, and what has been
    yielded is not yielded twice.
    """
    raw, done = pipeline.vae.denormalise(latent), 0
    while True:
        tiled = pipeline.residence.strategy == "tiles"
        video = decode_tiled(pipeline.vae, raw) if tiled else pipeline.vae.decode_stream(raw)
        try:
            for chunk in islice(_under(pipeline, "vae", video), done, None):
                yield chunk.to(pipeline.device)
                done += 1
            return
        except torch.OutOfMemoryError:
            if not pipeline.step_down():
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
