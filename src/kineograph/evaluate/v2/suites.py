"""Suites of the second world: fixed lists of prompts with the scenes and the facts that they state.

A suite is a pure function of its name and SUITES_VERSION; its prompts take turns in language
and length, so that any first part of it is as mixed as the whole. S0 to S10 are the splits of
`world.v2.splits`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kineograph.errors import RequestError
from kineograph.evaluate.v2.judges import group_of
from kineograph.evaluate.v2.pool import distinct
from kineograph.world.v2 import splits
from kineograph.world.v2.captions import LANGUAGES, Language, caption_with_facts
from kineograph.world.v2.draw import all_visible, draw_scene, play_of
from kineograph.world.v2.facts import STYLES as LENGTHS
from kineograph.world.v2.facts import Style as Length
from kineograph.world.v2.lexicon import Phrasing
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    FPS,
    STYLES,
    Scene,
    scene_from_dict,
)
from kineograph.world.v2.splits import english_only, is_training, pairs_of, split_of

SUITES_VERSION = 2
SUITE_SEED = 1 << 42  # of scenes; training lies below, the judges' own scenes above
SEEDS_A_SUITE = 1 << 34
Wanted = Callable[[Scene], bool]


@dataclass(frozen=True)
class Prompt:
    """A prompt, the scene it describes, what it states of it, and the seed of its noise."""

    text: str
    language: Language
    length: Length
    scene: Scene
    said: Mapping[str, str]  # of `facts.facts`
    seed: int

    @property
    def num_frames(self) -> int:
        """Frames of the clip at FPS, the last one included."""
        return round(self.scene.seconds * FPS) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, the same every time."""
        return {
            "text": self.text,
            "language": self.language,
            "length": self.length,
            "seed": self.seed,
            "said": dict(self.said),
            "scene": self.scene.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Prompt:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "scene": scene_from_dict(data["scene"])})


@dataclass(frozen=True)
class Suite:
    """How the prompts of a suite are drawn."""

    name: str
    summary: str
    prompts: int
    number: int  # its place among the seeds; never given to another suite
    counts: tuple[int | None, ...] = (1,)  # objects, in turns; None: as the world has them
    split: str | None = None  # None: as in training
    styles: tuple[str, ...] | None = ("photoreal",)  # in turns; None: as the world has them
    lengths: tuple[Length, ...] = LENGTHS
    languages: tuple[Language, ...] = LANGUAGES
    phrasing: Phrasing = "trained"
    shots: str = "shot"  # "shots": several
    numbers: tuple[str, ...] = ("seen",)  # in turns
    aspects: tuple[str, ...] = ("1:1",)  # in turns
    seconds: tuple[float, ...] = ()  # of one shot, in turns; as the world has them if none
    wanted: Callable[[Scene, int], bool] = lambda scene, turn: True  # turns as those above
    must_say: Callable[[Mapping[str, str]], bool] = lambda said: True


def _alone(scene: Scene, split: str | None) -> bool:
    """Return whether a scene holds the split out and no other; None: nothing is held out."""
    held = split_of(scene)
    return is_training(scene) if split is None else held == {split}


LAWFUL = ("fall", "bounce", "throw", "collide", "pendulum", "roll", "slide")


def _falls(scene: Scene, turn: int) -> bool:
    return scene.objects[0].motion == LAWFUL[turn % len(LAWFUL)] and (
        scene.shots[0].camera.move == "static"
    )


def _moves(scene: Scene, turn: int) -> bool:
    return scene.shots[0].camera.move == CAMERA_MOVES[turn % len(CAMERA_MOVES)]


def _in_english_alone(scene: Scene, turn: int) -> bool:
    return any(english_only(*pair) for o in scene.objects for pair in pairs_of(o))


def _then(scene: Scene, turn: int) -> bool:
    return any(o.then or o.order for o in scene.objects)


def _says_relation(said: Mapping[str, str]) -> bool:
    return any(name.startswith("relation") for name in said)


