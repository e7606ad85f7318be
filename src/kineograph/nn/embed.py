"""The embedding of noise levels: the one place where sigma is scaled to Wan's 0..1000."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

SIGMA_SCALE = 1000.0  # the embedding was trained on integer steps 0..1000
MAX_PERIOD = 10000.0


def sigma_embedding(sigma: Float[Tensor, "*b"], dim: int) -> Float[Tensor, "*b d"]:
    """Return the sinusoidal embedding of noise levels in [0, 1]: cosines, then sines.

    Computed in float32: 1000 * sigma in bfloat16 would be off by whole steps.
    Source: Wan (arXiv 2503.20314), after arXiv 1706.03762.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=sigma.device)
    frequency = torch.exp(steps * (-math.log(MAX_PERIOD) / half))
    angle = (SIGMA_SCALE * sigma.float())[..., None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
