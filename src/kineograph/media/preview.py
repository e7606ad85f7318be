"""Moving pictures in the terminal: two pixels a cell, as half blocks in 24-bit colour."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

HALF_BLOCK = "▀"  # its upper half shows the foreground colour, its lower half the background
RESET, HIDE_CURSOR, SHOW_CURSOR = "\x1b[0m", "\x1b[?25l", "\x1b[?25h"


@runtime_checkable
class Screen(Protocol):
    """What is asked of a text stream to draw on: `sys.stdout` will do."""

    @property
    def encoding(self) -> str | None: ...
    def isatty(self) -> bool: ...
    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


def can_show(stream: Screen) -> bool:
    """Tell whether colours and cursor moves would reach a person's eyes.

    False for a pipe or a file, where `NO_COLOR` is set (no-color.org), on a dumb terminal,
    and where the encoding has no half block.
    """
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        HALF_BLOCK.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def draw_frame(frame: UInt8[ndarray, "h w 3"], columns: int, lines: int) -> str:
    """Return the frame as text of at most `columns` by `lines` cells, without a last newline.

    The ratio is kept (a cell is taken to be twice as high as wide) and a small frame is
    not enlarged.
    """
    height, width, _ = frame.shape
    scale = min(1.0, columns / width, 2 * lines / height)
    size = max(1, round(width * scale)), max(2, 2 * round(height * scale / 2))
    small = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
    rows = []
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        cells, before = [], ""
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            colour = f"\x1b[38;2;{_code(top)};48;2;{_code(bottom)}m"
            cells.append(HALF_BLOCK if colour == before else colour + HALF_BLOCK)
            before = colour
        rows.append("".join(cells) + RESET)
    return "\n".join(rows)


def play(
    frames: Iterable[UInt8[ndarray, "h w 3"]],
    fps: float,
    stream: Screen | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Show frames in place, one over the other, at `fps`; return False if nothing was shown.

    A terminal that is too slow makes the clip longer; no frame is left out. The last one
    stays. `stream` is standard output by default.
    """
    stream = sys.stdout if stream is None else stream
    if not can_show(stream):
        return False
    terminal = shutil.get_terminal_size()
    shown, due = 0, time.monotonic()
    try:
        for frame in frames:
            text = draw_frame(frame, terminal.columns, max(1, terminal.lines - 1))
            # Up again to where the last frame began; the first one begins here.
            back = f"\r\x1b[{shown}A" if shown else ""
            stream.write(f"{HIDE_CURSOR}{back}{text}\n")
            stream.flush()
            shown = text.count("\n") + 1
            due += 1 / fps
            sleep(max(0.0, due - time.monotonic()))
    finally:
        stream.write(f"{RESET}{SHOW_CURSOR}")  # an interrupt must not cost a person the cursor
        stream.flush()
    return shown > 0


def _code(colour: list[int]) -> str:
    return ";".join(map(str, colour))
