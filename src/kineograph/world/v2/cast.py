"""Casting rays: from packed frames to light, block by block, with what each ray met.

A block is a tile of a frame, or any of its pixels that need more samples. For each block the
primitives that its rays, and its shadows, may meet are found by their bounding balls; then pairs
of a block and a primitive are traced, one family of solids a kernel. The kernels are the same
functions eager and under `torch.compile`. Letters: m blocks (or pairs), p rays of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kineograph.world.v2 import look
from kineograph.world.v2.kernels import NOTHING, kernel
from kineograph.world.v2.pack import CENTRE, MATRIX, Frames, mirrored
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import FAMILY, FAR, MEET, PROFILE, Vec, apply

SHADOW_REACH = 45.0  # m; beyond, the floor is drawn without shadows
MOST = 0.6  # of the blocks; see `_chosen`


@dataclass(frozen=True)
class Rays:
    """Rays of blocks: the frame of each block, and where in the picture each ray goes."""

    frame: Int[Tensor, "m"]
    u: Float[Tensor, "m p"]  # tangent to the right
    v: Float[Tensor, "m p"]  # and up, both at the usual focal length
    sun_x: Float[Tensor, "m p"]  # which part of the sun's disc each ray's point looks at,
    sun_z: Float[Tensor, "m p"]  # in x and z of the direction to it


@dataclass(frozen=True)
class Cast:
    """What rays bring back."""

    light: Vec  # m p, linear
    direction: Vec
    t: Float[Tensor, "m p"]  # m, FAR for the sky
    normal: Vec  # of unit length; (0, 1, 0) for floor and sky
    part: Float[Tensor, "m p"]  # index of the primitive in its frame, or NOTHING
    on_floor: Bool[Tensor, "m p"]


# --- culling -----------------------------------------------------------------------------
def _pairs(
    touch: Bool[Tensor, "m k"], kind: Int[Tensor, "m k"]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (family, blocks, primitives) such that a block is at most once in each."""
    slot = torch.where(touch, touch.cumsum(1) - 1, -1)
    family = torch.tensor([*FAMILY, -1], device=kind.device)[kind]  # -1 picks the last
    for s in range(int(slot.max()) + 1 if slot.numel() else 0):
        here = slot == s
        for f in range(len(MEET)):
            blocks, parts = torch.nonzero(here & (family == f), as_tuple=True)
            if len(blocks):
                yield f, blocks, parts


def _in_view(frames: Frames, rays: Rays) -> Bool[Tensor, "m k"]:
    """Return which primitives' bounding balls the rays of each block may meet."""
    camera = frames.camera
    rel = frames.parts[..., CENTRE : CENTRE + 3] - camera[:, None, 0:3]
    x, y, z = ((rel * camera[:, None, 3 * i : 3 * i + 3]).sum(-1) for i in (1, 2, 3))
    r, focal = frames.bound, camera[:, 12:13]
    front = z > r + 0.05
    bounds = []
    for side in (x, y):
        # Tangents to a circle, seen from a point outside it.
        root = r * (side * side + z * z - r * r).clamp_min(0).sqrt()
        below = (z * z - r * r).clamp_min(1e-6)
        low, high = (side * z - root) / below, (side * z + root) / below
        bounds += [torch.where(front, low, -FAR) * focal, torch.where(front, high, FAR) * focal]
    seen = (frames.kind >= 0) & (z > -r)
    left, right, low, high = (b[rays.frame] for b in bounds)
    u0, u1, v0, v1 = rays.u.amin(1), rays.u.amax(1), rays.v.amin(1), rays.v.amax(1)
    touch = (left <= u1[:, None]) & (right >= u0[:, None])
    return touch & (low <= v1[:, None]) & (high >= v0[:, None]) & seen[rays.frame]


def _may_shade(
    frames: Frames, frame: Tensor, point: Vec, counts: Bool[Tensor, "m p"], sun: Tensor
) -> Bool[Tensor, "m k"]:
    """Return which primitives may hide sun or sky from the points of each block that count."""
    low, high = [], []
    for c in point:
        low.append(torch.where(counts, c, FAR).amin(1))
        high.append(torch.where(counts, c, -FAR).amax(1))
    middle = torch.stack([(a + b) / 2 for a, b in zip(low, high, strict=True)], -1)
    size = torch.stack([(b - a) / 2 for a, b in zip(low, high, strict=True)], -1).clamp_min(0)
    radius = size.norm(dim=-1, keepdim=True)
    rel = frames.parts[frame][..., CENTRE : CENTRE + 3] - middle[:, None]
    bound = frames.bound[frame]
    along = (rel * sun[:, None]).sum(-1)
    squared = (rel * rel).sum(-1)
    across = (squared - along * along).clamp_min(0).sqrt()
    room = radius + bound
    shade = (along > -room) & (across < room + 0.06 * along.clamp_min(0))
    dark = squared.sqrt() < radius + 5 * frames.soft[frame]
    return (frames.kind[frame] >= 0) & counts.any(1, keepdim=True) & (shade | dark)


