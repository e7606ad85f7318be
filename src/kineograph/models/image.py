"""The image tower of CLIP (arXiv 2103.00020) that Wan 2.1 sees pictures with.

Letters: b batch, c channels, h height, w width, i tokens of a picture, d model channels.

Parameter names are those of the original Wan files; `weights/keymaps.py` has the table to
transformers' CLIPVisionModel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.nn.attention import attend
from kineograph.spec import ImageConfig

# Of the pictures that CLIP was trained on, a channel (arXiv 2103.00020's published code).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class ImageAttention(nn.Module):
    """Self-attention whose queries, keys and values come from one projection."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.to_qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Float[Tensor, "b i d"]) -> Float[Tensor, "b i d"]:
        q, k, v = rearrange(self.to_qkv(x), "b i (s h e) -> s b i h e", s=3, h=self.num_heads)
        out: Tensor = self.proj(attend(q, k, v))
        return out


class ImageBlock(nn.Module):
    """Attention and a two-layer network, each after its norm."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, config.eps)
        self.attn = ImageAttention(config)
        self.norm2 = nn.LayerNorm(config.dim, config.eps)
        self.mlp = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim), nn.GELU(), nn.Linear(config.ffn_dim, config.dim)
        )

    def forward(self, x: Float[Tensor, "b i d"]) -> Float[Tensor, "b i d"]:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ImageEncoder(nn.Module):
    """Turns pictures into tokens: one for the whole, then one a patch."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        patch = config.patch_size
        self.patch_embedding = nn.Conv2d(3, config.dim, patch, patch, bias=False)
        self.cls_embedding = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.tokens, config.dim))
        self.pre_norm = nn.LayerNorm(config.dim, config.eps)
        self.transformer = nn.Sequential(*(ImageBlock(config) for _ in range(config.num_layers)))
        self.init_weights()

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b i d"]:
        """Encode pictures of the config's size, their values as `prepare` gives them."""
        side = self.config.image_size
        assert pictures.shape[2:] == (side, side), "prepare() brings pictures to the size"
        x = rearrange(self.patch_embedding(pictures), "b d h w -> b (h w) d")
        x = torch.cat((self.cls_embedding.to(x.dtype).expand(len(x), -1, -1), x), 1)
        out: Tensor = self.transformer(self.pre_norm(x + self.pos_embedding))
        return out

    def prepare(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """Return pictures in [-1, 1] as the encoder wants them.

        The whole picture is squeezed into the square, as Wan's own code does; diffusers cuts
        the middle out.
        """
        side = self.config.image_size
        square = F.interpolate(pictures, size=(side, side), mode="bicubic", align_corners=False)
        mean, std = (square.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
        return (square * 0.5 + 0.5 - mean) / std

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise for training from nothing."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        for embedding in (self.cls_embedding, self.pos_embedding):
            nn.init.normal_(embedding, std=self.config.dim**-0.5, generator=generator)
