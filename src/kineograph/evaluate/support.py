"""Does what rests rest, and does it stand on something? Before a camera that stands.

While an object is at rest by its scene, neither its middle nor its lowest edge moves in the
picture. Where the camera is known, so is where that edge must be: an object of this shape and
size, at its depth, is put on what it stands on where it is seen across, and projected. What is
between the two edges is air, or is sunk in.

Letters: o objects, t frames, h height, w width, n points of a shape.
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
from kineograph.evaluate.orbits import stays
from kineograph.evaluate.permanence import grown
from kineograph.evaluate.tracking import Track, track_masks
from kineograph.evaluate.views import body_of
from kineograph.world.v2.camera import BASE_AREA_SIDE, Pose, project, track
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.play import Piece, Play
from kineograph.world.v2.scene import Scene

Array = NDArray[np.float64]
Frames = NDArray[np.int64]

ALLOWED = 2.0  # pixels of a picture of 128 x 128, by which what rests may seem to move, or hover
WHOLE = 0.95  # of its usual area; less is partly hidden
MOST = 0.9  # of the frames: a mask may fail in the others
LEAST = 0.5  # s, that a rest must last to be looked at
SETTLED = 0.25  # s after an object should have come to rest, that are left to it
STILL = 1e-3  # m, and of a matrix: less is no motion
UNDER = 3  # pixels below an edge, in which nothing may hide it
STANDS = frozenset({"still", "stack", "recolour"})  # motions of what rests from the first frame
ROUNDS = 3  # of finding where an object stands across the picture


@dataclass(frozen=True)
class Rest:
    """How an object rests; in pixels of a picture of 128 x 128."""

    middle: float  # how far its middle is from its usual place, the 90th percentile over frames
    bottom: float  # how far its lowest edge is from its usual row, likewise
    gap: float | None
    """How far its lowest edge lies above where it should stand, below 0 if it is sunk in; the
    median. None where the camera is not known, or another object hides that edge."""

    @property
    def rests(self) -> bool:
        """Whether nothing of this is more than is allowed."""
        return max(self.middle, self.bottom, abs(self.gap or 0.0)) <= ALLOWED


def _pieces(play: Play, i: int) -> list[Piece]:
    """Return the pieces of an object that it stands on, without rods."""
    return [p for p in play.pieces if p.thing == i and p.shape != "rod"]


def rest_span(play: Play, i: int, times: Array, *, camera_known: bool) -> Frames:
    """Return the frames in which an object is at rest by its scene: the longest run of them.

    Without the scene's own camera only what rests all the time is said to: when others come to
    rest, or are struck, depends on numbers that a caption does not tell.
    """
    rests = play.scene.objects[i].motion in STANDS and stays(play.scene)[i]
    if not camera_known and not rests:
        return np.zeros(0, dtype=np.int64)
    moves = np.zeros(len(times) - 1, dtype=bool)
    for piece in _pieces(play, i):
        for course in (piece.position(times), piece.rotation(times), piece.scale(times)):
            steps = np.abs(np.diff(course, axis=0)).reshape(len(moves), -1).max(1)
            moves |= steps > STILL
    ends = np.flatnonzero(np.diff(np.pad((~moves).astype(np.int8), 1)))
    if not len(ends):
        return np.zeros(0, dtype=np.int64)
    runs = ends.reshape(-1, 2)
    first, last = runs[int((runs[:, 1] - runs[:, 0]).argmax())]
    frames = np.arange(first, last + 1)
    begun = times[first] + (SETTLED if first else 0.0)
    frames = frames[times[frames] >= begun]
    return frames if len(frames) and np.ptp(times[frames]) >= LEAST else frames[:0]


def _edges(mask: Bool[ndarray, "h w"]) -> tuple[float, float]:
    """Return the middle of the columns that a mask takes, and its lower edge."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return (columns[0] + columns[-1] + 1) / 2, float(rows[-1] + 1)


