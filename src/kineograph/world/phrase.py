"""What the grammars of both languages share: which objects are told of together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kineograph.world.lexicon import Pen
from kineograph.world.scene import Scene


@dataclass(frozen=True)
class Unit:
    """Objects that one clause tells of: one alone, a collision, or two that do the same."""

    kind: Literal["one", "hit", "both"]
    indices: tuple[int, ...]


def attributes(said: frozenset[str], index: int) -> set[str]:
    """The stated attributes of one object."""
    prefix = f"object{index}."
    return {fact.removeprefix(prefix) for fact in said if fact.startswith(prefix)}


def _motion(scene: Scene, said: frozenset[str], index: int) -> tuple[str | None, ...]:
    """What a caption says of an object's motion, to be compared with another's."""
    thing, has = scene.objects[index], attributes(said, index)
    return tuple(
        getattr(thing, name) if name in has else None for name in ("motion", "direction", "speed")
    )


def units(scene: Scene, said: frozenset[str], pen: Pen) -> list[Unit]:
    """Group the objects into clauses, in any order but for full captions.

    Raises ValueError when an object collides and none is struck, or the reverse.
    """
    movers = [i for i, o in enumerate(scene.objects) if o.motion == "collide"]
    struck = [i for i, o in enumerate(scene.objects) if o.struck]
    if len(movers) != len(struck):
        raise ValueError(f"{len(movers)} objects collide but {len(struck)} are struck")
    found = [Unit("hit", pair) for pair in zip(movers, struck, strict=True)]
    alone = [i for i in range(len(scene.objects)) if i not in movers + struck]
    if not pen.full:
        pen.rng.shuffle(alone)
    if len(alone) > 1:
        first, second = alone[:2]
        same = _motion(scene, said, first) == _motion(scene, said, second)
        if same and f"object{first}.motion" in said and pen.chance(0.4):
            found.append(Unit("both", (first, second)))
            alone = alone[2:]
    found += [Unit("one", (i,)) for i in alone]
    if not pen.full:
        pen.rng.shuffle(found)
    return found
