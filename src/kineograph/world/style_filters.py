"""What styles do to a picture: tones, smoothing, outlines, palettes.

Pictures are planes `f c h w`, so that a number a pixel goes with three colours. Every result
depends on its own frame only, to the last bit: plain arithmetic and selections, no matrix
products, no libraries that choose a method by the batch. Lengths are in base pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from kineograph.world.gbuffer import FIRST_OBJECT, SKY, GBuffer
from kineograph.world.style_patterns import Screen, cell_counts

Rgb = tuple[float, float, float]
Planes = Float[Tensor, "f c h w"]
Plane = Float[Tensor, "f 1 h w"]
Sides = Float[Tensor, "f 2 h w"]  # something that lies across x, and across y

CREASE = (0.55, 0.80)  # cosines between neighbours' normals: surely an edge, surely none
JUMP = 0.05  # in depth, as a share of it, that is an edge within one object


@lru_cache(1024)
def _colour(colour: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32, device=device).view(3, 1, 1)


def rgb(*colour: float, like: Tensor) -> Float[Tensor, "3 1 1"]:
    """Return a colour to go with planes; it is shared, and must not be written to."""
    return _colour(colour, like.device)


def luma(colour: Planes) -> Plane:
    """Return how bright a colour looks, in display space."""
    return colour[:, 0:1] * 0.299 + colour[:, 1:2] * 0.587 + colour[:, 2:3] * 0.114


def mix(a: Tensor, b: Tensor, share: Tensor | float) -> Tensor:
    """Return a where the share is 0, b where it is 1."""
    return a + (b - a) * share


def step(x: Tensor, low: float, high: float) -> Tensor:
    """Return 0 below `low`, 1 above `high`, smooth in between; falls if `high` is the lower."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def saturate(colour: Planes, times: float) -> Planes:
    """Return colours with so many times their distance from grey, and the same brightness."""
    y = luma(colour)
    return relight(y + (colour - y) * times, y)


def relight(colour: Planes, y: Plane) -> Planes:
    """Return the hues of `colour` at brightness `y`, paler where the screen cannot show them."""
    colour = colour.clamp_min(0)
    lit = colour * (y / (luma(colour) + 1e-3))
    over = lit.amax(1, keepdim=True)
    keep = ((1 - y) / (over - y).clamp_min(1e-3)).clamp(0, 1)
    return mix(y, lit, keep).clamp(0, 1)


def bands(y: Tensor, count: int, soft: float = 0.15) -> Tensor:
    """Return brightness in `count` flat bands; `soft` is the share of a band that is slope."""
    t = (y * count - 0.5).clamp(0, count - 1)
    low = t.floor()
    return ((low + step(t - low, 0.5 - soft, 0.5 + soft) + 0.5) / count).clamp(0, 1)


def ramp(t: Plane, colours: Sequence[Rgb]) -> Planes:
    """Return the colours of a palette, evenly along t in [0, 1]."""
    t = t.clamp(0, 1) * (len(colours) - 1)
    out = rgb(*colours[0], like=t)
    for k, (a, b) in enumerate(pairwise(colours)):
        rise = rgb(*(q - p for p, q in zip(a, b, strict=True)), like=t)
        out = out + (t - k).clamp(0, 1) * rise
    return out


def ink(dark: Tensor, profile: Tensor, scale: float, hard: float = 3.0) -> Tensor:
    """Return strokes or dots in [0, 1] that grow with darkness, where `profile` is high.

    Darkness 0 leaves nothing, 1 fills everything; `hard` is the slope of borders in a base pixel.
    """
    hard = hard * max(scale, 0.5)
    return ((dark + profile - 1) * hard + 0.5 * dark).clamp(0, 1)


def seam(gap: Tensor, width: float, scale: float) -> Tensor:
    """Return how much of each pixel a line covers that runs where `gap` is 0 (base pixels)."""
    return ((width / 2 - gap) * scale + 0.5).clamp(0, min(1.0, width * scale))


def _taps(planes: Tensor, weights: Sequence[float], dim: int) -> Tensor:
    """Return weighted sums of neighbours; `weights` are of the centre and one side."""
    reach = len(weights) - 1
    size = planes.shape[dim]
    sides = (reach, reach, 0, 0) if dim == 3 else (0, 0, reach, reach)
    padded = F.pad(planes, sides, mode="replicate")
    total = planes * weights[0]
    for k, weight in enumerate(weights[1:], 1):
        pair = padded.narrow(dim, reach - k, size) + padded.narrow(dim, reach + k, size)
        total = total + pair * weight
    return total


