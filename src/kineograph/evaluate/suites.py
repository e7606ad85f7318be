"""Suites: fixed lists of prompts, each made from a scene and with the facts that it states.

A suite is a pure function of its name and SUITES_VERSION. Short, medium and long captions,
English and Chinese, take turns, so that any first part of a suite is as mixed as the whole.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kineograph.errors import RequestError
from kineograph.world.captions import STYLES, Language, Style, caption_with_facts
from kineograph.world.draw import draw_scene
from kineograph.world.scene import Scene, scene_from_dict

SUITES_VERSION = 1
SUITE_SEED = 1 << 42  # of scenes; training lies below, the judges' own scenes above
SEEDS_A_SUITE = 1 << 34
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Prompt:
    """A prompt, the scene it describes, what it states of it, and the seed of its noise."""

    text: str
    language: str
    style: str
    scene: Scene
    said: frozenset[str]  # names of `captions.facts`
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, the same every time."""
        return {
            "text": self.text,
            "language": self.language,
            "style": self.style,
            "seed": self.seed,
            "said": sorted(self.said),
            "scene": self.scene.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Prompt:
        """Read what `to_dict` wrote."""
        scene, said = scene_from_dict(data["scene"]), frozenset(data["said"])
        return cls(**{**data, "scene": scene, "said": said})


@dataclass(frozen=True)
class Suite:
    """How the prompts of a suite are drawn."""

    name: str
    summary: str
    prompts: int
    number: int  # its place among the seeds; never given to another suite
    counts: tuple[int, ...] = (1,)  # objects, in turns
    split: str = "train"
    styles: tuple[Style, ...] = STYLES
    wanted: Callable[[Scene], bool] = lambda scene: True
    must_say: frozenset[str] = frozenset()  # facts without which a caption is drawn again


def _falls(scene: Scene) -> bool:
    return scene.objects[0].motion == "fall" and scene.camera.move == "static"


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("single", "one object, as in training; 200 prompts of each length", 600, 0),
        Suite("pair", "one object of a colour and shape never seen together", 210, 1, split="pair"),
        Suite("triple", "one object that never did this in training", 120, 2, split="triple"),
        Suite("two", "two objects", 210, 3, counts=(2,)),
        Suite("count", "one, two or three objects", 120, 4, counts=(1, 2, 3)),
        Suite(
            "physics", "falls before a static camera", 120, 5, styles=("medium", "long"),
            wanted=_falls, must_say=frozenset({"object0.motion", "object0.material", "camera.move"})
        ),
    )
}  # fmt: skip


def get_suite(name: str) -> Suite:
    """Return the suite of a name; a `RequestError` lists the names there are."""
    if name not in SUITES:
        raise RequestError(f"unknown suite {name!r}; available: {', '.join(SUITES)}")
    return SUITES[name]


def make_prompts(suite: Suite, count: int | None = None) -> list[Prompt]:
    """Return the first `count` prompts of a suite, or all.

    Raises `RequestError` if there are not so many.
    """
    count = suite.prompts if count is None else count
    if not 1 <= count <= suite.prompts:
        raise RequestError(f"suite {suite.name} has 1 to {suite.prompts} prompts, not {count}")
    first, prompts = SUITE_SEED + suite.number * SEEDS_A_SUITE, []
    seed = first
    for i in range(count):
        # languages take turns fastest, then styles, then numbers of objects
        language = LANGUAGES[i % 2]
        style = suite.styles[i // 2 % len(suite.styles)]
        objects = suite.counts[i // (2 * len(suite.styles)) % len(suite.counts)]
        while True:
            scene = draw_scene(seed, count=objects, split=suite.split)
            seed += 1
            if suite.wanted(scene):
                break
        prompts.append(_prompt(suite, i, scene, language, style))
    return prompts


def _prompt(suite: Suite, index: int, scene: Scene, language: Language, style: Style) -> Prompt:
    rng = random.Random(f"suite {suite.name} {SUITES_VERSION} {index}")
    while True:
        text, said = caption_with_facts(scene, language, rng, style=style)
        if suite.must_say <= said:
            return Prompt(text, language, style, scene, said, rng.randrange(1 << 31))
