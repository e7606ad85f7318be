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
from kineograph.world.v2.kernels import kernel, put, rows
from kineograph.world.v2.pack import CENTRE, MATRIX, Frames, mirrored
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import FAMILY, FAR, MEET, PROFILE, Vec

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
    touch: Bool[Tensor, "m k"], kind: Int[Tensor, "f k"], frame: Int[Tensor, "m"]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (family, blocks, primitives) such that a block is at most once in each."""
    blocks, parts = torch.nonzero(touch, as_tuple=True)
    if not len(blocks):
        return
    family = torch.tensor(FAMILY, device=kind.device)[kind[frame[blocks], parts]]
    turn = (touch.cumsum(1) - 1)[blocks, parts] * len(MEET) + family
    order = torch.argsort(turn, stable=True)
    first = 0
    for key, count in enumerate(torch.bincount(turn).tolist()):
        if count:
            some = order[first : first + count]
            yield key % len(MEET), blocks[some], parts[some]
            first += count


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
    frames: Frames, frame: Tensor, point: Vec, counts: Bool[Tensor, "m p"], sun: Tensor,
    compiled: bool,
) -> Bool[Tensor, "m k"]:  # fmt: skip
    """Return which primitives may hide sun or sky from the points of each block that count."""
    low, high = kernel("reach", 0, compiled, len(frame))(point, counts)
    middle = (low + high) / 2
    radius = ((high - low) / 2).clamp_min(0).norm(dim=-1, keepdim=True)
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
def _chosen(which: Bool[Tensor, "m"], most: float = 1.0) -> Tensor | None:
    """Return the blocks of a choice, or None for all if it is more than `most` of them.

    To compute some in vain is cheaper than to take the others apart and put them back.
    """
    found = torch.nonzero(which).squeeze(1)
    return None if len(found) > most * len(which) else found


def _trace(frames: Frames, rays: Rays, compiled: bool) -> tuple[Vec, Vec, Tensor, Vec, Tensor]:
    """Return where rays begin `m 1` and go, and how far, with what normal, what they meet first."""
    camera = frames.camera[rays.frame]
    d, t, normal, which = kernel("begin", 0, compiled, len(camera))(rays.u, rays.v, camera)
    profiles = torch.tensor(PROFILE, device=t.device)
    for family, blocks, parts in _pairs(_in_view(frames, rays), frames.kind, rays.frame):
        frame = rays.frame[blocks]
        numbers = frames.parts[frame, parts]
        o = camera[blocks, 0:3] - numbers[:, CENTRE : CENTRE + 3]
        kernel("nearest", family, compiled, len(blocks))(
            blocks, d, (o[:, 0:1], o[:, 1:2], o[:, 2:3]), numbers[:, MATRIX:CENTRE].contiguous(),
            profiles[frames.kind[frame, parts]], parts[:, None].float(), t, normal, which,
        )  # fmt: skip
    return (camera[:, 0:1], camera[:, 1:2], camera[:, 2:3]), d, t, normal, which


def _sunlight(
    frames: Frames, rays: Rays, point: Vec, normal: Vec, which: Tensor, t: Tensor, compiled: bool
) -> tuple[Tensor, Tensor]:
    """Return how much of the sun and of the sky each point sees."""
    lit, open_ = torch.ones_like(t), torch.ones_like(t)
    sun = frames.light[rays.frame][:, look.SUN : look.SUN + 3]
    touch = _may_shade(frames, rays.frame, point, t < SHADOW_REACH, sun, compiled)
    profiles = torch.tensor(PROFILE, device=t.device)
    for family, blocks, parts in _pairs(touch, frames.kind, rays.frame):
        frame = rays.frame[blocks]
        numbers = frames.parts[frame, parts]
        s, c = sun[blocks], numbers[:, CENTRE : CENTRE + 3]
        kernel("shaded", family, compiled, len(blocks))(
            blocks, point, normal, rays.sun_x, rays.sun_z, which,
            (s[:, 0:1], s[:, 1:2], s[:, 2:3]), numbers[:, MATRIX:CENTRE].contiguous(),
            (c[:, 0:1], c[:, 1:2], c[:, 2:3]), profiles[frames.kind[frame, parts]],
            frames.soft[frame, parts][:, None], parts[:, None].float(), lit, open_,
        )  # fmt: skip
    return lit, open_


def first_hits(frames: Frames, rays: Rays) -> Float[Tensor, "m p"]:
    """Return the index of the primitive that each ray meets, or NOTHING; eagerly."""
    o, d, t, normal, which = _trace(frames, rays, compiled=False)
    return kernel("surface", 0, compiled=False, number=1)(o, d, t, normal, which)[3]


def shown(found: Cast, *, compiled: bool = False) -> Float[Tensor, "3 m p"]:
    """Return what the film shows of the light, in [0, 1]."""
    return kernel("film", 0, compiled, len(found.t))(found.light)


def cast(frames: Frames, rays: Rays, *, compiled: bool = False, bounce: bool = True) -> Cast:
    """Return the light of every ray; without `bounce` no shadows fall and water mirrors nothing."""
    o, d, t, normal, which = _trace(frames, rays, compiled)
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
    if blocks is None or len(blocks):
        number = len(t) if blocks is None else len(blocks)
        kernel("sky", 0, compiled, number)(blocks, d, frames.light[rays.frame], light)
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
        if blocks is not None and not len(blocks):
            continue
        number = len(t) if blocks is None else len(blocks)
        kernel("ground", f, compiled, number)(
            blocks, point, d, t, lit, open_, d if seen is None else seen, numbers, on_floor, light
        )


def _reflection(
    frames: Frames, rays: Rays, point: Vec, which: Bool[Tensor, "m"], compiled: bool
) -> Vec | None:
    """Return what the floor mirrors: the scene as a camera below it sees it, bent by ripples."""
    blocks = torch.nonzero(which).squeeze(1)
    if not len(blocks):
        return None
    frame = rays.frame[blocks]
    x, _, z = rows(point, blocks)
    far = 1 / (1 + 0.02 * (x * x + z * z))  # distant ripples are finer than a pixel
    sx, sz = look.ripple(x, z, frames.light[frame])
    still = (frames.floor[frame] != FLOORS.index("water"))[:, None]
    bend = torch.where(still, 0.25, 1.0) * far
    below = Rays(
        frame, rays.u[blocks] + bend * sx * 1.5, rays.v[blocks] + bend * sz * 2.0,
        rays.sun_x[blocks], rays.sun_z[blocks],
    )  # fmt: skip
    found = cast(mirrored(frames), below, compiled=compiled, bounce=False).light
    whole = (torch.zeros_like(rays.u), torch.zeros_like(rays.u), torch.zeros_like(rays.u))
    put(whole, blocks, found)
    return whole


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
    part = frames.parts.flatten(0, 1).t().index_select(1, index)
    numbers = frames.light.t().index_select(1, frame)
    flat = [a.view(-1).index_select(0, at)[:, None] for a in (*normal, *d, t, *point, lit, open_)]
    new = kernel("thing", 0, compiled, len(at))(
        (flat[0], flat[1], flat[2]), (flat[3], flat[4], flat[5]), flat[6],
        (flat[7], flat[8], flat[9]), flat[10], flat[11], part, numbers,
    )  # fmt: skip
    for kept, value in zip(light, new, strict=True):
        kept.view(-1).index_copy_(0, at, value.squeeze(1))
