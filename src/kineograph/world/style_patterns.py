"""What styles lay over a picture: papers, hatches, cells, frames; fixed functions of the screen.

Lengths are in base pixels: a frame of any size has an area of 128 x 128 of them, so a pattern
keeps its size relative to the picture. Everything is computed once per size on the CPU, with
integer hashes and double precision: it is the same in each run, and on each machine but for the
rounding of a sine. Results are shared, and must not be written to.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

BASE = 128  # base pixels along the side of a square frame
FINEST = 3.0  # pixels; a pattern with a shorter period would only flicker
KEPT = 128  # results of a function: enough for all aspect ratios of a size


class Screen(NamedTuple):
    """The size of a frame in pixels, and where its patterns live."""

    height: int
    width: int
    device: torch.device

    @property
    def scale(self) -> float:
        """Pixels along a base pixel."""
        return math.sqrt(self.height * self.width) / BASE


def _axes(screen: Screen) -> tuple[Tensor, Tensor]:
    """Return x `1 w` and y `h 1` of pixel centres, in base pixels from the upper left corner."""
    x = (torch.arange(screen.width, dtype=torch.float64) + 0.5) / screen.scale
    y = (torch.arange(screen.height, dtype=torch.float64) + 0.5) / screen.scale
    return x[None], y[:, None]


def _turned(screen: Screen, degrees: float) -> tuple[Tensor, Tensor]:
    """Return the same, `h w`, along axes that are turned."""
    x, y = _axes(screen)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x * c + y * s, y * c - x * s


def _ready(field: Tensor, screen: Screen) -> Tensor:
    field = field.expand(screen.height, screen.width)
    return field.to(torch.float32).contiguous().to(screen.device)


def _hash(i: Tensor, j: Tensor, salt: int) -> Tensor:
    """Return numbers in [0, 1) that look random, of whole numbers."""
    mask = 0xFFFFFFFF
    n = (i.long() * 374761393 + j.long() * 668265263 + salt * 974634777) & mask
    n = ((n ^ (n >> 13)) * 1274126177) & mask
    n = ((n ^ (n >> 15)) * 2246822519) & mask
    return (n ^ (n >> 16)).double() / 2**32


def _lattice_noise(u: Tensor, v: Tensor, salt: int) -> Tensor:
    """Return noise in [0, 1) with features of the size of one, smooth in between."""
    i, j = u.floor(), v.floor()
    a, b = u - i, v - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    top = _hash(i, j, salt) * (1 - a) + _hash(i + 1, j, salt) * a
    low = _hash(i, j + 1, salt) * (1 - a) + _hash(i + 1, j + 1, salt) * a
    return top * (1 - b) + low * b


@lru_cache(KEPT)
def noise(
    screen: Screen, along: float, across: float, degrees: float = 0.0, salt: int = 0
) -> Float[Tensor, "h w"]:
    """Return noise in [0, 1) whose features are `along` by `across` base pixels, turned."""
    u, v = _turned(screen, degrees)
    finest = FINEST / screen.scale
    return _ready(_lattice_noise(u / max(along, finest), v / max(across, finest), salt), screen)


@lru_cache(KEPT)
def grain(screen: Screen, period: float, octaves: int = 3, salt: int = 0) -> Float[Tensor, "h w"]:
    """Return noise in [-1, 1] of several sizes, each half the one before in size and height."""
    x, y = _turned(screen, 17.0)
    total, height = torch.zeros_like(x), 1.0
    for k in range(octaves):
        size = period / 2**k
        if k == 0 or size * screen.scale >= FINEST - 1:
            total = total + height * (2 * _lattice_noise(x / size, y / size, salt + k) - 1)
        height *= 0.5
    return _ready(total / (2 - 2 * height), screen)


@lru_cache(KEPT)
def waves(
    screen: Screen, period: float, degrees: float, wobble: float = 0.0
) -> Float[Tensor, "h w"]:
    """Return stripes as waves in [0, 1]; they run at an angle and `wobble` by periods."""
    u, v = _turned(screen, degrees)
    phase = v / max(period, FINEST / screen.scale)
    if wobble:
        phase = phase + wobble * (2 * _lattice_noise(u / 19, v / 7, 5) - 1)
    return _ready(0.5 - 0.5 * torch.cos(2 * math.pi * phase), screen)


@lru_cache(KEPT)
def scanlines(screen: Screen, period: float) -> Float[Tensor, "h w"]:
    """Return level stripes as waves in [0, 1], a whole number of pixels apart."""
    y = torch.arange(screen.height, dtype=torch.float64)[:, None] + 0.5
    phase = y / max(FINEST, round(period * screen.scale))
    return _ready(0.5 - 0.5 * torch.cos(2 * math.pi * phase), screen)


@lru_cache(KEPT)
def dots(screen: Screen, period: float, degrees: float) -> Float[Tensor, "h w"]:
    """Return a screen of dots as hills in [0, 1], their tops `period` apart."""
    u, v = _turned(screen, degrees)
    turn = 2 * math.pi / max(period, FINEST / screen.scale)
    return _ready(0.5 + 0.25 * (torch.cos(u * turn) + torch.cos(v * turn)), screen)


def _cover(inside: Tensor, screen: Screen) -> Tensor:
    """Return how much of a pixel lies inside, from the signed distance to the border."""
    return (inside * screen.scale + 0.5).clamp(0, 1)


@lru_cache(KEPT)
def ruling(screen: Screen, period: float, width: float) -> Float[Tensor, "h w"]:
    """Return how much of each pixel is covered by the lines of a square grid."""
    lines = torch.zeros(1, 1, dtype=torch.float64)
    for axis in _axes(screen):
        off = (axis - period * (axis / period).round()).abs()
        lines = torch.maximum(
            lines, _cover(width / 2 - off, screen).clamp_max(width * screen.scale)
        )
    return _ready(lines, screen)


@lru_cache(KEPT)
def inset(screen: Screen, corner: float = 0.0, ragged: float = 0.0) -> Float[Tensor, "h w"]:
    """Return the distance to the frame's border (base pixels), with round corners, ragged."""
    x, y = _axes(screen)
    half_x, half_y = screen.width / screen.scale / 2, screen.height / screen.scale / 2
    dx, dy = (x - half_x).abs() - half_x + corner, (y - half_y).abs() - half_y + corner
    outside = (dx.clamp_min(0) ** 2 + dy.clamp_min(0) ** 2).sqrt()
    inside = torch.maximum(dx, dy).clamp_max(0)
    distance = corner - outside - inside
    if ragged:
        wave = _lattice_noise(x / 9, y / 9, 71) + 0.5 * _lattice_noise(x / 4, y / 4, 72) - 0.75
        distance = distance + ragged * wave
    return _ready(distance, screen)


