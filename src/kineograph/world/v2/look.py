"""How surfaces look: skies, eight floors, five materials, weather in the air, the film's curve.

Colours are linear light until `film` turns them into what the file shows. Functions are
branch-free over samples, and run on symbols as well (`emit.py`); what differs by floor is chosen by
the caller, one kernel a floor. Letters: m blocks, p rays of a block; numbers of a frame are `m 1`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kineograph.world.v2.trace import Vec, dot

Rgb = tuple[float, float, float]

# Columns of a frame's numbers.
HORIZON, ZENITH, SUN_LIGHT, AMBIENT, HILLS, SUN = 0, 3, 6, 9, 12, 15
PHASES, HAZE, HAZE_TINT, STARS, TIME, TINT_A, TINT_B, OFFSET, WET = (
    18,
    21,
    22,
    25,
    26,
    27,
    30,
    33,
    35,
)
GLOOM = 36
COLUMNS = 37


class Daylight(NamedTuple):
    """Colours of one time of day (linear light), and where its light comes from."""

    horizon: Rgb
    zenith: Rgb
    sun: Rgb
    ambient: Rgb
    hills: Rgb
    direction: Rgb  # to the sun or moon, not normalised
    stars: float = 0.0


DAYLIGHT = {
    "dawn": Daylight(
        (0.95, 0.52, 0.42), (0.26, 0.36, 0.66), (0.95, 0.66, 0.56), (0.30, 0.30, 0.38),
        (0.26, 0.20, 0.28), (-0.80, 0.50, 0.50),
    ),
    "noon": Daylight(
        (0.62, 0.80, 1.00), (0.13, 0.34, 0.84), (1.10, 1.06, 0.98), (0.34, 0.38, 0.44),
        (0.17, 0.30, 0.26), (0.38, 0.95, 0.48),
    ),
    "sunset": Daylight(
        (1.10, 0.40, 0.10), (0.24, 0.13, 0.30), (1.10, 0.60, 0.30), (0.30, 0.24, 0.26),
        (0.16, 0.06, 0.08), (0.85, 0.45, 0.42),
    ),
    "dusk": Daylight(
        (0.46, 0.24, 0.42), (0.06, 0.07, 0.24), (0.56, 0.46, 0.58), (0.23, 0.22, 0.31),
        (0.06, 0.04, 0.10), (-0.55, 0.70, 0.50), 0.35,
    ),
    "night": Daylight(
        (0.030, 0.040, 0.105), (0.004, 0.006, 0.022), (0.40, 0.44, 0.56), (0.105, 0.115, 0.165),
        (0.006, 0.008, 0.024), (0.35, 0.85, 0.50), 1.0,
    ),
}  # fmt: skip
# Two tints that a floor mixes.
FLOOR_TINTS: dict[str, tuple[Rgb, Rgb]] = {
    "checkered": ((0.045, 0.045, 0.052), (0.62, 0.62, 0.58)),
    "wooden": ((0.33, 0.165, 0.070), (0.13, 0.055, 0.020)),
    "grassy": ((0.105, 0.23, 0.045), (0.032, 0.095, 0.016)),
    "sandy": ((0.62, 0.46, 0.24), (0.36, 0.24, 0.11)),
    "marble": ((0.66, 0.65, 0.62), (0.20, 0.20, 0.22)),
    "snowy": ((0.80, 0.84, 0.90), (0.46, 0.55, 0.72)),
    "grid": ((0.010, 0.012, 0.030), (0.05, 0.75, 0.95)),
    "water": ((0.012, 0.050, 0.075), (0.030, 0.110, 0.130)),
}
COLOUR_RGB: dict[str, Rgb] = {
    "red": (0.70, 0.012, 0.010),
    "orange": (0.95, 0.20, 0.006),
    "yellow": (0.95, 0.68, 0.010),
    "green": (0.020, 0.38, 0.035),
    "cyan": (0.012, 0.58, 0.62),
    "blue": (0.016, 0.050, 0.78),
    "purple": (0.22, 0.016, 0.52),
    "pink": (0.95, 0.20, 0.42),
    "white": (0.86, 0.86, 0.86),
    "black": (0.010, 0.010, 0.012),
}
# How far one sees (m), how much of sun and sky is left, and how far the air takes on white.
WEATHER = {
    "clear": (26.0, 1.0, 0.0),
    "rain": (19.0, 0.42, 0.55),
    "snow": (19.0, 0.60, 0.70),
    "fog": (10.0, 0.62, 0.85),
}


def column(values: Tensor, i: int) -> Tensor:
    """Return a column of a frame's numbers, to broadcast over rays."""
    return values[:, i : i + 1]


