"""Films on disk, and as the shards of a data set: pictures, sound, captions and truth together."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.media.audio import add_sound
from kineograph.media.video import open_writer
from kineograph.world.shard_files import Clip
from kineograph.world.shards import Generator
from kineograph.world.sound import RATE
from kineograph.world.v2.captions import caption
from kineograph.world.v2.draw import draw_scene, picture_size
from kineograph.world.v2.film import colours, frame_times
from kineograph.world.v2.layout import ASPECTS
from kineograph.world.v2.play import Play
from kineograph.world.v2.render import CPU
from kineograph.world.v2.scene import FPS, VERSION
from kineograph.world.v2.soundtrack import soundtrack
from kineograph.world.v2.splits import is_training
from kineograph.world.v2.truth import truth

Array = NDArray[np.float64]

SMALLEST = 64  # pixels a side
CAPTIONS = 2  # of each language, of each clip of a data set


def write_film(
    path: Path, play: Play, side: int, *, fps: float = FPS, compiled: bool = False,
    sound: bool = True,
) -> None:  # fmt: skip
    """Write a film as mp4, about side x side pixels; with its sound unless told not to."""
    height, width = picture_size(play.scene.aspect_ratio, side)
    times = frame_times(play.scene.seconds, fps)
    with open_writer(path, fps, width, height) as writer:
        for frames in colours(play, times, height, width, compiled=compiled):
            writer.write(frames.numpy())
    if sound:
        add_sound(path, soundtrack(play), RATE)


def generator(
    side: int = 128, *, compiled: bool = False, device: torch.device = CPU, train: bool = True
) -> Generator:
    """Return what makes the clips of a data set: clip i is the scene of seed i.

    `train` keeps every held-out combination out; aspect ratios take turns by chance.
    Raises `RequestError` for a size that is not allowed.
    """
    if side < SMALLEST or side % 16:
        raise RequestError(f"size {side} is not allowed; multiples of 16 from {SMALLEST} are")

    def make(seed: int) -> Clip:
        rng = random.Random(f"kineograph clip {VERSION} {seed}")
        ratio = rng.choice(list(ASPECTS))
        keep = is_training if train else None
        scene, play = draw_scene(seed, aspect_ratio=ratio, keep=keep)
        height, width = picture_size(ratio, side)
        times = frame_times(scene.seconds)
        video = torch.cat(
            list(colours(play, times, height, width, compiled=compiled, device=device))
        )
        captions = {
            language: [caption(scene, language, rng) for _ in range(CAPTIONS)]
            for language in ("en", "zh")
        }
        columns: dict[str, bool | int | float | str | None] = {
            "objects": len(scene.objects), "shots": len(scene.shots), "style": scene.style,
            "floor": scene.floor, "sky": scene.sky, "weather": scene.weather,
            "camera": scene.shots[0].camera.move, "aspect_ratio": ratio,
            "contacts": len(play.touches),
        }  # fmt: skip
        return Clip(
            f"{seed:09d}", video.cpu().numpy(), float(FPS), soundtrack(play), captions,
            truth(play, times, height, width), columns,
        )  # fmt: skip

    kinds = {"objects": int, "shots": int, "contacts": int}
    names = ("style", "floor", "sky", "weather", "camera", "aspect_ratio")
    version = f"{VERSION}, {side} pixels, {'training' if train else 'all'}"
    return Generator("kineograph.world.v2", version, make, kinds | dict.fromkeys(names, str))
