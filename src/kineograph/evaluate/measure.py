"""Physics read from a track in closed form: the g of a fall and the restitution of its bounce.

A track is an object's height over time. Between contacts a falling body follows parabolas of
one curvature, so that one linear fit of two of them, for each candidate instant of the contact
between, gives g, both speeds and the restitution. Nothing here has seen a model or a judge.

A generated clip says nothing of where its camera stands, and metres are taken from the middle
of the world's static cameras. Those, and the objects before them, are not all equally far, so
that the scale of one clip, and with it its g, is uncertain by the spread that `nominal_view`
returns. Restitution is a ratio of speeds and does not depend on the scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from kineograph.world.camera import HALF_FOV, camera_track
from kineograph.world.physics import simulate
from kineograph.world.scene import Camera, Scene, SceneObject

TARGET_HEIGHT = 0.78  # m, of the point that the camera looks at
VIEWS = 400  # scenes that the middle of the world's cameras is taken over
TIME_STEP = 0.002  # s, between candidate instants of the contact
MIN_FRAMES = 3  # that a parabola needs on each side
MIN_DROP = 0.4  # m; less is no fall
MAX_MISFIT = 0.08  # m, root mean square; a track further from two parabolas is no bounce


@dataclass(frozen=True)
class Bounce:
    """The first bounce of a fall: g (m/s^2), restitution, instant of contact (s), misfit (m)."""

    gravity: float
    restitution: float
    contact: float
    misfit: float


@dataclass(frozen=True)
class View:
    """A static camera and the plane, facing it, in which an object falls; metres."""

    distance: float
    height: float
    depth: float  # of the plane, from the middle of the stage towards the camera

    def heights(self, rows: Float[ndarray, " t"], side: int) -> Float[ndarray, " t"]:
        """Return the heights above the floor (m) of rows of a square picture."""
        pitch = -math.atan2(self.height - TARGET_HEIGHT, self.distance)
        slope = (side / 2 - rows) * (2 * HALF_FOV / side)
        reach = (self.distance - self.depth) / (math.cos(pitch) - slope * math.sin(pitch))
        metres: Float[ndarray, " t"] = self.height + reach * (
            math.sin(pitch) + slope * math.cos(pitch)
        )
        return metres


def true_view(scene: Scene) -> View:
    """Return the view that a scene's static camera has of its only object."""
    times = np.zeros(1)
    x, y, z = camera_track(scene, times).position[0]
    depth = simulate(scene, times)[0].position[0]
    # along the line of sight: the camera may stand a little to the side
    azimuth = math.atan2(x, z)
    towards = float(depth[0] * math.sin(azimuth) + depth[2] * math.cos(azimuth))
    return View(math.hypot(x, z), float(y), towards)


@cache
def nominal_view() -> tuple[View, float]:
    """Return the middle of the world's views of a fall, and the spread of their scale.

    The spread is the standard deviation of the distance from camera to object over its mean.
    """
    ball = SceneObject("ball", "red", "matte", "medium", "fall")
    views = [
        true_view(Scene(seed, (ball,), "plain", "noon", Camera("static"))) for seed in range(VIEWS)
    ]
    numbers = np.array([[v.distance, v.height, v.depth] for v in views])
    reach = numbers[:, 0] - numbers[:, 2]
    distance, height, depth = numbers.mean(0).tolist()
    return View(distance, height, depth), float(reach.std() / reach.mean())


def fit_bounce(heights: Float[ndarray, " t"], fps: float) -> Bounce | None:
    """Fit the first fall and the flight after it; None where the track is no bounce.

    The track ends where it is first not a number.
    """
    lost = np.flatnonzero(~np.isfinite(heights))
    heights = heights[: lost[0]] if len(lost) else heights
    times = np.arange(len(heights)) / fps
    first = _lowest(heights, 2)
    if first is None or heights[0] - heights[first] < MIN_DROP:
        return None
    second = _lowest(heights, first + 2)
    end = len(heights) if second is None else second
    best: Bounce | None = None
    low, high = times[first] - 1 / fps, times[first] + 1 / fps
    for contact in np.arange(low, high, TIME_STEP):
        found = _fit_at(times[:end], heights[:end], float(contact))
        if found is not None and (best is None or found.misfit < best.misfit):
            best = found
    return best if best is not None and best.misfit <= MAX_MISFIT else None


def _lowest(heights: Float[ndarray, " t"], start: int) -> int | None:
    """Return the first frame from `start` on below its neighbours and in the lower half."""
    if len(heights) <= start:
        return None
    middle = (heights.min() + heights.max()) / 2
    for k in range(max(start, 1), len(heights) - 1):
        if heights[k] <= heights[k - 1] and heights[k] < heights[k + 1] and heights[k] < middle:
            return k
    return None


def _fit_at(
    times: Float[ndarray, " t"], heights: Float[ndarray, " t"], contact: float
) -> Bounce | None:
    """Fit height and both speeds at a given instant of contact, and the g of both flights."""
    s = times - contact
    before, after = s <= 0, s > 0
    if before.sum() < MIN_FRAMES or after.sum() < MIN_FRAMES:
        return None
    terms = np.stack([np.ones_like(s), s * before, s * after, -s * s / 2], 1)
    solution = np.linalg.lstsq(terms, heights, rcond=None)[0]
    _, down, up, gravity = solution.tolist()
    if gravity <= 0 or down >= 0 or up <= 0:
        return None
    misfit = float(np.sqrt(np.mean((terms @ solution - heights) ** 2)))
    return Bounce(gravity, -up / down, contact, misfit)


def quantiles(values: Sequence[float]) -> tuple[float, float] | None:
    """Return median and 90th percentile; None of nothing."""
    if not values:
        return None
    return float(np.median(values)), float(np.quantile(values, 0.9))


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's method; (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, weight = right / n, z * z / n
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)