@lru_cache(KEPT)
def box(
    screen: Screen, left: float, top: float, right: float, bottom: float
) -> Float[Tensor, "h w"]:
    """Return how much of each pixel a box covers; negative numbers count from the far border."""
    x, y = _axes(screen)
    wide, high = screen.width / screen.scale, screen.height / screen.scale
    left, right = (a % wide if a < 0 else a for a in (left, right))
    top, bottom = (a % high if a < 0 else a for a in (top, bottom))
    across = _cover(torch.minimum(x - left, right - x), screen)
    return _ready(across * _cover(torch.minimum(y - top, bottom - y), screen), screen)


@lru_cache(KEPT)
def vignette(screen: Screen) -> Float[Tensor, "h w"]:
    """Return 0 at the centre of the frame, 1 in its corners."""
    x, y = _axes(screen)
    u, v = 2 * x * screen.scale / screen.width - 1, 2 * y * screen.scale / screen.height - 1
    return _ready((u * u + v * v) / 2, screen)


@lru_cache(KEPT)
def height(screen: Screen) -> Float[Tensor, "h w"]:
    """Return 1 at the upper border of the frame, 0 at the lower."""
    _, y = _axes(screen)
    return _ready(1 - y * screen.scale / screen.height, screen)


@lru_cache(KEPT)
def disc(screen: Screen, x: float, y: float, radius: float) -> Float[Tensor, "h w"]:
    """Return how much of each pixel a disc covers; its centre is in shares of the frame."""
    u, v = _axes(screen)
    u, v = u - x * screen.width / screen.scale, v - y * screen.height / screen.scale
    return _ready(_cover(radius - (u * u + v * v).sqrt(), screen), screen)


