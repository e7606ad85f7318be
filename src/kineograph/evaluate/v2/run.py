"""`kineo evaluate` in the second world: a model, or anybody's videos, on its suites.

Each clip's readings are kept as they are done, so that the command given again goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from kineograph.errors import RequestError
from kineograph.evaluate.page import print_tables
from kineograph.evaluate.progress import Progress, say
from kineograph.evaluate.report import SETTINGS, Subject
from kineograph.evaluate.sources import Source
from kineograph.evaluate.v2.files import OnTruth, default_path, load_judges
from kineograph.evaluate.v2.page import tables
from kineograph.evaluate.v2.prompts import Entry, find_entry, read_prompts
from kineograph.evaluate.v2.report import SuiteResult, write_report
from kineograph.evaluate.v2.suites import SUITES, get_suite
from kineograph.evaluate.v2.viewing import Judged, Showing, Studio, Viewing
from kineograph.evaluate.videos import find_videos
from kineograph.pipeline import Pipeline
from kineograph.weights.header import sha256
from kineograph.world.v2.scene import VERSION as VERSION


def main(
    pipeline: Pipeline, suite: str | None, prompts: int | None, out: Path,
    *, judges_path: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure a model and write report.json and report.html to `out`; return the report.

    Raises:
        RequestError: an unknown suite, or more prompts than it has.
        WeightsError: the judges' file is missing or damaged.
    """
    some = list(SUITES.values()) if suite is None else [get_suite(suite)]
    if suite is not None and prompts is not None and prompts > some[0].prompts:
        raise RequestError(f"suite {suite} has {some[0].prompts} prompts, not {prompts}")
    path = default_path() if judges_path is None else judges_path
    judges, on_truth = load_judges(path)
    out.mkdir(parents=True, exist_ok=True)
    entries = [
        find_entry(s.name, i) for s in some for i in range(min(prompts or s.prompts, s.prompts))
    ]
    viewing = Studio(judges, sha256(path), out / "clips", pipeline)
    spec = pipeline.spec
    settings = {name: getattr(spec, name) for name in SETTINGS}
    subject = Subject(spec.name, pipeline.hashes, settings)
    return _measure(out, subject, on_truth, entries, viewing)


def score(
    videos: Path, prompts: Path, suite: str | None, out: Path, *, judges_path: Path | None = None
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
    viewing = Showing(judges, sha256(path), out / "clips", found)
    settings = {"videos": str(videos), "prompts": f"{prompts}, sha256 {sha256(prompts)}"}
    subject = Subject(videos.resolve().name, {}, settings)
    return _measure(out, subject, on_truth, entries, viewing)


def _measure(
    out: Path, subject: Subject, on_truth: OnTruth, entries: Sequence[Entry], viewing: Viewing
) -> dict[str, Any]:
    plan = [(s, [e for e in entries if e.suite == s]) for s in SUITES.values()]
    plan = [(s, some) for s, some in plan if some]
    say(f"{len(entries)} prompts in {len(plan)} suites")
    progress = Progress(dict.fromkeys(viewing.sources, len(entries)), say)
    results = []
    for suite, some in plan:
        judged: dict[Source, list[Judged]] = {source: [] for source in viewing.sources}
        for entry in some:
            for source, read in judged.items():
                begin = monotonic()
                read.append(viewing.judged(entry, source))
                done = f"{len(read)}/{len(some)}"
                progress.step(suite.name, source, 1, monotonic() - begin, done)
        results.append(SuiteResult(suite, some, judged))
    report = write_report(out, subject, on_truth, results, viewing)
    print_tables(tables(report))
    say(f"wrote {out / 'report.html'}")
    return report
