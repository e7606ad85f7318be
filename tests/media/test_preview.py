"""The terminal preview: what is written, and when nothing may be."""

from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest

from kineograph.media.preview import HIDE_CURSOR, SHOW_CURSOR, can_show, draw_frame, play


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "13")
    return Terminal()


def frames(count=3, height=48, width=80):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def cells(text):
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in text.split("\n")]


def test_two_pixels_make_a_cell():
    frame = np.array([[[1, 2, 3], [1, 2, 3]], [[4, 5, 6], [4, 5, 6]]], np.uint8)
    assert draw_frame(frame, 10, 10) == "\x1b[38;2;1;2;3;48;2;4;5;6m▀▀\x1b[0m"


@pytest.mark.parametrize(
    ("height", "width", "columns", "lines", "expected"),
    [
        (48, 80, 40, 100, (40, 12)),
        (48, 80, 200, 100, (80, 24)),
        (80, 48, 40, 12, (14, 12)),
        (1, 1, 40, 12, (1, 1)),
        (2000, 2, 40, 12, (1, 12)),
    ],
)
def test_the_ratio_is_kept_within_the_terminal(height, width, columns, lines, expected):
    drawn = cells(draw_frame(frames(1, height, width)[0], columns, lines))
    assert (len(drawn[0]), len(drawn)) == expected
    assert set("".join(drawn)) == {"▀"}


def test_frames_are_shown_in_place_and_the_cursor_comes_back(terminal):
    slept = []
    assert play(frames(3), 10, terminal, slept.append)
    text = terminal.getvalue()
    assert text.count("\x1b[12A") == 2  # up to where the first frame began
    assert text.startswith(HIDE_CURSOR)
    assert text.endswith(SHOW_CURSOR)
    assert len(slept) == 3
    assert 0 < sum(slept) <= 0.1 + 0.2 + 0.3


def test_an_interrupt_gives_the_cursor_back(terminal):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(frames(3), 10, terminal, interrupt)
    assert terminal.getvalue().endswith(SHOW_CURSOR)


@pytest.mark.parametrize("why", ["pipe", "NO_COLOR", "dumb", "ascii"])
def test_nothing_is_written_where_no_one_could_see_it(terminal, monkeypatch, why):
    if why == "pipe":
        terminal = io.StringIO()
    elif why == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    elif why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    else:
        terminal.encoding = "ascii"
    assert not can_show(terminal)
    assert play(frames(2), 10, terminal, lambda _: None) is False
    assert terminal.getvalue() == ""


def test_an_empty_no_color_means_nothing(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert can_show(terminal)


def test_a_real_terminal_gets_the_frames(monkeypatch):
    pty = pytest.importorskip("pty")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        assert play(frames(1, 4, 4), 10, stream, lambda _: None)
        seen = os.read(master, 65536).decode()
    os.close(master)
    assert seen.count("▀") == 8
