"""`kineo evaluate`: prompts of fixed suites, judged as truth, through the VAE and as generated.

Each batch is kept as it is done, so that the command given again goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from kineograph.errors import RequestError
from kineograph.evaluate.judges import default_path, load_judges
from kineograph.evaluate.report import SuiteResult, print_report, write_report
from kineograph.evaluate.sources import (
    BATCH,
    COMPILE_FROM,
    SOURCES,
    Judged,
    Source,
    Studio,
    has_compiler,
)
from kineograph.evaluate.suites import SUITES, Prompt, Suite, get_suite, make_prompts
from kineograph.generate import load
from kineograph.weights.header import sha256

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


def main(
    model: str,
    suite: str | None,
    prompts: int | None,
    out: Path,
    *,
    judges_path: Path | None = None,
    compiled: bool | None = None,
) -> dict[str, Any]:
    """Measure a model and write report.json and report.html to `out`; return the report.

    `prompts` is the most to take from each suite. The renderer is compiled where that pays and
    a C++ compiler is there, unless `compiled` says.

    Raises:
        RequestError: an unknown model or suite, or more prompts than the asked suite has.
        WeightsError: the model's or the judges' files are missing or damaged.
        KineographError: no judge is good enough to be used.
    """
    chosen = list(SUITES.values()) if suite is None else [get_suite(suite)]
    if suite is not None and prompts is not None and prompts > chosen[0].prompts:
        raise RequestError(f"suite {suite} has {chosen[0].prompts} prompts, not {prompts}")
    path = default_path() if judges_path is None else judges_path
    judges, on_truth = load_judges(path)
    pipeline = load(model)
    out.mkdir(parents=True, exist_ok=True)
    plan = [(s, make_prompts(s, min(prompts or s.prompts, s.prompts))) for s in chosen]
    clips = sum(len(p) for _, p in plan)
    if compiled is None:
        compiled = clips >= COMPILE_FROM and has_compiler()
    studio = Studio(pipeline, judges, sha256(path), out / "clips", compiled=compiled)
    say = _say
    say(f"{clips} prompts in {len(plan)} suites")
    progress = Progress(dict.fromkeys(SOURCES, clips), say)
    results = [
        SuiteResult(s, p, {source: _read(studio, s, p, source, progress) for source in SOURCES})
        for s, p in plan
    ]
    report = write_report(out, pipeline, on_truth, results, studio)
    print_report(report)
    say(f"wrote {out / 'report.html'}")
    return report


def _read(
    studio: Studio, suite: Suite, prompts: Sequence[Prompt], source: Source, progress: Progress
) -> list[Judged]:
    """Return the readings of all prompts of a suite from one source."""
    read: list[Judged] = []
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        begin = monotonic()
        read += studio.judged(suite.name, source, first, batch)
        done = f"{len(read)}/{len(prompts)}"
        progress.step(suite.name, source, len(batch), monotonic() - begin, done)
    return read


def _say(line: str) -> None:
    sys.stderr.write(f"kineo: {line}\n")
