"""How far a set of clips lies from another: a distance between distributions that looks at motion.

The features are what the judges (judges.py) see: how the largest object moves over the clip, what
it does, and the whole clip's answers. Two sets are compared by the squared maximum mean
discrepancy with a polynomial kernel, as KID (arXiv 1801.01401) and JEDi (arXiv 2410.05203) are,
unbiased for sets of any size. FVD rises little when frames are out of order; this must rise more
for clips that are shuffled, frozen, reversed or warped in time than for blurred ones (tested).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.evaluate.judges import Judges, follow

Array = NDArray[np.float64]

LEAST = 8  # clips of a set
SEEN = 4  # pixels that an object must cover, to be where they are
DEGREE = 3  # of the kernel
DRAWS = 200  # of the bootstrap


def track(seen: NDArray[np.uint8]) -> Array:
    """Return where the largest object is `t 3`: column, row, square root of its area (pixels).

    `seen` are the colour indices of a clip's pixels, `t h w`. Where it is hidden it is taken to
    be where it was last, or first, seen.
    """
    counts = np.bincount(seen[seen > 0].ravel(), minlength=1)
    where = np.full((len(seen), 3), np.nan)
    if counts.any():
        for t, frame in enumerate(seen == counts.argmax()):
            rows, columns = np.nonzero(frame)
            if len(rows) >= SEEN:
                where[t] = columns.mean(), rows.mean(), len(rows) ** 0.5
    found = np.nonzero(np.isfinite(where[:, 0]))[0]
    if not len(found):
        return np.zeros_like(where)
    last = np.maximum.accumulate(np.where(np.isfinite(where[:, 0]), np.arange(len(where)), -1))
    return where[np.where(last < 0, found[0], last)]


def moved(tracks: Array) -> Array:
    """Return what tracks `b t k` say of motion, `b m`: places from their mean, steps, changes."""
    steps = np.diff(tracks, axis=1)
    parts = (tracks - tracks.mean(1, keepdims=True), steps, np.diff(steps, axis=1))
    return np.concatenate([p.reshape(len(p), -1) for p in parts], 1)


@torch.no_grad()
def features(judges: Judges, clips: Float[Tensor, "b 13 3 64 64"]) -> Array:
    """Return features `b k` of clips in [-1, 1], as the judges take them (`judges.judged`)."""
    found = []
    for some in clips.split(16):
        seen = judges.segment(some.flatten(0, 1)).unflatten(0, some.shape[:2])
        tracks = np.stack([track(s.numpy()) for s in seen])
        counts = [torch.bincount(s[s > 0], minlength=1) for s in seen]
        masks = torch.stack(
            [(s == int(c.argmax())) & (s > 0) for s, c in zip(seen, counts, strict=True)]
        ).float()
        both = torch.stack((masks, (seen > 0).float()), 1)
        whole = torch.cat((some.transpose(1, 2), both), 1)
        motion = judges.motion(whole, follow(some, masks))[0]
        scene = torch.cat(judges.scene(some.transpose(1, 2)), 1)
        answers = torch.cat((motion, scene), 1).double().numpy()
        found.append(np.concatenate((moved(tracks), answers), 1))
    return np.concatenate(found)


@dataclass(frozen=True)
class Distance:
    """A distance with its 95 % interval over draws of clips; 0 for sets of one kind."""

    value: float
    low: float
    high: float


def _kernel(a: Array, b: Array) -> Array:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** DEGREE)


def _unbiased(xx: Array, yy: Array, xy: Array) -> float:
    n, m = len(xx), len(yy)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def distance(clips: Array, reference: Array, seed: int = 0) -> Distance:
    """Return how far features `n k` lie from those of true clips `m k`.

    Each feature counts in units of its spread over the reference. The interval comes from
    drawing clips again, without the pairs that a clip would make with itself.

    Raises:
        RequestError: fewer than 8 clips on a side.
    """
    for name, some in (("clips", clips), ("reference clips", reference)):
        if len(some) < LEAST:
            raise RequestError(f"{len(some)} {name} are too few for a distance; {LEAST} or more")
    mean, spread = reference.mean(0), reference.std(0) + 1e-6
    x, y = ((some - mean) / spread for some in (clips, reference))
    # Far outliers would rule a kernel of the third degree.
    x, y = x.clip(-6, 6), y.clip(-6, 6)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        # Halves without replacement: a clip drawn twice would pair with itself.
        i = rng.permutation(len(x))[: max(4, len(x) // 2)]
        j = rng.permutation(len(y))[: max(4, len(y) // 2)]
        drawn.append(_unbiased(xx[np.ix_(i, i)], yy[np.ix_(j, j)], xy[np.ix_(i, j)]))
    value = _unbiased(xx, yy, xy)
    # A half's estimate spreads about as the square root of two times the whole's.
    spread_of_whole = float(np.std(drawn)) / 2**0.5
    return Distance(value, value - 1.96 * spread_of_whole, value + 1.96 * spread_of_whole)
