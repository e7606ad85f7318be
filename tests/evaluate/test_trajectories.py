import math
from dataclasses import replace

import numpy as np
import pytest

from kineograph.evaluate.trajectories import (
    doubt_of,
    fit_collision,
    fit_glide,
    fit_swing,
    slowed,
    solve,
)
from kineograph.world.dynamics import GRAVITY, Body, follow_bodies
from kineograph.world.motions import pendulum, period

PIXEL = 1 / 27  # m, of an object where the world's cameras see it


def noise_of(shape, seed=0, size=0.1):
    return size * PIXEL * np.random.default_rng(seed).standard_normal(shape)


def test_a_fit_finds_the_unknowns_of_a_curve():
    t = np.linspace(0, 3, 40)
    found, missed = solve(
        lambda u: u[0] * np.exp(-u[1] * t) - 2 * np.exp(-0.7 * t), np.array([1.0, 0.3]), np.ones(2)
    )
    assert found == pytest.approx([2, 0.7], rel=1e-4)
    assert missed < 1e-4


def test_too_few_frames_say_nothing():
    t, nothing = np.arange(20) / 12, np.full(20, np.nan)
    assert fit_collision(t, np.full((2, 20), np.nan), (0.3, 0.3)) is None
    assert fit_glide(t, nothing) is None
    assert fit_swing(t, nothing, nothing) is None


def collision(fps, masses=(1.0, 2.0), friction=0.035):
    t = np.arange(4 * fps + 1) / fps
    bodies = [
        Body(masses[0], 0.4, 0.4, (-1.5, 0.4, 0), (1.2, 0, 0), 0.5, friction, False, False),
        Body(masses[1], 0.4, 0.4, (0.3, 0.4, 0), (0, 0, 0), 0.5, friction, False, False),
    ]
    paths = follow_bodies(bodies, 4.0, 0.7)
    met = next(c.time for c in paths.contacts if c.other is not None)
    return t, np.stack([paths.position(i, t)[:, 0] for i in (0, 1)]), met


@pytest.mark.parametrize("fps", [12, 24])
def test_a_collision_is_read(fps):
    t, ways, met = collision(fps)
    slow = (0.035 * GRAVITY,) * 2
    found = fit_collision(t, ways, slow)
    assert found.contact == pytest.approx(met, abs=0.002)
    assert found.restitution == pytest.approx(0.7, abs=0.01)
    assert found.speed == pytest.approx(1.2, rel=0.01)
    assert found.momentum((1.0, 2.0)) < 0.01
    assert found.momentum((1.0, 4.0)) > 0.3
    noisy = fit_collision(t, ways + noise_of(ways.shape), slow)
    assert noisy.contact == pytest.approx(met, abs=0.008)
    assert noisy.restitution == pytest.approx(0.7, abs=0.05)
    assert noisy.momentum((1.0, 2.0)) < 0.05
    assert noisy.residual < 0.01


def test_a_collision_backwards_gains_energy():
    t, ways, _ = collision(24)
    found = fit_collision(t, ways[:, ::-1], (0.035 * GRAVITY,) * 2)
    assert found.restitution > 1.2


def test_places_that_are_not_sure_hardly_bend_a_collision():
    t, ways, met = collision(12)
    slow, sure = (0.035 * GRAVITY,) * 2, np.ones_like(ways)
    near = (t > met - 0.4) & (t < met)
    ways[0, near] += 2 * PIXEL
    sure[0, near] = 0.02
    assert fit_collision(t, ways, slow).momentum((1.0, 2.0)) > 0.05
    found = fit_collision(t, ways, slow, sure)
    assert found.momentum((1.0, 2.0)) < 0.01
    assert found.contact == pytest.approx(met, abs=0.004)
    assert found.residual < 0.005


def test_only_what_is_near_a_collision_may_count():
    t, ways, met = collision(12)
    slow = (0.035 * GRAVITY,) * 2
    late = t > met + 0.95
    ways[0, late] += 0.3 * (t[late] - met - 0.95)
    whole, found = (fit_collision(t, ways, slow, around=a) for a in (math.inf, 0.9))
    assert whole.residual > 0.01
    assert found.residual < 0.002
    assert found.restitution == pytest.approx(0.7, abs=0.005)


@pytest.mark.parametrize("heavy", [1.0, 4.0])
def test_doubts_are_as_large_as_errors(heavy):
    masses, slow = (1.0, heavy), (0.035 * GRAVITY,) * 2
    t, ways, met = collision(12, masses)
    noise = 0.1 * PIXEL
    doubt = doubt_of(fit_collision(t, ways, slow), t, masses, slow, 0.7, noise)
    some = [fit_collision(t, ways + noise_of(ways.shape, seed), slow) for seed in range(40)]
    for sure, values in (
        (doubt.momentum, [abs(one.momentum(masses)) for one in some]),
        (doubt.restitution, [one.restitution - 0.7 for one in some]),
        (doubt.contact, [one.contact - met for one in some]),
    ):
        assert 0.6 < np.sqrt(np.mean(np.square(values))) / sure < 1.5
    assert doubt.momentum == pytest.approx({1.0: 0.011, 4.0: 0.02}[heavy], rel=0.5)


def test_what_does_not_close_in_tells_nothing():
    t, ways, _ = collision(12)
    met = fit_collision(t, ways, (0.3, 0.3))
    stands = replace(met, before=(0.0, 0.0))
    assert doubt_of(stands, t, (1.0, 1.0), (0.3, 0.3), 0.7, 0.004).momentum == math.inf


def test_what_slides_slows_down_and_stands():
    t = np.arange(49) / 12
    x = 0.3 - slowed(t, 0.9, 0.343)
    assert x[-1] == x[-8]
    found = fit_glide(t, x + noise_of(x.shape))
    assert found.friction == pytest.approx(0.343, rel=0.05)
    assert found.speed == pytest.approx(-0.9, rel=0.03)
    assert found.reversal < 0.02
    back = fit_glide(t, -np.abs(t - 2))
    assert back.reversal > 0.4
    assert back.residual > 10 * found.residual


@pytest.mark.parametrize("amplitude", [24, 42])
def test_a_pendulum_is_read(amplitude):
    t = np.arange(49) / 12
    angle = pendulum(t, 1.3, math.radians(amplitude))
    x, y = 0.2 + 1.3 * np.sin(angle), 1.9 - 1.3 * np.cos(angle)
    lasts = period(1.3, math.radians(amplitude))
    found = fit_swing(t, x + noise_of(x.shape), y + noise_of(y.shape, 1))
    assert found.period == pytest.approx(lasts, rel=0.005)
    assert found.length == pytest.approx(1.3, rel=0.1)
    assert found.gravity(1.3) == pytest.approx(GRAVITY, rel=0.02)
    assert found.residual < 0.01
    slow = fit_swing(1.6 * t, x, y)
    assert slow.gravity(1.3) == pytest.approx(GRAVITY / 1.6**2, rel=0.02)
    hops = fit_swing(t, np.sign(np.sin(2.7 * t)), 0 * t)
    assert hops.residual > 10 * found.residual
