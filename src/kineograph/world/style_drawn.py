"""The styles that a hand makes, with a pen, a brush, scissors or stones.

Each is a function of a `Picture`, and says in a line what makes it look so.
"""

from __future__ import annotations

import torch

from kineograph.world import style_patterns as on
from kineograph.world.style_filters import (
    Picture,
    Planes,
    Rgb,
    bands,
    cell_means,
    gather,
    ink,
    kuwahara,
    luma,
    mix,
    nearest,
    relight,
    rgb,
    saturate,
    seam,
    spread_cells,
    step,
)


def toon(p: Picture) -> Planes:
    """Flat bands of strong colour, and black outlines."""
    flat = kuwahara(p.colour, 2, p.scale)
    y = luma(flat)
    flat = relight(saturate(flat, 1.5), bands(y * 1.05 + 0.04, 5))
    return mix(flat, rgb(0.07, 0.05, 0.10, like=flat), p.outline(0.7, 1.6))


def pencil(p: Picture) -> Planes:
    """Hatching that thickens with darkness: across objects aslant, elsewhere level; on paper."""
    y = p.blur(p.luma, 0.6)
    tooth = on.grain(p.screen, 3.0, 2, 3)
    dark = step(y, 0.78, 0.02) * (0.62 + 0.38 * p.things) + 0.06 * tooth
    level = ink(0.85 * dark, on.waves(p.screen, 3.6, 0, 0.5), p.scale)
    leaning = ink(0.85 * dark, on.waves(p.screen, 3.6, 50, 0.3), p.scale)
    crossed = ink((dark - 0.45).clamp_min(0), on.waves(p.screen, 3.6, -40, 0.3), p.scale)
    lead = 0.42 * mix(level, leaning, p.things) + 0.35 * crossed + 0.22 * dark
    lead = lead + p.outline(0.55, 1.5) * (0.8 + 0.25 * tooth)
    grey = 0.965 + 0.03 * on.grain(p.screen, 5.0, 3, 1) - lead.clamp(0, 1) * (0.80 + 0.12 * tooth)
    return grey.clamp(0, 1) * rgb(1.0, 0.99, 0.965, like=grey)


def watercolor(p: Picture) -> Planes:
    """Thin pigment that pools and bleeds, on paper with a ragged white border."""
    wet = gather(p.colour, on.wobble(p.screen, 1.4, 6.0))
    wash = saturate(p.blur(kuwahara(wet, 3, p.scale), 0.45), 1.45)
    pools = on.grain(p.screen, 26.0, 4, 11)
    rim = p.outline(1.1, 0.8)
    density = 0.80 + 0.20 * pools + 0.30 * rim
    paint = (1 - (1 - wash) * density * 0.92).clamp(0, 1)
    paper = rgb(0.985, 0.975, 0.95, like=paint) * (0.98 + 0.03 * on.grain(p.screen, 3.0, 2, 12))
    left_white = step(on.inset(p.screen, 6.0, 9.0), 8.0, 5.5)
    return mix(paint * paper, paper, left_white).clamp(0, 1)


def oil(p: Picture) -> Planes:
    """Slanting daubs of one colour each, with the bristles' marks."""
    strokes = on.cells(p.screen, 3.2, 2.4, 25.0, 21)
    smooth = kuwahara(p.colour, 2, p.scale)
    same = gather(p.owner, strokes.centre) == p.owner
    daubs = torch.where(same, gather(smooth, strokes.centre), smooth)
    paint = saturate(mix(smooth, daubs, 0.65), 1.5)
    bristle = on.noise(p.screen, 10.0, 1.4, 25.0, 22) - 0.5
    ridge = step(strokes.gap, 0.8, 0.0) * (bristle + 0.1)
    y = luma(paint)
    y = (y - 0.45) * 1.15 + 0.47 + 0.10 * bristle - 0.06 * ridge + 0.07 * (strokes.number - 0.5)
    return relight(paint, y.clamp(0, 1))


