"""The judges' networks: small, and trained on renders of the world alone.

Letters: n frames or crops, b clips, k colours or classes, t frames of a clip, h height, w width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def _conv(ins: int, outs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(8, outs), nn.SiLU())


class PixelNet(nn.Module):
    """Say of every pixel whether it is background or an object of which colour.

    Works on half the resolution inside and writes four pixels from each; a summary of the
    whole picture tells it the light, without which a white ball at night is a blue one.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 24, 5, 2, 2, bias=False)
        self.down2 = nn.Sequential(stem, nn.GroupNorm(8, 24), nn.SiLU())
        self.down4 = nn.Sequential(_conv(24, 48, 2), _conv(48, 48))
        self.down8 = nn.Sequential(_conv(48, 64, 2), _conv(64, 64))
        self.whole = nn.Linear(64, 64)
        self.up4 = _conv(64 + 48, 32)
        self.up2 = _conv(32 + 24, 32)
        self.out = nn.Conv2d(32, 4 * classes, 1)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k h w"]:
        """Return logits of frames in [-1, 1]; sides are multiples of 8."""
        half = self.down2(frames)
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        eighth = eighth + self.whole(eighth.mean((2, 3)))[:, :, None, None]
        x = self.up4(torch.cat((F.interpolate(eighth, scale_factor=2), quarter), 1))
        x = self.up2(torch.cat((F.interpolate(x, scale_factor=2), half), 1))
        return F.pixel_shuffle(self.out(x), 2)


class CropNet(nn.Module):
    """Tell the shape of the object in the middle of a 32 x 32 crop: colours and its mask."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(4, 24), _conv(24, 48, 2), _conv(48, 64, 2), _conv(64, 64), _conv(64, 64, 2)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64 * 16, classes))

    def forward(self, crops: Float[Tensor, "n 4 32 32"]) -> Float[Tensor, "n k"]:
        """Return logits; colours in [-1, 1], mask in 0..1."""
        return self.head(self.body(crops))


class ClipNet(nn.Module):
    """Classify 13 frames of 64 x 64 pixels by what moves in them: five convolutions in space-time.

    `classes` gives the width of each answer, `pool` the cells in time, height and width over
    which the last layer sees means; all answers share the convolutions.
    """

    def __init__(
        self, channels: int, classes: tuple[int, ...], pool: tuple[int, int, int] = (2, 2, 2)
    ) -> None:
        super().__init__()
        plan = (
            (channels, 16, (1, 5, 5), (1, 2, 2)),
            (16, 32, (3, 3, 3), (1, 2, 2)),
            (32, 48, (3, 3, 3), (2, 2, 2)),
            (48, 64, (3, 3, 3), (1, 1, 1)),
            (64, 64, (3, 3, 3), (2, 2, 2)),
        )
        layers: list[nn.Module] = []
        for ins, outs, kernel, stride in plan:
            pad = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
            layers.append(nn.Conv3d(ins, outs, kernel, stride, pad, bias=False))
            layers += [nn.GroupNorm(8, outs), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.classes = classes
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool3d(pool), nn.Flatten(), nn.Dropout(0.1),
            nn.Linear(64 * math.prod(pool), sum(classes)),
        )  # fmt: skip

    def forward(self, clips: Float[Tensor, "b c t h w"]) -> tuple[Float[Tensor, "b _"], ...]:
        """Return one tensor of logits for each answer."""
        return self.head(self.body(clips)).split(self.classes, 1)


class MotionNet(nn.Module):
    """Tell what one object does, from the whole clip and from crops that follow the object.

    The whole clip shows where it goes against what stands still; in the crops, which move and
    grow with it, what is left is how it turns. Who struck whom depends on how the camera moves:
    so the camera's move is asked as well, in training, and what both views show is combined in
    a layer of its own.
    """

    def __init__(self, classes: int, camera_moves: int) -> None:
        super().__init__()
        # colours, the mask of the object and of all
        self.whole = ClipNet(5, (camera_moves, 48), pool=(4, 2, 2))
        self.near = ClipNet(4, (48,))  # colours and the mask of the object
        self.head = nn.Sequential(
            nn.Linear(camera_moves + 96, 96), nn.SiLU(), nn.Dropout(0.1), nn.Linear(96, classes)
        )

    def forward(
        self, clips: Float[Tensor, "b 5 t h w"], crops: Float[Tensor, "b 4 t 32 32"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b _"]]:
        """Return the logits of the motion and those of the camera's move."""
        camera, whole = self.whole(clips)
        (near,) = self.near(crops)
        return self.head(torch.cat((camera, F.silu(whole), F.silu(near)), 1)), camera
