"""Batches of rendered clips, each a pure function of (seed, step)."""

from __future__ import annotations

import random

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kineograph.train.worlds import Scene, World
from kineograph.world.render import CPU

VALIDATION_SEED = 1 << 40  # scenes of validation and evaluation start here, training below


def to_float(video: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 3 t h w"]:
    """Map 0..255 to [-1, 1]."""
    return video.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def to_uint8(video: Float[Tensor, "b 3 t h w"]) -> UInt8[Tensor, "b t h w 3"]:
    """Map [-1, 1] to 0..255, clamping."""
    return video.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)


def clip_times(world: World) -> np.ndarray:
    """Return when the frames of a clip are, in seconds."""
    return np.arange(world.num_frames) / world.fps


def choose_ratio(rng: random.Random, square_share: float, world: World) -> str:
    """Draw an aspect ratio: 1:1 with `square_share`, the others evenly."""
    if rng.random() < square_share:
        return "1:1"
    return rng.choice([r for r in world.ratios if r != "1:1"])


def draw_batch(
    world: World, seed: int, step: int, batch: int, num_frames: int, square_share: float
) -> tuple[list[Scene], np.ndarray]:
    """Draw training scenes of one aspect ratio and times (s) within their clips."""
    rng = random.Random(f"clips {seed} {step}")
    ratio = choose_ratio(rng, square_share, world)
    count = rng.choices((1, 2, 3), (0.5, 0.38, 0.12))[0]  # one kernel a batch: one count a batch
    scenes = [
        world.draw(rng.randrange(VALIDATION_SEED), aspect_ratio=ratio, count=count)
        for _ in range(batch)
    ]
    first = rng.uniform(0, (world.num_frames - num_frames) / world.fps)
    return scenes, first + np.arange(num_frames) / world.fps


def object_crops(
    video: UInt8[Tensor, "n t h w 3"], owners: UInt8[Tensor, "n t h w"], batch: int, side: int,
    rng: random.Random,
) -> UInt8[Tensor, "b t s s 3"]:  # fmt: skip
    """Cut squares out of clips, each of which holds an object in one frame at least.

    A window stands still for the time of its clip; the clips give equally many.
    """
    frames, height, width = owners.shape[1:]
    crops = []
    for i in range(batch):
        clip, seen = video[i * len(video) // batch], owners[i * len(video) // batch]
        places = (seen[rng.randrange(frames)] > 0).nonzero()
        # where all objects are out of sight at that time, anywhere
        middle = [rng.randrange(height), rng.randrange(width)]
        if len(places) > 0:
            middle = places[rng.randrange(len(places))].tolist()
        top, left = (
            min(max(0, at - rng.randrange(side)), limit - side)
            for at, limit in zip(middle, (height, width), strict=True)
        )
        crops.append(clip[:, top : top + side, left : left + side])
    return torch.stack(crops)


def validation_scenes(world: World, count: int, *, ratio: str = "1:1") -> list[Scene]:
    """Return the first scenes of the validation range."""
    return [world.draw(VALIDATION_SEED + i, aspect_ratio=ratio) for i in range(count)]


def render_seen(
    world: World, scenes: list[Scene], *, scale: int = 1, compiled: bool = False,
    times: np.ndarray | None = None, device: torch.device = CPU,
) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
    """Render clips of scenes that share an aspect ratio, and which object each pixel shows.

    `times` (s) are those of whole clips unless given. Objects count from 1; 0 is the background.
    """
    when = clip_times(world) if times is None else times
    return world.render(scenes, when, scale=scale, compiled=compiled, device=device)


def psnr(a: Float[Tensor, "b *n"], b: Float[Tensor, "b *n"]) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio (dB) of each clip, or part; values span [-1, 1]."""
    mse = ((a.clamp(-1, 1) - b) / 2).square().flatten(1).mean(1)
    return -10 * torch.log10(mse.clamp_min(1e-12))
