"""A small learned upsampler: sharp frames from the base size, causally in time.

A residual network at low resolution (EDSR without norms, arXiv 1707.02921) whose first layer
sees the two frames before, then a pixel shuffle (arXiv 1609.05158), added to a bicubic
enlargement.

Letters: b batch, c channels, t frames, h height, w width, q and r sub-pixels down and across.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.nn.causal import CausalConv3d, ConvCache, per_frame
from kineograph.spec import UpsamplerConfig


class Block(nn.Module):
    """Two convolutions on each frame around a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(x)))


class VideoUpsampler(nn.Module):
    """Enlarge video by `config.scale` in height and width."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_in = CausalConv3d(3, config.dim, (3, 3, 3))
        self.blocks = nn.Sequential(*(Block(config.dim) for _ in range(config.num_blocks)))
        self.conv_out = nn.Conv2d(config.dim, 3 * config.scale**2, 3, padding=1)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise for training from scratch: the model starts as plain bicubic enlargement."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                std = module.weight[0].numel() ** -0.5
                if name.endswith("conv2"):
                    std *= 0.1
                nn.init.normal_(module.weight, std=std, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self, video: Float[Tensor, "b 3 t h w"], cache: ConvCache | None = None
    ) -> Float[Tensor, "b 3 t h2 w2"]:
        """Return the video (float32, about [-1, 1], not clamped) enlarged by `scale`.

        With a `cache` the video is the next chunk of a clip, of any number of frames.
        """
        s, b = self.config.scale, video.shape[0]
        features = self.conv_in(rearrange(video, "b c t h w -> b t h w c"), cache)
        detail = per_frame(lambda x: self.conv_out(x + self.blocks(x)), features).float()
        frames = rearrange(video.float(), "b c t h w -> (b t) c h w")
        plain = F.interpolate(frames, scale_factor=s, mode="bicubic", align_corners=False)
        return rearrange(plain, "(b t) c h w -> b c t h w", b=b) + rearrange(
            detail, "b t h w (c q r) -> b c t (h q) (w r)", q=s, r=s
        )
