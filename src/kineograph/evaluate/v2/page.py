"""The tables of the second world's report, for the terminal and the page."""

from __future__ import annotations

from typing import Any

from kineograph.evaluate.page import COLUMNS, FAULTS_TITLE, Lines, Tables, percent
from kineograph.evaluate.v2.files import trusted
from kineograph.evaluate.v2.judges import GATE

NOTES = (
    "Share of facts read right, with the 95 % interval by Wilson's method. Only facts that the "
    "prompt states are scored, and the number of objects, and only where the judge read 95 % of "
    "true renders in that kind of style right (last tables).",
    "truth: the scene of the prompt, rendered. through VAE: that render encoded and decoded. "
    "shuffled: the model's clips against other prompts' facts. constant: the most that one answer "
    "given to every prompt would score. An asterisk: the truth itself reads under 95 %.",
    "Numbers are read from pixels and sound: median, 90th percentile, mean, and in how many clips "
    "they can be read at all. usable: clips in which every number that a law is held "
    "against can be read; a clip that stands still has perfect momentum, and is not usable. "
    "distance: of motion and looks from the true clips (0: alike), with its 95 % interval; of the "
    "truth, of one half from the other. substituted: a held-out combination that came out as the "
    "nearest one that training had.",
)
GROUP_NAMES = {"photo": "photographs", "coloured": "styles with colours", "colourless": "without"}


def tables(report: dict[str, Any]) -> Tables:
    """Return title and lines, headings first, of every table of a report."""
    found: Tables = []
    for name, suite in report["suites"].items():
        found.append((f"{name}: {suite['summary']}", _rows(suite)))
        found.append((f"{name}: by length and language", _by(suite)))
        found.append((f"{name}: in all", _whole(suite)))
        if any(suite["measures"].values()):
            title = f"{name}: numbers, median [90th percentile], mean (usable)"
            found.append((title, _numbers(suite)))
    if report["gaps"]:
        held = tuple(report["gaps"])
        names = list(dict.fromkeys(n for gaps in report["gaps"].values() for n in gaps))
        lines: Lines = [("points below what training saw", *held)]
        for row in names:
            gaps = (report["gaps"][h].get(row) for h in held)
            lines.append((row, *("-" if g is None else f"{g:+.1f}" for g in gaps)))
        found.append(("held out", lines))
    if report.get("faults"):
        found.append(
            (FAULTS_TITLE, [("video", "why it counts as wrong"), *report["faults"].items()])
        )
    for group, rows in report["judges_on_truth"].items():
        lines = [("judge", "true renders read right, %", "n", "asked")]
        good = trusted(report["judges_on_truth"], group)
        for name, row in rows.items():
            asked = "yes" if name in good else "no"
            lines.append((name, f"{100 * row['right'] / row['n']:.1f}", str(row["n"]), asked))
        style, _, crowd = group.partition(", ")
        words = f"{GROUP_NAMES[style]}, {crowd} objects" if crowd else GROUP_NAMES[style]
        found.append((f"judges on {words}", lines))
    return found


def _columns(suite: dict[str, Any]) -> list[str]:
    return [c for c in COLUMNS if c in suite["measures"] or c == "shuffled"]


def _rows(suite: dict[str, Any]) -> Lines:
    columns = _columns(suite)
    lines: Lines = [("right, %", "n", *(COLUMNS[c] for c in columns), "constant")]
    for row, cells in suite["rows"].items():
        flag = " *" if cells["truth"]["share"] < GATE else ""
        shares = [percent(cells[c]) for c in columns]
        constant = "-" if cells["constant"] is None else f"{100 * cells['constant']:.1f}"
        lines.append((row + flag, str(cells["truth"]["n"]), *shares, constant))
    return lines


def _by(suite: dict[str, Any]) -> Lines:
    lines: Lines = [("model, right %", *suite["model_by"])]
    for row in suite["rows"]:
        parts = (part.get(row) for part in suite["model_by"].values())
        lines.append((row, *(percent(part, number=True) for part in parts)))
    return lines


def _whole(suite: dict[str, Any]) -> Lines:
    sources = list(suite["measures"])
    lines: Lines = [("", *(COLUMNS[s] for s in sources))]

    def line(title: str, values: list[str]) -> None:
        if any(v != "-" for v in values):
            lines.append((title, *values))

    joint = [suite["joint"][s] for s in sources]
    line("object right in all, %", [_share(j, "object") for j in joint])
    line("product of its facts, %", [_share(j, "product") for j in joint])
    line("distance from truth", [_interval(suite["distance"][s]) for s in sources])
    swapped = [suite["substitution"][s] for s in sources]
    for kind in ("shape", "colour", "motion"):
        line(f"{kind} substituted, %", [_share(j, kind) for j in swapped])
    areas = (suite["area"].get(s) for s in sources)
    line("median area over the true one", ["-" if a is None else f"{a:.2f}" for a in areas])
    line("usable, %", [percent(suite["usable"][s], number=True) for s in sources])
    return lines


def _share(found: dict[str, float] | None, name: str) -> str:
    return "-" if found is None else f"{100 * found[name]:.1f}"


def _interval(found: dict[str, float] | None) -> str:
    return "-" if found is None else (
        f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    )


def _numbers(suite: dict[str, Any]) -> Lines:
    sources = list(suite["measures"])
    lines: Lines = [("number", *(COLUMNS[s] for s in sources))]
    for name in dict.fromkeys(n for s in sources for n in suite["measures"][s]):
        lines.append((name, *(_number(suite["measures"][s].get(name)) for s in sources)))
    return lines


def _number(found: dict[str, Any] | None) -> str:
    if found is None or found["quantiles"] is None:
        return "-"
    middle, high = found["quantiles"]
    mean, usable = found["mean"], found["usable"]
    return f"{middle:.3g} [{high:.3g}], {mean:.3g} ({usable['right']} of {usable['n']})"
