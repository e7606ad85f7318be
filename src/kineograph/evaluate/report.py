"""The report: shares with intervals, gaps to what was held out, physics, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from kineograph import __version__
from kineograph.evaluate.judges import SIDE, Reading, trusted
from kineograph.evaluate.measure import (
    Bounce,
    fit_bounce,
    nominal_view,
    quantiles,
    true_view,
)
from kineograph.evaluate.page import as_html
from kineograph.evaluate.scoring import ROWS, Share, best_constant, judge, shuffled, tally
from kineograph.evaluate.sources import BATCH, Judged, Source, Video, Viewing
from kineograph.evaluate.suites import LANGUAGES, SUITES_VERSION, Prompt, Suite
from kineograph.media.files import atomic_write, write_json
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.world.captions import STYLES
from kineograph.world.physics import GRAVITY, RESTITUTION
from kineograph.world.scene import WORLD_VERSION

PICTURED: tuple[Source, ...] = ("model", "truth")
PICTURES = 6  # right and as many wrong in a suite's picture
HELD_OUT = ("pair", "triple")
SETTINGS = ("steps", "guidance_scale", "solver", "shift")  # of a model, that the report names


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, or a folder of videos with those that could not be judged."""

    name: str
    weights: Mapping[str, str]  # sha256 by file
    settings: Mapping[str, Any]
    faults: Mapping[str, str] | None = None  # of videos: what is wrong, by id


@dataclass(frozen=True)
class SuiteResult:
    """The prompts of a suite and what was read, by source, in the same order."""

    suite: Suite
    prompts: list[Prompt]
    judged: dict[Source, list[Judged]]

    def readings(self, source: Source) -> list[Reading]:
        return [j.reading for j in self.judged[source]]


def write_report(
    out: Path,
    subject: Subject,
    on_truth: dict[str, Any],
    results: Sequence[SuiteResult],
    studio: Viewing,
) -> dict[str, Any]:
    """Write report.json, report.html and its pictures; return what is in the JSON."""
    good = trusted(on_truth)
    report: dict[str, Any] = {
        "model": subject.name,
        "kineograph": __version__,
        "world_version": WORLD_VERSION,
        "suites_version": SUITES_VERSION,
        "weights": dict(subject.weights),
        "settings": dict(subject.settings),
        "judges_on_truth": on_truth,
        "suites": {r.suite.name: _suite_report(r, studio.fps, good) for r in results},
    }
    if subject.faults is not None:
        report["faults"] = dict(sorted(subject.faults.items()))
    report["gaps"] = _gaps(report["suites"])
    for result in results:
        sheet = contact_sheet(*_examples(result, studio, good), columns=6)
        save_png(sheet, out / f"{result.suite.name}.png")
        write_json(
            out / f"{result.suite.name}.json",
            [p.to_dict() | _seen(result, i) for i, p in enumerate(result.prompts)],
        )
    write_json(out / "report.json", report)
    with atomic_write(out / "report.html") as file:
        file.write(as_html(report).encode())
    return report


def _seen(result: SuiteResult, index: int) -> dict[str, Any]:
    return {source: judged[index].reading.to_dict() for source, judged in result.judged.items()}


def _suite_report(result: SuiteResult, fps: int, good: frozenset[str]) -> dict[str, Any]:
    prompts, model = result.prompts, result.readings("model")
    columns: dict[str, dict[str, Share]] = {
        source: tally(prompts, result.readings(source), good) for source in result.judged
    }
    tables = {**columns, "shuffled": tally(shuffled(prompts), model, good)}
    constant = best_constant(prompts, good)
    rows: dict[str, dict[str, Any]] = {}
    for name in ROWS:
        if name in columns["truth"]:
            rows[name] = {c: cell(table.get(name)) for c, table in tables.items()}
            rows[name]["constant"] = constant[name]
    report: dict[str, Any] = {
        "summary": result.suite.summary,
        "prompts": len(prompts),
        "rows": rows,
    }
    report["model_by"] = {
        label: {name: cell(share) for name, share in part.items()}
        for label, part in _parts(prompts, model, good).items()
    }
    if "colour" in good:  # whose pixels are measured
        report["area"] = {s: _area(result, s) for s in result.judged if s != "truth"}
        if result.suite.name == "physics":
            report["physics"] = _physics(result, fps)
    return report


def _area(result: SuiteResult, source: Source) -> float | None:
    """Return the median of an object's area over that in the truth; None where none is found."""
    ratios = []
    for truth, reading in zip(result.readings("truth"), result.readings(source), strict=True):
        found = {o.colour: o.area for o in reading.objects}
        ratios += [found[o.colour] / o.area for o in truth.objects if o.colour in found and o.area]
    return median(ratios) if ratios else None


def cell(share: Share | None) -> dict[str, Any] | None:
    """Return a share and its interval, JSON-ready."""
    if share is None:
        return None
    low, high = share.interval
    return {"right": share.right, "n": share.n, "share": share.share, "low": low, "high": high}


