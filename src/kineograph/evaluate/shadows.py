"""Does what moves cast a shadow, that moves with it, and away from the sun?

Before a camera that stands, the floor is what a pixel mostly shows where no object is, and a
shadow is where it is darker than that for a while: shadows of what rests belong to the floor. A
shadow lies on the line from its object along the light, wherever the object is; in the picture
all these lines meet in one point, which follows from the time of day and from where the world's
cameras usually stand. Where clouds or fog leave little of the sun, or the floor shines or
mirrors, no shadow can be expected, and nothing is told.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.evaluate.tracking import MIN_AREA, Track, track_masks
from kineograph.evaluate.views import USUAL_DISTANCE, USUAL_HEIGHT
from kineograph.world.v2.camera import HALF_FOV
from kineograph.world.v2.look import DAYLIGHT, FLOOR_TINTS, WEATHER

Array = NDArray[np.float64]

SUNLESS = ("rain", "fog")  # weathers in which a shadow is too faint to be found
SHADOWLESS = ("water", "grid")  # floors that mirror or shine
USUAL = 0.6  # quantile of brightness over time that is the floor without a shadow
DARKER = 0.9  # of the floor, and less
LEAST = 3.0  # of 255, by which it is darker at least
MARGIN = 2  # pixels around objects that are partly theirs
AGREE = 5  # of 3 x 3 pixels that are dark: fewer are snow or noise
MOVED = 0.5  # sides of an object, from where it mostly is, that bare the floor there
SMALL = 0.06  # of the area of its object; less is no shadow
SHORT = 3.0  # pixels from object to shadow that have a direction
FEWEST = 5  # frames that tell something
TARGET = 0.8  # m, the height that cameras usually look at


@dataclass(frozen=True)
class Shadow:
    """How the shadow of an object that moves behaves; None where too little of it is seen."""

    present: float  # share of the frames in which it should be seen, in which it is
    follows: float | None  # correlation of its way with that of its object; 1 is right
    off: float | None  # deg, from the direction that the sun of the time of day gives
    spread: float | None  # deg, standard deviation of that direction over time


def _grown(masks: Bool[ndarray, "t h w"], by: int) -> Bool[ndarray, "t h w"]:
    """Return masks with the pixels up to `by` rows and columns away."""
    around = np.pad(masks, ((0, 0), (by, by), (by, by)))
    side = 2 * by + 1
    return np.asarray(sliding_window_view(around, (side, side), axis=(1, 2)).any((3, 4)))


def darkening(
    frames: UInt8[ndarray, "t h w 3"], objects: Bool[ndarray, "o t h w"]
) -> Float[ndarray, "t h w"]:
    """Return by how much (of 255) each pixel is darker than the floor there mostly is.

    0 where it is not clearly darker, and on objects.
    """
    light = frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    hidden = _grown(np.asarray(objects.any(0)), MARGIN)
    light[hidden] = np.nan
    known = np.isfinite(light).sum(0)  # sorting puts what is not known last
    usual = np.floor(USUAL * np.maximum(known - 1, 0)).astype(np.int64)
    floor = np.take_along_axis(np.sort(light, axis=0), usual[None], 0)[0]
    less = floor - light
    dark = (light < DARKER * floor) & (less > LEAST)
    crowd = sliding_window_view(np.pad(dark, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    return np.where(dark & (crowd.sum((3, 4)) >= AGREE), less, 0.0)


def _axes() -> Array:
    """Return right, up and forward `3 3` of a camera that stands as usual."""
    fall = math.atan2(USUAL_HEIGHT - TARGET, USUAL_DISTANCE)
    c, s = math.cos(fall), math.sin(fall)
    return np.array([[1, 0, 0], [0, c, -s], [0, -s, -c]])


def _rises(sky: str) -> Array:
    """Return by how much a shadow moves in the picture, `2 2`, when its object rises or sinks."""
    x, y, z = DAYLIGHT[sky].direction
    _, (_, c, s), _ = _axes().tolist()
    return np.array([[1, x / y / c], [0, -s / c * z / y]])


def _expected(sky: str, found: Track) -> Array:
    """Return about where the shadow of an object is, `t 2`, that is on the floor when lowest."""
    place = np.stack([found.columns, found.rows], -1)
    if not found.seen.any():
        return place
    lowest = float(np.nanmax(found.rows))
    # Its middle is above the floor by half of it.
    sunk = found.rows - lowest - math.sqrt(float(np.nanmedian(found.areas))) / 2
    rest = np.stack([found.columns, np.full(len(found), lowest)], -1)
    return rest + np.stack([0 * sunk, sunk], -1) @ _rises(sky).T


def _nearest(
    expected: Float[ndarray, "o t 2"], i: int, height: int, width: int
) -> Bool[ndarray, "t h w"]:
    """Return which pixels are nearer to where shadow i should be than to any other."""
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    column, row = np.moveaxis(expected, -1, 0)[..., None, None]
    away = np.hypot(x - column, y - row)
    return away[i] <= np.nan_to_num(away, nan=np.inf).min(0)


def _along_light(sky: str, places: Array, height: int, width: int) -> Array:
    """Return in which direction (rad, clockwise from the right) light goes on from pixels `n 2`."""
    right, up, forward = _axes() @ -np.array(DAYLIGHT[sky].direction)
    focal = math.sqrt(height * width) / 2 / HALF_FOV
    # To where all light goes if that is before the camera, and away from where it comes if not.
    columns, rows = places.T
    x, y = right * focal - (columns - width / 2) * forward, (rows - height / 2) * forward
    return np.arctan2(-up * focal - y, x)


def _follows(sky: str, thing: Array, shade: Array) -> float | None:
    """Return how the way of a shadow `n 2` goes with that of its object, from -1 to 1.

    An object that rises sends its shadow along the floor as the sun has it, one that comes
    nearer takes it along: the better of the two counts.
    """
    moved, seen = thing - thing.mean(0), shade - shade.mean(0)
    found = []
    for carried in (moved @ _rises(sky).T, moved):
        size = float(np.linalg.norm(carried) * np.linalg.norm(seen))
        if np.ptp(carried, axis=0).max() >= SHORT:
            found.append(float((carried * seen).sum()) / size if size else 0.0)
    return max(found, default=None)


def _shadow(
    sky: str, found: Track, expected: Float[ndarray, "t 2"], dark: Float[ndarray, "t h w"]
) -> Shadow | None:
    """Return how one object's shadow behaves, None where it never leaves a place."""
    height, width = dark.shape[1:]
    place = np.stack([found.columns, found.rows], -1)
    whole = found.whole
    if whole.sum() < FEWEST:
        return None
    side = math.sqrt(float(np.nanmedian(found.areas)))
    away = whole & (np.linalg.norm(place - np.median(place[whole], 0), axis=1) > MOVED * side)
    away &= ((expected >= side / 2) & (expected <= [width - side / 2, height])).all(1)
    if away.sum() < FEWEST:
        return None
    cast = away & ((dark > 0).sum((1, 2)) >= max(MIN_AREA, SMALL * side * side))
    present = float(cast.sum() / away.sum())
    if cast.sum() < FEWEST:
        return Shadow(present, None, None, None)
    shares = dark[cast]
    total = shares.sum((1, 2))
    shade = np.stack([
        shares.sum(1) @ (np.arange(width) + 0.5), shares.sum(2) @ (np.arange(height) + 0.5)
    ], -1) / total[:, None]  # fmt: skip
    thing = place[cast]
    way = shade - thing
    far = np.hypot(*way.T) >= SHORT
    off = spread = None
    if far.sum() >= FEWEST:
        light = _along_light(sky, thing[far], height, width)
        turn = np.exp(1j * (np.arctan2(way[far, 1], way[far, 0]) - light)).mean()
        off = abs(math.degrees(float(np.angle(turn))))
        spread = math.degrees(math.sqrt(-2 * math.log(max(min(float(abs(turn)), 1), 1e-9))))
    return Shadow(present, _follows(sky, thing, shade), off, spread)


