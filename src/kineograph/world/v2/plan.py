"""What the grammars of both languages share: which clauses tell a scene, and how to refer.

A clause tells what one or several things do, where one stands, or that it is there. The
first mention of a thing states all that is told of its looks; later ones point at it. The
parser finds what is pointed at by the same `matches`, so that no reader needs to guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kineograph.world.v2.facts import ORDERED_NOT, of
from kineograph.world.v2.lexicon import Pen
from kineograph.world.v2.scene import Scene

LOOKS = ("size", "colour", "material", "shape", "count", "pile")
PILES = {"dominoes": "row", "stack": "stack", "collapse": "stack"}


@dataclass(frozen=True)
class Clause:
    """Something told: "act" what things do, "place" a relation, "show" that they are there."""

    kind: Literal["act", "place", "show"]
    subjects: tuple[int, ...]
    alike: bool = False  # the subjects look the same: "two red balls"
    relation: int | None = None  # of a place, or of an act that also says where
    order: str | None = None


@dataclass
class Telling:
    """A scene being told: the facts, what was named so far, and who the last clause was about."""

    scene: Scene
    told: Mapping[str, str]
    pen: Pen
    known: list[int] = field(default_factory=list)  # in the order of their first mention
    last: tuple[int, ...] = ()
    foreign: int | None = None  # the thing that is named in the other language
    other_language: Callable[[Telling, int, bool], str] | None = None

    def in_other_language(self, i: int, again: bool) -> str:
        """The first mention of a thing in the other language."""
        assert self.other_language is not None
        return self.other_language(self, i, again)

    def of(self, i: int) -> dict[str, str]:
        """What is told of an object."""
        return of(self.told, i)

    def looks(self, i: int) -> dict[str, str]:
        """What the first mention of an object states."""
        return looks_of(self.scene, self.told, i)

    def description(self, i: int) -> tuple[dict[str, str], int]:
        """Enough of the looks of a known object to point at it, and which of those it is.

        The number is 0 where nothing else looks so, else 1 for the first that was named.
        """
        looks = self.looks(i)
        looks.pop("count", None)
        seen = [self.looks(k) for k in self.known]
        shapes = {n: v for n, v in looks.items() if n in ("shape", "pile")}
        colours = {n: v for n, v in looks.items() if n == "colour" or n in shapes}
        tries = self.pen.shuffled([colours, shapes])
        tries.append(looks)
        for some in tries:
            if some and len(matches(some, seen)) == 1:
                return some, 0
        found = matches(looks, seen)
        return looks, found.index(self.known.index(i)) + 1


def looks_of(scene: Scene, told: Mapping[str, str], i: int) -> dict[str, str]:
    """What is told of an object's looks, and whether it is a row or a stack ("pile")."""
    found = {name: v for name, v in of(told, i).items() if name in LOOKS}
    pile = PILES.get(scene.objects[i].motion)
    return found | ({"pile": pile} if pile else {})


def matches(description: Mapping[str, str], things: Sequence[Mapping[str, str]]) -> list[int]:
    """Which things a description fits, as far as they are known."""
    return [k for k, thing in enumerate(things) if description.items() <= thing.items()]


def clauses(scene: Scene, told: Mapping[str, str], pen: Pen, most: int = 3) -> list[Clause]:
    """Choose clauses that tell all facts about objects, in an order that can be told.

    Up to `most` things that look different do the same together.
    """
    told_of = {i: own for i in range(len(scene.objects)) if (own := of(told, i))}
    places = [k for k in range(len(scene.relations)) if f"relation{k}.name" in told]
    tied = {int(o.partner) for i, o in enumerate(scene.objects)
            if i in told_of and o.partner is not None}  # fmt: skip
    for k in places:
        tied |= {scene.relations[k].subject, *scene.relations[k].others}
    found: list[Clause] = []
    free = []
    for i, facts_of in told_of.items():
        if i in tied or "partner" in facts_of or "pile" in looks_of(scene, told, i):
            if "motion" in facts_of:
                found.append(Clause("act", (i,), order=facts_of.get("order")))
            elif i not in tied:
                found.append(Clause("show", (i,)))
        else:
            free.append(i)
    found += _together(told, pen.shuffled(free), pen, most)
    for k in places:
        subject = scene.relations[k].subject
        act = next((c for c in found if c.subjects == (subject,)), None)
        still = of(told, subject).get("motion") == "still" and "then" not in of(told, subject)
        if act is not None and act.relation is None and still and pen.chance(0.7):
            found[found.index(act)] = replace(act, relation=k)
        else:
            found.append(Clause("place", (subject,), relation=k))
    return _in_order(found, told, pen)


def _together(told: Mapping[str, str], free: Sequence[int], pen: Pen, most: int) -> list[Clause]:
    """Tell of free objects alone, or of those together that look or move alike."""
    left, found = list(free), []
    while left:
        i = left[0]
        same = [k for k in left if of(told, k) == of(told, i)]
        if len(same) > 1 and not pen.chance(0.15):
            group, alike = same, True
        else:
            alike = False
            group = [k for k in left if _doing(told, k) == _doing(told, i)]
            group = group[: min(2 + pen.chance(0.4), most)]
            group = group if len(group) > 1 and pen.chance(0.4) else [i]
        facts_of = of(told, i)
        kind: Literal["act", "show"] = "act" if "motion" in facts_of else "show"
        found.append(Clause(kind, tuple(group), alike, order=facts_of.get("order")))
        left = [k for k in left if k not in group]
    return found


def _doing(told: Mapping[str, str], i: int) -> dict[str, str]:
    """What is told of an object besides its looks."""
    return {name: value for name, value in of(told, i).items() if name not in LOOKS}


def _in_order(found: list[Clause], told: Mapping[str, str], pen: Pen) -> list[Clause]:
    """What is first, what has no order, then what is later; a place close to what it concerns."""
    rank = {"first": 0, None: 1, "later": 2}
    mixed = pen.shuffled(found)
    if any(c.order == "later" for c in found):
        moving = [c for c in mixed if c.kind == "act" and _begins(told, c)]
        rest = [c for c in mixed if c not in moving]
        moving.sort(key=lambda c: rank[c.order])
        last = [c for c in moving if c.order == "later"]
        ordered = moving[: -len(last)]
        split = pen.chance(0.4) and all(c.order is None for c in ordered)
        mixed = ordered + rest + last if split else rest + moving
    return mixed


def _begins(told: Mapping[str, str], clause: Clause) -> bool:
    return told.get(f"object{clause.subjects[0]}.motion") not in ORDERED_NOT
