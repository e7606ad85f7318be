"""Scenes as numbers: the primitives of every frame, its camera, its light.

Letters: f frames, k primitives of a frame (padded), n rows of attributes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from kineograph.world.motions import ease
from kineograph.world.v2 import look
from kineograph.world.v2.camera import Pose, track
from kineograph.world.v2.parts import parts_of
from kineograph.world.v2.play import Piece, Play
from kineograph.world.v2.scene import FLOORS, MATERIALS, VERSION, Scene

Array = NDArray[np.float64]

# Attributes of a primitive: its matrix, centre, colour, second colour, material, object.
MATRIX, CENTRE, COLOUR, SECOND, MATERIAL, OWNER = 0, 9, 12, 15, 18, 19
ATTRIBUTES = 20


@dataclass(frozen=True)
class Frames:
    """Frames of any scenes, ready to be cast; float32 and int64."""

    parts: Float[Tensor, "f k 20"]
    kind: Int[Tensor, "f k"]  # of KINDS; -1 where a frame has fewer primitives
    bound: Float[Tensor, "f k"]  # m, radius of a ball around each
    soft: Float[Tensor, "f k"]  # m, radius of the ball that darkens what is near
    camera: Float[Tensor, "f 13"]  # position, right, up, forward, focal length over the usual
    light: Float[Tensor, "f 37"]  # columns of `look`
    floor: Int[Tensor, "f"]  # of FLOORS

    def __len__(self) -> int:
        return len(self.kind)

    def select(self, which: slice, device: torch.device) -> Frames:
        """Return some of the frames, on a device; copies, for which the compiler needs less."""
        some = (getattr(self, name)[which] for name in self.__annotations__)
        return Frames(*(a.to(device, copy=True) for a in some))


def _second(rgb: look.Rgb) -> look.Rgb:
    """Return the other colour of something striped: dark of what is bright, and the reverse."""
    r, g, b = rgb
    return (0.35, 0.35, 0.36) if max(rgb) < 0.1 else (r * 0.12, g * 0.12, b * 0.12)


def _colours(play: Play, i: int, t: Array) -> tuple[Array, Array]:
    """Return an object's two colours `t 3`, which may turn into others."""
    thing = play.scene.objects[i]
    first, second = (
        np.array(look.COLOUR_RGB[c]) for c in (thing.colour, thing.colour_to or thing.colour)
    )
    begin, end = play.changes.get(i, (0.0, 1.0))
    share = ease(t, begin, end)[:, None] if i in play.changes else np.zeros((len(t), 1))
    base = first + (second - first) * share
    darks = [
        np.array(_second(look.COLOUR_RGB[c]))
        for c in (thing.colour, thing.colour_to or thing.colour)
    ]
    return base, darks[0] + (darks[1] - darks[0]) * share


def _piece_rows(play: Play, piece: Piece, t: Array) -> tuple[Array, Array, list[int], Array]:
    """Return attributes `t k 20`, bounds `t k`, kinds and soft radii `t k` of a piece's parts."""
    thing = play.scene.objects[piece.thing]
    position, rotation = piece.position(t), piece.rotation(t)
    radius = piece.radius * piece.scale(t)
    base, second = _colours(play, piece.thing, t)
    rows, bounds, kinds, softs = [], [], [], []
    for part in parts_of(piece.shape):
        half = np.array(part.half) * np.array(piece.stretch)
        centre = (
            position + np.einsum("tij,j->ti", rotation, np.array(part.offset)) * radius[:, None]
        )
        # The unit space of a part is its object's, turned back and divided by half its extents.
        matrix = rotation.transpose(0, 2, 1) / (half[None, :, None] * radius[:, None, None])
        row = np.zeros((len(t), ATTRIBUTES))
        row[:, MATRIX:CENTRE] = matrix.reshape(-1, 9)
        row[:, CENTRE:COLOUR] = centre
        grey = piece.shade is not None
        row[:, COLOUR:SECOND] = piece.shade if grey else base * part.shade
        row[:, SECOND:MATERIAL] = piece.shade if grey else second * part.shade
        row[:, MATERIAL] = 0 if grey else MATERIALS.index(thing.material)
        row[:, OWNER] = piece.thing
        rows.append(row)
        bounds.append(part.bound * max(piece.stretch) * radius)
        kinds.append(part.kind)
        softs.append(np.cbrt(np.prod(half)) * radius)
    return np.stack(rows, 1), np.stack(bounds, 1), kinds, np.stack(softs, 1)


