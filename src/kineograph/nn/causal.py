"""Convolution that looks only back in time, for a whole clip at once or for a stream of chunks.

Video features lie channels-last here: `b t h w c`. It is the fastest layout for 3D convolution
on a CPU (and for bf16 on a GPU), and a layout that is spelled out in the shape cannot get lost
on the way.

Letters: b batch, t frames, h height, w width, c channels in, o channels out, k history frames.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class ConvCache:
    """What the layers of one model remember of a clip between two chunks of it.

    A fresh cache stands before the first frame. It is keyed by the module that remembers, so a
    layer needs no index, and one cache serves one clip (or one batch of clips) through any
    number of modules. It holds copies of a few frames a layer: its size does not grow with time.
    """

    def __init__(self) -> None:
        self._tails: dict[nn.Module, Tensor] = {}
        self._started: set[nn.Module] = set()

    def begins(self, module: nn.Module) -> bool:
        """Return True on the first call for `module`: the chunk in hand opens the clip."""
        first = module not in self._started
        self._started.add(module)
        return first

    def tail(self, module: nn.Module) -> Tensor | None:
        """Return the frames that `module` last kept, or None if it has kept none."""
        return self._tails.get(module)

    def keep(self, module: nn.Module, frames: Tensor) -> None:
        """Remember a copy of `frames` for `module`, so that the chunk itself can be freed."""
        self._tails[module] = frames.clone()


def begins(cache: ConvCache | None, module: nn.Module) -> bool:
    """Return whether the chunk in hand opens the clip; without a cache it is the whole clip."""
    return cache is None or cache.begins(module)


def per_frame(
    layer: Callable[[Tensor], Tensor], x: Float[Tensor, "b t h w c"]
) -> Float[Tensor, "b t h2 w2 o"]:
    """Apply a layer for channels-first images to every frame."""
    # Contiguous first: folding the frames of a slice would copy it into channels-first order.
    # Folded before channels move: a single frame has its stride then, without which convolutions
    # take it for channels-first and are several times as slow.
    out = layer(x.contiguous().flatten(0, 1).movedim(-1, 1))
    return rearrange(out, "(b t) c h w -> b t h w c", b=x.shape[0])


class CausalConv3d(nn.Conv3d):
    """A 3D convolution whose output frame depends on its own and earlier input frames only.

    In space it is a "same" convolution for odd kernels. In time it reads `kernel - stride`
    frames of history, which are zeros before the clip or come from `cache` within it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int, int],
        time_stride: int = 1,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=(time_stride, 1, 1),
            padding=(0, kernel_size[1] // 2, kernel_size[2] // 2),
        )
        self.history = kernel_size[0] - time_stride

    def forward(
        self,
        x: Float[Tensor, "b t h w c"],
        cache: ConvCache | None = None,
        before: Float[Tensor, "b k h w c"] | None = None,
    ) -> Float[Tensor, "b t2 h w o"]:
        """Convolve a clip (`cache` None) or the next chunk of one.

        `before` gives the history by hand where it is neither zeros nor this layer's own past.
        """
        if self.history > 0:
            if before is None and cache is not None:
                before = cache.tail(self)
            if before is None:
                b, _, h, w, c = x.shape
                before = x.new_zeros(b, self.history, h, w, c)
            x = torch.cat([before.to(x.dtype), x], dim=1)
            if cache is not None:
                cache.keep(self, x[:, -self.history :])
        out = F.conv3d(x.movedim(-1, 1), self.weight, self.bias, self.stride, self.padding)
        return out.movedim(1, -1)
