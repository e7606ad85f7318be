"""The second version of the world, as training sees it: single shots of four seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kineograph.train.worlds import UNASKED, Language, Phrasing, Questions
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.render import CPU
from kineograph.world.styles import COLOURLESS, stylise
from kineograph.world.v2.camera import shots_of
from kineograph.world.v2.captions import caption_with_facts, known_words
from kineograph.world.v2.draw import draw_record, draw_scene, picture_size, play_of
from kineograph.world.v2.facts import facts
from kineograph.world.v2.film import CHUNK, filmed
from kineograph.world.v2.layout import ASPECTS
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    COLOURS,
    COUNTED,
    DIRECTIONS,
    FLOORS,
    FPS,
    MATERIALS,
    MOTIONS,
    RELATIONS,
    SEQUELS,
    SHAPES,
    SHOT_SECONDS,
    SIZES,
    SKIES,
    SPEEDS,
    STYLES,
    VERSION,
    WEATHERS,
    Scene,
    scene_from_dict,
)
from kineograph.world.v2.simulate import RISE_SPEED, START_SPEED, TURN_RATE
from kineograph.world.v2.splits import HELD_ASPECTS, is_training, languages

SIDE = 128  # pixels of a square clip at scale 1
MIXED_RATE = 0.02  # of the captions that may be in both languages
AXES = ("horizontal", "vertical", "depth", "pan", "tilt", "roll", "zoom", "orbit")
MEASURED = {"spin": "spin", "orbit": "orbit", "float": "rise"}  # in a play's truth; else "speed"
NORMAL = {
    **{motion: table[1] for motion, table in (START_SPEED | TURN_RATE).items()},
    "float": RISE_SPEED[1],
}
SEQUEL_NAMES = tuple(sorted({name for names in SEQUELS.values() for name in names}))
COUNTS = tuple(str(n) for n in sorted({n for counts in COUNTED.values() for n in counts}))


class SecondWorld:
    """See `worlds.World`."""

    version = VERSION
    fps, num_frames = FPS, round(SHOT_SECONDS * FPS) + 1
    sizes: Mapping[str, tuple[int, int]] = {ratio: picture_size(ratio, SIDE) for ratio in ASPECTS}
    ratios: tuple[str, ...] = tuple(ratio for ratio in ASPECTS if ratio not in HELD_ASPECTS)
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
            "count": COUNTS,
            "order": ("first", "later"),
            "then": SEQUEL_NAMES,
            "colour_to": COLOURS,
            "partner": COLOURS,  # of what it runs into or circles
            "met": ("yes",),  # whether something runs into it or circles it
            "relation": RELATIONS,  # in which it stands to something
            "landmark": ("yes",),  # whether something stands in a relation to it
        },
        {
            "floor": FLOORS, "sky": SKIES, "weather": WEATHERS, "style": STYLES,
            "shot0.camera.move": CAMERA_MOVES, "shot0.camera.speed": SPEEDS,
        },
    )  # fmt: skip
    seen: Mapping[str, tuple[str, ...]] = {
        "shape": SHAPES, "colour": COLOURS, "material": MATERIALS, "size": SIZES,
        "motion": MOTIONS, "direction": DIRECTIONS, "then": SEQUEL_NAMES,
    }  # fmt: skip
    moving: tuple[str, ...] = ("motion", "direction", "then")
    moves: tuple[str, ...] = CAMERA_MOVES
    controls: tuple[str, ...] = (*AXES, "speed")

    def draw(self, seed: int, *, aspect_ratio: str = "1:1", count: int | None = None) -> Scene:
        scene, _ = draw_scene(
            seed, aspect_ratio=aspect_ratio, count=count, more="shot", keep=is_training
        )
        return scene

    def imagine(self, seed: int) -> Scene:
        return draw_record(seed, more="shot", keep=is_training)

    def render(
        self, scenes: list[Scene], times: np.ndarray, *, scale: int, compiled: bool,
        device: torch.device = CPU,
    ) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:  # fmt: skip
        height, width = (scale * side for side in self.sizes[scenes[0].aspect_ratio])
        clips, owners = [], []
        for scene in scenes:
            play = play_of(scene)
            shown, who = [], []
            for first in range(0, len(times), CHUNK):
                part = filmed(
                    play, times[first : first + CHUNK], height, width, compiled=compiled,
                    device=device,
                )  # fmt: skip
                shown.append((stylise(part, scene.style) * 255 + 0.5).to(torch.uint8))
                who.append((part.owner - FIRST_OBJECT + 1).clamp_min(0).to(torch.uint8))
            clips.append(torch.cat(shown))
            owners.append(torch.cat(who))
        return torch.stack(clips), torch.stack(owners)

    def caption(
        self, scene: Scene, rng: random.Random, *, chinese_share: float = 0.0,
        typo_rate: float = 0.0, full: bool = False, phrasing: Phrasing = "trained",
    ) -> tuple[str, frozenset[str]]:  # fmt: skip
        allowed = languages(scene)
        chinese = rng.random() < chinese_share and "zh" in allowed
        language: Language = "zh" if chinese else "en"
        text, told = caption_with_facts(
            scene, language, rng, full=full, phrasing=phrasing, typo_rate=typo_rate,
            mixed_rate=MIXED_RATE if len(allowed) == 2 and typo_rate else 0.0,
        )  # fmt: skip
        return text, frozenset(told)

    def answers(self, scene: Scene, said: frozenset[str]) -> list[int]:
        values = {name: value for name, value in facts(scene).items() if name in said}
        key = []
        for colour in COLOURS:
            mine = [i for i, thing in enumerate(scene.objects) if thing.colour == colour]
            named = [i for i in mine if f"object{i}.colour" in said]
            key.append(int(bool(named)))
            asked = len(mine) == 1 and bool(named)
            answers = self._of_object(scene, mine[0], values) if asked else {}
            for name, allowed in list(self.questions.of_objects.items())[1:]:
                answer = answers.get(name)
                key.append(
                    UNASKED if not asked else 0 if answer is None else 1 + allowed.index(answer)
                )
        for name, allowed in self.questions.of_scenes.items():
            key.append(1 + allowed.index(values[name]) if name in values else 0)
        return key

    def _of_object(self, scene: Scene, i: int, values: dict[str, str]) -> dict[str, str]:
        """Return what stated facts answer about an object, by question."""
        name = f"object{i}"
        found = {
            fact.removeprefix(f"{name}."): value
            for fact, value in values.items()
            if fact.startswith(f"{name}.")
        }
        if "partner" in found:  # by its colour, if that is told
            colour = values.get(f"{found.pop('partner')}.colour")
            found |= {} if colour is None else {"partner": colour}
        for k, relation in enumerate(scene.relations):
            if f"relation{k}.name" in values:
                if relation.subject == i:
                    found["relation"] = relation.name
                if i in relation.others:
                    found["landmark"] = "yes"
        if any(fact.endswith(".partner") and value == name for fact, value in values.items()):
            found["met"] = "yes"
        return found

    def things(self, scene: Scene) -> list[dict[str, str | None]]:
        found = [{name: getattr(thing, name) for name in self.seen} for thing in scene.objects]
        for facts_seen, thing in zip(found, scene.objects, strict=True):
            # Nor is one asked of what turns from one colour into another.
            if scene.style in COLOURLESS or thing.colour_to is not None:
                facts_seen["colour"] = None
        return found

    def move(self, scene: Scene) -> str:
        return scene.shots[0].camera.move

    def numbers(self, scene: Scene) -> dict[str, float]:
        rates = shots_of(scene)[0][3]
        # A hand that shakes is no steady rate of any axis.
        found = {} if rates.shake else {axis: float(getattr(rates, axis)) for axis in AXES}
        paces = []
        for thing, truth in zip(scene.objects, play_of(scene).truth, strict=True):
            if thing.speed is not None:
                paces.append(abs(truth[MEASURED.get(thing.motion, "speed")]) / NORMAL[thing.motion])
        if paces:
            found["speed"] = float(np.exp(np.log(paces).mean()))
        return found

    def to_dict(self, scene: Scene) -> dict[str, Any]:
        return scene.to_dict()

    def from_dict(self, data: dict[str, Any]) -> Scene:
        return scene_from_dict(data)

    def known_words(self) -> list[str]:
        return known_words()
