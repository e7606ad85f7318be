"""How the operator's commands answer: tables for people, JSON for scripts, and one line.

`rich` is imported when there is a table to show: importing it changes the state of `random`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def line(text: str) -> None:
    """Print one line to standard output."""
    sys.stdout.write(" ".join(text.split()) + "\n")


def note(text: str) -> None:
    """Print one line to standard error: what is for people and not for what reads the output."""
    sys.stderr.write("kineo: " + " ".join(text.split()) + "\n")
    sys.stderr.flush()


def as_json(value: object) -> None:
    """Print a value as JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=_plain)
    sys.stdout.write(text + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table; where it has no rows, a line that says so. Numbers stand to the right."""
    found = [[_cell(value) for value in row] for row in rows]
    if not found:
        line(empty)
        return
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name.startswith("#")
        shown.add_column(
            escape(name.removeprefix("#")), justify="right" if right else "left",
            no_wrap=not name.startswith(("prompt", "note", "answer", "url")), overflow="fold",
        )  # fmt: skip
    for row in found:
        shown.add_row(*row)
    _print(shown)


def pairs(values: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in values.items():
        shown.add_row(escape(name), _cell(value))
    _print(shown)


def _print(shown: Any) -> None:  # noqa: ANN401 - a table of rich's
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(shown)
        return
    # What is piped is not cut to the width of a terminal that is not there.
    text = StringIO()
    Console(file=text, width=1000, highlight=False).print(shown)
    for row in text.getvalue().splitlines():
        if row.strip(" \u2500"):
            sys.stdout.write(row.rstrip() + "\n")


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    from rich.markup import escape

    text = str(value)
    # What came from outside may hold signs that move the cursor.
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))


def _plain(value: object) -> Any:  # noqa: ANN401 - what JSON takes
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def span(seconds: float | None) -> str:
    """Return a time span as people say it: 12 s, 3 min 20 s, 2 h 5 min, 4 d."""
    if seconds is None:
        return "-"
    seconds = max(round(seconds), 0)
    if seconds < MINUTE:
        return f"{seconds} s"
    if seconds < HOUR:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 2 * DAY:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86_400} d"


def when(seconds: float | None) -> str:
    """Return a time in UTC, to the second."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
