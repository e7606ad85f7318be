"""The laws of motion as curves with a few unknowns, fitted to where objects were seen.

Two bodies that meet turn their straight ways into others at one instant; what slides slows down
until it stands; a pendulum swings about its pivot (`flights.py` has what falls). Each fit says
what it found, and by how much the best curve of its law misses the track: what breaks the law
cannot be fitted.

Places are in metres, x to the right and y up; NaN where nothing is known. Letters: t frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kineograph.world.dynamics import GRAVITY
from kineograph.world.motions import pendulum, period

Array = NDArray[np.float64]
Misfit = Callable[[Array], Array]

ROUNDS = 40  # of a fit
FEWEST = 3  # frames of a stretch that is fitted
NEAR_REST = 0.05  # m/s, below which friction fades: it holds what stands
STARTS, SHORT = 14, 4  # instants at which a collision is looked for, and rounds for each
NEARBY = 0.5  # s on either side of it that tell how it may have been
AROUND = 1.2  # s on either side of a collision that its fit looks at


def solve(misfit: Misfit, start: Array, scale: Array, rounds: int = ROUNDS) -> tuple[Array, float]:
    """Return the unknowns with the least squares of a misfit, and its root mean square.

    Levenberg and Marquardt's way; `scale` is the size of each unknown.
    """
    x, damping = np.asarray(start, dtype=float), 1e-3
    r = misfit(x)
    for _ in range(rounds):
        columns = [(misfit(x + step) - r) / 1e-5 for step in 1e-5 * np.diag(scale)]
        slope = np.stack(columns, 1)
        normal = slope.T @ slope
        normal += damping * np.diag(np.diag(normal) + 1e-12)
        tried = x - scale * np.linalg.solve(normal, slope.T @ r)
        found = misfit(tried)
        if found @ found < r @ r:
            done = found @ found > (1 - 1e-7) * (r @ r)
            x, r, damping = tried, found, damping / 5
            if done:
                break
        elif damping > 1e6:
            break
        else:
            damping *= 5
    return x, math.sqrt(float(r @ r) / max(len(r), 1))


def spread(x: Array, y: Array) -> float:
    """Return how far a way reaches (m)."""
    return float(np.hypot(np.nanmax(x) - np.nanmin(x), np.nanmax(y) - np.nanmin(y)))


# --- collisions --------------------------------------------------------------------------
@dataclass(frozen=True)
class Collision:
    """Two bodies that meet on a line."""

    contact: float  # s
    speed: float  # m/s of the first, at time 0
    before: tuple[float, float]  # m/s, of both just before it
    after: tuple[float, float]
    residual: float  # share of the travel of the first by which the best law misses both tracks
    weights: Array  # 2 t, of the places that it was read from

    @property
    def restitution(self) -> float:
        """How fast they part, over how fast they closed in."""
        closing = self.before[0] - self.before[1]
        return (self.after[1] - self.after[0]) / closing if closing else 0.0

    def momentum(self, masses: tuple[float, float]) -> float:
        """Return which share of the momentum is gained or lost."""
        change = sum(m * (a - b) for m, a, b in zip(masses, self.after, self.before, strict=True))
        whole = sum(m * abs(b) for m, b in zip(masses, self.before, strict=True))
        return abs(change) / whole if whole else 0.0


def slowed(s: Array, velocity: float, friction: float) -> Array:
    """Return the way `t` of what has a velocity at s = 0, slows down, and stands in the end.

    Before s = 0 it was faster. `friction` is the deceleration (m/s^2).
    """
    fades = math.tanh(velocity / NEAR_REST)
    stops = abs(velocity) / friction if friction > 1e-6 else np.inf
    s = np.minimum(s, stops)
    return np.asarray(velocity * s - 0.5 * fades * friction * s * s)


def _bent(s: Array, place: float, before: float, after: float, friction: float) -> Array:
    early, late = np.minimum(s, 0.0), np.maximum(s, 0.0)
    return place + slowed(early, before, friction) + slowed(late, after, friction)


def _met(t: Array, v: Array, friction: tuple[float, float]) -> Array:
    """Return the ways `2 t` of two bodies that meet.

    The unknowns are the instant, both places then, and the velocities of the first before it, of
    the second before it, and of both after it.
    """
    both = [_bent(t - v[0], v[1 + i], v[3 + i], v[5 + i], friction[i]) for i in (0, 1)]
    return np.stack(both)


def fit_collision(
    t: Array, ways: Array, friction: tuple[float, float], sure: Array | None = None,
    around: float = AROUND,
) -> Collision | None:  # fmt: skip
    """Fit two bodies that go along x, `2 t`, and meet; None if too little of it is seen.

    `friction` is what slows each of them down (m/s^2); `sure`, `2 t` from 0 to 1, how far each
    place is to be trusted; what lies more than `around` (s) from the contact does not count.
    """
    seen = np.isfinite(ways)
    weights = np.where(seen, 1.0 if sure is None else sure, 0.0)
    both = np.flatnonzero(seen.all(0))
    if len(both) < 2 * FEWEST + 1:
        return None
    known = np.where(seen, ways, 0.0)

    def misfit(v: Array, weights: Array) -> Array:
        return np.asarray(((_met(t, v, friction) - known) * weights).ravel())

    scale = np.array([0.1, 1, 1, 1, 1, 1, 1.0])
    best: tuple[float, Array] | None = None
    u, y = t[both], ways[:, both]
    for at in np.linspace(u[FEWEST - 1], u[-FEWEST], STARTS):
        sides = [(u < at) & (u >= at - NEARBY), (u >= at) & (u <= at + NEARBY)]
        if min(side.sum() for side in sides) < 2:
            continue
        early, late = (np.polyfit(u[side] - at, y[:, side].T, 1) for side in sides)
        start = np.concatenate([[at], late[1], early[0], late[0]])
        v, missed = solve(lambda v: misfit(v, weights), start, scale, SHORT)
        if best is None or missed < best[0]:
            best = (missed, v)
    if best is None:
        return None
    v = best[1]
    if abs(v[4]) < NEAR_REST:  # what is struck and seems to creep stood
        v[4] = scale[4] = 0.0
    near = weights * (np.abs(t - v[0]) <= around)
    if ((near > 0).all(0)).sum() < 2 * FEWEST + 1:
        return None
    v, _ = solve(lambda v: misfit(v, near), v, scale)
    missed = float(np.linalg.norm(misfit(v, near)) / np.linalg.norm(near))
    before, after = ((float(v[i]), float(v[i + 1])) for i in (3, 5))
    # friction took this much since time 0
    speed = float(v[3]) + math.copysign(friction[0] * float(v[0]), v[3])
    travel = max(float(np.ptp(ways[0][seen[0]])), 1e-9)
    return Collision(float(v[0]), speed, before, after, missed / travel, near)


@dataclass(frozen=True)
class Doubt:
    """By how much what is read of a collision may be off: standard errors."""

    momentum: float  # share
    restitution: float
    contact: float  # s


def doubt_of(
    met: Collision, t: Array, masses: tuple[float, float], friction: tuple[float, float],
    restitution: float, noise: float,
) -> Doubt:  # fmt: skip
    """Return how far a collision that began like one, and went on by the laws, would be told.

    `noise` is how far a place is off that is fully trusted (m), each by itself. What hardly moves
    when it is struck, being heavy, or soon stands, tells little of the momentum that it got.
    """
    first, second = met.before
    closing, whole = first - second, masses[0] * abs(first) + masses[1] * abs(second)
    if closing == 0:
        return Doubt(math.inf, math.inf, math.inf)
    share = (1 + restitution) / sum(masses) * closing
    after = (first - masses[1] * share, second + masses[0] * share)
    v = np.array([met.contact, 0, 0, *met.before, *after])
    # what nearly stands goes nowhere, whichever way it creeps: steps as wide as creeping is fast
    steps = np.array([1e-3, 1e-3, 1e-3, *[NEAR_REST] * 4])
    columns = [
        (_met(t, v + step, friction) - _met(t, v - step, friction)) * met.weights / (2 * width)
        for step, width in zip(np.diag(steps), steps, strict=True)
    ]
    slope = np.stack([column.ravel() for column in columns], 1)
    if second == 0:  # known to stand
        slope[:, 4] = 0
    errors = noise**2 * np.linalg.pinv(slope.T @ slope + 1e-9 * np.eye(7))
    if second == 0:
        errors[4] = errors[:, 4] = 0
    lost = np.array([0, 0, 0, -masses[0], -masses[1], *masses]) / whole
    kept = np.array([0, 0, 0, restitution, -restitution, -1, 1]) / closing
    found = [float(np.sqrt(one @ errors @ one)) for one in (lost, kept, np.eye(7)[0])]
    return Doubt(*found)


# --- rolling and sliding -----------------------------------------------------------------
@dataclass(frozen=True)
class Glide:
    """What rolls or slides on the floor."""

    speed: float  # m/s along x, at time 0
    friction: float  # m/s^2, by which it slows down
    reversal: float  # share of its travel by which it goes back
    residual: float  # share of its travel by which the best law misses it


def fit_glide(t: Array, x: Array) -> Glide | None:
    """Fit what slows down evenly and may stop; None if too little of it is seen."""
    seen = np.isfinite(x)
    t, x = t[seen], x[seen]
    if len(t) < FEWEST + 2:
        return None
    a, v, p = np.polyfit(t, x, 2)
    start = np.array([p, v, abs(2 * a)])

    def misfit(u: Array) -> Array:
        return u[0] + slowed(t, u[1], max(u[2], -5.0)) - x

    (_, speed, friction), missed = solve(misfit, start, np.array([1, 1, 0.1]))
    ahead, travel = x * math.copysign(1.0, x[-1] - x[0]), max(float(np.ptp(x)), 1e-9)
    back = float((np.maximum.accumulate(ahead) - ahead).max())
    return Glide(float(speed), float(friction), back / travel, missed / travel)


# --- pendulums ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Swing:
    """What hangs and swings."""

    period: float  # s
    length: float  # m, from its pivot to its middle
    amplitude: float  # rad
    residual: float  # share of its travel by which the best law misses it

    def gravity(self, length: float | None = None) -> float:
        """Return the gravity (m/s^2) that such a swing needs, at a length (m) or its own."""
        own = period(self.length if length is None else length, self.amplitude)
        return GRAVITY * (own / self.period) ** 2


def fit_swing(t: Array, x: Array, y: Array, length: float = 1.3) -> Swing | None:
    """Fit a pendulum; None if too little is seen. `length` (m) is where the search begins."""
    seen = np.isfinite(x)
    t, x, y = t[seen], x[seen], y[seen]
    if len(t) < 8:
        return None
    middle, reach = (x.max() + x.min()) / 2, np.ptp(x) / 2
    usual = period(1.0, 0.5)

    def curve(u: Array) -> tuple[Array, Array]:
        column, pivot, arm, wide, lasts, begun = u
        wide = min(max(abs(wide), 0.02), 2.5)
        own = (max(abs(lasts), 0.1) / period(1.0, wide)) ** 2
        angle = pendulum(t - begun, own, wide)
        return column + arm * np.sin(angle), pivot - arm * np.cos(angle)

    def misfit(u: Array) -> Array:
        xs, ys = curve(u)
        return np.concatenate([xs - x, ys - y])

    wide = math.asin(min(max(reach / length, 0.05), 0.95))
    best: tuple[float, Array] | None = None
    for lasts in usual * math.sqrt(length) * np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8]):
        for phase in (0.0, 0.25, 0.5, 0.75):
            start = np.array([middle, y.mean() + length, length, wide, lasts, phase * lasts])
            missed = float((misfit(start) ** 2).sum())
            if best is None or missed < best[0]:
                best = (missed, start)
    assert best is not None
    scale = np.array([1, 1, 1, 1, 1, 1.0])
    found, missed = solve(misfit, best[1], scale)
    _, _, arm, wide, lasts, _ = found
    missed *= math.sqrt(2)  # of a frame, not of a number
    return Swing(abs(float(lasts)), abs(float(arm)), abs(float(wide)), missed / spread(x, y))
