"""The styles that a camera, a screen or a tube makes.

Each is a function of a `Picture`, and says in a line what makes it look so.
"""

from __future__ import annotations

import torch

from kineograph.world import style_patterns as on
from kineograph.world.style_filters import (
    Picture,
    Planes,
    Rgb,
    cell_means,
    gather,
    line,
    luma,
    mix,
    nearest,
    ramp,
    relight,
    rgb,
    rims,
    saturate,
    spread_cells,
    step,
)


def photoreal(p: Picture) -> Planes:
    """The picture as it was rendered."""
    return p.colour


_PIXEL_PALETTE: tuple[Rgb, ...] = (
    (0.04, 0.04, 0.07), (0.12, 0.12, 0.20), (0.22, 0.23, 0.32), (0.36, 0.38, 0.45),
    (0.53, 0.56, 0.60), (0.72, 0.75, 0.78), (0.90, 0.92, 0.92), (1.00, 1.00, 1.00),
    (0.28, 0.03, 0.06), (0.62, 0.07, 0.10), (0.93, 0.16, 0.16), (1.00, 0.45, 0.40),
    (0.40, 0.18, 0.05), (0.72, 0.34, 0.06), (0.98, 0.54, 0.12), (1.00, 0.74, 0.42),
    (0.42, 0.34, 0.04), (0.72, 0.60, 0.08), (0.99, 0.88, 0.18), (1.00, 0.96, 0.62),
    (0.04, 0.20, 0.10), (0.10, 0.42, 0.14), (0.24, 0.66, 0.22), (0.60, 0.86, 0.40),
    (0.03, 0.26, 0.30), (0.06, 0.50, 0.54), (0.16, 0.80, 0.82), (0.62, 0.94, 0.94),
    (0.05, 0.08, 0.34), (0.12, 0.20, 0.66), (0.22, 0.38, 0.94), (0.52, 0.68, 1.00),
    (0.20, 0.05, 0.34), (0.42, 0.12, 0.62), (0.66, 0.32, 0.86), (0.82, 0.62, 0.98),
    (0.46, 0.12, 0.30), (0.78, 0.28, 0.52), (0.98, 0.52, 0.74), (1.00, 0.80, 0.88),
    (0.26, 0.17, 0.11), (0.46, 0.32, 0.21), (0.66, 0.50, 0.35), (0.84, 0.72, 0.54),
    (0.22, 0.26, 0.14), (0.36, 0.42, 0.20), (0.66, 0.78, 0.94), (0.80, 0.90, 0.99),
    (0.24, 0.20, 0.16), (0.42, 0.38, 0.32), (0.62, 0.57, 0.50), (0.80, 0.77, 0.70),
)  # fmt: skip


def pixel_art(p: Picture) -> Planes:
    """Large square pixels of a fixed palette, objects with a darker rim."""
    cells = saturate(cell_means(p.colour, 4.0), 1.3)
    rim = rims((cell_means(p.on_object, 4.0) > 0.5).float())
    cells = nearest(cells * (1 - 0.45 * rim), _PIXEL_PALETTE)
    return spread_cells(cells, p.screen.height, p.screen.width)


def neon(p: Picture) -> Planes:
    """Objects as glowing tubes of their own colour, in the dark."""
    front, _ = p.crossings
    edge = (front[:, 0:1] + front[:, 1:2]).clamp_max(1)
    # Borders are blends with what is behind: tubes take their colour from further inside.
    inside = torch.where(edge == 0, p.on_object, 0.0).clamp_min(0.02)
    pure = p.blur(torch.cat([p.colour * inside, inside], 1), 1.2)
    pure = pure[:, :3] / pure[:, 3:4]
    vivid = saturate(pure / (pure.amax(1, keepdim=True) + 0.04), 1.7)
    tube = line(front, 0.6, 1.0, p.scale)
    lit = vivid * edge * p.scale
    glow = p.blur(lit, 1.0) * 2.0 + p.blur(lit, 4.0) * 5.0
    night = p.colour * p.luma * rgb(0.16, 0.10, 0.30, like=glow) + rgb(0.02, 0.01, 0.06, like=glow)
    floor = p.detail(1.0, 5.0) * rgb(0.30, 0.10, 0.55, like=glow)
    night = mix(night + floor, saturate(p.colour, 1.5) * 0.30, p.things)
    return (night + glow + tube * tube * 0.35).clamp(0, 1)


