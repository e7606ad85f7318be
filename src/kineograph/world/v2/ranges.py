"""Where the numbers of a scene come from: its range as training sees it, a gap in it, beyond it.

`Scene.numbers` says which, and holds for every number that `simulate.py` and `camera.py` draw
here: heights of drops, speeds at the start, along and upward, rates of spinning, circling and
rising, lengths and amplitudes of pendulums, pushes, and the rates and the shake of cameras.

- "seen": outside the middle tenth of its range. Training sees no others.
- "gap": only inside it.
- "beyond 30", "beyond 60": above the end of its range by up to 30 % of its width, or from there
  to 60 %. What then leaves the picture is refused as ever, so fast rolls grow rare.

A named speed varies by 8 % each way. That is a range of its own, whose middle tenth is the gap;
no other name may stray into it, not even where a long film slows everything down. What is
beyond lies above all three names together, by their common width. A rebound belongs to a
material and friction to the world, so they cannot vary. Places, turns at the start, moments at
which something tips, and where a camera stands are no such numbers: they are drawn evenly.
"""

from __future__ import annotations

from collections.abc import Iterable

from kineograph.errors import RequestError
from kineograph.world.v2.scene import DRAWN_FROM, SPEEDS

Range = tuple[float, float]  # the least and the most
Table = tuple[float, float, float]  # by name: slow, normal, fast

GAP = (0.45, 0.55)  # of a range
BEYOND = {"beyond 30": (0.0, 0.3), "beyond 60": (0.3, 0.6)}  # of its width, above its end
SPREAD = 0.08  # of a named speed, each way


def gap_of(low: float, high: float) -> Range:
    """Return the middle tenth of a range."""
    return low + GAP[0] * (high - low), low + GAP[1] * (high - low)


def bands_of(table: Table) -> list[Range]:
    """Return the ranges of the named speeds, slow first."""
    return [((1 - SPREAD) * speed, (1 + SPREAD) * speed) for speed in table]


def _around(u: float, low: float, high: float, gaps: Iterable[Range]) -> float:
    """Squeeze a draw evenly into what of a range lies outside some gaps, the lowest first."""
    cut = [(max(low, a), min(high, b)) for a, b in gaps if a < high and b > low]
    found = low + u * (high - low - sum(b - a for a, b in cut))
    for a, b in cut:
        if found >= a:
            found += b - a
    return found


def _beyond(u: float, low: float, high: float, numbers: str) -> float:
    if numbers not in BEYOND:
        raise RequestError(f"numbers {numbers!r} is not one of {', '.join(DRAWN_FROM)}")
    inner, outer = BEYOND[numbers]
    # never the inner end, which belongs to what lies below
    return high + (high - low) * (outer - u * (outer - inner))


def number(u: float, span: Range, numbers: str) -> float:
    """Return the number of a range that a draw u from [0, 1) stands for.

    Raises `RequestError` if `numbers` is not one of `scene.DRAWN_FROM`.
    """
    low, high = gap = gap_of(*span)
    if numbers == "seen":
        return _around(u, *span, [gap])
    return low + u * (high - low) if numbers == "gap" else _beyond(u, *span, numbers)


def paced(u: float, table: Table, speed: str | None, numbers: str, slowed: float = 1.0) -> float:
    """Return the number of a named speed that a draw u from [0, 1) stands for.

    `slowed` is a factor that keeps in view what long films show; it bears on what is seen alone.
    Beyond the range the name does not matter, because all that is named there is fast.
    Raises `RequestError` if `numbers` is not one of `scene.DRAWN_FROM`.
    """
    bands = bands_of(table)
    if numbers in BEYOND:
        return _beyond(u, bands[0][0], bands[-1][1], numbers)
    low, high = bands[SPEEDS.index(str(speed))]
    if numbers == "seen":
        return _around(u, slowed * low, slowed * high, [gap_of(*band) for band in bands])
    return number(u, (low, high), numbers)


def most(span: Range, numbers: str) -> float:
    """Return the largest number that can be drawn from a range."""
    return max(number(u, span, numbers) for u in (0.0, 1.0))


def fastest(table: Table, speed: str | None, numbers: str, slowed: float = 1.0) -> float:
    """Return the largest number that can be drawn for a named speed."""
    return max(paced(u, table, speed, numbers, slowed) for u in (0.0, 1.0))
