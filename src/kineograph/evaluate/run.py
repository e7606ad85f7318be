"""`kineo evaluate`: prompts of fixed suites, judged as truth, through the VAE and as generated.

In the place of a model's clips stand anybody's videos, if they are given.

Each batch is kept as it is done, so that the command given again goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from kineograph.errors import RequestError
from kineograph.evaluate.judges import default_path, load_judges
from kineograph.evaluate.page import print_report
from kineograph.evaluate.progress import Progress, say
from kineograph.evaluate.prompts import read_prompts
from kineograph.evaluate.report import SETTINGS, Subject, SuiteResult, write_report
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
from kineograph.evaluate.v2 import run as v2
from kineograph.evaluate.videos import Showing, find_videos
from kineograph.pipeline import load
from kineograph.weights.header import sha256


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

    One of the second world is measured on that world's suites (v2/run.py).
    `prompts` is the most to take from each suite. The renderer is compiled where that pays and
    a C++ compiler is there, unless `compiled` says.

    Raises:
        RequestError: an unknown model or suite, or more prompts than the asked suite has.
        WeightsError: the model's or the judges' files are missing or damaged.
        KineographError: no judge is good enough to be used.
    """
    pipeline = load(model)
    if pipeline.spec.world_version == v2.VERSION:
        return v2.main(pipeline, suite, prompts, out, judges_path=judges_path)
    chosen = list(SUITES.values()) if suite is None else [get_suite(suite)]
    if suite is not None and prompts is not None and prompts > chosen[0].prompts:
        raise RequestError(f"suite {suite} has {chosen[0].prompts} prompts, not {prompts}")
    path = default_path() if judges_path is None else judges_path
    judges, on_truth = load_judges(path)
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
    found = find_videos(videos, [entry.id for entry in entries])
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
    say(f"{clips} prompts in {len(plan)} suites")
    progress = Progress(dict.fromkeys(sources, clips), say)
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
    say(f"wrote {out / 'report.html'}")
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
