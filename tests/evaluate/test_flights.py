import numpy as np
import pytest

from kineograph.evaluate.flights import contacts, fit_flight, hops
from kineograph.world.dynamics import GRAVITY, Body, follow_bodies

PIXEL = 1 / 27  # m, of an object where the world's cameras see it


def noise_of(shape, seed=0, size=0.1):
    return size * PIXEL * np.random.default_rng(seed).standard_normal(shape)


def flight(fps, keeps=0.6, drop=1.4, along=0.5, up=0.0):
    t = np.arange(round(2.5 * fps)) / fps
    body = Body(1.0, 0.4, 0.4, (0, 0.4 + drop, 0), (along, up, 0), keeps)
    paths = follow_bodies([body], 3.0)
    place = paths.position(0, t)
    return t, place[:, 0], place[:, 1], paths.contacts[0].time


@pytest.mark.parametrize("fps", [12, 24])
@pytest.mark.parametrize("keeps", [0.42, 0.8])
def test_a_fall_is_read_exactly(fps, keeps):
    t, x, y, touched = flight(fps, keeps)
    found = fit_flight(t, x, y)
    assert found.gravity == pytest.approx(GRAVITY, rel=1e-6)
    assert found.restitution == pytest.approx(keeps, abs=1e-6)
    assert found.contact == pytest.approx(touched, abs=1e-6)
    assert found.speed == pytest.approx(0.5)
    assert found.residual < 1e-4


@pytest.mark.parametrize(("fps", "late"), [(12, 0.009), (24, 0.004)])
def test_noise_and_gaps_change_little(fps, late):
    for seed in range(5):
        t, x, y, touched = flight(fps, 0.68)
        y = y + noise_of(y.shape, seed)
        y[[2, 9]] = x[[2, 9]] = np.nan
        found = fit_flight(t, x, y)
        assert found.gravity == pytest.approx(GRAVITY, rel=0.08)
        assert found.restitution == pytest.approx(0.68, abs=0.04)
        assert found.contact == pytest.approx(touched, abs=late)
        assert found.residual < 0.01


def test_what_lies_where_it_falls_keeps_nothing_of_its_speed():
    t, x, y, touched = flight(24)
    y = np.where(t < touched, y, 0.4)
    found = fit_flight(t, x, y)
    assert found.restitution == 0
    assert found.contact == pytest.approx(touched, abs=1e-6)


def test_hops_are_those_of_the_world():
    t, _, y, _ = flight(24, 0.7)
    assert hops(t, np.array([1.4, 0.0, GRAVITY, 0.4, 0.7])) == pytest.approx(y, abs=1e-9)


def test_contacts_are_where_a_fall_turns():
    t, _, y, touched = flight(24, 0.7)
    assert contacts(y, 1 / 24)[0] == pytest.approx(touched * 24, abs=1)
    assert contacts(1 - GRAVITY * t**2 / 2, 1 / 24) == []


def test_flights_that_break_the_law_are_told():
    t, x, y, _ = flight(24)
    slow = fit_flight(2 * t, x, y)
    assert slow.gravity == pytest.approx(GRAVITY / 4, rel=1e-3)
    true = fit_flight(t, x, y)
    straight = y.max() - 1.5 * t  # sinks evenly
    sunk = fit_flight(t, x, np.maximum(straight, 0.4))
    assert abs(sunk.gravity) < 0.5 * GRAVITY
    bent = y + 0.1 * np.sin(7 * t)
    assert fit_flight(t, x, bent).residual > 10 * true.residual + 0.01


def test_too_few_frames_say_nothing():
    t, x, _, _ = flight(24)
    assert fit_flight(t, np.full_like(x, np.nan), np.full_like(x, np.nan)) is None
