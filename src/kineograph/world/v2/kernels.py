"""The kernels of the renderer: what is computed for every ray, eager or fused.

Each is a function of whole blocks of rays, branch-free over samples; `kernel` returns one as it
is or compiled. Where some blocks alone are computed, a kernel takes them from all and puts them
back by itself: compiled, nothing is copied for that. What they return are numbers, 1 for yes:
a compiled kernel that writes truth values is not vectorised.

Letters: m blocks, n some of them (or pairs of a block and a primitive), p rays of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from kineograph.world.v2 import look
from kineograph.world.v2.pack import CENTRE, COLOUR, MATERIAL, MATRIX, OWNER, SECOND
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import FAR, MEET, Vec, apply, apply_transposed, dot

NOTHING = -1.0  # index of the primitive where none is met
SHADOW_REACH = 45.0  # m; beyond, the floor is drawn without shadows


def sun_part(y: Tensor, x: Tensor) -> Tensor:
    """Return which part of the sun the first sample of each pixel sees.

    Neighbours see others, so that in a penumbra they differ, and all four samples are taken.
    """
    return (x & 1) + 2 * (y & 1)


def row(a: Tensor, blocks: Tensor | None) -> Tensor:
    """Return some blocks of rays; None stands for all."""
    return a if blocks is None else a.index_select(0, blocks)


def rows(v: Vec, blocks: Tensor | None) -> Vec:
    """Return some blocks of three columns."""
    return row(v[0], blocks), row(v[1], blocks), row(v[2], blocks)


def put(kept: Sequence[Tensor], blocks: Tensor | None, new: Sequence[Tensor]) -> None:
    """Write blocks back to where `row` took them from."""
    for a, b in zip(kept, new, strict=True):
        if blocks is None:
            a.copy_(b)
        else:
            a.index_copy_(0, blocks, b)


def _begin(u: Tensor, v: Tensor, camera: Tensor) -> tuple[Vec, Tensor, Vec, Tensor]:
    """Return the unit directions of rays, and that they met nothing yet."""
    c = [camera[:, i : i + 1] for i in range(13)]
    u, v = u / c[12], v / c[12]
    x = c[9] + u * c[3] + v * c[6]
    y = c[10] + u * c[4] + v * c[7]
    z = c[11] + u * c[5] + v * c[8]
    length = torch.rsqrt(x * x + y * y + z * z)
    normal = (torch.zeros_like(x), torch.ones_like(x), torch.zeros_like(x))
    far, nothing = torch.full_like(x, FAR), torch.full_like(x, NOTHING)
    return (x * length, y * length, z * length), far, normal, nothing


def _film(light: Vec) -> Tensor:
    """Return what the film shows, `3 m p`."""
    return torch.stack([look.film(c) for c in light])


def _samples(
    y: Tensor, x: Tensor, middle: Tensor, places: Tensor, suns: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return where the other three samples of pixels `m p` lie, and their parts of the sun.

    `middle` holds half the width, half the height, and the size of a pixel; what is returned,
    `m 3p`, has one sample of all pixels after the other.
    """
    first = sun_part(y, x)
    u = [(x + places[k, 0] - middle[0]) * middle[2] for k in (1, 2, 3)]
    v = [(middle[1] - y - places[k, 1]) * middle[2] for k in (1, 2, 3)]
    jitter = [suns[(first + k) & 3] for k in (1, 2, 3)]
    sun_x, sun_z = ([j[..., i] for j in jitter] for i in (0, 1))
    return torch.cat(u, 1), torch.cat(v, 1), torch.cat(sun_x, 1), torch.cat(sun_z, 1)


def _blend(light: Vec, pixel: Tensor, colour: Vec) -> None:
    """Average, in place, the first sample of some pixels `m p` with the other three, `m 3p`."""
    flat = pixel.flatten()
    for kept, more in zip(colour, light, strict=True):
        others = look.film(more).unflatten(1, (3, -1))
        mean = (kept.index_select(0, flat).view_as(pixel) + others.sum(1)) / 4
        kept.index_copy_(0, flat, mean.flatten())


def _columns(a: Tensor, first: int) -> Vec:
    return a[:, first : first + 1], a[:, first + 1 : first + 2], a[:, first + 2 : first + 3]


