"""Casting rays: from packed frames to light, block by block, with what each ray met.

A block is a tile of a frame, or any of its pixels that need more samples. For each block the
primitives that its rays, and its shadows, may meet are found by their bounding balls; then pairs
of a block and a primitive are traced, one family of solids a kernel. The kernels are the same
functions eager and under `torch.compile`. Letters: m blocks (or pairs), p rays of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kineograph.world.v2 import look
from kineograph.world.v2.pack import (
    CENTRE,
    COLOUR,
    MATERIAL,
    MATRIX,
    OWNER,
    SECOND,
    Frames,
    mirrored,
)  # fmt: skip
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import (
    FAMILY,
    FAR,
    MEET,
    PROFILE,
    Vec,
    apply,
    apply_transposed,
    dot,
)  # fmt: skip

SHADOW_REACH = 45.0  # m; beyond, the floor is drawn without shadows
MOST = 0.6  # of the blocks; see `_chosen`
NOTHING = -1.0  # index of the primitive where none is met


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


# --- kernels -----------------------------------------------------------------------------
def _nearest(
    family: int, o: Vec, d: Vec, matrix: Tensor, profile: Tensor, part: Tensor, t: Tensor,
    normal: Vec, which: Tensor,
) -> tuple[Tensor, Vec, Tensor]:  # fmt: skip
    """Keep the nearer of what rays met so far and one primitive; `o` is in its unit space."""
    hit = MEET[family](o, apply(matrix, d), profile)
    closer = hit.t < t
    n = apply_transposed(matrix, hit.normal)
    kept = (
        torch.where(closer, n[0], normal[0]),
        torch.where(closer, n[1], normal[1]),
        torch.where(closer, n[2], normal[2]),
    )
    return torch.minimum(hit.t, t), kept, torch.where(closer, part, which)


def _surface(
    o: Vec, d: Vec, t: Tensor, normal: Vec, which: Tensor
) -> tuple[Tensor, Vec, Vec, Tensor, Tensor]:
    """Add the floor: return distance, normal, point, primitive, and whether it is the floor."""
    floor_t = torch.where(d[1] < -1e-4, -o[1] / d[1], FAR)
    on_floor = floor_t < t
    t = torch.minimum(t, floor_t)
    flat = on_floor | (t > 0.5 * FAR)
    length = torch.rsqrt(dot(normal, normal).clamp_min(1e-20))
    n = (
        torch.where(flat, 0.0, normal[0] * length),
        torch.where(flat, 1.0, normal[1] * length),
        torch.where(flat, 0.0, normal[2] * length),
    )
    far = t.clamp_max(1e4)
    point = (o[0] + far * d[0], o[1] + far * d[1], o[2] + far * d[2])
    return t, n, point, torch.where(flat, NOTHING, which), on_floor


def _shaded(
    family: int, point: Vec, normal: Vec, jx: Tensor, jz: Tensor, sun: Vec, matrix: Tensor,
    centre: Vec, profile: Tensor, soft: Tensor, part: Tensor, which: Tensor, lit: Tensor,
    open_: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Take from sun and sky what one primitive hides; points of `which` are its own."""
    away = (point[0] - centre[0], point[1] - centre[1], point[2] - centre[2])
    toward = (sun[0] + jx, sun[1] + 0 * jx, sun[2] + jz)
    start = (
        away[0] + 0.012 * normal[0], away[1] + 0.012 * normal[1], away[2] + 0.012 * normal[2],
    )  # fmt: skip
    hit = MEET[family](apply(matrix, start), apply(matrix, toward), profile)
    lit = torch.where(hit.t < 0.5 * FAR, 0.0, lit)
    squared = dot(away, away).clamp_min(1e-4)
    facing = (-dot(away, normal) * torch.rsqrt(squared)).clamp_min(0)
    near = (soft * soft / squared).clamp_max(1.0)
    open_ = open_ * torch.where(which == part, 1.0, 1 - 0.7 * facing * near)
    return lit, open_


def _thing(
    normal: Vec, d: Vec, dist: Tensor, point: Vec, lit: Tensor, open_: Tensor, rows: Tensor,
    frame: Tensor,
) -> Vec:  # fmt: skip
    """Shade points `n 1` of objects; `rows` and `frame` hold the numbers of each, one a column."""
    r = [rows[i, :, None] for i in range(OWNER)]
    m, a = r[MATRIX:CENTRE], [point[i] - r[CENTRE + i] for i in range(3)]
    local = (
        m[0] * a[0] + m[1] * a[1] + m[2] * a[2],
        m[3] * a[0] + m[4] * a[1] + m[5] * a[2],
        m[6] * a[0] + m[7] * a[1] + m[8] * a[2],
    )
    base, second = (
        (r[COLOUR], r[COLOUR + 1], r[COLOUR + 2]),
        (r[SECOND], r[SECOND + 1], r[SECOND + 2]),
    )
    return look.thing(normal, d, dist, local, base, second, r[MATERIAL], lit, open_, frame.t())


def _ground(
    floor: int, point: Vec, d: Vec, t: Tensor, lit: Tensor, open_: Tensor, mirror: Vec,
    frame: Tensor, on_floor: Tensor, light: Vec,
) -> Vec:  # fmt: skip
    """Shade the floor where it is seen and keep the rest."""
    dist = t.clamp_max(1e4)
    new = look.ground(FLOORS[floor], point, d, dist, lit, open_, mirror, frame)
    return (
        torch.where(on_floor, new[0], light[0]),
        torch.where(on_floor, new[1], light[1]),
        torch.where(on_floor, new[2], light[2]),
    )


@cache
def _built(name: str, which: int, compiled: bool) -> Callable[..., Any]:
    def chosen(*args: Any) -> Any:  # noqa: ANN401 - each kernel has its own
        if name == "nearest":
            return _nearest(which, *args)
        if name == "shaded":
            return _shaded(which, *args)
        if name == "ground":
            return _ground(which, *args)
        others: dict[str, Callable[..., Any]] = {
            "directions": _directions,
            "surface": _surface,
            "sky": look.sky,
            "thing": _thing,
            "film": _film,
        }
        return others[name](*args)

    if not compiled:
        return chosen
    # The compiler keeps what it made of a function with the function's code: each needs its own.
    own = FunctionType(
        chosen.__code__.replace(co_name=f"{name}_{which}"), globals(), closure=chosen.__closure__
    )
    return torch.compile(own, dynamic=True)


def kernel(name: str, which: int, compiled: bool, number: int) -> Callable[..., Any]:
    """Return one kernel for a number of blocks; `which` is a family of solids or a floor.

    A single block is computed eagerly: the compiler would make a kernel of its own for it.
    """
    return _built(name, which, compiled and number > 1)


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


def _directions(u: Tensor, v: Tensor, camera: Tensor) -> Vec:
    """Return the unit directions of rays."""
    c = [camera[:, i : i + 1] for i in range(13)]
    u, v = u / c[12], v / c[12]
    x = c[9] + u * c[3] + v * c[6]
    y = c[10] + u * c[4] + v * c[7]
    z = c[11] + u * c[5] + v * c[8]
    length = torch.rsqrt(x * x + y * y + z * z)
    return x * length, y * length, z * length


def _film(light: Vec) -> Tensor:
    """Return what the film shows, `3 m p`."""
    return torch.stack([look.film(c) for c in light])


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
    return _surface(o, d, t, normal, which)[3]


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
