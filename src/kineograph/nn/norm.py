"""Normalisation layers of the Wan family and of T5."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def rms_norm(
    x: Float[Tensor, "*b d"], weight: Float[Tensor, " d"], eps: float
) -> Float[Tensor, "*b d"]:
    """Divide by the root mean square over the last axis, then scale (arXiv 1910.07467).

    Computed in float32 whatever the input's dtype; the output has the input's dtype, so
    that under autocast a bfloat16 projection stays bfloat16.
    """
    wide = x.float()
    r = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * r * weight).to(x.dtype)


class RMSNorm(nn.Module):
    """`rms_norm` with a learned scale."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        return rms_norm(x, self.weight, self.eps)


def layer_norm(x: Float[Tensor, "*b d"], eps: float) -> Float[Tensor, "*b d"]:
    """Subtract the mean and divide by the deviation over the last axis, nothing learned."""
    return F.layer_norm(x, x.shape[-1:], None, None, eps)


def work_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a projection of x is computed: autocast's, or x's own.

    What several projections read is cast to it once, not by each of them.
    """
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