def _three(values: Tensor, i: int) -> Vec:
    return column(values, i), column(values, i + 1), column(values, i + 2)


def film(light: Tensor) -> Tensor:
    """Return what the file shows of linear light: a filmic shoulder and toe, then a root.

    The curve is the rational fit to ACES by Narkowicz (2015).
    """
    x = light.clamp_min(0)
    y = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return y.clamp(0, 1).sqrt()


def _mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    return a + (b - a) * share


def sky(d: Vec, frame: Tensor) -> Vec:
    """Return the sky's light along directions: a gradient, hills at infinity, stars."""
    level = d[1] * torch.rsqrt(d[0] * d[0] + d[2] * d[2] + 1e-9)
    azimuth = torch.atan2(d[0], -d[2])
    ridge = (
        0.050
        + 0.030 * torch.sin(5 * azimuth + column(frame, PHASES))
        + 0.022 * torch.sin(9 * azimuth + column(frame, PHASES + 1))
        + 0.012 * torch.sin(17 * azimuth + column(frame, PHASES + 2))
    )
    hill = ((ridge - level) * 160).clamp(0, 1)  # a soft edge: it is seen against the sky
    rise = (d[1] * 1.8).clamp(0, 1)
    rise = rise * (2 - rise)
    # Stars: bright points of a lattice in direction space, round and far apart.
    sx, sy = azimuth * 26, level * 26
    cx, cy = torch.floor(sx), torch.floor(sy)
    h = torch.sin(cx * 12.9898 + cy * 78.233) * 43758.55
    h = h - torch.floor(h)
    k = h * 37.0
    k = k - torch.floor(k)
    ox, oy = sx - cx - 0.25 - 0.5 * k, sy - cy - 0.25 - 0.5 * (1 - k)
    glow = (1 - (ox * ox + oy * oy) * 30).clamp_min(0)
    star = torch.where(h > 0.72, glow * glow, 0.0) * column(frame, STARS) * rise
    hills, low, high = _three(frame, HILLS), _three(frame, HORIZON), _three(frame, ZENITH)
    return (
        _mix(_mix(low[0], high[0], rise) + 0.5 * star, hills[0], hill),
        _mix(_mix(low[1], high[1], rise) + 0.5 * star, hills[1], hill),
        _mix(_mix(low[2], high[2], rise) + 0.6 * star, hills[2], hill),
    )


def _plank_wood(x: Tensor, z: Tensor) -> Tensor:
    plank = torch.floor(z * 1.6)
    tone = torch.sin(plank * 12.9898) * 0.5 + 0.5
    end = torch.floor(x * 0.28 + tone * 3)
    tone = torch.sin(plank * 12.9898 + end * 4.13) * 0.5 + 0.5
    grain = torch.sin(x * 2.1 + plank * 1.7 + 1.5 * torch.sin(z * 9.0)) * 0.18
    across = z * 1.6 - plank
    along = x * 0.28 + torch.sin(plank * 12.9898) * 1.5 + 1.5
    seam = (across < 0.07) | (along - torch.floor(along) < 0.014)
    return torch.where(seam, 1.0, (tone * 0.7 + grain + 0.1).clamp(0, 1))


def _patches(x: Tensor, z: Tensor) -> Tensor:
    slow = torch.sin(x * 1.3 + 1.3 * torch.sin(z * 1.1)) + torch.sin(z * 1.7 + torch.sin(x * 1.2))
    fine = torch.sin(x * 7.3 + 2.0 * torch.sin(z * 6.1)) * torch.sin(
        z * 8.9 + 2.0 * torch.sin(x * 5.3)
    )
    return (0.5 + 0.26 * slow + 0.30 * fine).clamp(0, 1)


