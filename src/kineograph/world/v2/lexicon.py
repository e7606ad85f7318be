"""Words of the captions: how a concept is worded, chosen, and put into its form.

The tables themselves are in `words_en`, `words_film_en`, `words_zh` and `words_film_zh`.
English verbs stand in their base form, nouns in the singular. Marks in braces are slots:
"{d}" a direction, "{n}" a side, "{v}" a speed, "{c}" a colour, "{o}" and "{s}" things.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

# Which words a caption may use: those seen with video, also those seen in text alone, or held.
Phrasing = Literal["trained", "text", "held"]
PHRASINGS: tuple[Phrasing, ...] = ("trained", "text", "held")
Form = Literal["base", "third", "ing"]
T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """Ways to say one thing; the first trained one is canonical."""

    trained: tuple[str, ...]
    text: tuple[str, ...] = ()
    """Words that training sees in texts that say the same, never with a video."""
    held: tuple[str, ...] = ()
    """Words that training never sees."""


def words(trained: str, text: str = "", held: str = "") -> Words:
    """Words from lists separated by commas and spaces."""
    return Words(*(tuple(some.split(", ")) if some else () for some in (trained, text, held)))


@dataclass(frozen=True)
class Pen:
    """Chooses among words: at random, only canonical ones (full), or by the phrasing."""

    rng: random.Random
    full: bool = False
    phrasing: Phrasing = "trained"

    def pick(self, choice: Words) -> str:
        """One way to say it; the canonical one gets a larger share, for it is what users type."""
        if self.full:
            return choice.trained[0]
        if self.phrasing == "held" and choice.held:
            return self.rng.choice(choice.held)
        if self.phrasing == "text" and choice.text and self.rng.random() < 0.7:
            return self.rng.choice(choice.text)
        if self.rng.random() < 0.3:
            return choice.trained[0]
        return self.rng.choice(choice.trained)

    def chance(self, probability: float) -> bool:
        """True with this probability; never in a full caption, whose form is fixed."""
        return not self.full and self.rng.random() < probability

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in any order; as they are in a full caption."""
        found = list(items)
        if not self.full:
            self.rng.shuffle(found)
        return found


# --- English forms -----------------------------------------------------------------------
_IRREGULAR = {"be": ("is", "being"), "do": ("does", "doing"), "have": ("has", "having")}
_DOUBLED = ("drop", "get", "hit", "hop", "pan", "run", "sit", "skid", "skip", "slam", "slip",
            "spin", "tip")  # fmt: skip
_PLURALS = {"snowman": "snowmen", "snow man": "snow men", "box": "boxes", "torus": "toruses"}


def _third(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + "s"


def _ing(verb: str) -> str:
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + "ing"


def inflect(phrase: str, form: Form) -> str:
    """A verb phrase in the "third" person, the "ing" form, or its "base"."""
    if form == "base":
        return phrase
    head, _, tail = phrase.partition(" ")
    if head in _IRREGULAR:
        head = _IRREGULAR[head][form == "ing"]
    else:
        head = _third(head) if form == "third" else _ing(head)
    return f"{head} {tail}".strip()


def plural(noun: str) -> str:
    """The plural of an English noun phrase that ends in its noun."""
    for one, many in _PLURALS.items():
        if noun == one or noun.endswith(" " + one):
            return noun.removesuffix(one) + many
    *before, last = noun.split(" ")
    if last.endswith(("s", "x", "ch", "sh", "o")) and last not in ("torso",):
        last += "es"
    else:
        last += "s"
    return " ".join([*before, last])


# What does not begin with the sound that its first letter says.
_SOUNDS = {"x-ray": "an", "ukiyo-e": "a", "8-bit": "an"}


def with_article(phrase: str) -> str:
    """An English noun phrase with "a" or "an" before it."""
    article = _SOUNDS.get(phrase.split(" ")[0]) or ("an" if phrase[0] in "aeiou" else "a")
    return f"{article} {phrase}"