@lru_cache(KEPT)
def slats(screen: Screen, top: float) -> Float[Tensor, "h w"]:
    """Return 0 in level gaps that widen downwards from a share of the height, 1 elsewhere."""
    _, y = _axes(screen)
    below = y - top * screen.height / screen.scale
    off = (below - 5 * (below / 5).round()).abs()
    gap = (0.3 + 0.07 * below).clamp(0, 2.2)
    return _ready(1 - _cover(gap - off, screen) * _cover(below - 2, screen), screen)


class Cells(NamedTuple):
    """A fixed tiling of the screen."""

    centre: Int[Tensor, "p"]  # of each pixel's cell: its place among the pixels of a frame
    gap: Float[Tensor, "h w"]  # to the nearest border of the cell (base pixels)
    number: Float[Tensor, "h w"]  # of the cell, looks random, in [0, 1)


@lru_cache(KEPT)
def cells(
    screen: Screen, period: float, stretch: float = 1.0, degrees: float = 0.0, salt: int = 0
) -> Cells:
    """Return the Voronoi cells of a jittered lattice; `stretch` makes them long, at an angle."""
    u, v = _turned(screen, degrees)
    period = max(period, FINEST / screen.scale)
    u, v = u / (period * stretch), v / period
    i, j = u.floor(), v.floor()
    around = []
    for di in range(-2, 3):
        for dj in range(-2, 3):
            a, b = i + di, j + dj
            around.append(
                (a + 0.15 + 0.7 * _hash(a, b, salt), b + 0.15 + 0.7 * _hash(a, b, salt + 1))
            )
    best_u, best_v = around[0]
    nearest = torch.full_like(u, math.inf)
    for a, b in around:
        distance = (a - u) ** 2 + (b - v) ** 2
        best_u, best_v = (
            torch.where(distance < nearest, n, o) for n, o in ((a, best_u), (b, best_v))
        )
        nearest = torch.minimum(nearest, distance)
    gap = torch.full_like(u, math.inf)
    for a, b in around:
        du, dv = a - best_u, b - best_v
        apart = (du * du + dv * dv).sqrt()
        border = ((a + best_u) / 2 - u) * du + ((b + best_v) / 2 - v) * dv
        gap = torch.where(apart > 1e-9, torch.minimum(gap, border / apart.clamp_min(1e-9)), gap)
    number = _hash(best_u.floor(), best_v.floor(), salt + 2)
    centre = _pixel(screen, best_u * period * stretch, best_v * period, degrees)
    return Cells(centre, _ready(gap * period, screen), _ready(number, screen))


