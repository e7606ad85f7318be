"""The first version of the world, as training sees it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kineograph.train.worlds import UNASKED, Phrasing, Questions
from kineograph.world.captions import Language, caption_with_facts, facts, known_words
from kineograph.world.draw import BASE_SIZES, FPS, NUM_FRAMES, draw_scene
from kineograph.world.render import CPU, render
from kineograph.world.scene import (
    CAMERA_MOVES,
    COLOURS,
    DIRECTIONS,
    FLOORS,
    MATERIALS,
    MOTIONS,
    SHAPES,
    SIZES,
    SKIES,
    SPEEDS,
    WORLD_VERSION,
    Scene,
    scene_from_dict,
)


class FirstWorld:
    """See `worlds.World`."""

    version = WORLD_VERSION
    fps, num_frames = FPS, NUM_FRAMES
    sizes: Mapping[str, tuple[int, int]] = BASE_SIZES
    ratios: tuple[str, ...] = tuple(BASE_SIZES)
    questions = Questions(
        COLOURS,
        {
            "colour": ("said",),
            "shape": SHAPES,
            "size": SIZES,
            "material": MATERIALS,
            "motion": MOTIONS,
            "direction": DIRECTIONS,
            "speed": SPEEDS,
            "struck": ("yes",),
        },
        {"floor": FLOORS, "sky": SKIES, "camera.move": CAMERA_MOVES, "camera.speed": SPEEDS},
    )
    seen: Mapping[str, tuple[str, ...]] = {
        "shape": SHAPES, "colour": COLOURS, "material": MATERIALS, "size": SIZES,
        "motion": MOTIONS, "direction": DIRECTIONS,
    }  # fmt: skip
    moving: tuple[str, ...] = ("motion", "direction")
    moves: tuple[str, ...] = CAMERA_MOVES
    controls: tuple[str, ...] = ()

    def draw(self, seed: int, *, aspect_ratio: str = "1:1", count: int | None = None) -> Scene:
        return draw_scene(seed, aspect_ratio=aspect_ratio, count=count)

    def imagine(self, seed: int) -> Scene:
        return draw_scene(seed)

    def render(
        self, scenes: list[Scene], times: np.ndarray, *, scale: int, compiled: bool,
        device: torch.device = CPU,
    ) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
        height, width = (scale * side for side in BASE_SIZES[scenes[0].aspect_ratio])
        return render(
            scenes, times, height, width, scale=scale, compiled=compiled, device=device
        )

    def caption(
        self, scene: Scene, rng: random.Random, *, chinese_share: float = 0.0,
        typo_rate: float = 0.0, full: bool = False, phrasing: Phrasing = "trained",
    ) -> tuple[str, frozenset[str]]:  # fmt: skip
        language: Language = "zh" if rng.random() < chinese_share else "en"
        return caption_with_facts(
            scene, language, rng, full=full, typo_rate=typo_rate,
            heldout_phrasing=phrasing == "held",
        )  # fmt: skip

    def answers(self, scene: Scene, said: frozenset[str]) -> list[int]:
        values = facts(scene)
        key = []
        for colour in COLOURS:
            mine = [i for i, thing in enumerate(scene.objects) if thing.colour == colour]
            named = [i for i in mine if f"object{i}.colour" in said]
            key.append(int(bool(named)))
            for name, allowed in list(self.questions.of_objects.items())[1:]:
                if len(mine) != 1 or not named:
                    key.append(UNASKED)
                    continue
                fact = f"object{mine[0]}.{name}"
                key.append(1 + allowed.index(values[fact]) if fact in said else 0)
        for name, allowed in self.questions.of_scenes.items():
            key.append(1 + allowed.index(values[name]) if name in said else 0)
        return key

    def things(self, scene: Scene) -> list[dict[str, str | None]]:
        return [{name: getattr(thing, name) for name in self.seen} for thing in scene.objects]

    def move(self, scene: Scene) -> str:
        return scene.camera.move

    def numbers(self, scene: Scene) -> dict[str, float]:
        return {}

    def to_dict(self, scene: Scene) -> dict[str, Any]:
        return scene.to_dict()

    def from_dict(self, data: dict[str, Any]) -> Scene:
        return scene_from_dict(data)

    def known_words(self) -> list[str]:
        return known_words()
