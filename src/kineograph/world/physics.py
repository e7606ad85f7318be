"""Closed-form motion of every object of a scene: no time stepping, any instant addressable.

Units are SI. x points right as the viewer sees it, y up, z towards the viewer; the floor is
y = 0. The numbers that a scene record leaves open (where a ball starts, how high it falls from)
are drawn from a generator seeded by the scene, so that a scene has one and only one video.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kineograph.world.scene import ROLLERS, Scene, SceneObject

Array = NDArray[np.float64]

GRAVITY = 9.8  # m/s^2
DURATION = 2.4  # s, of the clip that motions are laid out for
RADIUS = {"small": 0.44, "medium": 0.58, "large": 0.76}  # m; small spans 12 base pixels
# Bounce: the material decides, so that a model can learn the law from what it sees.
RESTITUTION = {"matte": 0.75, "striped": 0.65, "metal": 0.5}
COLLISION_RESTITUTION = 0.7
MOVE_SPEED = {"slow": 0.45, "normal": 0.8, "fast": 1.3}  # m/s, mean over the clip
THROW_SPEED = {"slow": 0.4, "normal": 0.75, "fast": 1.2}  # m/s, horizontal
COLLIDE_SPEED = {"slow": 0.75, "normal": 1.15, "fast": 1.7}  # m/s before contact
SPIN_SPEED = {"slow": 60.0, "normal": 125.0, "fast": 210.0}  # deg/s
SLIDE_STOP_TIME = 4.0  # s until friction would stop a sliding object
# Shape constants, in units of the radius: half height when resting, half width along x.
HALF_HEIGHT = {"ball": 1.0, "cube": 0.82, "cylinder": 0.95, "cone": 0.95, "ring": 1.0}
HALF_WIDTH = {"ball": 1.0, "cube": 0.82, "cylinder": 0.72, "cone": 0.90, "ring": 1.0}
VOLUME = {
    "ball": 4 / 3 * math.pi,
    "cube": 8 * 0.82**3,
    "cylinder": 2 * math.pi * 0.72**2 * 0.95,
    "cone": math.pi * 0.90**2 * 1.9 / 3,
    "ring": 2 * math.pi * 0.30 * (1 - 0.55**2),
}  # in units of radius^3


@dataclass(frozen=True)
class Track:
    """Where one object is at every asked time."""

    radius: float
    position: Array  # t 3, centre
    roll: Array  # t, angle about z (rad)
    yaw: Array  # t, angle about y (rad)
    truth: dict[str, float | list[float]] = field(default_factory=dict)


def scene_random(scene: Scene, purpose: str) -> random.Random:
    """Return the generator of one purpose of one scene, the same on every machine."""
    return random.Random(f"kineograph world {scene.version} {scene.seed} {purpose}")


def bounce(t: Array, height: float, speed: float, restitution: float) -> tuple[Array, list[float]]:
    """Return the height above rest and the contact times of a bouncing body.

    `height` (m) above rest and upward `speed` (m/s) at t = 0; a geometric series of parabolas
    that ends when the rebound is slower than 0.25 m/s.
    """
    fall_time = (speed + math.sqrt(speed * speed + 2 * GRAVITY * height)) / GRAVITY
    y = np.where(t < fall_time, height + speed * t - 0.5 * GRAVITY * t * t, 0.0)
    contacts = [fall_time]
    start, up = fall_time, (GRAVITY * fall_time - speed) * restitution
    while up > 0.25:
        span = 2 * up / GRAVITY
        s = t - start
        y = np.where((s >= 0) & (s < span), up * s - 0.5 * GRAVITY * s * s, y)
        start += span
        contacts.append(start)
        up *= restitution
    return np.maximum(y, 0.0), contacts


def contact_distance(a: SceneObject, b: SceneObject) -> float:
    """Return the centre distance along x at which two resting objects touch (m)."""
    ra, rb = RADIUS[a.size], RADIUS[b.size]
    if a.shape in ROLLERS and b.shape in ROLLERS:
        return 2 * math.sqrt(ra * rb)
    if a.shape not in ROLLERS and b.shape not in ROLLERS:
        return HALF_WIDTH[a.shape] * ra + HALF_WIDTH[b.shape] * rb
    (disc, block) = (a, b) if a.shape in ROLLERS else (b, a)
    r, top = RADIUS[disc.size], 2 * HALF_HEIGHT[block.shape] * RADIUS[block.size]
    reach = r if top >= r else math.sqrt(r * r - (r - top) ** 2)
    return HALF_WIDTH[block.shape] * RADIUS[block.size] + reach


def mass(obj: SceneObject) -> float:
    """Return the mass of an object at unit density (kg)."""
    return VOLUME[obj.shape] * RADIUS[obj.size] ** 3


def _lanes(scene: Scene, rng: random.Random) -> list[tuple[float, float]]:
    """Return a home (x, z) for every object, spread so that they rarely hide each other."""
    n = len(scene.objects)
    wide = 1.0 if scene.aspect_ratio in ("1:1", "16:9", "4:3", "21:9") else 0.72
    if n == 1:
        return [(rng.uniform(-0.3, 0.3) * wide, rng.uniform(-0.3, 0.4))]
    xs = [-1.0, 1.0] if n == 2 else [-1.45, 0.0, 1.45]
    zs = [0.75, -0.7] if n == 2 else [0.9, -1.0, 0.1]
    rng.shuffle(xs)
    rng.shuffle(zs)
    jitter = rng.uniform
    return [
        ((x + jitter(-0.2, 0.2)) * wide, z + jitter(-0.15, 0.15))
        for x, z in zip(xs, zs, strict=True)
    ]


def _single(obj: SceneObject, home: tuple[float, float], t: Array, rng: random.Random) -> Track:
    """Return the track of an object that touches no other."""
    r, (x0, z0) = RADIUS[obj.size], home
    sign = -1.0 if obj.direction == "left" else 1.0
    x, y = np.full_like(t, x0), np.zeros_like(t)
    yaw = np.full_like(t, rng.uniform(-0.3, 0.3) if obj.shape == "ring" else rng.uniform(0, 1.57))
    truth: dict[str, float | list[float]] = {}
    wobble = rng.uniform(0.92, 1.08)
    if obj.motion == "fall":
        height, e = rng.uniform(1.15, 1.75), RESTITUTION[obj.material]
        y, contacts = bounce(t, height, 0.0, e)
        truth = {"drop_height": height, "restitution": e, "contacts": contacts}
    elif obj.motion in ("roll", "slide", "throw"):
        table = THROW_SPEED if obj.motion == "throw" else MOVE_SPEED
        speed = table[str(obj.speed)] * wobble
        path = speed * t
        if obj.motion == "slide":
            mean = DURATION - DURATION**2 / (2 * SLIDE_STOP_TIME)
            path = speed * DURATION / mean * (t - t * t / (2 * SLIDE_STOP_TIME))
        # Cross the middle of the clip close to home, so that the motion is seen.
        x = 0.35 * x0 + sign * (path - speed * DURATION / 2)
        truth = {"speed": sign * speed}
        if obj.motion == "throw":
            up, e = rng.uniform(3.7, 4.7), RESTITUTION[obj.material]
            y, contacts = bounce(t, 0.0, up, e)
            truth |= {"restitution": e, "contacts": contacts}
    elif obj.motion == "spin":
        rate = math.radians(SPIN_SPEED[str(obj.speed)]) * wobble
        yaw = yaw + rate * t
        truth = {"spin": math.degrees(rate)}
    rolls = obj.shape in ROLLERS and obj.motion in ("roll", "throw")
    roll = -(x - x[0]) / r if rolls else np.zeros_like(t)
    if rolls and obj.shape == "ring":
        yaw = np.zeros_like(t)
    position = np.stack([x, y + HALF_HEIGHT[obj.shape] * r, np.full_like(t, z0)], -1)
    return Track(r, position, roll, yaw, truth)


def _collision(
    a: SceneObject, b: SceneObject, z: float, t: Array, rng: random.Random
) -> list[Track]:
    """Return the tracks of `a` that runs into the standing `b`, head on along x."""
    sign = -1.0 if a.direction == "left" else 1.0
    speed = COLLIDE_SPEED[str(a.speed)] * rng.uniform(0.92, 1.08)
    when = rng.uniform(0.75, 1.05)
    gap, e = contact_distance(a, b), COLLISION_RESTITUTION
    ma, mb = mass(a), mass(b)
    va = speed * (ma - e * mb) / (ma + mb)
    vb = speed * ma * (1 + e) / (ma + mb)
    meet = rng.uniform(-0.15, 0.15)  # x of the point of contact
    xa = meet - sign * gap / 2 + sign * np.where(t < when, speed * (t - when), va * (t - when))
    xb = meet + sign * gap / 2 + sign * np.where(t < when, 0.0, vb * (t - when))
    tracks = []
    for obj, x, v in ((a, xa, va), (b, xb, vb)):
        r = RADIUS[obj.size]
        roll = -(x - x[0]) / r if obj.shape in ROLLERS else np.zeros_like(t)
        yaw = np.zeros_like(t)
        y = np.full_like(t, HALF_HEIGHT[obj.shape] * r)
        position = np.stack([x, y, np.full_like(t, z)], -1)
        truth: dict[str, float | list[float]] = {
            "speed_before": sign * speed if obj is a else 0.0,
            "speed_after": sign * v,
            "mass": mass(obj),
            "contacts": [when],
            "restitution": e,
        }
        tracks.append(Track(r, position, roll, yaw, truth))
    return tracks


def simulate(scene: Scene, times: Array) -> list[Track]:
    """Return one `Track` per object of the scene at the given times (s)."""
    rng = scene_random(scene, "physics")
    homes = _lanes(scene, rng)
    t = np.asarray(times, dtype=np.float64)
    tracks: list[Track | None] = [None] * len(scene.objects)
    runner = next((i for i, o in enumerate(scene.objects) if o.motion == "collide"), None)
    if runner is not None:
        struck = next(i for i, o in enumerate(scene.objects) if o.struck)
        pair = _collision(scene.objects[runner], scene.objects[struck], homes[runner][1], t, rng)
        tracks[runner], tracks[struck] = pair
    for i, obj in enumerate(scene.objects):
        if tracks[i] is None:
            tracks[i] = _single(obj, homes[i], t, rng)
    return [track for track in tracks if track is not None]
