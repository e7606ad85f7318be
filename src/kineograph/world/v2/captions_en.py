"""The English grammar of captions: things, what they do, and where they stand.

A `Piece` is a clause in words. The film around it, the camera, the light and the style, is
worded in `film_en`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kineograph.world.v2 import words_en as en
from kineograph.world.v2.lexicon import Pen, Words, inflect, plural, with_article
from kineograph.world.v2.plan import Clause, Telling, clauses, matches

# A ball that rolls, that is rolling, or that is met rolling.
VerbForm = Literal["third", "progressive", "participle"]
Article = Literal["a", "the", ""]

EN_MORE = Words(("more",))
EN_CLAUSE_JOIN = Words((". ", ", ", " and "), held=("; ",))
EN_CLAUSE_JOIN_AFTER_NAME = Words((". ", ", "))
EN_JOIN_FRAGMENTS = Words((", ",))
# "(a blue cube) behind a red ball", "behind a red ball there is (a blue cube)".
EN_INVERTED = Words(("there is", "is", "stands"), held=("sits",))
ROLLS = ("ball",)  # what rolls when it is pushed into something


@dataclass(frozen=True)
class Voice:
    """The form of a caption's verbs, and the article of what is named for the first time."""

    form: VerbForm
    article: Article


@dataclass(frozen=True)
class Piece:
    """A clause in words."""

    text: str
    clause: Clause
    named_last: bool  # it ends with a thing, so that "and" would go on with the name
    acts: bool = True  # it has a verb of its own
    turned: bool = False  # it begins with where something stands


# --- names -------------------------------------------------------------------------------
def name(looks: Mapping[str, str], pen: Pen, many: bool = False, number: str = "") -> str:
    """A thing without its article: "small red metal ball", "row of five red dominoes"."""
    before = [pen.pick(en.EN_SIZE[looks["size"]])] if "size" in looks else []
    before += [pen.pick(en.EN_COLOUR[looks["colour"]])] if "colour" in looks else []
    after = []
    if "material" in looks:
        if pen.chance(0.15):
            after = [pen.pick(en.EN_MADE_OF[looks["material"]])]
        else:
            before += [pen.pick(en.EN_MATERIAL[looks["material"]])]
    noun = pen.pick(en.EN_SHAPE[looks["shape"]] if "shape" in looks else en.EN_THING)
    heap = looks.get("pile")
    if many or heap:
        noun = plural(noun)
    count = [pen.pick(en.EN_NUMBER[looks["count"]])] if "count" in looks else []
    front = [pen.pick(en.EN_PILE[heap])] if heap else []
    return " ".join([*front, *count, *([number] if number else []), *before, noun, *after])


def mention(t: Telling, i: int, article: Article = "a") -> str:
    """Name a thing: in full the first time, then just well enough to point at it."""
    if i in t.known:
        looks, which = t.description(i)
        first = t.pen.pick(en.EN_ORDINAL[str(which)]) if which else t.pen.pick(en.EN_DEFINITE)
        return f"{first} {name(looks, t.pen)}"
    looks = t.looks(i)
    again = bool(matches(looks, [t.looks(k) for k in t.known]))
    t.known.append(i)
    if t.foreign == i:
        return t.in_other_language(i, again)
    if again:
        return f"{t.pen.pick(en.EN_ANOTHER)} {name(looks, t.pen)}"
    phrase = name(looks, t.pen)
    return {"a": with_article(phrase), "the": f"the {phrase}", "": phrase}[article]


def subject_of(t: Telling, clause: Clause, article: Article) -> str:
    """Name what a clause is about: "two red balls", "a red ball and a blue cube"."""
    if clause.alike:
        looks = t.looks(clause.subjects[0])
        number = t.pen.pick(en.EN_NUMBER[str(len(clause.subjects))])
        if matches(looks, [t.looks(k) for k in t.known]):
            number += f" {t.pen.pick(EN_MORE)}"
        t.known += clause.subjects
        return name(looks, t.pen, many=True, number=number)
    if t.last == clause.subjects and t.pen.chance(0.5):
        return t.pen.pick(en.EN_IT if len(clause.subjects) == 1 else en.EN_THEY)
    names = [mention(t, i, article) for i in clause.subjects]
    return listed(names, t.pen)


