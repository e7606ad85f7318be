"""Scoring in the second world: what a prompt states against what the judges read.

Only what the prompt states is scored, and the number of objects, which every prompt implies. An
object is looked for by its stated colour; one whose colour is missing, or unsaid, is taken to be
the largest that no other claims.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kineograph.evaluate.scoring import Share, shift
from kineograph.evaluate.v2.files import OnTruth, trusted
from kineograph.evaluate.v2.found import Place
from kineograph.evaluate.v2.judges import ObjectReading, Reading, group_of, true_reading
from kineograph.evaluate.v2.suites import Prompt
from kineograph.world.v2.facts import of
from kineograph.world.v2.scene import SceneObject
from kineograph.world.v2.splits import held_pair, held_triple

Verdicts = dict[str, list[bool]]

ROWS: dict[str, str] = {
    "colour": "colour of an object",
    "shape": "shape of an object",
    "material": "material of an object",
    "size": "size of an object",
    "motion": "what an object does first, with its direction where stated",
    "direction": "left or right, where stated",
    "speed": "slow, normal or fast, where stated",
    "then": "what an object does afterwards, where stated",
    "order": "whether it begins first or later, where stated",
    "object": "all that is stated of an object",
    "relation": "how objects stand to one another",
    "count": "number of objects",
    "floor": "floor",
    "sky": "time of day",
    "weather": "weather",
    "style": "style",
    "camera": "camera move, static included",
    "camera, moving": "camera move, of prompts that name one",
    "all": "every judged fact of the prompt",
}
JUDGED_BY = {"direction": "motion"}  # rows whose judge has another name
CANDIDATES = 150  # true clips that are tried as the one answer to every prompt
OF_OBJECTS = ("colour", "shape", "material", "size", "speed", "then", "order")
OF_CLIPS = ("floor", "sky", "weather", "style")
SLACK = 0.03  # of the picture, by which a relation may be missed


def assign(prompt: Prompt, reading: Reading) -> list[ObjectReading | None]:
    """Return, for each object of the prompt, the one in the clip that it is judged by."""
    left = list(reading.objects)
    found: list[ObjectReading | None] = []
    for i, thing in enumerate(prompt.scene.objects):
        stated = f"object{i}.colour" in prompt.said
        match = next((o for o in left if stated and o.colour == thing.colour), None)
        found.append(match)
        if match is not None:
            left.remove(match)
    return [left.pop(0) if f is None and left else f for f in found]


def holds(name: str, subject: Place, others: Sequence[Place]) -> bool:
    """Return whether a relation holds between objects where they are first seen."""
    a, b = subject, others[0]
    (x, y), (u, v) = a.middle, b.middle
    within = b.left - SLACK <= x <= b.right + SLACK
    if name == "between":
        low, high = sorted((u, others[1].middle[0]))
        return low < x < high
    if name in ("left of", "right of"):
        return x < u if name == "left of" else x > u
    if name in ("in front of", "behind"):
        # what stands nearer stands lower in the picture
        return a.bottom > b.bottom if name == "in front of" else a.bottom < b.bottom
    if name == "on":
        return within and y < b.top + SLACK and a.bottom < b.bottom - SLACK
    if name == "under":
        return within and y > v - SLACK and a.top > b.top
    if name == "inside":
        return within and b.top - SLACK <= a.bottom <= b.bottom + SLACK
    raise ValueError(f"unknown relation {name!r}")


def judge(prompt: Prompt, reading: Reading, on_truth: OnTruth) -> Verdicts:
    """Return what is right and wrong, by row; a row without a stated fact is left out.

    Facts whose judge is not trusted in the prompt's kind of style are passed over, in `object`
    and `all` as well. Of several shots only what holds for all of them is scored here.
    """
    good = trusted(on_truth, group_of(prompt.scene.style), len(prompt.scene.objects))
    truth = true_reading(prompt.scene)
    verdicts: Verdicts = {}
    if len(prompt.scene.shots) == 1:
        verdicts = _judge_shot(prompt, truth, reading, good)
    for name in OF_CLIPS:
        if name in prompt.said and name in good:
            verdicts[name] = [getattr(truth, name) == getattr(reading, name)]
    if verdicts:
        verdicts["all"] = [all(right for rights in verdicts.values() for right in rights)]
    return verdicts


def _judge_shot(
    prompt: Prompt, truth: Reading, reading: Reading, good: frozenset[str]
) -> Verdicts:
    """Return what is right and wrong of objects and camera."""
    verdicts: Verdicts = {}
    if "count" in good:
        verdicts["count"] = [reading.count == truth.count]
    pairs = assign(prompt, reading)
    for i, found in enumerate(pairs):
        facts = _judge_object(prompt, i, truth.objects[i], found)
        facts = {n: right for n, right in facts.items() if JUDGED_BY.get(n, n) in good}
        for name, right in facts.items():
            verdicts.setdefault(name, []).append(right)
        if facts:
            verdicts.setdefault("object", []).append(all(facts.values()))
    relations = _judge_relations(prompt, pairs) if "colour" in good else []
    if relations:
        verdicts["relation"] = relations
    if "shot0.camera.move" in prompt.said and "camera" in good:
        verdicts["camera"] = [truth.camera == reading.camera]
        if truth.camera != "static":
            verdicts["camera, moving"] = verdicts["camera"]
    return verdicts


def _judge_relations(prompt: Prompt, pairs: Sequence[ObjectReading | None]) -> list[bool]:
    rights = []
    for k, relation in enumerate(prompt.scene.relations):
        if f"relation{k}.name" not in prompt.said:
            continue
        members = [pairs[i] for i in (relation.subject, *relation.others)]
        places = [m.place for m in members if m is not None and m.place is not None]
        known = len(places) == len(members)
        rights.append(known and holds(relation.name, places[0], places[1:]))
    return rights


def _judge_object(
    prompt: Prompt, index: int, wanted: ObjectReading, found: ObjectReading | None
) -> dict[str, bool]:
    said = of(prompt.said, index)
    right = {
        name: found is not None and getattr(found, name) == getattr(wanted, name)
        for name in OF_OBJECTS
        if name in said and getattr(wanted, name) is not None
    }
    motion, _, direction = wanted.motion.partition(" ")
    seen, _, seen_direction = ("", "", "") if found is None else found.motion.partition(" ")
    struck = motion == "struck" and "motion" in said  # a caption calls it still
    if "motion" in said and not struck:
        # where the struck one goes is said by where the runner goes, which is judged there
        directed = "direction" in said
        right["motion"] = seen == motion and (not directed or seen_direction == direction)
        if directed:
            right["direction"] = seen_direction == direction
    return right


def tally(
    prompts: Sequence[Prompt], readings: Sequence[Reading], on_truth: OnTruth
) -> dict[str, Share]:
    """Return the share right of every row that has a verdict."""
    sums = {name: [0, 0] for name in ROWS}
    for prompt, reading in zip(prompts, readings, strict=True):
        for name, rights in judge(prompt, reading, on_truth).items():
            sums[name][0] += sum(rights)
            sums[name][1] += len(rights)
    return {name: Share(right, n) for name, (right, n) in sums.items() if n}


def shuffled(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts moved on by about half: each clip meets another's facts."""
    step = shift(len(prompts))
    return [*prompts[step:], *prompts[:step]]


