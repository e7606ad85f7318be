"""The report of the second world: shares with intervals, numbers, distances, gaps, pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from kineograph import __version__
from kineograph.evaluate.distance import LEAST, distance
from kineograph.evaluate.measure import quantiles
from kineograph.evaluate.page import html_page
from kineograph.evaluate.report import PICTURES, Subject, cell, spread
from kineograph.evaluate.scoring import Share
from kineograph.evaluate.sources import Source
from kineograph.evaluate.v2.files import OnTruth, trusted
from kineograph.evaluate.v2.judges import Reading, group_of
from kineograph.evaluate.v2.measures import HELD_TO
from kineograph.evaluate.v2.page import NOTES, tables
from kineograph.evaluate.v2.prompts import Entry
from kineograph.evaluate.v2.scoring import (
    ROWS,
    best_constant,
    judge,
    product,
    shuffled,
    substitution,
    tally,
)
from kineograph.evaluate.v2.suites import SUITES_VERSION, Prompt, Suite
from kineograph.evaluate.v2.viewing import Judged, Viewing
from kineograph.media.files import atomic_write, write_json
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.world.v2.captions import LANGUAGES
from kineograph.world.v2.facts import STYLES as LENGTHS
from kineograph.world.v2.scene import VERSION
from kineograph.world.v2.splits import NUMBERS

LIKE = {"relation": "relations", "temporal": "sequence", "context": "styles"}  # else "single"
JOINT = ("colour", "shape", "motion")


@dataclass(frozen=True)
class SuiteResult:
    """The prompts of a suite and what was read, by source, in the same order."""

    suite: Suite
    entries: list[Entry]
    judged: dict[Source, list[Judged]]

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts alone."""
        return [entry.prompt for entry in self.entries]

    def readings(self, source: Source) -> list[Reading]:
        """Return what judges read of a source's clips."""
        return [j.reading for j in self.judged[source]]


def write_report(
    out: Path, subject: Subject, on_truth: OnTruth, results: Sequence[SuiteResult], viewing: Viewing
) -> dict[str, Any]:
    """Write report.json, report.html and its pictures; return what is in the JSON."""
    report: dict[str, Any] = {
        "model": subject.name,
        "kineograph": __version__,
        "world_version": VERSION,
        "suites_version": SUITES_VERSION,
        "weights": dict(subject.weights),
        "settings": dict(subject.settings),
        "judges_on_truth": on_truth,
        "suites": {r.suite.name: _suite_report(r, on_truth) for r in results},
    }
    faults = {
        entry.id: judged.fault
        for r in results
        for entry, judged in zip(r.entries, r.judged["model"], strict=True)
        if judged.fault
    }
    if faults:
        report["faults"] = faults
    report["gaps"] = _gaps(report["suites"])
    for result in results:
        save_png(
            contact_sheet(*_examples(result, viewing, on_truth), columns=6),
            out / f"{result.suite.name}.png",
        )
        write_json(out / f"{result.suite.name}.json", _all_read(result))
    write_json(out / "report.json", report)
    with atomic_write(out / "report.html") as file:
        file.write(html_page(report, tables(report), NOTES, ROWS).encode())
    return report


def _all_read(result: SuiteResult) -> list[dict[str, Any]]:
    return [
        entry.to_dict()
        | {
            source: {"reading": some[i].reading.to_dict(), "measures": some[i].measures}
            for source, some in result.judged.items()
        }
        for i, entry in enumerate(result.entries)
    ]


def _suite_report(result: SuiteResult, on_truth: OnTruth) -> dict[str, Any]:
    prompts, model = result.prompts, result.readings("model")
    columns: dict[str, dict[str, Share]] = {
        s: tally(prompts, result.readings(s), on_truth) for s in result.judged
    }
    floor = {**columns, "shuffled": tally(shuffled(prompts), model, on_truth)}
    constant = best_constant(prompts, on_truth)
    rows: dict[str, dict[str, Any]] = {
        name: {c: cell(table.get(name)) for c, table in floor.items()}
        | {"constant": constant.get(name)}
        for name in ROWS
        if name in columns["truth"]
    }
    return {
        "summary": result.suite.summary,
        "prompts": len(prompts),
        "rows": rows,
        "joint": {c: _joint(table) for c, table in columns.items()},
        "model_by": {
            label: {name: cell(share) for name, share in part.items()}
            for label, part in _parts(prompts, model, on_truth).items()
        },
        "measures": {s: _numbers(some) for s, some in result.judged.items()},
        "distance": {s: _distance(result, s) for s in result.judged},
        "substitution": {s: _substituted(prompts, result.readings(s)) for s in result.judged},
        "area": {s: _area(result, s) for s in result.judged if s != "truth"},
        "usable": {s: _usable(some) for s, some in result.judged.items()},
    }


def _joint(table: Mapping[str, Share]) -> dict[str, float] | None:
    """Return how many objects are right in all, and how many would be by chance of each fact."""
    if "object" not in table or not all(name in table for name in JOINT):
        return None
    return {"object": table["object"].share, "product": product(table, JOINT)}