def listed(names: list[str], pen: Pen) -> str:
    """Join names: "a ball, a cube and a cone"."""
    link = f" {pen.pick(en.EN_AND)} "
    return link.join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


# --- verbs -------------------------------------------------------------------------------
def predicate(
    verb: str, form: VerbForm, *, before: str = "", after: str = "", many: bool = False
) -> str:
    """Put a base verb phrase into its form, with adverbs before and after it."""
    passive = verb.startswith("be ")
    auxiliary = ("are" if many else "is") if passive or form == "progressive" else ""
    if passive:
        auxiliary += " being" if form == "progressive" else ""
        verb = verb.removeprefix("be ")
    elif form == "third":
        verb = verb if many else inflect(verb, "third")
    else:
        verb = inflect(verb, "ing")
    if form == "participle":
        auxiliary = ""
    return " ".join(part for part in (auxiliary, before, verb, after) if part)


def adverbs(pen: Pen, speed: str | None) -> tuple[str, str]:
    """A speed as (words before the verb, words after it)."""
    if speed is None:
        return "", ""
    if speed != "normal" and pen.chance(0.4):
        return pen.pick(en.EN_SPEED_BEFORE[speed]), ""
    return "", pen.pick(en.EN_SPEED[speed])


def _base(t: Telling, i: int, motion: str) -> str:
    """The verb of a motion with its direction or its colour, in the base form."""
    told = t.of(i)
    if motion == "recolour" and "colour_to" in told:
        colour = t.pen.pick(en.EN_COLOUR[told["colour_to"]])
        return t.pen.pick(en.EN_RECOLOUR).replace("{c}", colour)
    table = en.EN_MOTION[motion]
    if motion in en.MOVES and {"shape", "direction"} <= told.keys() and t.pen.chance(0.08):
        table = en.EN_MOVE
    way = t.pen.pick(en.EN_DIRECTION[told["direction"]]) if "direction" in told else ""
    return re.sub(" +", " ", t.pen.pick(table).replace("{d}", way)).strip()


def _does(t: Telling, i: int, form: VerbForm, many: bool = False, motion: str = "") -> str:
    """What a thing does, alone: "slowly rolls to the left"."""
    told = t.of(i)
    before, after = adverbs(t.pen, told.get("speed"))
    verb = _base(t, i, motion or told["motion"])
    return predicate(verb, form, before=before, after=after, many=many)


def _sequel(t: Telling, i: int, form: VerbForm, many: bool) -> str:
    """What it does after that: ", then turns blue"."""
    then = t.of(i).get("then")
    if then is None:
        return ""
    verb, link = _base(t, i, then), t.pen.pick(en.EN_SEQUEL)
    if form != "participle" and t.pen.chance(0.2):
        word = t.pen.pick(en.EN_THEY if many else en.EN_IT)
        link = link.removeprefix("and ")
        return f". {link} {word} {predicate(verb, form, many=many)}"
    form = "participle" if form == "progressive" else form
    comma = "" if link.startswith("and ") else ","
    return f"{comma} {link} {predicate(verb, form, many=many)}"


