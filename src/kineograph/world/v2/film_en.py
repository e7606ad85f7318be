"""The English grammar of whole captions: places, camera, shots and style around the things."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kineograph.world.v2 import words_film_en as film
from kineograph.world.v2.captions_en import Piece, Voice, adverbs, predicate, things, voice_of
from kineograph.world.v2.facts import of
from kineograph.world.v2.lexicon import Words, inflect, with_article
from kineograph.world.v2.plan import Telling

EN_AFTER_CLAUSE = Words((", ", ". ", " as ", " while "), held=(", and ",))
EN_AFTER_MANY = Words((". ", ", "))
EN_AFTER_FRAGMENT = Words((", ", ". "))
EN_AFTER_GERUND = Words((" ", ", "))
EN_BEFORE_CLAUSE = Words((". ", ", ", " as ", " while "))
EN_BEFORE_FRAGMENT = Words((", ", ". ", ": "))
EN_AFTER_STYLE = Words((": ", ", "))
EN_OF = Words(("of",), held=("showing",))
BLOCK = ("S P", "P, S", "S. P")  # where the places stand; "." for a sentence of their own


@dataclass(frozen=True)
class Part:
    """A part of a caption in words, and how it may be joined."""

    text: str
    kind: str  # "clause", "fragment", "gerund", "film" (its own sentence), "style", "things"


def places(t: Telling) -> str:
    """Where and when it happens: "on grass at noon in the rain"."""
    tables = (("floor", film.EN_FLOOR), ("sky", film.EN_SKY), ("weather", film.EN_WEATHER))
    found = [t.pen.pick(table[t.told[name]]) for name, table in tables if name in t.told]
    if len(found) > 1 and t.pen.chance(0.25):
        found = [*found[1:], found[0]]
    return " ".join(found)


# --- the camera --------------------------------------------------------------------------
def _way(t: Telling, move: str, table: dict[str, Words]) -> str:
    """The words of a move from a table by move or by family, with its direction."""
    family, _, way = move.partition(" ")
    phrase = t.pen.pick(table[move if move in table else family])
    if "{d}" in phrase:
        phrase = phrase.replace("{d}", t.pen.pick(film.EN_CAMERA_DIRECTION[way]))
    return phrase


def shot_noun(t: Telling, move: str, speed: str | None, article: bool) -> str:
    """A shot by its camera: "a slow pan left", "static shot"."""
    noun = _way(t, move, film.EN_CAMERA_NOUN)
    if speed is not None:
        noun = f"{t.pen.pick(film.EN_CAMERA_ADJECTIVE[speed])} {noun}"
    return with_article(noun) if article else noun


def _camera_gerund(t: Telling, move: str, speed: str | None) -> str:
    """The camera in its move: "the camera panning left slowly"."""
    before, after = adverbs(t.pen, speed)
    verb = _way(t, move, film.EN_CAMERA)
    return f"the camera {predicate(verb, 'participle', before=before, after=after)}"


def camera(t: Telling) -> Part | None:
    """The camera of a single shot."""
    told = of(t.told, 0, "shot")
    move, speed = told.get("camera.move"), told.get("camera.speed")
    if move is None:
        return None
    kind = t.pen.pick(film.EN_CAMERA_KIND)
    before, after = adverbs(t.pen, speed)
    if kind == "gerund":
        if move in film.EN_CAMERA_STATE:
            text = with_article(t.pen.pick(film.EN_CAMERA_STATE[move]))
        else:
            text = _camera_gerund(t, move, speed)
        return Part(f"{t.pen.pick(film.EN_WITH)} {text}", "gerund")
    if kind == "noun":
        if move in film.EN_CAMERA_STATE and t.pen.chance(0.5):
            return Part(t.pen.pick(film.EN_CAMERA_STATE[move]), "fragment")
        return Part(shot_noun(t, move, speed, t.pen.chance(0.4)), "fragment")
    if kind == "command" and move not in film.EN_CAMERA_STATE:
        verb = _way(t, move, film.EN_CAMERA)
        return Part(f"{before} {verb} {after}".strip(), "fragment")
    verb = _way(t, move, film.EN_CAMERA)
    told_verb = predicate(verb, "third", before=before, after=after)
    if verb.startswith("do not"):
        told_verb = inflect(verb, "third")
    return Part(f"{t.pen.pick(film.EN_CAMERA_SUBJECT)} {told_verb}", "clause")


def _shot(t: Telling, k: int) -> str:
    """One of several shots, as it is cut to."""
    told = of(t.told, k, "shot")
    move, speed = told.get("camera.move"), told.get("camera.speed")
    if move is None:
        return t.pen.pick(film.EN_OTHER_SHOT if k else film.EN_SOME_SHOT)
    if t.pen.chance(0.25) and move not in film.EN_CAMERA_STATE:
        return _camera_gerund(t, move, speed)
    return shot_noun(t, move, speed, True)


def shots(t: Telling) -> tuple[str, str] | Part | None:
    """The camera's part, or of several shots the first and the rest of their list."""
    number = len(t.scene.shots)
    if number == 1:
        found = camera(t)
        if "shots" not in t.told:
            return found
        one = t.pen.pick(film.EN_SHOTS["1"])
        return Part(f"{found.text}, {one}", found.kind) if found else Part(one, "gerund")
    if "shots" not in t.told:
        return None
    if not any(n.startswith("shot") and n != "shots" for n in t.told):
        return Part(t.pen.pick(film.EN_SHOTS[str(number)]), "gerund")
    named = "shot0.camera.move" in t.told
    opening = t.pen.pick(film.EN_OPENING) if named else film.EN_OPENING.trained[0]
    first = f"{opening} {_shot(t, 0)}"
    rest = ""
    for k in range(1, number):
        told = of(t.told, k, "shot")
        words = film.EN_TRANSITION[told.get("transition", "")]
        # never "the next shot is another shot"
        change = t.pen.pick(words) if told else words.trained[0]
        rest += f"{'. ' if change.endswith(' is') else ', '}{change} {_shot(t, k)}"
    return first, rest