def noir(p: Picture) -> Planes:
    """Hard black and white in the light of a window blind."""
    y = step(p.luma, -0.05, 0.86)
    y = y * (0.48 + 0.56 * on.blinds(p.screen)) * (1.10 - 0.80 * on.vignette(p.screen))
    y = step(y, 0.02, 0.92) * (1 - 0.75 * p.outline(0.7, 0.9))
    return y.clamp(0, 1).expand(-1, 3, -1, -1)


_HEAT: tuple[Rgb, ...] = (
    (0.02, 0.00, 0.16), (0.25, 0.00, 0.48), (0.66, 0.04, 0.52), (0.95, 0.30, 0.16),
    (1.00, 0.68, 0.04), (1.00, 0.98, 0.72),
)  # fmt: skip


def thermal(p: Picture) -> Planes:
    """Heat: objects warm whatever their colour, the floor cooler, the sky cold."""
    body = 0.60 + 0.34 * p.facing.clamp(0, 1) + 0.06 * p.normal[:, 1:2]
    body = body - 0.12 * step(p.luma, 0.35, 0.05)
    ground = 0.17 + 0.16 * p.blur(p.luma, 1.0)
    air = 0.05 + 0.10 * (1 - on.height(p.screen))
    heat = mix(mix(ground, air, p.sky), body, p.things)
    warm = p.blur(p.things, 4.0) * 0.16 * (1 - p.things)
    return ramp(p.blur(heat + warm, 0.8), _HEAT)


_SEPIA: tuple[Rgb, ...] = (
    (0.13, 0.07, 0.03), (0.46, 0.30, 0.16), (0.78, 0.62, 0.40), (0.98, 0.90, 0.72),
)  # fmt: skip


def sepia(p: Picture) -> Planes:
    """A brown print, darker to its corners, on a card."""
    y = p.blur(p.luma, 0.5)
    y = 0.10 + 0.80 * step(y, -0.12, 1.05)
    y = y * (1.08 - 0.62 * on.vignette(p.screen)) + 0.02 * on.grain(p.screen, 40.0, 4, 51)
    brown = ramp(y, _SEPIA)
    card = rgb(0.93, 0.88, 0.77, like=brown)
    return mix(brown, card, step(on.inset(p.screen, 5.0), 5.6, 4.8))


_PLAY = (
    "#.....###..#....##..#.#",
    "##....#..#.#...#..#.#.#",
    "###...#..#.#...#..#.#.#",
    "####..###..#...####..#.",
    "###...#....#...#..#..#.",
    "##....#....#...#..#..#.",
    "#.....#....###.#..#..#.",
)


def vhs(p: Picture) -> Planes:
    """A worn tape: colours that bleed to the right, ghosts, scan lines, a torn band, PLAY."""
    soft = gather(p.colour, on.torn(p.screen, 0.86)) * 0.84 + 0.10
    right, left = on.moved(p.screen, 3.0, 0.0), on.moved(p.screen, -2.0, 0.0)
    y = luma(soft)
    colour = y + gather(p.blur(soft - y, 2.0), right) * 1.5
    red, blue = gather(y, right) - y, gather(y, left) - y
    colour = colour + torch.cat([red, 0 * y, blue], 1) * 0.6
    colour = colour * (1.05 - 0.22 * on.scanlines(p.screen, 3.0)) + rgb(0.03, 0, 0.05, like=y)
    torn = step((on.height(p.screen) - 0.14).abs(), 0.02, 0.01)
    streak = torn * step(on.noise(p.screen, 7.0, 1.0, 0.0, 84), 0.55, 0.7)
    white = torch.maximum(on.stamp(p.screen, _PLAY, 8.0, 8.0, 1.25), 0.7 * streak)
    return mix(colour, rgb(0.95, 0.97, 1.0, like=y), white).clamp(0, 1)


