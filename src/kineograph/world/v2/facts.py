"""What a caption may state about a scene, and which of it a caption does state.

A fact has a name and a value: "object0.colour" "red", "object0.partner" "object1",
"relation0.others" "object1 object2", "shot1.transition" "cut", "shots" "3", "floor",
"sky", "weather", "style". What is left unsaid is unknown to the reader.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Literal

from kineograph.world.v2.scene import COUNTED, PARTNERED, Scene

Style = Literal["short", "medium", "long"]
STYLES: tuple[Style, ...] = ("short", "medium", "long")
STYLE_SHARE = (0.3, 0.4, 0.3)
# How likely a fact is stated, by style.
KEEP: dict[str, tuple[float, float, float]] = {
    "colour": (0.95, 0.97, 0.99),
    "shape": (0.98, 0.98, 0.99),
    "size": (0.15, 0.5, 0.8),
    "material": (0.15, 0.5, 0.8),
    "motion": (0.95, 0.97, 0.98),
    "still": (0.3, 0.5, 0.7),  # "a blue cube" alone says as much
    "direction": (0.7, 0.85, 0.9),
    "speed": (0.2, 0.55, 0.8),
    "partner": (1.0, 1.0, 1.0),
    "count": (0.8, 0.9, 0.95),
    "later": (0.8, 0.9, 0.95),
    "first": (0.15, 0.3, 0.4),
    "then": (0.8, 0.9, 0.95),
    "colour_to": (0.9, 0.95, 0.97),
    "relation": (0.8, 0.9, 0.95),
    "floor": (0.25, 0.6, 0.85),
    "sky": (0.15, 0.5, 0.8),
    "weather": (0.6, 0.8, 0.9),
    "style": (0.8, 0.9, 0.95),
    "photoreal": (0.1, 0.2, 0.3),
    "shots": (0.6, 0.85, 0.95),  # whether anything is told of several shots
    "one shot": (0.03, 0.05, 0.08),
    "transition": (0.7, 0.8, 0.9),
    "camera.move": (0.6, 0.78, 0.86),
    "static": (0.35, 0.5, 0.65),
    "camera.speed": (0.2, 0.5, 0.75),
}
# Nobody says the ordinary: the share of it that is kept.
UNMARKED = {"medium": 0.25, "normal": 0.2, "clear": 0.1}
ORDERED_NOT = ("still", "stack")  # what stands begins at no time


def facts(scene: Scene) -> dict[str, str]:
    """Everything a caption may state, by name.

    An object has an "order" only where some begin with the clip ("first") and others when
    those have ended ("later"). An object that turns has the colour it turns into, "colour_to".
    """
    found: dict[str, str] = {}
    timed = [o for o in scene.objects if o.motion not in ORDERED_NOT]
    for i, thing in enumerate(scene.objects):
        own: dict[str, str | None] = {
            name: getattr(thing, name)
            for name in ("colour", "shape", "size", "material", "motion", "direction", "speed",
                         "then", "colour_to")
        }  # fmt: skip
        if thing.partner is not None:
            own["partner"] = f"object{thing.partner}"
        if thing.motion in COUNTED:
            own["count"] = str(thing.count)
        if thing in timed and len({o.order for o in timed}) > 1:
            own["order"] = "later" if thing.order else "first"
        found |= {f"object{i}.{name}": value for name, value in own.items() if value is not None}
    for k, relation in enumerate(scene.relations):
        found[f"relation{k}.name"] = relation.name
        found[f"relation{k}.subject"] = f"object{relation.subject}"
        found[f"relation{k}.others"] = " ".join(f"object{i}" for i in relation.others)
    found |= {name: getattr(scene, name) for name in ("floor", "sky", "weather", "style")}
    found["shots"] = str(len(scene.shots))
    for k, shot in enumerate(scene.shots):
        found[f"shot{k}.camera.move"] = shot.camera.move
        if shot.camera.speed is not None:
            found[f"shot{k}.camera.speed"] = shot.camera.speed
        if shot.transition is not None:
            found[f"shot{k}.transition"] = shot.transition
    return found


def of(told: Mapping[str, str], i: int, kind: str = "object") -> dict[str, str]:
    """The facts told of one object, by their short names."""
    prefix = f"{kind}{i}."
    return {name.removeprefix(prefix): v for name, v in told.items() if name.startswith(prefix)}


def draw_facts(scene: Scene, rng: random.Random, style: int) -> dict[str, str]:
    """Draw which facts to state; what hangs on an unsaid fact stays unsaid."""
    said: dict[str, str] = {}
    relations = [rng.random() < KEEP["relation"][style] for _ in scene.relations]
    for name, value in facts(scene).items():
        thing, _, kind = name.partition(".")
        if thing.startswith("relation"):
            if relations[int(thing.removeprefix("relation"))]:
                said[name] = value
            continue
        kind = kind or name
        if value in ("still", "first", "later", "static", "photoreal"):
            kind = value
        if name == "shots" and value == "1":
            kind = "one shot"
        if rng.random() < KEEP[kind][style] * UNMARKED.get(value, 1.0):
            said[name] = value
    return closed(scene, said)


def closed(scene: Scene, said: Mapping[str, str]) -> dict[str, str]:
    """Make stated facts a caption's: without what cannot stand alone, with what must be told.

    What runs into or circles something is always told, and so is what stands in a stack.
    """
    every, told = facts(scene), dict(said)
    for i, thing in enumerate(scene.objects):
        name = f"object{i}"
        if not any(n.startswith(f"{name}.") for n in told) and not _needed(told, name):
            continue
        must = []
        if thing.motion in PARTNERED:
            must += ["motion", "partner"]
        if thing.motion in COUNTED:
            must += ["shape"] if thing.motion == "dominoes" else ["shape", "motion"]
        told |= {f"{name}.{fact}": every[f"{name}.{fact}"] for fact in must}
        if f"{name}.motion" not in told:
            for fact in ("direction", "speed", "order", "then"):
                told.pop(f"{name}.{fact}", None)
        turn = "motion" if thing.motion == "recolour" else "then"
        if f"{name}.{turn}" not in told:
            told.pop(f"{name}.colour_to", None)
    for i in range(len(scene.objects)):
        # never "an object" and nothing else
        named = any(n.startswith(f"object{i}.") for n in told) or _needed(told, f"object{i}")
        if named and f"object{i}.colour" not in told:
            told[f"object{i}.shape"] = every[f"object{i}.shape"]
    _close_order(told)
    _close_shots(scene, told)
    return {name: value for name, value in every.items() if name in told}


def _needed(told: Mapping[str, str], name: str) -> bool:
    """Whether something else that is told names this object."""
    return any(
        name in value.split()
        for fact, value in told.items()
        if fact.endswith((".partner", ".subject", ".others"))
    )


def _close_order(told: dict[str, str]) -> None:
    """Drop orders that nothing told stands against: "then" after nothing, "first" of nothing."""
    moving = [n for n, v in told.items() if n.endswith(".motion") and v not in ORDERED_NOT]
    orders = {n: told.get(n.replace("motion", "order")) for n in moving}
    if set(orders.values()) == {"later"} or "later" not in orders.values():
        for name in orders:
            told.pop(name.replace("motion", "order"), None)


def _close_shots(scene: Scene, told: dict[str, str]) -> None:
    """Of several shots tell nothing, or that they are several; no speed without its move."""
    if len(scene.shots) > 1 and "shots" not in told:
        for name in [n for n in told if n.startswith("shot")]:
            del told[name]
    for name in [n for n in told if n.endswith("camera.speed")]:
        if name.replace("speed", "move") not in told:
            del told[name]


def shorter(scene: Scene, told: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Shorter and shorter selections of told facts, for a caption that is too long."""
    left = dict(told)
    order = (
        "UNMARKED", "material", "size", "camera.speed", "speed", "first", "sky", "still", "order",
        "count", "weather", "floor", "transition", "direction", "relation", "camera.move", "object",
    )  # fmt: skip
    for kind in order:
        for name in sorted(left, key=lambda n: (len(n), n), reverse=True):
            if name not in left or not _goes(kind, name, left[name]):
                continue
            group = name.partition(".")[0]
            if kind == "relation":
                gone = {n for n in left if n.startswith(f"{group}.")}
            elif kind == "object":
                if _needed(left, group) or f"{group}.partner" in left:
                    continue
                gone = {n for n in left if n.startswith(f"{group}.")}
                if not any(n.startswith("object") for n in left.keys() - gone):
                    return
            else:
                gone = {name}
            less = closed(scene, {n: v for n, v in left.items() if n not in gone})
            if less != left:
                left = less
                yield left


def _goes(kind: str, name: str, value: str) -> bool:
    """Whether a fact is of the kind that is given up."""
    if kind == "UNMARKED":
        return value in UNMARKED
    if kind in ("first", "still"):
        return value == kind
    if kind in ("relation", "object"):
        return name.startswith(kind)
    return name == kind or name.endswith(f".{kind}")