def _parts(
    prompts: Sequence[Prompt], readings: Sequence[Reading], good: frozenset[str]
) -> dict[str, dict[str, Share]]:
    """Return the model's shares for each length of caption and each language alone."""
    parts: dict[str, dict[str, Share]] = {}
    for label in (*STYLES, *LANGUAGES):
        pairs = zip(prompts, readings, strict=True)
        chosen = [(p, r) for p, r in pairs if label in (p.style, p.language)]
        if chosen:
            parts[label] = tally([p for p, _ in chosen], [r for _, r in chosen], good)
    return parts


def _gaps(suites: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return, in points, how far the model is below `single` on what was held out."""
    if "single" not in suites:
        return {}
    base = suites["single"]["rows"]
    return {
        held: {
            name: 100 * (base[name]["model"]["share"] - row["model"]["share"])
            for name, row in suites[held]["rows"].items()
            if name in base
        }
        for held in HELD_OUT
        if held in suites
    }


def _physics(result: SuiteResult, fps: int) -> dict[str, Any]:
    """Return g and restitution read from falls, by column."""
    middle, spread = nominal_view()
    report: dict[str, Any] = {"scale_spread": spread}
    columns: list[tuple[str, Source]] = [(source, source) for source in result.judged]
    for column, source in [*columns, ("shuffled", "model")]:
        facing = shuffled(result.prompts) if column == "shuffled" else result.prompts
        tracks = [np.array(j.rows) for j in result.judged[source]]
        fits = [fit_bounce(middle.heights(rows, SIDE), fps) for rows in tracks]
        report[column] = _bounces(facing, fits)
        if column in ("truth", "vae"):
            views = [true_view(p.scene) for p in facing]
            known = zip(views, tracks, strict=True)
            fits = [fit_bounce(view.heights(rows, SIDE), fps) for view, rows in known]
            report[f"{column}, camera known"] = _bounces(facing, fits)
    wanted = [RESTITUTION[p.scene.objects[0].material] for p in result.prompts]
    errors = {e: np.abs(np.array(wanted) - e) for e in set(wanted)}
    best = min(errors.values(), key=lambda e: float(np.median(e)))
    report["constant"] = {"restitution_error": quantiles(best.tolist())}
    return report


def _bounces(prompts: Sequence[Prompt], fits: Sequence[Bounce | None]) -> dict[str, Any]:
    pairs = [(p, f) for p, f in zip(prompts, fits, strict=True) if f is not None]
    wanted = [RESTITUTION[p.scene.objects[0].material] for p, _ in pairs]
    gravity = [f.gravity for _, f in pairs]
    return {
        "usable": cell(Share(len(pairs), len(fits))),
        "gravity": float(np.median(gravity)) if gravity else None,
        "gravity_error": quantiles([abs(g / GRAVITY - 1) for g in gravity]),
        "restitution_error": quantiles(
            [abs(f.restitution - e) for (_, f), e in zip(pairs, wanted, strict=True)]
        ),
    }


def _examples(
    result: SuiteResult, studio: Viewing, good: frozenset[str]
) -> tuple[list[Video], list[str]]:
    """Return clips and captions of a picture: right ones, then wrong ones, each over its truth."""
    readings = result.readings("model")
    verdicts = [judge(p, r, good) for p, r in zip(result.prompts, readings, strict=True)]
    right = [i for i, v in enumerate(verdicts) if v["all"][0]]
    wrong = [i for i, v in enumerate(verdicts) if not v["all"][0]]
    clips: list[Video] = []
    captions: list[str] = []
    for i in spread(right, PICTURES) + spread(wrong, PICTURES):
        first = i // BATCH * BATCH
        batch = result.prompts[first : first + BATCH]
        for source in PICTURED:
            clips.append(studio.videos(result.suite.name, source, first, batch)[i - first])
        missed = [name for name, rights in verdicts[i].items() if not all(rights)]
        faults = ", ".join(name for name in missed if name not in ("all", "object"))
        captions.append(f"{'WRONG ' + faults if missed else 'right'}: {result.prompts[i].text}")
        captions.append(f"truth; read in the model's clip: {_words(readings[i], good)}")
    return clips, captions


def spread(indices: list[int], most: int) -> list[int]:
    """Return up to `most` of some indices, evenly spaced: nobody chose them."""
    if not indices:
        return []
    places = np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int)
    return [indices[k] for k in places]


def _words(reading: Reading, good: frozenset[str]) -> str:
    """Say what the trusted judges read."""
    if not reading.objects:  # of a video that could not be judged
        return "nothing"
    of_objects = [n for n in ("colour", "shape", "motion") if n in good]
    things = (" ".join(getattr(o, n) for n in of_objects) for o in reading.objects)
    count = [f"{reading.count} in all"] if "count" in good else []
    rest = [getattr(reading, n) for n in ("floor", "sky", "camera") if n in good]
    return "; ".join([", ".join(things), *count, ", ".join(rest)])
