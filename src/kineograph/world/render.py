"""Analytic ray casting of scenes: from records to frames, eager or under `torch.compile`.

Letters: f frames (clips x times), n objects. `pack` turns scenes into numbers, one row a frame;
`shade.shade` computes one sample of every pixel; a frame is the mean of four.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kineograph.world.camera import HALF_FOV, camera_track
from kineograph.world.physics import scene_random, simulate
from kineograph.world.scene import FLOORS, MATERIALS, SHAPES, Scene
from kineograph.world.shade import shade

COLOUR_RGB = {
    "red": (0.88, 0.07, 0.06),
    "orange": (1.0, 0.47, 0.03),
    "yellow": (1.0, 0.88, 0.06),
    "green": (0.07, 0.66, 0.13),
    "cyan": (0.05, 0.80, 0.85),
    "blue": (0.09, 0.20, 0.92),
    "purple": (0.47, 0.09, 0.74),
    "pink": (1.0, 0.45, 0.70),
    "white": (0.96, 0.96, 0.96),
    "black": (0.05, 0.05, 0.06),
}
# Two tints a floor pattern mixes.
FLOOR_RGB = {
    "checkered": ((0.26, 0.26, 0.28), (0.82, 0.82, 0.80)),
    "tiled": ((0.70, 0.72, 0.74), (0.38, 0.42, 0.46)),
    "wooden": ((0.60, 0.40, 0.24), (0.40, 0.25, 0.14)),
    "grassy": ((0.30, 0.46, 0.20), (0.18, 0.32, 0.12)),
    "sandy": ((0.82, 0.71, 0.50), (0.66, 0.54, 0.36)),
    "plain": ((0.60, 0.59, 0.58), (0.60, 0.59, 0.58)),
}


@dataclass(frozen=True)
class SkyLight:
    """Colours of one time of day, and where its light comes from."""

    horizon: tuple[float, float, float]
    zenith: tuple[float, float, float]
    light: tuple[float, float, float]
    hills: tuple[float, float, float]
    sun: tuple[float, float, float]  # direction to the light, not normalised


SKY_LIGHT = {
    "dawn": SkyLight(
        (0.98, 0.80, 0.76), (0.56, 0.66, 0.86), (0.92, 0.86, 0.94), (0.52, 0.46, 0.56),
        (-0.75, 0.55, 0.45),
    ),
    "noon": SkyLight(
        (0.80, 0.90, 1.00), (0.35, 0.60, 0.95), (1.0, 1.0, 1.0), (0.42, 0.55, 0.56),
        (0.35, 0.90, 0.40),
    ),
    "sunset": SkyLight(
        (1.00, 0.60, 0.30), (0.46, 0.30, 0.50), (1.0, 0.82, 0.66), (0.42, 0.22, 0.26),
        (0.80, 0.48, 0.42),
    ),
    "night": SkyLight(
        (0.15, 0.17, 0.31), (0.02, 0.03, 0.09), (0.48, 0.53, 0.70), (0.05, 0.06, 0.12),
        (0.30, 0.85, 0.45),
    ),
}  # fmt: skip

CPU = torch.device("cpu")
# How many samples are shaded at once: what a core's cache holds, what fills a GPU.
CHUNK_SAMPLES = {"cpu": 1 << 19, "cuda": 1 << 24}

# Sub-pixel offsets of the four samples, and how far each tilts the sun: soft penumbrae for free.
SAMPLES = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
SUN_JITTER = ((-0.03, -0.03), (0.03, -0.03), (-0.03, 0.03), (0.03, 0.03))


@dataclass(frozen=True)
class FrameBatch:
    """Scenes as numbers, one row a frame; every tensor is float32."""

    centre: Float[Tensor, "f n 3"]
    matrix: Float[Tensor, "f n 9"]  # world from local, row by row
    shape: Float[Tensor, "f n 3"]  # kind, radius, material
    colour: Float[Tensor, "f n 6"]  # base, stripe
    camera: Float[Tensor, "f 12"]  # position, right, up, forward
    light: Float[Tensor, "f 18"]  # horizon, zenith, light, hills, sun, hill phases
    floor: Float[Tensor, "f 9"]  # kind, two tints, offset x and z

    def tensors(self) -> tuple[Tensor, ...]:
        return (
            self.centre, self.matrix, self.shape, self.colour, self.camera, self.light, self.floor,
        )  # fmt: skip


def _stripe(rgb: tuple[float, float, float]) -> tuple[float, ...]:
    dark = sum(rgb) < 0.6
    return tuple(c * 0.25 + 0.50 if dark else c * 0.42 for c in rgb)


def _rotation(roll: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return `t 9`: Rz(roll) @ Ry(yaw), row by row."""
    c, s, cy, sy = np.cos(roll), np.sin(roll), np.cos(yaw), np.sin(yaw)
    zero = np.zeros_like(c)
    return np.stack([c * cy, -s, c * sy, s * cy, c, s * sy, -sy, zero, cy], -1)