def _says_time(said: Mapping[str, str]) -> bool:
    return any(name.endswith((".then", ".order")) for name in said)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("single", "S0: one object, any style", 480, 0, styles=None),
        Suite("two", "S0: two objects", 400, 1, counts=(2,)),
        Suite("count", "S0: one to six objects", 240, 2, counts=(1, 2, 3, 4, 5, 6)),
        Suite("pair", "S1: a colour and a shape never seen together", 240, 3, split="pair"),
        Suite("triple", "S2: an object that never did this", 240, 4, split="triple"),
        Suite(
            "context", "S3: a style that never had this camera, weather or format", 240, 5,
            split="context", styles=None, aspects=("1:1", "16:9", "9:16"),
        ),
        Suite(
            "relation", "S4: a relation or a number never seen", 240, 6, counts=(2, 3),
            split="relation", must_say=_says_relation, wanted=lambda s, t: bool(s.relations),
        ),
        Suite(
            "relations", "S0: relations as in training", 240, 7, counts=(2, 3),
            must_say=_says_relation, wanted=lambda s, t: bool(s.relations),
        ),
        Suite(
            "interpolation", "S5: numbers from the gap in every range", 120, 8,
            split="interpolation", numbers=("gap",),
        ),
        Suite(
            "extrapolation", "S6: numbers beyond every range", 120, 9, split="extrapolation",
            numbers=("beyond 30", "beyond 60"),
        ),
        Suite("phrasing", "S7: words never seen", 240, 10, phrasing="held"),
        Suite("synonyms", "S7: words seen in texts alone", 240, 11, phrasing="text"),
        Suite(
            "crosslingual", "S8: pairs captioned in English alone, asked for in Chinese", 120, 12,
            languages=("zh",), wanted=_in_english_alone,
        ),
        Suite(
            "temporal", "S9: an order of events never seen", 120, 13, counts=(1, 2),
            split="temporal", wanted=_then, must_say=_says_time,
        ),
        Suite(
            "sequence", "S0: events in order, as in training", 120, 14, counts=(1, 2),
            wanted=_then, must_say=_says_time,
        ),
        Suite(
            "format", "S10: an aspect ratio never seen", 60, 15, split="format", aspects=("21:9",)
        ),
        Suite(
            "long", "S10: 8, 16, 60 and 120 s without a cut", 24, 20, counts=(1, 2),
            split="format", seconds=splits.LENGTHS,
        ),
        Suite(
            "camera", "S0: every move of the camera in turn, with its rates", 270, 16,
            counts=(None,), wanted=_moves,
            must_say=lambda said: {"shot0.camera.move"} <= set(said),
        ),
        Suite(
            "physics", "S0: motions that obey laws, before a static camera", 210, 17,
            counts=tuple(2 if motion == "collide" else 1 for motion in LAWFUL),
            lengths=("medium", "long"), wanted=_falls,
            must_say=lambda said: {"object0.motion", "object0.material"} <= set(said),
        ),
        Suite("styles", "S0: every style in turn", 240, 18, styles=STYLES),
        Suite(
            "shots", "S0: several shots", 60, 19, counts=(1, 2), shots="shots",
            must_say=lambda said: "shots" in said,
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
    return [make_prompt(suite, i) for i in range(count)]


def scene_of(suite: Suite, i: int) -> Scene:
    """Return the scene of the i-th prompt of a suite."""
    # languages take turns fastest, then lengths, then the rest
    turn = i // (len(suite.languages) * len(suite.lengths))
    count = suite.counts[turn % len(suite.counts)]
    style = None if suite.styles is None else suite.styles[turn % len(suite.styles)]

    def keep(scene: Scene) -> bool:
        plain = group_of(scene.style) == "colourless"
        return (
            distinct(scene)
            and not (plain and len(scene.objects) > 1)  # nobody could tell them apart
            and _alone(_lasting(scene, suite.seconds[0]) if suite.seconds else scene, suite.split)
            and suite.wanted(scene, turn)
        )

    seed = SUITE_SEED + suite.number * SEEDS_A_SUITE + i
    while True:
        scene, _ = draw_scene(
            seed, aspect_ratio=suite.aspects[turn % len(suite.aspects)], count=count,
            style=style, more=suite.shots, numbers=suite.numbers[turn % len(suite.numbers)],
            keep=keep,
        )  # fmt: skip
        if not suite.seconds:
            return scene
        longer = _lasting(scene, suite.seconds[i % len(suite.seconds)])
        if all_visible(play_of(longer)):
            return longer
        seed += suite.prompts


def _lasting(scene: Scene, seconds: float) -> Scene:
    """Return a scene of one shot with another length."""
    return replace(scene, shots=(replace(scene.shots[0], seconds=seconds),))


def make_prompt(suite: Suite, i: int) -> Prompt:
    """Return the i-th prompt of a suite, the same whatever others are made."""
    scene = scene_of(suite, i)
    language = suite.languages[i % len(suite.languages)]
    length = suite.lengths[i // len(suite.languages) % len(suite.lengths)]
    rng = random.Random(f"suite {suite.name} {SUITES_VERSION} {i}")
    while True:
        text, said = caption_with_facts(scene, language, rng, style=length, phrasing=suite.phrasing)
        if suite.must_say(said):
            return Prompt(text, language, length, scene, said, rng.randrange(1 << 31))