def _veins(x: Tensor, z: Tensor) -> Tensor:
    warp = torch.sin(x * 1.1 + 2.0 * torch.sin(z * 0.8)) + 0.5 * torch.sin(z * 2.7 + x * 1.9)
    vein = 1 - torch.sin(x * 1.3 + z * 0.9 + 1.6 * warp).abs()
    vein = vein * vein
    gx, gz = x * 0.8 - torch.floor(x * 0.8), z * 0.8 - torch.floor(z * 0.8)
    joint = torch.where((gx < 0.035) | (gz < 0.035), 1.0, 0.0)
    return torch.maximum((vein * vein * 0.9).clamp(0, 1), joint)


def _lines(x: Tensor, z: Tensor, dist: Tensor) -> Tensor:
    """Return how brightly lines a metre apart glow, each as wide as it must be to be seen."""
    wide = 0.035 + 0.004 * dist
    fx, fz = (
        (x + 0.5 - torch.floor(x + 0.5) - 0.5).abs(),
        (z + 0.5 - torch.floor(z + 0.5) - 0.5).abs(),
    )
    near = torch.minimum(fx, fz) / wide
    return 1 / (1 + near * near * near)


def pattern(floor: str, x: Tensor, z: Tensor, dist: Tensor) -> tuple[Tensor, float]:
    """Return how much of a floor's second tint shows (0 to 1), and what that is on average."""
    if floor == "checkered":
        cell = (torch.floor(x * 1.1) + torch.floor(z * 1.1)) * 0.5
        return (cell - torch.floor(cell)) * 2, 0.5
    if floor == "wooden":
        return _plank_wood(x, z), 0.48
    if floor == "grassy":
        return _patches(x, z), 0.5
    if floor == "sandy":
        return 0.5 + 0.5 * torch.sin(z * 3.4 + 1.2 * torch.sin(x * 1.2) + 0.5 * x), 0.5
    if floor == "marble":
        return _veins(x, z), 0.2
    if floor == "snowy":
        mound = torch.sin(x * 1.9 + 1.4 * torch.sin(z * 1.3)) * torch.sin(
            z * 2.3 + torch.sin(x * 1.7)
        )
        return (0.42 + 0.55 * mound).clamp(0, 1), 0.42
    if floor == "grid":
        return _lines(x, z, dist), 0.09
    return 0.5 + 0.5 * torch.sin(x * 0.9 + z * 0.7), 0.5


