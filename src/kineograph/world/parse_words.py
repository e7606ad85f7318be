"""The words of the captions turned around: for every phrase, what it may stand for.

All phrases come from the tables of `lexicon` and from the templates of the two grammars,
trained and held out, with their slots filled and their verbs inflected: a word added there
is understood here. `atoms` cuts a text into the longest of these phrases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

from kineograph.world import atoms as cutting
from kineograph.world import captions_en as en
from kineograph.world import captions_zh as zh
from kineograph.world import lexicon as lex
from kineograph.world.atoms import BREAKS, CONJUNCTIONS
from kineograph.world.captions import known_words
from kineograph.world.lexicon import Words, inflect
from kineograph.world.scene import CAMERA_MOVES

Role = Literal[
    "article", "adjective", "noun", "after",  # a | red | ball | with stripes
    "verb", "camera verb", "adverb",  # of an object | of the camera | a speed or a direction
    "camera", "shot", "place",  # the camera | static shot | a floor or a sky
    "hit", "hit by", "into", "by", "of",  # hits | is hit by | into | 被 and 的 of 被滚动的球撞上
    "and", "both", "is", "are", "break",
]  # fmt: skip
# A past participle is passive; Chinese verbs have one form for all.
Form = Literal["base", "third", "ing", "passive", "any"]

ZH_CAMERA_NOUN = "镜头"  # begins most of ZH_CAMERA; what follows is the camera's verb


@dataclass(frozen=True)
class Sense:
    """One thing that a phrase may stand for, with the facts that it states."""

    role: Role
    facts: tuple[tuple[str, str], ...] = ()
    form: Form = "any"


Atom = cutting.Atom[Sense]
Vocabulary = cutting.Vocabulary[Sense]
Row = tuple[str, bool, Sense]  # phrase, whether it is held out, sense
Option = tuple[str, bool, tuple[tuple[str, str], ...]]  # what may fill a slot, held, facts
NOTHING: Option = ("", False, ())


def _each(*choices: Words) -> Iterator[tuple[str, bool]]:
    """Every phrase of some Words, and whether it is held out."""
    for choice in choices:
        yield from ((phrase, False) for phrase in choice.trained)
        yield from ((phrase, True) for phrase in choice.held)


def _options(fact: str, table: Mapping[str, Words]) -> list[Option]:
    return [(p, h, ((fact, v),)) for v, choice in table.items() for p, h in _each(choice)]


def _filled(
    choice: Words, facts: tuple[tuple[str, str], ...], slots: Mapping[str, list[Option]]
) -> Iterator[Option]:
    """Each phrase with every filling of its slots, "{d}" for the key "d"."""
    for phrase, held in _each(choice):
        names = [name for name in slots if f"{{{name}}}" in phrase]
        for fillings in product(*(slots[name] for name in names)):
            text, dim, found = phrase, held, facts
            for name, (filling, filling_held, filling_facts) in zip(names, fillings, strict=True):
                text = text.replace(f"{{{name}}}", filling)
                dim, found = dim or filling_held, found + filling_facts
            yield text, dim, found


def _forms(phrase: str) -> Iterator[tuple[str, Form]]:
    """A verb phrase without its auxiliary, in all its forms: rolls, rolling; thrown."""
    parts = phrase.removeprefix("be ").split(" and ")
    passive = phrase.startswith("be ")
    forms: tuple[Form, ...] = ("base", "third", "ing")
    for form in forms:
        # "dropped and bouncing": only the second verb is active
        told = [inflect(part, form) for part in parts[passive:]]
        yield " and ".join([*parts[:passive], *told]), "passive" if passive else form


def _named() -> Iterator[Row]:
    """Phrases that state one fact by themselves."""
    tables: tuple[tuple[Role, str, tuple[dict[str, Words], ...]], ...] = (
        ("adjective", "colour", (lex.EN_COLOUR, lex.ZH_COLOUR)),
        ("adjective", "size", (lex.EN_SIZE, lex.ZH_SIZE)),
        ("adjective", "material", (lex.EN_MATERIAL, lex.ZH_MATERIAL)),
        ("after", "material", (lex.EN_MADE_OF,)),
        ("noun", "shape", (lex.EN_SHAPE, lex.ZH_SHAPE)),
        ("place", "floor", (lex.EN_FLOOR, lex.ZH_FLOOR)),
        ("place", "sky", (lex.EN_SKY, lex.ZH_SKY)),
        ("adverb", "direction", (lex.EN_DIRECTION, lex.ZH_DIRECTION)),
        ("adverb", "speed", (lex.EN_SPEED, lex.EN_SPEED_BEFORE, lex.EN_CAMERA_ADJECTIVE)),
        ("adverb", "speed", (lex.ZH_SPEED,)),
    )
    for role, fact, group in tables:
        for table in group:
            for phrase, held, facts in _options(fact, table):
                yield phrase, held, Sense(role, facts)


def _signs() -> Iterator[Row]:
    """Phrases that state no fact but say what their neighbours mean."""
    signs: tuple[tuple[Role, tuple[Words, ...]], ...] = (
        ("article", (en.EN_ARTICLE, *lex.ZH_MEASURE.values())),
        ("noun", (lex.EN_THING, lex.ZH_THING)),
        ("both", (en.EN_BOTH, zh.ZH_BOTH)),
        ("and", (lex.EN_HIT_LINK, zh.ZH_AND)),
        ("into", (lex.EN_INTO,)),
        ("hit", (lex.ZH_HIT,)),
        ("camera", tuple(en.EN_CAMERA_SUBJECT.values())),
        ("break", (en.EN_WITH,)),
    )
    for role, choices in signs:
        yield from ((phrase, held, Sense(role)) for phrase, held in _each(*choices))
    yield ZH_CAMERA_NOUN, False, Sense("camera")
    for phrase, held in _each(en.EN_AUXILIARY):
        yield phrase, held, Sense("are" if phrase.split()[0] == "are" else "is")
    joins = (
        en.EN_JOIN_TWO, en.EN_JOIN_TWO_FRAGMENTS, en.EN_JOIN_AFTER_HIT, en.EN_JOIN_LAST,
        en.EN_AFTER_CLAUSE, en.EN_BEFORE_CLAUSE, zh.ZH_JOIN, zh.ZH_JOIN_CAMERA,
    )  # fmt: skip
    conjunctions = {phrase for phrase, _ in _each(lex.EN_HIT_LINK, zh.ZH_AND)}
    for join, held in _each(*joins):
        words = "".join(c for c in join if c not in BREAKS).strip()
        if words and words not in conjunctions:
            yield words, held, Sense("break")
    for phrase, held in _each(zh.ZH_HIT_BY):
        by, of, hit = re.split(r"\{\w+\}", phrase)[1:]  # {o}被{way}的{s}撞上
        yield by, held and by not in "".join(zh.ZH_HIT_BY.trained), Sense("by")
        yield of, held and of not in "".join(zh.ZH_HIT_BY.trained), Sense("of")
        yield hit, held, Sense("hit")


def _english_verbs() -> Iterator[Row]:
    """What objects and the camera do, in all forms."""
    ways = [NOTHING, *_options("direction", lex.EN_DIRECTION)]
    for motion, choice in lex.EN_MOTION.items():
        for phrase, held, facts in _filled(choice, (("motion", motion),), {"d": ways}):
            for text, form in _forms(phrase):
                yield text, held, Sense("verb", facts, form)
    for phrase, held in _each(lex.EN_HIT):
        yield from ((text, held, Sense("hit", (), form)) for text, form in _forms(phrase))
    for phrase, held in _each(lex.EN_HIT_BY):
        yield from ((text, held, Sense("hit by", (), form)) for text, form in _forms(phrase))
    for move in CAMERA_MOVES:
        family, _, way = move.partition(" ")
        choice = lex.EN_STATIC if move == "static" else lex.EN_CAMERA.get(move, Words(()))
        slots: dict[str, list[Option]] = {}
        if family in lex.EN_CAMERA:
            choice = lex.EN_CAMERA[family]
            slots = {"d": [(p, h, ()) for p, h in _each(lex.EN_CAMERA_DIRECTION[way])]}
        for phrase, held, facts in _filled(choice, (("camera.move", move),), slots):
            for text, form in _forms(phrase):
                yield text, held, Sense("camera verb", facts, form)
            yield inflect(phrase, "third"), held, Sense("camera verb", facts, "third")
    for phrase, held in _each(lex.EN_STATIC_SHOT):
        yield phrase, held, Sense("shot", (("camera.move", "static"),))


def _chinese_verbs() -> Iterator[Row]:
    """What objects and the camera do, with every speed and direction."""
    slots = {
        "v": [NOTHING, *_options("speed", lex.ZH_SPEED)],
        "d": _options("direction", lex.ZH_DIRECTION),
        "n": _options("direction", lex.ZH_SIDE),
    }
    for table in (lex.ZH_MOTION, lex.ZH_MOTION_DIRECTED):
        for motion, choice in table.items():
            for phrase, held, facts in _filled(choice, (("motion", motion),), slots):
                yield phrase, held, Sense("verb", facts)
    slots = {"v": [NOTHING, *_options("camera.speed", lex.ZH_SPEED)]}
    for move, choice in lex.ZH_CAMERA.items():
        for phrase, held, facts in _filled(choice, (("camera.move", move),), slots):
            if phrase.startswith(ZH_CAMERA_NOUN):
                verb = phrase.removeprefix(ZH_CAMERA_NOUN)
                yield verb, held, Sense("camera verb", facts)
            else:
                yield phrase, held, Sense("shot", facts)


@cache
def vocabulary() -> Vocabulary:
    """Everything that captions can contain, from the tables as they are at the first call."""
    return cutting.collect(
        (row for rows in (_named(), _signs(), _english_verbs(), _chinese_verbs()) for row in rows),
        ((BREAKS, Sense("break")), (CONJUNCTIONS, Sense("and"))),
        known_words(heldout=True),
        known_words(),
    )


def atoms(text: str) -> list[Atom]:
    """Cut a text into the longest known phrases, else fillers, else unknown words."""
    return cutting.cut(text, vocabulary())
