"""Does still water mirror what stands on it or moves above it?

A reflection is the object turned upside down about the line where it meets the water, faint, and
bent by ripples. Light of the object takes the place of that of the sky: what is expected is the
difference of the two, at the object's pixels flipped; what is seen is how the water differs from
water beside it in the same rows. Light of the water's own colour is left out of both, since
shadows and the water's pattern are of it. How alike the two are, over all pixels of a window, is
a correlation; the same with another object put in the place of the first says what chance gives.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from kineograph.evaluate.shadows import check_place
from kineograph.evaluate.tracking import MIN_AREA, Track, track_masks
from kineograph.evaluate.views import USUAL_DISTANCE, USUAL_HEIGHT
from kineograph.world.v2.camera import unit
from kineograph.world.v2.look import DAYLIGHT, WEATHER

MIRROR = "water"  # the floor that mirrors
TARGET = 0.8  # m, the height that cameras usually look at
BESIDE = 8  # columns of water at least that a row is compared with
ROOM = 0.5  # of the size of an object, around its reflection, that is looked at
SEEN = 0.5  # of a reflection, that lies in the picture and before no object
FAINT = 0.1  # of white light: what differs less from the sky, but for the colour of water
FEWEST = 3  # frames that tell something


@dataclass(frozen=True)
class Reflection:
    """How an object is mirrored."""

    likeness: float  # correlation of what is expected and seen: 1 at best, about 0 without any
    strength: float  # share of the object's light that comes back, by least squares
    chance: float | None  # likeness to the other objects
    frames: int  # that tell it


def _linear(frames: UInt8[ndarray, "t h w 3"]) -> Float[ndarray, "t h w 3"]:
    """Return the light that the world's film shows as some pixels: `look.film` the other way."""
    y = (frames.astype(np.float64) / 255) ** 2
    a, b, c = 2.51 - 2.43 * y, 0.03 - 0.59 * y, -0.14 * y
    return (np.sqrt(b * b - 4 * a * c) - b) / (2 * a)


def _mirrored_sky(sky: str, weather: str, height: int, width: int) -> Float[ndarray, "h 1 3"]:
    """Return the light of the sky that water mirrors in each row, before the usual camera."""
    day, white = DAYLIGHT[sky], WEATHER[weather][2]
    low, high = np.array(day.horizon), np.array(day.zenith)
    grey = (low.mean() + high.mean()) / 2
    low, high = low + (grey - low) * white, high + (0.9 * grey - high) * white
    away = (np.arange(height) + 0.5 - height / 2) * unit(height, width)
    down = np.sin(np.arctan2(USUAL_HEIGHT - TARGET, USUAL_DISTANCE) + np.arctan(away))
    rise = np.clip(1.8 * down, 0, 1)[:, None, None]
    return low + (high - low) * rise * (2 - rise)


def _unlike(frame: Float[ndarray, "h w 3"], free: Bool[ndarray, "h w"]) -> Float[ndarray, "h w 3"]:
    """Return how each free pixel differs from the median of the free ones of its row, else NaN."""
    enough = free.sum(1) >= BESIDE
    known = np.where((free & enough[:, None])[..., None], frame, np.nan)
    middle = np.zeros((len(frame), 1, 3))
    middle[enough, 0] = np.nanmedian(known[enough], axis=1)
    return np.asarray(known - middle)


def _flipped(
    picture: Float[ndarray, "h w 3"], mask: Bool[ndarray, "h w"], line: int, rows: int
) -> tuple[Float[ndarray, "r w 3"], Bool[ndarray, "r w"]]:
    """Return the first rows below a line that a mirror there shows of an object, and where."""
    part = slice(max(line - rows, 0), line)
    return picture[part][::-1], mask[part][::-1]


def _line(found: Track) -> int | None:
    """Return the row at which an object meets the water when it is lowest, None if never seen."""
    bottoms = found.bottoms
    return round(float(np.nanmax(bottoms))) if np.isfinite(bottoms).any() else None