# --- clauses -----------------------------------------------------------------------------
def _meeting(t: Telling, clause: Clause, voice: Voice) -> Piece:
    """One thing runs into or circles another: told by the one or, passive, by the other."""
    i = clause.subjects[0]
    told, form = t.of(i), voice.form
    motion, partner = told["motion"], int(told["partner"].removeprefix("object"))
    collides = motion == "collide"
    manner = "roll" if t.scene.objects[i].shape in ROLLS else "slide"
    has_way = collides and bool({"direction", "speed"} & told.keys())
    speed = told.get("speed") if not collides else None
    before, after = adverbs(t.pen, speed)
    t.last = ()
    if t.pen.chance(0.2):
        other = mention(t, partner, voice.article)
        hit = predicate(t.pen.pick(en.EN_PARTNER_BY[motion]), form, before=before)
        mover = mention(t, i, voice.article)
        way = _does(t, i, "participle", motion=manner) if has_way else after
        text = " ".join(part for part in (other, hit, mover, way) if part)
        return Piece(text, clause, named_last=True)
    mover = mention(t, i, voice.article)
    if not collides or not (has_way or t.pen.chance(0.15)):
        hit = predicate(t.pen.pick(en.EN_PARTNER[motion]), form, before=before)
        text = f"{mover} {hit} {mention(t, partner, voice.article)} {after}".strip()
        return Piece(text, clause, named_last=True)
    way = _does(t, i, form, motion=manner)
    if not has_way or t.pen.chance(0.25):
        link = t.pen.pick(en.EN_INTO)
    else:
        hit = inflect(t.pen.pick(en.EN_PARTNER["collide"]), "third" if form == "third" else "ing")
        link = f"{t.pen.pick(en.EN_HIT_LINK)} {hit}"
    return Piece(f"{mover} {way} {link} {mention(t, partner, voice.article)}", clause, True)


def _where(t: Telling, relation: int, article: Article) -> str:
    """Where a thing stands: "to the left of a blue cube"."""
    place = t.scene.relations[relation]
    names = [t.pen.pick(en.EN_RELATION[place.name])]
    others = t.pen.shuffled(place.others)
    return f"{names[0]} {listed([mention(t, k, article) for k in others], t.pen)}"


def _place(t: Telling, clause: Clause, voice: Voice) -> Piece:
    """A clause of its own for where something stands."""
    i, article = clause.subjects[0], voice.article
    relation = clause.relation
    assert relation is not None
    if i in t.known or t.last == (i,):
        subject = subject_of(t, clause, article)
        text = f"{subject} {t.pen.pick(en.EN_AT)} {_where(t, relation, article)}"
        t.last = ()
        return Piece(text, clause, True)
    t.last = ()
    bare = voice.form == "participle"
    if not bare and t.pen.chance(0.25):
        where = _where(t, relation, article)
        there = t.pen.pick(EN_INVERTED)
        text = f"{where} {there} {mention(t, i, article)}"
        return Piece(text, clause, True, turned=True)
    subject = mention(t, i, article)
    if not bare and t.pen.chance(0.35) and article == "a":
        there = t.pen.pick(en.EN_THERE["one"])
        return Piece(f"{there} {subject} {_where(t, relation, article)}", clause, True)
    at = "" if bare else f"{t.pen.pick(en.EN_AT)} "
    return Piece(f"{subject} {at}{_where(t, relation, article)}", clause, True, acts=not bare)


def tell(t: Telling, clause: Clause, voice: Voice) -> Piece:
    """Put a clause into words."""
    i = clause.subjects[0]
    told = t.of(i)
    if clause.kind == "place":
        return _place(t, clause, voice)
    if "partner" in told:
        return _meeting(t, clause, voice)
    many = len(clause.subjects) > 1
    stands = told.get("motion") == "stack" and i not in t.known and t.pen.chance(0.6)
    shown = clause.kind == "show" or stands
    subject = subject_of(t, clause, voice.article)
    t.last = clause.subjects
    if shown:
        if voice.form == "participle" or voice.article != "a":
            return Piece(subject, clause, True, acts=False)
        first = "many" if clause.alike else "one"
        return Piece(f"{t.pen.pick(en.EN_THERE[first])} {subject}", clause, True, acts=False)
    does = _does(t, i, voice.form, many)
    if many and not t.pen.chance(0.85 if clause.alike else 0.4):
        number = "both" if len(clause.subjects) == 2 else "all"
        does = _with_all(does, t.pen.pick(en.EN_ALL[number]))
    if clause.relation is not None:
        t.last = ()
        return Piece(f"{subject} {does} {_where(t, clause.relation, voice.article)}", clause, True)
    return Piece(f"{subject} {does}{_sequel(t, i, voice.form, many)}", clause, False)


