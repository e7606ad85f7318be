"""The kernels of the renderer: what is computed for every ray.

Run eagerly, under `torch.compile`, or on symbols, which writes them out as C++ (`emit.py`).

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
import torch.nn.functional as F
from torch import Tensor

from kineograph.world.gbuffer import FIRST_OBJECT, FLOOR, SKY
from kineograph.world.v2 import look
from kineograph.world.v2.pack import CENTRE, COLOUR, MATERIAL, MATRIX, OWNER, SECOND
from kineograph.world.v2.scene import FLOORS
from kineograph.world.v2.trace import FAR, MEET, Vec, apply, apply_transposed, dot

TILE = 16  # pixels, side of a block
# Where in a pixel its four samples lie: no two in a row or column.
SAMPLES = ((0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875))
# The sun is a disc: each of the four sees one part of it.
SUN_JITTER = ((-0.035, -0.012), (0.012, -0.035), (0.035, 0.012), (-0.012, 0.035))
# Pixels whose neighbour differs by more, of 1, get all four samples.
CONTRAST = 0.06
CROWD = 32  # pixels of a block of those
NOTHING = -1.0  # index of the primitive where none is met
SHADOW_REACH = 45.0  # m; beyond, the floor is drawn without shadows
SUN_REACH = 0.036  # how far at most a part of the sun is from its middle, in x and in z


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


def _begin(
    u: Tensor, v: Tensor, camera: Tensor
) -> tuple[Vec, Tensor, Vec, Tensor, Vec, Tensor]:
    """Return the unit directions of rays, and what they meet where nothing stands on the floor.

    The distance, the normal, no primitive, the point, and whether it is of floor or sky.
    """
    c = [camera[:, i : i + 1] for i in range(13)]
    u, v = u / c[12], v / c[12]
    x = c[9] + u * c[3] + v * c[6]
    y = c[10] + u * c[4] + v * c[7]
    z = c[11] + u * c[5] + v * c[8]
    length = torch.rsqrt(x * x + y * y + z * z)
    x, y, z = x * length, y * length, z * length
    t = torch.where(y < -1e-4, -c[1] / y, FAR)
    far = t.clamp_max(1e4)
    point = (c[0] + far * x, c[1] + far * y, c[2] + far * z)
    owner = torch.where(t < FAR, float(FLOOR), float(SKY))
    normal = (torch.zeros_like(t), torch.ones_like(t), torch.zeros_like(t))
    return (x, y, z), t, normal, torch.full_like(t, NOTHING), point, owner


def assembled(a: Tensor, frames: int, rows: int) -> Tensor:
    """Put the tiles `... m p` of some frames, in rows of them, together to `... f h w`."""
    a = a.unflatten(-2, (frames, rows, -1)).unflatten(-1, (TILE, TILE))
    return a.movedim(-3, -2).flatten(-2).flatten(-3, -2)


def _tiled(a: Tensor) -> Tensor:
    """Take pictures `f h w` apart into tiles `m p`."""
    a = a.unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE))
    return a.movedim(3, 2).flatten(3).flatten(0, 2)


def _develop(light: Vec, owner: Tensor, frames: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return pictures of tiles: what the film shows, `3 f h w`, and the owners."""
    shown = torch.stack([assembled(look.film(c), frames, rows) for c in light])
    return shown, assembled(owner, frames, rows).clone()


def _unclear(colour: Tensor, owner: Tensor, inside: Tensor) -> Tensor:
    """Return tiles `m p`, 1 at the pixels that differ from a neighbour, on both sides."""
    across = (colour[..., :, 1:] - colour[..., :, :-1]).abs().amax(0) - CONTRAST
    across = across.maximum((owner[:, :, 1:] - owner[:, :, :-1]).abs())
    down = (colour[..., 1:, :] - colour[..., :-1, :]).abs().amax(0) - CONTRAST
    down = down.maximum((owner[:, 1:] - owner[:, :-1]).abs())
    most = F.pad(across, (0, 1)).maximum(F.pad(across, (1, 0)))
    most = most.maximum(F.pad(down, (0, 0, 0, 1))).maximum(F.pad(down, (0, 0, 1, 0)))
    return _tiled(torch.where(most > 0, inside, 0.0))