def best_constant(prompts: Sequence[Prompt], on_truth: OnTruth) -> dict[str, float]:
    """Return, by row, the most that one and the same clip scores as the answer to every prompt."""
    best: dict[str, float] = {}
    stride = max(1, -(-len(prompts) // CANDIDATES))
    for answer in prompts[::stride]:
        reading = true_reading(answer.scene)
        for name, row in tally(prompts, [reading] * len(prompts), on_truth).items():
            best[name] = max(best.get(name, 0.0), row.share)
    return best


# --- combinations ------------------------------------------------------------------------
@dataclass(frozen=True)
class Substitution:
    """How often a held-out combination came out as the nearest that training had.

    `shape`: the colour is kept and another shape shown, with which training had that colour;
    `colour`: the other way round; `motion`: the object does something else that it did in
    training. Shares are of all objects whose combination is held out.
    """

    objects: int
    shape: float
    colour: float
    motion: float


def substitution(prompts: Sequence[Prompt], readings: Sequence[Reading]) -> Substitution:
    """Return what is shown instead of pairs and triples that training never had."""
    found = [0, 0, 0]
    n = 0
    for prompt, reading in zip(prompts, readings, strict=True):
        for thing, seen in zip(prompt.scene.objects, assign(prompt, reading), strict=True):
            pair = held_pair(thing.colour, thing.shape)
            triple = not pair and held_triple(thing.colour, thing.shape, thing.motion)
            if not (pair or triple):
                continue
            n += 1
            if seen is None or seen.colour is None:
                continue
            same = (seen.colour == thing.colour, seen.shape == thing.shape)
            trained = not held_pair(seen.colour, seen.shape)
            found[0] += pair and same == (True, False) and trained
            found[1] += pair and same == (False, True) and trained
            found[2] += triple and same == (True, True) and not _does(thing, seen)
    share = (math.nan,) * 3 if n == 0 else tuple(k / n for k in found)
    return Substitution(n, *share)


def _does(thing: SceneObject, seen: ObjectReading) -> bool:
    return seen.motion.partition(" ")[0] == thing.motion


def product(
    rows: Mapping[str, Share], names: Sequence[str] = ("colour", "shape", "motion")
) -> float:
    """Return what all of an object would score if its facts were right independently."""
    return math.prod(rows[name].share for name in names if name in rows)
