from __future__ import annotations

import sys

from kineograph import progress
from kineograph.produce import Event


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 12.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    with progress.progress() as show:
        for done in range(6):
            show(Event("denoise", done, 10))
    assert capsys.readouterr().err.splitlines() == [
        "kineo: denoise 3/10, about 14 s left",
        "kineo: denoise 5/10, about 12 s left",
    ]


def test_on_a_terminal_progress_is_a_bar_that_names_the_stage(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.progress() as show:
        show(Event("denoise", 6, 24))
        show(Event("warning", message="[b]no markup[/b]"))
        show(Event("denoise", 24, 24))
    said = capsys.readouterr()
    assert "denoise" in said.err
    assert "100%" in said.err
    assert "kineo: warning: [b]no markup[/b]" in said.err
    assert said.out == ""