# --- style -------------------------------------------------------------------------------
def style(t: Telling, table: Words) -> str:
    """The style in words: "in the style of an oil painting", "in an oil painting style"."""
    value = t.told["style"]
    work = t.pen.pick(film.EN_STYLE_WORK[value])
    named = t.pen.pick(film.EN_STYLE_NAME[value])
    text = t.pen.pick(table).replace("{a}", with_article(work))
    return text.replace("{as}", with_article(named)).replace("{s}", named)


# --- the whole ---------------------------------------------------------------------------
def _block(t: Telling, text: str, pieces: list[Piece], led: bool) -> str:
    """The things with their places before, behind, or in a sentence of their own."""
    where = places(t)
    if not where or not text:
        return text or where
    many = len(pieces) > 1
    form = "S P" if t.pen.full else t.pen.rng.choice(BLOCK)
    if (led or not many) and form == "S. P":
        form = "S P"
    if form == "S P" and many and ". " in text:
        form = "S. P"
    if led and form == "P, S":
        form = "S P"
    if form == "S. P":
        return f"{text}. {t.pen.pick(film.EN_SETTING)} {where}"
    return f"{text} {where}" if form == "S P" else f"{where}, {text}"


def _join(t: Telling, before: Part, after: Part, simple: bool) -> str:
    """What stands between two parts; `simple` things are one clause that can follow "while"."""
    kinds = (before.kind, after.kind)
    if before.kind.startswith("style"):
        return t.pen.pick(EN_AFTER_STYLE)
    if after.kind.startswith("style"):
        return ", "
    if "film" in kinds:
        return ". "
    if after.kind == "clause":
        return t.pen.pick(EN_AFTER_CLAUSE if simple else EN_AFTER_MANY)
    if before.kind == "clause":
        join = t.pen.pick(EN_BEFORE_CLAUSE)
        return join if simple or not join.strip().isalpha() else ". "
    if after.kind == "gerund":
        return t.pen.pick(EN_AFTER_GERUND)
    if before.kind == "gerund":
        return ", "
    return t.pen.pick(EN_AFTER_FRAGMENT if before.kind == "things" else EN_BEFORE_FRAGMENT)


def _lead(t: Telling, film_part: tuple[str, str] | Part | None) -> tuple[str, str]:
    """What stands before things told as a fragment, and which part that already tells."""
    if "style" in t.told and t.pen.chance(0.5):
        return style(t, film.EN_STYLE_LEAD), "Y"
    if isinstance(film_part, tuple) and film_part[0].endswith("shot") and t.pen.chance(0.5):
        return f"{film_part[0]} {t.pen.pick(EN_OF)}", "C"
    return t.pen.pick(film.EN_LEAD), ""


def compose(t: Telling) -> str:
    """State the told facts of a scene in English."""
    voice = voice_of(t)
    film_part = shots(t)
    order = t.pen.pick(film.EN_SLOTS).split("|")
    text, pieces = things(t, voice)
    lead = tells = ""
    if pieces and voice == Voice("participle", "a") and pieces[0].clause.order is None:
        lead, tells = _lead(t, film_part)
    body = f"{lead} {_block(t, text, pieces, bool(lead))}".strip()
    parts = {"B": Part(body, "things")} if body else {}
    if isinstance(film_part, tuple):
        if tells == "C":
            parts["B"] = Part(body + film_part[1], "film")
        else:
            parts["C"] = Part(film_part[0] + film_part[1], "film")
    elif film_part is not None:
        parts["C"] = film_part
    if "style" in t.told and tells != "Y":
        parts["Y"] = Part("", "style")
    return _assemble(t, parts, order, voice, pieces)


def _assemble(
    t: Telling, parts: dict[str, Part], order: list[str], voice: Voice, pieces: list[Piece]
) -> str:
    """Put the parts in order, with what stands between them, and finish the text."""
    slots = [slot for slot in order if slot in parts]
    if "Y" in parts:
        table = film.EN_STYLE_BEFORE if slots[0] == "Y" else film.EN_STYLE_AFTER
        parts["Y"] = Part(style(t, table), "style" if slots[0] == "Y" else "style after")
    simple = len(pieces) == 1 and voice.form != "participle" and pieces[0].acts
    body = parts["B"].text if simple else ""
    simple = simple and ". " not in body and pieces[0].clause.order is None
    result = ""
    for slot, previous in zip(slots, [None, *slots], strict=False):
        if previous is not None:
            result += _join(t, parts[previous], parts[slot], simple)
        result += parts[slot].text
    return finish(t, result)


def finish(t: Telling, text: str) -> str:
    """Write sentences with capitals and a full stop, more often where there are several."""
    if t.pen.full or t.pen.chance(0.85 if ". " in text else 0.5):
        text = re.sub(r"(^|[.] )([a-z])", lambda m: m[1] + m[2].upper(), text) + "."
    return text
