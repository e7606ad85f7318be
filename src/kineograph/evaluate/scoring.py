"""Scoring: what a prompt states against what the judges read, fact by fact.

Only what the prompt states is scored, and the number of objects, which every prompt implies.
Sizes, materials and speeds are not judged. An object is looked for by its stated colour; one
whose colour is missing, or unsaid, is taken to be the largest that no other claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kineograph.evaluate.judges import ObjectReading, Reading, true_reading
from kineograph.evaluate.measure import wilson
from kineograph.evaluate.suites import Prompt

Verdicts = dict[str, list[bool]]

ROWS: dict[str, str] = {
    "colour": "colour of an object",
    "shape": "shape of an object",
    "motion": "motion of an object, with its direction where stated",
    "direction": "left or right, where stated",
    "object": "colour, shape and motion of an object, all that is stated",
    "count": "number of objects",
    "floor": "floor",
    "sky": "time of day",
    "camera": "camera move, static included",
    "camera, moving": "camera move, of prompts that name one",
    "all": "every judged fact of the prompt",
}
JUDGES = frozenset({"colour", "shape", "motion", "count", "floor", "sky", "camera"})
JUDGED_BY = {"direction": "motion"}  # rows whose judge has another name
CANDIDATES = 150  # true clips that are tried as the one answer to every prompt


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


def judge(prompt: Prompt, reading: Reading, trusted: frozenset[str] = JUDGES) -> Verdicts:
    """Return what is right and wrong, by row; a row without a stated fact is left out.

    Facts whose judge is not among the `trusted` are passed over, in `object` and `all` as well.
    """
    truth = true_reading(prompt.scene)
    verdicts: Verdicts = {}
    if "count" in trusted:
        verdicts["count"] = [reading.count == truth.count]
    for i, (wanted, found) in enumerate(zip(truth.objects, assign(prompt, reading), strict=True)):
        facts = _judge_object(prompt, i, wanted, found)
        facts = {n: right for n, right in facts.items() if JUDGED_BY.get(n, n) in trusted}
        for name, right in facts.items():
            verdicts.setdefault(name, []).append(right)
        if facts:
            verdicts.setdefault("object", []).append(all(facts.values()))
    for name in ("floor", "sky"):
        if name in prompt.said and name in trusted:
            verdicts[name] = [getattr(truth, name) == getattr(reading, name)]
    if "camera.move" in prompt.said and "camera" in trusted:
        verdicts["camera"] = [truth.camera == reading.camera]
        if truth.camera != "static":
            verdicts["camera, moving"] = verdicts["camera"]
    if verdicts:
        verdicts["all"] = [all(right for rights in verdicts.values() for right in rights)]
    return verdicts


def _judge_object(
    prompt: Prompt, index: int, wanted: ObjectReading, found: ObjectReading | None
) -> dict[str, bool]:
    said = {f.rpartition(".")[2] for f in prompt.said if f.startswith(f"object{index}.")}
    right: dict[str, bool] = {
        name: found is not None and getattr(found, name) == getattr(wanted, name)
        for name in ("colour", "shape")
        if name in said
    }
    motion, _, direction = wanted.motion.partition(" ")
    seen, _, seen_direction = ("", "", "") if found is None else found.motion.partition(" ")
    if said & {"motion", "struck"}:
        # where the struck one goes is said by where the runner goes, which is judged there
        directed = "direction" in said
        right["motion"] = seen == motion and (not directed or seen_direction == direction)
        if directed:
            right["direction"] = seen_direction == direction
    return right


@dataclass(frozen=True)
class Share:
    """How many of n are right, with the 95 % interval by Wilson's method."""

    right: int
    n: int

    @property
    def share(self) -> float:
        return self.right / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)


def tally(
    prompts: Sequence[Prompt], readings: Sequence[Reading], trusted: frozenset[str] = JUDGES
) -> dict[str, Share]:
    """Return the share right of every row that has a verdict."""
    sums = {name: [0, 0] for name in ROWS}
    for prompt, reading in zip(prompts, readings, strict=True):
        for name, rights in judge(prompt, reading, trusted).items():
            sums[name][0] += sum(rights)
            sums[name][1] += len(rights)
    return {name: Share(right, n) for name, (right, n) in sums.items() if n}


def shift(count: int) -> int:
    """Return by how many places prompts are moved on, to meet others' clips: an odd number."""
    return max(1, count // 2 | 1) if count > 1 else 0


def shuffled(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts moved on by about half: each clip meets another's facts.

    An odd step, so that languages change places too.
    """
    step = shift(len(prompts))
    return [*prompts[step:], *prompts[:step]]


def best_constant(
    prompts: Sequence[Prompt], trusted: frozenset[str] = JUDGES
) -> dict[str, float]:
    """Return, by row, the most that one and the same clip scores as the answer to every prompt.

    The answers tried are the true readings of up to 150 of the prompts.
    """
    best: dict[str, float] = {}
    stride = max(1, -(-len(prompts) // CANDIDATES))
    for answer in prompts[::stride]:
        reading = true_reading(answer.scene)
        for name, row in tally(prompts, [reading] * len(prompts), trusted).items():
            best[name] = max(best.get(name, 0.0), row.share)
    return best
