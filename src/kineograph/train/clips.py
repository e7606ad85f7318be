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


def random_clips(
    seed: int, step: int, batch: int, num_frames: int, square_share: float, *, compiled: bool,
    scale: int = 1, device: torch.device = CPU,
) -> UInt8[Tensor, "b t h w 3"]:  # fmt: skip
    """Render a batch of crops in time of training scenes, all of one aspect ratio."""
    rng = random.Random(f"clips {seed} {step}")
    ratio = choose_ratio(rng, square_share)
    count = rng.choices((1, 2, 3), (0.5, 0.38, 0.12))[0]  # one kernel a batch: one count a batch
    scenes = [
        draw_scene(rng.randrange(VALIDATION_SEED), aspect_ratio=ratio, count=count)
        for _ in range(batch)
    ]
    first = rng.uniform(0, (NUM_FRAMES - num_frames) / FPS)
    times = first + np.arange(num_frames) / FPS
    return render_clips(scenes, scale=scale, compiled=compiled, times=times, device=device)


def validation_scenes(count: int, *, ratio: str = "1:1", split: str = "train") -> list[Scene]:
    """Return the first scenes of the validation range."""
    return [
        draw_scene(VALIDATION_SEED + i, aspect_ratio=ratio, split=split) for i in range(count)
    ]


def render_clips(
    scenes: list[Scene], *, scale: int = 1, compiled: bool = False, times: np.ndarray = CLIP_TIMES,
    device: torch.device = CPU,
) -> UInt8[Tensor, "b t h w 3"]:  # fmt: skip
    """Render whole clips of scenes that share an aspect ratio."""
    height, width = BASE_SIZES[scenes[0].aspect_ratio]
    height, width = height * scale, width * scale
    return render(
        scenes, times, height, width, scale=scale, compiled=compiled, device=device
    )[0]


def psnr(a: Float[Tensor, "b c t h w"], b: Float[Tensor, "b c t h w"]) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio (dB) of each clip; values span [-1, 1]."""
    mse = ((a.clamp(-1, 1) - b) / 2).square().flatten(1).mean(1)
    return -10 * torch.log10(mse.clamp_min(1e-12))
