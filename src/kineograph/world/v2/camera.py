"""The moving camera: six axes with numeric rates, the named moves, and projection.

A pose is a closed form of time. Rates are signed numbers in m/s, deg/s and 1/s; they are truth
for the judges and the numeric control of a model. Every move passes its middle at half time of
its shot, with the subject in view.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from kineograph.world.v2.ranges import SPREAD, number, paced
from kineograph.world.v2.scene import VERSION, Scene, Shot

Array = NDArray[np.float64]

HALF_FOV = math.tan(0.42)  # of the side of the square frame; wider frames see more
BASE_AREA_SIDE = 128  # pixels; the focal length is meant for frames of this area
SPEED_RATES = {
    "pan": (4.0, 7.0, 11.0),  # deg/s: slow, normal, fast
    "tilt": (2.6, 4.4, 7.0),  # deg/s
    "roll": (3.5, 6.5, 11.0),  # deg/s
    "horizontal": (0.28, 0.5, 0.85),  # m/s
    "vertical": (0.20, 0.36, 0.6),  # m/s
    "depth": (0.32, 0.58, 0.95),  # m/s
    "orbit": (6.0, 11.0, 18.0),  # deg/s
    "zoom": (0.06, 0.11, 0.17),  # 1/s, of the logarithm of the focal length
}
AXIS = {
    "pan": "pan", "tilt": "tilt", "roll": "roll", "truck": "horizontal", "crane": "vertical",
    "dolly": "depth", "orbit": "orbit", "zoom": "zoom",
}  # fmt: skip
POSITIVE = ("right", "up", "in")
SHAKE = (0.9 * (1 - SPREAD), 0.9 * (1 + SPREAD))  # deg, amplitude of a hand


@dataclass(frozen=True)
class Rates:
    """How fast a camera moves along each axis; what is 0 stands."""

    horizontal: float = 0.0  # m/s, to its right
    vertical: float = 0.0  # m/s, up
    depth: float = 0.0  # m/s, forward
    pan: float = 0.0  # deg/s, to the right
    tilt: float = 0.0  # deg/s, up
    roll: float = 0.0  # deg/s, clockwise as its viewer turns
    zoom: float = 0.0  # 1/s, inward
    orbit: float = 0.0  # deg/s, to the right around the subject
    shake: float = 0.0  # deg, of a hand that holds it

    def to_dict(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Pose:
    """Where a camera is and looks at every time."""

    position: Array  # t 3
    right: Array  # t 3
    up: Array  # t 3
    forward: Array  # t 3
    focal: Array  # t, tangent of half the side of the square frame, over the usual one


def rates_of(shot: Shot, rng: random.Random, numbers: str = "seen") -> Rates:
    """Return the rates of a named move, drawn where `numbers` says (see `ranges.py`)."""
    u = rng.random()
    kind, _, way = shot.camera.move.partition(" ")
    if kind == "static":
        return Rates()
    if kind == "handheld":
        return Rates(shake=number(u, SHAKE, numbers))
    axis = AXIS[kind]
    sign = 1.0 if way in POSITIVE else -1.0
    # A long shot must not leave its subject: what it covers is bounded.
    slowed = min(1.0, 4.5 / shot.seconds)
    return Rates(**{axis: sign * paced(u, SPEED_RATES[axis], shot.camera.speed, numbers, slowed)})


@dataclass(frozen=True)
class Stand:
    """Where a camera stands at half time of its shot."""

    distance: float  # m, from the subject
    height: float  # m
    azimuth: float  # rad
    target: tuple[float, float, float]


def _turned(axis: Array, v: Array, angle: Array) -> Array:
    """Turn vectors `t 3` about unit axes `t 3` by angles `t` (rad)."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = (axis * v).sum(1, keepdims=True)
    return np.asarray(v * c + np.cross(axis, v) * s + axis * along * (1 - c))


