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


class DeepPixelNet(nn.Module):
    """A `PixelNet` one level deeper, which sees an object whole: a dark stripe is no black ball."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 24, 5, 2, 2, bias=False)
        self.down2 = nn.Sequential(stem, nn.GroupNorm(8, 24), nn.SiLU())
        self.down4 = nn.Sequential(_conv(24, 48, 2), _conv(48, 48))
        self.down8 = nn.Sequential(_conv(48, 80, 2), _conv(80, 80))
        self.down16 = nn.Sequential(_conv(80, 96, 2), _conv(96, 96), _conv(96, 96))
        self.whole = nn.Linear(96, 96)
        self.up8 = _conv(96 + 80, 80)
        self.up4 = _conv(80 + 48, 48)
        self.up2 = _conv(48 + 24, 32)
        self.out = nn.Conv2d(32, 4 * classes, 1)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k h w"]:
        """Return logits of frames in [-1, 1]; sides are multiples of 8."""
        half = self.down2(frames)
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        x = self.down16(eighth)
        x = x + self.whole(x.mean((2, 3)))[:, :, None, None]
        x = self.up8(torch.cat((F.interpolate(x, eighth.shape[2:]), eighth), 1))
        x = self.up4(torch.cat((F.interpolate(x, scale_factor=2), quarter), 1))
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


class LookNet(nn.Module):
    """Tell shape and material of the object in the middle of a 48 x 48 crop: colours and mask."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(4, 32), _conv(32, 64, 2), _conv(64, 64), _conv(64, 96, 2), _conv(96, 96),
            _conv(96, 96, 2),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(96 * 36, classes))

    def forward(self, crops: Float[Tensor, "n 4 48 48"]) -> Float[Tensor, "n k"]:
        """Return logits; colours in [-1, 1], mask in 0..1."""
        return self.head(self.body(crops))


class FrameNet(nn.Module):
    """Classify single frames by what is fine in them: rain from snow, one style from another."""

    def __init__(self, classes: tuple[int, ...]) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 24, 5, 2, 2, bias=False)
        self.body = nn.Sequential(
            stem, nn.GroupNorm(8, 24), nn.SiLU(),
            _conv(24, 48, 2), _conv(48, 64), _conv(64, 96, 2), _conv(96, 96),
        )  # fmt: skip
        self.classes = classes
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(96 * 5, sum(classes)))

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n _"], ...]:
        """Return one tensor of logits for each answer, of frames in [-1, 1]."""
        x = self.body(frames)
        quarters = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return self.head(torch.cat((quarters, x.amax((2, 3))), 1)).split(self.classes, 1)


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


class ActNet(nn.Module):
    """A `MotionNet` that is also told, in numbers, where the object is in every frame.

    Where it is, how fast that changes, how large, how drawn out and how turned it is, and where
    all the others are: read off the masks, so that a fall is a parabola before anything is learnt.
    """

    NUMBERS = 13

    def __init__(self, classes: int, camera_moves: int) -> None:
        super().__init__()
        self.whole = ClipNet(5, (camera_moves, 48), pool=(4, 2, 2))
        self.near = ClipNet(4, (48,))
        layers: list[nn.Module] = []
        for ins, outs in ((self.NUMBERS, 48), (48, 64), (64, 64)):
            conv = nn.Conv1d(ins, outs, 3, 1, 1, bias=False)
            layers += [conv, nn.GroupNorm(8, outs), nn.SiLU()]
        self.track = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(6), nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(camera_moves + 96 + 64 * 6, 128), nn.SiLU(), nn.Dropout(0.1),
            nn.Linear(128, classes),
        )  # fmt: skip

    @staticmethod
    def numbers(masks: Float[Tensor, "b 2 t h w"]) -> Float[Tensor, "b 13 t"]:
        """Return what masks of an object and of all objects say; sides are those of a square."""
        mine, all_ = masks.float().unbind(1)
        height, width = mine.shape[-2:]
        side = math.sqrt(height * width)
        x = (torch.arange(width, device=mine.device) + 0.5 - width / 2) / side
        y = (torch.arange(height, device=mine.device) + 0.5 - height / 2) / side

        def middle(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            area = a.sum((2, 3))
            return area, (a.sum(2) @ x) / (area + 0.5), (a.sum(3) @ y) / (area + 0.5)

        area, u, v = middle(mine)
        p, q = x - u[..., None], y - v[..., None]  # b t w, b t h
        share = area + 0.5
        xx = ((mine.sum(2) * p * p).sum(2) / share).sqrt()
        yy = ((mine.sum(3) * q * q).sum(2) / share).sqrt()
        xy = torch.einsum("bthw,btw,bth->bt", mine, p, q) / share
        xy = xy / (xx * yy + 1e-3)
        rest, s, t = middle((all_ - mine).clamp_min(0))
        seen, others = (area > 2).float(), (rest > 2).float()
        both = F.pad(seen[:, 1:] * seen[:, :-1], (1, 0))
        right, down = (20 * both * (a - a.roll(1, 1)) for a in (u, v))
        rows = (
            3 * u, 3 * v, right, down, 4 * area.sqrt() / side, 8 * xx, 8 * yy, xy, seen,
            3 * s, 3 * t, 2 * rest.sqrt() / side, others,
        )  # fmt: skip
        return torch.stack(rows, 1)

    def forward(
        self, clips: Float[Tensor, "b 5 t h w"], crops: Float[Tensor, "b 4 t 32 32"]
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b _"]]:
        """Return the logits of the motion and those of the camera's move."""
        camera, whole = self.whole(clips)
        (near,) = self.near(crops)
        with torch.autocast(clips.device.type, enabled=False):  # a tenth of a pixel counts
            track = self.track(self.numbers(clips[:, 3:]))
        parts = (camera, F.silu(whole), F.silu(near), track)
        return self.head(torch.cat([p.float() for p in parts], 1)), camera
