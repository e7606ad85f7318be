import math

import numpy as np
import pytest

from kineograph.evaluate.measure import (
    MAX_MISFIT,
    fit_bounce,
    nominal_view,
    quantiles,
    true_view,
    wilson,
)
from kineograph.world.camera import camera_track, project
from kineograph.world.draw import CLIP_TIMES, draw_scene
from kineograph.world.physics import GRAVITY, bounce, simulate

TIMES = np.arange(25) / 10


def falling_scenes(count):
    found = []
    seed = 1 << 43
    while len(found) < count:
        scene = draw_scene(seed, count=1)
        seed += 1
        if scene.objects[0].motion == "fall" and scene.camera.move == "static":
            found.append(scene)
    return found


@pytest.mark.parametrize("restitution", [0.5, 0.65, 0.75])
@pytest.mark.parametrize("height", [1.15, 1.4, 1.75])
def test_a_closed_form_bounce_is_read_exactly(height, restitution):
    track, contacts = bounce(TIMES, height, 0.0, restitution)
    found = fit_bounce(track, 10.0)
    assert found.gravity == pytest.approx(GRAVITY, rel=0.01)
    assert found.restitution == pytest.approx(restitution, abs=0.01)
    assert found.contact == pytest.approx(contacts[0], abs=0.003)
    assert found.misfit < 0.01


def test_noise_moves_the_estimates_little():
    rng = np.random.default_rng(0)
    track, _ = bounce(TIMES, 1.5, 0.0, 0.65)
    found = [fit_bounce(track + rng.normal(0, 0.01, 25), 10.0) for _ in range(40)]
    assert np.median([abs(f.gravity / GRAVITY - 1) for f in found]) < 0.03
    assert np.median([abs(f.restitution - 0.65) for f in found]) < 0.02


@pytest.mark.parametrize(
    "track",
    [
        np.full(25, 0.5),
        1.5 - 0.05 * np.arange(25),
        np.maximum(1.5 - 4.9 * TIMES**2, 0.0),  # lands and stays
        0.1 * np.abs(np.sin(TIMES * 5)),  # too low to be a fall
        np.full(25, np.nan),
        np.random.default_rng(1).uniform(0, 2, 25),
    ],
    ids=["still", "sinks", "sticks", "ripples", "lost", "noise"],
)
def test_what_is_no_bounce_is_not_fitted(track):
    found = fit_bounce(track, 10.0)
    assert found is None


def test_a_track_that_is_lost_after_its_bounce_is_still_read():
    track, _ = bounce(TIMES, 1.5, 0.0, 0.75)
    lost = np.where(TIMES > 1.2, np.nan, track)
    assert fit_bounce(lost, 10.0).restitution == pytest.approx(0.75, abs=0.02)


def test_other_gravities_are_seen():
    track, _ = bounce(TIMES * math.sqrt(0.5), 1.2, 0.0, 0.7)  # half of g
    assert fit_bounce(track, 10.0).gravity == pytest.approx(GRAVITY / 2, rel=0.02)


def test_the_true_view_undoes_the_camera():
    for scene in falling_scenes(5):
        track = simulate(scene, CLIP_TIMES)[0]
        rows = project(camera_track(scene, CLIP_TIMES), track.position, 64, 64)[:, 1]
        heights = true_view(scene).heights(rows, 64)
        assert np.abs(heights - track.position[:, 1]).max() < 0.01
        assert fit_bounce(heights, 10.0).gravity == pytest.approx(GRAVITY, rel=0.02)


def test_the_nominal_view_is_off_by_no_more_than_the_spread_of_cameras():
    view, spread = nominal_view()
    errors = []
    for scene in falling_scenes(12):
        track = simulate(scene, CLIP_TIMES)[0]
        rows = project(camera_track(scene, CLIP_TIMES), track.position, 64, 64)[:, 1]
        errors.append(fit_bounce(view.heights(rows, 64), 10.0).gravity / GRAVITY - 1)
    assert np.abs(errors).max() < 2.5 * spread
    assert 0.03 < spread < 0.07


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (100, 100, 0.9630, 1.0),
        (60, 60, 0.9398, 1.0),
        (50, 100, 0.4038, 0.5962),
        (0, 10, 0.0, 0.2775),
        (320, 400, 0.7580, 0.8363),
    ],
)
def test_wilson_intervals(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-3)


def test_nothing_measured_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert quantiles([]) is None
    assert quantiles([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.8))
    assert MAX_MISFIT < 0.1