def pack(scenes: Sequence[Scene], times: np.ndarray) -> FrameBatch:
    """Turn scenes with the same number of objects into per-frame numbers."""
    rows: list[list[np.ndarray]] = []
    t = len(times)
    for scene in scenes:
        tracks, camera = simulate(scene, times), camera_track(scene, times)
        sky, rng = SKY_LIGHT[scene.sky], scene_random(scene, "look")
        n = len(tracks)
        shape, colour = np.zeros((t, n, 3)), np.zeros((t, n, 6))
        for i, (obj, track) in enumerate(zip(scene.objects, tracks, strict=True)):
            shape[:, i] = SHAPES.index(obj.shape), track.radius, MATERIALS.index(obj.material)
            rgb = COLOUR_RGB[obj.colour]
            colour[:, i] = (*rgb, *(_stripe(rgb) if obj.material == "striped" else rgb))
        sway = np.array([rng.uniform(-0.12, 0.12), 0.0, rng.uniform(-0.12, 0.12)])
        sun = np.array(sky.sun) + sway
        sun = sun / np.linalg.norm(sun)
        phases = [rng.uniform(0, 2 * math.pi) for _ in range(3)]
        light = np.array([*sky.horizon, *sky.zenith, *sky.light, *sky.hills, *sun, *phases])
        tints = FLOOR_RGB[scene.floor]
        offset = (rng.uniform(-1, 1), rng.uniform(-1, 1))
        floor = np.array([FLOORS.index(scene.floor), *tints[0], *tints[1], *offset])
        rows.append(
            [
                np.stack([k.position for k in tracks], 1),
                np.stack([_rotation(k.roll, k.yaw) for k in tracks], 1),
                shape,
                colour,
                np.concatenate([camera.position, camera.right, camera.up, camera.forward], -1),
                np.broadcast_to(light, (t, 18)),
                np.broadcast_to(floor, (t, 9)),
            ]
        )
    columns = [np.concatenate(c).astype(np.float32) for c in zip(*rows, strict=True)]
    return FrameBatch(*(torch.from_numpy(np.ascontiguousarray(c)) for c in columns))


@cache
def _kernel(compiled: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the shading kernel; the compiled one needs a C++ compiler (or a GPU)."""
    return torch.compile(shade, dynamic=True) if compiled else shade


def _screen(height: int, width: int, scale: int, dx: float, dy: float) -> tuple[Tensor, Tensor]:
    """Return screen coordinates `1 p` of one sample a pixel."""
    unit = 2 * HALF_FOV / (64 * scale)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    u = (x + dx - width / 2) * unit
    v = (height / 2 - y - dy) * unit
    return u.reshape(1, -1).float(), v.reshape(1, -1).float()


@torch.no_grad()
def render_frames(
    batch: FrameBatch, height: int, width: int, *, scale: int = 1, compiled: bool = False,
    device: torch.device = CPU, chunk_samples: int | None = None,
) -> tuple[UInt8[Tensor, "f h w 3"], UInt8[Tensor, "f h w"]]:  # fmt: skip
    """Render packed frames: uint8 colours, and the index of the object at each pixel's corner."""
    kernel = _kernel(compiled)
    frames = batch.centre.shape[0]
    step = max(1, (chunk_samples or CHUNK_SAMPLES[device.type]) // (height * width))
    colours, ids = [], []
    for first in range(0, frames, step):
        part = [a[first : first + step].to(device) for a in batch.tensors()]
        total = torch.zeros((), device=device)
        index = torch.zeros((), device=device)
        for (dx, dy), tilt in zip(SAMPLES, SUN_JITTER, strict=True):
            u, v = (a.to(device) for a in _screen(height, width, scale, dx, dy))
            colour, index = kernel(u, v, torch.tensor(tilt, device=device), *part)
            total = total + colour
        pixels = (total * (255 / len(SAMPLES)) + 0.5).to(torch.uint8)
        colours.append(pixels.unflatten(2, (height, width)).permute(0, 2, 3, 1))
        ids.append(index.to(torch.uint8).unflatten(1, (height, width)))
    return torch.cat(colours), torch.cat(ids)


def render(
    scenes: Sequence[Scene], times: np.ndarray, height: int, width: int, *, scale: int = 1,
    compiled: bool = False, device: torch.device = CPU,
) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
    """Render scenes of any numbers of objects at the given times (s), on a device.

    `height` and `width` are in output pixels, `scale` says how many of them make a base pixel.
    """
    t = len(times)
    video = torch.empty((len(scenes), t, height, width, 3), dtype=torch.uint8, device=device)
    ids = torch.empty((len(scenes), t, height, width), dtype=torch.uint8, device=device)
    for n in sorted({len(s.objects) for s in scenes}):
        where = [i for i, s in enumerate(scenes) if len(s.objects) == n]
        batch = pack([scenes[i] for i in where], times)
        colours, index = render_frames(
            batch, height, width, scale=scale, compiled=compiled, device=device
        )
        video[where] = colours.unflatten(0, (len(where), t))
        ids[where] = index.unflatten(0, (len(where), t))
    return video, ids
