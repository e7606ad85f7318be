"""How the camera moved, read from the pixels of one shot: its rates, by name, and its poses.

Known are the lens and where the world's cameras usually stand; the horizon, where it shows, tells
how far down the camera looks. Motions along each axis are tried on small frames, the best ones
refined on larger ones (`alignment.py`), in the end along all axes at once, with a turn of each
frame's own: the hand. Nothing is learned. What pixels cannot tell is how high the camera stands:
the speed of what goes through space is known in heights, and the usual height is taken.

Letters: t frames, h height, w width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.evaluate.alignment import (
    AXES,
    DISTANCE,
    NORMAL,
    ORBIT,
    PITCH,
    PITCH_SD,
    RATES,
    SEEN_PITCH_SD,
    TURN,
    TURNS,
    USUAL_PITCH,
    Array,
    Level,
    Model,
    Pairs,
    axes_of,
    cost,
    fit,
    level,
    turned,
    unexplained,
)
from kineograph.world.v2.camera import AXIS, SPEED_RATES, Pose, Rates, unit

SIDE = 128  # pixels, of a square of the area that frames are brought down to
LEAST = 32  # pixels, the shorter side
PER_SECOND, FEWEST, MOST = 3, 9, 25  # frames that are looked at
SHAKEN = 12  # frames a second, once it shows that a hand holds the camera
TRIED = np.linspace(-1.4, 1.4, 14)  # of the fastest rate of each axis
STARTS = 4  # motions that are refined
MOVES = 0.3  # of the normal rate: below it a camera stands
SHAKES = 0.35  # deg, from which on a hand holds it
# What lies fixed on the screen taken off, a picture changes where more than CHANGED of 1 is left
# unexplained by a standing camera. It moved if that is more than STIRRED of the picture: of 12
# clips with a standing camera none had over 0.34, of 7 with a moving one none under 0.48.
CHANGED, STIRRED = 0.1, 0.4
EXPLAINS = 0.8  # of what a standing camera leaves unexplained, that a motion must go below
# The turns of a hand with an amplitude of 1 (`camera.pose`): their usual root mean square.
SWAY = math.sqrt((1 + 0.7**2) / 2 * sum((k + 1.0) ** -2 for k in range(4)))


@dataclass(frozen=True)
class Egomotion:
    """How the camera of a shot moved."""

    rates: Rates
    """Along all axes; the shake is that of a hand that turns by as much, root mean square."""
    move: str
    """The move of `scene.CAMERA_MOVES` that this is: that of its fastest axis."""
    rate: float
    """On the axis of the move, in units of its rate; 0 if it has none."""
    camera: Pose
    """At every frame, turns of the hand included; the shot's middle looks along -z."""
    pitch: float
    """How far down the camera looks in the middle (rad)."""
    residual: float
    """What is left unexplained, 0 to 1; moving objects, ripples and noise count too."""
    confidence: float
    """How much worse the best motion along another axis explains the pixels: 0 to 1.

    Near 0 where the camera stands, which a motion along any axis comes close to.
    """


def horizon(frame: Float[Tensor, "3 h w"]) -> tuple[float, float]:
    """Return how far down a level camera looks (rad), and how sure that is (rad).

    The horizon is the row at which brightness jumps by the same along the whole width; it is
    looked for where the world has it. If none is found, the world's usual pitch is returned.
    """
    height, width = frame.shape[-2:]
    jump = frame[:, 1:] - frame[:, :-1]
    usual = jump.median(-1, keepdim=True).values
    uneven = (jump - usual).abs().median(-1).values.sum(0)
    even = usual[..., 0].abs().sum(0)
    near = F.avg_pool1d(even[None], 9, 1, 4, count_include_pad=False)[0]
    pitch = torch.atan((height / 2 - torch.arange(1, height)) * unit(height, width))
    likely = torch.exp(-0.15 * ((pitch - USUAL_PITCH) / PITCH_SD) ** 2)
    score = (even - near).clamp_min(0) / (uneven + 0.01) * likely
    row = int(score.argmax())
    if score[row] < 1 or not 0 < row < height - 2:
        return USUAL_PITCH, PITCH_SD
    above, here, below = even[row - 1 : row + 2].tolist()
    peak = (above - below) / (2 * (above - 2 * here + below)) if here > max(above, below) else 0.0
    found = math.atan((height / 2 - row - 1 - peak) * unit(height, width))
    return found, SEEN_PITCH_SD


def _soft(frames: Tensor) -> Tensor:
    """Return frames blurred by 0.65 pixels, so that half of their size can show what is left."""
    kernel = torch.tensor([0.21, 0.58, 0.21])
    kernel = (kernel[:, None] * kernel).expand(frames.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), kernel, groups=frames.shape[1])


