"""How a long video drifts: its colours, sharpness, brightness and motion, window by window.

A video is cut into windows of 4 s. What is measured in each gives a slope per minute with a
standard error; scores that judges give per window go through the same `slope`. A frozen video
shows in the share of windows in which nothing moves, one that forgets how it began in how
alike frames are that lie some time apart.

Letters: t frames, h height, w width, n values, m times, f frames with
features d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from kineograph.errors import RequestError

Array = NDArray[np.float64]

WINDOW = 4.0  # s
GAPS = (2.0, 5.0, 10.0, 20.0, 50.0)  # s, between frames that are compared
SIDE = 64  # pixels of a small frame of a square video
LEAST = 32  # pixels a side
RATE = 4.0  # frames a second that are looked at
BLOCK = 8  # pixels of a small frame, that one similarity is taken over
CHANGED = 0.03  # of 1, by which a pixel has to change to count as moved
MOVED = 0.001  # share of pixels; less is stillness
DIRECTIONS = 32  # through the space of colours, that palettes are compared along
LEVELS = 64  # quantiles of each
TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


# --- colours -----------------------------------------------------------------------------------
def oklab(pixels: UInt8[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s 3"]:
    """Return sRGB pixels in Oklab, times 100: lightness, green to red, blue to yellow.

    Ottosson 2020. Differences of about 2 are just seen.
    """
    x = pixels.astype(np.float64) / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return 100 * np.cbrt(linear @ np.array(TO_LMS).T) @ np.array(TO_LAB).T


def _directions() -> Array:
    """Return unit vectors `n 3` that cover half a sphere evenly: a spiral."""
    k = np.arange(DIRECTIONS) + 0.5
    up, turn = k / DIRECTIONS, math.pi * (1 + math.sqrt(5)) * k
    flat = np.sqrt(1 - up * up)
    return np.stack([up, flat * np.cos(turn), flat * np.sin(turn)], -1)


def palette(pixels: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "d q"]:
    """Return which colours pixels have, and how many: quantiles along directions of Oklab.

    Raises `RequestError` where there are none.
    """
    if not len(pixels):
        raise RequestError("no pixels have no palette; it takes 1 or more")
    along = oklab(pixels) @ _directions().T
    return np.quantile(along, (np.arange(LEVELS) + 0.5) / LEVELS, axis=0).T


def palette_distance(a: Float[np.ndarray, "d q"], b: Float[np.ndarray, "d q"]) -> float:
    """Return how far colours have to be moved to turn one palette into another.

    The sliced Wasserstein distance of order 1, in units of `oklab`. It averages over
    directions, so that a shift of every pixel by 2 counts about 1.
    """
    return float(np.abs(a - b).mean())


# --- slopes ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Slope:
    """A change per minute, and its standard error; None for fewer than three values."""

    per_minute: float
    error: float | None


def slope(values: Float[np.ndarray, " n"], times: Float[np.ndarray, " m"]) -> Slope | None:
    """Return the least-squares slope per minute of values at times (s).

    What is not a number is left out; None where fewer than two times remain.
    Raises `RequestError` if there are not as many times as values.
    """
    if len(values) != len(times):
        raise RequestError(f"{len(values)} values at {len(times)} times; as many are needed")
    known = np.isfinite(values)
    y, minutes = values[known].astype(np.float64), times[known].astype(np.float64) / 60
    if len(np.unique(minutes)) < 2:
        return None
    x = minutes - minutes.mean()
    spread = float(x @ x)
    rise = float(x @ y) / spread
    if len(y) < 3:
        return Slope(rise, None)
    rest = y - y.mean() - rise * x
    return Slope(rise, math.sqrt(float(rest @ rest) / (len(y) - 2) / spread))


# --- frames ------------------------------------------------------------------------------------
def _small(frames: UInt8[np.ndarray, "t h w 3"], side: int = SIDE) -> Float[Tensor, "t 3 y x"]:
    """Return frames in [0, 1] of about side x side pixels, in multiples of 8."""
    height, width = frames.shape[1:3]
    scale = min(1.0, side / math.sqrt(height * width))
    size = [max(BLOCK, BLOCK * round(s * scale / BLOCK)) for s in (height, width)]
    parts = []
    for start in range(0, len(frames), 64):
        part = rearrange(torch.from_numpy(frames[start : start + 64]), "t h w c -> t c h w")
        parts.append(F.interpolate(part / 255, size, mode="area"))
    return torch.cat(parts)


def sharpness(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Return the root mean square of the Laplacian of the brightness, in levels of 255."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    total = 0.0
    for frame in frames:
        light = (torch.from_numpy(frame).float() @ weights)[None, None]
        total += float((F.conv2d(light, kernel) ** 2).mean())
    return math.sqrt(total / len(frames))


def still(frames: UInt8[np.ndarray, "t h w 3"]) -> bool:
    """Return whether nothing moves in frames: no pair that follow one another, or first and last.

    A camera that moves is motion, and so is weather.
    """
    small = _small(frames)
    pairs = [(small[1:], small[:-1]), (small[-1:], small[:1])]
    changed = [((a - b).abs().amax(1) > CHANGED).float().mean((1, 2)) for a, b in pairs]
    return bool(max(float(c.max()) if len(c) else 0.0 for c in changed) < MOVED)


def _alike(a: Float[Tensor, "n 3 y x"], b: Float[Tensor, "n 3 y x"]) -> Float[Tensor, " n"]:
    """Return the structural similarity of frames: over blocks of 8 pixels, 1 where equal."""
    ma, mb = F.avg_pool2d(a, BLOCK), F.avg_pool2d(b, BLOCK)
    va = (F.avg_pool2d(a * a, BLOCK) - ma * ma).clamp_min(0)
    vb = (F.avg_pool2d(b * b, BLOCK) - mb * mb).clamp_min(0)
    both = F.avg_pool2d(a * b, BLOCK) - ma * mb
    light = (2 * ma * mb + 1e-4) / (ma * ma + mb * mb + 1e-4)
    form = (2 * both + 9e-4) / (va + vb + 9e-4)
    return (light * form).mean((1, 2, 3))


def similarity_curve(
    video: UInt8[np.ndarray, "t h w 3"],
    fps: float,
    gaps: Sequence[float] = GAPS,
    features: Float[np.ndarray, "f d"] | None = None,
) -> dict[float, float | None]:
    """Return how alike frames are, on average, that lie some gaps (s) apart; None where none do.

    The structural similarity of small frames (Wang et al. 2004); of `features` of each frame
    instead, the cosine.
    """
    stride = max(1, round(fps / RATE))
    count = len(video)
    vectors = None if features is None else features / np.linalg.norm(features, axis=1)[:, None]
    small = _small(video[::stride]) if vectors is None else None
    found: dict[float, float | None] = {}
    for gap in gaps:
        first = np.arange(0, count - round(gap * fps), stride)
        if not len(first):
            found[gap] = None
        elif vectors is not None:
            found[gap] = float((vectors[first] * vectors[first + round(gap * fps)]).sum(1).mean())
        else:
            assert small is not None
            far = np.minimum(np.round((first + gap * fps) / stride).astype(int), len(small) - 1)
            pairs = small[torch.from_numpy(first // stride)], small[torch.from_numpy(far)]
            found[gap] = float(_alike(*pairs).mean())
    return found


# --- windows -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Drift:
    """How a video changes: values of each window, and their slopes per minute.

    "palette" is the distance to the first window's, "sharpness" is in shares of the first
    window's; "brightness" (0 to 100) and "redness" are Oklab's lightness and green to red.
    """

    times: tuple[float, ...]  # s, middles of the windows
    values: dict[str, tuple[float, ...]]
    slopes: dict[str, Slope | None]  # of each of the values
    stillness: float  # share of windows in which nothing moves
    similarity: dict[float, float | None]  # of frames some seconds apart


def windows(count: int, fps: float) -> list[slice]:
    """Return which frames lie in each window of 4 s; a rest of less than half of one in none."""
    length = WINDOW * fps
    number = max(0, math.floor(count / length + 0.5))
    ends = [min(count, round(k * length)) for k in range(number + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


def measure_drift(
    video: UInt8[np.ndarray, "t h w 3"],
    fps: float,
    features: Float[np.ndarray, "f d"] | None = None,
) -> Drift:
    """Return how a video drifts over its windows of 4 s.

    Raises:
        RequestError: fewer than two windows, fps not above 0, or frames below 32 pixels.
    """
    count, height, width = video.shape[:3]
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    if min(height, width) < LEAST:
        raise RequestError(f"frames of {width}x{height}; allowed are {LEAST}x{LEAST} or larger")
    if features is not None and len(features) != count:
        raise RequestError(f"features of {len(features)} frames; {count} are needed")
    parts = windows(count, fps)
    if len(parts) < 2:
        raise RequestError(f"{count / fps:g} s are too short; {1.5 * WINDOW:g} s are needed")
    stride = max(1, round(fps / RATE))
    times, palettes, sharp, colours, quiet = [], [], [], [], []
    for part in parts:
        frames = video[part][::stride]
        times.append((part.start + part.stop - 1) / 2 / fps)
        small = (_small(frames) * 255).round().byte().numpy()
        pixels = np.ascontiguousarray(rearrange(small, "t c h w -> (t h w) c"))
        palettes.append(palette(pixels))
        colours.append(oklab(pixels).mean(0))
        sharp.append(sharpness(frames))
        quiet.append(still(frames))
    found = {
        "palette": [palette_distance(palettes[0], other) for other in palettes],
        "sharpness": [value / max(sharp[0], 1e-6) for value in sharp],
        "brightness": [float(colour[0]) for colour in colours],
        "redness": [float(colour[1]) for colour in colours],
    }
    slopes = {name: slope(np.array(v), np.array(times)) for name, v in found.items()}
    return Drift(
        tuple(times),
        {name: tuple(v) for name, v in found.items()},
        slopes,
        float(np.mean(quiet)),
        similarity_curve(video, fps, features=features),
    )
