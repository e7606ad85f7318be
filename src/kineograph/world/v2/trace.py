"""Where a ray meets a primitive: three families of solids, each in its own unit space.

A primitive lies in the cube |x|, |y|, |z| <= 1 of its unit space; a matrix takes the world there,
so that boxes, eggs and tubes of any extents are one case each, and distances along a ray stay
those of the world. Every function is branch-free over samples, and run on symbols as well
(`emit.py`). Letters: m pairs of a block of rays and a primitive, p rays of a block; numbers of a
pair are `m 1`, of a ray `m p`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FAR = 1e9  # m, the distance of a miss
NEAR = 1e-3  # m, of the nearest hit
Vec = tuple[Tensor, Tensor, Tensor]

# kind: family and numbers. Round: radius^2 = a + b y + c y^2. Square: |x|, |z| <= a - b y.
ROUND, SQUARE, TORUS = range(3)
KINDS = ("ball", "cylinder", "cone", "box", "pyramid", "torus")
FAMILY = (ROUND, ROUND, ROUND, SQUARE, SQUARE, TORUS)
PROFILE = (
    (1.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.25, -0.5, 0.25),
    (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 0.0, 0.0),
)  # fmt: skip
TUBE = 0.30  # of the torus: its tube's radius, that of its spine is 1 - TUBE; its axis is z
MARCH = 24  # steps towards a torus: of the rays that pass through one, some graze and get past


class Hit(NamedTuple):
    """What rays meet: the distance (FAR for a miss) and the normal in unit space, any length."""

    t: Tensor
    normal: Vec


def dot(a: Vec, b: Vec) -> Tensor:
    """Return the inner product of two vectors of columns."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def apply(m: Tensor, v: Vec) -> Vec:
    """Return m v for matrices `m 9` and vectors of columns `m p`."""
    c = [m[:, i : i + 1] for i in range(9)]
    return (
        c[0] * v[0] + c[1] * v[1] + c[2] * v[2],
        c[3] * v[0] + c[4] * v[1] + c[5] * v[2],
        c[6] * v[0] + c[7] * v[1] + c[8] * v[2],
    )


def apply_transposed(m: Tensor, v: Vec) -> Vec:
    """Return the transpose of m times v: takes a normal from unit space to the world."""
    c = [m[:, i : i + 1] for i in range(9)]
    return (
        c[0] * v[0] + c[3] * v[1] + c[6] * v[2],
        c[1] * v[0] + c[4] * v[1] + c[7] * v[2],
        c[2] * v[0] + c[5] * v[1] + c[8] * v[2],
    )


def _away_from_zero(x: Tensor) -> Tensor:
    """Return x, kept from 0, so that 1 / x is finite."""
    return torch.where(x.abs() < 1e-9, 1e-9, x)


def meet_round(o: Vec, d: Vec, profile: Tensor) -> Hit:
    """Meet a ball, cylinder or cone: a solid of revolution about y, cut at y = -1 and 1."""
    (x, y, z), (dx, dy, dz) = o, d
    a, b, c = (profile[:, i : i + 1] for i in range(3))
    half = 0.5 * b
    qa = _away_from_zero(dx * dx + dz * dz - c * dy * dy)
    slope = half + c * y
    qb = x * dx + z * dz - slope * dy
    qc = x * x + z * z - (a + (b + c * y) * y)
    q = qb * qb - qa * qc
    side = (-qb - q.clamp_min(0).sqrt()) / qa
    ys = y + side * dy
    side = torch.where((q > 0) & (side > NEAR) & (ys.abs() < 1), side, FAR)
    down = _away_from_zero(dy)
    level = -down.sign()
    cap = (level - y) / down
    cx, cz = x + cap * dx, z + cap * dz
    on_cap = (cap > NEAR) & (cap < side) & (cx * cx + cz * cz < a + b * level + c)
    t = torch.where(on_cap, cap, side)
    px, py, pz = x + t * dx, y + t * dy, z + t * dz
    normal = (
        torch.where(on_cap, 0.0, px),
        torch.where(on_cap, level, -half - c * py),
        torch.where(on_cap, 0.0, pz),
    )
    return Hit(t, normal)


def meet_square(o: Vec, d: Vec, profile: Tensor) -> Hit:
    """Meet a box or a pyramid: |x|, |z| <= a - b y, cut at y = -1 and 1."""
    (x, y, z), (dx, dy, dz) = o, d
    a, b = profile[:, 0:1], profile[:, 1:2]
    out_y, going = a - b * y, b * dy
    enter = torch.full_like(dx, -FAR)
    leave = torch.full_like(dx, FAR)
    normal = (torch.zeros_like(dx), torch.zeros_like(dx), torch.zeros_like(dx))
    planes: tuple[tuple[Tensor, Tensor, tuple[float, Tensor | float, float]], ...] = (
        (going + dx, x - out_y, (1.0, b, 0.0)),
        (going - dx, -x - out_y, (-1.0, b, 0.0)),
        (going + dz, z - out_y, (0.0, b, 1.0)),
        (going - dz, -z - out_y, (0.0, b, -1.0)),
        (dy, y - 1, (0.0, 1.0, 0.0)),
        (-dy, -y - 1, (0.0, -1.0, 0.0)),
    )
    for rate, height, facing in planes:
        rate = _away_from_zero(rate)
        t = -height / rate
        inward = rate < 0
        nearer = inward & (t > enter)
        enter = torch.where(nearer, t, enter)
        fx, fy, fz = facing
        normal = (
            torch.where(nearer, fx, normal[0]),
            torch.where(nearer, fy, normal[1]),
            torch.where(nearer, fz, normal[2]),
        )
        leave = torch.where(inward, leave, torch.minimum(leave, t))
    return Hit(torch.where((enter < leave) & (enter > NEAR), enter, FAR), normal)


def meet_torus(o: Vec, d: Vec, profile: Tensor) -> Hit:
    """Meet a torus by sphere tracing from where its bounding ball begins.

    Unit space must be the world scaled alike in all directions. `profile` is not looked at.
    """
    length = dot(d, d).sqrt()
    e = tuple(c / length for c in d)
    b = dot(o, (e[0], e[1], e[2]))
    inside = dot(o, o) - 1.02
    q = b * b - inside
    start = (-b - q.clamp_min(0).sqrt()).clamp_min(0.0)
    s = start
    spine = 1 - TUBE

    def gap(s: Tensor) -> tuple[Tensor, Tensor, Vec]:
        px, py, pz = o[0] + s * e[0], o[1] + s * e[1], o[2] + s * e[2]
        ring = (px * px + py * py + 1e-12).sqrt()
        out = ring - spine
        return (out * out + pz * pz + 1e-12).sqrt() - TUBE, spine / ring, (px, py, pz)

    for _ in range(MARCH):
        s = s + gap(s)[0]
    left, share, (px, py, pz) = gap(s)
    hit = (q > 0) & (left < 0.006) & (s < start + 2.1) & (s > NEAR * length)
    normal = (px - px * share, py - py * share, pz)
    return Hit(torch.where(hit, s / length, FAR), normal)


MEET = (meet_round, meet_square, meet_torus)
