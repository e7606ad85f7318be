"""What a renderer knows of every pixel besides its colour. Letters: f frames, h rows, w columns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

SKY, FLOOR, FIRST_OBJECT = 0, 1, 2  # owners; object n is FIRST_OBJECT + n


@dataclass(frozen=True)
class GBuffer:
    """Frames with what each pixel shows."""

    colour: Float[Tensor, "f h w 3"]  # display space, in [0, 1]
    owner: Int[Tensor, "f h w"]  # SKY, FLOOR, or FIRST_OBJECT + n
    depth: Float[Tensor, "f h w"]  # m along the ray; large for the sky
    normal: Float[Tensor, "f h w 3"]  # in the world, y up; zero for the sky
    facing: Float[Tensor, "f h w"]  # cosine between normal and the way to the camera; 1 for the sky
