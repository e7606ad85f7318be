"""Plots of training logs: what was learnt, over steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HIDDEN = {"step", "seconds", "rate"}


def read_log(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the training rows and the validation rows of a log; a row logged twice counts once.

    A line that a power cut left unfinished is skipped.
    """
    training: dict[int, dict[str, Any]] = {}
    validation: dict[int, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "validation" in row:
            validation[row["validation"]["step"]] = row["validation"]
        else:
            training[row["step"]] = row
    return [training[k] for k in sorted(training)], [validation[k] for k in sorted(validation)]


def plot_log(path: Path, picture: Path) -> None:
    """Draw every figure of a log over steps: training as a line, validation as dots."""
    from matplotlib.figure import Figure  # slow to import, and only training needs it

    training, validation = read_log(path)
    rows = training + validation
    names = sorted({k for row in rows for k in row} - HIDDEN)
    columns = min(4, max(1, len(names)))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * max(1, lines)), layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, i + 1)
        for source, style in ((training, "-"), (validation, "o")):
            points = [(r["step"], r[name]) for r in source if name in r]
            if points:
                axes.plot(*zip(*points, strict=True), style, markersize=3, linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        if "loss" in name or name.startswith("bin"):
            axes.set_yscale("log")
    figure.savefig(picture, dpi=90)