def _stands_at(play: Play, i: int, time: float, column: float, size: tuple[int, int]) -> float:
    """Return the row of an object's lower edge where it stands at a column of the picture."""
    t = np.array([time])
    points = np.concatenate(
        [
            p.position(t) + body_of(p.shape) * p.scale(t) * p.radius @ p.rotation(t)[0].T
            for p in _pieces(play, i)
        ]
    )
    one = track(play.scene, t)
    camera = Pose(*(np.repeat(part, len(points), 0) for part in (
        one.position, one.right, one.up, one.forward, one.focal
    )))  # fmt: skip
    for _ in range(ROUNDS):
        shown = project(camera, points, *size)
        off = column - (shown[:, 0].min() + shown[:, 0].max()) / 2
        points = points + np.array([off / shown[:, 2].mean(), 0, 0])
    return float(project(camera, points, *size)[:, 1].max())


def _stood_on(scene: Scene) -> frozenset[int]:
    """Return the objects that stand on another."""
    return frozenset(r.subject for r in scene.relations if r.name == "on")


def _rest(
    play: Play, i: int, found: Track, others: Bool[ndarray, "t h w"], times: Array, *,
    camera_known: bool,
) -> Rest | None:  # fmt: skip
    """Return how an object rests; `others` is what may hide its lower edge."""
    frames = rest_span(play, i, times, camera_known=camera_known)
    frames = frames[found.seen[frames] & ~found.cut[frames]]
    if len(frames):  # what passes before it hides some of it
        frames = frames[found.areas[frames] > WHOLE * np.median(found.areas[frames])]
    if len(frames) < 2 or np.ptp(times[frames]) < LEAST:
        return None
    height, width = found.masks.shape[1:]
    scale = BASE_AREA_SIDE / math.sqrt(height * width)
    places = np.stack([found.columns, found.rows], -1)[frames]
    bottoms = found.bottoms[frames]
    middle = float(np.quantile(np.hypot(*(places - np.median(places, 0)).T), MOST))
    bottom = float(np.quantile(np.abs(bottoms - np.median(bottoms)), MOST))
    gaps = []
    if camera_known:
        for t in frames:
            mask = found.masks[t] > 0.5
            column, row = _edges(mask)
            last = int(row) - 1
            beside = np.zeros_like(mask)
            beside[last : last + 1 + UNDER] = mask[last]
            if i in _stood_on(play.scene) or not (beside & others[t]).any():
                gaps.append(_stands_at(play, i, float(times[t]), column, (height, width)) - row)
    gap = scale * float(np.median(gaps)) if gaps else None
    return Rest(scale * middle, scale * bottom, gap)


def measure_support(
    scene: Scene,
    masks: Float[ndarray, "o t h w"] | Bool[ndarray, "o t h w"],
    fps: float,
    *,
    camera_known: bool,
) -> Sequence[Rest | None]:
    """Return how each object of a scene rests; None if it never does so, or is not seen whole.

    `masks` tell which pixels of each frame are each object's, as shares or yes and no.
    `camera_known` says that the clip begins with the scene's own picture, so that its camera and
    all its numbers hold.

    Raises:
        RequestError: the camera moves, fps is not above 0, or there are not as many masks as
            objects.
    """
    if any(shot.camera.move != "static" for shot in scene.shots) or len(scene.shots) > 1:
        raise RequestError("rest is measured before one camera that is static, not this scene's")
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    if len(masks) != len(scene.objects):
        raise RequestError(f"masks of {len(masks)} objects; there must be {len(scene.objects)}")
    tracks = [track_masks(mask.astype(np.float32)) for mask in masks]
    tracked = np.stack([found.masks > 0.5 for found in tracks])
    wide = grown(tracked, 1)
    play, times = play_of(scene), np.arange(masks.shape[1]) / fps
    rests = []
    for i, found in enumerate(tracks):
        others = np.asarray(np.delete(wide, i, 0).any(0))
        rests.append(_rest(play, i, found, others, times, camera_known=camera_known))
    return tuple(rests)
