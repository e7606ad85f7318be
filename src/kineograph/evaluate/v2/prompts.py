"""Suites of the second world on disk, for models of any kind: JSON lines and first frames.

A line is a pure function of its id. It also gives the camera in numbers, for models that take
some: for each shot when it begins, how long it lasts, and its rates (m/s, deg/s, 1/s).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kineograph.errors import RequestError
from kineograph.evaluate.prompts import (
    FIRST_FRAMES,
    PROMPTS,
    has_size,
    no_such_prompt,
    read_lines,
    save_picture,
    write_entries,
)
from kineograph.evaluate.v2.suites import (
    SUITES,
    SUITES_VERSION,
    Prompt,
    Suite,
    get_suite,
    make_prompt,
)
from kineograph.world.v2.camera import shots_of
from kineograph.world.v2.draw import picture_size, play_of
from kineograph.world.v2.film import colours
from kineograph.world.v2.scene import FPS

SIDE = 512  # of a first frame, pixels
SIDES = (128, 1024)


@dataclass(frozen=True)
class Entry:
    """A prompt and the name of its video."""

    id: str
    suite: Suite
    prompt: Prompt

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, a line of the file."""
        prompt = self.prompt
        return {
            "id": self.id,
            "suite": self.suite.name,
            "suites_version": SUITES_VERSION,
            "language": prompt.language,
            "prompt": prompt.text,
            "seed": prompt.seed,
            "facts": {name: prompt.said[name] for name in sorted(prompt.said)},
            "aspect_ratio": prompt.scene.aspect_ratio,
            "fps": FPS,
            "num_frames": prompt.num_frames,
            "camera": [
                {"start": round(start, 6), "seconds": round(shot.seconds, 6),
                 **{name: round(rate, 6) for name, rate in rates.to_dict().items()}}
                for start, shot, _, rates in shots_of(prompt.scene)
            ],
            "first_frame": f"{FIRST_FRAMES}/{self.id}.png",
        }  # fmt: skip


@cache
def find_entry(name: str, index: int) -> Entry:
    """Return a prompt of a suite; `RequestError` if there is none."""
    suite = get_suite(name)
    if index >= suite.prompts:
        raise no_such_prompt(suite.name, suite.prompts, index)
    return Entry(f"{suite.name}-{index:04d}", suite, make_prompt(suite, index))


def write_suite(
    out: Path,
    suite: str | None = None,
    prompts: int | None = None,
    *,
    side: int = SIDE,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write prompts.jsonl and, for models that take one, first/ID.png; return the former.

    `suite` None is all, `prompts` the most to take from each. Pictures that are there are kept.

    Raises:
        RequestError: an unknown suite, a number out of range, or `out` holds other prompts.
    """
    if side % 16 or not SIDES[0] <= side <= SIDES[1]:
        raise RequestError(f"size {side} is not allowed; multiples of 16 from 128 to 1024 are")
    some = list(SUITES.values()) if suite is None else [get_suite(suite)]
    if suite is not None and prompts is not None and prompts > some[0].prompts:
        raise RequestError(f"suite {suite} has {some[0].prompts} prompts, not {prompts}")
    entries = [
        find_entry(s.name, i) for s in some for i in range(min(prompts or s.prompts, s.prompts))
    ]

    def draw(picture: Path, entry: Entry) -> None:
        height, width = picture_size(entry.prompt.scene.aspect_ratio, side)
        first = colours(play_of(entry.prompt.scene), np.zeros(1), height, width)
        save_picture(picture, next(first)[0].numpy())

    def is_there(picture: Path, entry: Entry) -> bool:
        height, width = picture_size(entry.prompt.scene.aspect_ratio, side)
        return has_size(picture, width, height)

    write_entries(out, entries, draw, is_there, on_progress)
    return out / PROMPTS


def read_prompts(path: Path) -> list[Entry]:
    """Return the prompts of a file that `write_suite` wrote, or of any lines of it, in any order.

    Raises:
        RequestError: a line is not what its suite writes, an id comes twice, or there is none.
        OSError: the file cannot be read.
    """
    return list(read_lines(path, find_entry).values())
