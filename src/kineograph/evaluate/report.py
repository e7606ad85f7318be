"""The report: shares with intervals, gaps to what was held out, physics, and pictures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from kineograph import __version__
from kineograph.evaluate.judges import GATE, SIDE, Reading, trusted
from kineograph.evaluate.measure import (
    Bounce,
    fit_bounce,
    nominal_view,
    quantiles,
    true_view,
)
from kineograph.evaluate.scoring import ROWS, Share, best_constant, judge, shuffled, tally
from kineograph.evaluate.sources import BATCH, SOURCES, Judged, Source, Studio, Video
from kineograph.evaluate.suites import LANGUAGES, SUITES_VERSION, Prompt, Suite
from kineograph.generate import Pipeline
from kineograph.media.files import atomic_write, write_json
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.world.captions import STYLES
from kineograph.world.physics import GRAVITY, RESTITUTION
from kineograph.world.scene import WORLD_VERSION

COLUMNS = ("truth", "vae", "model", "shuffled")
COLUMN_TITLES = ("truth", "through VAE", "model", "shuffled")
PICTURED: tuple[Source, ...] = ("model", "truth")
PICTURES = 6  # right and as many wrong in a suite's picture
HELD_OUT = ("pair", "triple")


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
    pipeline: Pipeline,
    on_truth: dict[str, Any],
    results: Sequence[SuiteResult],
    studio: Studio,
) -> dict[str, Any]:
    """Write report.json, report.html and its pictures; return what is in the JSON."""
    spec = pipeline.spec
    good = trusted(on_truth)
    report: dict[str, Any] = {
        "model": spec.name,
        "kineograph": __version__,
        "world_version": WORLD_VERSION,
        "suites_version": SUITES_VERSION,
        "weights": dict(pipeline.hashes),
        "settings": {
            "steps": spec.steps,
            "guidance_scale": spec.guidance_scale,
            "solver": spec.solver,
            "shift": spec.shift,
        },
        "judges_on_truth": on_truth,
        "suites": {r.suite.name: _suite_report(r, spec.fps, good) for r in results},
    }
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
        file.write(_html(report).encode())
    return report


def _seen(result: SuiteResult, index: int) -> dict[str, Any]:
    return {s: result.judged[s][index].reading.to_dict() for s in SOURCES}


def _suite_report(result: SuiteResult, fps: int, good: frozenset[str]) -> dict[str, Any]:
    prompts, model = result.prompts, result.readings("model")
    columns: dict[str, dict[str, Share]] = {
        source: tally(prompts, result.readings(source), good) for source in SOURCES
    }
    tables = {**columns, "shuffled": tally(shuffled(prompts), model, good)}
    constant = best_constant(prompts, good)
    rows: dict[str, dict[str, Any]] = {}
    for name in ROWS:
        if name in columns["truth"]:
            rows[name] = {c: _cell(tables[c].get(name)) for c in COLUMNS}
            rows[name]["constant"] = constant[name]
    report: dict[str, Any] = {
        "summary": result.suite.summary,
        "prompts": len(prompts),
        "rows": rows,
    }
    report["model_by"] = {
        label: {name: _cell(share) for name, share in part.items()}
        for label, part in _parts(prompts, model, good).items()
    }
    if "colour" in good:  # whose pixels are measured
        report["area"] = {s: _area(result, s) for s in SOURCES if s != "truth"}
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


def _cell(share: Share | None) -> dict[str, Any] | None:
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
    for column in COLUMNS:
        source: Source = "model" if column == "shuffled" else column  # type: ignore[assignment]
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
        "usable": _cell(Share(len(pairs), len(fits))),
        "gravity": float(np.median(gravity)) if gravity else None,
        "gravity_error": quantiles([abs(g / GRAVITY - 1) for g in gravity]),
        "restitution_error": quantiles(
            [abs(f.restitution - e) for (_, f), e in zip(pairs, wanted, strict=True)]
        ),
    }


def _examples(
    result: SuiteResult, studio: Studio, good: frozenset[str]
) -> tuple[list[Video], list[str]]:
    """Return clips and captions of a picture: right ones, then wrong ones, each over its truth."""
    readings = result.readings("model")
    verdicts = [judge(p, r, good) for p, r in zip(result.prompts, readings, strict=True)]
    right = [i for i, v in enumerate(verdicts) if v["all"][0]]
    wrong = [i for i, v in enumerate(verdicts) if not v["all"][0]]
    clips: list[Video] = []
    captions: list[str] = []
    for i in _spread(right) + _spread(wrong):
        first = i // BATCH * BATCH
        batch = result.prompts[first : first + BATCH]
        for source in PICTURED:
            clips.append(studio.videos(result.suite.name, source, first, batch)[i - first])
        missed = [name for name, rights in verdicts[i].items() if not all(rights)]
        faults = ", ".join(name for name in missed if name not in ("all", "object"))
        captions.append(f"{'WRONG ' + faults if missed else 'right'}: {result.prompts[i].text}")
        captions.append(f"truth; read in the model's clip: {_words(readings[i], good)}")
    return clips, captions


def _spread(indices: list[int]) -> list[int]:
    """Return up to PICTURES of some indices, evenly spaced: nobody chose them."""
    if not indices:
        return []
    places = np.linspace(0, len(indices) - 1, min(PICTURES, len(indices))).round().astype(int)
    return [indices[k] for k in places]


def _words(reading: Reading, good: frozenset[str]) -> str:
    """Say what the trusted judges read."""
    of_objects = [n for n in ("colour", "shape", "motion") if n in good]
    things = (" ".join(getattr(o, n) for n in of_objects) for o in reading.objects)
    count = [f"{reading.count} in all"] if "count" in good else []
    rest = [getattr(reading, n) for n in ("floor", "sky", "camera") if n in good]
    return "; ".join([", ".join(things), *count, ", ".join(rest)])


def _percent(cell: dict[str, Any] | None, *, number: bool = False) -> str:
    if cell is None:
        return "-"
    low, high = 100 * cell["low"], 100 * cell["high"]
    text = f"{100 * cell['share']:.1f} ({low:.0f}-{high:.0f})"
    return f"{text} n={cell['n']}" if number else text


def _error(pair: Sequence[float] | None, scale: float = 1.0, unit: str = "") -> str:
    return "-" if pair is None else f"{scale * pair[0]:.3g}{unit} [{scale * pair[1]:.3g}{unit}]"


Lines = list[tuple[str, ...]]
JUDGES_TITLE = "the judges, when they were trained"


def _tables(report: dict[str, Any]) -> list[tuple[str, Lines]]:
    """Return title and lines, headings first, of every table of a report, with its suite."""
    tables: list[tuple[str, Lines]] = []
    for name, suite in report["suites"].items():
        lines: Lines = [("right, %", "n", *COLUMN_TITLES, "constant")]
        for row, cells in suite["rows"].items():
            flag = " *" if cells["truth"]["share"] < GATE else ""
            shares = [_percent(cells[c]) for c in COLUMNS[:-1]]
            shares.append(_percent(cells["shuffled"], number=True))
            n = str(cells["truth"]["n"])
            lines.append((row + flag, n, *shares, f"{100 * cells['constant']:.1f}"))
        tables.append((f"{name}: {suite['summary']}", lines))
        labels = tuple(suite["model_by"])
        lines = [("model, right %", *labels)]
        for row in suite["rows"]:
            parts = (suite["model_by"][label].get(row) for label in labels)
            lines.append((row, *(_percent(part, number=True) for part in parts)))
        tables.append((f"{name}: by length and language", lines))
        if "area" in suite:
            areas = ("-" if a is None else f"{a:.2f}" for a in suite["area"].values())
            lines = [("median", "through VAE", "model"), ("area / true area", *areas)]
            tables.append((f"{name}: size of objects", lines))
        if "physics" in suite:
            tables.append((f"{name}: median [90th percentile]", _physics_lines(suite["physics"])))
    if report["gaps"]:
        held = tuple(report["gaps"])
        lines = [("points below single", *held)]
        for row in report["suites"]["single"]["rows"]:
            gaps = (report["gaps"][h].get(row) for h in held)
            lines.append((row, *("-" if g is None else f"{g:+.1f}" for g in gaps)))
        tables.append(("held out", lines))
    judges: Lines = [("judge", "true renders read right, %", "n", "asked")]
    for name, row in report["judges_on_truth"].items():
        asked = "yes" if name in trusted(report["judges_on_truth"]) else "no"
        judges.append((name, f"{100 * row['right'] / row['n']:.1f}", str(row["n"]), asked))
    tables.append((JUDGES_TITLE, judges))
    return tables


def _physics_lines(physics: dict[str, Any]) -> Lines:
    lines: Lines = [("source", "falls fitted, %", "g, m/s2", "g off by", "restitution off by")]
    for name, row in physics.items():
        if name == "scale_spread":
            continue
        gravity = row.get("gravity")
        lines.append(
            (
                "best constant" if name == "constant" else name,
                _percent(row.get("usable"), number=True),
                "-" if gravity is None else f"{gravity:.2f}",
                _error(row.get("gravity_error"), 100, "%"),
                _error(row["restitution_error"]),
            )
        )
    return lines


NOTES = (
    "Share of facts read right, with the 95 % interval by Wilson's method. Only facts that the "
    "prompt states are scored, and the number of objects, and only where the judge passed its gate "
    "(95 % of true renders); the others are listed at the end. Sizes, materials and speeds are not "
    "judged.",
    "truth: the scene of the prompt, rendered. through VAE: that render encoded and decoded. "
    "shuffled: the model's clips against other prompts' facts. best constant: the most that one "
    "answer given to every prompt would score. An asterisk: the truth itself reads under 95 %.",
    "g is in metres of the world's middle camera, which the clips' own are not: see scale_spread "
    "in report.json, the standard deviation of the scale and so of one clip's g.",
)


def print_report(report: dict[str, Any]) -> None:
    """Print the tables to the terminal."""
    from rich.console import Console  # importing it draws from Python's global generator
    from rich.table import Table

    console = Console()
    for title, lines in _tables(report):
        table = Table(title=title, title_justify="left")
        for i, column in enumerate(lines[0]):
            table.add_column(column, justify="left" if i == 0 else "right")
        for line in lines[1:]:
            table.add_row(*line)
        console.print(table)


STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222;
  margin: 2rem auto; padding: 0 1rem; max-width: 1500px }
section { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start }
table { border-collapse: collapse; margin: 0 0 1.5rem } caption { text-align: left; padding: .4rem }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } img { max-width: 620px; width: 100% }
"""