def _parts(
    prompts: Sequence[Prompt], readings: Sequence[Reading], on_truth: OnTruth
) -> dict[str, dict[str, Share]]:
    """Return the model's shares for each length of caption and each language alone."""
    parts: dict[str, dict[str, Share]] = {}
    for label in (*LENGTHS, *LANGUAGES):
        pairs = zip(prompts, readings, strict=True)
        chosen = [(p, r) for p, r in pairs if label in (p.length, p.language)]
        if chosen:
            parts[label] = tally([p for p, _ in chosen], [r for _, r in chosen], on_truth)
    return parts


def _numbers(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return each number's median and 90th percentile, and how many clips have it.

    Infinite where a clip that should have it does not come near it.
    """
    found: dict[str, list[float | None]] = {}
    for one in judged:
        for name, value in one.measures.items():
            found.setdefault(name, []).append(value)
    report = {}
    for name, values in found.items():
        known = [v for v in values if v is not None]
        report[name] = {
            "usable": cell(Share(len(known), len(values))),
            "quantiles": quantiles(known),
            "mean": float(np.mean(known)) if known else None,
        }
    return report


def _usable(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Return how many clips can be measured in all that is held against a law."""
    asked = [j for j in judged if set(HELD_TO) & set(j.measures) or j.fault]
    good = sum(not j.fault and None not in _held(j) for j in asked)
    return cell(Share(good, len(asked))) if asked else None


def _held(judged: Judged) -> list[float | None]:
    return [value for name, value in judged.measures.items() if name in HELD_TO]


def _distance(result: SuiteResult, source: Source) -> dict[str, float] | None:
    """Return how far clips lie from the truth's; of the truth, one half from the other."""
    some, truth = (
        np.array([j.features for j in result.judged[s] if j.features]) for s in (source, "truth")
    )
    if source == "truth":
        some, truth = truth[::2], truth[1::2]
    if min(len(some), len(truth)) < LEAST:
        return None
    return asdict(distance(some, truth))


def _substituted(prompts: Sequence[Prompt], readings: Sequence[Reading]) -> dict[str, Any] | None:
    found = substitution(prompts, readings)
    return None if math.isnan(found.shape) else asdict(found)


def _area(result: SuiteResult, source: Source) -> float | None:
    """Return the median of an object's area over that in the truth; None where none is found."""
    ratios = []
    for truth, reading in zip(result.readings("truth"), result.readings(source), strict=True):
        found = {o.colour: o.area for o in reading.objects}
        ratios += [found[o.colour] / o.area for o in truth.objects if o.colour in found and o.area]
    return median(ratios) if ratios else None


def _gaps(suites: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return, in points, how far the model is on what was held out below its like in training."""
    gaps: dict[str, dict[str, float]] = {}
    for held in NUMBERS:
        base = LIKE.get(held, "single")
        if held in suites and base in suites:
            rows = suites[base]["rows"]
            gaps[held] = {
                name: 100 * (rows[name]["model"]["share"] - row["model"]["share"])
                for name, row in suites[held]["rows"].items()
                if name in rows and rows[name]["model"] and row["model"]
            }
    return gaps


def _examples(
    result: SuiteResult, viewing: Viewing, on_truth: OnTruth
) -> tuple[list[np.ndarray], list[str]]:
    """Return clips and captions of a picture: right ones, then wrong ones, each over its truth."""
    readings = result.readings("model")
    verdicts = [judge(p, r, on_truth) for p, r in zip(result.prompts, readings, strict=True)]
    shown = [i for i, j in enumerate(result.judged["model"]) if not j.fault]
    right = [i for i in shown if verdicts[i].get("all", [False])[0]]
    wrong = [i for i in shown if not verdicts[i].get("all", [False])[0]]
    clips: list[np.ndarray] = []
    captions: list[str] = []
    for i in spread(right, PICTURES) + spread(wrong, PICTURES):
        entry = result.entries[i]
        clips += [viewing.clip(entry, source).frames for source in ("model", "truth")]
        missed = [n for n, r in verdicts[i].items() if not all(r) and n not in ("all", "object")]
        said = f"WRONG {', '.join(missed)}" if missed else "right"
        scene = entry.prompt.scene
        good = trusted(on_truth, group_of(scene.style), len(scene.objects))
        captions.append(f"{said}: {entry.prompt.text}")
        captions.append(f"truth; read in the clip above: {_words(readings[i], good)}")
    if not clips:  # every video is missing or cannot be judged
        truth = viewing.clip(result.entries[0], "truth").frames
        return [truth], [f"truth of: {result.entries[0].prompt.text}"]
    return clips, captions


def _words(reading: Reading, good: frozenset[str]) -> str:
    """Say what the trusted judges read."""
    of_objects = [n for n in ("colour", "material", "shape", "motion") if n in good]
    things = (" ".join(str(getattr(o, n)) for n in of_objects) for o in reading.objects)
    count = [f"{reading.count} in all"] if "count" in good else []
    whole = [n for n in ("floor", "sky", "weather", "style", "camera") if n in good]
    rest = [str(getattr(reading, n)) for n in whole]
    parts = [", ".join(things) if of_objects else "", *count, ", ".join(rest)]
    return "; ".join(part for part in parts if part)
