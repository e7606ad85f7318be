"""The moving camera: poses in closed form, and the projection of points onto the screen.

Rates are numbers in deg/s and m/s; they are truth for the judges and, later, control.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kineograph.world.physics import DURATION, scene_random
from kineograph.world.scene import Scene

Array = NDArray[np.float64]

HALF_FOV = math.tan(0.42)  # of 64 base pixels; wider frames see more
RATES = {
    "pan": {"slow": 6.0, "normal": 10.0, "fast": 15.0},  # deg/s
    "tilt": {"slow": 4.5, "normal": 7.0, "fast": 10.5},  # deg/s
    "dolly": {"slow": 0.55, "normal": 0.95, "fast": 1.45},  # m/s
    "truck": {"slow": 0.5, "normal": 0.85, "fast": 1.3},  # m/s
    "orbit": {"slow": 9.0, "normal": 15.0, "fast": 23.0},  # deg/s
}
# Signs: pan right and tilt up turn the view; truck right moves the camera right; dolly in moves
# it forward; orbit right carries it to the right around the subject.
POSITIVE = ("right", "up", "in")


@dataclass(frozen=True)
class CameraTrack:
    """Camera pose at every asked time, with the rate that was asked for."""

    position: Array  # t 3
    right: Array  # t 3
    up: Array  # t 3
    forward: Array  # t 3
    rate: float  # signed; deg/s for pan, tilt and orbit, m/s for dolly and truck; 0 when static


def _unit(v: Array) -> Array:
    return np.asarray(v / np.linalg.norm(v, axis=-1, keepdims=True))


def camera_track(scene: Scene, times: Array) -> CameraTrack:
    """Return the camera's pose at the given times (s)."""
    rng = scene_random(scene, "camera")
    t = np.asarray(times, dtype=np.float64)
    distance, height = rng.uniform(4.8, 5.3), rng.uniform(1.5, 1.9)
    azimuth = rng.uniform(-0.12, 0.12)
    kind, _, way = scene.camera.move.partition(" ")
    rate = 0.0
    if kind != "static":
        sign = 1.0 if way in POSITIVE else -1.0
        rate = sign * RATES[kind][str(scene.camera.speed)] * rng.uniform(0.92, 1.08)
    u = t - DURATION / 2  # every move passes its middle at half time, with the subject in view
    zero, one = np.zeros_like(t), np.ones_like(t)
    angle = azimuth + (np.radians(rate) * u if kind == "orbit" else zero)
    dist = distance - (rate * u if kind == "dolly" else zero)
    target = np.stack([zero, 0.78 * one, zero], -1)
    position = np.stack([dist * np.sin(angle), height * one, dist * np.cos(angle)], -1)
    forward = _unit(target - position)
    if kind == "truck":
        side = np.array([math.cos(azimuth), 0.0, -math.sin(azimuth)])
        position = position + side * (rate * u)[:, None]
    yaw = np.arctan2(forward[:, 0], -forward[:, 2])
    pitch = np.arcsin(forward[:, 1])
    if kind == "pan":
        yaw = yaw + np.radians(rate) * u
    if kind == "tilt":
        pitch = pitch + np.radians(rate) * u
    if kind == "dolly":  # keep the pitch of half time: a dolly moves, it does not tilt
        pitch = np.full_like(t, math.asin((0.78 - height) / math.hypot(distance, 0.78 - height)))
    forward = np.stack(
        [np.cos(pitch) * np.sin(yaw), np.sin(pitch), -np.cos(pitch) * np.cos(yaw)], -1
    )
    right = np.stack([np.cos(yaw), zero, np.sin(yaw)], -1)
    return CameraTrack(position, right, np.cross(right, forward), forward, rate)


def focal_length(scale: int) -> float:
    """Return the focal length in pixels; `scale` = 1 for the base size, 4 for its x4 enlargement.

    64 base pixels span 2 * HALF_FOV at every aspect ratio: wider frames see more.
    """
    return 64 * scale / (2 * HALF_FOV)


def project(camera: CameraTrack, points: Array, height: int, width: int, scale: int = 1) -> Array:
    """Project world points `t 3` to `t 3`: column and row in pixels, and pixels per metre.

    Points behind the camera get a scale of 0.
    """
    rel = points - camera.position
    depth = np.einsum("tc,tc->t", rel, camera.forward)
    ppm = np.where(depth > 0.1, focal_length(scale) / np.maximum(depth, 0.1), 0.0)
    col = width / 2 + np.einsum("tc,tc->t", rel, camera.right) * ppm
    row = height / 2 - np.einsum("tc,tc->t", rel, camera.up) * ppm
    return np.stack([col, row, ppm], -1)
