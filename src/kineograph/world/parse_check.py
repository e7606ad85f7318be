"""Checking the parser: a parse compared with the facts stated, and many captions at once."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, TypeVar

from kineograph.world.captions import Language, caption_with_facts, facts
from kineograph.world.draw import draw_scene
from kineograph.world.parse import Parsed, parse

Agreement = Literal["exact", "open", "wrong"]
Value = TypeVar("Value")


def agreement(parsed: Parsed, stated: Mapping[str, str]) -> Agreement:
    """Compare a parse with the facts that a caption states, whatever the order of the objects.

    "exact" when they are the same; "open" when they are the same but for facts that
    `Parsed.open` lists: none of an object's, or all of them with one of their values.
    """
    found, truth = _by_object(parsed.facts), _by_object(stated)
    choices = _by_object(parsed.open)
    keys = sorted(key for key in {*found, *choices} if key)
    names = sorted(key for key in truth if key)
    if found.get("") != truth.get("") or len(keys) != len(names):
        return "wrong"
    best: Agreement = "wrong"
    for order in permutations(names):
        pairs = [(key, truth[name]) for key, name in zip(keys, order, strict=True)]
        if all(found.get(key, {}) == object_ for key, object_ in pairs):
            return "exact"
        if all(_fits(found.get(k, {}), choices.get(k, {}), object_) for k, object_ in pairs):
            best = "open"
    return best


def _by_object(named: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Group facts by their object, "" for those of the scene."""
    groups: dict[str, dict[str, Value]] = {}
    for name, value in named.items():
        thing, _, fact = name.rpartition(".") if name.startswith("object") else ("", "", name)
        groups.setdefault(thing, {})[fact] = value
    return groups


def _fits(
    found: Mapping[str, str], choices: Mapping[str, tuple[str, ...]], truth: Mapping[str, str]
) -> bool:
    """Whether facts are those found, and perhaps the open ones."""
    extra = truth.keys() - found.keys()
    if not found.items() <= truth.items() or extra not in (set(), choices.keys()):
        return False
    return all(truth[name] in choices[name] for name in extra)


@dataclass(frozen=True)
class Trial:
    """One caption, what it states, and what was read."""

    text: str
    stated: dict[str, str]
    parsed: Parsed
    result: Agreement


def check(number: int, language: Language, seed: int = 0) -> list[Trial]:
    """Parse random captions of random scenes, of all splits, styles and forms.

    An unknown word is wrong too, and so is a held-out word in a caption without them.
    """
    rng = random.Random(f"kineograph parse {language} {seed}")
    trials = []
    for n in range(number):
        split = rng.choice(("any", "train", "pair", "triple"))
        scene = draw_scene(rng.randrange(1 << 32), count=rng.choice((1, 2, 3)), split=split)
        held, full = n % 3 == 0, n % 10 == 1
        text, said = caption_with_facts(
            scene, language, rng, full=full and not held, heldout_phrasing=held
        )
        stated = {name: value for name, value in facts(scene).items() if name in said}
        parsed = parse(text)
        amiss = parsed.unknown or (parsed.heldout and not held)
        result: Agreement = "wrong" if amiss else agreement(parsed, stated)
        trials.append(Trial(text, stated, parsed, result))
    return trials


def main(arguments: Sequence[str] | None = None) -> int:
    """Print for each language how many captions parse, and the first failures; 1 if any."""
    parser = argparse.ArgumentParser(prog="python -m kineograph.world.parse")
    parser.add_argument("--check", type=int, required=True, help="captions for each language")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    languages: tuple[Language, Language] = ("en", "zh")
    failed = False
    for language in languages:
        trials = check(args.check, language, args.seed)
        count = Counter(trial.result for trial in trials)
        two_ways = sum(bool(trial.parsed.open) for trial in trials)
        sys.stdout.write(
            f"{language}: of {len(trials)} captions {count['exact']} parse exactly, "
            f"{count['open']} but for what their words leave open, {count['wrong']} are wrong; "
            f"{two_ways} can be read in two ways\n"
        )
        for trial in [t for t in trials if t.result == "wrong"][:5]:
            sys.stdout.write(f"{trial.text}\n  stated {trial.stated}\n  {trial.parsed}\n")
        failed |= count["wrong"] > 0
    return int(failed)
