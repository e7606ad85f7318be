"""The report as people read it: tables on the terminal, and one page of HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from kineograph.evaluate.judges import GATE, trusted
from kineograph.evaluate.scoring import ROWS

COLUMNS = {"truth": "truth", "vae": "through VAE", "model": "model", "shuffled": "shuffled"}


def percent(cell: dict[str, Any] | None, *, number: bool = False) -> str:
    """Return a share in percent with its interval; "-" of none."""
    if cell is None:
        return "-"
    low, high = 100 * cell["low"], 100 * cell["high"]
    text = f"{100 * cell['share']:.1f} ({low:.0f}-{high:.0f})"
    return f"{text} n={cell['n']}" if number else text


def _error(pair: Sequence[float] | None, scale: float = 1.0, unit: str = "") -> str:
    return "-" if pair is None else f"{scale * pair[0]:.3g}{unit} [{scale * pair[1]:.3g}{unit}]"


Lines = list[tuple[str, ...]]
Tables = list[tuple[str, Lines]]  # titles, and lines with the head first
JUDGES_TITLE = "the judges, when they were trained"
FAULTS_TITLE = "videos that are missing or cannot be judged"


def _tables(report: dict[str, Any]) -> Tables:
    """Return title and lines, headings first, of every table of a report, with its suite."""
    tables: Tables = []
    for name, suite in report["suites"].items():
        columns = [c for c in COLUMNS if all(c in cells for cells in suite["rows"].values())]
        titles = (COLUMNS[column] for column in columns)
        lines: Lines = [("right, %", "n", *titles, "constant")]
        for row, cells in suite["rows"].items():
            flag = " *" if cells["truth"]["share"] < GATE else ""
            shares = [percent(cells[c]) for c in columns[:-1]]
            shares.append(percent(cells["shuffled"], number=True))
            n = str(cells["truth"]["n"])
            lines.append((row + flag, n, *shares, f"{100 * cells['constant']:.1f}"))
        tables.append((f"{name}: {suite['summary']}", lines))
        labels = tuple(suite["model_by"])
        lines = [("model, right %", *labels)]
        for row in suite["rows"]:
            parts = (suite["model_by"][label].get(row) for label in labels)
            lines.append((row, *(percent(part, number=True) for part in parts)))
        tables.append((f"{name}: by length and language", lines))
        if "area" in suite:
            areas = ("-" if a is None else f"{a:.2f}" for a in suite["area"].values())
            lines = [("median", *(COLUMNS[source] for source in suite["area"]))]
            lines.append(("area / true area", *areas))
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
    if report.get("faults"):
        lines = [("video", "why it counts as wrong"), *report["faults"].items()]
        tables.append((FAULTS_TITLE, lines))
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
                percent(row.get("usable"), number=True),
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


FAULTS_NOTE = (
    "Videos are looked at as the world's clips are: ten frames a second of the first 2.4 s, "
    "averaged down to 64x64. Of {videos}, {faults} are missing or cannot be judged: they count as "
    "wrong in every row, and are listed below."
)


def _notes(report: dict[str, Any]) -> tuple[str, ...]:
    if "faults" not in report:
        return NOTES
    videos = sum(suite["prompts"] for suite in report["suites"].values())
    return (*NOTES, FAULTS_NOTE.format(videos=videos, faults=len(report["faults"])))


def print_report(report: dict[str, Any]) -> None:
    """Print the tables to the terminal."""
    print_tables(_tables(report))


def print_tables(tables: Tables) -> None:
    """Print titled tables to the terminal; the first line of each is its head."""
    from rich.console import Console  # importing it draws from Python's global generator
    from rich.table import Table

    console = Console()
    for title, lines in tables:
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


def as_html(report: dict[str, Any]) -> str:
    """Return the report as one page; its pictures lie beside it."""
    return html_page(report, _tables(report), _notes(report), ROWS)


def html_page(
    report: dict[str, Any], tables: Tables, notes: Sequence[str], rows: Mapping[str, str]
) -> str:
    """Return a page: notes, what rows mean, each suite's tables beside its picture, the rest."""
    esc = html.escape
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>Kineograph: {esc(report['model'])}</title><style>{STYLE}</style>",
        f"<h1>{esc(report['model'])}</h1>",
        *(f"<p>{esc(note)}</p>" for note in notes),
        "<p>" + "; ".join(f"<b>{esc(k)}</b>: {esc(v)}" for k, v in rows.items()) + "</p>",
    ]
    for name in report["suites"]:
        mine = [t for t in tables if t[0].startswith(f"{name}:")]
        parts.append(f"<h2>{esc(name)}</h2><section><div>")
        parts += [_html_table(*table) for table in mine]
        parts.append(f"</div><img src='{esc(name)}.png' alt='clips of the suite {esc(name)}'>")
        parts.append("</section>")
    suites = tuple(f"{name}:" for name in report["suites"])
    parts += [_html_table(*t) for t in tables if not t[0].startswith(suites)]
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
