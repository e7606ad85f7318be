"""Frames of scenes: one sample a pixel, and four where neighbours differ; with their G-buffer.

Two back ends over one scene record run the same functions: eager, and compiled, for a processor
to C++ (`native.py`), elsewhere by `torch.compile`. Letters: f frames, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kineograph.runtime.cpp import available
from kineograph.world.gbuffer import GBuffer
from kineograph.world.v2 import native
from kineograph.world.v2.camera import unit
from kineograph.world.v2.cast import Rays, cast, first_hits
from kineograph.world.v2.kernels import (
    CROWD,
    SAMPLES,
    SUN_JITTER,
    TILE,
    assembled,
    kernel,
    sun_part,
)
from kineograph.world.v2.pack import Frames
from kineograph.world.v2.trace import FAR, dot

Array = NDArray[np.float64]

CPU = torch.device("cpu")
CHUNK_SAMPLES = {"cpu": 1 << 19, "cuda": 1 << 24}  # more gain little


@lru_cache(maxsize=4)
def _tiles(count: int, height: int, width: int, device: torch.device) -> Rays:
    """Return one ray for each pixel of some frames, tile after tile; padding repeats the edge."""
    rows = torch.arange(-(-height // TILE) * TILE).view(-1, TILE)
    columns = torch.arange(-(-width // TILE) * TILE).view(-1, TILE)
    y = rows[:, None, :, None].expand(-1, len(columns), -1, TILE).reshape(-1, TILE * TILE)
    x = columns[None, :, None, :].expand(len(rows), -1, TILE, -1).reshape(-1, TILE * TILE)
    y, x = y.clamp_max(height - 1), x.clamp_max(width - 1)
    (dx, dy), one = SAMPLES[0], unit(height, width)
    suns = torch.tensor(SUN_JITTER)[sun_part(y, x)]
    rays = ((x + dx - width / 2) * one, (height / 2 - y - dy) * one, suns[..., 0], suns[..., 1])
    frame = torch.arange(count).repeat_interleave(len(y))
    return Rays(frame.to(device), *(a.repeat(count, 1).to(device) for a in rays))


@lru_cache(maxsize=4)
def _inside(height: int, width: int, device: torch.device) -> Float[Tensor, "1 h w"]:
    """Return 1 for the pixels of a padded picture that are none of its padding."""
    room = torch.zeros(1, *_padded(height, width), device=device)
    room[:, :height, :width] = 1
    return room


def _padded(height: int, width: int) -> tuple[int, int]:
    """Return the size of a picture of whole tiles."""
    return -(-height // TILE) * TILE, -(-width // TILE) * TILE


def _crowds(
    unclear: Float[Tensor, "m p"], count: int
) -> tuple[Int[Tensor, "n"], Int[Tensor, "n q"]]:
    """Return blocks of the rays that are marked: their frame, and which rays they are.

    A block that is not full repeats its first ray.
    """
    at = torch.nonzero(unclear.flatten() > 0).squeeze(1)
    edges = torch.arange(count + 1, device=at.device) * (unclear.numel() // count)
    first = torch.searchsorted(at, edges)
    counts = first[1:] - first[:-1]
    blocks = -(-counts // CROWD)
    frame = torch.repeat_interleave(torch.arange(count, device=at.device), blocks)
    begun = (blocks.cumsum(0) - blocks)[frame]
    number = torch.arange(len(frame), device=at.device) - begun
    index = number[:, None] * CROWD + torch.arange(CROWD, device=at.device)
    index = torch.where(index < counts[frame][:, None], index, number[:, None] * CROWD)
    return frame, at[index + first[frame][:, None]]


def _native(frames: Frames, height: int, width: int, buffers: bool) -> GBuffer:
    """Render some frames by one C++ function."""
    colour, owner, depth, normal = native.render(frames, height, width, buffers=buffers)
    return GBuffer(
        colour=colour.movedim(1, -1), owner=owner.long(), depth=depth,
        normal=normal[:, :3].movedim(1, -1), facing=normal[:, 3],
    )  # fmt: skip


def _chunk(frames: Frames, height: int, width: int, compiled: bool, buffers: bool) -> GBuffer:
    """Render some frames at once."""
    if compiled and frames.parts.device == CPU and available():
        return _native(frames, height, width, buffers)
    count, rows = len(frames), _padded(height, width)[0] // TILE
    found = cast(frames, _tiles(count, height, width, frames.parts.device), compiled=compiled)

    def whole(a: Tensor) -> Tensor:
        return assembled(a, count, rows)[:, :height, :width]

    colour, owner = kernel("develop", 0, compiled, count)(found.light, found.owner, count, rows)
    _refine(frames, colour, owner, height, width, compiled)
    depth = whole(found.t)
    normal = torch.zeros((), device=depth.device).expand(*depth.shape, 3)
    facing = normal[..., 0]
    if buffers:
        far = depth > 0.5 * FAR
        normal = torch.stack([whole(n) for n in found.normal], -1)
        normal = torch.where(far[..., None], 0.0, normal)
        facing = torch.where(far, 1.0, whole(-dot(found.direction, found.normal)))
    return GBuffer(
        colour=colour.movedim(0, -1)[:, :height, :width],
        owner=owner[:, :height, :width].long(), depth=depth, normal=normal, facing=facing,
    )  # fmt: skip


def _refine(
    frames: Frames, colour: Float[Tensor, "3 f h w"], owner: Float[Tensor, "f h w"], height: int,
    width: int, compiled: bool,
) -> None:  # fmt: skip
    """Average four samples where one is not enough, in place; the pictures are padded."""
    count = len(frames)
    inside = _inside(height, width, owner.device)
    unclear = kernel("unclear", 0, compiled, count)(colour, owner, inside)
    frame, spot = _crowds(unclear, count)
    if not len(frame):
        return
    given = ([width / 2, height / 2, unit(height, width)], SAMPLES, SUN_JITTER)
    middle, places, suns = (torch.tensor(values, device=spot.device) for values in given)
    pixel, *rays = kernel("samples", 0, compiled, len(frame))(
        spot, frame, middle, places, suns, *(n // TILE for n in owner.shape[1:])
    )
    found = cast(frames, Rays(frame, *rays), compiled=compiled)
    flat = colour.flatten(1)
    kernel("blend", 0, compiled, len(frame))(found.light, pixel, (flat[0], flat[1], flat[2]))


@torch.no_grad()
def seen_parts(frames: Frames, height: int, width: int) -> Int[Tensor, "f h w"]:
    """Return the index of the primitive that each pixel shows, -1 for floor and sky."""
    count = len(frames)
    found = first_hits(frames, _tiles(count, height, width, frames.parts.device))
    whole = assembled(found, count, _padded(height, width)[0] // TILE)
    return whole[:, :height, :width].long()


@torch.no_grad()
def render_chunks(
    frames: Frames, height: int, width: int, *, compiled: bool = False,
    device: torch.device = CPU, buffers: bool = True, chunk_samples: int | None = None,
) -> Iterator[GBuffer]:  # fmt: skip
    """Render packed frames a few at a time, so that memory does not grow with their number.

    Without `buffers` the normals, and how they face the camera, are not worked out: zeros.
    """
    step = max(1, (chunk_samples or CHUNK_SAMPLES[device.type]) // (height * width))
    for first in range(0, len(frames), step):
        part = frames.select(slice(first, first + step), device)
        yield _chunk(part, height, width, compiled, buffers)


def render_frames(
    frames: Frames, height: int, width: int, *, compiled: bool = False,
    device: torch.device = CPU, buffers: bool = True, chunk_samples: int | None = None,
) -> GBuffer:  # fmt: skip
    """Render packed frames: display colours in [0, 1] and the G-buffer of each pixel."""
    parts = render_chunks(
        frames, height, width, compiled=compiled, device=device, buffers=buffers,
        chunk_samples=chunk_samples,
    )  # fmt: skip
    return join(list(parts))


def join(parts: Sequence[GBuffer]) -> GBuffer:
    """Put G-buffers together, one after another."""
    names = ("colour", "owner", "depth", "normal", "facing")
    return GBuffer(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})
