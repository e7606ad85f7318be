"""Softening: renders made to look as if they came out of a video VAE, for judges to train on.

Letters: b clips, t frames, h height, w width.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def soften(
    clips: Float[Tensor, "b t 3 h w"], rng: random.Random, generator: torch.Generator
) -> Float[Tensor, "b t 3 h w"]:
    """Return clips in [-1, 1] that are blurred, ghosted, blotched, noisy and tinted by chance.

    One draw for the whole batch, so that a batch costs one pass.
    """
    x = clips
    _, t, _, height, width = x.shape
    if rng.random() < 0.25 and t > 1:  # what moves leaves a trace of where it was
        share = rng.uniform(0.08, 0.25)
        x = (1 - share) * x + share * torch.cat((x[:, :1], x[:, :-1]), 1)
    flat = x.flatten(0, 1)
    if rng.random() < 0.6:
        scale = rng.choice((0.5, 0.625, 0.75, 0.875))
        small = F.interpolate(flat, (int(height * scale), int(width * scale)), mode="area")
        flat = F.interpolate(small, (height, width), mode=rng.choice(("bilinear", "bicubic")))
    x = flat.unflatten(0, x.shape[:2])
    shape = (x.shape[0], 1, 3, 1, 1)
    if rng.random() < 0.5:
        gain = 1 + 0.06 * torch.randn(shape, generator=generator)
        x = x * gain + 0.04 * torch.randn(shape, generator=generator)
    if rng.random() < 0.3:
        blotches = torch.randn(x.shape[0] * t, 3, height // 8, width // 8, generator=generator)
        x = x + 0.05 * F.interpolate(blotches, (height, width), mode="bilinear").view_as(x)
    noise = rng.choice((0.0, 0.0, 0.02, 0.05))
    if noise:
        x = x + noise * torch.randn(x.shape, generator=generator)
    return x.clamp(-1, 1)
