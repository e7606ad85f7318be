"""The English grammar of captions.

A sentence is ordered from slots: S the objects and what they do, F the floor, K the sky,
C the camera; "|" stands between parts that a comma may divide.
"""

from __future__ import annotations

import re
from typing import Literal

from kineograph.world.lexicon import (
    EN_CAMERA,
    EN_CAMERA_ADJECTIVE,
    EN_CAMERA_DIRECTION,
    EN_CAMERA_NOUNS,
    EN_COLOUR,
    EN_DIRECTION,
    EN_FLOOR,
    EN_HIT,
    EN_HIT_BY,
    EN_HIT_LINK,
    EN_INTO,
    EN_MADE_OF,
    EN_MATERIAL,
    EN_MOTION,
    EN_SHAPE,
    EN_SIZE,
    EN_SKY,
    EN_SPEED,
    EN_SPEED_BEFORE,
    EN_STATIC,
    EN_STATIC_SHOT,
    EN_THING,
    Pen,
    Words,
    inflect,
)
from kineograph.world.phrase import Unit, attributes, units
from kineograph.world.scene import ROLLERS, Camera, Scene

# A ball that rolls, that is rolling, or that is met rolling.
Form = Literal["third", "progressive", "participle"]

EN_ORDER = Words(
    ("S F K|C", "C|S F K", "F|S K|C", "K|S F|C", "F K|S|C", "C|K|S F", "S K F|C", "K|C|S F"),
    held=("C|F K|S", "K F|S|C"),
)
EN_ARTICLE = Words(("a", "an", "the"))
EN_THERE = Words(("there is",))
EN_LEAD = Words(("", "a video of", "a shot of", "there is"), held=("a clip of",))
EN_BOTH = Words(("both",))
EN_JOIN_TWO = Words((" and ", " while ", ", ", ". "), held=(", and ",))
EN_JOIN_TWO_FRAGMENTS = Words((" and ", ", "))
EN_JOIN_AFTER_HIT = Words((" while ", ", ", ". "))  # "and" would give the hit two objects
EN_JOIN_LAST = Words((" and ", ", and ", " while "))
EN_AUXILIARY = Words(("is", "are", "is being", "are being"))
EN_CAMERA_SUBJECT = {"clause": Words(("the camera",)), "bare": Words(("camera",))}
EN_CAMERA_KIND = Words(("clause", "bare", "command", "noun", "gerund"))
EN_WITH = Words(("with",))
EN_AFTER_CLAUSE = Words((", ", ". ", " as ", " while ", " and "), held=(", and ",))
EN_AFTER_FRAGMENT = Words((", ", ". "))
EN_AFTER_GERUND = Words((" ", ", "))
EN_BEFORE_CLAUSE = Words((", ", ". ", " as ", " while ", ": "))
EN_BEFORE_FRAGMENT = Words((", ", ". ", ": "))


def _noun(scene: Scene, said: frozenset[str], index: int, pen: Pen, article: str) -> str:
    """Name an object: "a small red metal ball", "the red ball made of metal"."""
    thing, has = scene.objects[index], attributes(said, index)
    before = [pen.pick(EN_SIZE[thing.size])] if "size" in has else []
    before += [pen.pick(EN_COLOUR[thing.colour])] if "colour" in has else []
    after = []
    if "material" in has:
        if pen.chance(0.15):
            after = [pen.pick(EN_MADE_OF[thing.material])]
        else:
            before += [pen.pick(EN_MATERIAL[thing.material])]
    name = pen.pick(EN_SHAPE[thing.shape] if "shape" in has else EN_THING)
    phrase = " ".join([*before, name, *after])
    if article == "a" and phrase[0] in "aeiou":
        article = "an"
    return f"{article} {phrase}".strip()


def _predicate(
    verb: str, form: Form, *, before: str = "", after: str = "", plural: bool = False
) -> str:
    """Put a base verb phrase into its form, with adverbs before and after it."""
    passive = verb.startswith("be ")
    auxiliary = ("are" if plural else "is") if passive or form == "progressive" else ""
    finite = "base" if plural else "third"
    if passive:
        auxiliary += " being" if form == "progressive" else ""
        # "be dropped and bounce": the second verb is active
        verb, *rest = verb.removeprefix("be ").split(" and ")
        rest = [inflect(active, finite if form == "third" else "ing") for active in rest]
        verb = " and ".join([verb, *rest])
    else:
        verb = inflect(verb, finite if form == "third" else "ing")
    if form == "participle":
        auxiliary = ""
    return " ".join(part for part in (auxiliary, before, verb, after) if part)


