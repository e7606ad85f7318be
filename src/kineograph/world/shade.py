"""The colour of every sample: what its ray meets, the light there, the floor, the sky.

One branch-free function of per-frame numbers (`render.FrameBatch`), `shade`, eager or under
`torch.compile`. Letters: f frames, p pixels, n objects. Every quantity is `[f, p]` or broadcasts
to it, so that the compiled kernel is a single fused loop over samples. Shapes are met in their
own frame, with radius r. Colours live in display space: what is computed is what the file shows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kineograph.world.physics import HALF_HEIGHT

FAR = 1e9  # m, the distance of a miss

Vec = list[Tensor]


def _ball(r: Tensor, o: Vec, d: Vec) -> Tensor:
    """Return the distance to a ball (FAR for a miss)."""
    x, y, z = o
    dx, dy, dz = d
    b = x * dx + y * dy + z * dz
    q = b * b - (x * x + y * y + z * z - r * r)
    return torch.where((q > 0) & (b < 0), -b - q.clamp_min(0).sqrt(), FAR)


class _Cube(NamedTuple):
    """A hit of a cube: which face it was follows from the distances to the three near planes."""

    t: Tensor  # FAR for a miss
    near: Tensor
    ax: Tensor
    ay: Tensor
    az: Tensor


def _cube(r: Tensor, o: Vec, inverse: Vec) -> _Cube:
    """Intersect with the cube of half side 0.82 r; `inverse` is 1 / direction."""
    (x, y, z), (ix, iy, iz) = o, inverse
    s = r * HALF_HEIGHT["cube"]
    ax, ay, az = (-s * ix.sign() - x) * ix, (-s * iy.sign() - y) * iy, (-s * iz.sign() - z) * iz
    near = torch.maximum(torch.maximum(ax, ay), az)
    ex, ey, ez = (s * ix.sign() - x) * ix, (s * iy.sign() - y) * iy, (s * iz.sign() - z) * iz
    leave = torch.minimum(torch.minimum(ex, ey), ez)
    return _Cube(torch.where((near < leave) & (near > 1e-3), near, FAR), near, ax, ay, az)


class _Solid(NamedTuple):
    """A hit of a cylinder or a cone."""

    t: Tensor  # FAR for a miss
    on_cap: Tensor
    slope: Tensor  # k of radius(y) = r0 - k * y


def _solid(kind: Tensor, r: Tensor, o: Vec, d: Vec, iy: Tensor) -> _Solid:
    """Intersect with a cylinder or a cone, one quadric: radius(y) = r0 - k * y for |y| < h."""
    x, y, z = o
    dx, dy, dz = d
    cone = kind == 3
    h = 0.95 * r
    k = torch.where(cone, 0.9 / 1.9, 0.0)
    r0 = torch.where(cone, 0.45 * r, 0.72 * r)
    qa = dx * dx + dz * dz - (k * dy) ** 2
    w = r0 - k * y
    qb = x * dx + z * dz + k * dy * w
    q = qb * qb - qa * (x * x + z * z - w * w)
    side = (-qb - q.clamp_min(0).sqrt()) / qa
    ys = y + side * dy
    side = torch.where((q > 0) & (side > 1e-3) & (ys.abs() < h) & (r0 - k * ys > 0), side, FAR)
    cap = (-dy.sign() * h - y) * iy
    cx, cz, rc = x + cap * dx, z + cap * dz, r0 + k * dy.sign() * h
    on_cap = (cap > 1e-3) & (cx * cx + cz * cz < rc * rc) & (cap < side)
    return _Solid(torch.where(on_cap, cap, side), on_cap, k)


class _Ring(NamedTuple):
    """A hit of a ring, and the distances to its parts (FAR for a miss)."""

    t: Tensor
    outer: Tensor
    inner: Tensor
    wall: Tensor  # the nearer of outer and inner
    face: Tensor


def _ring(r: Tensor, o: Vec, d: Vec, iz: Tensor) -> _Ring:
    """Intersect with a ring: a short tube about the local z axis."""
    x, y, z = o
    dx, dy, dz = d
    ra = dx * dx + dy * dy + 1e-9
    rb = x * dx + y * dy
    rr = x * x + y * y
    hz, inside = 0.30 * r, 0.55 * r
    q = rb * rb - ra * (rr - r * r)
    outer = (-rb - q.clamp_min(0).sqrt()) / ra
    outer = torch.where((q > 0) & (outer > 1e-3) & ((z + outer * dz).abs() < hz), outer, FAR)
    q = rb * rb - ra * (rr - inside * inside)
    inner = (-rb + q.clamp_min(0).sqrt()) / ra
    inner = torch.where((q > 0) & (inner > 1e-3) & ((z + inner * dz).abs() < hz), inner, FAR)
    face = (-dz.sign() * hz - z) * iz
    fx, fy = x + face * dx, y + face * dy
    ff = fx * fx + fy * fy
    face = torch.where((face > 1e-3) & (ff < r * r) & (ff > inside * inside), face, FAR)
    wall = torch.minimum(outer, inner)
    return _Ring(torch.minimum(wall, face), outer, inner, wall, face)


def _hit(kind: Tensor, r: Tensor, o: Vec, d: Vec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Intersect local rays with every kind of shape and select by `kind`.

    Returns the distance (FAR for a miss) and the local normal. Kinds are indices of SHAPES.
    """
    dx, dy, dz = d
    ix, iy, iz = 1 / dx, 1 / dy, 1 / dz
    ball = _ball(r, o, d)
    cube = _cube(r, o, [ix, iy, iz])
    solid = _solid(kind, r, o, d, iy)
    ring = _ring(r, o, d, iz)
    is_ball, is_cube, is_ring = kind == 0, kind == 1, kind == 4
    rest = torch.where(is_ring, ring.t, solid.t)
    t = torch.where(is_ball, ball, torch.where(is_cube, cube.t, rest))
    px, py, pz = o[0] + t * dx, o[1] + t * dy, o[2] + t * dz
    k = solid.slope
    il = torch.rsqrt(px * px + pz * pz + 1e-9)
    c = torch.rsqrt(1 + k * k)
    rl = torch.rsqrt(px * px + py * py + 1e-9) * torch.where(ring.inner < ring.outer, -1.0, 1.0)
    on_face = ring.face < ring.wall
    near, on_cap = cube.near, solid.on_cap
    nx = torch.where(
        is_cube,
        torch.where(near == cube.ax, -dx.sign(), 0.0),
        torch.where(on_cap, 0.0, px * il * c),
    )
    ny = torch.where(
        is_cube,
        torch.where(near == cube.ay, -dy.sign(), 0.0),
        torch.where(on_cap, -dy.sign(), k * c),
    )
    nz = torch.where(
        is_cube,
        torch.where(near == cube.az, -dz.sign(), 0.0),
        torch.where(on_cap, 0.0, pz * il * c),
    )
    nx = torch.where(is_ring, torch.where(on_face, 0.0, px * rl), nx)
    ny = torch.where(is_ring, torch.where(on_face, 0.0, py * rl), ny)
    nz = torch.where(is_ring, torch.where(on_face, -dz.sign(), 0.0), nz)
    ir = 1 / r
    nx, ny, nz = (torch.where(is_ball, p * ir, m) for p, m in ((px, nx), (py, ny), (pz, nz)))
    return t, nx, ny, nz


