"""Attention with normalised queries and keys, as Wan has it; the seam for faster kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.nn.norm import RMSNorm
from kineograph.nn.rope import norm_rope

# Up to so many scores they are written out: torch's fused kernel, good for long sequences,
# takes three to six times as long, forward and backward, in bfloat16 on a CPU.
EXPLICIT_SCORES = 2**26


Kernel = Callable[..., Tensor]
"""`(q: b n h d, k: b m h d, v: b m h d, bias=None, scale=None) -> b n h*d`, as `attend`."""


def attend(
    q: Float[Tensor, "b n h d"],
    k: Float[Tensor, "b m h d"],
    v: Float[Tensor, "b m h d"],
    bias: Float[Tensor, "#b #h #n m"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "b n h*d"]:
    """Return softmax(q k^T * scale + bias) v with the heads side by side.

    `scale` is 1 / sqrt(d) unless given. Another kernel is put in from outside, by setting
    `Attention.kernel`.
    """
    q, k, v = (rearrange(x, "b n h d -> b h n d") for x in (q, k, v))
    scores = q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2]
    if q.dtype is torch.bfloat16 and q.device.type == "cpu" and scores <= EXPLICIT_SCORES:
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        score = q @ k.mT if scale == 1 else (q * scale) @ k.mT
        score = score if bias is None else score + bias
        out = torch.softmax(score, dim=-1) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    return rearrange(out, "b h n d -> b n (h d)")


class Attention(nn.Module):
    """Multi-head attention; q and k are RMS-normalised over all heads together.

    Self-attention when `context` is None, else cross-attention to it. `bias` is added to the
    scores of every query. With `image` the same queries also attend, by themselves, to the
    tokens of pictures, and both results are added, as in Wan 2.1.
    """

    def __init__(self, dim: int, num_heads: int, eps: float, image: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel: Kernel = attend
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)
        if image:
            self.k_img = nn.Linear(dim, dim)
            self.v_img = nn.Linear(dim, dim)
            self.norm_k_img = RMSNorm(dim, eps)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m d"] | None = None,
        rope: Float[Tensor, "n e 2"] | None = None,
        bias: Float[Tensor, "b m"] | None = None,
        image: Float[Tensor, "b i d"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        source = x if context is None else context
        q = self._normed(self.q(x), self.norm_q, rope)
        k = self._normed(self.k(source), self.norm_k, rope)
        score_bias = None if bias is None else bias[:, None, None].to(q.dtype)
        mixed = self.kernel(q, k, self._split(self.v(source)), bias=score_bias)
        if image is not None:
            k = self._normed(self.k_img(image), self.norm_k_img, None)
            mixed = mixed + self.kernel(q, k, self._split(self.v_img(image)))
        out: Tensor = self.o(mixed)
        return out

    def _normed(self, x: Tensor, norm: RMSNorm, rope: Tensor | None) -> Float[Tensor, "b n h e"]:
        return norm_rope(x, norm.weight, norm.eps, self.num_heads, rope)

    def _split(self, x: Tensor) -> Float[Tensor, "b n h e"]:
        return rearrange(x, "b n (h e) -> b n h e", h=self.num_heads)