def pose(t: Array, seconds: float, stand: Stand, rates: Rates, seed: str) -> Pose:
    """Return the pose at times (s) since the shot began."""
    u = np.asarray(t, dtype=np.float64) - seconds / 2
    one = np.ones_like(u)
    angle = stand.azimuth + np.radians(rates.orbit) * u
    target = np.array(stand.target)
    around = np.stack([np.sin(angle), 0 * one, np.cos(angle)], -1)
    position = target * [1, 0, 1] + around * stand.distance + [0, stand.height, 0]
    forward = target - position
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    yaw = np.arctan2(forward[:, 0], -forward[:, 2]) + np.radians(rates.pan) * u
    pitch = np.arcsin(forward[:, 1]) + np.radians(rates.tilt) * u
    if rates.shake:
        rng = random.Random(f"kineograph hand {VERSION} {seed}")
        for k in range(4):
            sway = np.radians(rates.shake) / (k + 1)
            hz = rng.uniform(0.3, 0.5) * (1 + 0.7 * k)
            yaw = yaw + sway * np.sin(2 * math.pi * (hz * u + rng.random()))
            pitch = pitch + 0.7 * sway * np.sin(2 * math.pi * (hz * u + rng.random()))
    zero = 0 * one
    forward = np.stack(
        [np.cos(pitch) * np.sin(yaw), np.sin(pitch), -np.cos(pitch) * np.cos(yaw)], -1
    )
    right = np.stack([np.cos(yaw), zero, np.sin(yaw)], -1)
    # Moves go along the axes that the camera has at half time.
    middle = -around[len(u) // 2] if not rates.orbit else np.array([0.0, 0.0, -1.0])
    side = np.array([-middle[2], 0.0, middle[0]])
    way = (
        rates.horizontal * side + rates.depth * middle + rates.vertical * np.array([0.0, 1.0, 0.0])
    )
    position = position + u[:, None] * way
    up = np.cross(right, forward)
    bank = np.radians(rates.roll) * u
    right, up = _turned(forward, right, bank), _turned(forward, up, bank)
    return Pose(position, right, up, forward, np.exp(rates.zoom * u))


def stand_of(scene: Scene, k: int, rng: random.Random) -> Stand:
    """Return where the camera of shot k stands: farther for more objects, turned by the shot."""
    crowd = min(len(scene.objects), 8)
    distance = rng.uniform(5.0, 5.5) + 0.28 * max(0, crowd - 2)
    azimuth = rng.uniform(-0.12, 0.12)
    if k:
        azimuth += rng.choice((-1, 1)) * rng.uniform(0.35, 0.8)
        distance *= rng.choice((0.8, 1.0, 1.15))
    tall = any(o.motion in ("pendulum", "float", "fall", "throw") for o in scene.objects)
    look = 0.95 if tall else 0.72
    return Stand(distance, rng.uniform(1.7, 2.2) + 0.06 * crowd, azimuth, (0.0, look, 0.0))


def shots_of(scene: Scene) -> list[tuple[float, Shot, Stand, Rates]]:
    """Return for each shot: when it begins (s), itself, where its camera stands, its rates."""
    found, start = [], 0.0
    for k, shot in enumerate(scene.shots):
        rng = random.Random(f"kineograph world {VERSION} {scene.seed} camera {k}")
        found.append((start, shot, stand_of(scene, k, rng), rates_of(shot, rng, scene.numbers)))
        start += shot.seconds
    return found


def shot_at(scene: Scene, times: Array) -> NDArray[np.int64]:
    """Return the index of the shot at every time (s); a cut belongs to the later one."""
    ends = np.cumsum([shot.seconds for shot in scene.shots])
    # The last frame of a film lies on its end.
    return np.minimum(np.searchsorted(ends, np.asarray(times) + 1e-9, side="right"), len(ends) - 1)


def track(scene: Scene, times: Array, shots: NDArray[np.int64] | None = None) -> Pose:
    """Return the camera's pose at times (s) of a film; `shots` asks for others than those due."""
    t = np.asarray(times, dtype=np.float64)
    which = shot_at(scene, t) if shots is None else shots
    columns: dict[str, Array] = {f.name: np.zeros((len(t), 3)) for f in fields(Pose)}
    columns["focal"] = np.zeros(len(t))
    for k, (start, shot, stand, rates) in enumerate(shots_of(scene)):
        mine = which == k
        if mine.any():
            one = pose(t[mine] - start, shot.seconds, stand, rates, f"{scene.seed} {k}")
            for name, column in columns.items():
                column[mine] = getattr(one, name)
    return Pose(**columns)


def unit(height: int, width: int) -> float:
    """Return how much of the tangent of the view one pixel covers, at a focal length of 1."""
    return 2 * HALF_FOV / math.sqrt(height * width)


def project(camera: Pose, points: Array, height: int, width: int) -> Array:
    """Project points `t 3` to `t 3`: column and row in pixels, and pixels a metre.

    Points behind the camera get a scale of 0.
    """
    rel = points - camera.position
    depth = np.einsum("tc,tc->t", rel, camera.forward)
    scale = camera.focal / unit(height, width)
    ppm = np.where(depth > 0.1, scale / np.maximum(depth, 0.1), 0.0)
    col = width / 2 + np.einsum("tc,tc->t", rel, camera.right) * ppm
    row = height / 2 - np.einsum("tc,tc->t", rel, camera.up) * ppm
    return np.stack([col, row, ppm], -1)