@dataclass(frozen=True)
class _View:
    """What is seen below the waterline, and what of an object should be there."""

    seen: Float[ndarray, "r w 3"]  # NaN on objects and where nothing can be compared
    due: Float[ndarray, "r w 3"]  # 0 where nothing is mirrored
    columns: tuple[int, int]  # of the window
    water: Float[ndarray, "3"]  # its colour, of length 1

    def hued(self, light: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
        """Return light without the part that is of the colour of water: shades and patterns."""
        return light - (light @ self.water)[:, None] * self.water

    def alike(self, due: Float[ndarray, "r w 3"] | None = None) -> tuple[float, float] | None:
        """Return correlation and slope of what is seen to what is due; None of too little."""
        due = self.due if due is None else due
        rows = min(len(due), len(self.seen))
        window = slice(*self.columns)
        seen, due = self.seen[:rows, window], due[:rows, window]
        known = np.isfinite(seen).all(-1)
        mirrored = (due != 0).any(-1)
        if (known & mirrored).sum() < max(MIN_AREA, SEEN * mirrored.sum()):
            return None
        a, b = self.hued(seen[known]), self.hued(due[known])
        size = float(np.linalg.norm(a) * np.linalg.norm(b))
        dot = float((a * b).sum())
        return (dot / size, dot / float((b * b).sum())) if size else (0.0, 0.0)


def _view(
    picture: Float[ndarray, "h w 3"], mask: Bool[ndarray, "h w"], free: Bool[ndarray, "h w"],
    line: int, sky: Float[ndarray, "h 1 3"],
) -> _View | None:  # fmt: skip
    """Return what to compare in one frame, None where the object is too like sky and water."""
    height, width = mask.shape
    rows = height - line
    if mask.sum() < MIN_AREA or rows < 2:
        return None
    light, where = _flipped(picture, mask, line, rows)
    due = np.where(where[..., None], light - sky[line : line + len(light)], 0.0)
    if not where.any():
        return None
    across = np.flatnonzero(mask.any(0))
    room = math.ceil(ROOM * len(across))
    columns = max(0, int(across[0]) - room), min(width, int(across[-1]) + 1 + room)
    below = np.flatnonzero(where.any(1))
    last = min(rows, int(below[-1]) + 1 + room)
    around = picture[line : line + last][free[line : line + last]]
    if not len(around):
        return None
    water = np.median(around, axis=0)
    size = float(np.linalg.norm(water))
    seen = _unlike(picture, free)[line : line + last]
    view = _View(seen, due[:last], columns, water / max(size, 1e-9))
    hue = view.hued(due[where].mean(0, keepdims=True))
    return view if np.linalg.norm(hue) >= FAINT else None


def _shifted(due: Float[ndarray, "r w 3"], by: int) -> Float[ndarray, "r w 3"]:
    """Return what is due some columns farther right, or left, nothing coming in."""
    moved = np.zeros_like(due)
    if by >= 0:
        moved[:, by:] = due[:, : due.shape[1] - by]
    else:
        moved[:, :by] = due[:, -by:]
    return moved


def _middle(due: Float[ndarray, "r w 3"]) -> float:
    return float(np.flatnonzero((due != 0).any((0, 2))).mean())


def _chance(views: list[_View], others: list[_View]) -> float | None:
    """Return how like what is seen is to other objects, put in the same place."""
    found = []
    for view in views:
        for other in others:
            by = round(_middle(view.due) - _middle(other.due))
            told = view.alike(_shifted(other.due, by))
            if told is not None:
                found.append(told[0])
    return float(np.mean(found)) if found else None


def measure_reflections(
    frames: UInt8[ndarray, "t h w 3"],
    objects: Bool[ndarray, "o t h w"],
    *,
    sky: str,
    weather: str,
    floor: str,
) -> list[Reflection | None]:
    """Return how each object is mirrored, before a camera that stands.

    `sky`, `weather` and `floor` are those that the clip should show, in the world's words. None
    is another floor than water, and an object whose reflection is out of the picture, hidden, or
    too like the sky or the water in colour. `chance` is None of a single object.

    Raises:
        RequestError: an unknown sky, weather or floor.
    """
    check_place(sky, weather, floor)
    if floor != MIRROR:
        return [None] * len(objects)
    light, free = _linear(frames), np.asarray(~objects.any(0))
    above = _mirrored_sky(sky, weather, *frames.shape[1:3])
    views: list[list[_View]] = []
    for masks in objects:
        line = _line(track_masks(masks.astype(np.float32)))
        some = [] if line is None else [
            _view(light[t], masks[t], free[t], line, above) for t in range(len(frames))
        ]  # fmt: skip
        views.append([view for view in some if view is not None])
    found: list[Reflection | None] = []
    for i, mine in enumerate(views):
        told = [one for view in mine if (one := view.alike()) is not None]
        if len(told) < FEWEST:
            found.append(None)
            continue
        likeness, strength = np.mean(told, axis=0).tolist()
        others = [view for k, some in enumerate(views) if k != i for view in some[:1]]
        found.append(Reflection(likeness, strength, _chance(mine, others), len(told)))
    return found
