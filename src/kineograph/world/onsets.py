"""When something strikes, heard from the sound alone: steps in the spectrum.

The power in bands of a few hundred hertz is followed on a logarithmic scale. Where most bands are
suddenly louder than they were just before, and by more than they commonly waver around there
(rolling, rain), something has struck. A second look with no averaging then finds the moment.
`python -m kineograph.world.sound --check` measures how well.

Letters: n samples, f frames, b bands.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]

SLOWEST_RATE = 8000  # samples/s
STEP = 0.0025  # s, between frames
WINDOW = 4  # steps
BANDS = 17
LOWEST_BAND = 100.0  # Hz, its upper end; the others widen evenly on a logarithmic scale
QUIET = 1e-3  # RMS in a band under which nothing counts: air, birds
BEFORE, AFTER = 12, 5  # steps that are averaged on either side
CAP = 3.0  # nepers of power; one band alone must not decide
RISE = 0.25  # mean rise of a band that is an onset in silence
WAVER = 2.5  # and how often the usual rise of the surroundings it has to be above that
APART = 0.03  # s, between two onsets
AROUND = 0.2  # s, to either side: the surroundings


def _bands(audio: Array, rate: int) -> Array:
    """Return the logarithm of the power `f b` in each band, over its quiet level."""
    step = round(STEP * rate)
    window = WINDOW * step
    padded = np.pad(audio, ((window, window), (0, 0)), mode="reflect")
    frames = sliding_window_view(padded, window, axis=0)[::step]
    shape = np.hanning(window)
    power = (np.abs(np.fft.rfft(frames * shape)) ** 2).sum(1) * 2 / (window * (shape**2).sum())
    ends = np.geomspace(LOWEST_BAND, 0.45 * rate, BANDS)
    starts = np.searchsorted(np.fft.rfftfreq(window, 1 / rate), [0.0, *ends])
    bands = np.add.reduceat(power, np.unique(starts)[:-1], axis=1)
    return np.log(bands + 2 * np.median(bands, axis=0) + QUIET**2)


def _rise(after: Array, before: Array, shift: int, count: int) -> Array:
    """Return, `f`, by how much bands are louder than some frames earlier, on average."""
    rise = np.zeros(count)
    both = min(len(after) - shift, len(before))
    steps = np.clip(after[shift : shift + both] - before[:both], 0, CAP)
    rise[shift : shift + both] = steps.mean(1)
    return rise


def _around(values: Array, reach: float) -> Array:
    """Return the neighbours `f k` of every value up to `reach` seconds away."""
    k = round(reach / STEP)
    return sliding_window_view(np.pad(values, k, mode="edge"), 2 * k + 1)


def onsets(audio: Float[np.ndarray, "..."], rate: int) -> Float[np.ndarray, " k"]:
    """Return the times (s) at which something strikes in audio `n` or `n channels`, rising.

    Levels are those of `sound.synthesise`. The first 20 ms and the last 10 ms are not judged,
    and of two onsets within 30 ms the stronger one is returned.
    Raises `ValueError` for another shape, for samples that are no numbers and for a low rate.
    """
    if audio.ndim not in (1, 2):
        raise ValueError(f"audio has the shape {audio.shape}; allowed: (n,) and (n, channels)")
    if rate < SLOWEST_RATE:
        raise ValueError(f"rate {rate} is not allowed; it must be at least {SLOWEST_RATE}")
    if not np.isfinite(audio).all():
        raise ValueError("audio holds samples that are not finite")
    if len(audio) < 0.1 * rate:
        return np.zeros(0)
    bands = _bands(np.asarray(audio, dtype=np.float64).reshape(len(audio), -1), rate)
    count = len(bands)
    after, before = (sliding_window_view(bands, k, axis=0).mean(-1) for k in (AFTER, BEFORE))
    rise = _rise(after, before, BEFORE + WINDOW - 1, count)
    usual = np.median(_around(rise, AROUND), axis=1)
    peaks = (rise >= RISE + WAVER * usual) & (rise == _around(rise, APART).max(1))
    just_before = sliding_window_view(bands, WINDOW, axis=0).max(-1)
    sudden = _rise(bands, just_before, WINDOW + 2, count)
    found: set[int] = set()
    for peak in np.flatnonzero(peaks).tolist():
        first = max(peak - 6, 0)
        found.add(first + int(np.argmax(sudden[first : peak + 9])))
    centres = np.array(sorted(found), dtype=np.float64) - WINDOW / 2
    return np.asarray(centres * round(STEP * rate) / rate)
