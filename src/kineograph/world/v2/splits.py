"""Which combinations training never sees, so that tests can ask for them.

Decisions are made by a hash or a Latin square on canonical attributes and hold for every
object of a clip, the bystanders too: a held combination must not slip in as scenery. They
depend on the names and SPLITS_VERSION only, never on a process's hash seed.

- S0: fresh seeds of what training sees.
- S1 "pair": 10 of the 120 pairs of colour and shape, those of the first version among them.
  No colour and no shape loses more than one, so each is seen with nine in ten of the others
  or more. The colour that something turns into counts as well.
- S2 "triple": a tenth of colour x shape x motion, of the pairs that are seen. What an object
  does after that counts as well.
- S3 "context": a tenth of style x camera move, of style x weather and of aspect ratio x style.
  A photograph, a static camera, clear weather and a square are seen with everything.
- S4 "relation": a tenth of shape x relation x shape; a row of six dominoes, some heights of
  stacks, and some numbers of things of one shape.
- S5 "interpolation": the middle tenth of the range of every number that is drawn, heights,
  speeds, rates and others that `ranges.py` lists, those of the camera too. A rebound belongs to
  a material and friction to the world, so they have no range. A record says where all of its
  numbers come from: `Scene.numbers`, here "gap". Of a named speed it is 1.6 %, no more.
- S6 "extrapolation": numbers above their range by up to 30 % of its width ("beyond 30"), or by
  30 % to 60 % ("beyond 60"). What has a speed is called fast.
- S7: wordings, in the tables: `Words.held` is never seen, `Words.text` in text alone.
- S8: pairs of colour and shape that training captions in English alone, `languages`.
- S9 "temporal": a tenth of the ordered pairs of motions, of one object or of two, and a tenth
  of the ordered pairs of shots by their camera moves.
- S10 "format": shots and films longer than training's, and an aspect ratio.
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import pairwise
from typing import Literal, get_args

from kineograph.world.v2.ranges import BEYOND
from kineograph.world.v2.scene import (
    CAN,
    COLOURS,
    MOTIONS,
    SHAPES,
    SHOT_SECONDS,
    Relation,
    Scene,
    SceneObject,
)

SPLITS_VERSION = 2
SHARE = 0.10
ENGLISH_SHARE = 0.05

Split = Literal[
    "pair", "triple", "context", "relation", "interpolation", "extrapolation", "temporal", "format"
]
SPLITS: tuple[Split, ...] = get_args(Split)
NUMBERS: dict[Split, str] = {
    "pair": "S1", "triple": "S2", "context": "S3", "relation": "S4", "interpolation": "S5",
    "extrapolation": "S6", "temporal": "S9", "format": "S10",
}  # fmt: skip

# What is seen with everything: without it a style would be lost, not a combination.
PLAIN = ("photoreal", "static", "clear", "1:1")
HELD_COUNTS = {("dominoes", "domino", 6), ("stack", "cylinder", 4), ("collapse", "cube", 3)}
HELD_NUMBERS = {("ball", 4), ("cube", 4), ("cone", 3), ("ring", 3)}  # things of a shape in a clip
HELD_ASPECTS = ("21:9",)
MAX_SHOT = SHOT_SECONDS  # s, of training's shots
MAX_FILM = 15.0  # s, of training's films
LENGTHS = (8.0, 16.0, 60.0, 120.0)  # s, that S10 asks for


def _unit_hash(*names: str) -> float:
    """A number in [0, 1) that depends on the names and the version alone."""
    key = "|".join((f"splits-{SPLITS_VERSION}", *names)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def _known(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
    return value


# --- S1 and S2: objects ------------------------------------------------------------------
@cache
def held_pair(colour: str, shape: str) -> bool:
    """Whether training never sees this colour on this shape; ValueError on unknown names."""
    row = SHAPES.index(_known(shape, SHAPES))
    # 3 is coprime to the 10 colours: ten shapes hold ten different ones, the others none.
    held = row < len(COLOURS) and (3 * row + 1) % len(COLOURS)
    return row < len(COLOURS) and COLOURS.index(_known(colour, COLOURS)) == held


@cache
def held_triple(colour: str, shape: str, motion: str) -> bool:
    """Whether training never sees this seen pair do this; ValueError on unknown names.

    False for a held pair: such a clip belongs to the pair split. No colour loses a motion
    altogether: of the shapes that can do it one at least is seen.
    """
    _known(motion, MOTIONS)

    # Of the labels tried, "thing" leaves each pair at least half of its motions.
    def drawn(some: str) -> bool:
        return held_pair(colour, some) or _unit_hash("thing", colour, some, motion) < SHARE

    if held_pair(colour, shape) or not drawn(shape):
        return False
    return not all(drawn(some) for some in CAN[motion])


def pairs_of(thing: SceneObject) -> set[tuple[str, str]]:
    """The colours in which an object is seen, with its shape."""
    return {(colour, thing.shape) for colour in (thing.colour, thing.colour_to) if colour}


def _triples_of(thing: SceneObject) -> set[tuple[str, str, str]]:
    motions = [motion for motion in (thing.motion, thing.then) if motion]
    return {(thing.colour, thing.shape, motion) for motion in motions}


# --- S3: context -------------------------------------------------------------------------
def held_context(kind: str, value: str, style: str) -> bool:
    """Whether training never sees a style with a camera move, a weather, or an aspect ratio.

    `kind` is "camera", "weather" or "aspect".
    """
    _known(kind, ("camera", "weather", "aspect"))
    if value in PLAIN or style in PLAIN:
        return False
    return _unit_hash(kind, value, style) < SHARE


def _contexts_of(scene: Scene) -> set[tuple[str, str]]:
    moves = {("camera", shot.camera.move) for shot in scene.shots}
    return moves | {("weather", scene.weather), ("aspect", scene.aspect_ratio)}


# --- S4: relations and numbers -----------------------------------------------------------
def held_relation(subject: str, name: str, other: str) -> bool:
    """Whether training never sees a shape in this relation to another."""
    return _unit_hash("relation", subject, name, other) < SHARE


def held_number(scene: Scene) -> bool:
    """Whether training never sees a row or stack of this count, or so many of one shape."""
    rows = {(o.motion, o.shape, o.count) for o in scene.objects}
    shapes = [o.shape for o in scene.objects]
    return bool(rows & HELD_COUNTS) or any(shapes.count(s) == n for s, n in HELD_NUMBERS)


def _related(scene: Scene, relation: Relation) -> set[tuple[str, str, str]]:
    shapes = [o.shape for o in scene.objects]
    return {(shapes[relation.subject], relation.name, shapes[k]) for k in relation.others}


# --- S8: languages -----------------------------------------------------------------------
def english_only(colour: str, shape: str) -> bool:
    """Whether training captions this pair, which it sees, in English alone."""
    return not held_pair(colour, shape) and _unit_hash("english", colour, shape) < ENGLISH_SHARE


def languages(scene: Scene) -> tuple[Literal["en", "zh"], ...]:
    """The languages in which training captions a scene; with both it may mix them."""
    if any(english_only(*pair) for thing in scene.objects for pair in pairs_of(thing)):
        return ("en",)
    return ("en", "zh")


# --- S9: time ----------------------------------------------------------------------------
def held_sequence(first: str, second: str) -> bool:
    """Whether training never sees one motion after another, by one object or by two."""
    return _unit_hash("sequence", _known(first, MOTIONS), _known(second, MOTIONS)) < SHARE


def held_shots(first: str, second: str) -> bool:
    """Whether training never sees a shot with one camera move before one with another."""
    return _unit_hash("shots", first, second) < SHARE


def sequences_of(scene: Scene) -> set[tuple[str, str]]:
    """The ordered pairs of motions in a scene."""
    found = {(o.motion, o.then) for o in scene.objects if o.then is not None}
    early = {o.motion for o in scene.objects if o.order == 0 and o.motion != "still"}
    late = {o.motion for o in scene.objects if o.order == 1}
    return found | {(a, b) for a in early for b in late}


# --- S10: format -------------------------------------------------------------------------
def held_format(scene: Scene) -> bool:
    """Whether training has no clips so long, or of this aspect ratio."""
    too_long = any(shot.seconds > MAX_SHOT for shot in scene.shots) or scene.seconds > MAX_FILM
    return too_long or scene.aspect_ratio in HELD_ASPECTS


# --- scenes ------------------------------------------------------------------------------
def split_of(scene: Scene) -> frozenset[Split]:
    """The names of all that is held out in a scene; empty for one that training may see."""
    moves = [shot.camera.move for shot in scene.shots]
    held: dict[Split, bool] = {
        "pair": any(held_pair(*p) for o in scene.objects for p in pairs_of(o)),
        "triple": any(held_triple(*t) for o in scene.objects for t in _triples_of(o)),
        "context": any(held_context(k, v, scene.style) for k, v in _contexts_of(scene)),
        "relation": held_number(scene)
        or any(held_relation(*r) for some in scene.relations for r in _related(scene, some)),
        "interpolation": scene.numbers == "gap",
        "extrapolation": scene.numbers in BEYOND,
        "temporal": any(held_sequence(*pair) for pair in sequences_of(scene))
        or any(held_shots(*pair) for pair in pairwise(moves)),
        "format": held_format(scene),
    }
    return frozenset(name for name, is_held in held.items() if is_held)


def is_training(scene: Scene) -> bool:
    """Whether nothing in the scene is held out."""
    return not split_of(scene)


def drawable() -> list[tuple[str, str, str]]:
    """All colours, shapes and motions that the world shows together."""
    return [(c, s, m) for c in COLOURS for m in MOTIONS for s in CAN[m]]