def _adverbs(pen: Pen, speed: str | None) -> tuple[str, str]:
    """The speed as (words before the verb, words after it)."""
    if speed is None:
        return "", ""
    if speed != "normal" and pen.chance(0.4):
        return pen.pick(EN_SPEED_BEFORE[speed]), ""
    return "", pen.pick(EN_SPEED[speed])


def _moving(
    scene: Scene, said: frozenset[str], index: int, pen: Pen, form: Form, *, motion: str,
    plural: bool = False,
) -> str:  # fmt: skip
    """What an object does, alone: "slowly rolls to the left"."""
    thing, has = scene.objects[index], attributes(said, index)
    verb = pen.pick(EN_MOTION[motion])
    way = ""
    if "direction" in has and thing.direction is not None:
        way = pen.pick(EN_DIRECTION[thing.direction])
    verb = re.sub(" +", " ", verb.replace("{d}", way)).strip()
    before, after = _adverbs(pen, thing.speed if "speed" in has else None)
    if plural and not pen.chance(0.4):
        before = f"{pen.pick(EN_BOTH)} {before}".strip()
    return _predicate(verb, form, before=before, after=after, plural=plural)


def _collision(
    scene: Scene, said: frozenset[str], unit: Unit, pen: Pen, form: Form, article: str
) -> str:
    """One object runs into another: told by the one or, passive, by the other."""
    first, second = unit.indices
    mover = _noun(scene, said, first, pen, article)
    target = _noun(scene, said, second, pen, article)
    manner = "roll" if scene.objects[first].shape in ROLLERS else "slide"
    has_way = bool(attributes(said, first) & {"direction", "speed"})
    if pen.chance(0.2):
        hit = _predicate(pen.pick(EN_HIT_BY), form)
        way = _moving(scene, said, first, pen, "participle", motion=manner) if has_way else ""
        return f"{target} {hit} {mover} {way}".strip()
    if not has_way and not pen.chance(0.2):
        return f"{mover} {_predicate(pen.pick(EN_HIT), form)} {target}"
    way = _moving(scene, said, first, pen, form, motion=manner)
    if not has_way or pen.chance(0.25):
        return f"{mover} {way} {pen.pick(EN_INTO)} {target}"
    hit = inflect(pen.pick(EN_HIT), "third" if form == "third" else "ing")
    return f"{mover} {way} {pen.pick(EN_HIT_LINK)} {hit} {target}"


def _unit(
    scene: Scene, said: frozenset[str], unit: Unit, pen: Pen, form: Form, article: str
) -> str:
    if unit.kind == "hit":
        return _collision(scene, said, unit, pen, form, article)
    nouns = [_noun(scene, said, i, pen, article) for i in unit.indices]
    first, plural = unit.indices[0], unit.kind == "both"
    subject = " and ".join(nouns)
    if "motion" not in attributes(said, first):
        bare = form == "participle" or article != "a"
        return subject if bare else f"{pen.pick(EN_THERE)} {subject}"
    motion = scene.objects[first].motion
    return f"{subject} {_moving(scene, said, first, pen, form, motion=motion, plural=plural)}"


def _subject(scene: Scene, said: frozenset[str], pen: Pen, form: Form, article: str) -> str:
    """All objects and what they do."""
    found = units(scene, said, pen)
    texts = [_unit(scene, said, u, pen, form, article) for u in found]
    if len(texts) == 1:
        return texts[0]
    if len(texts) == 2:
        if form == "participle":
            return (pen.pick(EN_JOIN_TWO_FRAGMENTS) if found[0].kind == "one" else ", ").join(texts)
        join = pen.pick(EN_JOIN_AFTER_HIT if found[0].kind == "hit" else EN_JOIN_TWO)
        return join.join(texts)
    join = pen.pick(EN_JOIN_LAST)
    if form == "participle" and join == " while ":
        join = " and "
    return ", ".join(texts[:-1]) + join + texts[-1]


