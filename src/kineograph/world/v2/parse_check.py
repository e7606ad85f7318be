"""Checking the parser: a parse compared with the facts stated, and many captions at once."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kineograph.world.v2.captions import LANGUAGES, Language, caption_with_facts, token_estimate
from kineograph.world.v2.facts import of
from kineograph.world.v2.lexicon import PHRASINGS
from kineograph.world.v2.parse import Parsed, parse
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    CAN,
    COLOURS,
    COUNTED,
    DIRECTED,
    DIRECTIONS,
    FLOORS,
    MATERIALS,
    MOTIONS,
    PACED,
    PARTNERED,
    RELATIONS,
    ROOFS,
    SEQUELS,
    SIZES,
    SKIES,
    SPEEDS,
    STYLES,
    SUPPORTS,
    TRANSITIONS,
    UNPACED_MOVES,
    WEATHERS,
    Camera,
    Relation,
    Scene,
    SceneObject,
    Shot,
    able,
    check,
)  # fmt: skip


def random_object(rng: random.Random, motions: tuple[str, ...]) -> SceneObject:
    """Draw an object that does one of some motions, without a partner."""
    motion = rng.choice(motions)
    material = rng.choice(MATERIALS)
    shape = rng.choice(able(material, motion))
    sequels = [m for m in SEQUELS.get(motion, ()) if shape in able(material, m)]
    then = rng.choice(sequels) if sequels and rng.random() < 0.25 else None
    colour = rng.choice(COLOURS)
    turns = "recolour" in (motion, then)
    return SceneObject(
        shape, colour, material, rng.choice(SIZES), motion,
        rng.choice(DIRECTIONS) if motion in DIRECTED else None,
        rng.choice(SPEEDS) if motion in PACED else None,
        count=rng.choice(COUNTED[motion]) if motion in COUNTED else 1,
        order=int(rng.random() < 0.2),
        then=then,
        colour_to=rng.choice([c for c in COLOURS if c != colour]) if turns else None,
    )  # fmt: skip


def _random_relations(rng: random.Random, objects: list[SceneObject]) -> tuple[Relation, ...]:
    """Draw relations that `check` allows, between any objects."""
    found: list[Relation] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        name = rng.choice(RELATIONS)
        some = rng.sample(range(len(objects)), min(len(objects), 3 if name == "between" else 2))
        if len(some) < (3 if name == "between" else 2):
            continue
        allowed = {"on": SUPPORTS, "under": ROOFS, "inside": ("ring",)}.get(name)
        relation = Relation(some[0], name, tuple(some[1:]))
        same = {(r.subject, frozenset(r.others)) for r in found}
        if (some[0], frozenset(some[1:])) not in same and (
            allowed is None or objects[some[1]].shape in allowed
        ):
            found.append(relation)
    return tuple(found)


def _random_shot(rng: random.Random, k: int) -> Shot:
    move = rng.choice(CAMERA_MOVES)
    speed = None if move in UNPACED_MOVES else rng.choice(SPEEDS)
    return Shot(Camera(move, speed), rng.uniform(1, 4), rng.choice(TRANSITIONS) if k else None)


def random_scene(rng: random.Random) -> Scene:
    """Draw any record that `scene.check` allows, whether or not its objects find room."""
    alone = tuple(m for m in MOTIONS if m not in PARTNERED)
    count = rng.choice((1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8))
    objects = [random_object(rng, alone) for _ in range(count)]
    if rng.random() < 0.3:  # things that look or move alike
        for i in range(1, count):
            if rng.random() < 0.4:
                objects[i] = objects[rng.randrange(i)]
    for i in range(1, count):
        still = [k for k in range(i) if objects[k].motion == "still"]
        if still and rng.random() < 0.4:
            motion = rng.choice(sorted(PARTNERED))
            objects[i] = SceneObject(
                rng.choice(CAN[motion]), rng.choice(COLOURS), rng.choice(MATERIALS),
                rng.choice(SIZES), motion, rng.choice(DIRECTIONS) if motion in DIRECTED else None,
                rng.choice(SPEEDS), partner=rng.choice(still), order=int(rng.random() < 0.2),
            )  # fmt: skip
    shots = range(1 if rng.random() < 0.6 else rng.randrange(2, 7))
    scene = Scene(
        rng.randrange(1 << 32), tuple(objects), rng.choice(FLOORS), rng.choice(SKIES),
        rng.choice(WEATHERS), tuple(_random_shot(rng, k) for k in shots), rng.choice(STYLES),
        _random_relations(rng, objects),
    )  # fmt: skip
    check(scene)
    return scene


# --- comparing -----------------------------------------------------------------------------
Agreement = Literal["exact", "open", "wrong"]
Relations = Counter[tuple[str, str, frozenset[str]]]


def agreement(parsed: Parsed, stated: Mapping[str, str]) -> Agreement:
    """Compare a parse with the facts that a caption states, whatever the order of the objects.

    "exact" when they are the same; "open" when they are the same but for facts that
    `Parsed.open` lists with their value.
    """
    for result, found in (("exact", parsed.facts), ("open", _guessed(parsed, stated))):
        if result == "open" and not parsed.open:
            break
        if _same(found, stated):
            return "exact" if result == "exact" else "open"
    return "wrong"


def _guessed(parsed: Parsed, stated: Mapping[str, str]) -> dict[str, str]:
    """The facts read, with one value for what is open that some object has."""
    values = {value for value in stated.values()}
    chosen = {n: next((v for v in vs if v in values), vs[0]) for n, vs in parsed.open.items()}
    return dict(parsed.facts) | chosen


def _same(found: Mapping[str, str], stated: Mapping[str, str]) -> bool:
    """Whether two sets of facts are the same under some renaming of the objects."""
    loose = [{n: v for n, v in facts.items() if not n.startswith(("object", "relation"))}
             for facts in (found, stated)]  # fmt: skip
    here, there = _names(found), _names(stated)
    if loose[0] != loose[1] or len(here) != len(there):
        return False
    return any(
        _relations(found, renaming) == _relations(stated, {n: n for n in there})
        for renaming in _renamings(here, there, found, stated, {})
    )


def _names(facts: Mapping[str, str]) -> list[str]:
    """The names of all objects that facts tell of."""
    found = {n.partition(".")[0] for n in facts if n.startswith("object")}
    for name, value in facts.items():
        if name.endswith((".partner", ".subject", ".others")):
            found |= set(value.split())
    return sorted(found)


def _own(facts: Mapping[str, str], name: str) -> dict[str, str]:
    """What is told of an object but for its partner."""
    found = of(facts, int(name.removeprefix("object")))
    return {n: v for n, v in found.items() if n != "partner"}


def _renamings(
    left: Sequence[str], free: Sequence[str], found: Mapping[str, str],
    stated: Mapping[str, str], so_far: dict[str, str],
) -> Iterator[dict[str, str]]:  # fmt: skip
    """All ways to match objects that have the same facts of their own."""
    if not left:
        yield so_far
        return
    mine = _own(found, left[0])
    for name in free:
        if _own(stated, name) == mine:
            rest = [n for n in free if n != name]
            yield from _renamings(left[1:], rest, found, stated, so_far | {left[0]: name})


def _relations(facts: Mapping[str, str], renaming: Mapping[str, str]) -> Relations:
    """Who stands or acts in relation to whom, by renamed objects."""
    counted: Relations = Counter()
    for name, value in facts.items():
        if name.endswith(".partner"):
            subject = renaming[name.partition(".")[0]]
            counted[("partner", subject, frozenset({renaming[value]}))] += 1
        elif name.endswith(".name"):
            relation = of(facts, int(name[len("relation") : -len(".name")]), "relation")
            others = frozenset(renaming[n] for n in relation["others"].split())
            counted[(value, renaming[relation["subject"]], others)] += 1
    return counted


# --- many captions ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Trial:
    """One caption, what it states, and what was read."""

    text: str
    stated: dict[str, str]
    parsed: Parsed
    result: Agreement


def trials(number: int, language: Language, seed: int = 0) -> list[Trial]:
    """Parse random captions of random records, of all styles, forms, phrasings and mixtures.

    An unknown word is wrong too, and so is a held-out word in a caption without them.
    """
    rng = random.Random(f"kineograph parse {language} {seed}")
    found = []
    for n in range(number):
        scene = random_scene(rng)
        full = n % 10 == 1
        phrasing = "trained" if full else PHRASINGS[n % 3]
        text, stated = caption_with_facts(
            scene, language, rng, full=full, phrasing=phrasing,
            mixed_rate=0.1, max_tokens=rng.choice((120, 1000)),
        )  # fmt: skip
        parsed = parse(text)
        amiss = parsed.unknown or (parsed.heldout and phrasing != "held")
        result: Agreement = "wrong" if amiss else agreement(parsed, stated)
        found.append(Trial(text, stated, parsed, result))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print for each language how many captions parse, and the first failures; 1 if any."""
    parser = argparse.ArgumentParser(prog="python -m kineograph.world.v2.parse")
    parser.add_argument("--check", type=int, required=True, help="captions for each language")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    failed = False
    for language in LANGUAGES:
        found = trials(args.check, language, args.seed)
        count = Counter(trial.result for trial in found)
        lengths = sorted(token_estimate(trial.text) for trial in found)
        sys.stdout.write(
            f"{language}: of {len(found)} captions {count['exact']} parse exactly, "
            f"{count['open']} but for what their words leave open, {count['wrong']} are wrong; "
            f"tokens: mean {sum(lengths) / len(lengths):.1f}, "
            f"95 in 100 up to {lengths[len(lengths) * 95 // 100]}, at most {lengths[-1]}\n"
        )
        for trial in [t for t in found if t.result != "exact"][:5]:
            sys.stdout.write(f"{trial.text}\n  stated {trial.stated}\n  {trial.parsed}\n")
        failed |= count["wrong"] > 0
    return int(failed)
