"""Captions of the world's second version: one scene record into many true sentences.

First the facts to state are drawn (`facts`), then a plan of clauses (`plan`), then a grammar
words it (`captions_en` and `film_en`, `captions_zh` and `film_zh`). What was left unsaid is
unknown to the reader, so judges score only the stated facts; `parse` reads exactly those back.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Literal

from kineograph.world.v2 import (
    captions_en,
    captions_zh,
    film_en,
    film_zh,
    words_en,
    words_film_en,
    words_film_zh,
    words_zh,
)
from kineograph.world.v2.facts import STYLE_SHARE, STYLES, Style, draw_facts, facts, shorter
from kineograph.world.v2.lexicon import (
    PHRASINGS,
    Pen,
    Phrasing,
    Words,
    inflect,
    plural,
    with_article,
)
from kineograph.world.v2.plan import Telling
from kineograph.world.v2.scene import Scene

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, Language] = ("en", "zh")
MAX_TOKENS = 120  # of a caption, by `token_estimate`
TABLES: tuple[ModuleType, ...] = (
    words_en, words_film_en, captions_en, film_en, words_zh, words_film_zh, captions_zh, film_zh,
)  # fmt: skip


def caption_with_facts(
    scene: Scene,
    language: Language,
    rng: random.Random,
    *,
    full: bool = False,
    style: Style | None = None,
    phrasing: Phrasing = "trained",
    typo_rate: float = 0.0,
    mixed_rate: float = 0.0,
    max_tokens: int = MAX_TOKENS,
) -> tuple[str, dict[str, str]]:
    """Caption a scene, and return what of `facts(scene)` the caption states.

    `full` states every fact in canonical words and one fixed form, whatever `rng`. A text
    longer than `max_tokens` does without facts, the ordinary ones first. `style` None draws
    one. `phrasing` "held" uses held clause orders and synonyms where there are some, "text"
    the synonyms that training sees in text alone; with "trained" neither is used. `typo_rate`
    is the share of captions with one typo, `mixed_rate` of those with one thing named in the
    other language. Raises ValueError for an unknown language, style or phrasing, and for
    `full` with another phrasing than "trained".
    """
    for value, allowed in ((language, LANGUAGES), (style, (None, *STYLES)), (phrasing, PHRASINGS)):
        if value not in allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(str(a) for a in allowed)}")
    if full and phrasing != "trained":
        raise ValueError(f"full captions are canonical: phrasing must be 'trained', not {phrasing}")
    pen = Pen(rng, full=full, phrasing=phrasing)
    if full:
        told = facts(scene)
    else:
        chosen = style or rng.choices(STYLES, STYLE_SHARE)[0]
        told = draw_facts(scene, rng, STYLES.index(chosen))
    mixed = not full and rng.random() < mixed_rate
    seed = rng.getrandbits(64)
    less = shorter(scene, told)
    while True:
        pen = Pen(random.Random(seed), full=full, phrasing=phrasing)
        text = _compose(scene, told, language, pen, mixed)
        if token_estimate(text) <= max_tokens:
            break
        following = next(less, None)
        if following is None:
            break
        told = following
    if rng.random() < typo_rate:
        text = with_typo(text, language, rng)
    return text, told


def caption(
    scene: Scene,
    language: Language,
    rng: random.Random,
    *,
    full: bool = False,
    style: Style | None = None,
    phrasing: Phrasing = "trained",
    typo_rate: float = 0.0,
    mixed_rate: float = 0.0,
    max_tokens: int = MAX_TOKENS,
) -> str:
    """Caption a scene; see `caption_with_facts`."""
    return caption_with_facts(
        scene,
        language,
        rng,
        full=full,
        style=style,
        phrasing=phrasing,
        typo_rate=typo_rate,
        mixed_rate=mixed_rate,
        max_tokens=max_tokens,
    )[0]


def describe(scene: Scene, language: Language = "en") -> str:
    """All facts of a scene in canonical words, however long that is."""
    return caption(scene, language, random.Random(0), full=True, max_tokens=10**6)


def _compose(scene: Scene, told: dict[str, str], language: Language, pen: Pen, mixed: bool) -> str:
    """Word the told facts."""
    t = Telling(scene, told, pen)
    if mixed:
        alone = [i for i in range(len(scene.objects)) if t.of(i) and "pile" not in t.looks(i)]
        t.foreign = pen.rng.choice(alone) if alone else None
        t.other_language = _chinese_name if language == "en" else _english_name
    text = film_en.compose(t) if language == "en" else film_zh.compose(t)
    # A word of the other language stands apart from Chinese characters.
    return re.sub(r"(?<=[\u4e00-\u9fff])(?=[a-z])|(?<=[a-z])(?=[\u4e00-\u9fff])", " ", text)


def _chinese_name(t: Telling, i: int, again: bool) -> str:
    number = t.pen.pick(words_zh.ZH_ANOTHER) if again else words_zh.ZH_NUMBER["1"].trained[0]
    return captions_zh.measured(t.looks(i), t.pen, number)


def _english_name(t: Telling, i: int, again: bool) -> str:
    phrase = captions_en.name(t.looks(i), t.pen)
    return f"{t.pen.pick(words_en.EN_ANOTHER)} {phrase}" if again else with_article(phrase)


# --- length and typos --------------------------------------------------------------------
def token_estimate(text: str) -> int:
    """About how many tokens a BPE of 1024 makes of a text, on the safe side.

    One for a word, a Chinese character or a mark; a word that training captions never
    contain falls into pieces of one or two letters.
    """
    count, known = 0, _all_words(heldout=False)
    for piece in re.findall(r"[a-z]+|[^\sa-z]", text.lower()):
        rare = piece.isascii() and piece.isalpha() and piece not in known
        count += max(2, (2 * len(piece) + 2) // 3) if rare else 1 + (len(piece) > 9)
    return count


def with_typo(text: str, language: Language, rng: random.Random) -> str:
    """Make one slip of the hand: a letter swapped or dropped, or 的 written for 地."""
    if language == "zh" and re.search("[慢速快缓]地", text):
        return text.replace("地", "的", 1)
    known = _all_words(heldout=True)
    found = list(re.finditer(r"[a-z]{4,}", text))
    rng.shuffle(found)
    for match in found:
        word, at = match.group(), rng.randrange(1, len(match.group()) - 1)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        slip = rng.choice((swapped, word[:at] + word[at + 1 :]))
        if slip not in known and slip != word:  # a slip must not say something else
            return text[: match.start()] + slip + text[match.end() :]
    return text


# --- the words that captions contain -----------------------------------------------------
def phrases(table: object, heldout: bool) -> Iterator[str]:
    """Every phrase in a table: Words, or words nested in dictionaries."""
    if isinstance(table, Words):
        yield from table.trained + table.text + (table.held if heldout else ())
    elif isinstance(table, dict):
        for value in table.values():
            yield from phrases(value, heldout)


def _forms(name: str, phrase: str) -> Iterator[str]:
    """A phrase in every form that a caption may give it, by the name of its table."""
    yield phrase
    if name in words_en.NOUNS:
        yield plural(phrase)
    if (name in words_en.VERBS or name in words_film_en.VERBS) and not phrase.startswith("be "):
        yield inflect(phrase, "third")
        yield inflect(phrase, "ing")


def known_words(*, heldout: bool = False) -> list[str]:
    """The English words and Chinese fragments that captions can contain, sorted.

    English words are lower-case and split at hyphens. A Chinese word is known when it can be
    cut into these fragments. Words that training sees in text alone count as known; `heldout`
    adds those that it never sees.
    """
    found: set[str] = set()
    for module in TABLES:
        for name, table in vars(module).items():
            if not name.startswith(("EN_", "ZH_")):
                continue
            for phrase in phrases(table, heldout):
                for form in _forms(name, phrase):
                    plain = re.sub(r"\{\w+\}", " ", form.lower())
                    found.update(re.findall(r"[a-z]+|[\u4e00-\u9fff]+|\d+", plain))
    return sorted(found)


@cache
def _all_words(heldout: bool) -> frozenset[str]:
    return frozenset(known_words(heldout=heldout))
