"""Where a video goes over from one shot to another, how, and whether its shots are of one scene.

Three things give a transition away, all measured on small frames after the camera's motion is
taken out: of a cut, one step between frames that is much larger than those around it; of a fade,
a dip of the brightness to black; of a dissolve or a wipe, that the picture before, carried on by
its own motion, and the picture after, carried back, disagree in the middle, while a mixture of
both is what is seen there. A passing object disagrees in a part of the picture only, a camera
that swings makes both wrong: no mixture of the two explains the middle. How the shares of the
two grow, over time and across the picture, tells a dissolve from a wipe.

Letters: t frames, c middles of windows, h height, w width, k cells, p pairs;
o objects, and f, y, x of their masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.evaluate.drift import palette, palette_distance
from kineograph.evaluate.steady import aligned, carried, warped

Array = NDArray[np.float64]

KINDS = ("cut", "dissolve", "fade", "wipe")
RATE = 12.0  # frames a second that are looked at
SIDE = 48  # pixels of a small frame of a square video
LEAST = 32  # pixels a side
CELLS = 6  # a side, that a frame is cut into
GREY = 0.003  # of 1, a difference that says nothing
HALF = 0.25  # s, from the middle of a window to its ends
LAG = 2  # frames, over which the motion at the ends of a window is measured
WIDER = 2  # frames, that the window of a fit is longer at each end
MOST = 0.6  # quantile over cells: half of a frame may be sky
AROUND = (0.6, 0.9)  # s, from a middle to what it is compared with
WEAK = 0.008  # of 1, by which two shots differ at least
CUT = 1.6  # times the steps around it
DARK = 0.35  # of the brightness on either side, that a fade falls below
BLEND = 2.0  # how much a mixture must speak for itself, in e-folds
DOUBT = 20.0  # by which the misfit of a mixture speaks against it
LONGEST = 1.0  # s, from the middle of a dissolve to its ends
FEWEST = 20  # pixels in all frames of a shot, that show an object
SPREAD = 0.1  # of the width, soft edge of a wipe


@dataclass(frozen=True)
class Transition:
    """A change of the shot: "cut", "dissolve", "fade" or "wipe", from `begin` to `end` (s).

    A cut lies between two frames: it begins and ends at the first frame of the later shot.
    """

    kind: str
    begin: float
    end: float

    @property
    def middle(self) -> float:
        """Its middle (s)."""
        return (self.begin + self.end) / 2


# --- windows -----------------------------------------------------------------------------------
def _cells(x: Float[Tensor, "p h w"]) -> Float[Tensor, "p k"]:
    return F.adaptive_avg_pool2d(x[:, None], CELLS).flatten(1)


def _sizes(off: Float[Tensor, "p 3 h w"], inside: Tensor) -> tuple[Array, Array]:
    """Return how large differences are: the mean over cells, and a quantile of theirs."""
    share = _cells(inside)
    size = _cells(off.abs().mean(1) * inside) / share.clamp_min(1e-3)
    size = torch.where(share > 0.3, size, torch.nan)
    mean, high = size.nanmean(1), torch.nanquantile(size, MOST, dim=1)
    return mean.nan_to_num().double().numpy(), high.nan_to_num().double().numpy()


@dataclass(frozen=True)
class _Sides:
    """What both sides of a window make of frames in it."""

    before: Float[Tensor, "p 3 h w"]
    after: Float[Tensor, "p 3 h w"]
    inside: Float[Tensor, "p h w"]

    def shares(self, shown: Float[Tensor, "p 3 h w"]) -> tuple[Tensor, Tensor]:
        """Return the share of the later picture in each cell, and how well it is known, `p k`."""
        way = self.after - self.before
        along = _cells(((shown - self.before) * way).sum(1) * self.inside)
        weight = _cells((way * way).sum(1) * self.inside)
        return (along / (weight + 1e-6)).clamp(0, 1), weight


class _Video:
    """Small frames with the motion of their camera, forth and back."""

    def __init__(self, frames: Float[Tensor, "t 3 h w"]) -> None:
        self.frames = frames
        self.forth = aligned(frames[:-LAG], frames[LAG:])
        self.back = aligned(frames[LAG:], frames[:-LAG])
        seen, inside = warped(frames[:-1], aligned(frames[:-1], frames[1:]))
        self.steps = _sizes(seen - frames[1:], inside)  # mean and quantile, t - 1

    def sides(self, first: Tensor, last: Tensor, shown: Tensor) -> _Sides:
        """Carry frames `first` on and frames `last` back to the times of frames `shown`."""
        on = carried(self.forth[first - LAG], ((shown - first) / LAG)[:, None, None])
        back = carried(self.back[last], ((last - shown) / LAG)[:, None, None])
        before, a = warped(self.frames[first], on)
        after, b = warped(self.frames[last], back)
        return _Sides(before, after, a * b)


def _small(video: UInt8[np.ndarray, "t h w 3"], index: NDArray[np.int64]) -> Tensor:
    """Return frames in [0, 1], `t 3 y x`, of about SIDE x SIDE pixels."""
    height, width = video.shape[1:3]
    scale = min(1.0, SIDE / math.sqrt(height * width))
    size = [max(8, round(side * scale)) for side in (height, width)]
    parts = []
    for start in range(0, len(index), 64):
        part = torch.from_numpy(video[index[start : start + 64]])
        parts.append(F.interpolate(rearrange(part, "t h w c -> t c h w") / 255, size, mode="area"))
    return torch.cat(parts)


# --- cuts and fades ----------------------------------------------------------------------------
def _cuts(steps: Array, reach: int) -> list[int]:
    """Return the first frames after steps that are larger than all those around them."""
    found = []
    for i in range(len(steps)):
        around = np.concatenate([steps[max(0, i - reach) : i], steps[i + 1 : i + 1 + reach]])
        if len(around) and steps[i] > CUT * (around.max() + GREY):
            found.append(i + 1)
    return found


def _fades(light: Array, reach: int) -> list[tuple[int, int]]:
    """Return the last frame before, and the first one after, each dip of the brightness to black.

    The dip ends where the brightness no longer rises by much.
    """
    found: list[tuple[int, int]] = []
    for c in range(1, len(light) - 1):
        low, high = max(0, c - 2 * reach), min(len(light), c + 2 * reach + 1)
        around = min(light[low:c].max(), light[c + 1 : high].max())
        if light[c] > light[low:high].min() or light[c] > DARK * around:
            continue
        ends = []
        for way in (-1, 1):
            k = c
            while 0 <= k + way < len(light) and light[k + way] > light[k] + 0.06 * around:
                k += way
            ends.append(k)
        if ends[0] < c < ends[1] and (not found or ends[0] >= found[-1][1]):
            found.append((ends[0], ends[1]))
    return found


# --- dissolves and wipes -----------------------------------------------------------------------
def _background(values: Array, near: int, far: int) -> Array:
    """Return what values usually are on the side of each where they are larger."""
    found = np.zeros(len(values))
    for i in range(len(values)):
        sides = (values[max(0, i - far) : max(0, i - near + 1)], values[i + near : i + far + 1])
        known = [float(np.median(side)) for side in sides if len(side)]
        found[i] = max(known) if known else np.inf
    return found


def _merit(video: _Video, half: int, rate: float) -> tuple[Array, int]:
    """Return how much speaks for a mixture around each middle of a window, and the first one."""
    first = half + LAG
    c = torch.arange(first, len(video.frames) - first)
    sides = video.sides(c - half, c + half, c)
    shown = video.frames[c]
    share = sides.shares(shown)[0].view(-1, 1, CELLS, CELLS)
    share = F.interpolate(share, shown.shape[-2:], mode="nearest")
    mixed = sides.before + (sides.after - sides.before) * share
    near, far = (round(s * rate) for s in AROUND)
    merit = np.zeros(len(c))
    apart = _sizes(sides.after - sides.before, sides.inside)
    for wide, left in zip(apart, _sizes(shown - mixed, sides.inside), strict=True):
        usual = _background(wide, near, far)
        merit += 0.5 * np.log((wide + GREY) / (left + GREY))
        merit += 0.5 * np.log((wide + GREY) / (usual + GREY))
    # What passes changes a part of the picture, another shot most of it.
    merit[(apart[0] < WEAK) | (apart[1] < WEAK / 2)] = -math.inf
    steps = video.steps[0]
    for n, i in enumerate(c.tolist()):
        inner = steps[i - half : i + half].mean()
        outer = (steps[max(0, i - 2 * half) : i - half], steps[i + half : i + 2 * half])
        quiet = [math.log(part.mean() + GREY / 3) for part in outer if len(part)]
        merit[n] += math.log(inner + GREY / 3) - float(np.mean(quiet))
    return merit, first


def _ramps(kind: str, times: Array, half: int) -> tuple[list[tuple[float, float]], Array]:
    """Return begins and lengths (frames), and the shares `n t k` that they mean."""
    starts, lengths = np.arange(-half - 1, half + 1, 0.5), np.arange(2, 2 * half + 3)
    place = (np.arange(CELLS) + 0.5) / CELLS
    down, across = (p.ravel() for p in np.meshgrid(place, place, indexing="ij"))
    spans = [(float(s), float(n)) for s in starts for n in lengths]
    if kind == "cut":
        spans = [(float(s), 0.0) for s in starts]
        shares = [np.repeat((times >= s)[:, None], CELLS**2, 1) for s, _ in spans]
        return spans, np.stack(shares).astype(float)
    shares = []
    ways = (across, 1 - across, down, 1 - down) if kind == "wipe" else (None,)
    for way in ways:
        for start, length in spans:
            share = np.clip((times - start) / length, 0, 1)[:, None]
            if way is None:
                shares.append(np.repeat(share, CELLS**2, 1))
            else:  # a soft edge, seen through cells
                edge = share * (1 + SPREAD) - SPREAD / 2
                shares.append(np.clip((edge - way) / (SPREAD + 1 / CELLS) + 0.5, 0, 1))
    return spans * len(ways), np.stack(shares)


def _fit(video: _Video, c: int, half: int) -> tuple[str, float, float, float]:
    """Return kind, begin and end (frames) of the transition around a middle, and its misfit."""
    half += WIDER
    low, high = max(LAG, c - half), min(len(video.frames) - 1 - LAG, c + half)
    shown = torch.arange(low, high + 1)
    sides = video.sides(torch.full_like(shown, low), torch.full_like(shown, high), shown)
    share, weight = (x.double().numpy() for x in sides.shares(video.frames[shown]))
    best = ("cut", 0.0, 0.0, math.inf)
    for kind in ("cut", "dissolve", "wipe"):
        spans, wanted = _ramps(kind, shown.double().numpy() - c, half)
        cost = (weight * (wanted - share) ** 2).sum((1, 2)) / weight.sum()
        i = int(np.argmin(cost))
        if cost[i] < best[3]:
            begin, length = spans[i]
            best = (kind, c + begin, c + begin + length, float(cost[i]))
    return best


def _blends(video: _Video, taken: Sequence[int], rate: float) -> list[tuple[str, float, float]]:
    """Return kinds, begins and ends (frames) of dissolves and wipes, away from frames `taken`."""
    half = max(2, round(HALF * rate))
    if len(video.frames) <= 2 * (half + LAG):
        return []
    merit, first = _merit(video, half, rate)
    found: list[tuple[str, float, float]] = []
    for n in np.argsort(-merit):
        c = int(n) + first
        if merit[n] < BLEND:
            break
        if merit[n] < merit[max(0, n - half) : n + half + 1].max():
            continue
        if any(abs(c - k) <= half + LAG + WIDER for k in taken):
            continue
        kind, begin, end, misfit = _fit(video, c, half)
        if (
            merit[n] - DOUBT * misfit < BLEND
            or kind == "cut"
            or abs(begin + end - 2 * c) > 2 * half
        ):
            continue
        wide = half
        while end - begin >= 2 * (wide + WIDER) - 1 and wide < LONGEST * rate:
            wide *= 2  # it may be longer than what was looked at
            longer = _fit(video, c, wide)
            low, high = longer[1], longer[2]
            if longer[0] != kind or abs((low + high) / 2 - c) > half:
                break
            if any(low - half <= k <= high + half for k in taken):
                break
            begin, end = low, high
        if all(end <= b or begin >= e for _, b, e in found):
            found.append((kind, begin, end))
    return found


@torch.no_grad()
def find_transitions(video: UInt8[np.ndarray, "t h w 3"], fps: float) -> list[Transition]:
    """Return the transitions of a video in their order; none where it is one shot.

    About 12 frames a second are looked at. Nothing is found within 0.4 s of the ends, but cuts.

    Raises:
        RequestError: fps below 6, or frames smaller than 32 pixels.
    """
    count, height, width = video.shape[:3]
    if fps < RATE / 2:
        raise RequestError(f"fps {fps:g}; it must be {RATE / 2:g} or above")
    if min(height, width) < LEAST:
        raise RequestError(f"frames of {width}x{height}; allowed are {LEAST}x{LEAST} or larger")
    stride = max(1, round(fps / RATE))
    index = np.arange(0, count, stride)
    if len(index) < 2 * LAG + 1:
        return []
    rate, scale = fps / stride, stride / fps
    reach = max(2, round(HALF * rate))
    frames = _small(video, index)
    seen = _Video(frames)
    light = frames.mean((1, 2, 3)).double().numpy()
    fades = _fades(light, reach)
    dark = [k for low, high in fades for k in range(low, high + 1)]
    cuts = [k for k in _cuts(seen.steps[0], reach) if k not in dark]
    found = [Transition("fade", low * scale, high * scale) for low, high in fades]
    for k in cuts:
        exact = _exact(video, (k - 1) * stride, k * stride) / fps
        found.append(Transition("cut", exact, exact))
    for kind, begin, end in _blends(seen, [*cuts, *dark], rate):
        found.append(Transition(kind, max(0.0, begin * scale), end * scale))
    return sorted(found, key=lambda one: one.middle)


def _exact(video: UInt8[np.ndarray, "t h w 3"], low: int, high: int) -> int:
    """Return which frame after `low`, up to `high`, differs most from the one before it."""
    frames = _small(video, np.arange(low, high + 1))
    steps = (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))
    return low + 1 + int(steps.argmax())


# --- shots -------------------------------------------------------------------------------------
def shots_of(transitions: Sequence[Transition], count: int, fps: float) -> list[slice]:
    """Return which frames show one shot alone."""
    starts = [0, *(math.ceil(one.end * fps - 1e-6) for one in transitions)]
    ends = [*(math.ceil(one.begin * fps - 1e-6) for one in transitions), count]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True) if b > a]


@dataclass(frozen=True)
class Consistency:
    """How alike the shots of a film are; None where there is nothing to compare.

    Distances are those of `drift.palette_distance`, means over pairs of shots.
    """

    objects: tuple[float | None, ...]  # of each object's colours
    surroundings: float | None  # of the colours of all else
    present: tuple[float, ...]  # of each object, the share of shots that show it


def _apart(pixels: Sequence[UInt8[np.ndarray, "_ 3"]]) -> float | None:
    """Return the mean distance of the palettes of any two, those without pixels left out."""
    known = [palette(some) for some in pixels if len(some) >= FEWEST]
    pairs = [palette_distance(a, b) for k, a in enumerate(known) for b in known[:k]]
    return float(np.mean(pairs)) if pairs else None


def shot_consistency(
    video: UInt8[np.ndarray, "t h w 3"],
    fps: float,
    transitions: Sequence[Transition],
    objects: Bool[np.ndarray, "o f y x"],
) -> Consistency:
    """Return how alike the colours of each object, and of all else, are in all shots.

    `objects` are masks. Raises `RequestError` if they are not of the video's frames.
    """
    if objects.shape[1:] != video.shape[:3]:
        raise RequestError(f"masks of {objects.shape[1:]}; they must be {video.shape[:3]}")
    shots = shots_of(transitions, len(video), fps)
    shown = [[video[part][mask[part]] for part in shots] for mask in objects]
    rest: NDArray[np.bool_] = ~np.logical_or.reduce(objects, axis=0)
    return Consistency(
        tuple(_apart(pixels) for pixels in shown),
        _apart([video[part][rest[part]] for part in shots]),
        tuple(float(np.mean([len(p) >= FEWEST for p in pixels])) for pixels in shown),
    )
