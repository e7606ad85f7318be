"""The kernels of the renderer: what is computed for every ray, eager or fused.

Each is a function of whole blocks of rays, branch-free over samples; `kernel` returns one as it
is or compiled. Letters: m blocks (or pairs of a block and a primitive), p rays of a block.
"""

from __future__ import annotations

from collections.abc import Callable
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