def blueprint(p: Picture) -> Planes:
    """White lines on blue paper with a grid and a frame."""
    paper = rgb(0.06, 0.21, 0.50, like=p.colour) * (1 + 0.06 * on.grain(p.screen, 20.0, 3, 31))
    fine, coarse = on.ruling(p.screen, 8.0, 0.5), on.ruling(p.screen, 32.0, 0.8)
    shade = p.things * (0.75 - p.blur(p.luma, 0.6)).clamp(0, 0.65)
    strokes = 0.5 * ink(shade, on.waves(p.screen, 4.0, 45), p.scale) + 0.12 * p.things
    strokes = strokes + 0.4 * p.detail(0.8, 5.0) + 0.16 * p.blur(p.luma, 0.8) * (1 - p.things)
    inset = on.inset(p.screen)
    frame = seam((inset - 5).abs(), 1.2, p.scale)
    white = (0.10 * fine + 0.14 * coarse + strokes) * step(inset, 4.6, 5.4)
    white = torch.maximum(white.clamp(0, 1), torch.maximum(p.outline(0.55, 1.4), 0.8 * frame))
    return mix(paper, rgb(0.93, 0.97, 1.0, like=paper), white)


_SEAL = ("#######", "#.#.#.#", "#.###.#", "#..#..#", "#.###.#", "#.#.#.#", "#######")


def ink_wash(p: Picture) -> Planes:
    """Grey washes and brush lines of uneven strength on rice paper, and a red seal."""
    wet = gather(p.luma, on.wobble(p.screen, 1.8, 5.0))
    tone = p.blur(wet, 1.2)
    wash = 0.62 * step(tone, 0.72, 0.05) * (0.85 + 0.25 * on.grain(p.screen, 18.0, 4, 41))
    brush = 0.55 + 0.75 * on.noise(p.screen, 14.0, 14.0, 0.0, 42)
    wash = wash + p.outline(1.0, 1.3) * brush * 0.75
    paper = rgb(0.955, 0.935, 0.87, like=p.colour)
    paper = paper * (0.98 + 0.035 * on.noise(p.screen, 16.0, 1.3, 8.0, 43))
    drawn = mix(paper, rgb(0.09, 0.09, 0.11, like=paper), wash.clamp(0, 0.97))
    seal = on.stamp(p.screen, _SEAL, -15.0, -15.0, 1.5)
    return mix(drawn, rgb(0.74, 0.12, 0.10, like=paper), 0.9 * seal).clamp(0, 1)


def comic(p: Picture) -> Planes:
    """Thick outlines, few loud tones, and dots of a coarse print."""
    flat = kuwahara(p.colour, 2, p.scale)
    y = luma(flat)
    bold = relight(saturate(flat, 2.0), bands(y * 1.08 + 0.08, 4, 0.1))
    raster = on.dots(p.screen, 4.4, 45.0)
    dark = (0.66 - y).clamp(0, 0.6) * (0.7 + 0.3 * p.things)
    bold = mix(bold, bold * bold * 0.55, 0.8 * ink(dark, raster, p.scale))
    white = ink(0.35 * p.sky, raster, p.scale)
    bold = mix(bold, rgb(1.0, 1.0, 0.96, like=bold), 0.5 * white)
    return mix(bold, rgb(0.02, 0.02, 0.04, like=bold), p.outline(0.85, 1.7))


