"""Is what stands still at one place in space, while the camera moves around it?

The camera of every frame is known, or read off the pixels (`egomotion.py`). The point in space
that is nearest to where the middle of an object is seen in all frames is found by least squares
(bundle adjustment of points alone: Triggs et al. 1999); how far it is seen from there is the
error. The scale of space does not matter.

A camera that has gone round by a whole turn, and stands and looks as it did at first, shows its
first frame again: `measure_loop`.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.evaluate.permanence import clear_of
from kineograph.evaluate.tracking import track_masks
from kineograph.world.v2.camera import BASE_AREA_SIDE, Pose, project, unit
from kineograph.world.v2.scene import Scene

Array = NDArray[np.float64]

SEEN = 0.25  # of the frames, in which an object must be seen whole
FEWEST = 5  # frames
USUAL_DEPTH = 5.25  # m, where the search for a place starts
ROUNDS = 25
# A camera is back where it began if it looks and stands as it did by so much: deg; of its
# farthest way; of its focal length.
LOOKS, STANDS, ZOOMS = 0.5, 0.02, 0.01
BESIDE = 2  # pixels around what moves, that do not count
LEAST = 1 / 255**2 / 12  # squared error that rounding makes
STAY = frozenset({"still", "spin", "recolour", "stack"})


@dataclass(frozen=True)
class Orbit:
    """How far objects are seen from one place in space, in pixels of a picture of 128 x 128."""

    errors: tuple[float | None, ...]
    """Of each object, root mean square over frames; None if it moves or is not seen enough."""
    error: float | None
    """Of all objects and frames."""
    parallax: tuple[float | None, ...]
    """The largest angle between two directions from which each object is seen (deg).

    A camera that only turns has none: depth is then not told, and the error is that of
    directions alone.
    """


def stays(scene: Scene) -> tuple[bool, ...]:
    """Return which objects of a scene keep their place for the whole of it."""
    struck = {o.partner for o in scene.objects if o.motion == "collide"}
    return tuple(
        o.motion in STAY and (o.then is None or o.then in STAY) and i not in struck
        for i, o in enumerate(scene.objects)
    )


def _part(camera: Pose, frames: NDArray[np.int64]) -> Pose:
    """Return the camera in some frames."""
    return Pose(
        camera.position[frames], camera.right[frames], camera.up[frames], camera.forward[frames],
        camera.focal[frames],
    )  # fmt: skip


def _rays(camera: Pose, seen: Float[ndarray, "t 2"], height: int, width: int) -> Array:
    """Return the directions `t 3` of pixels (columns, rows), of length 1."""
    share = (unit(height, width) / camera.focal)[:, None]
    way = (
        camera.forward
        + (seen[:, :1] - width / 2) * share * camera.right
        + (height / 2 - seen[:, 1:]) * share * camera.up
    )
    return np.asarray(way / np.linalg.norm(way, axis=1, keepdims=True))


def _slopes(camera: Pose, shown: Float[ndarray, "t 3"], height: int, width: int) -> Array:
    """Return by how many pixels columns and rows `t 2 3` move with a place (m) that is shown."""
    scale = shown[:, 2:]
    per_depth = scale * unit(height, width) / camera.focal[:, None]
    columns = scale * camera.right - (shown[:, :1] - width / 2) * per_depth * camera.forward
    rows = -scale * camera.up - (shown[:, 1:2] - height / 2) * per_depth * camera.forward
    return np.stack([columns, rows], 1)


def triangulate(
    camera: Pose, seen: Float[ndarray, "t 2"], height: int, width: int
) -> tuple[Float[ndarray, "3"], Float[ndarray, "t 2"]]:
    """Return the place (m) that is seen nearest to pixels, and by how much it misses each (px).

    `seen` are columns and rows. Where all frames are taken from one place, the depth of the
    result means nothing.
    """
    rays = _rays(camera, seen, height, width)

    def show(place: Array) -> tuple[Array, Array, float]:
        shown = project(camera, np.tile(place, (len(seen), 1)), height, width)
        miss = seen - shown[:, :2]
        before = bool((shown[:, 2] > 0).all())
        return shown, miss, float((miss * miss).sum()) if before else math.inf

    place = (camera.position + USUAL_DEPTH * rays).mean(0)
    shown, miss, cost = show(place)
    damping = 1.0
    for _ in range(ROUNDS):  # of Levenberg's and Marquardt's steps
        slopes = _slopes(camera, shown, height, width).reshape(-1, 3)
        normal = slopes.T @ slopes + damping * np.eye(3)
        tried = place + np.linalg.solve(normal, slopes.T @ miss.ravel())
        ahead, left, found = show(tried)
        damping *= 0.1 if found < cost else 10.0
        if found < cost:
            place, shown, miss, cost = tried, ahead, left, found
    return place, miss


def _parallax(camera: Pose, place: Float[ndarray, "3"]) -> float:
    """Return the largest angle between directions to the camera (deg)."""
    way = camera.position - place
    way = way / np.linalg.norm(way, axis=1, keepdims=True)
    return math.degrees(math.acos(min(1.0, float((way @ way.T).min()))))


def _check(masks: ndarray, camera: Pose, still: Sequence[bool]) -> None:
    if len(camera.position) != masks.shape[1]:
        raise RequestError(
            f"a camera of {len(camera.position)} frames; masks have {masks.shape[1]}"
        )
    if len(still) != len(masks):
        raise RequestError(f"still has {len(still)} entries; there are {len(masks)} objects")


def measure_orbit(
    masks: Float[ndarray, "o t h w"] | Bool[ndarray, "o t h w"],
    camera: Pose,
    still: Sequence[bool],
) -> Orbit:
    """Return how far what stands still is seen from one place, before a camera that moves.

    `masks` tell which pixels of each frame are each object's; `camera` has a pose for every
    frame (`Egomotion.camera`, or the scene's own); `still` says which objects keep their place
    (see `stays`). Frames count in which an object touches neither another nor the edge.

    Raises:
        RequestError: the camera has not as many poses as masks have frames, or `still` not as
            many entries as there are objects.
    """
    _check(masks, camera, still)
    height, width = masks.shape[2:]
    tracks = [track_masks(mask.astype(np.float32)) for mask in masks]
    clear = clear_of(np.stack([found.masks > 0.5 for found in tracks]))
    squares: list[Array | None] = [None] * len(masks)
    parallax: list[float | None] = [None] * len(masks)
    for i, found in enumerate(tracks):
        frames = np.flatnonzero(clear[i] & found.seen)
        if not still[i] or len(frames) < max(FEWEST, SEEN * len(found)):
            continue
        seen = np.stack([found.columns, found.rows], -1)[frames]
        part = _part(camera, frames)
        place, miss = triangulate(part, seen, height, width)
        scaled = miss * BASE_AREA_SIDE / math.sqrt(height * width)
        squares[i], parallax[i] = (scaled * scaled).sum(1), _parallax(part, place)
    known = [s for s in squares if s is not None]
    return Orbit(
        tuple(None if s is None else float(np.sqrt(s.mean())) for s in squares),
        float(np.sqrt(np.concatenate(known).mean())) if known else None,
        tuple(parallax),
    )


# --- loops -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Loop:
    """How far the frame in which a camera is back where it began is from the first one."""

    frame: int
    psnr: float
    """Of the two frames without what moves (dB)."""
    displacement: float | None
    """Mean way between them of objects that stand still, in pixels of a picture of 128 x 128.

    None if none is seen in both away from the edge.
    """


def closes(camera: Pose) -> int | None:
    """Return the first frame in which a camera is back after a whole turn; None if in none is."""
    heading = np.unwrap(np.arctan2(camera.forward[:, 0], -camera.forward[:, 2]))
    turned = np.degrees(np.abs(heading - heading[0]))
    looks = np.degrees(np.arccos(np.clip(camera.forward @ camera.forward[0], -1, 1)))
    leans = np.degrees(np.arccos(np.clip(camera.up @ camera.up[0], -1, 1)))
    away = np.linalg.norm(camera.position - camera.position[0], axis=1)
    zoomed = np.abs(camera.focal / camera.focal[0] - 1)
    back = (
        (turned > 360 - 2 * LOOKS)
        & (np.maximum(looks, leans) <= LOOKS)
        & (away <= STANDS * away.max())
        & (zoomed <= ZOOMS)
    )
    return int(np.flatnonzero(back)[0]) if back.any() else None


def measure_loop(
    frames: UInt8[ndarray, "_ h w 3"],
    masks: Float[ndarray, "o t h w"] | Bool[ndarray, "o t h w"],
    camera: Pose,
    still: Sequence[bool],
) -> Loop | None:
    """Return how far a camera that comes round sees its first frame again; None if it does not.

    `masks`, `camera` and `still` are those of `measure_orbit`; what moves does not count.

    Raises:
        RequestError: the camera has not as many poses as there are frames and masks, or `still`
            not as many entries as there are objects.
    """
    _check(masks, camera, still)
    if len(frames) != masks.shape[1]:
        raise RequestError(f"{len(frames)} frames; masks have {masks.shape[1]}")
    last = closes(camera)
    if last is None:
        return None
    ends = masks[:, [0, last]] > 0.5
    moves = ends[~np.array(still, dtype=bool)].any((0, 1))
    counts = ~_wider(moves, BESIDE)
    apart = (frames[last].astype(np.float64) - frames[0])[counts] / 255
    psnr = -10 * math.log10(max(float((apart**2).mean()), LEAST)) if counts.any() else math.nan
    height, width = masks.shape[2:]
    ways = []
    for i in np.flatnonzero(still):
        a, b = (track_masks(masks[i, k : k + 1].astype(np.float32)) for k in (0, last))
        if all(one.seen[0] and not one.cut[0] for one in (a, b)):
            ways.append(math.hypot(a.columns[0] - b.columns[0], a.rows[0] - b.rows[0]))
    scale = BASE_AREA_SIDE / math.sqrt(height * width)
    return Loop(last, psnr, float(np.mean(ways)) * scale if ways else None)


def _wider(mask: Bool[ndarray, "h w"], by: int) -> Bool[ndarray, "h w"]:
    """Return a mask with what lies up to some pixels beside it."""
    height, width = mask.shape
    wide = np.pad(mask, by)
    shifts = [(a, b) for a in range(2 * by + 1) for b in range(2 * by + 1)]
    return np.any([wide[a : a + height, b : b + width] for a, b in shifts], axis=0)