class _Objects(NamedTuple):
    """Where the objects of a `FrameBatch` are, and their shapes."""

    number: int
    centre: Tensor
    matrix: Tensor
    shape: Tensor

    def trace(self, n: int, o: Vec, d: Vec) -> tuple[Tensor, Vec, Tensor]:
        """Return distance, normal and stripe (above 0: the darker tint) of rays at object n."""
        m = [self.matrix[:, n, i : i + 1] for i in range(9)]
        a = [o[i] - self.centre[:, n, i : i + 1] for i in range(3)]
        lo = [m[j] * a[0] + m[3 + j] * a[1] + m[6 + j] * a[2] for j in range(3)]
        ld = [m[j] * d[0] + m[3 + j] * d[1] + m[6 + j] * d[2] for j in range(3)]
        r = self.shape[:, n, 1:2]
        t, nx, ny, nz = _hit(self.shape[:, n, 0:1], r, lo, ld)
        stripe = torch.sin((lo[0] + t * ld[0]) / r * 6.5)
        normal = [m[3 * i] * nx + m[3 * i + 1] * ny + m[3 * i + 2] * nz for i in range(3)]
        return t, normal, stripe

    def pick(self, at: _Surface, values: Tensor, *columns: int) -> Vec:
        """Return columns of per-object numbers `f n k`, each pixel's of its own object."""
        picked = [values[:, 0, i : i + 1] + 0 * at.t for i in columns]
        for n in range(1, self.number):
            mine = at.which == float(n)
            picked = [
                torch.where(mine, values[:, n, i : i + 1], p)
                for i, p in zip(columns, picked, strict=True)
            ]
        return picked


