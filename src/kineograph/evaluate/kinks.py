"""Contacts in the tracks of objects: kinks, where the velocity jumps and no smooth curve will do.

A track is cut, by least squares and exactly, into as few parabolas as explain it. Where two of
them meet, a fit with a jump of the velocity has to explain the frames around several times as
well as a smooth curve with as many unknowns. The instant of a kink lies between frames.

Lengths are in sides of the picture, the side being the root of its area. Letters: o objects,
t frames, h height, w width.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_PIXELS = 12  # of an object, for its centre to be known
HIDDEN = 0.7  # of its usual area, below which something hides an object and moves its centre
LONGEST = 1.5  # s, of one parabola
REACH = 0.4  # s, on either side of a kink, that its fit looks at
NEAR = 0.27  # s, likewise, where hops are short
DOUBT = 0.045  # s, around an instant that is asked for
FEWEST = 5  # frames of a stretch of track that is looked at
NOISE = 0.0012  # sides: error of a track that is taken for granted
PENALTY = 30.0  # squared errors that one more parabola has to save
BETTER = 4.0  # a kink must explain a track this many times as well as a smooth curve
STRUCK = 0.3  # of a jump, that must oppose the velocity before it: what is let go does not strike
BLIND = 2.5  # frames, at the ends of a stretch, in which no kink is found
SETTLES = 0.6  # s, after the last contact of a track, in which hops may be too short to see
STIR = 0.02  # sides, that an object moves by at least when it moves


@dataclass(frozen=True)
class Kink:
    """Where a track changes its velocity (sides/s)."""

    time: float
    before: Array  # 2
    after: Array  # 2

    @property
    def jump(self) -> Array:
        """By how much the velocity changes, `2`."""
        return self.after - self.before

    @property
    def strikes(self) -> bool:
        """Whether it moved towards what stopped or turned it; else it was let go, or struck."""
        size = float(np.linalg.norm(self.jump))
        return float(self.before @ self.jump) < -STRUCK * size * size


# --- tracks ------------------------------------------------------------------------------------
def centroids(masks: Bool[np.ndarray, "t h w"]) -> Float[np.ndarray, "t 2"]:
    """Return the column and row of an object's middle in each frame, NaN where that is unsure.

    Unsure is what touches the edge of the picture, is smaller than 12 pixels, or shows less
    than 0.7 of the area that it has around then: a part is hidden and the middle moves by it.
    """
    t, height, width = masks.shape
    area = np.asarray(masks.sum((1, 2)), np.float64)
    columns, rows = masks.sum(1), masks.sum(2)
    sides: tuple[NDArray[np.bool_], ...] = (
        masks[:, 0],
        masks[:, -1],
        masks[:, :, 0],
        masks[:, :, -1],
    )
    edge = np.stack([side.sum(1) for side in sides]).sum(0)
    known: NDArray[np.bool_] = (area >= LEAST_PIXELS) & (edge == 0)
    usual = np.array([np.max(area[max(0, k - 6) : k + 7], initial=1.0) for k in range(t)])
    known &= area >= HIDDEN * usual
    found = np.full((t, 2), np.nan)
    middle = np.stack([columns @ np.arange(width), rows @ np.arange(height)], -1)
    found[known] = middle[known] / area[known][:, None] + 0.5
    return found


def tracks_of(masks: Bool[np.ndarray, "o t h w"]) -> Float[np.ndarray, "o t 2"]:
    """Return the middles of objects in sides of the picture, as `centroids` finds them."""
    if not len(masks):
        return np.zeros((0, masks.shape[1], 2))
    return np.stack([centroids(one) for one in masks]) / math.sqrt(masks.shape[2] * masks.shape[3])


def _stretches(track: Array, breaks: Collection[int]) -> list[tuple[int, int]]:
    """Return the first frame, and the one after the last, of each stretch without a gap or cut."""
    seen: NDArray[np.bool_] = ~np.isnan(track.sum(1))
    found, start = [], 0
    for k in range(len(track) + 1):
        if k == len(track) or not seen[k] or k in breaks:
            if k - start >= FEWEST:
                found.append((start, k))
            start = k if k < len(track) and seen[k] else k + 1
    return found


# --- kinks -------------------------------------------------------------------------------------
def _noise(y: Array) -> float:
    """Return how far places `t 2` are off (sides), from their fourth differences."""
    rough = np.abs(np.diff(y, 4, axis=0)) / 70**0.5
    return max(NOISE, float(np.median(rough)) / 0.6745) if rough.size else NOISE


def _misfits(y: Array, length: int) -> Array:
    """Return the squared error of one parabola through each `length` places on end, `t`."""
    basis = np.vander(np.linspace(-1, 1, length), 3)
    rest = np.eye(length) - basis @ np.linalg.pinv(basis)
    windows = sliding_window_view(y, length, axis=0)  # t 2 l
    return np.asarray(((windows @ rest) ** 2).sum((1, 2)))


def _parts(y: Array, longest: int, price: float) -> list[int]:
    """Return where new parabolas begin, when each costs `price`: least squares, exactly."""
    n = len(y)
    misfit = [np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)]
    misfit += [_misfits(y, length) for length in range(4, min(longest, n) + 1)]
    best, origin = np.full(n + 1, np.inf), np.zeros(n + 1, int)
    best[0] = 0.0
    for end in range(2, n + 1):
        for length in range(2, min(len(misfit) - 1, end) + 1):
            start = end - length
            cost = best[start] + misfit[length][start] + price
            if cost < best[end]:
                best[end], origin[end] = cost, start
    starts, k = [], n
    while k > 0:
        starts.append(k := int(origin[k]))
    return starts[-2::-1]


def _hinge(s: Array, y: Array, free: bool) -> tuple[float, Array]:
    """Fit two parabolas that meet at s = 0: squared error, and place and velocities `3 2`."""
    before, after = np.minimum(s, 0), np.maximum(s, 0)
    bends = [before**2, after**2] if free else [s**2]
    terms = np.stack([np.ones_like(s), before, after, *bends], 1)
    found = np.linalg.lstsq(terms, y, rcond=None)[0]
    return float(((terms @ found - y) ** 2).sum()), found[:3]


def _kink(
    y: Array, fps: float, bounds: tuple[int, int, int], reach: float, at: float | None = None
) -> Kink | None:
    """Return the kink before frame `bounds[1]` of places `t 2`, None where a curve will do.

    `reach` is how far the fit looks to either side (s); `at` is when the kink should be (s).
    """
    low, turn, high = bounds
    reach = max(3, round(reach * fps))
    low, high = max(low, turn - reach), min(high, turn + reach)
    k = np.arange(low, high)
    left, right = turn - low, high - turn
    if len(k) < FEWEST or min(left, right) < 2:
        return None
    part, free = y[low:high], min(left, right) >= 4
    times = k / fps
    instants = (turn - 0.5 + np.linspace(-0.9, 0.9, 37)) / fps
    if at is not None:
        instants = at + DOUBT * np.linspace(-1, 1, 13)
    fits = [_hinge(times - at, part, free) for at in instants]
    best = int(np.argmin([misfit for misfit, _ in fits]))
    misfit, (_, before, after) = fits[best]
    degree = min(4, len(k) - 2)
    basis = np.vander(np.linspace(-1, 1, len(k)), degree + 1)
    smooth = float(((part - basis @ np.linalg.lstsq(basis, part, rcond=None)[0]) ** 2).sum())
    if smooth < BETTER * misfit + len(k) * NOISE**2:
        return None
    return Kink(float(instants[best]), before, after)


class Watched:
    """A track `t 2` in sides, cut into stretches, with its kinks."""

    def __init__(self, track: Array, fps: float, breaks: Collection[int]) -> None:
        self.track, self.fps = track, fps
        self.stretches = _stretches(track, breaks)
        self.there = bool(np.isfinite(track).all(1).any())
        self.kinks: list[Kink] = []
        for start, end in self.stretches:
            y = track[start:end]
            turns = [0, *_parts(y, round(LONGEST * fps), PENALTY * _noise(y) ** 2), len(y)]
            for bounds in zip(turns, turns[1:], turns[2:], strict=False):
                kink = _kink(y, fps, bounds, REACH)
                if kink is not None:
                    self.kinks.append(replace(kink, time=kink.time + start / fps))

    def at(self, time: float) -> Kink | None:
        """Look again, with less choice and therefore less doubt, for a blow at some time (s)."""
        found = [k.time for k in self.kinks]
        for start, end in self.stretches:
            turn = math.ceil(time * self.fps) - start
            before = [math.ceil(t * self.fps) - start for t in found if t < time - DOUBT]
            after = [math.ceil(t * self.fps) - start for t in found if t > time + DOUBT]
            low, high = max([0, *before]), min([end - start, *after])
            if low < turn < high:
                y, here = self.track[start:end], time - start / self.fps
                for reach in (REACH, NEAR):
                    kink = _kink(y, self.fps, (low, turn, high), reach, here)
                    if kink is not None and kink.strikes:
                        return replace(kink, time=kink.time + start / self.fps)
        return None

    def blind(self, time: float) -> bool:
        """Whether a blow at some time (s) could not have been seen here."""
        if not self.there:
            return False
        margin = BLIND / self.fps
        seen = any(s / self.fps + margin <= time <= (e - 1) / self.fps - margin
                   for s, e in self.stretches)  # fmt: skip
        last = max((k.time for k in self.kinks if k.strikes), default=-math.inf)
        return not seen or last < time < last + SETTLES

    def moves(self, time: float) -> bool:
        """Whether it moves around some time (s)."""
        k = np.arange(len(self.track)) / self.fps
        way = self.track[(np.abs(k - time) < REACH) & np.isfinite(self.track).all(1)]
        return len(way) > 1 and float(np.ptp(way, axis=0).max()) > STIR
