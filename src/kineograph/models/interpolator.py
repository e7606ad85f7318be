"""A small learned interpolator: the frame between two frames, so that motion is twice as fine.

Both frames are moved to the middle by flows that a U-shaped network sees in them and in the two
around them, blended, and mended where neither shows what is there (after RIFE, arXiv 2011.06294,
without its teacher). The two outer frames tell a bounce from a flight.

Letters: n pairs, c channels, h height, w width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.spec import InterpolatorConfig

BetweenFn = Callable[[Tensor], Tensor]
"""`(four frames: n k c h w) -> the frame in their middle: n c h w`."""
CONTEXT = 4  # frames that a new one is made from: two on each side
OUT = 2 + 2 + 1 + 3  # two flows, how much of which, what is added


def _convs(dim: int, out_dim: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(dim, out_dim, 3, stride=stride, padding=1), nn.SiLU(),
        nn.Conv2d(out_dim, out_dim, 3, padding=1), nn.SiLU(),
    )  # fmt: skip


class FrameInterpolator(nn.Module):
    """Make the frame in the middle between the second and the third of four."""

    def __init__(self, config: InterpolatorConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.dim, 2 * config.dim, 3 * config.dim
        self.down1 = _convs(3 * CONTEXT * 4, a)  # at half the size: 2x2 pixels folded
        self.down2 = _convs(a, b, stride=2)
        self.down3 = _convs(b, c, stride=2)
        self.middle = _convs(c, c)
        self.up2 = _convs(c + b, b)
        self.up1 = _convs(b + a, a)
        self.out = nn.Conv2d(a, OUT, 3, padding=1)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise for training from nothing: it starts as the mean of both frames."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                std = (2 / module.weight[0].numel()) ** 0.5
                nn.init.normal_(module.weight, std=std, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.out.weight)

    def forward(self, frames: Float[Tensor, "n k c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the frame between the second and the third of four, float32, not clamped.

        Height and width are multiples of 8.
        """
        assert frames.shape[1] == CONTEXT and frames.shape[-1] % 8 == frames.shape[-2] % 8 == 0
        x1 = self.down1(F.pixel_unshuffle(frames.flatten(1, 2), 2))
        x2 = self.down2(x1)
        x3 = self.middle(self.down3(x2))
        y2 = self.up2(torch.cat((_larger(x3), x2), 1))
        y1 = self.up1(torch.cat((_larger(y2), x1), 1))
        found = F.interpolate(self.out(y1).float(), scale_factor=2, mode="bilinear")
        back, on, share, detail = found.split((2, 2, 1, 3), 1)
        before, after = frames[:, 1].float(), frames[:, 2].float()
        share = share.sigmoid()
        return share * moved(before, back) + (1 - share) * moved(after, on) + detail


def _larger(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def moved(
    frames: Float[Tensor, "n c h w"], flow: Float[Tensor, "n 2 h w"]
) -> Float[Tensor, "n c h w"]:
    """Return frames that show at each pixel what they have `flow` (columns, rows) away from it."""
    h, w = frames.shape[-2:]
    rows = torch.arange(h, device=flow.device, dtype=flow.dtype)
    columns = torch.arange(w, device=flow.device, dtype=flow.dtype)
    x = (columns + flow[:, 0] + 0.5) * (2 / w) - 1
    y = (rows[:, None] + flow[:, 1] + 0.5) * (2 / h) - 1
    grid = torch.stack((x, y), -1)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)


def interpolated(
    interpolator: BetweenFn, chunks: Iterable[Float[Tensor, "b c _t h w"]]
) -> Iterator[Float[Tensor, "b c _t h w"]]:
    """Yield a video, given in chunks, at twice its rate: n frames become 2 n - 1.

    What is before the first frame and behind the last is taken to be like it.
    """
    seen: deque[Tensor] = deque(maxlen=CONTEXT)
    for chunk in chunks:
        made = []
        for frame in chunk.unbind(2):
            if not seen:
                made.append(frame)
                seen += [frame, frame]
                continue
            seen.append(frame)
            if len(seen) == CONTEXT:
                made += _next(interpolator, seen)
        if made:
            yield torch.stack(made, 2)
    if len(seen) > 2:
        seen.append(seen[-1])
        yield torch.stack(_next(interpolator, seen), 2)


def _next(interpolator: BetweenFn, seen: Iterable[Tensor]) -> list[Tensor]:
    four = list(seen)
    return [interpolator(torch.stack(four, 1)).to(four[2].dtype), four[2]]