class _Surface(NamedTuple):
    """What each ray meets."""

    t: Tensor  # distance (m), FAR for the sky
    dist: Tensor  # the same, 1 for the sky
    point: Vec
    normal: Vec
    stripe: Tensor
    which: Tensor  # index of the nearest object, also where the floor is nearer
    on_floor: Tensor
    on_object: Tensor


def _column(values: Tensor, i: int) -> Tensor:
    """Return a column of per-frame numbers, to broadcast over pixels."""
    return values[:, i : i + 1]


def _dot(a: Vec, b: Vec) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _meet(objects: _Objects, o: Vec, d: Vec) -> _Surface:
    """Return the nearest thing along each ray: an object, the floor or the sky."""
    t, normal, stripe = objects.trace(0, o, d)
    which = torch.zeros_like(t)
    for n in range(1, objects.number):
        tn, nn, sn = objects.trace(n, o, d)
        w = tn < t
        t = torch.minimum(t, tn)
        normal = [torch.where(w, a, b) for a, b in zip(nn, normal, strict=True)]
        stripe, which = torch.where(w, sn, stripe), torch.where(w, float(n), which)
    floor_t = torch.where(d[1] < -1e-4, -o[1] / d[1], FAR)
    on_floor = floor_t < t
    t = torch.minimum(t, floor_t)
    on_object = (~on_floor) & (t < 1e8)
    normal = [torch.where(on_floor, float(i == 1), normal[i]) for i in range(3)]
    dist = torch.where(t < 1e8, t, 1.0)
    point = [o[i] + dist * d[i] for i in range(3)]
    return _Surface(t, dist, point, normal, stripe, which, on_floor, on_object)


def _shadows(objects: _Objects, at: _Surface, sun: Vec) -> tuple[Tensor, Tensor]:
    """Return whether the sun is seen (0 or 1) and how much of the sky is."""
    start = [at.point[i] + 0.012 * at.normal[i] for i in range(3)]
    lit, occlusion = torch.ones_like(at.t), torch.ones_like(at.t)
    for n in range(objects.number):
        toward = [s + 0 * at.dist for s in sun]
        lit = torch.where(objects.trace(n, start, toward)[0] < 1e8, 0.0, lit)
        c = [objects.centre[:, n, i : i + 1] - at.point[i] for i in range(3)]
        l2 = _dot(c, c).clamp_min(1e-3)
        facing = _dot(c, at.normal) * torch.rsqrt(l2)
        near = (objects.shape[:, n, 1:2] ** 2 / l2).clamp_max(1.0)
        mine = at.on_object & (at.which == float(n))
        occlusion = occlusion * torch.where(mine, 1.0, 1 - 0.65 * facing.clamp_min(0) * near)
    return lit, occlusion


def _glint(mirror: Vec, sun: Vec, lit: Tensor) -> Tensor:
    """Return the highlight of the sun in a mirror direction, a sharp power of the cosine."""
    glint = _dot(mirror, sun).clamp_min(0)
    glint = glint * glint
    glint = glint * glint
    glint = glint * glint * lit  # to the 8th power
    return glint * glint


def _hills(d: Vec, light: Tensor) -> Tensor:
    """Return where rays end in hills at infinity, which only turns of the camera move."""
    azimuth = torch.atan2(d[0], -d[2])
    level = d[1] * torch.rsqrt(d[0] * d[0] + d[2] * d[2] + 1e-9)
    ridge = (
        0.060
        + 0.036 * torch.sin(5 * azimuth + _column(light, 15))
        + 0.030 * torch.sin(8 * azimuth + _column(light, 16))
        + 0.012 * torch.sin(13 * azimuth + _column(light, 17))
    )
    return level < ridge


