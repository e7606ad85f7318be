"""Motions with one degree of freedom: pendulum, toppling block, row of dominoes, and the guided.

A pendulum has a closed form (Jacobi's elliptic functions); what topples is integrated once with
steps so small that its energy is kept to a part in 10^6, and then asked at any time. Guided
motions (circling, rising, growing) obey no law but have exact rates.

Units are SI, angles are in radians. Letters: t times, n dominoes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kineograph.world.dynamics import GRAVITY

Array = NDArray[np.float64]

STEP = 1 / 960  # s, of the integration of what topples


def _means(modulus: float) -> tuple[list[float], list[float]]:
    """Return the arithmetic-geometric means of 1 and the complementary modulus, and the gaps."""
    a, b, means, gaps = 1.0, math.sqrt(1 - modulus * modulus), [1.0], [modulus]
    while gaps[-1] > 1e-15 and len(means) < 12:
        a, b, gap = (a + b) / 2, math.sqrt(a * b), (a - b) / 2
        means.append(a)
        gaps.append(gap)
    return means, gaps


def period(length: float, amplitude: float) -> float:
    """Return the period (s) of a pendulum (m) that is let go at an angle (rad), exactly."""
    means, _ = _means(math.sin(amplitude / 2))
    return 2 * math.pi * math.sqrt(length / GRAVITY) / means[-1]


def pendulum(t: Array, length: float, amplitude: float) -> Array:
    """Return the angle `t` from the vertical (rad) of a pendulum let go at rest at t = 0.

    sin(angle / 2) = k cd(w t, k), by descending means (Abramowitz & Stegun 16.4).
    Raises `ValueError` unless the amplitude lies between 0 and pi.
    """
    if not 0 < amplitude < math.pi:
        raise ValueError(f"amplitude {amplitude:g} is not between 0 and pi")
    k = math.sin(amplitude / 2)
    means, gaps = _means(k)
    phase = 2 ** (len(means) - 1) * means[-1] * math.sqrt(GRAVITY / length) * t
    for i in range(len(means) - 1, 0, -1):
        phase = (phase + np.arcsin(gaps[i] / means[i] * np.sin(phase))) / 2
    sn, cn = np.sin(phase), np.cos(phase)
    return np.asarray(2 * np.arcsin(k * cn / np.sqrt(1 - (k * sn) ** 2)))


@dataclass(frozen=True)
class Fall:
    """Angles of what topples: `n` pieces on a fine grid of times, and when each one is struck."""

    grid: Array  # g
    angles: Array  # g n, tilt from upright
    strikes: tuple[float, ...]  # s, when a piece meets the next, and the last the floor
    speeds: tuple[float, ...]  # rad/s, of the one that strikes
    energy: Array  # g, J for pieces of 1 kg

    def at(self, t: Array) -> Array:
        """Return the angles `t n` (rad); upright before 0, at rest after the end."""
        columns = [np.interp(t, self.grid, column) for column in self.angles.T]
        return np.stack(columns, -1)


@dataclass(frozen=True)
class Row:
    """Equal blocks that stand in a row and can tip over their forward edges, one by one."""

    count: int
    half_width: float  # m, along the row
    half_height: float  # m
    pitch: float = 1.0  # m, from one to the next; of no consequence for a single one

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a row of {self.count} has no block")
        room = self.pitch - 2 * self.half_width
        if self.count > 1 and not 0 < room < 2 * self.half_height:
            raise ValueError(
                f"blocks {2 * self.half_height:g} m tall cannot reach over a gap of {room:g} m"
            )

    @property
    def inertia(self) -> float:
        """Moment of inertia of a block about its edge, per kilogram (m^2)."""
        return 4 / 3 * (self.half_width**2 + self.half_height**2)

    def _lean(self, front: float) -> float:
        """Return the tilt of the block that leans on one tilted by `front`.

        Its upper edge lies on the back of the one before; when that lies nearly flat, the raised
        lower edge of that one lies on it instead.
        """
        return min(self._edge_on_back(front), self._back_on_edge(front))

    def _edge_on_back(self, front: float) -> float:
        tall = 2 * self.half_height
        return front + math.asin((self.pitch * math.cos(front) - 2 * self.half_width) / tall)

    def _back_on_edge(self, front: float) -> float:
        wide = 2 * self.half_width
        return math.atan2(self.pitch - wide * math.cos(front), wide * math.sin(front))

    def _slope(self, front: float) -> float:
        """Return how fast that block tilts for each radian of the one in front."""
        tall, wide = 2 * self.half_height, 2 * self.half_width
        if self._back_on_edge(front) < self._edge_on_back(front):
            x, y = self.pitch - wide * math.cos(front), wide * math.sin(front)
            return (wide * wide - wide * self.pitch * math.cos(front)) / (x * x + y * y)
        s = (self.pitch * math.cos(front) - wide) / tall
        return 1 - self.pitch * math.sin(front) / (tall * math.sqrt(1 - s * s))

    def leaning(self, leader: int, front: float) -> tuple[list[float], list[float]]:
        """Return tilts and relative rates of all blocks while block `leader` falls.

        Those behind it lean on one another, those before it stand.
        """
        tilts, rates = [0.0] * self.count, [0.0] * self.count
        tilts[leader], rates[leader] = front, 1.0
        for i in range(leader - 1, -1, -1):
            tilts[i] = self._lean(tilts[i + 1])
            rates[i] = rates[i + 1] * self._slope(tilts[i + 1])
        return tilts, rates

    def potential(self, tilts: list[float]) -> float:
        """Return the potential energy of blocks of 1 kg (J)."""
        a, b = self.half_width, self.half_height
        return sum(GRAVITY * (a * math.sin(x) + b * math.cos(x)) for x in tilts)

    def topple(self, push: float) -> Fall:
        """Push the first block (rad/s) and return what follows, until all lie.

        One degree of freedom: energy is kept while a block falls, and momentum when it strikes
        the next, after which both move on together. Raises `ValueError` for a push too weak
        to tip the first block over its edge.
        """
        tilt, front, rate, time = 0, 0.0, push, 0.0
        reach = self._lean(0.0) if self.count > 1 else math.pi / 2
        grid, angles, strikes, speeds, energies = [0.0], [[0.0] * self.count], [], [], []
        tilts, rates = self.leaning(0, 0.0)
        energy = 0.5 * self.inertia * push * push + self.potential(tilts)
        energies.append(energy)
        while True:
            last = tilt == self.count - 1
            end = math.pi / 2 if last else reach
            rate = self._speed(tilt, front, energy)
            if rate <= 0.0:
                raise ValueError(f"a push of {push:g} rad/s does not tip the block over")
            middle = front + 0.5 * STEP * rate
            step = STEP * self._speed(tilt, min(middle, end), energy)
            if step <= 0.0:
                raise ValueError(f"a push of {push:g} rad/s does not tip the block over")
            share = min(1.0, (end - front) / step)
            time, front = time + share * STEP, min(end, front + step)
            tilts, rates = self.leaning(tilt, front)
            grid.append(time)
            angles.append(tilts)
            energies.append(energy)
            if share < 1.0 or front >= end:
                rate = self._speed(tilt, front, energy)
                strikes.append(time)
                speeds.append(rate)
                if last:
                    break
                moved = self.inertia * sum(r * r for r in rates)
                rate *= moved / (moved + self.inertia)  # they go on together
                tilt, front = tilt + 1, 0.0
                energy = 0.5 * (moved + self.inertia) * rate * rate + self.potential(tilts)
        energies[-1] = self.potential(tilts)  # the floor takes what is left
        return Fall(
            np.array(grid), np.array(angles), tuple(strikes), tuple(speeds), np.array(energies)
        )

    def _speed(self, leader: int, front: float, energy: float) -> float:
        """Return how fast the leader tilts at an angle (rad/s), 0 where it cannot get to."""
        tilts, rates = self.leaning(leader, front)
        left = energy - self.potential(tilts)
        return math.sqrt(max(0.0, 2 * left / (self.inertia * sum(r * r for r in rates))))

    def least_push(self) -> float:
        """Return the push that just tips the first block over its edge (rad/s)."""
        rise = GRAVITY * (math.hypot(self.half_width, self.half_height) - self.half_height)
        return math.sqrt(2 * rise / self.inertia)


def circle(t: Array, radius: float, rate: float, phase: float) -> Array:
    """Return `t 3`, a circle about the y axis at a rate (rad/s), counter-clockwise from above."""
    angle = phase + rate * t
    return np.stack([radius * np.cos(angle), np.zeros_like(t), -radius * np.sin(angle)], -1)


def rise(t: Array, speed: float, delay: float) -> Array:
    """Return the height `t` (m) of what floats up: it gathers its speed (m/s) over `delay` (s)."""
    return np.asarray(speed * (t - delay * (1 - np.exp(-t / delay))))


def ease(t: Array, start: float, end: float) -> Array:
    """Return how far `t` a guided change has come: 0 before `start` (s), 1 after `end`, smooth."""
    u = np.clip((t - start) / (end - start), 0.0, 1.0)
    return np.asarray(u * u * (3 - 2 * u))
