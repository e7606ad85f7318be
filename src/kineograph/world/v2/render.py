"""Frames of scenes: one sample a pixel, and four where neighbours differ; with their G-buffer.

Two back ends over one scene record run the same functions: eager, and fused by `torch.compile`,
which needs a C++ compiler or a GPU. Letters: f frames, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kineograph.world.gbuffer import FIRST_OBJECT, FLOOR, GBuffer
from kineograph.world.v2.camera import unit
from kineograph.world.v2.cast import Rays, cast, first_hits, shown
from kineograph.world.v2.kernels import kernel, sun_part
from kineograph.world.v2.pack import OWNER, Frames
from kineograph.world.v2.trace import FAR, dot

Array = NDArray[np.float64]

CPU = torch.device("cpu")
TILE = 16  # pixels, side of a block
# Where in a pixel its four samples lie: no two in a row or column.
SAMPLES = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))
# The sun is a disc: each of the four sees one part of it.
SUN_JITTER = ((-0.035, -0.012), (0.012, -0.035), (0.035, 0.012), (-0.012, 0.035))
# Pixels whose neighbour differs by more, of 1, get all four samples.
CONTRAST = 0.06
CROWD = 32  # pixels of a block of those
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


def _differ(
    colour: Float[Tensor, "3 f h w"], ids: Float[Tensor, "f h w"]
) -> tuple[Tensor, Tensor]:
    """Return by how much pixels differ too much from the next one across, and down.

    `f h w-1` and `f h-1 w`: above 0 where they do.
    """
    across = (colour[..., :, 1:] - colour[..., :, :-1]).abs().amax(0) - CONTRAST
    down = (colour[..., 1:, :] - colour[..., :-1, :]).abs().amax(0) - CONTRAST
    across = across.maximum((ids[:, :, 1:] - ids[:, :, :-1]).abs())
    return across, down.maximum((ids[:, 1:, :] - ids[:, :-1, :]).abs())


@cache
def _compared(compiled: bool) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return torch.compile(_differ, dynamic=True) if compiled else _differ


def _unclear(colour: Tensor, ids: Tensor, compiled: bool) -> Bool[Tensor, "f h w"]:
    """Return the pixels that differ from a neighbour, on both sides of the difference."""
    across, down = (d > 0 for d in _compared(compiled)(colour, ids.float()))
    found = torch.zeros_like(ids, dtype=torch.bool)
    found[:, :, 1:] |= across
    found[:, :, :-1] |= across
    found[:, 1:] |= down
    found[:, :-1] |= down
    return found


def _crowds(which: Bool[Tensor, "f h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return blocks of pixels: their frame `m`, rows and columns `m p`, tile after tile.

    A block that is not full repeats its first pixel.
    """
    height, width = which.shape[1:]
    room = torch.zeros(
        (len(which), -(-height // TILE) * TILE, -(-width // TILE) * TILE), dtype=torch.bool,
        device=which.device,
    )  # fmt: skip
    room[:, :height, :width] = which
    tiled = room.unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE)).movedim(3, 2)
    f, down, across, y, x = torch.nonzero(tiled, as_tuple=True)
    y, x = y + down * TILE, x + across * TILE
    counts = torch.bincount(f, minlength=len(which))
    blocks = -(-counts // CROWD)
    first = counts.cumsum(0) - counts
    frame = torch.repeat_interleave(torch.arange(len(which), device=f.device), blocks)
    begun = (blocks.cumsum(0) - blocks)[frame]
    number = torch.arange(len(frame), device=f.device) - begun
    index = number[:, None] * CROWD + torch.arange(CROWD, device=f.device)
    index = torch.where(index < counts[frame][:, None], index, number[:, None] * CROWD)
    index = index + first[frame][:, None]
    return frame, y[index], x[index]


def _assembled(a: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Put tiles `... (f tiles) p` together to `... f h w`."""
    across = -(-width // TILE)
    a = a.unflatten(-2, (frames, -1, across)).unflatten(-1, (TILE, TILE))
    a = a.movedim(-3, -2).flatten(-2).flatten(-3, -2)  # over-wide
    return a[..., :height, :width]


def _chunk(frames: Frames, height: int, width: int, compiled: bool, buffers: bool) -> GBuffer:
    """Render some frames at once."""
    count = len(frames)
    found = cast(frames, _tiles(count, height, width, frames.parts.device), compiled=compiled)

    def whole(a: Tensor) -> Tensor:
        return _assembled(a, count, height, width)

    colour = whole(shown(found, compiled=compiled)).contiguous()
    part, depth = whole(found.part), whole(found.t)
    owners = frames.parts[..., OWNER].gather(1, part.clamp_min(0).long().flatten(1)).view_as(part)
    ground = whole(found.on_floor).long() * FLOOR
    owner = torch.where(part >= 0, owners.long() + FIRST_OBJECT, ground)
    _refine(frames, colour, owner, compiled)
    normal = torch.zeros((), device=depth.device).expand(*depth.shape, 3)
    facing = normal[..., 0]
    if buffers:
        far = depth > 0.5 * FAR
        normal = torch.stack([whole(n) for n in found.normal], -1)
        normal = torch.where(far[..., None], 0.0, normal)
        facing = torch.where(far, 1.0, whole(-dot(found.direction, found.normal)))
    return GBuffer(
        colour=colour.movedim(0, -1), owner=owner, depth=depth, normal=normal, facing=facing
    )


def _refine(
    frames: Frames, colour: Float[Tensor, "3 f h w"], ids: Int[Tensor, "f h w"], compiled: bool
) -> None:
    """Average four samples where one is not enough, in place."""
    height, width = ids.shape[1:]
    frame, y, x = _crowds(_unclear(colour, ids, compiled))
    if not len(frame):
        return
    given = ([width / 2, height / 2, unit(height, width)], SAMPLES, SUN_JITTER)
    middle, places, suns = (torch.tensor(values, device=y.device) for values in given)
    rays = kernel("samples", 0, compiled, len(frame))(y, x, middle, places, suns)
    found = cast(frames, Rays(frame, *rays), compiled=compiled)
    pixel = (frame[:, None] * height + y) * width + x
    flat = colour.flatten(1)
    kernel("blend", 0, compiled, len(frame))(found.light, pixel, (flat[0], flat[1], flat[2]))


@torch.no_grad()
def seen_parts(frames: Frames, height: int, width: int) -> Int[Tensor, "f h w"]:
    """Return the index of the primitive that each pixel shows, -1 for floor and sky."""
    count = len(frames)
    found = first_hits(frames, _tiles(count, height, width, frames.parts.device))
    return _assembled(found, count, height, width).long()


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