def _samples(
    spot: Tensor, frame: Tensor, middle: Tensor, places: Tensor, suns: Tensor, rows: int,
    columns: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the pixels `m p` of some rays of tiles, where their other three samples lie, and suns.

    `middle` holds half the width, half the height, and the size of a pixel; what is returned of
    samples, `m 3p`, has one of all pixels after the other.
    """
    tile = spot // (TILE * TILE) - (frame * (rows * columns))[:, None]
    y = tile // columns * TILE + spot // TILE % TILE
    x = tile % columns * TILE + spot % TILE
    pixel = (frame[:, None] * (rows * TILE) + y) * (columns * TILE) + x
    first = sun_part(y, x)
    u = [(x + places[k, 0] - middle[0]) * middle[2] for k in (1, 2, 3)]
    v = [(middle[1] - y - places[k, 1]) * middle[2] for k in (1, 2, 3)]
    jitter = [suns[(first + k) & 3] for k in (1, 2, 3)]
    sun_x, sun_z = ([j[..., i] for j in jitter] for i in (0, 1))
    return pixel, torch.cat(u, 1), torch.cat(v, 1), torch.cat(sun_x, 1), torch.cat(sun_z, 1)


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
    family: int, blocks: Tensor | None, d: Vec, camera: Tensor, numbers: Tensor, profile: Tensor,
    part: Tensor, t: Tensor, normal: Vec, which: Tensor,
) -> None:  # fmt: skip
    """Keep, in place, the nearer of what rays met so far and one primitive a pair."""
    eye, matrix = row(camera, blocks), numbers[:, MATRIX:CENTRE]
    o, centre = _columns(eye, 0), _columns(numbers, CENTRE)
    rel = (o[0] - centre[0], o[1] - centre[1], o[2] - centre[2])
    hit = MEET[family](apply(matrix, rel), apply(matrix, rows(d, blocks)), profile)
    old, met = row(t, blocks), row(which, blocks)
    # What touches the floor is seen before the floor is.
    closer = (hit.t < old) | ((hit.t == old) & (met < 0) & (hit.t < FAR))
    n = apply_transposed(matrix, hit.normal)
    kept = rows(normal, blocks)
    new = (
        torch.minimum(hit.t, old),
        torch.where(closer, n[0], kept[0]),
        torch.where(closer, n[1], kept[1]),
        torch.where(closer, n[2], kept[2]),
        torch.where(closer, part, met),
    )
    put((t, *normal, which), blocks, new)


def _surface(
    blocks: Tensor | None, camera: Tensor, d: Vec, t: Tensor, normal: Vec, which: Tensor,
    point: Vec, owner: Tensor,
) -> None:  # fmt: skip
    """Work out, in place, the points and unit normals of blocks in which primitives are met."""
    o = _columns(row(camera, blocks), 0)
    far, d, n = row(t, blocks).clamp_max(1e4), rows(d, blocks), rows(normal, blocks)
    length = torch.rsqrt(dot(n, n).clamp_min(1e-20))
    new = (
        n[0] * length, n[1] * length, n[2] * length,
        o[0] + far * d[0], o[1] + far * d[1], o[2] + far * d[2],
        torch.where(row(which, blocks) < 0, row(owner, blocks), 0.0),
    )  # fmt: skip
    put((*normal, *point, owner), blocks, new)


def _may_shade(
    point: Vec, t: Tensor, frame: Tensor, light: Tensor, parts: Tensor, bound: Tensor,
    soft: Tensor, kind: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return 1, `m k`, for primitives that may darken points of each block, or hide the sun."""
    counts = t < SHADOW_REACH
    low = torch.stack([torch.where(counts, c, FAR).amin(1) for c in point], -1)
    high = torch.stack([torch.where(counts, c, -FAR).amax(1) for c in point], -1)
    middle = (low + high) / 2
    size = ((high - low) / 2).clamp_min(0)
    radius = size.norm(dim=-1, keepdim=True)
    centre = parts.index_select(0, frame)[..., CENTRE : CENTRE + 3]
    rel = centre - middle[:, None]
    bound, soft = bound.index_select(0, frame), soft.index_select(0, frame)
    along = (rel * light[:, None, look.SUN : look.SUN + 3]).sum(-1)
    squared = (rel * rel).sum(-1)
    across = (squared - along * along).clamp_min(0).sqrt()
    room = radius + bound
    shade = (along > -room) & (across < room + 0.06 * along.clamp_min(0))
    dark = squared.sqrt() < radius + 5 * soft
    some = (t.amin(1, keepdim=True) < SHADOW_REACH) & (kind >= 0).index_select(0, frame)
    dim = some & (shade | dark)
    # Everything sent down the sun's rays to the floor: points fill a rectangle, balls an oval.
    sun_x, sun_y, sun_z = _columns(light, look.SUN)
    rise = centre[..., 1] + bound - low[:, 1:2]
    hide = dim & (rise > -0.1)
    for i, slope in ((0, sun_x / sun_y), (2, sun_z / sun_y)):
        sent = point[i] - point[1] * slope
        first = torch.where(counts, sent, FAR).amin(1, keepdim=True)
        last = torch.where(counts, sent, -FAR).amax(1, keepdim=True)
        reach = bound * (1 + slope * slope).sqrt() + SUN_REACH / sun_y * rise.clamp_min(0) + 0.05
        there = centre[..., i] - centre[..., 1] * slope
        hide = hide & (there + reach > first) & (there - reach < last)
    return torch.where(dim, 1.0, 0.0), torch.where(hide, 1.0, 0.0)


def _dimmed(
    blocks: Tensor | None, point: Vec, normal: Vec, which: Tensor, numbers: Tensor, soft: Tensor,
    part: Tensor, open_: Tensor,
) -> None:  # fmt: skip
    """Take from the sky, in place, what one primitive a pair hides of it.

    Points of `which` are the primitive's own.
    """
    centre, p, normal = _columns(numbers, CENTRE), rows(point, blocks), rows(normal, blocks)
    away = (p[0] - centre[0], p[1] - centre[1], p[2] - centre[2])
    squared = dot(away, away).clamp_min(1e-4)
    facing = (-dot(away, normal) * torch.rsqrt(squared)).clamp_min(0)
    near = (soft * soft / squared).clamp_max(1.0)
    own = row(which, blocks) == part
    put((open_,), blocks, (row(open_, blocks) * torch.where(own, 1.0, 1 - 0.7 * facing * near),))


def _shaded(
    family: int, blocks: Tensor | None, point: Vec, normal: Vec, jx: Tensor, jz: Tensor,
    light: Tensor, numbers: Tensor, profile: Tensor, lit: Tensor,
) -> None:  # fmt: skip
    """Take the sun, in place, from the points that one primitive a pair hides from it."""
    sun, matrix = _columns(row(light, blocks), look.SUN), numbers[:, MATRIX:CENTRE]
    centre = _columns(numbers, CENTRE)
    p, normal = rows(point, blocks), rows(normal, blocks)
    away = (p[0] - centre[0], p[1] - centre[1], p[2] - centre[2])
    toward = (sun[0] + row(jx, blocks), sun[1] + 0 * away[1], sun[2] + row(jz, blocks))
    start = (
        away[0] + 0.012 * normal[0], away[1] + 0.012 * normal[1], away[2] + 0.012 * normal[2],
    )  # fmt: skip
    hit = MEET[family](apply(matrix, start), apply(matrix, toward), profile)
    put((lit,), blocks, (torch.where(hit.t < 0.5 * FAR, 0.0, row(lit, blocks)),))


def _bend(
    blocks: Tensor | None, point: Vec, light: Tensor, still: Tensor, u: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where rays of some blocks go on, as a camera below the floor sees them.

    Ripples bend them; less, the farther they are, and where the floor is but wet: `still`, `n 1`.
    """
    x, z = row(point[0], blocks), row(point[2], blocks)
    far = 1 / (1 + 0.02 * (x * x + z * z))  # distant ripples are finer than a pixel
    sx, sz = look.ripple(x, z, row(light, blocks))
    bend = still * far
    return row(u, blocks) + bend * sx * 1.5, row(v, blocks) + bend * sz * 2.0


def _sky(blocks: Tensor | None, d: Vec, frame: Tensor, light: Vec) -> None:
    """Put the light of the sky in all rays of some blocks."""
    put(light, blocks, look.sky(rows(d, blocks), row(frame, blocks)))


def thing_light(
    normal: Vec, d: Vec, t: Tensor, point: Vec, lit: Tensor, open_: Tensor, part: Tensor,
    numbers: Tensor,
) -> Vec:  # fmt: skip
    """Return the light from points of primitives."""
    centre = _columns(part, CENTRE)
    local = apply(
        part[:, MATRIX:CENTRE], (point[0] - centre[0], point[1] - centre[1], point[2] - centre[2])
    )
    return look.thing(
        normal, d, t, local, _columns(part, COLOUR), _columns(part, SECOND),
        part[:, MATERIAL : MATERIAL + 1], lit, open_, numbers,
    )  # fmt: skip


def _thing(
    at: Tensor, index: Tensor, frame: Tensor, normal: Vec, d: Vec, t: Tensor, point: Vec,
    lit: Tensor, open_: Tensor, parts: Tensor, lights: Tensor, light: Vec, owner: Tensor,
) -> None:  # fmt: skip
    """Shade, in place, the rays `at` that met an object, wherever they are, and say of which.

    `index` and `frame` say which row of `parts` and of `lights` is each one's.
    """

    def here(a: Tensor) -> Tensor:
        return a.view(-1).index_select(0, at)[:, None]

    def each(v: Vec) -> Vec:
        return here(v[0]), here(v[1]), here(v[2])

    part, numbers = parts.index_select(0, index), lights.index_select(0, frame)
    new = thing_light(
        each(normal), each(d), here(t), each(point), here(lit), here(open_), part, numbers
    )
    for kept, value in zip(light, new, strict=True):
        kept.view(-1).index_copy_(0, at, value.squeeze(1))
    owner.view(-1).index_copy_(0, at, part[:, OWNER] + FIRST_OBJECT)


def _ground(
    floor: int, blocks: Tensor | None, point: Vec, d: Vec, t: Tensor, lit: Tensor, open_: Tensor,
    mirror: Vec, frame: Tensor, owner: Tensor, light: Vec,
) -> None:  # fmt: skip
    """Shade, in place, the floor where it is seen in some blocks."""
    new = look.ground(
        FLOORS[floor], rows(point, blocks), rows(d, blocks), row(t, blocks).clamp_max(1e4),
        row(lit, blocks), row(open_, blocks), rows(mirror, blocks), row(frame, blocks),
    )  # fmt: skip
    here, old = row(owner, blocks), rows(light, blocks)
    put(light, blocks, [torch.where(here == FLOOR, a, b) for a, b in zip(new, old, strict=True)])


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
            "dimmed": _dimmed,
            "bend": _bend,
            "sky": _sky,
            "thing": _thing,
            "develop": _develop,
            "unclear": _unclear,
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
