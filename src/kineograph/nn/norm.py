"""Normalisation layers of the Wan family and of T5."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, times a learned scale (arXiv 1910.07467).

    The mean square is taken in float32 whatever the input's dtype; the output has the
    input's dtype, so that under autocast a bfloat16 projection stays bfloat16.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps)
        return (x * scale * self.weight).to(x.dtype)


def layer_norm(x: Float[Tensor, "*b d"], eps: float) -> Float[Tensor, "*b d"]:
    """Subtract the mean and divide by the deviation over the last axis, nothing learned."""
    return F.layer_norm(x, x.shape[-1:], None, None, eps)
