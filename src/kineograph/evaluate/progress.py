"""How far an evaluation is, and how long it may take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from kineograph.evaluate.sources import Source

LINE_EVERY = 10.0  # seconds between lines of progress


@dataclass
class Progress:
    """Says now and then how far it is and how long it may take; a source's clips cost alike."""

    total: dict[Source, int]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.left = dict(self.total)
        self.spent: dict[Source, float] = dict.fromkeys(self.total, 0.0)
        self.made: dict[Source, int] = dict.fromkeys(self.total, 0)
        self.last = monotonic()

    def step(self, suite: str, source: Source, clips: int, seconds: float, done: str) -> None:
        self.left[source] -= clips
        if seconds > 0.2:  # a batch taken from the folder says nothing of what is to come
            self.spent[source] += seconds
            self.made[source] += clips
        if monotonic() - self.last > LINE_EVERY:
            self.last = monotonic()
            self.say(f"{suite}, {source} {done}{self._eta()}")

    def _eta(self) -> str:
        if any(n and not self.made[source] for source, n in self.left.items()):
            return ""
        seconds = sum(
            self.spent[source] / self.made[source] * n for source, n in self.left.items() if n
        )
        left = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
        return f", about {left} left"


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"kineo: {line}\n")