def blur(planes: Planes, sigma: float, scale: float) -> Planes:
    """Return the Gaussian blur with a deviation of `sigma` base pixels."""
    sigma = sigma * scale
    if sigma < 0.2:
        return planes
    reach = math.ceil(2.5 * sigma)
    raw = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(reach + 1)]
    whole = raw[0] + 2 * sum(raw[1:])
    weights = [a / whole for a in raw]
    return _taps(_taps(planes, weights, 3), weights, 2)


def _box_mean(planes: Tensor, size: int) -> Tensor:
    """Return the means of all `size` x `size` windows that fit."""
    for dim in (2, 3):
        count = planes.shape[dim] - size + 1
        total = planes.narrow(dim, 0, count)
        for k in range(1, size):
            total = total + planes.narrow(dim, k, count)
        planes = total * (1 / size)
    return planes


def kuwahara(colour: Planes, radius: float, scale: float) -> Planes:
    """Return colours smoothed but for edges: the evenest of four windows around each pixel.

    The windows are mixed by their evenness, which moves smoothly with the picture.
    """
    r = max(1, round(radius * scale))
    y = luma(colour)
    padded = F.pad(torch.cat([colour, y * y], 1), (r, r, r, r), mode="replicate")
    mean = _box_mean(padded, r + 1)
    height, width = colour.shape[2:]
    total, weights = torch.zeros_like(colour), torch.zeros_like(y)
    spread = (mean[:, 3:4] - luma(mean).square()).clamp_min(0)
    evenness = (1 / (spread * 200 + 0.05)).square()
    evenness = evenness * evenness
    for dy in (0, r):
        for dx in (0, r):
            window = (slice(None), slice(None), slice(dy, dy + height), slice(dx, dx + width))
            weight = evenness[window]
            total = total + mean[window][:, :3] * weight
            weights = weights + weight
    return total / weights


def gather(
    planes: Shaped[Tensor, "f c h w"], places: Int[Tensor, "p"]
) -> Shaped[Tensor, "f c h w"]:
    """Return, for each pixel, the values of another pixel of its frame."""
    return planes.flatten(2).index_select(2, places).view_as(planes)


def cell_means(planes: Planes, size: float) -> Float[Tensor, "f c y x"]:
    """Return one pixel a cell of a grid that divides the frame evenly: `f c y x`."""
    height, width = planes.shape[2:]
    return F.adaptive_avg_pool2d(planes, cell_counts(height, width, size))


def spread_cells(cells: Float[Tensor, "f c y x"], height: int, width: int) -> Planes:
    """Return such cells as flat squares over the frame."""
    for dim, size in ((2, height), (3, width)):
        count = cells.shape[dim]
        places = (torch.arange(size, device=cells.device) * 2 + 1) * count // (2 * size)
        cells = cells.index_select(dim, places)
    return cells


def rims(inside: Plane) -> Plane:
    """Return 1 where a pixel is 1 and one of its four neighbours is not, 0 elsewhere."""
    p = F.pad(inside, (1, 1, 1, 1), value=1.0)
    level = torch.minimum(p[:, :, 1:-1, :-2], p[:, :, 1:-1, 2:])
    upright = torch.minimum(p[:, :, :-2, 1:-1], p[:, :, 2:, 1:-1])
    return inside * (1 - torch.minimum(level, upright))


def nearest(colour: Planes, palette: Sequence[Rgb]) -> Planes:
    """Return each pixel's nearest colour of a palette, its brightness counting for itself."""
    table = torch.tensor(palette, dtype=colour.dtype, device=colour.device)
    y = luma(colour)
    sides = (*(colour - y).split(1, 1), y)
    best, found = torch.full_like(y, -math.inf), torch.zeros_like(y, dtype=torch.long)
    for k, entry in enumerate(palette):
        level = 0.299 * entry[0] + 0.587 * entry[1] + 0.114 * entry[2]
        own = (*(c - level for c in entry), level)
        # Half the square of the distance, but for a part that is the same for all entries.
        close = sides[0] * own[0]
        for side, value in zip(sides[1:], own[1:], strict=True):
            close = close + side * value
        close = close - 0.5 * sum(c * c for c in own)
        found = torch.where(close > best, k, found)
        best = torch.maximum(best, close)
    frames, _, height, width = colour.shape
    picked = table.index_select(0, found.flatten())
    return picked.view(frames, height, width, 3).permute(0, 3, 1, 2).contiguous()