def x_ray(p: Picture) -> Planes:
    """Bodies that are denser towards their rims, on dark film."""
    rim = 1 - p.facing.clamp(0, 1)
    body = 0.42 + 0.55 * rim * rim
    ground = (0.14 + 0.16 * (1 - p.blur(p.luma, 0.8))) * (1 - 0.5 * p.sky)
    y = mix(ground, body, p.things) + 0.30 * p.detail(1.0, 4.0) + 0.40 * p.outline(0.8, 1.0)
    y = (y + 0.14 * p.blur(p.things, 4.0)) * (1.05 - 0.7 * on.vignette(p.screen))
    return ramp(y, ((0.01, 0.02, 0.04), (0.20, 0.30, 0.40), (0.60, 0.74, 0.82), (0.97, 1.0, 1.0)))


def hologram(p: Picture) -> Planes:
    """Cyan light in level lines, brighter at grazing angles."""
    rim = 1 - p.facing.clamp(0, 1)
    lines = on.scanlines(p.screen, 3.0)
    body = (0.30 + 0.75 * rim) * (0.45 + 0.75 * lines)
    ground = 0.24 * p.blur(p.luma, 0.6) * lines + 0.5 * p.blur(p.things, 4.0)
    y = mix(ground, body, p.things) + 0.5 * p.detail(1.0, 4.0) + 0.8 * p.outline(0.7, 1.2)
    return ramp(y, ((0.0, 0.02, 0.05), (0.0, 0.34, 0.42), (0.10, 0.85, 0.90), (0.80, 1.0, 1.0)))


_PHOSPHOR: tuple[Rgb, ...] = (
    (0.0, 0.02, 0.0), (0.02, 0.38, 0.06), (0.20, 0.92, 0.24), (0.85, 1.0, 0.80),
)  # fmt: skip


def night_vision(p: Picture) -> Planes:
    """A green tube with scan lines, where bright things bloom."""
    y = 0.08 + 0.80 * p.luma
    y = y + 0.5 * p.blur((y - 0.5).clamp_min(0), 3.0) + 0.15 * p.outline(0.8, 1.0)
    y = y * (1.0 - 0.16 * on.scanlines(p.screen, 3.0))
    tube = step(on.inset(p.screen, 58.0), 1.0, 9.0)
    return ramp(y * tube, _PHOSPHOR)


_DUSK: tuple[Rgb, ...] = (
    (0.12, 0.03, 0.34), (0.42, 0.08, 0.58), (0.90, 0.25, 0.65), (1.00, 0.60, 0.55),
)  # fmt: skip


def vaporwave(p: Picture) -> Planes:
    """Pink and cyan light, a striped sun and a violet floor."""
    y = p.blur(p.luma, 0.4)
    high = on.height(p.screen)
    air = ramp(1.25 - 1.1 * high + 0.35 * (y - 0.5), _DUSK)
    sun = on.disc(p.screen, 0.5, 0.34, 30.0) * on.slats(p.screen, 0.17)
    glow = ramp((1.45 - 1.3 * high).expand_as(y), ((1.0, 0.92, 0.35), (1.0, 0.35, 0.60)))
    air = mix(air, glow, sun)
    ground = ramp(0.10 + 0.75 * y, ((0.10, 0.02, 0.25), (0.42, 0.06, 0.52), (0.95, 0.30, 0.75)))
    ground = ground + p.detail(1.0, 5.0) * rgb(0.0, 0.75, 0.85, like=y)
    side = 0.5 - 0.75 * p.normal[:, 0:1]
    thing = ramp(side, ((1.0, 0.20, 0.66), (0.62, 0.24, 1.0), (0.12, 0.90, 1.0)))
    thing = relight(thing, (0.20 + 0.62 * y).clamp(0, 1))
    drawn = mix(mix(ground, air, p.sky), thing, p.things)
    return mix(drawn, rgb(1.0, 0.92, 1.0, like=y), 0.7 * p.outline(0.6, 1.0)).clamp(0, 1)
