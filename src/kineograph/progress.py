"""What the command says on stderr while it works: a bar on a terminal, lines elsewhere.

`rich` is imported when there is a bar to show: a refusal does not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol, runtime_checkable

PLAIN_LINE_EVERY = 5.0  # seconds between lines of progress where no terminal shows a bar


@runtime_checkable
class Event(Protocol):
    """Progress of a stage, or a message to the user, whoever tells it."""

    @property
    def stage(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def message(self) -> str | None: ...


def say(line: str) -> None:
    """Print a line to stderr in the name of the command."""
    print(f"kineo: {line}", file=sys.stderr)


@contextmanager
def progress() -> Iterator[Callable[[Event], None]]:
    """Show events on stderr: a bar with ETA on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(event: Event) -> None:
            if event.message is not None:
                bar.console.print(
                    _line(event), style="yellow", markup=False, highlight=False, soft_wrap=True
                )
            if event.stage == "preview":
                bar.stop()  # the frames are drawn where the bar was
            if event.total > 0:
                if event.stage not in tasks:
                    tasks[event.stage] = bar.add_task(event.stage)
                bar.update(tasks[event.stage], completed=event.done, total=event.total)

        yield show


def _plain_lines() -> Callable[[Event], None]:
    last = start = monotonic()
    stage = ""

    def show(event: Event) -> None:
        nonlocal last, start, stage
        now = monotonic()
        if event.message is not None:
            print(_line(event), file=sys.stderr)
        if event.stage != stage:
            stage, start = event.stage, now
        if event.done > 0 and event.done < event.total and now - last >= PLAIN_LINE_EVERY:
            last = now
            left = (now - start) / event.done * (event.total - event.done)
            say(f"{event.stage} {event.done}/{event.total}, about {left:.0f} s left")

    return show


def _line(event: Event) -> str:
    return f"kineo: {'warning: ' if event.stage == 'warning' else ''}{event.message}"
