"""`kineo evaluate`: prompts of fixed suites, judged as truth, through the VAE and as generated.

In the place of a model's clips stand anybody's videos, if they are given.

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
from kineograph.evaluate.page import print_report
from kineograph.evaluate.prompts import read_prompts
from kineograph.evaluate.report import Subject, SuiteResult, write_report
from kineograph.evaluate.sources import (
    BATCH,
    COMPILE_FROM,
    SOURCES,
    Judged,
    Source,
    Studio,
    Viewing,
    has_compiler,
)
from kineograph.evaluate.suites import SUITES, Prompt, Suite, get_suite, make_prompts
from kineograph.evaluate.videos import Showing, find_videos
from kineograph.generate import load
from kineograph.weights.header import sha256

LINE_EVERY = 10.0  # seconds between lines of progress
SETTINGS = ("steps", "guidance_scale", "solver", "shift")  # of a model, that the report names


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
    results = _measure(studio, plan, SOURCES)
    spec = pipeline.spec
    settings = {name: getattr(spec, name) for name in SETTINGS}
    subject = Subject(spec.name, pipeline.hashes, settings)
    return _report(out, subject, on_truth, results, studio)


def score(
    videos: Path,
    prompts: Path,
    suite: str | None,
    out: Path,
    *,
    judges_path: Path | None = None,
    compiled: bool | None = None,
) -> dict[str, Any]:
    """Measure a folder of videos made for the prompts of a file; as `main` in all else.

    Videos that are missing or cannot be judged count as wrong and are named in the report.

    Raises:
        RequestError: the file is no file of prompts, or none of its videos is in the folder.
        OSError: the file cannot be read.
    """
    entries = read_prompts(prompts)
    if suite is not None:
        entries = [entry for entry in entries if entry.suite == get_suite(suite)]
        if not entries:
            raise RequestError(f"{prompts} holds no prompt of suite {suite}")
    found = find_videos(videos, entries)
    path = default_path() if judges_path is None else judges_path
    judges, on_truth = load_judges(path)
    out.mkdir(parents=True, exist_ok=True)
    plan = [(s, [e.prompt for e in entries if e.suite == s]) for s in SUITES.values()]
    plan = [(s, p) for s, p in plan if p]
    if compiled is None:
        compiled = len(entries) >= COMPILE_FROM and has_compiler()
    showing = Showing(entries, found, judges, sha256(path), out / "clips", compiled=compiled)
    results = _measure(showing, plan, ("truth", "model"))
    settings = {"videos": str(videos), "prompts": f"{prompts}, sha256 {sha256(prompts)}"}
    subject = Subject(videos.resolve().name, {}, settings, showing.faults)
    return _report(out, subject, on_truth, results, showing)


Plan = Sequence[tuple[Suite, list[Prompt]]]


def _measure(studio: Viewing, plan: Plan, sources: Sequence[Source]) -> list[SuiteResult]:
    clips = sum(len(prompts) for _, prompts in plan)
    _say(f"{clips} prompts in {len(plan)} suites")
    progress = Progress(dict.fromkeys(sources, clips), _say)
    return [
        SuiteResult(s, p, {source: _read(studio, s, p, source, progress) for source in sources})
        for s, p in plan
    ]


def _report(
    out: Path,
    subject: Subject,
    on_truth: dict[str, Any],
    results: Sequence[SuiteResult],
    studio: Viewing,
) -> dict[str, Any]:
    report = write_report(out, subject, on_truth, results, studio)
    print_report(report)
    _say(f"wrote {out / 'report.html'}")
    return report


def _read(
    studio: Viewing, suite: Suite, prompts: Sequence[Prompt], source: Source, progress: Progress
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
