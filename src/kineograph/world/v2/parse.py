"""Parsing: what a caption states, read back from its words; the inverse of `captions`.

`parse_words` cuts the text into known phrases, and `reader` goes through them. Text that no
grammar made is read as far as its words are known; nothing is refused.
`python -m kineograph.world.v2.parse --check 10000` counts how many captions are read exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from kineograph.world.v2.parse_words import Atom, atoms
from kineograph.world.v2.reader import Reader, Thing


@dataclass(frozen=True)
class Parsed:
    """What a caption states, with the names and values of `facts.facts`."""

    facts: dict[str, str] = field(default_factory=dict)
    """"object0.colour", "floor"...; objects are counted as they are first named."""
    open: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Facts that the words may state, and with which values: the motion of "an object moves"
    (a ball would roll, a cube slide). No caption of ours leaves one open."""
    unknown: tuple[str, ...] = ()
    """Words that no caption contains, as they are written."""
    heldout: bool = False
    """Whether the text has words that training never sees."""


def parse(caption: str) -> Parsed:
    """Read an English or Chinese caption, or any text; never raises."""
    pieces = atoms(caption)
    reader = Reader()
    for atom, following in pairwise([*pieces, Atom("")]):
        reader.take(atom, following)
    found, choices = _collected(reader)
    return Parsed(
        found,
        choices,
        tuple(a.text for a in pieces if not a.known),
        any(a.held for a in pieces),
    )


def _collected(reader: Reader) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """The facts that were read and what is left open, under the names of `facts.facts`."""
    reader.take(Atom("。", atoms("。")[0].senses), Atom(""))
    tied: set[Thing] = {t.partner for t in reader.things if t.partner is not None}
    for _, subject, others in reader.relations:
        tied |= {subject, *others}
    told = [t for t in reader.things if t.facts or t.open or t in tied]
    names = {thing: f"object{n}" for n, thing in enumerate(told)}
    found: dict[str, str] = {}
    choices: dict[str, tuple[str, ...]] = {}
    for thing, name in names.items():
        own = dict(thing.facts)
        if own.pop("pile", None) == "stack":
            own.setdefault("motion", "stack")
        if thing.partner is not None:
            own["partner"] = names[thing.partner]
        found |= {f"{name}.{fact}": value for fact, value in own.items()}
        choices |= {f"{name}.{fact}": values for fact, values in thing.open.items()}
    for k, (relation, subject, others) in enumerate(reader.relations):
        found[f"relation{k}.name"] = relation
        found[f"relation{k}.subject"] = names[subject]
        found[f"relation{k}.others"] = " ".join(names[thing] for thing in others)
    return found | reader.scene, choices


if __name__ == "__main__":
    from kineograph.world.v2.parse_check import main

    raise SystemExit(main())
