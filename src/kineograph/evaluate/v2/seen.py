"""What judges of the second world look at, and the names of what they may see.

A clip is seen at about 128 x 128 pixels, 17 frames over 4 s. Objects are told apart by colour;
in the styles that have none, all of them are one.

Letters: t frames, h height, w width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2.draw import picture_size
from kineograph.world.v2.layout import ASPECTS
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import (
    COLOURS,
    DIRECTED,
    DIRECTIONS,
    MOTIONS,
    SEQUELS,
    SHOT_SECONDS,
    Scene,
)

SIDE = 128  # pixels of a judged frame of a square clip
FRAMES = 17
TIMES = np.linspace(0, SHOT_SECONDS, FRAMES)  # s, of the judged frames

PIXEL_CLASSES = 2 + len(COLOURS)  # background, colours, an object whose colour no one can tell
COLOURLESS_CLASS = 1 + len(COLOURS)
UNSURE = 255  # an object that is between two colours

MOTION_CLASSES = (
    *(f"{m} {d}" if d else m for m in MOTIONS for d in (DIRECTIONS if m in DIRECTED else (None,))),
    *(f"struck {d}" for d in DIRECTIONS),
)
THEN_CLASSES = ("nothing", *sorted({name for names in SEQUELS.values() for name in names}))
ORDERS = ("first", "later")


def colour_class(play: Play, i: int) -> NDArray[np.uint8]:
    """Return the class of an object's pixels at TIMES."""
    thing = play.scene.objects[i]
    if play.scene.style in COLOURLESS:
        return np.full(FRAMES, COLOURLESS_CLASS, np.uint8)
    found = np.full(FRAMES, 1 + COLOURS.index(thing.colour), np.uint8)
    if thing.colour_to is not None:
        begin, end = play.changes[i]
        found[(begin < TIMES) & (end > TIMES)] = UNSURE
        found[end <= TIMES] = 1 + COLOURS.index(thing.colour_to)
    return found


def motion_class(scene: Scene, i: int) -> str:
    """Return the class of what an object does first; one that is run into is struck."""
    for other in scene.objects:
        if other.motion == "collide" and other.partner == i:
            return f"struck {other.direction}"
    thing = scene.objects[i]
    return thing.motion if thing.direction is None else f"{thing.motion} {thing.direction}"


def then_class(scene: Scene, i: int) -> str:
    """Return the class of what an object does afterwards."""
    return scene.objects[i].then or "nothing"


def aspect_of(height: int, width: int) -> str:
    """Return the aspect ratio of the world that is nearest to a picture's."""
    return min(ASPECTS, key=lambda r: abs(np.log(width / height * ASPECTS[r][1] / ASPECTS[r][0])))


def to_judged(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t 3 y x"]:
    """Return frames in [-1, 1] at the size that judges see, averaged over area.

    Raises `RequestError` for frames that are smaller, or of no aspect ratio of the world.
    """
    height, width = frames.shape[1:3]
    ratio = aspect_of(height, width)
    size = picture_size(ratio, SIDE)
    if height < size[0] or width < size[1]:
        raise RequestError(f"clips of {width}x{height} cannot be judged; {SIDE}x{SIDE} or larger")
    if abs(np.log(width / height * size[0] / size[1])) > 0.12:
        raise RequestError(
            f"clips of {width}x{height} cannot be judged; allowed: {', '.join(ASPECTS)}"
        )
    x = rearrange(torch.from_numpy(frames), "t h w c -> t c h w").float() / 127.5 - 1
    return x if (height, width) == size else F.interpolate(x, size, mode="area")


def judged(video: UInt8[np.ndarray, "t h w 3"], fps: float) -> Float[Tensor, "17 3 y x"]:
    """Return the frames of a clip that judges look at, in [-1, 1].

    Raises `RequestError` for a clip of a size that cannot be judged or too short.
    """
    index = np.round(TIMES * fps).astype(int)
    if index[-1] >= len(video):
        raise RequestError(
            f"{len(video)} frames at {fps:g} fps cannot be judged; {SHOT_SECONDS:g} s are needed"
        )
    return to_judged(video[index])
