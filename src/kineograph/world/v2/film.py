"""Films: a scene's frames as a viewer sees them, shot by shot, in its style, with transitions.

Frames come a few at a time, so that memory does not grow with the length of a film.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from kineograph.world.gbuffer import GBuffer
from kineograph.world.styles import stylise
from kineograph.world.v2.camera import shot_at, track
from kineograph.world.v2.pack import pack
from kineograph.world.v2.play import Play
from kineograph.world.v2.render import CPU, render_frames
from kineograph.world.v2.scene import FPS
from kineograph.world.v2.weather import fall

Array = NDArray[np.float64]

OVERLAP = 0.5  # s, that a dissolve, fade or wipe takes, half of it before the cut
CHUNK = 32  # frames


def frame_times(seconds: float, fps: float = FPS) -> Array:
    """Return when the frames of a film are (s); the last one is at its end."""
    return np.arange(round(seconds * fps) + 1) / fps


@dataclass(frozen=True)
class Blend:
    """What each frame shows: a shot, and how far another has come over it."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    share: Array  # 0: the first alone
    how: list[str]  # "cut" where one shot is seen alone


def blend(play: Play, times: Array) -> Blend:
    """Return which shots the frames at some times (s) show."""
    shots = play.scene.shots
    first = shot_at(play.scene, times)
    second, share, how = first.copy(), np.zeros(len(times)), ["cut"] * len(times)
    end = 0.0
    for k in range(1, len(shots)):
        end += shots[k - 1].seconds
        if shots[k].transition == "cut":
            continue
        u = (times - end) / OVERLAP + 0.5
        for i in np.nonzero((u > 0) & (u < 1))[0]:
            first[i], second[i], share[i] = k - 1, k, u[i]
            how[i] = str(shots[k].transition)
    return Blend(first, second, share, how)


def _mixed(a: Tensor, b: Tensor, share: float, how: str) -> Tensor:
    """Return frame `h w 3` a going over into b."""
    if how == "dissolve":
        return a + (b - a) * share
    if how == "fade":  # through black
        return a * max(0.0, 1 - 2 * share) + b * max(0.0, 2 * share - 1)
    width = a.shape[1]
    edge = (torch.arange(width, device=a.device) + 0.5) / width
    come = ((share * 1.1 - edge) / 0.1).clamp(0, 1)[None, :, None]  # from the left, a soft edge
    return a + (b - a) * come


def filmed(
    play: Play, times: Array, height: int, width: int, *, shots: NDArray[np.int64] | None = None,
    compiled: bool = False, device: torch.device = CPU,
) -> GBuffer:  # fmt: skip
    """Return what is before the camera at some times (s), weather and all, before any style.

    `shots` asks for the cameras of others than the shots that are due.
    """
    camera = track(play.scene, times, shots)
    frames = pack([play], [times], [camera])
    drawn = play.scene.style != "photoreal"  # the others look at the G-buffer
    found = render_frames(frames, height, width, compiled=compiled, device=device, buffers=drawn)
    return fall(found, play.scene, times, camera)


def colours(
    play: Play, times: Array, height: int, width: int, *, compiled: bool = False,
    device: torch.device = CPU,
) -> Iterator[UInt8[Tensor, "f h w 3"]]:  # fmt: skip
    """Yield the frames of a film at some times (s), up to CHUNK at once."""
    plan = blend(play, times)
    for start in range(0, len(times), CHUNK):
        part = slice(start, start + CHUNK)
        t = times[part]
        buffer = filmed(
            play, t, height, width, shots=plan.first[part], compiled=compiled, device=device
        )
        shown = stylise(buffer, play.scene.style)
        both = np.nonzero(plan.share[part] > 0)[0]
        if len(both):
            shown = shown.clone()
            other = filmed(
                play, t[both], height, width, shots=plan.second[part][both], compiled=compiled,
                device=device,
            )  # fmt: skip
            come = stylise(other, play.scene.style)
            for n, i in enumerate(both):
                k = start + int(i)
                shown[i] = _mixed(shown[i], come[n], float(plan.share[k]), plan.how[k])
        yield (shown * 255 + 0.5).to(torch.uint8)
