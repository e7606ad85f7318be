"""Rain and snow: particles at fixed places of the world that fall, drawn over rendered frames.

Where each one is follows from time in closed form, so that a moving camera sees them move as
it must, and a frame does not depend on those before it. Letters: n particles, f frames.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from kineograph.world.gbuffer import GBuffer
from kineograph.world.v2.camera import Pose, unit
from kineograph.world.v2.scene import VERSION, Scene

Array = NDArray[np.float64]

SIDE, TOP, BACK, FRONT = 5.0, 4.6, -4.5, 4.6  # m, the box that particles fall through
WINDOW = 3  # pixels of 128 x 128 around a particle that it may touch


@dataclass(frozen=True)
class Falling:
    """One kind of weather's particles."""

    number: int
    speed: tuple[float, float]  # m/s, slowest and fastest
    radius: float  # m
    sway: float  # m, to the sides
    beads: int  # discs along a streak
    length: float  # m, of a streak
    opacity: float
    tint: tuple[float, float, float]  # of what they show, display space


WEATHERS = {
    "snow": Falling(260, (0.55, 0.95), 0.026, 0.12, 1, 0.0, 0.85, (0.97, 0.98, 1.0)),
    "rain": Falling(260, (3.4, 4.2), 0.013, 0.0, 8, 0.34, 0.50, (0.84, 0.89, 0.96)),
}


def positions(scene: Scene, times: Array) -> Array:
    """Return where the particles of a scene are, `f n 3` (m)."""
    kind = WEATHERS[scene.weather]
    rng = random.Random(f"kineograph world {VERSION} {scene.seed} weather")
    draws = np.array([[rng.random() for _ in range(6)] for _ in range(kind.number)])
    t = np.asarray(times)[:, None]
    slow, fast = kind.speed
    y = (draws[:, 1] * TOP - t * (slow + (fast - slow) * draws[:, 3])) % TOP
    turn = 2 * math.pi * (draws[:, 4] + 0.35 * t)
    x = (2 * draws[:, 0] - 1) * SIDE + kind.sway * np.sin(turn)
    z = BACK + draws[:, 2] * (FRONT - BACK) + kind.sway * np.cos(turn + 6.0 * draws[:, 5])
    one = np.stack([x, y, z], -1)
    if kind.beads == 1:
        return one
    along = np.linspace(0, kind.length, kind.beads)
    up = np.stack([0 * along, along, 0 * along], -1)
    return (one[:, :, None] + up).reshape(len(times), -1, 3)


def fall(buffer: GBuffer, scene: Scene, times: Array, camera: Pose) -> GBuffer:
    """Draw the weather of a scene over frames at some times (s)."""
    if scene.weather not in WEATHERS:
        return buffer
    kind = WEATHERS[scene.weather]
    _, height, width = buffer.owner.shape
    device = buffer.colour.device
    rel = positions(scene, times) - camera.position[:, None]
    away = np.einsum("fnc,fc->fn", rel, camera.forward)
    front = away > 0.35
    ppm = camera.focal[:, None] / unit(height, width) / np.maximum(away, 0.35)
    column = width / 2 + np.einsum("fnc,fc->fn", rel, camera.right) * ppm
    row = height / 2 - np.einsum("fnc,fc->fn", rel, camera.up) * ppm
    grain = math.sqrt(height * width) / 128
    reach = math.ceil(WINDOW * grain)
    radius = np.minimum(kind.radius * ppm, 0.8 * reach)
    inside = front & (column > -reach) & (column < width + reach)
    inside &= (row > -reach) & (row < height + reach)
    frame, n = np.nonzero(inside)
    if not len(frame):
        return buffer

    def picked(a: Array) -> torch.Tensor:
        return torch.from_numpy(a[frame, n]).float().to(device)

    f = torch.from_numpy(frame).to(device)
    c, r, size, dist = picked(column), picked(row), picked(radius), picked(away)
    step = torch.arange(-reach, reach + 1, device=device)
    y = r.floor().long()[:, None, None] + step[:, None]
    x = c.floor().long()[:, None, None] + step
    y, x = torch.broadcast_tensors(y, x)
    gap = ((x + 0.5 - c[:, None, None]) ** 2 + (y + 0.5 - r[:, None, None]) ** 2).sqrt()
    # What is smaller than a pixel is as much fainter.
    least = 0.7 * grain
    faint = (size / least).clamp_max(1.0) ** 2 * kind.opacity
    soft = (size.clamp_min(least)[:, None, None] - gap + 0.5).clamp(0, 1) * faint[:, None, None]
    ok = (soft > 0) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    flat = (f[:, None, None] * height + y) * width + x
    flat, soft, near = flat[ok], soft[ok], dist[:, None, None].expand_as(gap)[ok]
    before = near < buffer.depth.flatten()[flat]
    clear = torch.zeros(buffer.depth.numel(), device=device)
    clear.index_add_(0, flat[before], torch.log1p(-soft[before].clamp_max(0.98)))
    share = (1 - torch.exp(clear)).view_as(buffer.depth)[..., None]
    # They take the brightness of what is around them: at night they are dark.
    light = buffer.colour.mean((1, 2, 3)).clamp(0.25, 0.62)[:, None, None, None] / 0.62
    tint = torch.tensor(kind.tint, device=device) * light
    return replace(buffer, colour=buffer.colour + (tint - buffer.colour) * share)
