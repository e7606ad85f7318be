"""What training asks of the world, the same of each of its versions.

A model's row says which version it learns (`ModelSpec.world_version`); `world_of` opens it. The
stages know no scene but through this.

Letters: b clips, t frames, h height, w width.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kineograph.spec import ModelSpec
from kineograph.world.render import CPU

Scene = Any  # of the version that drew it
Language = Literal["en", "zh"]
Phrasing = Literal["trained", "text", "held"]  # as training with video, text alone, or never
UNASKED = -100  # in a key: what cross-entropy leaves out


@dataclass(frozen=True)
class Questions:
    """What is asked about a caption, each with its answers; answer 0 is "not said".

    Those of objects are asked of each colour; the first of them is whether it is told of.
    """

    colours: tuple[str, ...]
    of_objects: Mapping[str, tuple[str, ...]]
    of_scenes: Mapping[str, tuple[str, ...]]


@runtime_checkable
class World(Protocol):
    """A version of the world, as training sees it."""

    version: int
    fps: int
    num_frames: int  # of a clip
    sizes: Mapping[str, tuple[int, int]]  # height and width at scale 1, by aspect ratio
    ratios: tuple[str, ...]  # those that training sees
    questions: Questions
    seen: Mapping[str, tuple[str, ...]]  # facts of an object that its pixels show
    moving: tuple[str, ...]  # those of them that take time to be seen
    moves: tuple[str, ...]  # of the camera
    controls: tuple[str, ...]  # what `numbers` may name

    def draw(self, seed: int, *, aspect_ratio: str = "1:1", count: int | None = None) -> Scene:
        """Return the scene of a seed, one that training may see."""
        ...

    def imagine(self, seed: int) -> Scene:
        """Return a scene to be told of, all the same whether everything in it could be seen."""
        ...

    def render(
        self, scenes: list[Scene], times: np.ndarray, *, scale: int, compiled: bool,
        device: torch.device = CPU,
    ) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
        """Render scenes of one aspect ratio at some times (s), and which object a pixel shows.

        Objects count from 1; 0 is the background.
        """
        ...

    def caption(
        self, scene: Scene, rng: random.Random, *, chinese_share: float = 0.0,
        typo_rate: float = 0.0, full: bool = False, phrasing: Phrasing = "trained",
    ) -> tuple[str, frozenset[str]]:  # fmt: skip
        """Word a scene; return the text and the names of the facts that it states."""
        ...

    def answers(self, scene: Scene, said: frozenset[str]) -> list[int]:
        """Return the answers to `questions`, colour by colour, then of the scene.

        UNASKED where a question makes no sense: of a colour that is not said, and of one that
        two objects have, of which "the red one" would be a riddle.
        """
        ...

    def things(self, scene: Scene) -> list[dict[str, str | None]]:
        """Return for each object its facts of `seen`; None where it has none, or none is seen."""
        ...

    def move(self, scene: Scene) -> str:
        """Return how the camera moves."""
        ...

    def numbers(self, scene: Scene) -> dict[str, float]:
        """Return what is known in numbers: a camera's rates (m/s, deg/s, 1/s), and speed.

        Rates are 0 along the axes on which a steady camera stands; "speed" is a factor, 1 for
        normal, and missing where nothing has one.
        """
        ...

    def to_dict(self, scene: Scene) -> dict[str, Any]: ...

    def from_dict(self, data: dict[str, Any]) -> Scene: ...

    def known_words(self) -> list[str]:
        """Return the words of its captions, those of held phrasings left out."""
        ...


def world_of(spec: ModelSpec) -> World:
    """Return the version of the world that a model learns; the first where its row names none."""
    from kineograph.train.world1 import FirstWorld
    from kineograph.train.world2 import SecondWorld

    return SecondWorld() if spec.world_version == 2 else FirstWorld()


def base_scale(spec: ModelSpec) -> int:
    """Return how many pixels of a model's base size make a base pixel of its world."""
    return spec.sizes["1:1"].height // world_of(spec).sizes["1:1"][0]