# --- the cast ----------------------------------------------------------------------------
def _row(a: Tensor, blocks: Tensor) -> Tensor:
    """Return some blocks of rays, in order; whole rows are copied, or none if it is all."""
    return a if len(blocks) == len(a) else a.index_select(0, blocks)


def _chosen(which: Bool[Tensor, "m"], most: float = 1.0) -> Tensor:
    """Return the blocks of a choice, or all if it is more than `most` of them.

    To compute some in vain is cheaper than to copy the others apart and back.
    """
    found = torch.nonzero(which).squeeze(1)
    if len(found) > most * len(which):
        return torch.arange(len(which), device=which.device)
    return found


def _rows(v: Vec, blocks: Tensor) -> Vec:
    return _row(v[0], blocks), _row(v[1], blocks), _row(v[2], blocks)


def _put(kept: tuple[Tensor, ...], blocks: Tensor, new: tuple[Tensor, ...]) -> None:
    for a, b in zip(kept, new, strict=True):
        if len(b) == len(a):
            a.copy_(b)
        else:
            a.index_copy_(0, blocks, b)


def _eye(frames: Frames, rays: Rays, compiled: bool) -> tuple[Vec, Vec]:
    """Return where rays begin `m 1`, and their unit directions."""
    camera = frames.camera[rays.frame]
    d = kernel("directions", 0, compiled, len(camera))(rays.u, rays.v, camera)
    return (camera[:, 0:1], camera[:, 1:2], camera[:, 2:3]), d


def _trace(
    frames: Frames, rays: Rays, o: Vec, d: Vec, compiled: bool
) -> tuple[Tensor, Vec, Tensor]:
    """Return distance, normal (any length) and primitive of the nearest hit of each ray."""
    t = torch.full_like(d[0], FAR)
    normal = (torch.zeros_like(t), torch.ones_like(t), torch.zeros_like(t))
    which = torch.full_like(t, NOTHING)
    profiles = torch.tensor(PROFILE, device=t.device)
    for family, blocks, parts in _pairs(_in_view(frames, rays), frames.kind[rays.frame]):
        frame = rays.frame[blocks]
        row = frames.parts[frame, parts]
        matrix = row[:, MATRIX:CENTRE].contiguous()
        rel = [o[i][blocks] - row[:, CENTRE + i : CENTRE + i + 1] for i in range(3)]
        local = apply(matrix, (rel[0], rel[1], rel[2]))
        new_t, new_normal, new_which = kernel("nearest", family, compiled, len(blocks))(
            local, _rows(d, blocks), matrix, profiles[frames.kind[frame, parts]],
            parts[:, None].float(), _row(t, blocks), _rows(normal, blocks), _row(which, blocks),
        )  # fmt: skip
        _put((t, which), blocks, (new_t, new_which))
        _put(normal, blocks, new_normal)
    return t, normal, which


def _sunlight(
    frames: Frames, rays: Rays, point: Vec, normal: Vec, which: Tensor, t: Tensor, compiled: bool
) -> tuple[Tensor, Tensor]:
    """Return how much of the sun and of the sky each point sees."""
    lit, open_ = torch.ones_like(t), torch.ones_like(t)
    sun = frames.light[rays.frame][:, look.SUN : look.SUN + 3]
    touch = _may_shade(frames, rays.frame, point, t < SHADOW_REACH, sun)
    profiles = torch.tensor(PROFILE, device=t.device)
    for family, blocks, parts in _pairs(touch, frames.kind[rays.frame]):
        frame = rays.frame[blocks]
        row = frames.parts[frame, parts]
        s, c = sun[blocks], row[:, CENTRE : CENTRE + 3]
        new = kernel("shaded", family, compiled, len(blocks))(
            _rows(point, blocks), _rows(normal, blocks), _row(rays.sun_x, blocks),
            _row(rays.sun_z, blocks), (s[:, 0:1], s[:, 1:2], s[:, 2:3]),
            row[:, MATRIX:CENTRE].contiguous(), (c[:, 0:1], c[:, 1:2], c[:, 2:3]),
            profiles[frames.kind[frame, parts]], frames.soft[frame, parts][:, None],
            parts[:, None].float(), _row(which, blocks), _row(lit, blocks), _row(open_, blocks),
        )  # fmt: skip
        _put((lit, open_), blocks, new)
    return lit, open_


def first_hits(frames: Frames, rays: Rays) -> Float[Tensor, "m p"]:
    """Return the index of the primitive that each ray meets, or NOTHING; eagerly."""
    o, d = _eye(frames, rays, compiled=False)
    t, normal, which = _trace(frames, rays, o, d, compiled=False)
    return kernel("surface", 0, compiled=False, number=1)(o, d, t, normal, which)[3]


def shown(found: Cast, *, compiled: bool = False) -> Float[Tensor, "3 m p"]:
    """Return what the film shows of the light, in [0, 1]."""
    return kernel("film", 0, compiled, len(found.t))(found.light)