def _light(scene: Scene, t: Array) -> Array:
    """Return the numbers of light, air and floor of every frame."""
    rng = random.Random(f"kineograph world {VERSION} {scene.seed} look")
    day = look.DAYLIGHT[scene.sky]
    sight, left, white = look.WEATHER[scene.weather]
    sun = np.array(day.direction) + np.array(
        [rng.uniform(-0.12, 0.12), 0.0, rng.uniform(-0.12, 0.12)]
    )
    sun /= np.linalg.norm(sun)
    grey = np.full(3, float(np.mean(day.horizon)) * 0.5 + float(np.mean(day.zenith)) * 0.5)
    cloud = 1 - left
    horizon = np.array(day.horizon) * (1 - white) + grey * white
    zenith = np.array(day.zenith) * (1 - white) + grey * white * 0.9
    row = np.zeros(look.COLUMNS)
    row[look.HORIZON : look.HORIZON + 3] = horizon
    row[look.ZENITH : look.ZENITH + 3] = zenith
    row[look.SUN_LIGHT : look.SUN_LIGHT + 3] = np.array(day.sun) * left
    # Clouds take from the sun and give some of it back from all sides.
    row[look.AMBIENT : look.AMBIENT + 3] = np.array(day.ambient) + 0.35 * cloud * np.array(day.sun)
    hazed = 0.0 if scene.weather == "clear" else 1 - math.exp(-((16 / sight) ** 2))
    row[look.HILLS : look.HILLS + 3] = np.array(day.hills) * (1 - hazed) + horizon * hazed
    row[look.SUN : look.SUN + 3] = sun
    row[look.PHASES : look.PHASES + 3] = [rng.uniform(0, 2 * math.pi) for _ in range(3)]
    row[look.HAZE] = 1 / sight**2
    row[look.HAZE_TINT : look.HAZE_TINT + 3] = horizon
    row[look.STARS] = day.stars if scene.weather == "clear" else 0.0
    first, second = look.FLOOR_TINTS[scene.floor]
    row[look.TINT_A : look.TINT_A + 3], row[look.TINT_B : look.TINT_B + 3] = first, second
    row[look.OFFSET : look.OFFSET + 2] = rng.uniform(-1, 1), rng.uniform(-1, 1)
    row[look.WET] = 0.55 if scene.weather == "rain" else 0.0
    rows = np.repeat(row[None], len(t), 0)
    rows[:, look.TIME] = t
    return rows


def camera_row(pose: Pose) -> Array:
    """Return the numbers `t 13` of a camera's poses."""
    return np.concatenate(
        [pose.position, pose.right, pose.up, pose.forward, pose.focal[:, None]], 1
    )


def pack(
    plays: Sequence[Play], times: Sequence[Array], poses: Sequence[Pose] | None = None
) -> Frames:
    """Turn plays at their times (s) into numbers; `poses` replaces the cameras of the scenes."""
    columns: list[list[Array]] = [[] for _ in range(7)]
    for n, (play, t) in enumerate(zip(plays, times, strict=True)):
        found = [_piece_rows(play, piece, t) for piece in play.pieces]
        kinds = [k for _, _, some, _ in found for k in some]
        pose = track(play.scene, t) if poses is None else poses[n]
        for column, value in zip(
            columns,
            (
                np.concatenate([f[0] for f in found], 1),
                np.tile(np.array(kinds, dtype=np.float64), (len(t), 1)),
                np.concatenate([f[1] for f in found], 1),
                np.concatenate([f[3] for f in found], 1),
                camera_row(pose),
                _light(play.scene, t),
                np.full(len(t), float(FLOORS.index(play.scene.floor))),
            ),
            strict=True,
        ):
            column.append(value)
    widest = max(c.shape[1] for c in columns[1])

    def padded(parts: list[Array], fill: float) -> Array:
        grown = []
        for a in parts:
            more = [(0, 0), (0, widest - a.shape[1])] + [(0, 0)] * (a.ndim - 2)
            grown.append(np.pad(a, more, constant_values=fill))
        return np.concatenate(grown)

    floats = [padded(columns[0], 0.0), padded(columns[2], 0.0), padded(columns[3], 0.0)]
    parts, bound, soft = (torch.from_numpy(a.astype(np.float32)) for a in floats)
    camera, light = (torch.from_numpy(np.concatenate(c).astype(np.float32)) for c in columns[4:6])
    kind = torch.from_numpy(padded(columns[1], -1).astype(np.int64))
    floor = torch.from_numpy(np.concatenate(columns[6]).astype(np.int64))
    return Frames(parts, kind, bound, soft, camera, light, floor)


def mirrored(frames: Frames) -> Frames:
    """Return the frames with every camera mirrored in the floor: what still water shows."""
    camera = frames.camera.clone()
    camera[:, 1:12:3] *= -1
    return replace(frames, camera=camera)
