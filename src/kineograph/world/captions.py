"""Captions: one scene record into many English or Chinese sentences, all of them true.

A caption is made in two steps. First the facts to state are drawn, because short prompts
must work as well as complete ones; then a grammar (`captions_en`, `captions_zh`) words
them, with synonyms, clause orders, active and passive. What was left unsaid is unknown to
the reader, so judges score only the stated facts. A clip's caption fits the text
encoder's 64 tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from typing import Literal

from kineograph.world import captions_en, captions_zh, lexicon
from kineograph.world.lexicon import EN_INFLECT, Pen, Words, inflect
from kineograph.world.scene import Scene

Language = Literal["en", "zh"]
Style = Literal["short", "medium", "long"]

# How likely a fact is stated, by style. Over the styles' shares, a moving camera is named in
# 75 % of the captions and a static one in 50 %, so silence leans towards a static camera.
STYLES: tuple[Style, ...] = ("short", "medium", "long")
STYLE_SHARE = (0.3, 0.4, 0.3)
KEEP: dict[str, tuple[float, float, float]] = {
    "colour": (0.95, 0.97, 0.99),
    "shape": (0.98, 0.98, 0.99),
    "motion": (0.95, 0.97, 0.98),
    "still": (0.5, 0.65, 0.8),  # "a blue cube" alone says as much
    "size": (0.15, 0.5, 0.8),
    "material": (0.15, 0.5, 0.8),
    "direction": (0.7, 0.85, 0.9),
    "speed": (0.2, 0.55, 0.8),
    "floor": (0.25, 0.6, 0.85),
    "sky": (0.15, 0.5, 0.8),
    "camera.move": (0.6, 0.78, 0.86),
    "camera.static": (0.35, 0.5, 0.65),
    "camera.speed": (0.2, 0.5, 0.75),
}
UNMARKED = {"medium": 0.25, "normal": 0.2, "matte": 0.5}  # nobody says the ordinary: share kept
MAX_TOKENS = {"en": 56, "zh": 60}


def facts(scene: Scene) -> dict[str, str]:
    """Everything a caption may state, by name: "object0.colour", "floor", "camera.move"...

    The struck object of a collision has the fact "struck" and no motion of its own.
    """
    found: dict[str, str] = {}
    for i, thing in enumerate(scene.objects):
        for name in ("colour", "shape", "size", "material"):
            found[f"object{i}.{name}"] = getattr(thing, name)
        if thing.struck:
            found[f"object{i}.struck"] = "yes"
            continue
        found[f"object{i}.motion"] = thing.motion
        if thing.direction is not None:
            found[f"object{i}.direction"] = thing.direction
        if thing.speed is not None:
            found[f"object{i}.speed"] = thing.speed
    found |= {"floor": scene.floor, "sky": scene.sky, "camera.move": scene.camera.move}
    if scene.camera.speed is not None:
        found["camera.speed"] = scene.camera.speed
    return found


def _draw_facts(scene: Scene, rng: random.Random, style: int) -> frozenset[str]:
    """Draw which facts to state; a fact that hangs on another falls with it."""
    said: set[str] = set()
    for name, value in facts(scene).items():
        kind = name if name.startswith("camera") else name.rpartition(".")[2]
        kind = {"still": "still", "static": "camera.static"}.get(value, kind)
        keep = 1.0 if kind == "struck" or value == "collide" else KEEP[kind][style]
        if rng.random() < keep * UNMARKED.get(value, 1.0):
            said.add(name)
    for i in range(len(scene.objects)):
        if f"object{i}.colour" not in said:
            said.add(f"object{i}.shape")  # never "an object" and nothing else
        if f"object{i}.motion" not in said:
            said -= {f"object{i}.direction", f"object{i}.speed"}
    if "camera.move" not in said:
        said.discard("camera.speed")
    return frozenset(said)


def _dispensable(scene: Scene, said: frozenset[str]) -> Iterator[str]:
    """Stated facts in the order in which a caption that is too long does without them."""
    values = facts(scene)
    yield from (f for f in sorted(said) if values[f] in UNMARKED)
    # a motion goes after its direction and speed; a collision is told as long as it is seen
    for kind in ("material", "sky", "size", "speed", "floor", "move", "direction", "motion"):
        for fact in sorted(said):
            if fact.rpartition(".")[2] == kind and values[fact] != "collide":
                yield fact


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


@cache
def _all_words(heldout: bool) -> frozenset[str]:
    return frozenset(known_words(heldout=heldout))


def _with_typo(text: str, language: Language, rng: random.Random) -> str:
    """One slip of the hand: a letter swapped or dropped, or 的 written for 地."""
    if language == "zh":
        return text.replace("地", "的", 1) if re.search("[慢速快缓]地", text) else text
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


def caption_with_facts(
    scene: Scene,
    language: Language,
    rng: random.Random,
    *,
    full: bool = False,
    style: Style | None = None,
    heldout_phrasing: bool = False,
    typo_rate: float = 0.0,
) -> tuple[str, frozenset[str]]:
    """Caption a scene and say which of `facts(scene)` the caption states.

    `full` states every fact in canonical words and one fixed form, whatever `rng`; of three
    objects it leaves out the ordinary (medium size, normal speed, matte) where the text would
    be too long. `style` None draws one. `heldout_phrasing` uses a held clause order, and held
    synonyms where a concept has them; without it no held word is ever used. `typo_rate` is the
    share of captions with one typo. Raises ValueError for an unknown language or style, and
    for `full` together with `heldout_phrasing`.
    """
    if language not in ("en", "zh"):
        raise ValueError(f"language {language!r} is not 'en' or 'zh'")
    if style is not None and style not in STYLES:
        raise ValueError(f"style {style!r} is not one of {', '.join(STYLES)}")
    if full and heldout_phrasing:
        raise ValueError("full captions are canonical: heldout_phrasing must be False")
    pen = Pen(rng, full=full, held=heldout_phrasing)
    if full:
        said = frozenset(facts(scene))
    else:
        chosen = style or rng.choices(STYLES, STYLE_SHARE)[0]
        said = _draw_facts(scene, rng, STYLES.index(chosen))
    grammar = captions_en.compose if language == "en" else captions_zh.compose
    text = grammar(scene, said, pen)
    for fact in _dispensable(scene, said):
        if token_estimate(text) <= MAX_TOKENS[language]:
            break
        said -= {fact}
        text = grammar(scene, said, pen)
    if rng.random() < typo_rate:
        text = _with_typo(text, language, rng)
    return text, said


def caption(
    scene: Scene,
    language: Language,
    rng: random.Random,
    *,
    full: bool = False,
    style: Style | None = None,
    heldout_phrasing: bool = False,
    typo_rate: float = 0.0,
) -> str:
    """Caption a scene; see `caption_with_facts`."""
    return caption_with_facts(
        scene,
        language,
        rng,
        full=full,
        style=style,
        heldout_phrasing=heldout_phrasing,
        typo_rate=typo_rate,
    )[0]


def _phrases(table: object, heldout: bool) -> Iterator[str]:
    """Every phrase in a table: Words, or words nested in dictionaries."""
    if isinstance(table, Words):
        yield from table.trained + (table.held if heldout else ())
    elif isinstance(table, dict):
        for value in table.values():
            yield from _phrases(value, heldout)


def known_words(*, heldout: bool = False) -> list[str]:
    """The English words and Chinese fragments that captions can contain, sorted.

    English words are lower-case and split at hyphens. A Chinese word is known when it can be
    cut into these fragments. `heldout` adds those that training never shows: to a trained
    model they are unknown words.
    """
    found: set[str] = set()
    for module in (lexicon, captions_en, captions_zh):
        for name, table in vars(module).items():
            if not name.startswith(("EN_", "ZH_")):
                continue
            for phrase in _phrases(table, heldout):
                forms = [phrase]
                if phrase.split()[:1] and phrase.split()[0] in EN_INFLECT:
                    forms += [inflect(phrase, "third"), inflect(phrase, "ing")]
                    forms += [inflect(phrase.removeprefix("be "), f) for f in ("third", "ing")]
                for form in forms:
                    form = re.sub(r"\{.\}", " ", form)
                    found.update(re.findall(r"[a-z]+", form), re.findall(r"[\u4e00-\u9fff]+", form))
    return sorted(found)