def _with_all(does: str, word: str) -> str:
    """Put "both" where it belongs: "both roll", "are both rolling"."""
    head, _, tail = does.partition(" ")
    return f"{head} {word} {tail}" if head == "are" else f"{word} {does}"


def _join(t: Telling, text: str, before: Piece, after: Piece, voice: Voice, last: bool) -> str:
    """What stands between the text so far and a clause, with the word for its order."""
    pen, a, b = t.pen, before.clause, after.clause
    fragment = voice.form == "participle"
    alike = t.scene.objects[a.subjects[0]].order == t.scene.objects[b.subjects[0]].order
    if a.kind == b.kind == "act" and before.acts and after.acts and alike and a.order == b.order:
        must = b.order is not None  # two that come "then" would come one after the other
        once = " while " not in text.rpartition(". ")[2] and not fragment
        if once and (pen.chance(0.2) or (must and pen.chance(0.5))):
            return f" {pen.pick(en.EN_SAME)} "
        if must or (not fragment and pen.chance(0.1)):
            return f"{', ' if fragment else '. '}{pen.pick(en.EN_SAME_SENTENCE)}, "
    if b.order is not None:
        word = pen.pick(en.EN_ORDER[b.order])
        comma = "" if word == "then" or pen.chance(0.4) else ","
        stop = ", " if fragment or (word == "then" and pen.chance(0.5)) else ". "
        return f"{stop}{word}{comma} "
    if fragment:
        return pen.pick(EN_JOIN_FRAGMENTS)
    if last and before.acts and after.acts and pen.chance(0.3):
        return ", and "
    # "and" would go on with the name, or with where the last thing is
    no_and = before.named_last or after.turned
    return pen.pick(EN_CLAUSE_JOIN_AFTER_NAME if no_and else EN_CLAUSE_JOIN)


def things(t: Telling, voice: Voice) -> tuple[str, list[Piece]]:
    """Tell of all things and what they do: the text, and its clauses."""
    pieces: list[Piece] = []
    text = ""
    planned = clauses(t.scene, t.told, t.pen, most=2)
    for n, clause in enumerate(planned):
        piece = tell(t, clause, voice)
        if pieces:
            text += _join(t, text, pieces[-1], piece, voice, n == len(planned) - 1)
        elif clause.order is not None:
            text = t.pen.pick(en.EN_ORDER[clause.order]) + (" " if t.pen.chance(0.4) else ", ")
        text += piece.text
        pieces.append(piece)
    return text, pieces


def voice_of(t: Telling) -> Voice:
    """Choose the form of the verbs and the article: not "a" only where nothing is pointed at."""
    told = [i for i in range(len(t.scene.objects)) if t.of(i)]
    looks = [{n: v for n, v in t.looks(i).items() if n != "count"} for i in told]
    places = any(n.startswith("relation") for n in t.told)
    # A list of fragments stays short, and points at nothing.
    brief = len(told) <= (2 if any(n.endswith(".order") for n in t.told) else 4)
    moves = any("motion" in t.of(i) for i in told)
    participle = t.pen.chance(0.25) and brief and not (places and moves)
    alone = not places and not any(n.endswith(".partner") for n in t.told)
    alone = alone and all(len(matches(some, looks)) == 1 for some in looks)
    article: Article = "a"
    if alone and t.pen.chance(0.3 if participle else 0.06):
        article = "" if participle and t.pen.chance(0.8) else "the"
    if participle:
        return Voice("participle", article)
    return Voice("progressive" if t.pen.chance(0.25) else "third", article)
