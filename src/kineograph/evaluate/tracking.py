"""Where an object is in every frame, from the pixels alone: by its colour, or by a judge's masks.

How common each colour is on the object and beside it is learnt from the first frame, where a mask
says which pixels are the object's. Every later pixel is then the object's to some share, and the
centroid of those shares, within a gate around where the object is expected, is its place. What
light and shade do to the shares moves the centroid by a constant that no law of motion sees.

Letters: t frames, h height, w width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.errors import RequestError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BITS = 5  # of each of red, green and blue, that colours are told apart by
FINE, COARSE = 0.8, 2.5  # bins, by how much a colour speaks for those next to it
COARSE_SHARE = 0.1
UNSEEN = 1e-6  # density of colours that are neither on the object nor beside it
MIN_AREA = 6.0  # pixels; less is no object
CRUMB = 0.12  # of the largest piece; less is a speck of the background
ROOM = 1.15  # times its own reach, around an object, are taken to be its own
SLACK = 2.0  # pixels, by which an object may be farther out than expected
HURRY = 1.5  # times its last step, by which it may be elsewhere: it may have rebounded
WHOLE = 0.75  # of its usual area; less is partly hidden
MOVED = 4.0  # pixels; less is no motion
FAR_AHEAD = 12  # frames, by which a lost object's way is continued at most


@dataclass(frozen=True)
class Track:
    """An object's way across the picture; NaN where it is not seen."""

    columns: Array  # t, of its centroid, pixels from the left
    rows: Array  # t, pixels from the top
    areas: Array  # t, pixels
    masks: Float[ndarray, "t h w"]  # the share of each pixel that is the object's

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def seen(self) -> Mask:
        """Where it is found, `t`."""
        return np.isfinite(self.columns)

    @property
    def cut(self) -> Mask:
        """Where it lies on the edge of the picture, `t`."""
        sides = (self.masks[:, 0], self.masks[:, -1], self.masks[:, :, 0], self.masks[:, :, -1])
        return np.any([side.max(1) > 0.5 for side in sides], axis=0)

    @property
    def whole(self) -> Mask:
        """Where all of it is seen: not cut, and not much smaller than it usually is, `t`."""
        usual = np.nanmedian(self.areas) if self.seen.any() else np.nan
        return self.seen & ~self.cut & (np.nan_to_num(self.areas) > WHOLE * usual)

    @property
    def bottoms(self) -> Array:
        """Its lower edge, `t`, in pixels from the top, to a share of a pixel."""
        # a row counts by its fullest pixels: the edge of a row half covered lies half way down
        full = np.sort(self.masks, axis=2)[:, :, -3:].mean(2)
        height = full.shape[1]
        found = np.full(len(self), np.nan)
        for t in np.flatnonzero(self.seen):
            last = int(np.flatnonzero(full[t] > 0.5)[-1]) if (full[t] > 0.5).any() else None
            if last is not None:
                below = float(full[t, last + 1]) if last + 1 < height else 0.0
                found[t] = last + 1 + below
        return found

    def travel(self) -> float:
        """Return how far it gets from where it is first seen (pixels); 0 if it never is."""
        if not self.seen.any():
            return 0.0
        first = int(np.flatnonzero(self.seen)[0])
        away = np.hypot(self.columns - self.columns[first], self.rows - self.rows[first])
        return float(np.nanmax(away))

    def moved(self) -> bool:
        """Return whether it moves at all: what stands still breaks no law of motion."""
        return self.travel() >= MOVED


# --- colours -----------------------------------------------------------------------------
def _blurred(table: Array, width: float) -> Array:
    """Blur a table `n n n` along every axis; what leaves it is lost."""
    k = np.arange(len(table))
    weights = np.exp(-(((k[:, None] - k) / width) ** 2) / 2)
    weights /= weights.sum(1).max()
    return np.einsum("ai,bj,ck,ijk->abc", weights, weights, weights, table, optimize=True)