def _in_view(
    u: Tensor, v: Tensor, frame: Tensor, camera: Tensor, parts: Tensor, bound: Tensor, kind: Tensor
) -> Tensor:
    """Return 1, `m k`, for primitives whose bounding balls the rays of each block may meet."""
    rel = parts[..., CENTRE : CENTRE + 3] - camera[:, None, 0:3]
    x, y, z = ((rel * camera[:, None, 3 * i : 3 * i + 3]).sum(-1) for i in (1, 2, 3))
    focal = camera[:, 12:13]
    front = z > bound + 0.05
    below = (z * z - bound * bound).clamp_min(1e-6)
    touch = ((kind >= 0) & (z > -bound)).index_select(0, frame)
    for side, rays in ((x, u), (y, v)):
        # Tangents to a circle, seen from a point outside it.
        root = bound * (side * side + z * z - bound * bound).clamp_min(0).sqrt()
        low, high = (side * z - root) / below, (side * z + root) / below
        low = torch.where(front, low, -FAR) * focal
        high = torch.where(front, high, FAR) * focal
        touch = touch & (low.index_select(0, frame) <= rays.amax(1, keepdim=True))
        touch = touch & (high.index_select(0, frame) >= rays.amin(1, keepdim=True))
    return torch.where(touch, 1.0, 0.0)


def _nearest(
    family: int, blocks: Tensor, d: Vec, camera: Tensor, numbers: Tensor, profile: Tensor,
    part: Tensor, t: Tensor, normal: Vec, which: Tensor,
) -> None:  # fmt: skip
    """Keep, in place, the nearer of what rays met so far and one primitive a pair."""
    eye, matrix = row(camera, blocks), numbers[:, MATRIX:CENTRE]
    o, centre = _columns(eye, 0), _columns(numbers, CENTRE)
    rel = (o[0] - centre[0], o[1] - centre[1], o[2] - centre[2])
    hit = MEET[family](apply(matrix, rel), apply(matrix, rows(d, blocks)), profile)
    old = row(t, blocks)
    closer = hit.t < old
    n = apply_transposed(matrix, hit.normal)
    kept = rows(normal, blocks)
    new = (
        torch.minimum(hit.t, old),
        torch.where(closer, n[0], kept[0]),
        torch.where(closer, n[1], kept[1]),
        torch.where(closer, n[2], kept[2]),
        torch.where(closer, part, row(which, blocks)),
    )
    put((t, *normal, which), blocks, new)


def _surface(
    camera: Tensor, d: Vec, t: Tensor, normal: Vec, which: Tensor
) -> tuple[Vec, Tensor]:
    """Add the floor to what rays meet, in place; return points, and 1 where they are of it."""
    o = _columns(camera, 0)
    floor_t = torch.where(d[1] < -1e-4, -o[1] / d[1], FAR)
    on_floor = torch.where(floor_t < t, 1.0, 0.0)
    near = torch.minimum(t, floor_t)
    flat = (floor_t < t) | (near > 0.5 * FAR)
    length = torch.rsqrt(dot(normal, normal).clamp_min(1e-20))
    far = near.clamp_max(1e4)
    point = (o[0] + far * d[0], o[1] + far * d[1], o[2] + far * d[2])
    new = (
        near,
        torch.where(flat, 0.0, normal[0] * length),
        torch.where(flat, 1.0, normal[1] * length),
        torch.where(flat, 0.0, normal[2] * length),
        torch.where(flat, NOTHING, which),
    )
    put((t, *normal, which), None, new)
    return point, on_floor


def _may_shade(
    point: Vec, t: Tensor, frame: Tensor, light: Tensor, parts: Tensor, bound: Tensor,
    soft: Tensor, kind: Tensor,
) -> Tensor:  # fmt: skip
    """Return 1, `m k`, for primitives that may hide sun or sky from points of each block."""
    counts = t < SHADOW_REACH
    low = torch.stack([torch.where(counts, c, FAR).amin(1) for c in point], -1)
    high = torch.stack([torch.where(counts, c, -FAR).amax(1) for c in point], -1)
    middle = (low + high) / 2
    size = ((high - low) / 2).clamp_min(0)
    radius = size.norm(dim=-1, keepdim=True)
    rel = parts.index_select(0, frame)[..., CENTRE : CENTRE + 3] - middle[:, None]
    bound, soft = bound.index_select(0, frame), soft.index_select(0, frame)
    along = (rel * light[:, None, look.SUN : look.SUN + 3]).sum(-1)
    squared = (rel * rel).sum(-1)
    across = (squared - along * along).clamp_min(0).sqrt()
    room = radius + bound
    shade = (along > -room) & (across < room + 0.06 * along.clamp_min(0))
    dark = squared.sqrt() < radius + 5 * soft
    some = (t.amin(1, keepdim=True) < SHADOW_REACH) & (kind >= 0).index_select(0, frame)
    return torch.where(some & (shade | dark), 1.0, 0.0)


