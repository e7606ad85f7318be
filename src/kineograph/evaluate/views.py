"""Where objects are in metres, from where their middle is seen in the picture of a still camera.

What looks like the middle of an object is not where its centre is projected to: the silhouette
of its shape tells the difference. An object moves at one depth before the camera: that of the
scene, or, of a clip with a camera that nobody knows, the depth at which it is as large as the
world's, before a camera that stands as the world's usually do.

Letters: t frames, n points of a shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.evaluate.tracking import Track
from kineograph.world.v2.camera import Pose, Rates, Stand, pose, track, unit
from kineograph.world.v2.parts import parts_of
from kineograph.world.v2.play import Piece, Play
from kineograph.world.v2.trace import KINDS, TUBE

Array = NDArray[np.float64]

USUAL_DISTANCE, USUAL_HEIGHT = 5.25, 1.95  # m: the middle of where cameras stand
YAWS = np.linspace(0, np.pi / 2, 7)[:-1]  # by which what stands may be turned
SIZED = 8  # frames that tell how large an object looks
WAYS = 48  # directions in which a silhouette is looked at
ROUNDS = 3  # of finding what is seen where


# --- silhouettes -------------------------------------------------------------------------
@cache
def _corners(kind: int) -> Array:
    """Return points `n 3` of a primitive's surface that its convex hull needs, in unit space."""
    name = KINDS[kind]
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    c, s, one = np.cos(turn), np.sin(turn), np.ones(36)
    if name == "ball":
        up = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 17))[:, None]
        flat = np.sqrt(1 - up * up)
        return np.stack([flat * c, up * one, flat * s], -1).reshape(-1, 3)
    if name in ("cylinder", "cone"):
        top = np.stack([c, one, s], -1) if name == "cylinder" else np.array([[0.0, 1.0, 0.0]])
        return np.concatenate([np.stack([c, -one, s], -1), top])
    if name == "torus":
        out, deep = 1 - TUBE + TUBE * c[::3, None], TUBE * s[::3, None]
        return np.stack([out * c, out * s, deep * one], -1).reshape(-1, 3)
    box = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    if name == "pyramid":
        box[box[:, 1] > 0] *= (0, 1, 0)
    return box


def body_of(shape: str) -> Array:
    """Return points `n 3` of a shape's surface that its silhouette needs, in its radius."""
    parts = parts_of(shape)
    return np.concatenate([_corners(p.kind) * np.array(p.half) + np.array(p.offset) for p in parts])


def silhouette(points: Float[ndarray, "t n 2"]) -> tuple[Array, Array]:
    """Return the middle `t 2` and the area `t` of the convex hulls of some points."""
    turn = np.linspace(0, 2 * np.pi, WAYS, endpoint=False)
    ways = np.stack([np.cos(turn), np.sin(turn)])
    far = (points @ ways).argmax(1)
    a = np.take_along_axis(points, far[..., None], 1)
    b = np.roll(a, -1, 1)
    origin = a.mean(1, keepdims=True)
    a, b = a - origin, b - origin
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    middle = ((a + b) * cross[..., None]).sum(1) / (3 * cross.sum(1))[:, None]
    return origin[:, 0] + middle, cross.sum(1) / 2


# --- views -------------------------------------------------------------------------------
@dataclass(frozen=True)
class View:
    """A camera that stands, and an object that stays at one depth before it."""

    camera: Pose
    height: int
    width: int
    depth: float  # z of the object's centre, m
    body: Array  # n 3, points of its surface, from its centre (m)

    def project(self, points: Array) -> Array:
        """Return the column and row `... 2` of points `... 3`."""
        way = points - self.camera.position[0]
        focal = self.camera.focal[0] / unit(self.height, self.width)
        scale = focal / (way @ self.camera.forward[0])
        column = self.width / 2 + way @ self.camera.right[0] * scale
        row = self.height / 2 - way @ self.camera.up[0] * scale
        return np.stack([column, row], -1)

    def on_plane(self, columns: Array, rows: Array) -> Array:
        """Return the points `t 3` at the object's depth that pixels show."""
        share = unit(self.height, self.width) / self.camera.focal[0]
        c = self.camera
        way = (
            c.forward[0]
            + (columns - self.width / 2)[:, None] * share * c.right[0]
            + (self.height / 2 - rows)[:, None] * share * c.up[0]
        )
        return c.position[0] + way * ((self.depth - c.position[0, 2]) / way[:, 2])[:, None]

    def seen(self, places: Array) -> tuple[Array, Array]:
        """Return the middle `t 2` and area `t` in pixels of the object at places `t 3`."""
        middle, area = silhouette(self.project(places[:, None] + self.body))
        return middle, np.abs(area)

    def places(self, columns: Array, rows: Array) -> Array:
        """Return where the object's centre is, `t 3`, whose silhouette's middle pixels show."""
        shown = self.on_plane(columns, rows)
        found = shown
        for _ in range(ROUNDS):
            found = found + shown - self.on_plane(*self.seen(found)[0].T)
        return found


def _turned(yaw: float) -> Array:
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def known_view(play: Play, piece: Piece, height: int, width: int) -> View:
    """Return how the scene's own camera, which stands, sees a piece."""
    start = np.zeros(1)
    body = body_of(piece.shape) * piece.radius @ piece.rotation(start)[0].T
    depth = float(piece.position(start)[0, 2])
    return View(track(play.scene, start), height, width, depth, body)


def guessed_view(play: Play, piece: Piece, found: Track) -> View:
    """Return how a camera that stands as usual sees a piece that looks as large as in a track."""
    height, width = found.masks.shape[1:]
    tall = any(o.motion in ("pendulum", "float", "fall", "throw") for o in play.scene.objects)
    stand = Stand(USUAL_DISTANCE, USUAL_HEIGHT, 0.0, (0.0, 0.95 if tall else 0.72, 0.0))
    camera = pose(np.zeros(1), play.scene.seconds, stand, Rates(), "")
    body = body_of(piece.shape) * piece.radius
    hole = (1 - 2 * TUBE) ** 2 if piece.shape == "ring" else 0.0
    view = View(camera, height, width, 0.0, body)
    whole = np.flatnonzero(found.whole)
    some = whole[np.linspace(0, len(whole) - 1, SIZED).round().astype(int)]
    columns, rows, areas = found.columns[some], found.rows[some], found.areas[some]
    for _ in range(ROUNDS):
        where = view.on_plane(columns, rows)
        sizes = [replace(view, body=body @ _turned(yaw).T).seen(where)[1] for yaw in YAWS]
        nearer = math.sqrt(float(np.median(np.mean(sizes, 0) * (1 - hole) / areas)))
        away = (view.depth - camera.position[0, 2]) * nearer
        view = replace(view, depth=float(camera.position[0, 2] + away))
    return view
