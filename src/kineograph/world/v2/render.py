"""Frames of scenes: one sample a pixel, and four where neighbours differ; with their G-buffer.

Two back ends over one scene record run the same functions: eager, and fused by `torch.compile`,
which needs a C++ compiler or a GPU. Letters: f frames, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kineograph.world.gbuffer import FIRST_OBJECT, FLOOR, GBuffer
from kineograph.world.v2.camera import unit
from kineograph.world.v2.cast import Rays, cast, first_hits, shown
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
CHUNK_SAMPLES = {"cpu": 1 << 18, "cuda": 1 << 24}


def _sun_part(y: Tensor, x: Tensor) -> Tensor:
    """Return which part of the sun the first sample of each pixel sees.

    Neighbours see others, so that in a penumbra they differ, and all four samples are taken.
    """
    return (x & 1) + 2 * (y & 1)


def _rays(
    frame: Tensor, y: Tensor, x: Tensor, place: Tensor, sun: Tensor, height: int, width: int
) -> Rays:
    """Return rays through places (of SAMPLES) of pixels, each with a part of the sun."""
    dx, dy, jx, jz = (
        torch.tensor([*SAMPLES, *SUN_JITTER], device=y.device)
        .view(2, 4, 2)
        .permute(0, 2, 1)
        .reshape(4, 4)
    )
    one = unit(height, width)
    u, v = (x + dx[place] - width / 2) * one, (height / 2 - y - dy[place]) * one
    return Rays(frame, u, v, jx[sun], jz[sun])


@lru_cache(maxsize=4)
def _tiles(count: int, height: int, width: int, device: torch.device) -> Rays:
    """Return one ray for each pixel of some frames, tile after tile; padding repeats the edge."""
    rows = torch.arange(-(-height // TILE) * TILE).view(-1, TILE)
    columns = torch.arange(-(-width // TILE) * TILE).view(-1, TILE)
    y = rows[:, None, :, None].expand(-1, len(columns), -1, TILE).reshape(-1, TILE * TILE)
    x = columns[None, :, None, :].expand(len(rows), -1, TILE, -1).reshape(-1, TILE * TILE)
    y, x = y.clamp_max(height - 1), x.clamp_max(width - 1)
    frame = torch.arange(count).repeat_interleave(len(y))
    one = _rays(y[:, 0], y, x, torch.zeros_like(y), _sun_part(y, x), height, width)
    grown = (a.repeat(count, 1).to(device) for a in (one.u, one.v, one.sun_x, one.sun_z))
    return Rays(frame.to(device), *grown)


def _unclear(colour: Float[Tensor, "f 3 h w"], ids: Int[Tensor, "f h w"]) -> Bool[Tensor, "f h w"]:
    """Return the pixels that differ from a neighbour, on both sides of the difference."""
    across = (colour[..., :, 1:] - colour[..., :, :-1]).abs().amax(1) > CONTRAST
    across |= ids[:, :, 1:] != ids[:, :, :-1]
    down = (colour[..., 1:, :] - colour[..., :-1, :]).abs().amax(1) > CONTRAST
    down |= ids[:, 1:, :] != ids[:, :-1, :]
    found = F.pad(across, (1, 0)) | F.pad(across, (0, 1))
    return found | F.pad(down, (0, 0, 1, 0)) | F.pad(down, (0, 0, 0, 1))


def _crowds(which: Bool[Tensor, "f h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return blocks of pixels: their frame `m`, rows and columns `m p`, tile after tile.

    A block that is not full repeats its first pixel.
    """
    f, y, x = torch.nonzero(which, as_tuple=True)
    tile = (f * 4096 + y // TILE) * 4096 + x // TILE
    order = torch.argsort(tile, stable=True)
    f, y, x = f[order], y[order], x[order]
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
    """Put tiles `... (f tiles) p` together to `f ... h w`."""
    across = -(-width // TILE)
    a = a.unflatten(-2, (frames, -1, across)).unflatten(-1, (TILE, TILE))
    a = a.movedim(-3, -2).flatten(-2).flatten(-3, -2)  # ... f h w, over-wide
    return a[..., :height, :width].movedim(-3, 0)


def _chunk(frames: Frames, height: int, width: int, compiled: bool) -> GBuffer:
    """Render some frames at once."""
    count = len(frames)
    found = cast(frames, _tiles(count, height, width, frames.parts.device), compiled=compiled)

    def whole(a: Tensor) -> Tensor:
        return _assembled(a, count, height, width)

    colour = whole(shown(found, compiled=compiled))
    part, depth = whole(found.part), whole(found.t)
    owners = frames.parts[..., OWNER].gather(1, part.clamp_min(0).long().flatten(1)).view_as(part)
    ground = whole(found.on_floor).long() * FLOOR
    owner = torch.where(part >= 0, owners.long() + FIRST_OBJECT, ground)
    colour = _refined(frames, colour, owner, height, width, compiled)
    far = depth > 0.5 * FAR
    normal = torch.stack([whole(n) for n in found.normal], -1)
    facing = whole(-dot(found.direction, found.normal))
    return GBuffer(
        colour=colour.movedim(1, -1), owner=owner, depth=depth,
        normal=torch.where(far[..., None], 0.0, normal), facing=torch.where(far, 1.0, facing),
    )  # fmt: skip


def _refined(
    frames: Frames, colour: Tensor, ids: Tensor, height: int, width: int, compiled: bool
) -> Tensor:
    """Average four samples where one is not enough."""
    frame, y, x = _crowds(_unclear(colour, ids))
    if not len(frame):
        return colour
    place = torch.cat([torch.full_like(y, k) for k in (1, 2, 3)], 1)
    y3, x3 = y.repeat(1, 3), x.repeat(1, 3)
    rays = _rays(frame, y3, x3, place, (_sun_part(y3, x3) + place) % 4, height, width)
    more = shown(cast(frames, rays, compiled=compiled), compiled=compiled)
    more = more.unflatten(2, (3, -1)).sum(2)
    whole = colour.clone()
    at = (frame[:, None].expand_as(y), slice(None), y, x)
    whole[at] = (colour[at] + more.permute(1, 2, 0)) / 4
    return whole


@torch.no_grad()
def seen_parts(frames: Frames, height: int, width: int) -> Int[Tensor, "f h w"]:
    """Return the index of the primitive that each pixel shows, -1 for floor and sky."""
    count = len(frames)
    found = first_hits(frames, _tiles(count, height, width, frames.parts.device))
    return _assembled(found, count, height, width).long()


@torch.no_grad()
def render_chunks(
    frames: Frames, height: int, width: int, *, compiled: bool = False,
    device: torch.device = CPU, chunk_samples: int | None = None,
) -> Iterator[GBuffer]:  # fmt: skip
    """Render packed frames a few at a time, so that memory does not grow with their number."""
    step = max(1, (chunk_samples or CHUNK_SAMPLES[device.type]) // (height * width))
    for first in range(0, len(frames), step):
        yield _chunk(frames.select(slice(first, first + step), device), height, width, compiled)


def render_frames(
    frames: Frames, height: int, width: int, *, compiled: bool = False,
    device: torch.device = CPU, chunk_samples: int | None = None,
) -> GBuffer:  # fmt: skip
    """Render packed frames: display colours in [0, 1] and the G-buffer of each pixel."""
    parts = list(
        render_chunks(
            frames, height, width, compiled=compiled, device=device, chunk_samples=chunk_samples
        )
    )
    return join(parts)


def join(parts: Sequence[GBuffer]) -> GBuffer:
    """Put G-buffers together, one after another."""
    names = ("colour", "owner", "depth", "normal", "facing")
    return GBuffer(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})