def _density(pixels: UInt8[ndarray, "n 3"]) -> Array:
    """Return how common each colour is among some pixels, spread to the colours like it."""
    n = 1 << BITS
    q = (pixels >> (8 - BITS)).astype(np.int64)
    counts = np.bincount((q[:, 0] * n + q[:, 1]) * n + q[:, 2], minlength=n**3)
    shares = counts.reshape(n, n, n) / max(len(pixels), 1)
    fine, coarse = _blurred(shares, FINE), _blurred(shares, COARSE)
    return np.asarray((1 - COARSE_SHARE) * fine + COARSE_SHARE * coarse)


def _grown(mask: Mask, times: int = 1) -> Mask:
    """Return a mask with the pixels next to it, left, right, above and below."""
    for _ in range(times):
        p = np.pad(mask, 1)
        mask = p[1:-1, 1:-1] | p[:-2, 1:-1] | p[2:, 1:-1] | p[1:-1, :-2] | p[1:-1, 2:]
    return mask


def colour_masks(
    frames: UInt8[ndarray, "t h w 3"], first: Bool[ndarray, "h w"]
) -> Float[ndarray, "t h w"]:
    """Return how likely each pixel is the object's, by its colour alone.

    `first` says which pixels of the first frame are the object's. Raises `RequestError` if they
    are too few, or all.
    """
    if not MIN_AREA <= first.sum() < first.size / 2:
        raise RequestError(
            f"a mask of {int(first.sum())} pixels gives no colour; it must have {MIN_AREA:g} "
            f"to {first.size // 2}"
        )
    mine = _density(frames[0][first])
    others = _density(frames[0][~_grown(first, 2)])
    shares = (mine / (mine + others + UNSEEN)).astype(np.float32)
    q = frames >> (8 - BITS)
    return np.asarray(shares[q[..., 0], q[..., 1], q[..., 2]])


# --- tracking ----------------------------------------------------------------------------
def _runs(hits: Mask) -> NDArray[np.int64]:
    """Return row, start and end `n 3` of what is connected within rows, from the top."""
    edges = np.diff(np.pad(hits, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    return np.stack([rows, starts, np.nonzero(edges == -1)[1]], -1)


def _root(belongs: list[int], n: int) -> int:
    """Return the run that stands for the piece that run n belongs to."""
    while belongs[n] != n:
        belongs[n] = belongs[belongs[n]]
        n = belongs[n]
    return n


def _pieces(hits: Mask) -> list[Mask]:
    """Return the connected pieces of a mask, the crumbs left out, largest first."""
    runs = _runs(hits).tolist()
    belongs = list(range(len(runs)))

    above = 0  # the first run that may touch this one from the row before
    for n, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] < row and runs[above][2] <= start):
            above += 1
        k = above
        while runs[k][0] < row and runs[k][1] < end:
            belongs[_root(belongs, k)] = _root(belongs, n)
            k += 1
    roots = [_root(belongs, n) for n in range(len(runs))]
    sizes = dict.fromkeys(roots, 0)
    for root, (_, start, end) in zip(roots, runs, strict=True):
        sizes[root] += end - start
    found = []
    for piece in sorted(sizes, key=lambda n: -sizes[n]):
        if sizes[piece] >= CRUMB * max(sizes.values()):
            mask = np.zeros_like(hits)
            for root, (row, start, end) in zip(roots, runs, strict=True):
                if root == piece:
                    mask[row, start:end] = True
            found.append(mask)
    return found