def clay(p: Picture) -> Planes:
    """Lumpy matt forms, lit from the upper left, that hands have pressed a little out of shape."""
    hand = gather(torch.cat([p.colour, p.on_object], 1), on.wobble(p.screen, 0.9, 8.0))
    soft = p.blur(kuwahara(hand[:, :3], 2, p.scale), 0.5)
    thing = p.blur(hand[:, 3:], 0.9)
    y = luma(soft)
    sheets = bands(y, 7, 0.2)
    high = p.blur(mix(sheets, sheets + 0.5, thing), 0.7)
    before, after = on.moved(p.screen, -1.0, -1.0), on.moved(p.screen, 1.0, 1.0)
    slope = gather(high, before) - gather(high, after)
    prints = 0.07 * on.relief(p.screen, 9.0, 31) * (1 + thing) + 0.04 * on.relief(p.screen, 3.0, 33)
    x, up, toward = (p.normal[:, i : i + 1] for i in range(3))
    sun = p.blur((0.5 * up - 0.4 * x + 0.3 * toward) * thing, 0.6)
    light = mix(sheets * 0.86 + 0.13, 0.20 + 0.60 * y + 0.22 * sun, thing)
    light = light + prints + 0.40 * slope
    return relight(saturate(soft, 0.92), light.clamp(0.03, 0.97))


def chalkboard(p: Picture) -> Planes:
    """Grainy white lines and hatching on a green board in a wooden frame."""
    smear = on.grain(p.screen, 30.0, 4, 61)
    board = rgb(0.13, 0.22, 0.18, like=p.colour) + 0.025 * smear
    tooth = 0.55 + 0.6 * on.grain(p.screen, 2.4, 2, 62)
    light = (p.blur(p.luma, 0.6) * 1.1).clamp(0, 0.8) * p.things
    chalk = 0.55 * ink(light, on.waves(p.screen, 4.4, 50, 0.3), p.scale)
    dust = 0.45 * p.detail(1.0, 5.0) + 0.16 * p.blur(p.luma, 1.0) * (1 - p.things)
    chalk = (chalk + p.outline(0.75, 1.5) + dust) * tooth
    drawn = mix(board, rgb(0.96, 0.96, 0.92, like=board), chalk.clamp(0, 0.95))
    inset = on.inset(p.screen)
    wood = rgb(0.50, 0.32, 0.17, like=board) * (0.85 + 0.3 * on.noise(p.screen, 20.0, 1.5, 0.0, 63))
    return mix(wood, drawn * step(inset, 4.0, 6.5), step(inset, 3.7, 4.3)).clamp(0, 1)


def stained_glass(p: Picture) -> Planes:
    """Panes of one deep colour each between leads, which also follow the objects."""
    pane = on.cells(p.screen, 11.0, salt=91)
    smooth = p.blur(p.colour, 1.0)
    same = gather(p.owner, pane.centre) == p.owner
    glass = torch.where(same, gather(smooth, pane.centre), smooth)
    glass = saturate(glass, 2.0)
    y = luma(glass)
    y = (0.12 + 0.88 * y) * (0.86 + 0.34 * pane.number) + 0.10 * step(pane.gap, 0.5, 4.0)
    glass = relight(glass, y.clamp(0, 1))
    lead = torch.maximum(seam(pane.gap, 1.5, p.scale).expand_as(y), p.outline(0.8, 1.6))
    return mix(glass, rgb(0.03, 0.03, 0.04, like=glass), lead)


def mosaic(p: Picture) -> Planes:
    """Square stones of slightly different brightness, with bevels and joints."""
    size = 5.12
    grid = on.tiles(p.screen, size, 95)
    stone = saturate(cell_means(p.colour, size), 1.45)
    stone = spread_cells(stone, p.screen.height, p.screen.width)
    y = luma(stone) * (0.86 + 0.26 * grid.number) + 0.03
    y = y + 0.16 * grid.lit * step(grid.gap, 1.9, 0.7)
    stone = relight(stone, y.clamp(0, 1))
    return mix(stone, rgb(0.30, 0.28, 0.26, like=stone), 0.9 * seam(grid.gap, 0.9, p.scale))


