"""The kernels of the renderer: what is computed for every ray, eager or fused.

Each is a function of whole blocks of rays, branch-free over samples; `kernel` returns one as it
is or compiled. Where some blocks alone are computed, a kernel takes them from all and puts them
back by itself: compiled, nothing is copied for that. Letters: m blocks, n some of them (or pairs
of a block and a primitive), p rays of a block.
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


def _nearest(
    family: int, blocks: Tensor, d: Vec, o: Vec, matrix: Tensor, profile: Tensor, part: Tensor,
    t: Tensor, normal: Vec, which: Tensor,
) -> None:  # fmt: skip
    """Keep, in place, the nearer of what rays met so far and one primitive a pair.

    `o` is where the rays of a pair begin, seen from the middle of its primitive, `n 1`.
    """
    hit = MEET[family](apply(matrix, o), apply(matrix, rows(d, blocks)), profile)
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


def _reach(point: Vec, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the corners `m 3` of the box around those points of each block that count."""
    low = [torch.where(counts, c, FAR).amin(1) for c in point]
    high = [torch.where(counts, c, -FAR).amax(1) for c in point]
    return torch.stack(low, -1), torch.stack(high, -1)


def _shaded(
    family: int, blocks: Tensor, point: Vec, normal: Vec, jx: Tensor, jz: Tensor, which: Tensor,
    sun: Vec, matrix: Tensor, centre: Vec, profile: Tensor, soft: Tensor, part: Tensor,
    lit: Tensor, open_: Tensor,
) -> None:  # fmt: skip
    """Take from sun and sky, in place, what one primitive a pair hides.

    Points of `which` are the primitive's own.
    """
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


def _sky(blocks: Tensor | None, d: Vec, frame: Tensor, light: Vec) -> None:
    """Put the light of the sky in all rays of some blocks."""
    put(light, blocks, look.sky(rows(d, blocks), row(frame, blocks)))


def _thing(
    normal: Vec, d: Vec, dist: Tensor, point: Vec, lit: Tensor, open_: Tensor, numbers: Tensor,
    frame: Tensor,
) -> Vec:  # fmt: skip
    """Shade points `n 1` of objects; `numbers` and `frame` hold those of each, one a column."""
    r = [numbers[i, :, None] for i in range(OWNER)]
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
    floor: int, blocks: Tensor | None, point: Vec, d: Vec, t: Tensor, lit: Tensor, open_: Tensor,
    mirror: Vec, frame: Tensor, on_floor: Tensor, light: Vec,
) -> None:  # fmt: skip
    """Shade, in place, the floor where it is seen in some blocks."""
    new = look.ground(
        FLOORS[floor], rows(point, blocks), rows(d, blocks), row(t, blocks).clamp_max(1e4),
        row(lit, blocks), row(open_, blocks), rows(mirror, blocks), row(frame, blocks),
    )  # fmt: skip
    here, old = row(on_floor, blocks), rows(light, blocks)
    put(light, blocks, [torch.where(here, a, b) for a, b in zip(new, old, strict=True)])


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
            "reach": _reach,
            "sky": _sky,
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
