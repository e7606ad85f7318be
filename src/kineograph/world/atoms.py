"""Cutting a text into known phrases: what the parsers of both versions of the world share.

A `Vocabulary` says which phrases there are and what each may stand for; `cut` takes the
longest of them from left to right. What a sense is, its parser says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Sense = TypeVar("Sense")

BREAKS = frozenset(".,;:!?()[]…—–，。；：！？（）【】")
CONJUNCTIONS = frozenset("&、")
_TOKEN = re.compile(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+(?:['’][^\W_\u4e00-\u9fff]+)*|[^\w \t]")


@dataclass(frozen=True)
class Atom(Generic[Sense]):
    """A piece of a text: a phrase with its senses, a known word without any, or an unknown one."""

    text: str
    senses: tuple[Sense, ...] = ()
    known: bool = True
    held: bool = False


@dataclass(frozen=True)
class Vocabulary(Generic[Sense]):
    """Phrases by their tokens; fillers are known words that state nothing by themselves."""

    senses: Mapping[tuple[str, ...], tuple[Sense, ...]]
    fillers: frozenset[tuple[str, ...]]
    trained: frozenset[tuple[str, ...]]  # phrases and fillers that are not held out
    longest: int


def collect(
    rows: Iterable[tuple[str, bool, Sense]],
    marks: Iterable[tuple[Iterable[str], Sense]],
    known: Iterable[str],
    trained_words: Iterable[str],
) -> Vocabulary[Sense]:
    """Make a vocabulary of rows (phrase, whether it is held out, sense) and of marks.

    `known` are words that may stand alone, `trained_words` those of them not held out.
    """
    senses: dict[tuple[str, ...], dict[Sense, None]] = {}
    trained: set[tuple[str, ...]] = set()
    for phrase, held, sense in rows:
        senses.setdefault(key(phrase), {})[sense] = None
        if not held:
            trained.add(key(phrase))
    for group, sense in marks:
        for mark in group:
            senses[(mark,)] = {sense: None}
            trained.add((mark,))
    fillers = {key(word) for word in known}
    fillers |= {(word,) for phrase in senses for word in phrase if word.isascii()}
    trained |= {key(word) for word in trained_words}
    trained |= {(word,) for phrase in trained for word in phrase if word.isascii()}
    return Vocabulary(
        {phrase: tuple(found) for phrase, found in senses.items()},
        frozenset(fillers),
        frozenset(trained),
        max(len(phrase) for phrase in (*senses, *fillers)),
    )


def tokens(text: str) -> list[re.Match[str]]:
    """English words, single Chinese characters, and the marks that mean something."""
    return [
        m for m in _TOKEN.finditer(text)
        if m.group()[0].isalnum() or m.group() in BREAKS | CONJUNCTIONS
    ]  # fmt: skip


def key(phrase: str) -> tuple[str, ...]:
    """The tokens of a phrase, by which a vocabulary finds it."""
    return tuple(m.group().lower() for m in tokens(phrase))


def _adjoin(left: re.Match[str], right: re.Match[str]) -> bool:
    """Whether two tokens are Chinese characters side by side."""
    chinese = all("\u4e00" <= m.group() <= "\u9fff" for m in (left, right))
    return chinese and left.end() == right.start()


def cut(text: str, words: Vocabulary[Sense]) -> list[Atom[Sense]]:
    """Cut a text into the longest known phrases, else fillers, else unknown words."""
    found_tokens = tokens(text)
    keys = tuple(m.group().lower() for m in found_tokens)
    spans: list[tuple[int, int]] = []  # from one token to before another; known if not in unknown
    unknown: set[int] = set()
    at = 0
    while at < len(keys):
        lengths = range(min(words.longest, len(keys) - at), 0, -1)
        size = next((n for n in lengths if keys[at : at + n] in words.senses), 0)
        size = size or next((n for n in lengths if keys[at : at + n] in words.fillers), 0)
        start = at
        if not size:
            if at - 1 in unknown and _adjoin(found_tokens[at - 1], found_tokens[at]):
                start, _ = spans.pop()
            unknown.add(at)
        at += size or 1
        spans.append((start, at))
    found = []
    for first, last in spans:
        piece = text[found_tokens[first].start() : found_tokens[last - 1].end()]
        phrase, known = keys[first:last], first not in unknown
        held = known and phrase not in words.trained
        found.append(Atom(piece, words.senses.get(phrase, ()) if known else (), known, held))
    return found
