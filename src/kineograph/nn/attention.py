"""Attention with normalised queries and keys, as Wan has it; the seam for faster kernels."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor, nn

from kineograph.nn.norm import RMSNorm
from kineograph.nn.rope import apply_rope


def attend(
    q: Float[Tensor, "b n h d"],
    k: Float[Tensor, "b m h d"],
    v: Float[Tensor, "b m h d"],
    bias: Float[Tensor, "#b #h #n m"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "b n h*d"]:
    """Return softmax(q k^T * scale + bias) v with the heads side by side.

    `scale` is 1 / sqrt(d) unless given. Every attention of the package passes here:
    another kernel is put in by wrapping this function's caller.
    """
    q, k, v = (rearrange(x, "b n h d -> b h n d") for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return rearrange(out, "b h n d -> b n (h d)")


class Attention(nn.Module):
    """Multi-head attention; q and k are RMS-normalised over all heads together.

    Self-attention when `context` is None, else cross-attention to it.
    """

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m d"] | None = None,
        rope: Complex[Tensor, "n e"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        source = x if context is None else context
        q = self._heads(self.norm_q(self.q(x)))
        k = self._heads(self.norm_k(self.k(source)))
        v = self._heads(self.v(source))
        if rope is not None:
            q, k = apply_rope(q, rope), apply_rope(k, rope)
        return self.o(attend(q, k, v))

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b n h d", h=self.num_heads)