def _shaded(
    family: int, blocks: Tensor, point: Vec, normal: Vec, jx: Tensor, jz: Tensor, which: Tensor,
    light: Tensor, numbers: Tensor, profile: Tensor, soft: Tensor, part: Tensor, lit: Tensor,
    open_: Tensor,
) -> None:  # fmt: skip
    """Take from sun and sky, in place, what one primitive a pair hides.

    Points of `which` are the primitive's own.
    """
    sun, matrix = _columns(row(light, blocks), look.SUN), numbers[:, MATRIX:CENTRE]
    centre = _columns(numbers, CENTRE)
    p, normal = rows(point, blocks), rows(normal, blocks)
    away = (p[0] - centre[0], p[1] - centre[1], p[2] - centre[2])
    toward = (sun[0] + row(jx, blocks), sun[1] + 0 * away[1], sun[2] + row(jz, blocks))
    start = (
        away[0] + 0.012 * normal[0], away[1] + 0.012 * normal[1], away[2] + 0.012 * normal[2],
    )  # fmt: skip
    hit = MEET[family](apply(matrix, start), apply(matrix, toward), profile)
    sees = torch.where(hit.t < 0.5 * FAR, 0.0, row(lit, blocks))
    squared = dot(away, away).clamp_min(1e-4)
    facing = (-dot(away, normal) * torch.rsqrt(squared)).clamp_min(0)
    near = (soft * soft / squared).clamp_max(1.0)
    own = row(which, blocks) == part
    free = row(open_, blocks) * torch.where(own, 1.0, 1 - 0.7 * facing * near)
    put((lit, open_), blocks, (sees, free))


def _bend(
    blocks: Tensor, point: Vec, light: Tensor, still: Tensor, u: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where rays of some blocks go on, as a camera below the floor sees them.

    Ripples bend them; less, the farther they are, and where the floor is but wet: `still`, `n 1`.
    """
    x, z = row(point[0], blocks), row(point[2], blocks)
    far = 1 / (1 + 0.02 * (x * x + z * z))  # distant ripples are finer than a pixel
    sx, sz = look.ripple(x, z, row(light, blocks))
    bend = still * far
    return row(u, blocks) + bend * sx * 1.5, row(v, blocks) + bend * sz * 2.0


def _sky(blocks: Tensor, d: Vec, frame: Tensor, light: Vec) -> None:
    """Put the light of the sky in all rays of some blocks."""
    put(light, blocks, look.sky(rows(d, blocks), row(frame, blocks)))


def _thing(
    at: Tensor, index: Tensor, frame: Tensor, normal: Vec, d: Vec, t: Tensor, point: Vec,
    lit: Tensor, open_: Tensor, parts: Tensor, lights: Tensor, light: Vec,
) -> None:  # fmt: skip
    """Shade, in place, the rays `at` that met an object, wherever they are.

    `index` and `frame` say which row of `parts` and of `lights` is each one's.
    """

    def here(a: Tensor) -> Tensor:
        return a.view(-1).index_select(0, at)[:, None]

    def each(v: Vec) -> Vec:
        return here(v[0]), here(v[1]), here(v[2])

    r = [parts[:, i].index_select(0, index)[:, None] for i in range(OWNER)]
    numbers = lights.index_select(0, frame)
    p = each(point)
    m, a = r[MATRIX:CENTRE], [p[i] - r[CENTRE + i] for i in range(3)]
    local = (
        m[0] * a[0] + m[1] * a[1] + m[2] * a[2],
        m[3] * a[0] + m[4] * a[1] + m[5] * a[2],
        m[6] * a[0] + m[7] * a[1] + m[8] * a[2],
    )
    base, second = (
        (r[COLOUR], r[COLOUR + 1], r[COLOUR + 2]),
        (r[SECOND], r[SECOND + 1], r[SECOND + 2]),
    )
    new = look.thing(
        each(normal), each(d), here(t), local, base, second, r[MATERIAL], here(lit), here(open_),
        numbers,
    )  # fmt: skip
    for kept, value in zip(light, new, strict=True):
        kept.view(-1).index_copy_(0, at, value.squeeze(1))


def _ground(
    floor: int, blocks: Tensor, point: Vec, d: Vec, t: Tensor, lit: Tensor, open_: Tensor,
    mirror: Vec, frame: Tensor, on_floor: Tensor, light: Vec,
) -> None:  # fmt: skip
    """Shade, in place, the floor where it is seen in some blocks."""
    new = look.ground(
        FLOORS[floor], rows(point, blocks), rows(d, blocks), row(t, blocks).clamp_max(1e4),
        row(lit, blocks), row(open_, blocks), rows(mirror, blocks), row(frame, blocks),
    )  # fmt: skip
    here, old = row(on_floor, blocks), rows(light, blocks)
    put(light, blocks, [torch.where(here > 0, a, b) for a, b in zip(new, old, strict=True)])


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
            "begin": _begin,
            "surface": _surface,
            "in_view": _in_view,
            "may_shade": _may_shade,
            "bend": _bend,
            "sky": _sky,
            "thing": _thing,
            "film": _film,
            "samples": _samples,
            "blend": _blend,
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