def _html(report: dict[str, Any]) -> str:
    """Return the report as one page; its pictures lie beside it."""
    esc = html.escape
    tables = _tables(report)
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>Kineograph: {esc(report['model'])}</title><style>{STYLE}</style>",
        f"<h1>{esc(report['model'])}</h1>",
        *(f"<p>{esc(note)}</p>" for note in NOTES),
        "<p>" + "; ".join(f"<b>{esc(k)}</b>: {esc(v)}" for k, v in ROWS.items()) + "</p>",
    ]
    for name in report["suites"]:
        mine = [t for t in tables if t[0].startswith(f"{name}:")]
        parts.append(f"<h2>{esc(name)}</h2><section><div>")
        parts += [_html_table(*table) for table in mine]
        parts.append(f"</div><img src='{esc(name)}.png' alt='clips of the suite {esc(name)}'>")
        parts.append("</section>")
    parts += [_html_table(*t) for t in tables if t[0] in ("held out", JUDGES_TITLE)]
    settings = {**report["settings"], **report["weights"]}
    parts.append("<p>" + "<br>".join(esc(f"{k}: {v}") for k, v in settings.items()) + "</p></html>")
    return "\n".join(parts)


def _html_table(title: str, lines: Sequence[tuple[str, ...]]) -> str:
    esc = html.escape
    head = "".join(f"<th>{esc(c)}</th>" for c in lines[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{esc(c)}</td>" for c in line) + "</tr>" for line in lines[1:]
    )
    return f"<table><caption>{esc(title)}</caption><tr>{head}</tr>{rows}</table>"