def paper_cut(p: Picture) -> Planes:
    """Sheets of coloured paper that lie on one another and cast shadows."""
    flat = kuwahara(p.blur(p.colour, 0.7), 3, p.scale)
    sheet = bands(luma(flat), 5, 0.06)
    paper = relight(saturate(flat, 1.25), 0.10 + 0.86 * sheet)
    above, beside = on.moved(p.screen, 2.4, 2.4), on.moved(p.screen, 0.8, 0.8)
    over = (gather(sheet, above) - sheet).clamp(0, 0.2) * 5
    owner = gather(p.owner, above)
    cast = gather(p.on_object, above) * ((owner != p.owner) & (gather(p.depth, above) < p.depth))
    shadow = p.blur(torch.maximum(cast, 0.55 * over), 0.8)
    owner = gather(p.owner, beside)
    rim = p.on_object * ((owner != p.owner) & (gather(p.depth, beside) > p.depth))
    rim = torch.maximum(rim, (sheet - gather(sheet, beside)).clamp(0, 0.2) * 3)
    paper = paper * (1 - 0.62 * shadow) * (0.97 + 0.05 * on.grain(p.screen, 3.0, 2, 97))
    return mix(paper, rgb(1.0, 0.99, 0.96, like=paper), 0.5 * p.blur(rim, 0.35)).clamp(0, 1)


_PIGMENTS: tuple[Rgb, ...] = (
    (0.10, 0.10, 0.14), (0.30, 0.30, 0.34), (0.55, 0.54, 0.52), (0.76, 0.73, 0.66),
    (0.95, 0.91, 0.80),
    (0.08, 0.16, 0.36), (0.16, 0.32, 0.58), (0.42, 0.58, 0.74), (0.64, 0.78, 0.88),
    (0.44, 0.10, 0.09), (0.80, 0.22, 0.14), (0.90, 0.50, 0.36), (0.92, 0.72, 0.66),
    (0.55, 0.36, 0.10), (0.86, 0.64, 0.20), (0.94, 0.82, 0.48), (0.84, 0.46, 0.14),
    (0.14, 0.26, 0.16), (0.32, 0.48, 0.26), (0.60, 0.68, 0.42),
    (0.10, 0.40, 0.42), (0.36, 0.66, 0.64), (0.28, 0.14, 0.36), (0.52, 0.32, 0.56),
    (0.84, 0.46, 0.56), (0.36, 0.24, 0.14), (0.60, 0.44, 0.30),
    (0.68, 0.60, 0.44), (0.46, 0.40, 0.28),
)  # fmt: skip
_TITLE = (
    ".#.#", "####", ".##.", "#..#", "....", "####", "#..#", "####", "....",
    "..#.", "####", ".##.", "#..#", "....", "####", ".#..", "####",
)  # fmt: skip


def ukiyo_e(p: Picture) -> Planes:
    """Pigments of a woodblock print: blue sky graded by hand, grain, key lines and a title."""
    flat = kuwahara(p.colour, 3, p.scale)
    flat = relight(flat, 0.10 + 0.84 * bands(luma(flat), 5, 0.1))
    print_ = mix(flat, nearest(flat, _PIGMENTS), 0.7)
    high = on.height(p.screen)
    print_ = mix(print_, rgb(0.10, 0.22, 0.42, like=flat), 0.85 * p.sky * step(high, 0.72, 0.98))
    wood = on.noise(p.screen, 40.0, 1.4, 2.0, 98) - 0.5
    print_ = print_ * rgb(1.0, 0.97, 0.88, like=flat) * (1 + 0.10 * wood)
    print_ = mix(print_, rgb(0.08, 0.09, 0.15, like=flat), p.outline(0.5, 1.5))
    inset = on.inset(p.screen)
    paper = rgb(0.93, 0.88, 0.76, like=flat) * (0.98 + 0.05 * wood)
    print_ = mix(print_, rgb(0.10, 0.10, 0.14, like=flat), step(inset, 5.6, 5.0))
    print_ = mix(print_, paper, step(inset, 4.9, 4.3))
    card = on.box(p.screen, 9.0, 9.0, 16.0, 29.0)
    print_ = mix(print_, rgb(0.78, 0.18, 0.12, like=flat), card)
    return mix(print_, paper, on.stamp(p.screen, _TITLE, 10.5, 10.5, 1.0)).clamp(0, 1)
