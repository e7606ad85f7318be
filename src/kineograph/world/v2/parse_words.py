"""The words of the captions turned around: for every phrase, what it may stand for.

All phrases come from the tables of the grammars, trained and held out, with their slots
filled and their verbs inflected: a word added there is understood here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

from kineograph.world import atoms as cutting
from kineograph.world.atoms import BREAKS, CONJUNCTIONS
from kineograph.world.v2 import captions_en, captions_zh, film_en
from kineograph.world.v2 import words_en as en
from kineograph.world.v2 import words_film_en as fen
from kineograph.world.v2 import words_film_zh as fzh
from kineograph.world.v2 import words_zh as zh
from kineograph.world.v2.captions import known_words
from kineograph.world.v2.lexicon import Form as Inflection
from kineograph.world.v2.lexicon import Words, inflect, plural, with_article
from kineograph.world.v2.scene import CAMERA_MOVES

Role = Literal[
    "det",  # a, the second, three, a row of: how many are named, and which
    "adjective", "noun", "after",  # red | ball | with stripes
    "verb", "camera verb", "adverb",  # of an object | of the camera | a speed or a direction
    "pair", "pair by", "into", "by", "of",  # hits | is hit by | into | 被 and 的
    "relation", "at", "postposition",  # left of | 在 | 的左边
    "order", "same", "it", "and", "both", "is", "are", "break",
    "camera", "shot", "opening", "transition", "shots",  # of the film
    "fact",  # a floor, a time of day, a weather, a style
]  # fmt: skip
# A past participle is passive; Chinese verbs have one form for all.
Form = Literal["base", "third", "ing", "passive", "any"]
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sense:
    """One thing that a phrase may stand for, with the facts that it states."""

    role: Role
    facts: Facts = ()
    form: Form = "any"

    @property
    def value(self) -> str:
        """The value of its only fact."""
        return self.facts[0][1] if self.facts else ""


Atom = cutting.Atom[Sense]
Row = tuple[str, bool, Sense]  # phrase, whether it is held out, sense
Option = tuple[str, bool, Facts]  # what may fill a slot, held, facts
NOTHING: Option = ("", False, ())


def _each(*choices: Words) -> Iterator[tuple[str, bool]]:
    """Every phrase of some Words, and whether it is held out."""
    for choice in choices:
        yield from ((phrase, False) for phrase in choice.trained + choice.text)
        yield from ((phrase, True) for phrase in choice.held)


def _options(fact: str, table: Mapping[str, Words]) -> list[Option]:
    return [(p, h, ((fact, v),)) for v, choice in table.items() for p, h in _each(choice)]


def _filled(choice: Words, facts: Facts, slots: Mapping[str, list[Option]]) -> Iterator[Option]:
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
    if phrase.startswith("be "):
        yield phrase.removeprefix("be "), "passive"
        return
    forms: tuple[Inflection, ...] = ("base", "third", "ing")
    for form in forms:
        yield inflect(phrase, form), form


# --- names and signs ---------------------------------------------------------------------
def _looks() -> Iterator[Row]:
    """What things are called: adjectives and nouns."""
    tables: tuple[tuple[Role, str, tuple[dict[str, Words], ...]], ...] = (
        ("adjective", "colour", (en.EN_COLOUR, zh.ZH_COLOUR)),
        ("adjective", "size", (en.EN_SIZE, zh.ZH_SIZE)),
        ("adjective", "material", (en.EN_MATERIAL, zh.ZH_MATERIAL)),
        ("after", "material", (en.EN_MADE_OF,)),
        ("noun", "shape", (en.EN_SHAPE, zh.ZH_SHAPE)),
        ("adverb", "direction", (en.EN_DIRECTION, zh.ZH_DIRECTION)),
        ("adverb", "speed", (en.EN_SPEED, en.EN_SPEED_BEFORE, fen.EN_CAMERA_ADJECTIVE)),
        ("adverb", "speed", (zh.ZH_SPEED,)),
        ("fact", "sky", (fen.EN_SKY, fzh.ZH_SKY)),
        ("fact", "weather", (fen.EN_WEATHER, fzh.ZH_WEATHER)),
        ("fact", "floor", (fen.EN_FLOOR, fzh.ZH_FLOOR)),
        ("relation", "name", (en.EN_RELATION,)),
        ("postposition", "name", (zh.ZH_RELATION,)),
        ("order", "order", (en.EN_ORDER, zh.ZH_ORDER)),
        ("shots", "shots", (fen.EN_SHOTS, fzh.ZH_SHOTS)),
        ("transition", "transition", (fen.EN_TRANSITION, fzh.ZH_TRANSITION)),
    )
    for role, fact, group in tables:
        for table in group:
            for phrase, held, facts in _options(fact, table):
                yield phrase, held, Sense(role, facts)
                if role == "noun" and table is en.EN_SHAPE:
                    yield plural(phrase), held, Sense(role, facts)
    for phrase, held in _each(en.EN_THING, zh.ZH_THING):
        yield phrase, held, Sense("noun")
    for phrase, held in _each(en.EN_THING):
        yield plural(phrase), held, Sense("noun")
    for colour, choice in zh.ZH_COLOUR.items():
        for phrase, held in _each(choice):  # 红色的物体, and 变成红色
            if len(phrase) == 1:
                hue = phrase + zh.ZH_HUE.trained[0]
                yield hue, held, Sense("adjective", (("colour", colour),))
    slots = {"f": _options("floor", fzh.ZH_FLOOR)}
    for phrase, held, facts in _filled(fzh.ZH_PLACE, (), slots):
        yield phrase, held, Sense("fact", facts)
        yield phrase.removeprefix("在"), held, Sense("fact", facts)


def _determiners() -> Iterator[Row]:
    """How many are named, and which: a, the second, three, a row of; 一个, 这个, 第二排."""

    def det(phrase: str, held: bool, *facts: tuple[str, str]) -> Row:
        return phrase, held, Sense("det", tuple(facts))

    new, the = ("det", "new"), ("det", "the")
    for phrase, held in _each(en.EN_INDEFINITE, en.EN_ANOTHER, captions_en.EN_MORE):
        yield det(phrase, held, new)
    for phrase, held in _each(en.EN_DEFINITE):
        yield det(phrase, held, the)
    for number, choice in en.EN_NUMBER.items():
        for phrase, held in _each(choice):
            yield det(phrase, held, *([("number", number)] if number != "1" else [new]))
    for number, choice in en.EN_ORDINAL.items():
        for phrase, held in _each(choice):
            yield det(phrase, held, ("det", number))
    for heap, choice in en.EN_PILE.items():
        for phrase, held in _each(choice):
            yield det(phrase, held, ("pile", heap))
    for phrase, held in _each(captions_zh.ZH_MORE):
        yield det(phrase, held, new)
    measures: list[Option] = [(m, h, ()) for c in zh.ZH_MEASURE.values() for m, h in _each(c)]
    measures += _options("pile", zh.ZH_PILE)
    for measure, dim, facts in measures:
        for phrase, held in _each(zh.ZH_ANOTHER, zh.ZH_NUMBER["1"]):
            yield det(phrase + measure, held or dim, new, *facts)
        for phrase, held in _each(zh.ZH_DEFINITE):
            yield det(phrase + measure, held or dim, the, *facts)
        for number, choice in zh.ZH_ORDINAL.items():
            for phrase, held in _each(choice):
                yield det(phrase + measure, held or dim, ("det", number), *facts)
        for number, choice in zh.ZH_NUMBER.items():
            for phrase, held in _each(choice):
                if number != "1":
                    yield det(phrase + measure, held or dim, ("number", number), *facts)


def _signs() -> Iterator[Row]:
    """Phrases that state no fact but say what their neighbours mean."""
    signs: tuple[tuple[Role, tuple[Words, ...]], ...] = (
        ("both", (en.EN_ALL["both"], zh.ZH_ALL)),
        ("and", (en.EN_AND, zh.ZH_AND)),
        ("into", (en.EN_INTO,)),
        ("of", (zh.ZH_OF,)),
        ("it", (en.EN_IT, en.EN_THEY, zh.ZH_IT, zh.ZH_THEY)),
        ("is", (en.EN_AT, en.EN_IS, *en.EN_THERE.values(), captions_en.EN_INVERTED)),
        ("is", (zh.ZH_HAS, zh.ZH_THERE, zh.ZH_PROGRESSIVE)),
        ("are", (en.EN_AT_MANY, en.EN_ARE)),
        ("at", (zh.ZH_AT,)),
        ("camera", (fen.EN_CAMERA_SUBJECT,)),
        ("opening", (fen.EN_OPENING, fzh.ZH_OPENING)),
        ("break", (fen.EN_WITH, fen.EN_SETTING, film_en.EN_AFTER_CLAUSE, film_en.EN_BEFORE_CLAUSE)),
        ("break", (fzh.ZH_SCENE,)),
        ("same", (en.EN_SAME, en.EN_SAME_SENTENCE, zh.ZH_SAME)),
        ("order", (en.EN_SEQUEL, zh.ZH_SEQUEL)),
        ("shot", (fen.EN_OTHER_SHOT, fen.EN_SOME_SHOT, fzh.ZH_OTHER_SHOT, fzh.ZH_SOME_SHOT)),
    )
    for phrase, held in _each(en.EN_ALL["all"]):
        yield phrase, held, Sense("both", (("number", "all"),))
    ordered = {p for t in (en.EN_ORDER, zh.ZH_ORDER) for c in t.values() for p, _ in _each(c)}
    joined = {p for p, _ in _each(en.EN_AND, en.EN_SAME)}
    for role, choices in signs:
        for phrase, held in _each(*choices):
            words = "".join(c for c in phrase if c not in BREAKS).strip()
            if not words or (role in ("opening", "order") and words in ordered):
                continue
            if role == "break" and words in joined:
                continue
            yield words, held, Sense(role, (("order", "later"),) if role == "order" else ())


def _styles() -> Iterator[Row]:
    """Styles, in all templates and alone."""
    for value, works in fen.EN_STYLE_WORK.items():
        facts: Facts = (("style", value),)
        slots: dict[str, list[Option]] = {
            "a": [(with_article(p), h, facts) for p, h in _each(works)],
            "s": [(p, h, facts) for p, h in _each(fen.EN_STYLE_NAME[value])],
            "as": [(with_article(p), h, facts) for p, h in _each(fen.EN_STYLE_NAME[value])],
        }
        plain = Words(("{a}", "{s}"))
        for template in (fen.EN_STYLE_LEAD, fen.EN_STYLE_BEFORE, fen.EN_STYLE_AFTER, plain):
            for phrase, held, found in _filled(template, (), slots):
                yield phrase, held, Sense("fact", found)
        slots = {"s": [(p, h, facts) for p, h in _each(fzh.ZH_STYLE[value])]}
        for template in (fzh.ZH_STYLE_PLACE, plain):
            for phrase, held, found in _filled(template, (), slots):
                if found:
                    yield phrase, held, Sense("fact", found)


# --- verbs -------------------------------------------------------------------------------
def _english_verbs() -> Iterator[Row]:
    """What objects do, in all forms."""
    slots = {
        "d": [NOTHING, *_options("direction", en.EN_DIRECTION)],
        "c": _options("colour_to", en.EN_COLOUR),
    }
    tables = [*en.EN_MOTION.items(), ("recolour", en.EN_RECOLOUR)]
    tables += [(motion, en.EN_MOVE) for motion in en.MOVES]
    for motion, choice in tables:
        for phrase, held, facts in _filled(choice, (("motion", motion),), slots):
            for text, form in _forms(phrase):
                yield text, held, Sense("verb", facts, form)
    roles: tuple[tuple[Role, dict[str, Words]], ...] = (
        ("pair", en.EN_PARTNER), ("pair by", en.EN_PARTNER_BY),
    )  # fmt: skip
    for role, table in roles:
        for phrase, held, facts in _options("motion", table):
            for text, form in _forms(phrase):
                yield text, held, Sense(role, facts, form)


def _english_camera() -> Iterator[Row]:
    """What the camera does, and what its shots are called."""
    for move in CAMERA_MOVES:
        family, _, way = move.partition(" ")
        facts: Facts = (("camera.move", move),)
        slots: dict[str, list[Option]] = {}
        if way in fen.EN_CAMERA_DIRECTION:
            slots = {"d": [(p, h, ()) for p, h in _each(fen.EN_CAMERA_DIRECTION[way])]}
        for table in (fen.EN_CAMERA, fen.EN_CAMERA_NOUN):
            choice = table[move if move in table else family]
            for phrase, held, found in _filled(choice, facts, slots):
                if table is fen.EN_CAMERA_NOUN:
                    yield phrase, held, Sense("camera verb", found, "base")
                    continue
                for text, form in _forms(phrase):
                    yield text, held, Sense("camera verb", found, form)
                yield inflect(phrase, "third"), held, Sense("camera verb", found, "third")
        for phrase, held in _each(fen.EN_CAMERA_STATE.get(move, Words(()))):
            yield phrase, held, Sense("camera verb", facts, "base")


def _chinese_verbs() -> Iterator[Row]:
    """What objects and the camera do, with every speed and direction."""
    speeds = [NOTHING, *_options("speed", zh.ZH_SPEED)]
    hues = [(captions_zh.hue(p), h, f) for p, h, f in _options("colour_to", zh.ZH_COLOUR)]
    slots = {
        "v": speeds,
        "d": _options("direction", zh.ZH_DIRECTION),
        "n": _options("direction", zh.ZH_SIDE),
        "c": hues,
    }
    tables = [*zh.ZH_MOTION.items(), *zh.ZH_MOTION_DIRECTED.items(), ("recolour", zh.ZH_RECOLOUR)]
    tables += [(motion, zh.ZH_MOVE) for motion in en.MOVES]
    for motion, choice in tables:
        for phrase, held, facts in _filled(choice, (("motion", motion),), slots):
            yield phrase, held, Sense("verb", facts)
    for motion, choice in zh.ZH_PARTNER.items():
        for phrase, held in _each(choice):
            head, tail = phrase.split("{o}")  # 绕着{o}慢慢转圈
            yield head, held, Sense("pair", (("motion", motion),))
            if tail:
                for text, dim, facts in _filled(Words((tail,)), (), slots):
                    yield text, held or dim, Sense("adverb", facts)
    for motion, choice in zh.ZH_PARTNER_BY.items():
        for phrase, held in _each(choice):
            by, hit = phrase.split("{s}")  # 被{s}撞上
            yield by, False, Sense("by")
            yield hit, held, Sense("pair", (("motion", motion),))
    tables = [*fzh.ZH_CAMERA.items(), *fzh.ZH_CAMERA_NOUN.items()]
    slots = {"v": [NOTHING, *_options("camera.speed", zh.ZH_SPEED),
                   *_options("camera.speed", fzh.ZH_CAMERA_ADJECTIVE)]}  # fmt: skip
    for move, choice in tables:
        for phrase, held, facts in _filled(choice, (("camera.move", move),), slots):
            yield phrase, held, Sense("shot", facts)


def _unique(rows: Iterable[Row], spare: Iterable[Row]) -> Iterator[Row]:
    """All rows, and of the spare ones those whose phrase has no other sense."""
    seen = set()
    for row in rows:
        seen.add(cutting.key(row[0]))
        yield row
    yield from (row for row in spare if cutting.key(row[0]) not in seen)


@cache
def vocabulary() -> cutting.Vocabulary[Sense]:
    """Everything that captions can contain, from the tables as they are at the first call."""
    first = (_looks(), _determiners(), _signs(), _english_verbs(), _english_camera(),
             _chinese_verbs())  # fmt: skip
    return cutting.collect(
        _unique((row for rows in first for row in rows), _styles()),
        ((BREAKS, Sense("break")), (CONJUNCTIONS, Sense("and"))),
        known_words(heldout=True),
        known_words(),
    )


def atoms(text: str) -> list[Atom]:
    """Cut a text into the longest known phrases, else fillers, else unknown words."""
    return cutting.cut(text, vocabulary())
