"""Do objects go on existing? What is out of sight must come back where, and as large as, it should.

An object is followed by its masks. Where it is not seen, its place is taken from its way before
and after: it may be hidden there by other objects, or lie outside the picture. All else is
unexplained. An object that is not seen again, or that was not seen before, is a death or a birth
if it is lost, or comes, in full view. Size and colour may change while an object is seen: masks
of what is recoloured must tell both of its colours.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.evaluate.tracking import MIN_AREA, Track, track_masks

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Frames = NDArray[np.int64]

BESIDE = 2  # pixels, within which one mask touches another or the edge
SPECK = 0.1  # of its usual area; less is not the object
HIDDEN = 0.3  # of its pixels may show at most, where it should be, if it is not seen
FITTED = 1.0  # s, of its way on either side that tells where it is
AHEAD = 6  # times as long as what tells it, its way is continued at most
BENT = 8  # frames, from which on its way may be taken for a curve
CUT_OFF = 0.5  # of its area; what was smaller when last seen, beside another, went behind it
RECENT = 1.5  # s; what was seen whole longer ago does not tell where it is
LOST = 0.25  # s, from which on it is gone


@dataclass(frozen=True)
class Gap:
    """Frames in which an object is not seen, between others in which it is."""

    start: int  # its first frame
    end: int  # the first frame after it
    explained: float  # share of its frames in which something hides it, or it is out of the picture
    offset: float | None
    """How far from where it was going it comes back, in diameters; None where its way does
    not tell: too little is seen of it, or straight on and as it was bent lead apart by more."""
    size_ratio: float | None
    """Its diameter after, over that before, or over what this was changing to if that is nearer;
    None where offset is."""


@dataclass(frozen=True)
class Permanence:
    """How one object, or all of a clip, go on existing; None where it is never seen."""

    gaps: tuple[Gap, ...]
    unexplained: float | None
    """Share of the frames from the first to the last that shows it, in which it should be seen
    and is not; of a clip, the mean over objects."""
    births: int
    deaths: int
    objects: tuple[Permanence, ...] = ()

    @property
    def offset(self) -> float | None:
        """The farthest that anything comes back from where it was going, in its diameters."""
        return max((g.offset for g in self.gaps if g.offset is not None), default=None)

    @property
    def size_change(self) -> float | None:
        """The largest change of a diameter over a gap, as a share."""
        ratios = [g.size_ratio for g in self.gaps if g.size_ratio is not None]
        return max((math.exp(abs(math.log(r))) - 1 for r in ratios), default=None)


def grown(masks: Bool[ndarray, "o t h w"], reach: int) -> Bool[ndarray, "o t h w"]:
    """Return masks with all that is within a square of 2 reach + 1 pixels around theirs."""
    found = masks.copy()
    for step in range(1, reach + 1):
        found[:, :, step:] |= masks[:, :, :-step]
        found[:, :, :-step] |= masks[:, :, step:]
    wide = found.copy()
    for step in range(1, reach + 1):
        wide[..., step:] |= found[..., :-step]
        wide[..., :-step] |= found[..., step:]
    return wide


def beside(masks: Bool[ndarray, "o t h w"]) -> Bool[ndarray, "o t h w"]:
    """Return the pixels of, or next to, all objects but each."""
    wide = grown(masks, BESIDE)
    number = wide.sum(0)
    return np.asarray(number[None] - wide > 0)


def clear_of(masks: Bool[ndarray, "o t h w"]) -> Bool[ndarray, "o t"]:
    """Return where each object is seen, and touches neither another nor the edge."""
    inner = np.zeros(masks.shape[2:], dtype=bool)
    inner[BESIDE:-BESIDE, BESIDE:-BESIDE] = True
    seen = masks.any((2, 3))
    return np.asarray(seen & ~(masks & (beside(masks) | ~inner)).any((2, 3)))


class _Way:
    """One object's way through a clip, and what may hide it."""

    def __init__(
        self, found: Track, clear: Bool[ndarray, "t"], others: Bool[ndarray, "t h w"], fps: float
    ) -> None:
        whole = found.seen & clear
        usual = float(np.median(found.areas[whole if whole.any() else found.seen]))
        self.masks, self.others, self.fps = found.masks > 0.5, others, fps
        wide = 2 * np.sqrt(found.areas / math.pi)
        self.looks = np.stack([found.columns, found.rows, wide], -1)
        self.areas = found.areas
        self.seen = found.seen & (np.nan_to_num(found.areas) >= SPECK * usual)
        self.clear = self.seen & clear

    def reversed(self) -> _Way:
        """Return the way as a clip that runs backwards shows it."""
        other = object.__new__(_Way)
        other.fps = self.fps
        for name in ("masks", "others", "looks", "areas", "seen", "clear"):
            setattr(other, name, getattr(self, name)[::-1])
        return other

    def known(self, start: int, end: int, *, before: bool) -> Frames:
        """Return the frames on one side of a gap that tell where the object is."""
        side = slice(0, start) if before else slice(end, None)
        frames = np.arange(len(self.seen))[side]
        edge = start if before else end - 1
        recent = np.abs(frames - edge) <= RECENT * self.fps
        some = frames[self.clear[side] & recent]
        if not len(some):
            some = frames[self.seen[side]]
        nearest = int(some[-1] if before else some[0])
        return some[np.abs(some - nearest) <= FITTED * self.fps]

    def _curve(self, frames: Frames, degree: int, times: Frames) -> Array:
        """Return places and diameters `n 3` at times, on curves through those in some frames."""
        middle = float(frames.mean())
        degree = min(degree, len(frames) - 1)
        terms = np.vander(frames - middle, degree + 1)
        found = np.linalg.lstsq(terms, self.looks[frames], rcond=None)[0]
        return np.asarray(np.vander(times - middle, degree + 1) @ found)

    def going(self, frames: Frames, times: Frames) -> Array:
        """Return places and diameters `k n 3`: straight on, and as the object's way is bent."""
        degrees = (1, 2) if len(frames) >= BENT else (1,)
        return np.stack([self._curve(frames, degree, times) for degree in degrees])

    def _shows(self, t: int, like: int, place: Array) -> bool:
        """Return whether the object, as large as in a frame, could be seen at a place."""
        pixels = np.argwhere(self.masks[like])
        shift = np.round((place[:2] - self.looks[like, :2])[::-1]).astype(np.int64)
        there = pixels + shift
        inside = ((there >= 0) & (there < self.others.shape[1:])).all(1)
        y, x = there[inside].T
        return int((~self.others[t, y, x]).sum()) > max(MIN_AREA, HIDDEN * len(pixels))

    def gap(self, start: int, end: int) -> Gap:
        before, after = (self.known(start, end, before=b) for b in (True, False))
        last, first = int(before[-1]), int(after[0])
        times = np.arange(start, end)
        places = self._curve(np.concatenate([before, after]), 2, times)
        shows = [
            self._shows(int(t), last if t - last < first - t else first, place)
            for t, place in zip(times, places, strict=True)
        ]
        offset = ratio = None
        told = first - last <= AHEAD * (last - int(before[0]))
        if told and self.clear[last] and self.clear[first]:
            ways, wide = self.going(before, np.array([first]))[:, 0], self.looks[last, 2]
            if np.hypot(*(ways[0] - ways[-1])[:2]) <= wide:
                offset = float(np.hypot(*(ways - self.looks[first])[:, :2].T).min()) / wide
                sizes = np.clip([wide, ways[0, 2]], 0.5 * wide, 2 * wide)  # as it was, was to be
                ratios = self.looks[first, 2] / sizes
                ratio = float(ratios[np.abs(np.log(ratios)).argmin()])
        return Gap(start, end, 1 - float(np.mean(shows)), offset, ratio)

    def gaps(self) -> tuple[Gap, ...]:
        """Return all gaps between frames that show the object."""
        frames = np.flatnonzero(self.seen)
        ends = frames[1:][np.diff(frames) > 1]
        starts = frames[:-1][np.diff(frames) > 1] + 1
        return tuple(self.gap(int(a), int(b)) for a, b in zip(starts, ends, strict=True))

    def dies(self) -> bool:
        """Return whether the object is lost for good, in full view."""
        last = int(np.flatnonzero(self.seen)[-1])
        times = np.arange(last + 1, last + 1 + max(1, round(LOST * self.fps)))
        if times[-1] >= len(self.seen):
            return False
        before = self.known(last + 1, len(self.seen), before=True)
        like = int(before[-1])
        if not self.clear[last] and self.areas[last] < CUT_OFF * self.areas[like]:
            return False
        ways = self.going(before, times)
        shows = [
            [self._shows(int(t), like, p) for t, p in zip(times, w, strict=True)] for w in ways
        ]
        return float(np.mean(shows, 1).min()) > 0.5

    def told(self) -> Permanence:
        if not self.seen.any():
            return Permanence((), None, 0, 0)
        gaps = self.gaps()
        first, last = np.flatnonzero(self.seen)[[0, -1]]
        missed = sum((1 - g.explained) * (g.end - g.start) for g in gaps)
        return Permanence(
            gaps, missed / float(last - first + 1), int(self.reversed().dies()), int(self.dies())
        )


def _all(objects: Sequence[Permanence]) -> Permanence:
    shares = [o.unexplained for o in objects if o.unexplained is not None]
    return Permanence(
        tuple(g for o in objects for g in o.gaps),
        float(np.mean(shares)) if shares else None,
        sum(o.births for o in objects),
        sum(o.deaths for o in objects),
        tuple(objects),
    )


def measure_permanence(
    masks: Float[ndarray, "o t h w"] | Bool[ndarray, "o t h w"], fps: float
) -> Permanence:
    """Return how the objects of one shot, and each of them, go on existing.

    `masks` tell which pixels of each frame are each object's, as shares or yes and no.

    Raises:
        RequestError: fps is not above 0, or there are no frames.
    """
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    if not masks.shape[1]:
        raise RequestError("masks of 0 frames; there must be 1 or more")
    tracks = [track_masks(mask.astype(np.float32)) for mask in masks]
    tracked = np.stack([found.masks > 0.5 for found in tracks])
    clear, others = clear_of(tracked), beside(tracked)
    nothing = Permanence((), None, 0, 0)
    return _all(
        [
            _Way(found, clear[i], others[i], fps).told() if found.seen.any() else nothing
            for i, found in enumerate(tracks)
        ]
    )
