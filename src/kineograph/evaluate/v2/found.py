"""What classes of pixels show of objects: which pixels, colours and place are one object's.

Letters: t frames, h height, w width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from kineograph.evaluate.v2.seen import COLOURLESS_CLASS, FRAMES, PIXEL_CLASSES
from kineograph.world.v2.scene import COLOURS

# Mean pixels of a colour, of 128 x 128, from which on it may be an object: below lie flickers.
MIN_PIXELS = 12.0
LASTS = 0.6  # of the frames, that show an object: shades come and go
SHOWN = 8  # pixels of it, that a frame shows it with
HANDOVER = 6.0  # pixels between where one colour ends and another begins: one that turns


@dataclass(frozen=True)
class Place:
    """Where an object is when the clip begins, in shares of the picture; rows from the top."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        """Column and row of the middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Found:
    """The pixels of one object."""

    mask: NDArray[np.bool_]  # t h w
    colour: str | None
    colour_to: str | None
    place: Place | None
    area: float

    @property
    def lasts(self) -> bool:
        """Whether it is seen most of the time."""
        return bool((self.mask.sum((1, 2)) >= SHOWN).mean() >= LASTS)


def _middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def _place(mask: NDArray[np.bool_]) -> Place | None:
    """Return where a mask `t h w` is in the first frame in which it is seen well."""
    height, width = mask.shape[1:]
    for frame in mask[: len(mask) // 3]:
        rows, columns = np.nonzero(frame)
        if len(rows) >= MIN_PIXELS:
            (left, right), (top, bottom) = (np.quantile(x, (0.03, 0.97)) for x in (columns, rows))
            return Place(
                float(left / width), float((right + 1) / width),
                float(top / height), float((bottom + 1) / height),
            )  # fmt: skip
    return None


def find_objects(classes: UInt8[np.ndarray, "t h w"], colourless: bool) -> list[Found]:
    """Return the objects in the classes of a clip's pixels, largest first."""
    if colourless:
        mask = classes > 0
        return [Found(mask, None, None, _place(mask), float(mask.sum() / len(mask)))]
    counts = np.stack([np.bincount(f.ravel(), minlength=PIXEL_CLASSES) for f in classes])
    counts = counts[:, 1:COLOURLESS_CLASS]
    areas = counts.mean(0)
    # The largest is an object however small: some answer must stand.
    order = [int(k) for i, k in enumerate(np.argsort(-areas)) if i == 0 or areas[k] >= MIN_PIXELS]
    found: list[Found] = []
    turned = dict(_turns(classes, counts, order))
    for k in order:
        if k in turned.values():
            continue
        mask = classes == 1 + k
        to = turned.get(k)
        if to is not None:
            mask = mask | (classes == 1 + to)
        found.append(
            Found(
                mask, COLOURS[k], None if to is None else COLOURS[to], _place(mask),
                float(mask.sum() / len(mask)),
            )
        )  # fmt: skip
    return sorted(found, key=lambda s: -s.area)


def _turns(
    classes: UInt8[np.ndarray, "t h w"], counts: NDArray[np.int64], order: list[int]
) -> list[tuple[int, int]]:
    """Return pairs of colours where the second begins where and when the first ends."""
    seen = counts >= MIN_PIXELS
    pairs = []
    for a in order:
        last = np.flatnonzero(seen[:, a])
        for b in order:
            first = np.flatnonzero(seen[:, b])
            if a == b or not len(last) or not len(first) or last[0] != 0:
                continue
            # Between the two, some frames may show another colour.
            if not -2 <= first[0] - last[-1] <= 8 or first[-1] < FRAMES - 2 or first[0] < 2:
                continue
            places = (_middle(classes[t] == 1 + k) for t, k in ((last[-1], a), (first[0], b)))
            if np.abs(np.subtract(*places)).max() < HANDOVER:
                pairs.append((a, b))
    return pairs