def _pixel(screen: Screen, u: Tensor, v: Tensor, degrees: float) -> Tensor:
    """Return the places, in a frame laid out flat, of points along turned axes."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x = ((u * c - v * s) * screen.scale).floor().long().clamp(0, screen.width - 1)
    y = ((u * s + v * c) * screen.scale).floor().long().clamp(0, screen.height - 1)
    return (y * screen.width + x).flatten().to(screen.device)


@lru_cache(KEPT)
def wobble(screen: Screen, reach: float, period: float) -> Int[Tensor, "p"]:
    """Return from which pixel each takes its colour where a wet brush has moved things about."""
    x, y = _turned(screen, 0.0)
    u = x + reach * (2 * _lattice_noise(x / period, y / period, 81) - 1)
    v = y + reach * (2 * _lattice_noise(x / period, y / period, 82) - 1)
    return _pixel(screen, u, v, 0.0)


@lru_cache(KEPT)
def moved(screen: Screen, right: float, down: float) -> Int[Tensor, "p"]:
    """Return from which pixel each takes its colour when the picture moves by base pixels."""
    x, y = _turned(screen, 0.0)
    step = torch.tensor([right, down]) * screen.scale
    dx, dy = (float(a) / screen.scale for a in step.round())
    return _pixel(screen, x - dx, y - dy, 0.0)


@lru_cache(KEPT)
def torn(screen: Screen, share: float) -> Int[Tensor, "p"]:
    """Return from which pixel each takes its colour where a worn tape shifts some rows."""
    x, y = _turned(screen, 0.0)
    band = y * screen.scale / screen.height - share
    off = 9 * torch.exp(-((band / 0.022) ** 2)) * (0.5 + _lattice_noise(y / 1.2, 0 * y, 83))
    lean = 2.5 * torch.exp(-((1 - share - band) / 0.03))
    return _pixel(screen, x - off - lean, y, 0.0)


@lru_cache(KEPT)
def relief(screen: Screen, period: float, salt: int = 0) -> Float[Tensor, "h w"]:
    """Return how lumps of that size catch light from the upper left, about in [-1, 1]."""
    x, y = _turned(screen, 17.0)
    total = torch.zeros_like(x)
    for k in range(2):
        size = period / 2**k
        a = _lattice_noise(x / size, y / size, salt + k)
        total = (
            total + a - _lattice_noise((x + 0.2 * size) / size, (y + 0.2 * size) / size, salt + k)
        )
    return _ready(total * 2.2, screen)


class Tiles(NamedTuple):
    """A grid of tiles that divides the frame evenly, as `cell_counts` says."""

    gap: Float[Tensor, "h w"]  # to the nearest border of the tile (base pixels)
    lit: Float[Tensor, "h w"]  # 1 at a tile's upper left corner, -1 at its lower right
    number: Float[Tensor, "h w"]  # of the tile, looks random, in [0, 1)


def cell_counts(height: int, width: int, size: float) -> tuple[int, int]:
    """Return how many cells of about `size` base pixels go along a frame's sides."""
    size = max(size * Screen(height, width, torch.device("cpu")).scale, 2.0)
    return max(1, round(height / size)), max(1, round(width / size))


@lru_cache(KEPT)
def tiles(screen: Screen, size: float, salt: int = 0) -> Tiles:
    """Return the tiles of about `size` base pixels."""
    rows, columns = cell_counts(screen.height, screen.width, size)
    x, y = _turned(screen, 0.0)
    high, wide = screen.height / screen.scale / rows, screen.width / screen.scale / columns
    i, j = (y / high).floor(), (x / wide).floor()
    v, u = y / high - i, x / wide - j
    gap = torch.minimum(torch.minimum(u, 1 - u) * wide, torch.minimum(v, 1 - v) * high)
    lit = 1 - u - v
    return Tiles(_ready(gap, screen), _ready(lit, screen), _ready(_hash(i, j, salt), screen))


@lru_cache(KEPT)
def blinds(screen: Screen) -> Float[Tensor, "h w"]:
    """Return the light, in [0, 1], that falls through a tilted window blind."""
    _, v = _turned(screen, -14.0)
    phase = v / 23
    off = (phase - phase.round()).abs() * 23
    return _ready(((off - 4.0) * 0.30 + 0.5).clamp(0, 1), screen)


@lru_cache(KEPT)
def stamp(
    screen: Screen, rows: tuple[str, ...], left: float, top: float, size: float
) -> Float[Tensor, "h w"]:
    """Return a drawing of square dots ("#") with its upper left corner at a place."""
    x, y = _axes(screen)
    wide, high = screen.width / screen.scale, screen.height / screen.scale
    left, top = left % wide, top % high
    total = torch.zeros(screen.height, screen.width, dtype=torch.float64)
    for r, row in enumerate(rows):
        for c, mark in enumerate(row):
            if mark == "#":
                a, b = left + c * size, top + r * size
                near = _cover(torch.minimum(x - a, a + size - x), screen)
                total = total + near * _cover(torch.minimum(y - b, b + size - y), screen)
    return _ready(total.clamp_max(1), screen)
