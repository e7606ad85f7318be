"""Falls, throws and hops: their gravity, their contacts, and what a contact leaves of the speed.

An arc is a parabola; a contact is where two of them meet, which lies between frames. Between
contacts one gravity holds, and every contact keeps the same share of the speed.

Places are in metres, x to the right and y up; NaN where nothing is known. Letters: t frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kineograph.evaluate.trajectories import FEWEST, solve, spread
from kineograph.world.dynamics import REST_SPEED

Array = NDArray[np.float64]

KICK = 0.5  # m/s, by which a contact turns a way upward within a frame
NOISES = 4.0  # times the noise of the track, likewise
WEAK = 0.25  # of the strongest kick, above which noise rules nothing out
FLAT = 0.03  # of a drop: what moves by less after its contact lies


@dataclass(frozen=True)
class Flight:
    """A fall, a throw or a row of hops; None where the track does not tell."""

    gravity: float  # m/s^2, on either side of the first contact
    speed: float  # m/s along x, before the first contact
    contact: float | None  # s, of the first one
    restitution: float | None  # of the first contact
    residual: float  # share of its travel by which the best law-abiding flight misses it


def contacts(y: Array, dt: float) -> list[int]:
    """Return the frames nearest to contacts: there a way that went down turns up at once."""
    if len(y) < 5:
        return []
    bend = np.full(len(y), np.nan)
    bend[1:-1] = y[:-2] - 2 * y[1:-1] + y[2:]
    ripple = np.diff(y, 4)
    noise = float(np.nanmedian(np.abs(ripple))) / 5.6 if np.isfinite(ripple).any() else 0.0
    bend = np.nan_to_num(bend)
    # hops that last a few frames look like noise, but one of them kicks hard
    least = max(KICK * dt, min(NOISES * noise, WEAK * float(bend.max())))
    return [
        k
        for k in range(2, len(y) - 1)
        if bend[k] > least and bend[k] >= bend[k - 1] and bend[k] > bend[k + 1]
        and y[k - 1] < y[k - 2]
    ]  # fmt: skip


def _parabola(t: Array, y: Array) -> Array:
    """Return place, velocity and acceleration at time 0."""
    terms = np.stack([np.ones_like(t), t, 0.5 * t * t], 1)
    return np.asarray(np.linalg.lstsq(terms, y, rcond=None)[0], dtype=np.float64)


def _meeting(
    left: tuple[Array, Array], right: tuple[Array, Array]
) -> tuple[float, float, float, float]:
    """Return when two arcs of one acceleration meet, the velocities on both sides, and it."""
    (tl, yl), (tr, yr) = left, right
    t, y = np.concatenate([tl, tr]), np.concatenate([yl, yr])
    is_left = np.arange(len(t)) < len(tl)
    terms = np.stack([is_left, is_left * t, ~is_left, ~is_left * t, 0.5 * t * t], 1)
    p, v, q, w, a = np.linalg.lstsq(terms, y, rcond=None)[0]
    when = float((q - p) / (v - w))
    return when, float(v + a * when), float(w + a * when), float(a)


def hops(t: Array, unknowns: Array) -> Array:
    """Return the heights `t` of what falls on a floor and bounces.

    The unknowns are its height above the floor and its velocity at time 0, gravity, the height
    of its centre when it lies, and the share of the speed that a contact keeps.
    """
    above, up, gravity, low, keeps = unknowns
    gravity, above = max(gravity, 1e-3), max(above, 0.0)
    y, start = np.full_like(t, low), 0.0
    while start < t[-1]:
        lasts = (up + math.sqrt(up * up + 2 * gravity * above)) / gravity
        s = t - start
        now = (s >= 0) & (s < lasts)
        y[now] = low + above + up * s[now] - 0.5 * gravity * s[now] ** 2
        start += lasts
        up, above = keeps * (gravity * lasts - up), 0.0
        if up < REST_SPEED:
            break
    return y


@dataclass(frozen=True)
class _Contact:
    """A contact and the arcs around it."""

    after: int  # the first frame after it
    time: float
    restitution: float
    acceleration: float


def _arcs(t: Array, y: Array, k: int, end: int) -> _Contact | None:
    """Fit the arcs before and after a contact near frame k; the next one is not before `end`.

    None if there are too few frames on a side.
    """
    i, seen = np.arange(len(y)), np.isfinite(y)

    def part(low: int, high: int) -> tuple[Array, Array]:
        mine = seen & (i >= low) & (i < high)
        return t[mine], y[mine]

    left, right = part(0, k), part(k + 1, min(end, k + 2 + FEWEST))
    if len(left[0]) < FEWEST or len(right[0]) < 2:
        return None
    if len(right[0]) >= FEWEST and np.ptp(right[1]) < FLAT * np.ptp(left[1]):  # no rebound
        p, v, a = _parabola(*left)
        root = v * v - 2 * a * (p - float(right[1].mean()))
        when = float((-v - math.sqrt(max(root, 0.0))) / a)
        return _Contact(k + 1, when, 0.0, float(a))
    best: _Contact | None = None
    lands = np.inf
    for stop in range(k + 3, end + 1):  # frame by frame, as long as it flies
        right = part(k + 1, stop)
        if t[stop - 1] > lands:
            break
        if len(right[0]) < 2:
            continue
        # frame k itself is on one of the sides
        after = k if _meeting(left, right)[0] <= t[k] else k + 1
        when, down, up, a = _meeting(part(0, after), part(after, stop))
        lands = when - 2 * up / a
        if t[stop - 1] > lands:
            break
        best = _Contact(after, when, -up / down, a)
    return best


def fit_flight(t: Array, x: Array, y: Array) -> Flight | None:
    """Fit what falls, is thrown or hops along; None if too little of it is seen.

    Frames are evenly spaced; the first one is in the air, or leaves the floor.
    """
    dt = float(t[1] - t[0])
    turns = contacts(y, dt)
    first, last = (turns[0], turns[-1]) if turns else (len(t), len(t))
    end = turns[1] if len(turns) > 1 else len(t)
    arcs = _arcs(t, y, first, end) if turns else None
    seen = np.isfinite(y)
    before = seen & (np.arange(len(t)) < (arcs.after if arcs else first))
    if before.sum() < FEWEST + 1:
        return None
    p, v, a = _parabola(t[before], y[before])
    _, speed = np.polynomial.polynomial.polyfit(t[before], x[before], 1)
    flies = seen & (np.arange(len(t)) < (last if arcs else first))
    line = np.polynomial.polynomial.polyfit(t[flies], x[flies], 1)
    aside = x[flies] - line[0] - line[1] * t[flies]
    if arcs is None:
        rise = y[before] - p - v * t[before] - 0.5 * a * t[before] ** 2
        missed = math.sqrt(float((aside @ aside + rise @ rise) / len(rise)))
        return Flight(-float(a), float(speed), None, None, missed / spread(x[flies], y[flies]))
    low = p + v * arcs.time + 0.5 * a * arcs.time**2
    keeps = min(max(arcs.restitution, 0.0), 1.0)
    known = t[seen]
    start = np.array([max(p - low, 0.0), v, -arcs.acceleration, low, keeps])
    found, _ = solve(lambda u: hops(known, u) - y[seen], start, np.array([1, 1, 10, 1, 1.0]))
    rise = hops(known, found) - y[seen]
    missed = math.sqrt(float((aside @ aside + rise @ rise) / len(rise)))
    return Flight(
        -arcs.acceleration, float(speed), arcs.time, arcs.restitution, missed / spread(x, y)
    )