def cast(frames: Frames, rays: Rays, *, compiled: bool = False, bounce: bool = True) -> Cast:
    """Return the light of every ray; without `bounce` no shadows fall and water mirrors nothing."""
    o, d = _eye(frames, rays, compiled)
    t, normal, which = _trace(frames, rays, o, d, compiled)
    t, normal, point, which, on_floor = kernel("surface", 0, compiled, len(t))(
        o, d, t, normal, which
    )
    if bounce:
        lit, open_ = _sunlight(frames, rays, point, normal, which, t, compiled)
        aloft = t > 0.5 * FAR
    else:
        lit, open_ = torch.ones_like(t), torch.ones_like(t)
        aloft = which < 0
    light = (torch.zeros_like(t), torch.zeros_like(t), torch.zeros_like(t))
    blocks = _chosen(aloft.any(1), MOST)
    if len(blocks):
        numbers = frames.light[rays.frame[blocks]]
        new = kernel("sky", 0, compiled, len(blocks))(_rows(d, blocks), numbers)
        _put(light, blocks, new)
    if bounce:
        _add_floor(frames, rays, d, point, t, on_floor, lit, open_, light, compiled)
    _add_things(frames, rays, d, point, t, normal, which, lit, open_, light, compiled)
    return Cast(light, d, t, normal, which, on_floor)


def _add_floor(
    frames: Frames, rays: Rays, d: Vec, point: Vec, t: Tensor, on_floor: Tensor, lit: Tensor,
    open_: Tensor, light: Vec, compiled: bool,
) -> None:  # fmt: skip
    """Shade the blocks that see the floor, each by its own."""
    floors, numbers = frames.floor[rays.frame], frames.light[rays.frame]
    any_floor = on_floor.any(1)
    glossy = (floors == FLOORS.index("water")) | (numbers[:, look.WET] > 0)
    seen = _reflection(frames, rays, point, any_floor & glossy, compiled)
    kinds = floors.unique().tolist()
    for f in kinds:
        blocks = _chosen(any_floor & (floors == f), MOST if len(kinds) == 1 else 1.0)
        if not len(blocks):
            continue
        here = _rows(d, blocks)
        new = kernel("ground", f, compiled, len(blocks))(
            _rows(point, blocks), here, _row(t, blocks), _row(lit, blocks), _row(open_, blocks),
            here if seen is None else _rows(seen, blocks), numbers[blocks],
            _row(on_floor, blocks), _rows(light, blocks),
        )  # fmt: skip
        _put(light, blocks, new)


def _reflection(
    frames: Frames, rays: Rays, point: Vec, which: Bool[Tensor, "m"], compiled: bool
) -> Vec | None:
    """Return what the floor mirrors: the scene as a camera below it sees it, bent by ripples."""
    blocks = _chosen(which)
    if not len(blocks):
        return None
    frame = rays.frame[blocks]
    x, _, z = _rows(point, blocks)
    far = 1 / (1 + 0.02 * (x * x + z * z))  # distant ripples are finer than a pixel
    sx, sz = look.ripple(x, z, frames.light[frame])
    still = (frames.floor[frame] != FLOORS.index("water"))[:, None]
    bend = torch.where(still, 0.25, 1.0) * far
    below = Rays(
        frame, _row(rays.u, blocks) + bend * sx * 1.5, _row(rays.v, blocks) + bend * sz * 2.0,
        _row(rays.sun_x, blocks), _row(rays.sun_z, blocks),
    )  # fmt: skip
    found = cast(mirrored(frames), below, compiled=compiled, bounce=False).light
    whole = tuple(torch.zeros_like(rays.u) for _ in range(3))
    _put(whole, blocks, found)
    return whole[0], whole[1], whole[2]


def _add_things(
    frames: Frames, rays: Rays, d: Vec, point: Vec, t: Tensor, normal: Vec, which: Tensor,
    lit: Tensor, open_: Tensor, light: Vec, compiled: bool,
) -> None:  # fmt: skip
    """Shade the rays that met an object, gathered from all blocks."""
    at = torch.nonzero((which >= 0).flatten()).squeeze(1)
    if not len(at):
        return
    frame = rays.frame.index_select(0, at // rays.u.shape[1])
    index = frame * frames.kind.shape[1] + which.view(-1).index_select(0, at).long()
    row = frames.parts.flatten(0, 1).t().index_select(1, index)
    numbers = frames.light.t().index_select(1, frame)
    flat = [a.view(-1).index_select(0, at)[:, None] for a in (*normal, *d, t, *point, lit, open_)]
    new = kernel("thing", 0, compiled, len(at))(
        (flat[0], flat[1], flat[2]), (flat[3], flat[4], flat[5]), flat[6],
        (flat[7], flat[8], flat[9]), flat[10], flat[11], row, numbers,
    )  # fmt: skip
    for kept, value in zip(light, new, strict=True):
        kept.view(-1).index_copy_(0, at, value.squeeze(1))