def _crossing(
    owner: Tensor, normal: Tensor, depth: Tensor, jump: float, dim: int
) -> tuple[Tensor, Tensor]:
    """Return how much of an outline runs between neighbours along `dim`, and who is in front.

    The horizon, between floor and sky, is none.
    """
    size = owner.shape[dim] - 1
    (o1, o2), (d1, d2) = ((a.narrow(dim, 0, size), a.narrow(dim, 1, size)) for a in (owner, depth))
    n = normal.narrow(dim, 0, size) * normal.narrow(dim, 1, size)
    cosine = n[:, 0:1] + n[:, 1:2] + n[:, 2:3]
    bent = ((CREASE[1] - cosine) / (CREASE[1] - CREASE[0])).clamp(0, 1)
    torn = (d1 - d2).abs() > jump * torch.minimum(d1, d2)
    within = torch.where(torn, 1.0, bent)
    edge = torch.where(o1 == o2, torch.where(o1 >= FIRST_OBJECT, within, 0.0), 1.0)
    return torch.where(torch.maximum(o1, o2) < FIRST_OBJECT, 0.0, edge), d1 <= d2


def crossings(
    owner: Int[Tensor, "f 1 h w"], normal: Planes, depth: Plane, scale: float
) -> tuple[Sides, Sides]:
    """Return outlines across x and y: those on the pixels in front, those on the ones behind."""
    jump = JUMP * max(1.0, 1 / scale)
    before, behind = [], []
    for dim in (3, 2):
        edge, first = _crossing(owner, normal, depth, jump, dim)
        near = torch.where(first, edge, 0.0)
        far = edge - near
        end, start = ((0, 1), (1, 0)) if dim == 3 else ((0, 0, 0, 1), (0, 0, 1, 0))
        before.append(F.pad(near, end) + F.pad(far, start))
        behind.append(F.pad(near, start) + F.pad(far, end))
    return torch.cat(before, 1), torch.cat(behind, 1)


def line(density: Sides, sigma: float, gain: float, scale: float) -> Plane:
    """Return outlines as soft lines in [0, 1], as strong whatever way they run."""
    blurred = blur(density, sigma, scale) * (math.sqrt(2 * math.pi) * sigma * scale * gain)
    x, y = blurred[:, 0:1], blurred[:, 1:2]
    return (x * x + y * y).sqrt().clamp(0, 1)


class Picture:
    """A chunk of frames as planes, with what more than one style asks of them."""

    def __init__(self, buffer: GBuffer, frames: slice) -> None:
        self.colour: Planes = buffer.colour[frames].permute(0, 3, 1, 2).float().contiguous()
        self.owner: Int[Tensor, "f 1 h w"] = buffer.owner[frames][:, None]
        self.depth: Plane = buffer.depth[frames][:, None].float()
        self.normal: Planes = buffer.normal[frames].permute(0, 3, 1, 2).float().contiguous()
        self.facing: Plane = buffer.facing[frames][:, None].float()
        height, width = buffer.owner.shape[1:]
        self.screen = Screen(height, width, buffer.colour.device)
        self.scale = self.screen.scale

    @cached_property
    def luma(self) -> Plane:
        return luma(self.colour)

    @cached_property
    def on_object(self) -> Plane:
        """1 on objects, 0 elsewhere."""
        return (self.owner >= FIRST_OBJECT).float()

    @cached_property
    def things(self) -> Plane:
        """How much of each pixel is an object, with soft borders."""
        return blur(self.on_object, 0.5, self.scale)

    @cached_property
    def sky(self) -> Plane:
        return blur((self.owner == SKY).float(), 0.5, self.scale)

    @cached_property
    def crossings(self) -> tuple[Sides, Sides]:
        return crossings(self.owner, self.normal, self.depth, self.scale)

    def outline(self, sigma: float, gain: float) -> Plane:
        """Return the borders of objects as soft lines in [0, 1]."""
        front, behind = self.crossings
        return line((front + behind) * 0.5, sigma, gain, self.scale)

    def blur(self, planes: Planes, sigma: float) -> Planes:
        return blur(planes, sigma, self.scale)

    def detail(self, sigma: float, gain: float) -> Plane:
        """Return where brightness changes, in [0, 1]: patterns of the floor, stripes, shadows."""
        fine = self.blur(self.luma, 0.5 * sigma)
        return ((fine - self.blur(fine, sigma)).abs() * gain).clamp(0, 1)