def ripple(x: Tensor, z: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of still water along x and z: small waves that travel slowly."""
    t = column(frame, TIME)
    a = torch.cos(3.1 * x + 1.7 * z + 1.1 * t)
    b = torch.cos(-2.3 * x + 4.3 * z - 1.3 * t)
    c = torch.cos(5.9 * x - 1.1 * z + 1.9 * t)
    return 0.020 * a - 0.016 * b + 0.014 * c, 0.014 * a + 0.026 * b - 0.006 * c


def haze(colour: Vec, dist: Tensor, frame: Tensor) -> Vec:
    """Mix light with that of the air before it, the more the farther it came."""
    left = torch.exp(-dist * dist * column(frame, HAZE))
    air = _three(frame, HAZE_TINT)
    return (
        _mix(air[0], colour[0], left), _mix(air[1], colour[1], left), _mix(air[2], colour[2], left),
    )  # fmt: skip


def ground(
    floor: str, point: Vec, d: Vec, dist: Tensor, lit: Tensor, open_: Tensor, mirrored: Vec,
    frame: Tensor,
) -> Vec:  # fmt: skip
    """Return the light from the floor; `mirrored` is what water or a wet floor reflects.

    `lit` is how much of the sun is seen, `open_` how much of the sky.
    """
    x, z = point[0] + column(frame, OFFSET), point[2] + column(frame, OFFSET + 1)
    share, mean = pattern(floor, x, z, dist)
    far = dist * dist * 0.0069  # (dist / 12 m)^2: beyond it a pattern is finer than a pixel
    share = mean + (share - mean) * torch.exp(-far * far)
    height = column(frame, SUN + 1)
    sun, air = _three(frame, SUN_LIGHT), _three(frame, AMBIENT)
    first, second = _three(frame, TINT_A), _three(frame, TINT_B)
    # A flat mirror at a grazing angle returns nearly all (Schlick 1994).
    graze = (1 + d[1]).clamp(0, 1)
    fresnel = graze * graze
    fresnel = 0.03 + 0.97 * fresnel * fresnel * graze
    gloss = fresnel * (1.0 if floor == "water" else column(frame, WET))
    out = []
    for i in range(3):
        tint = _mix(first[i], second[i], share)
        if floor == "grid":  # its lines shine by themselves
            shine = tint * (air[i] * open_ + height * sun[i] * lit) + second[i] * share * 0.9
        else:
            shine = tint * (1.15 * air[i] * open_ + height * sun[i] * lit)
        out.append(_mix(shine, mirrored[i], gloss))
    return haze((out[0], out[1], out[2]), dist, frame)


def surroundings(d: Vec, frame: Tensor) -> Vec:
    """Return the light from a direction as a glossy object mirrors it: sky, or the mean floor."""
    up = ((d[1] + 0.04) * 12).clamp(0, 1)
    rise = (d[1] * 1.5).clamp(0, 1)
    low, high = _three(frame, HORIZON), _three(frame, ZENITH)
    first, second = _three(frame, TINT_A), _three(frame, TINT_B)
    sun, air = _three(frame, SUN_LIGHT), _three(frame, AMBIENT)
    out = []
    for i in range(3):
        floor = (first[i] + second[i]) * 0.5 * (air[i] + 0.6 * sun[i])
        out.append(_mix(floor, _mix(low[i], high[i], rise), up))
    return out[0], out[1], out[2]


def _power(x: Tensor, squarings: int) -> Tensor:
    for _ in range(squarings):
        x = x * x
    return x


def thing(
    normal: Vec, d: Vec, dist: Tensor, local: Vec, base: Vec, second: Vec, material: Tensor,
    lit: Tensor, open_: Tensor, frame: Tensor,
) -> Vec:  # fmt: skip
    """Return the light from an object: rubber, metal, glass, wood or striped (0 to 4).

    `local` is the point in the part's unit space, where stripes and grain are painted.
    """
    sun, sun_light, air = _three(frame, SUN), _three(frame, SUN_LIGHT), _three(frame, AMBIENT)
    facing = -dot(d, normal)
    mirror = (
        d[0] + 2 * facing * normal[0], d[1] + 2 * facing * normal[1], d[2] + 2 * facing * normal[2],
    )  # fmt: skip
    seen = surroundings(mirror, frame)
    through = surroundings(
        (d[0] - 0.35 * normal[0], d[1] - 0.35 * normal[1], d[2] - 0.35 * normal[2]), frame
    )
    is_metal, is_glass, is_wood, is_striped = (material == k for k in (1, 2, 3, 4))
    stripe = torch.sin(local[0] * 6.5) > 0
    ring = torch.sin(
        7.0 * (local[1] + 0.25 * torch.sin(3.1 * local[0] + 1.3 * local[2])) + 2 * local[0]
    )
    grain = torch.where(is_wood, 0.30 + 0.22 * ring, 0.0)
    # Edges of boxes are worn dark: two coordinates of a unit cube are large there alone.
    lx, ly, lz = (c.abs() for c in local)
    middle = torch.maximum(torch.minimum(lx, ly), torch.minimum(torch.maximum(lx, ly), lz))
    worn = torch.where(middle > 0.94, 0.62, 1.0)
    glint = dot(mirror, sun).clamp_min(0) * lit
    broad, sharp = _power(glint, 3), _power(glint, 6)
    rim = 1 - facing.clamp(0, 1)
    rim = rim * rim
    rim = 0.06 + 0.94 * rim * rim
    diffuse = dot(normal, sun).clamp_min(0) * lit
    hemi = (0.62 + 0.38 * normal[1]) * open_
    out = []
    for i in range(3):
        tint = torch.where(is_striped & stripe, second[i], base[i])
        tint = tint * (1 - grain) * worn
        dull = tint * (1.25 * air[i] * hemi + diffuse * sun_light[i])
        dull = dull + (0.05 * broad + torch.where(is_striped, 0.10, 0.0) * sharp) * sun_light[i]
        dull = dull + 0.35 * (rim - 0.06) * seen[i] * torch.where(is_wood, 0.3, 0.6)
        shine = (0.08 + 0.86 * base[i]) * seen[i] * open_ + 0.25 * dull + 1.6 * sharp * sun_light[i]
        clear = through[i] * (0.10 + 0.85 * base[i]) + 0.30 * dull
        clear = _mix(clear, seen[i], rim) + 2.2 * sharp * sun_light[i]
        out.append(torch.where(is_metal, shine, torch.where(is_glass, clear, dull)))
    return haze((out[0], out[1], out[2]), dist, frame)
