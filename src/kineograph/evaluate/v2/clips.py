"""Clips to be judged: true ones, a model's, anybody's; pictures at the judged size, and sound.

Letters: t frames, h height, w width, n samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from kineograph.errors import RequestError
from kineograph.evaluate.v2.seen import SIDE, to_judged
from kineograph.evaluate.v2.suites import Prompt
from kineograph.media.audio import read_sound
from kineograph.media.video import read_video
from kineograph.world.sound import RATE
from kineograph.world.v2 import native
from kineograph.world.v2.draw import picture_size, play_of
from kineograph.world.v2.film import colours, frame_times
from kineograph.world.v2.scene import FPS
from kineograph.world.v2.soundtrack import soundtrack

MAX_FPS = 60.0
LATE = 0.5  # of a frame of the world, that a video may be too short


@dataclass(frozen=True)
class Clip:
    """A clip at the judged size, with its sound where it has one."""

    frames: UInt8[ndarray, "t h w 3"]
    fps: float
    sound: Float[ndarray, "n 2"] | None = None
    rate: int = RATE  # samples of the sound a second


def true_clip(prompt: Prompt, fps: float = FPS) -> Clip:
    """Return the scene of a prompt, rendered."""
    play = play_of(prompt.scene)
    height, width = picture_size(prompt.scene.aspect_ratio, SIDE)
    times = frame_times(prompt.scene.seconds, fps)
    parts = colours(play, times, height, width, compiled=native.ready())
    frames = np.concatenate([part.numpy() for part in parts])
    return Clip(frames, float(fps), soundtrack(play))


def small(frames: UInt8[ndarray, "t h w 3"]) -> UInt8[ndarray, "t y x 3"]:
    """Return frames averaged down to the judged size; `RequestError` as `seen.to_judged`."""
    pixels = to_judged(frames).add(1).mul(127.5).round().byte().numpy()
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def read_clip(path: Path, seconds: float) -> Clip:
    """Return the first seconds of a video, as many frames a second as it has.

    Raises:
        RequestError: it cannot be decoded or judged, or is shorter.
    """
    with read_video(path) as reader:
        fps = float(reader.fps)
        if fps > MAX_FPS:
            raise RequestError(f"{fps:g} fps cannot be judged; up to {MAX_FPS:g} can")
        wanted = round(seconds * fps) + 1
        frames: list[ndarray] = []
        for frame in reader:
            frames.append(small(frame[None])[0])
            if len(frames) == wanted:
                break
    # "49 frames" and "4 seconds" differ by one frame: both will do
    if len(frames) < wanted and (wanted - len(frames)) / fps > 1 / FPS + LATE / FPS:
        raise RequestError(
            f"{len(frames)} frames at {fps:g} fps cannot be judged; {seconds:g} s are needed"
        )
    frames += [frames[-1]] * (wanted - len(frames))
    heard = read_sound(path, seconds)
    sound, rate = (None, RATE) if heard is None else heard
    return Clip(np.stack(frames), fps, sound, rate)