class _Gate:
    """What is known of an object while it is followed through a clip."""

    def __init__(self, start: Mask) -> None:
        ys, xs = np.nonzero(start)
        self.place = np.array([xs.mean() + 0.5, ys.mean() + 0.5])
        self.step = np.zeros(2)
        self.area = float(len(xs))
        self.reach = float(np.hypot(xs + 0.5 - self.place[0], ys + 0.5 - self.place[1]).max())
        self.lost = 0  # frames since it was last seen

    def _near(
        self, mask: Float[ndarray, "h w"], middle: Array, radius: float
    ) -> Float[ndarray, "h w"]:
        """Return the mask within a circle, 0 elsewhere."""
        h, w = mask.shape
        y, x = np.arange(h)[:, None] + 0.5, np.arange(w) + 0.5
        inside = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= radius * radius
        return np.where(inside, mask, 0.0)

    def _main(self, mask: Float[ndarray, "h w"], expected: Array) -> Array | None:
        """Return the middle of the piece that is most like the object where it is expected."""
        radius = self.reach + SLACK + HURRY * float(np.hypot(*self.step))
        radius *= 1 + 0.5 * self.lost
        hits = self._near(mask, expected, radius) > 0.5
        if hits.sum() < MIN_AREA:
            return None

        pieces = _pieces(hits)
        middles = [np.argwhere(piece).mean(0)[::-1] + 0.5 for piece in pieces]
        merits = [
            min(float(piece.sum()) / self.area, 1.0)
            - 0.5 * float(np.hypot(*(middle - expected))) / radius
            for piece, middle in zip(pieces, middles, strict=True)
        ]
        return np.asarray(middles[int(np.argmax(merits))])

    def follow(self, mask: Float[ndarray, "h w"]) -> Float[ndarray, "h w"] | None:
        """Return the object's share of each pixel of the next frame; None if it is lost."""
        expected = self.place + self.step * min(self.lost + 1, FAR_AHEAD)
        middle, shares = self._main(mask, expected), None
        for _ in range(2):  # from where its middle seems to be, then from where it is
            if middle is not None:
                shares = self._own(mask, middle)
                middle = None if shares is None else centroid(shares)
        if middle is None or shares is None:
            self.lost += 1
            return None
        self._learn(middle, shares)
        return shares

    def _own(self, mask: Float[ndarray, "h w"], middle: Array) -> Float[ndarray, "h w"] | None:
        """Return the mask around a middle, its crumbs left out; None if too little is there."""
        near = self._near(mask, middle, ROOM * self.reach + SLACK)
        if (near > 0.5).sum() < MIN_AREA:
            return None
        own = _grown(np.any(_pieces(near > 0.5), axis=0))
        return np.where(own, near, 0.0)

    def _learn(self, middle: Array, shares: Float[ndarray, "h w"]) -> None:
        step = (middle - self.place) / (self.lost + 1)
        self.step = step if self.lost else 0.3 * self.step + 0.7 * step
        self.place, self.lost = middle, 0
        area = float(shares.sum())
        if area > WHOLE * self.area:  # what is partly hidden says nothing of the size
            grown = (area / self.area) ** 0.5
            self.reach *= 0.8 + 0.2 * grown
            self.area = 0.8 * self.area + 0.2 * area


def centroid(shares: Float[ndarray, "h w"]) -> Array:
    """Return column and row of the middle of some weights (pixels)."""
    total = shares.sum()
    h, w = shares.shape
    return np.array(
        [
            (shares.sum(0) @ (np.arange(w) + 0.5)) / total,
            (shares.sum(1) @ (np.arange(h) + 0.5)) / total,
        ]
    )


def track_masks(masks: Float[ndarray, "t h w"], start: Bool[ndarray, "h w"] | None = None) -> Track:
    """Follow an object through soft masks that a judge, or `colour_masks`, gives.

    `start` says where it is in the first frame; without it, it is the largest piece of the first
    frame that has any.
    """
    count = len(masks)
    columns, rows, areas = np.full((3, count), np.nan)
    kept = np.zeros(masks.shape, dtype=np.float32)
    first = 0
    if start is None or not start.any():
        enough = np.flatnonzero((masks > 0.5).sum((1, 2)) >= MIN_AREA)
        if not len(enough):
            return Track(columns, rows, areas, kept)
        first = int(enough[0])
        start = _pieces(masks[first] > 0.5)[0]
    gate = _Gate(start)
    for t in range(first, count):
        shares = gate.follow(masks[t])
        if shares is not None:
            kept[t] = shares
            columns[t], rows[t] = gate.place
            areas[t] = shares.sum()
    return Track(columns, rows, areas, kept)


def track_colour(frames: UInt8[ndarray, "t h w 3"], first: Bool[ndarray, "h w"]) -> Track:
    """Follow an object by the colours that a mask of the first frame shows.

    Raises `RequestError` for a mask that gives no colour.
    """
    return track_masks(colour_masks(frames, first), first)