def check_place(sky: str, weather: str, floor: str) -> None:
    """Raise a `RequestError` that names what is allowed, for a place that the world has not."""
    for what, value, allowed in (
        ("sky", sky, list(DAYLIGHT)),
        ("weather", weather, list(WEATHER)),
        ("floor", floor, list(FLOOR_TINTS)),
    ):
        if value not in allowed:
            raise RequestError(f"{what} {value!r} is not one of {', '.join(allowed)}")


def measure_shadows(
    frames: UInt8[ndarray, "t h w 3"],
    objects: Bool[ndarray, "o t h w"],
    *,
    sky: str,
    weather: str,
    floor: str,
) -> list[Shadow | None]:
    """Return how the shadow of each object behaves, before a camera that stands.

    `sky`, `weather` and `floor` are those that the clip should show, in the world's words. None
    is an object that does not leave its place, is not seen whole, or whose shadow nobody can see.

    Raises:
        RequestError: an unknown sky, weather or floor.
    """
    check_place(sky, weather, floor)
    if weather in SUNLESS or floor in SHADOWLESS or not len(objects):
        return [None] * len(objects)
    dark = darkening(frames, objects)
    tracks = [track_masks(masks.astype(np.float32)) for masks in objects]
    expected = np.stack([_expected(sky, one) for one in tracks])
    height, width = frames.shape[1:3]
    return [
        _shadow(sky, one, expected[i], np.where(_nearest(expected, i, height, width), dark, 0.0))
        for i, one in enumerate(tracks)
    ]
