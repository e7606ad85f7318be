"""Where an object is, by the outline of its shape laid on the pixels that are its own.

The middle of a mask moves with every hole that a judge leaves in it; an outline is held by its
edges alone. It is that of a convex shape of known size, moved in the picture until it differs
least, in squares, from the mask. How much larger or smaller than usual the mask is says how far
to trust it.

Letters: t frames, h height, w width, n points, k edges.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.evaluate.tracking import Track
from kineograph.evaluate.views import View

Array = NDArray[np.float64]

WAYS = 96  # directions in which an outline is looked at
SOFT = 1.0  # pixels, on either side of an outline, over which masks fade
MARGIN = 3  # pixels around an outline, that are looked at
ROUNDS = 4  # of moving it
FAR = 2.0  # pixels, by which it is moved in a round at most
ENOUGH = 0.005  # pixels, of a round that is the last
SWAY = 0.25  # of its radius, by which an object is misplaced when its mask is twice as large
NOISE = 0.004  # m: a tenth of a pixel where the world's cameras stand
STEP = 0.02  # m, half a pixel: frames between which it goes less far are wrong in the same way
SAME = 0.05  # of a frame: what one counts for at least, where nothing moves
BESIDE = 2  # frames on either side, that tell how far it goes


def edges(points: Float[ndarray, "n 2"]) -> tuple[Float[ndarray, "k 2"], Float[ndarray, " k"]]:
    """Return the edges of the convex hull of points: normals outward, and how far out they lie."""
    turn = np.linspace(0, 2 * np.pi, WAYS, endpoint=False)
    far = (points @ np.stack([np.cos(turn), np.sin(turn)])).argmax(0)
    corners = points[far[far != np.roll(far, 1)]]
    along = np.roll(corners, -1, 0) - corners
    normals = np.stack([along[:, 1], -along[:, 0]], 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals, (normals * corners).sum(1)


def _shift(points: Float[ndarray, "n 2"], mask: Float[ndarray, "h w"]) -> Array:
    """Return by how many columns and rows the outline of points is to be moved onto a mask."""
    low = np.maximum(np.floor(points.min(0)).astype(int) - MARGIN, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + MARGIN, mask.shape[::-1])
    if (high <= low).any():
        return np.zeros(2)
    x, y = np.meshgrid(*(np.arange(a, b) + 0.5 for a, b in zip(low, high, strict=True)))
    normals, out = edges(points)
    away = x[..., None] * normals[:, 0] + y[..., None] * normals[:, 1] - out
    nearest = away.argmax(-1)
    away = np.take_along_axis(away, nearest[..., None], -1)[..., 0]
    misses = mask[low[1] : high[1], low[0] : high[0]] - np.clip(0.5 - away / (2 * SOFT), 0, 1)
    near = np.abs(away) < SOFT
    slope = normals[nearest[near]] / (2 * SOFT)
    found = np.linalg.solve(slope.T @ slope + 1e-6 * np.eye(2), slope.T @ misses[near])
    return np.clip(found, -FAR, FAR)


def _fresh(places: Float[ndarray, "t 3"]) -> Float[ndarray, " t"]:
    """Return what each frame adds to those before it, as a share of a frame."""
    last = len(places) - 1
    k = np.arange(len(places))
    low, high = np.maximum(k - BESIDE, 0), np.minimum(k + BESIDE, last)
    way = np.linalg.norm(places[high] - places[low], axis=1) / np.maximum(high - low, 1)
    return np.clip(way / STEP, SAME, 1.0)


def lay(view: View, found: Track) -> tuple[Float[ndarray, "t 3"], Float[ndarray, " t"]]:
    """Return where the centre of a convex object is (m), and from 0 to 1 how sure that is.

    NaN and 0 in frames in which not all of it is seen. What is less sure is off by more, by one
    over it.
    """
    places, sure = np.full((len(found), 3), np.nan), np.zeros(len(found))
    whole = np.flatnonzero(found.whole)
    if not len(whole):
        return places, sure
    places[whole] = view.places(found.columns[whole], found.rows[whole])
    for t in whole:
        for _ in range(ROUNDS):
            shift = _shift(view.project(places[t] + view.body), found.masks[t])
            column, row = view.project(places[t]) + shift
            places[t] = view.on_plane(np.array([column]), np.array([row]))[0]
            if np.abs(shift).max() < ENOUGH:
                break
    larger = found.areas[whole] / view.seen(places[whole])[1]
    off = larger / np.median(larger) - 1
    radius = float(np.abs(view.body).max())
    sure[whole] = np.sqrt(_fresh(places[whole])) / np.hypot(1, SWAY * radius * off / NOISE)
    return places, sure