def _pyramid(frames: Tensor, ignore: Tensor | None) -> list[Level]:
    """Return frames at a quarter of their size, at half of it, and as they are."""
    levels: list[Level] = []
    for _ in range(3):
        frames = _soft(frames)
        levels.insert(0, level(frames, ignore))
        frames = F.avg_pool2d(frames, 2)
        if ignore is not None:
            ignore = F.max_pool2d(ignore[:, None].float(), 2)[:, 0] > 0
    return levels


def _pairs(model: Model, *gaps: int) -> Pairs:
    """Return all pairs of frames that lie so many apart."""
    frames = len(model.times)
    steps = sorted({min(gap, frames - 1) for gap in gaps})
    return np.array([(i, i + g) for g in steps for i in range(frames - g)])


def _starts(model: Model, small: Level) -> list[tuple[list[int], Array]]:
    """Return what is free and where it starts: along the best axes, nothing, a hand's turns."""
    near = _pairs(model, 1, 2)
    found = []
    for k, axis in enumerate(AXES):
        tries = []
        for share in TRIED:
            x = model.still
            x[k] = share * SPEED_RATES[axis][2] / NORMAL[k]
            tries.append((cost(model, small, x, near, 0.06), x))
        least, x = min(tries, key=lambda one: one[0])
        found.append((least, [k, DISTANCE] if k == ORBIT else [k], x))
    found = sorted(found, key=lambda one: one[0])[:STARTS]
    hand, _ = fit(model, small, model.still, near, 0.12, model.turns, 8)
    return [(free, x) for _, free, x in found] + [([], model.still), (model.turns, hand)]


def _search(model: Model, levels: list[Level]) -> tuple[Array, float, float]:
    """Return the unknowns, their cost, and how much worse the best other start ended."""
    small, middle, large = levels
    ends = []
    for free, x in _starts(model, small):
        x, _ = fit(model, small, x, _pairs(model, 1, 2, 4), 0.08, [PITCH, *free])
        x, found = fit(model, middle, x, _pairs(model, 2, 4, 6), 0.05, [PITCH, *free])
        ends.append((found, free, x))
    ends.sort(key=lambda one: one[0])
    (best, free, x), second = ends[0], ends[1][0]
    every = {*range(ORBIT), PITCH, *free, *model.turns}
    x, found = fit(model, large, x, _pairs(model, 3, 6, 9), 0.03, list(every))
    return x, found, 1 - best / max(second, 1e-9)


def _moving(frames: Tensor) -> Tensor:
    """Return frames without what lies fixed on the screen: their mean over time."""
    return frames - frames.mean(0, keepdim=True)


def _stirs(model: Model, small: Level) -> bool:
    """Return whether small frames change in much of the picture, not where objects are alone."""
    left, valid = unexplained(model, small, model.still, _pairs(model, 1, 2), 0.08)
    mean = (left * valid).mean(0).view(1, 1, *small.size)
    return float((F.adaptive_avg_pool2d(mean, 8) > CHANGED).float().mean()) > STIRRED


def _explains(model: Model, small: Level, x: Array) -> bool:
    """Return whether rates explain small frames far better than a camera that stands."""
    rates = np.where(np.arange(len(x)) < TURNS, x, 0.0)
    ours, still = (cost(model, small, y, _pairs(model, 1, 2), 0.08) for y in (rates, model.still))
    return ours < EXPLAINS * still


def _read(model: Model, frames: Tensor, ignore: Tensor | None) -> tuple[Array, float, float, bool]:
    """Return what `_search` does, and whether what lies fixed on the screen had to be taken off.

    A frame, hatches or paper that a style lays over the picture stand still, and can outweigh
    what moves: before a camera is said to stand, it is looked at without them.
    """
    x, residual, confidence = _search(model, _pyramid(frames, ignore))
    if np.abs(x[RATES]).max() < MOVES:
        levels = _pyramid(_moving(frames), ignore)
        if _stirs(model, levels[0]):
            other = _search(model, levels)
            if _explains(model, levels[0], other[0]):
                return *other, True
    return x, residual, confidence, False


def _turns(model: Model, x: Array, times: Array) -> Array:
    """Return the turns of frames `t 3` (rad) at any times."""
    own = TURN * x[TURNS:].reshape(-1, 3)
    return np.stack([np.interp(times, model.times, column) for column in own.T], -1)


def _named(x: Array, shake: float) -> tuple[str, float]:
    """Return the move that the unknowns are, and its rate."""
    k = int(np.argmax(np.abs(x[: len(AXES)])))
    if abs(x[k]) < MOVES:
        return ("handheld" if shake > SHAKES else "static"), 0.0
    kind = next(kind for kind, axis in AXIS.items() if axis == AXES[k])
    ways = ("in", "out") if kind in ("dolly", "zoom") else ("up", "down")
    if kind not in ("dolly", "zoom", "tilt", "crane"):
        ways = ("right", "left")
    return f"{kind} {ways[0 if x[k] > 0 else 1]}", float(x[k] * NORMAL[k])