def _floor_mix(kind: Tensor, x: Tensor, z: Tensor, dist: Tensor) -> Tensor:
    """Return how much of the floor's second tint shows, with far texture faded to its mean."""
    cell = (torch.floor(x * 1.1) + torch.floor(z * 1.1)) * 0.5
    checker = (cell - torch.floor(cell)) * 2
    gx, gz = x * 1.15 - torch.floor(x * 1.15), z * 1.15 - torch.floor(z * 1.15)
    tile = torch.where((gx < 0.12) | (gz < 0.12), 1.0, 0.0)
    plank = torch.floor(z * 1.7)
    tone = torch.sin(plank * 12.9898) * 0.5 + 0.5
    seam = torch.where(z * 1.7 - plank < 0.1, 1.0, 0.0)
    grain = torch.sin(x * 2.3 + plank * 1.7) * 0.2
    wood = torch.maximum((tone * 0.75 + grain).clamp(0, 1), seam)
    along = torch.sin(x * 2.1 + 1.3 * torch.sin(z * 1.7))
    patch = along + torch.sin(z * 2.7 + 1.2 * torch.sin(x * 1.9 + 1))
    grass = (0.5 + 0.45 * patch).clamp(0, 1)
    dune = 0.5 + 0.5 * torch.sin(z * 3.6 + 1.1 * torch.sin(x * 1.3) + 0.5 * x)
    mean = torch.where(kind == 1, 0.2, 0.5)
    is_checker, is_tile, is_wood, is_grass = (kind == i for i in range(4))
    g = torch.where(is_wood, wood, torch.where(is_grass, grass, dune))
    g = torch.where(is_checker, checker, torch.where(is_tile, tile, g))
    far = dist * dist * 0.0123  # (dist / 9 m)^2: beyond it a pattern is finer than a base pixel
    return mean + (g - mean) * torch.exp(-far * far)


def shade(
    u: Tensor, v: Tensor, jitter: Tensor, centre: Tensor, matrix: Tensor, shape: Tensor,
    colour: Tensor, camera: Tensor, light: Tensor, floor: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return colour `f 3 p` in [0, 1] and object index `f p` (0: none) of one sample a pixel."""
    objects = _Objects(centre.shape[1], centre, matrix, shape)
    o = [_column(camera, i) for i in range(3)]
    d = [
        _column(camera, 9 + i) + u * _column(camera, 3 + i) + v * _column(camera, 6 + i)
        for i in range(3)
    ]
    il = torch.rsqrt(_dot(d, d))
    d = [c * il + 1e-7 for c in d]
    at = _meet(objects, o, d)
    normal = at.normal
    # The sun, with this sample's share of the penumbra.
    sun = [_column(light, 12) + jitter[0], _column(light, 13), _column(light, 14) + jitter[1]]
    lit, occlusion = _shadows(objects, at, sun)
    diffuse = _dot(normal, sun).clamp_min(0) * lit
    # The mirror direction: metal shows the sky above and the floor below.
    dn = _dot(d, normal)
    m = [d[i] - 2 * dn * normal[i] for i in range(3)]
    glint = _glint(m, sun, lit)
    (material,) = objects.pick(at, shape, 2)
    metal = torch.where(material == 1, 1.0, 0.0)
    kind, p = _column(floor, 0), at.point
    mix = _floor_mix(kind, p[0] + _column(floor, 7), p[2] + _column(floor, 8), at.dist)
    hill = _hills(d, light)
    haze = torch.exp(-at.dist * at.dist / 320)
    rise = (d[1] * 1.6).clamp(0, 1)
    m_rise = (m[1] * 1.6).clamp(0, 1)
    hemi = 0.44 + 0.14 * normal[1]
    out = []
    for i in range(3):
        light_i, horizon, zenith = _column(light, 6 + i), _column(light, i), _column(light, 3 + i)
        base, dark = objects.pick(at, colour, i, 3 + i)
        base = torch.where(at.stripe > 0, dark, base)
        tint = light_i.sqrt()
        plain = base * (hemi * occlusion + 0.60 * diffuse) * tint + 0.05 * glint * light_i
        below = (_column(floor, 1 + i) + _column(floor, 4 + i)) * 0.42 * light_i
        mirror = torch.where(m[1] > 0, horizon + (zenith - horizon) * m_rise, below)
        shiny = base * (0.24 * hemi + 0.30 * diffuse) * tint + (0.12 + 0.42 * base) * mirror * 0.8
        shiny = shiny + 0.75 * glint * light_i
        thing = plain + (shiny - plain) * metal
        ground = _column(floor, 1 + i) + (_column(floor, 4 + i) - _column(floor, 1 + i)) * mix
        ground = ground * (0.46 * occlusion + 0.60 * diffuse) * light_i
        ground = horizon + (ground - horizon) * haze
        sky = torch.where(hill, _column(light, 9 + i), horizon + (zenith - horizon) * rise)
        seen = torch.where(at.on_object, thing, sky)
        out.append(torch.where(at.on_floor, ground, seen).clamp(0, 1))
    return torch.stack(out, 1), torch.where(at.on_object, at.which + 1, 0.0)