def _camera(camera: Camera, with_speed: bool, pen: Pen) -> tuple[str, str]:
    """The camera's part, and which kind it is: clause, fragment or gerund."""
    kind = pen.pick(EN_CAMERA_KIND)
    if camera.move == "static":
        if kind in ("clause", "bare"):
            subject = pen.pick(EN_CAMERA_SUBJECT[kind])
            return f"{subject} {inflect(pen.pick(EN_STATIC), 'third')}", "clause"
        shot = pen.pick(EN_STATIC_SHOT)
        return (f"{pen.pick(EN_WITH)} a {shot}", "gerund") if kind == "gerund" else (
            shot, "fragment")  # fmt: skip
    family, _, way = camera.move.partition(" ")
    table = EN_CAMERA[camera.move if camera.move in EN_CAMERA else family]
    verb = pen.pick(table)
    if "{d}" in verb:
        verb = verb.replace("{d}", pen.pick(EN_CAMERA_DIRECTION[way]))
    speed = camera.speed if with_speed else None
    if kind == "noun" and speed is not None and verb.split()[0] in EN_CAMERA_NOUNS:
        return f"{pen.pick(EN_CAMERA_ADJECTIVE[speed])} {verb}", "fragment"
    before, after = _adverbs(pen, speed)
    if kind in ("command", "noun"):
        return f"{before} {verb} {after}".strip(), "fragment"
    if kind == "gerund":
        subject = f"{pen.pick(EN_WITH)} {pen.pick(EN_CAMERA_SUBJECT['clause'])}"
        return f"{subject} {_predicate(verb, 'participle', before=before, after=after)}", "gerund"
    subject = pen.pick(EN_CAMERA_SUBJECT[kind])
    return f"{subject} {_predicate(verb, 'third', before=before, after=after)}", "clause"


def _join(before: str, after: str, kind: str, form: Form, pen: Pen, doubled: bool) -> str:
    """What stands between two parts, given as slot letters; `kind` is the camera's."""
    if "C" not in (before, after) or {before[0], after[0]} & {"F", "K"}:
        return ", "
    if after == "C":
        join = pen.pick(
            {
                "clause": EN_AFTER_CLAUSE,
                "fragment": EN_AFTER_FRAGMENT,
                "gerund": EN_AFTER_GERUND,
            }[kind]
        )
    else:
        join = pen.pick(EN_BEFORE_CLAUSE if kind == "clause" else EN_BEFORE_FRAGMENT)
        join = ", " if kind == "gerund" else join
    fragile = doubled or form == "participle"  # " as a ball rolling left" is no clause
    return ", " if fragile and join.strip().isalpha() else join


def _form(pen: Pen) -> tuple[Form, str]:
    """The form of the verbs and the article of the nouns ("" for none)."""
    article = "the" if pen.chance(0.06) else "a"
    if pen.chance(0.25):
        return "participle", "" if pen.chance(0.3) else article
    return ("progressive" if pen.chance(0.25) else "third"), article


def compose(scene: Scene, said: frozenset[str], pen: Pen) -> str:
    """State the given facts of a scene in English."""
    form, article = _form(pen)
    texts = {"S": _subject(scene, said, pen, form, article)}
    if "floor" in said:
        texts["F"] = pen.pick(EN_FLOOR[scene.floor])
    if "sky" in said:
        texts["K"] = pen.pick(EN_SKY[scene.sky])
    kind = ""
    if "camera.move" in said:
        texts["C"], kind = _camera(scene.camera, "camera.speed" in said, pen)
    order = pen.pick(EN_ORDER).split("|")
    parts = [slots for p in order if (slots := [s for s in p.split() if s in texts])]
    if form == "participle" and article == "a" and parts[0][0] == "S":
        texts["S"] = f"{pen.pick(EN_LEAD)} {texts['S']}".strip()
    doubled = " while " in texts["S"]
    result, previous = "", ""
    for slots in parts:
        text = " ".join(texts[s] for s in slots)
        letters = "".join(slots)
        if result:
            # the camera's neighbour is judged by the slot that touches it
            result += _join(previous if previous == "C" else previous[0], letters, kind, form,
                            pen, doubled)  # fmt: skip
        result, previous = result + text, letters
    if pen.chance(0.5):
        result = re.sub(r"(^|\. )([a-z])", lambda m: m[1] + m[2].upper(), result) + "."
    return result
