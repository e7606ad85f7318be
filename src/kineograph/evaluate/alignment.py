"""Frames of one shot aligned under one camera motion, floor and sky: the model and its fit.

The world is taken for a plane at height 0 below the horizon, and for infinitely far above it. A
pixel of one frame then lies at a known place in another, by the homography of the plane or of
infinity. What the camera does is one vector of unknowns, found by Gauss and Newton's steps with
Levenberg's damping on a robust difference of brightness (direct alignment: Irani and Anandan
1999; weights: Geman and McClure 1985), so that what moves by itself counts little.

Letters: t frames, p pairs of them, n pixels of a frame, c channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from kineograph.world.v2.camera import SPEED_RATES, Pose, Rates, Stand, pose, unit

Array = NDArray[np.float64]
Pairs = NDArray[np.int64]  # p 2: the frames of each pair

AXES = ("horizontal", "vertical", "depth", "pan", "tilt", "roll", "zoom", "orbit")
NORMAL = np.array([SPEED_RATES[axis][1] for axis in AXES])  # what is usual on each
# The unknowns: rates over what is normal, pitch, distance, and three turns of each frame.
RATES, PITCH, DISTANCE, TURNS = slice(0, 8), 8, 9, 10
ORBIT = AXES.index("orbit")
# Where the world's cameras stand at the middle of a first shot: fits to 20,000 draws of stands.
USUAL_PITCH, PITCH_SD = 0.2275, 0.033  # rad, downwards
SEEN_PITCH_SD = 0.004  # rad, where the horizon shows
DISTANCE_SD = 0.046  # of the logarithm of distance over height, once the pitch is known
TURN = math.radians(0.4)  # a frame's own turn, by default
# What an unknown costs that is one of its units away from what is usual.
RATE_COST, DISTANCE_COST, TURN_COST, PITCH_COST, SEEN_PITCH_COST = 1e-5, 1e-4, 1e-5, 1e-4, 1e-3
FLAT = 0.03  # of 1: contrasts below it are not raised to what is usual
_ROW, _COLUMN = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)  # of a symmetric 3 x 3
_FULL = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])  # it, from those six
_STEP = 1e-5  # of numeric derivatives


def usual_stand(pitch: float, distance: float = 0.0) -> Stand:
    """Return where a camera of the world stands that looks down by a pitch (rad).

    `distance` moves it away from what is usual, in units of DISTANCE_SD.
    """
    height = math.exp(0.7546 + 1.4616 * (pitch - 0.24))
    away = height * math.exp(0.936 - 1.928 * (pitch - 0.24) + DISTANCE_SD * distance)
    return Stand(away, height, 0.0, (0.0, height - away * math.tan(pitch), 0.0))


def turned(angles: Array) -> Array:
    """Return the rotation matrices `... 3 3` of rotation vectors `... 3` (rad)."""
    angle = np.maximum(np.linalg.norm(angles, axis=-1), 1e-12)[..., None, None]
    x, y, z = np.moveaxis(angles, -1, 0)
    zero = 0 * x
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3) / angle
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def axes_of(camera: Pose) -> Array:
    """Return the matrices `t 3 3` that turn the world's directions into a camera's."""
    return np.stack([camera.right, camera.up, camera.forward], 1)


class Maps(NamedTuple):
    """Where pixels of pairs of frames go: a point q of the first is at sky q + shift (level q).

    The last term counts below the horizon only, where `level q` is negative. Points are
    homogeneous, in pixels from the middle of the frame, the second upwards.
    """

    sky: Array  # p 3 3
    shift: Array  # p 3
    level: Array  # p 3

    def regions(self) -> Array:
        """Return the homographies `p 2 3 3` of floor and sky."""
        floor = self.sky + self.shift[:, :, None] * self.level[:, None, :]
        return np.stack([floor, self.sky], 1)


@dataclass(frozen=True)
class Model:
    """What the unknowns `x` mean for the frames at some times of a shot."""

    times: Array  # s
    seconds: float  # of the shot
    pitch: float  # rad, that the camera is believed to look down
    pitch_sd: float

    @property
    def still(self) -> Array:
        """The unknowns of a camera that stands as is usual."""
        return np.zeros(TURNS + 3 * len(self.times))

    @property
    def turns(self) -> list[int]:
        """Which unknowns are the turns of frames."""
        return list(range(TURNS, len(self.still)))

    @property
    def costs(self) -> Array:
        """What the squares of unknowns cost."""
        costs = np.full(len(self.still), TURN_COST)
        costs[RATES], costs[DISTANCE] = RATE_COST, DISTANCE_COST
        costs[PITCH] = SEEN_PITCH_COST if self.pitch_sd <= SEEN_PITCH_SD else PITCH_COST
        return costs

    def rates(self, x: Array) -> Rates:
        """Return the rates, without any shake."""
        return Rates(**dict(zip(AXES, (x[RATES] * NORMAL).tolist(), strict=True)))

    def poses(self, x: Array, times: Array) -> Pose:
        """Return the camera at some times, without the turns of frames."""
        pitch = min(max(self.pitch + self.pitch_sd * float(x[PITCH]), 0.02), 0.7)
        return pose(times, self.seconds, usual_stand(pitch, float(x[DISTANCE])), self.rates(x), "")

    def maps(
        self, x: Array, pairs: Pairs, focal: float, nudged: Sequence[Array | None] = (None, None)
    ) -> Maps:
        """Return where pixels go, of frames with a focal length in pixels.

        `nudged` are rotations of the first and of the second frame of every pair.
        """
        camera = self.poses(x, self.times)
        turns = turned(TURN * x[TURNS:].reshape(-1, 3)) @ axes_of(camera)
        first, second = (
            turns[k] if nudge is None else nudge @ turns[k]
            for k, nudge in zip(pairs.T, nudged, strict=True)
        )
        lens = np.ones((len(turns), 3))
        lens[:, :2] = focal * camera.focal[:, None]
        place = camera.position
        before, after = place[pairs[:, 0]], place[pairs[:, 1]]
        ray = np.swapaxes(first, 1, 2) / lens[pairs[:, 0]][:, None, :]
        screen = lens[pairs[:, 1]][:, :, None] * second
        # A ray from height y that falls by d meets the floor after y / d: scaled by d, this.
        shift = -(screen @ (before - after)[:, :, None])[:, :, 0]
        return Maps(screen @ (ray * before[:, 1, None, None]), shift, ray[:, 1])


@dataclass(frozen=True)
class Level:
    """Frames at one size: contrasts, their slopes to the right and up, and where pixels are."""

    values: Float[Tensor, "t c h w"]
    stack: Float[Tensor, "t k h w"]  # values, slopes to the right, slopes upwards, what to ignore
    points: Float[Tensor, "n 3"]
    products: Float[Tensor, "n 6"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.values.shape[-2], self.values.shape[-1]

    @property
    def focal(self) -> float:
        """The usual focal length in pixels."""
        return 1 / unit(*self.size)


def _mean_around(x: Tensor, reach: int) -> Tensor:
    """Return means over squares of 2 reach + 1 pixels, what lies outside left out."""
    for kernel, pad in (((1, 2 * reach + 1), (0, reach)), ((2 * reach + 1, 1), (reach, 0))):
        x = F.avg_pool2d(x, kernel, 1, pad, count_include_pad=False)
    return x


def level(frames: Float[Tensor, "t c h w"], ignore: Bool[Tensor, "t h w"] | None = None) -> Level:
    """Return frames in [0, 1] as they are compared: contrasts, as strong everywhere."""
    height, width = frames.shape[-2:]
    reach = max(2, round(min(height, width) / 10))
    contrast = frames - _mean_around(frames, reach)
    spread = _mean_around((contrast * contrast).mean(1, keepdim=True), reach).sqrt()
    values = 0.2 * (contrast / (spread + FLAT)).clamp(-3, 3)
    across, up = torch.zeros_like(values), torch.zeros_like(values)
    across[..., 1:-1] = (values[..., 2:] - values[..., :-2]) / 2
    up[..., 1:-1, :] = (values[..., :-2, :] - values[..., 2:, :]) / 2
    stack = [values, across, up]
    if ignore is not None:
        stack.append(ignore[:, None].float())
    rows, columns = torch.meshgrid(
        height / 2 - 0.5 - torch.arange(height), torch.arange(width) + 0.5 - width / 2,
        indexing="ij",
    )  # fmt: skip
    points = torch.stack([columns, rows, torch.ones_like(rows)], -1).view(-1, 3)
    products = points[:, list(_ROW)] * points[:, list(_COLUMN)]
    return Level(values, torch.cat(stack, 1), points, products)


class Seen(NamedTuple):
    """How pairs of frames differ, pixel by pixel of the first."""

    found: Tensor  # p k n, the second where it is
    difference: Tensor  # p c n
    valid: Tensor  # p n
    x: Tensor  # p n, where it is: pixels from the middle
    y: Tensor
    z: Tensor
    floor: Tensor  # p n


def _seen(on: Level, maps: Maps, pairs: Pairs) -> Seen:
    sky, shift, flat = (torch.from_numpy(a).float() for a in maps)
    height, width = on.size
    fall = flat @ on.points.T
    there = sky @ on.points.T + shift[:, :, None] * fall.clamp_max(0)[:, None]
    z = there[:, 2].clamp_min(1e-3)
    x, y = there[:, 0] / z, there[:, 1] / z
    valid = (there[:, 2] > 1e-2) & (x.abs() < width / 2 - 1) & (y.abs() < height / 2 - 1)
    grid = torch.stack([x * (2 / width), y * (-2 / height)], -1).view(len(pairs), height, width, 2)
    first, second = torch.from_numpy(pairs.T.copy())
    found = F.grid_sample(
        on.stack[second], grid, padding_mode="border", align_corners=False
    ).flatten(2)
    channels = on.values.shape[1]
    if found.shape[1] > 3 * channels:
        valid &= (found[:, -1] < 0.5) & (on.stack[first, -1].flatten(1) < 0.5)
    difference = found[:, :channels] - on.values[first].flatten(2)
    return Seen(found, difference, valid, x, y, z, fall < 0)


def unexplained(
    model: Model, on: Level, x: Array, pairs: Pairs, scale: float
) -> tuple[Float[Tensor, "p n"], Bool[Tensor, "p n"]]:
    """Return how badly unknowns explain pixels of pairs of frames, 0 to 1, and which are seen.

    Differences of brightness well above `scale` all count alike.
    """
    seen = _seen(on, model.maps(x, pairs, on.focal), pairs)
    square = seen.difference.square().mean(1)
    return square / (square + scale * scale), seen.valid


def cost(model: Model, on: Level, x: Array, pairs: Pairs, scale: float) -> float:
    """Return the mean of what is `unexplained`, and what unknowns cost themselves."""
    left, valid = unexplained(model, on, x, pairs, scale)
    mean = (left * valid).sum() / valid.sum().clamp_min(1)
    return float(mean) + float((model.costs * x * x).sum())


def _moments(on: Level, seen: Seen, scale: float) -> tuple[float, Array, Array]:
    """Return the robust cost, and its derivatives by the entries of floor's and sky's maps.

    The second ones are `p 2 9 9`, after Gauss and Newton, the first ones `p 2 9`.
    """
    channels, area = on.values.shape[1], scale * scale
    square = seen.difference.square().mean(1)
    number = seen.valid.sum().clamp_min(1)
    weight = area / (square + area).square() * seen.valid / number
    found = float((square / (square + area) * seen.valid).sum() / number)
    across, up = seen.found[:, channels : 2 * channels], seen.found[:, 2 * channels : 3 * channels]
    once = weight / seen.z
    twice = once / seen.z
    xx, xy, yy = ((a * b).mean(1) * twice for a, b in ((across, across), (across, up), (up, up)))
    gx, gy = ((a * seen.difference).mean(1) * once for a in (across, up))
    xz, yz = -(xx * seen.x + xy * seen.y), -(xy * seen.x + yy * seen.y)
    zz, gz = -(xz * seen.x + yz * seen.y), -(gx * seen.x + gy * seen.y)
    second = torch.stack([xx, xy, xz, yy, yz, zz], 1)[:, None]
    first = torch.stack([gx, gy, gz], 1)[:, None]
    region = torch.stack([seen.floor, ~seen.floor], 1)[:, :, None]
    size = (len(seen.valid), 2, 9)
    six = ((second * region) @ on.products).double().numpy()
    full = six[..., _FULL, :][..., _FULL].transpose(0, 1, 2, 4, 3, 5).reshape(*size, 9)
    return found, full, ((first * region) @ on.points).double().numpy().reshape(size)


def _system(
    model: Model, on: Level, x: Array, pairs: Pairs, scale: float, free: NDArray[np.int64]
) -> tuple[float, Array, Array]:
    """Return cost, second derivatives and first derivatives by the free unknowns."""
    maps = model.maps(x, pairs, on.focal)
    found, second, first = _moments(on, _seen(on, maps, pairs), scale)
    base, columns = maps.regions(), []
    shared = free[free < TURNS]
    for k in shared:
        moved = x.copy()
        moved[k] += _STEP
        columns.append(model.maps(moved, pairs, on.focal).regions() - base)
    places = [np.broadcast_to(np.arange(len(shared)), (len(pairs), len(shared)))]
    if len(free) > len(shared):
        for side in range(2):
            for axis in range(3):
                nudge = turned(_STEP * TURN * np.eye(3)[axis])
                nudged = (nudge, None) if side == 0 else (None, nudge)
                columns.append(model.maps(x, pairs, on.focal, nudged).regions() - base)
            places.append(len(shared) + 3 * pairs[:, side, None] + np.arange(3))
    slopes = np.stack(columns, -1).reshape(len(pairs), 2, 9, -1) / _STEP
    where = np.concatenate(places, 1)
    whole, line = np.zeros((len(free), len(free))), np.zeros(len(free))
    blocks = np.einsum("prak,prab,prbl->pkl", slopes, second, slopes, optimize=True)
    np.add.at(whole, (where[:, :, None], where[:, None, :]), blocks)
    np.add.at(line, where, np.einsum("prak,pra->pk", slopes, first))
    costs = model.costs
    whole[np.diag_indices(len(free))] += costs[free]
    return found + float((costs * x * x).sum()), whole, line + costs[free] * x[free]


def fit(
    model: Model, on: Level, x: Array, pairs: Pairs, scale: float, free: Sequence[int],
    steps: int = 6,
) -> tuple[Array, float]:  # fmt: skip
    """Return unknowns that explain pairs of frames better, and their `cost`.

    Only the `free` ones change; the turns of frames are all free or none is.
    """
    which = np.array(sorted(free))
    total, whole, line = _system(model, on, x, pairs, scale, which)
    damping = 1e-3
    for _ in range(steps):
        moved = x.copy()
        moved[which] -= np.linalg.solve(whole + damping * np.diag(np.diag(whole)), line)
        new, *rest = _system(model, on, moved, pairs, scale, which)
        if new >= total:
            damping *= 10
            continue
        small = total - new < 1e-4 * total
        x, total, damping = moved, new, max(damping / 5, 1e-5)
        whole, line = rest
        if small:
            break
    return x, total