def _frames(video: UInt8[np.ndarray, "t h w 3"], index: NDArray[np.int64]) -> Tensor:
    """Return some frames in [0, 1], `t 3 h w`, of SIDE x SIDE pixels at most."""
    frames = rearrange(torch.from_numpy(video[index]), "t h w c -> t c h w").float() / 255
    shrink = SIDE / math.sqrt(frames.shape[-1] * frames.shape[-2])
    if shrink >= 1:
        return frames
    size = [round(side * shrink) for side in frames.shape[-2:]]
    return F.interpolate(frames, size, mode="area")


def _ignored(
    ignore: Bool[np.ndarray, "t h w"], index: NDArray[np.int64], size: Sequence[int]
) -> Tensor:
    mask = torch.from_numpy(ignore[index])[:, None].float()
    return F.adaptive_max_pool2d(mask, list(size))[:, 0] > 0


def _evenly(frames: int, number: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, frames - 1, min(number, frames)).round().astype(np.int64))


@torch.no_grad()
def estimate(
    video: UInt8[np.ndarray, "t h w 3"], fps: float,
    ignore: Bool[np.ndarray, "_ _ _"] | None = None,
) -> Egomotion:  # fmt: skip
    """Return how the camera of one shot moved, from its first frame to its last.

    `ignore`, `t h w`, tells pixels that are not looked at, such as those of objects.

    Raises:
        RequestError: frames smaller than 32 pixels, fewer than 3 of them, or `ignore` of
            another shape.
    """
    count, height, width = video.shape[:3]
    if count < 3 or min(height, width) < LEAST:
        raise RequestError(
            f"{count} frames of {width}x{height}; allowed are 3 or more, of {LEAST}x{LEAST} or more"
        )
    if ignore is not None and ignore.shape != video.shape[:3]:
        raise RequestError(f"ignore is {ignore.shape}; it must be {video.shape[:3]}, as the frames")
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    seconds = (count - 1) / fps

    def seen(number: float) -> tuple[Array, Tensor, Tensor | None]:
        index = _evenly(count, round(number))
        frames = _frames(video, index)
        mask = None if ignore is None else _ignored(ignore, index, frames.shape[-2:])
        return index / fps, frames, mask

    times, frames, mask = seen(min(max(PER_SECOND * seconds + 1, FEWEST), MOST))
    model = Model(times, seconds, *horizon(frames[len(frames) // 2]))
    x, residual, confidence, bare = _read(model, frames, mask)
    shake = _shake(x)
    if shake > SHAKES:
        times, frames, mask = seen(SHAKEN * seconds + 1)
        start = np.concatenate([x[:TURNS], _turns(model, x, times).ravel() / TURN])
        model = replace(model, times=times)
        dense = _pyramid(_moving(frames) if bare else frames, mask)[1]
        x, _ = fit(model, dense, start, _pairs(model, 1, 4), 0.05, model.turns, 4)
        shake = _shake(x)
    every = np.arange(count) / fps
    camera = model.poses(x, every)
    right, up, forward = np.moveaxis(turned(_turns(model, x, every)) @ axes_of(camera), 1, 0)
    move, rate = _named(x, shake)
    return Egomotion(
        replace(model.rates(x), shake=shake / SWAY), move, rate,
        Pose(camera.position, right, up, forward, camera.focal),
        model.pitch + model.pitch_sd * float(x[PITCH]), residual, confidence,
    )  # fmt: skip


def _shake(x: Array) -> float:
    """Return the root mean square of the frames' own turns (deg)."""
    own = x[TURNS:].reshape(-1, 3)
    return math.degrees(TURN) * math.sqrt(float((own * own).sum(1).mean()))


def rotation_error(found: Pose, true: Pose, reference: int = 0) -> Array:
    """Return how far turns since a reference frame are off, `t` (deg).

    The angle of the rotation between the relative rotations, as RotErr of CameraCtrl (arXiv
    2404.02101), which adds it up over frames.
    """
    relative = [axes_of(p) @ axes_of(p)[reference].T for p in (found, true)]
    between = relative[0] @ np.swapaxes(relative[1], 1, 2)
    # From sine and cosine: an arc cosine knows nothing of small angles.
    skew = between - np.swapaxes(between, 1, 2)
    sine = np.sqrt((skew * skew).sum((1, 2)) / 8)
    return np.degrees(np.arctan2(sine, (np.trace(between, axis1=1, axis2=2) - 1) / 2))


def translation_error(found: Pose, true: Pose, reference: int = 0) -> Array:
    """Return how far ways since a reference frame, in its camera's axes, are off, `t` (m).

    As TransErr of CameraCtrl (arXiv 2404.02101), which adds it up over frames.
    """
    ways = [(p.position - p.position[reference]) @ axes_of(p)[reference].T for p in (found, true)]
    return np.linalg.norm(ways[0] - ways[1], axis=1)
