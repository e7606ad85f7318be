"""Batches of rendered clips, each a pure function of (seed, step)."""

from __future__ import annotations

import random

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kineograph.spec import ModelSpec
from kineograph.world.draw import BASE_SIZES, CLIP_TIMES, FPS, NUM_FRAMES, draw_scene
from kineograph.world.render import CPU, render
from kineograph.world.scene import Scene

CROP_SIDE = 32  # base pixels of a square around an object
VALIDATION_SEED = 1 << 40  # scenes of validation and evaluation start here, training below


def to_float(video: UInt8[Tensor, "b t h w 3"]) -> Float[Tensor, "b 3 t h w"]:
    """Map 0..255 to [-1, 1]."""
    return video.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def to_uint8(video: Float[Tensor, "b 3 t h w"]) -> UInt8[Tensor, "b t h w 3"]:
    """Map [-1, 1] to 0..255, clamping."""
    return video.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)


def base_scale(spec: ModelSpec) -> int:
    """Return how many pixels of a model's base size make a base pixel of the world."""
    return spec.sizes["1:1"].height // BASE_SIZES["1:1"][0]


def choose_ratio(rng: random.Random, square_share: float) -> str:
    """Draw an aspect ratio: 1:1 with `square_share`, the others evenly."""
    if rng.random() < square_share:
        return "1:1"
    return rng.choice([r for r in BASE_SIZES if r != "1:1"])


def _draw_batch(
    seed: int, step: int, batch: int, num_frames: int, square_share: float
) -> tuple[list[Scene], np.ndarray]:
    """Draw training scenes of one aspect ratio and times (s) within their clips."""
    rng = random.Random(f"clips {seed} {step}")
    ratio = choose_ratio(rng, square_share)
    count = rng.choices((1, 2, 3), (0.5, 0.38, 0.12))[0]  # one kernel a batch: one count a batch
    scenes = [
        draw_scene(rng.randrange(VALIDATION_SEED), aspect_ratio=ratio, count=count)
        for _ in range(batch)
    ]
    first = rng.uniform(0, (NUM_FRAMES - num_frames) / FPS)
    return scenes, first + np.arange(num_frames) / FPS


def random_clips(
    seed: int, step: int, batch: int, num_frames: int, square_share: float, *, compiled: bool,
    scale: int = 1, device: torch.device = CPU,
) -> UInt8[Tensor, "b t h w 3"]:  # fmt: skip
    """Render a batch of crops in time of training scenes, all of one aspect ratio."""
    scenes, times = _draw_batch(seed, step, batch, num_frames, square_share)
    return render_clips(scenes, scale=scale, compiled=compiled, times=times, device=device)


def object_crops(
    seed: int, step: int, batch: int, num_frames: int, square_share: float, *, compiled: bool,
    scale: int = 1, device: torch.device = CPU,
) -> UInt8[Tensor, "b t s s 3"]:  # fmt: skip
    """Render a batch of squares of 32 base pixels that hold an object in one frame at least.

    A window stands still for the time of its clip, and each clip gives two of them.
    """
    scenes, times = _draw_batch(seed, step, (batch + 1) // 2, num_frames, square_share)
    video, ids = render_seen(scenes, scale=scale, compiled=compiled, times=times, device=device)
    height, width = ids.shape[2:]
    rng, side = random.Random(f"crops {seed} {step}"), CROP_SIDE * scale
    crops = []
    for i in range(batch):
        clip, seen = video[i // 2], ids[i // 2]
        places = (seen[rng.randrange(num_frames)] > 0).nonzero()
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


def validation_scenes(count: int, *, ratio: str = "1:1", split: str = "train") -> list[Scene]:
    """Return the first scenes of the validation range."""
    return [
        draw_scene(VALIDATION_SEED + i, aspect_ratio=ratio, split=split) for i in range(count)
    ]


def render_seen(
    scenes: list[Scene], *, scale: int = 1, compiled: bool = False, times: np.ndarray = CLIP_TIMES,
    device: torch.device = CPU,
) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
    """Render clips of scenes that share an aspect ratio, and which object each pixel shows.

    Objects count from 1; 0 is the background.
    """
    height, width = (scale * side for side in BASE_SIZES[scenes[0].aspect_ratio])
    return render(scenes, times, height, width, scale=scale, compiled=compiled, device=device)


def render_clips(
    scenes: list[Scene], *, scale: int = 1, compiled: bool = False, times: np.ndarray = CLIP_TIMES,
    device: torch.device = CPU,
) -> UInt8[Tensor, "b t h w 3"]:  # fmt: skip
    """Render whole clips of scenes that share an aspect ratio."""
    return render_seen(scenes, scale=scale, compiled=compiled, times=times, device=device)[0]


def psnr(a: Float[Tensor, "b *n"], b: Float[Tensor, "b *n"]) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio (dB) of each clip, or part; values span [-1, 1]."""
    mse = ((a.clamp(-1, 1) - b) / 2).square().flatten(1).mean(1)
    return -10 * torch.log10(mse.clamp_min(1e-12))
