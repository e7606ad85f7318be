"""Pendulum, dominoes and guided motions against their laws."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from kineograph.world.dynamics import GRAVITY
from kineograph.world.motions import Row, circle, ease, pendulum, period, rise

T = np.linspace(0, 4, 4001)


@pytest.mark.parametrize("amplitude", [0.05, 0.6, 1.5, 3.0])
def test_a_pendulum_keeps_its_energy_and_its_equation(amplitude):
    length = 1.3
    angle = pendulum(T, length, amplitude)
    rate = np.gradient(angle, T, edge_order=2)
    energy = 0.5 * (length * rate) ** 2 - GRAVITY * length * np.cos(angle)
    assert energy[5:-5] == pytest.approx(-GRAVITY * length * math.cos(amplitude), abs=2e-4)
    assert angle[0] == pytest.approx(amplitude)
    bent = np.gradient(rate, T, edge_order=2)[10:-10]
    assert bent == pytest.approx(-GRAVITY / length * np.sin(angle[10:-10]), abs=2e-3)


def test_a_small_swing_is_harmonic_and_a_wide_one_slower():
    assert period(0.9, 0.01) == pytest.approx(2 * math.pi * math.sqrt(0.9 / GRAVITY), rel=1e-5)
    # The classical series at 90 degrees: 1.18034 times the small swing.
    assert period(0.9, math.pi / 2) / period(0.9, 1e-4) == pytest.approx(1.18034, rel=1e-5)
    span = period(0.9, 1.2)
    back = pendulum(np.array([0.0, span / 4, span / 2, span]), 0.9, 1.2)
    assert back == pytest.approx([1.2, 0.0, -1.2, 1.2], abs=1e-9)


@pytest.mark.parametrize("amplitude", [0.0, -0.3, math.pi])
def test_a_pendulum_without_a_swing_is_refused(amplitude):
    with pytest.raises(ValueError, match="between 0 and pi"):
        pendulum(T, 1.0, amplitude)


def test_a_block_tips_over_its_edge_as_energy_says():
    row = Row(1, 0.2, 0.6)
    fall = row.topple(1.2 * row.least_push())
    drop = GRAVITY * (0.6 - 0.2)
    spin = math.sqrt((1.2 * row.least_push()) ** 2 + 2 * drop / row.inertia)
    assert fall.speeds == pytest.approx([spin], rel=1e-9)
    assert fall.at(np.array([0.0, fall.strikes[0], 9.0]))[:, 0] == pytest.approx(
        [0, math.pi / 2, math.pi / 2]
    )
    # the same by small steps of the equation of motion
    tilt, rate, time = 0.0, 1.2 * row.least_push(), 0.0
    arm, edge = math.hypot(0.2, 0.6), math.atan(0.2 / 0.6)
    while tilt < math.pi / 2:
        rate += 2e-6 * GRAVITY * arm * math.sin(tilt - edge) / row.inertia
        tilt += 2e-6 * rate
        time += 2e-6
    assert fall.strikes[0] == pytest.approx(time, abs=2e-4)


def test_a_push_too_weak_is_refused():
    row = Row(1, 0.2, 0.6)
    with pytest.raises(ValueError, match="does not tip"):
        row.topple(0.95 * row.least_push())


def test_dominoes_fall_in_turn_and_lose_energy_only():
    row = Row(5, 0.06, 0.4, 0.42)
    fall = row.topple(2.0 * row.least_push())
    assert list(fall.strikes) == sorted(fall.strikes)
    assert len(fall.strikes) == 5
    assert np.diff(fall.energy).max() <= 1e-9
    assert (np.diff(fall.angles, axis=0) >= -1e-9).all()
    for i, strike in enumerate(fall.strikes[:-1]):
        before = fall.at(np.array([strike - 1e-3]))[0]
        assert before[i] > 0
        assert before[i + 1] == 0
    # None cuts into the next: the upper edge stays behind the next one's back.
    for tilts in fall.angles[:: len(fall.angles) // 50]:
        for back, front in pairwise(tilts):
            edge = 0.42 * math.cos(front) - 0.8 * math.sin(back - front)
            assert edge >= 0.12 - 1e-9
    assert fall.angles[-1, -1] == pytest.approx(math.pi / 2)
    assert (np.diff(fall.angles[-1]) > 0).all()


def test_the_chain_keeps_its_energy_between_strikes():
    row = Row(3, 0.06, 0.4, 0.42)
    fall = row.topple(2.0 * row.least_push())
    inside = (fall.grid > fall.strikes[0] + 0.01) & (fall.grid < fall.strikes[1] - 0.01)
    angles, grid = fall.angles[inside], fall.grid[inside]
    rates = np.gradient(angles, grid, axis=0, edge_order=2)
    kinetic = 0.5 * row.inertia * (rates**2).sum(1)
    total = kinetic + [row.potential(list(a)) for a in angles]
    assert total == pytest.approx(total[0], rel=2e-4)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((0, 0.1, 0.4), "no block"),
        ((3, 0.1, 0.4, 1.2), "cannot reach"),
        ((3, 0.1, 0.4, 0.2), "gap"),
    ],
)
def test_impossible_rows_are_refused(row, said):
    with pytest.raises(ValueError, match=said):
        Row(*row)


def test_guided_motions_have_their_rates():
    ring = circle(T, 2.0, 0.5, 0.3)
    assert np.hypot(ring[:, 0], ring[:, 2]) == pytest.approx(2.0)
    assert ring[0] == pytest.approx([2 * math.cos(0.3), 0, -2 * math.sin(0.3)])
    speed = np.linalg.norm(np.gradient(ring, T, axis=0), axis=1)[5:-5]
    assert speed == pytest.approx(1.0, rel=1e-4)
    height = rise(T, 0.6, 0.2)
    assert height[0] == 0
    assert np.gradient(height, T)[-5] == pytest.approx(0.6, rel=1e-3)
    assert (np.diff(height) > 0).all()
    assert ease(np.array([0.0, 1.0, 1.5, 2.0, 3.0]), 1, 2) == pytest.approx([0, 0, 0.5, 1, 1])
