"""The text encoder: UMT5 (arXiv 2304.09151), the encoder half of T5 (arXiv 1910.10683).

Letters: b batch, l tokens, d model channels, h heads, e channels of a head, f hidden
channels of the two-layer network.

Parameter names are those of the original Wan files; `weights/keymaps.py` has the table
to transformers' UMT5EncoderModel.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kineograph.nn.activation import TanhGELU
from kineograph.nn.attention import attend
from kineograph.nn.norm import RMSNorm, work_dtype
from kineograph.spec import TextConfig

AWAY = 4.0  # what the side that a head looks away from loses of its score at first
HIDDEN = -1e30  # the score of a padded key; finite in bfloat16 too


def distance_buckets(length: int, num_buckets: int, max_distance: int) -> Int[Tensor, "l l"]:
    """Return the bucket of the signed distance key - query for every pair of places.

    Half of the buckets are for keys to the right. In each half the near distances have a
    bucket each, and farther ones share buckets that grow logarithmically up to
    `max_distance`; beyond it all share the last.
    """
    place = torch.arange(length)
    distance = place[None, :] - place[:, None]
    half = num_buckets // 2
    near = half // 2
    far = distance.abs()
    growth = torch.log(far.clamp(min=1).float() / near) / math.log(max_distance / near)
    log_bucket = (near + (growth * (half - near)).long()).clamp(max=half - 1)
    return torch.where(far < near, far, log_bucket) + half * (distance > 0)


def nearness(config: TextConfig) -> Float[Tensor, "k h"]:
    """Return biases by which heads look near at first, one nearer than the next.

    Every third head looks both ways, the others to one side (slopes after ALiBi, arXiv
    2108.12409). From biases near zero an encoder of this size stays a bag of words for
    thousands of steps: which colour is whose lies in what stands beside what.
    """
    half = config.num_buckets // 2
    near = half // 2
    place = torch.arange(half, dtype=torch.float32)
    growth = (config.max_distance / near) ** ((place - near) / (half - near))
    distance = torch.where(place < near, place, near * growth)
    heads = torch.arange(config.num_heads)
    slope = 2.0 ** (-4.0 * heads / config.num_heads)
    bias = -distance.repeat(2)[:, None] * slope
    right = (torch.arange(config.num_buckets) >= half)[:, None]
    other_side = (right & (heads % 3 == 1)) | (~right & (heads % 3 == 2))
    return torch.where(other_side, bias - AWAY, bias)


class TextAttention(nn.Module):
    """Self-attention of T5: no biases, no 1/sqrt(e), a learned bias by distance."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.q = nn.Linear(config.dim, inner, bias=False)
        self.k = nn.Linear(config.dim, inner, bias=False)
        self.v = nn.Linear(config.dim, inner, bias=False)
        self.o = nn.Linear(inner, config.dim, bias=False)

    def forward(
        self, x: Float[Tensor, "b l d"], bias: Float[Tensor, "b h l l"]
    ) -> Float[Tensor, "b l d"]:
        q, k, v = (
            rearrange(project(x), "b l (h e) -> b l h e", h=self.num_heads)
            for project in (self.q, self.k, self.v)
        )
        out: Tensor = self.o(attend(q, k, v, bias=bias.to(q.dtype), scale=1.0))
        return out


class GatedMLP(nn.Module):
    """Two projections, one of them through GELU as a gate of the other, and one back."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(config.dim, config.ffn_dim, bias=False), TanhGELU())
        self.fc1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.fc2 = nn.Linear(config.ffn_dim, config.dim, bias=False)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        out: Tensor = self.fc2(self.fc1(x) * self.gate(x))
        return out


class DistanceBias(nn.Module):
    """A learned number for each head and bucket of distance."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.num_buckets, config.num_heads)

    def forward(self, buckets: Int[Tensor, "l l"]) -> Float[Tensor, "1 h l l"]:
        return rearrange(self.embedding(buckets), "q k h -> 1 h q k")


class TextBlock(nn.Module):
    """Attention and a gated network, each after its norm; the bias is the block's own."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.dim, config.eps)
        self.attn = TextAttention(config)
        self.norm2 = RMSNorm(config.dim, config.eps)
        self.ffn = GatedMLP(config)
        self.pos_embedding = DistanceBias(config)

    def forward(
        self,
        x: Float[Tensor, "b l d"],
        buckets: Int[Tensor, "l l"],
        mask: Bool[Tensor, "b l"],
    ) -> Float[Tensor, "b l d"]:
        bias = self.pos_embedding(buckets)
        bias = torch.where(mask[:, None, None, :], bias, HIDDEN)
        x = x + self.attn(self.norm1(x).to(work_dtype(x)), bias)
        return x + self.ffn(self.norm2(x).to(work_dtype(x)))


class TextEncoder(nn.Module):
    """Turns token ids into one vector a token."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.dim, config.eps)
        self.init_weights()

    def forward(self, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Encode; tokens where `mask` is False are seen by none (their own output is noise)."""
        x = self.token_embedding(ids)
        config = self.config
        buckets = distance_buckets(ids.shape[1], config.num_buckets, config.max_distance)
        buckets = buckets.to(ids.device)
        for block in self.blocks:
            x = block(x, buckets, mask)
        out: Tensor = self.norm(x)
        return out

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise for training from nothing, as T5 does: attention starts unscaled.

        The missing 1/sqrt(e) of the attention is in the deviation of `q`; embeddings have
        deviation 1, projections 1 / sqrt(fan in).
        """

        def normal(weight: Tensor, std: float) -> None:
            nn.init.normal_(weight, std=std, generator=generator)

        config = self.config
        normal(self.token_embedding.weight, 1.0)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                normal(module.weight, module.in_features**-0.5)
            elif isinstance(module, DistanceBias):
                module.embedding.weight.copy_(nearness(config))
            elif isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)
        for module in self.modules():
            if isinstance(module, TextAttention):
                normal(module.q.weight, (config.dim * config.head_dim) ** -0.5)


def encode_context(
    encoder: TextEncoder, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"], text_len: int
) -> Float[Tensor, "b m d"]:
    """Return the context of a DiT: encoded tokens, zero beyond each text's length.

    The result is `text_len` long whatever `l` is, as Wan's transformer expects.
    """
    out = encoder(ids, mask) * mask[..., None]
    return F.pad(out, (0, 0, 0, text_len - ids.shape[1]))
