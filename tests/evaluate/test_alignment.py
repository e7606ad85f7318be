"""Maps between frames agree with the world's projection, and derivatives with differences."""

import numpy as np
import pytest
import torch

from kineograph.evaluate.alignment import (
    AXES,
    DISTANCE,
    PITCH,
    TURN,
    TURNS,
    Model,
    _system,
    axes_of,
    cost,
    fit,
    level,
    turned,
    usual_stand,
)
from kineograph.world.v2.camera import Pose, project

SIZE = (80, 112)
PAIRS = np.array([[0, 1], [1, 2], [0, 2]])


@pytest.fixture(scope="module")
def model():
    return Model(np.array([0.0, 0.3, 0.6]), 0.6, 0.23, 0.033)


@pytest.fixture(scope="module")
def frames():
    noise = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        noise = torch.nn.functional.avg_pool2d(noise, 9, 1, 4)
    return level(noise.expand(3, -1, -1, -1))  # a camera that stands


def moving(model):
    x = model.still
    x[: len(AXES)] = [0.5, -0.4, 0.6, 0.3, -0.2, 0.5, 0.7, -0.3]
    x[PITCH], x[DISTANCE] = 0.4, -0.7
    x[TURNS:] = np.random.default_rng(0).normal(size=9)
    return x


def test_points_of_floor_and_sky_go_where_the_world_has_them(model):
    x = moving(model)
    still = model.poses(x, model.times)
    axes = turned(TURN * x[TURNS:].reshape(-1, 3)) @ axes_of(still)
    camera = Pose(still.position, *np.moveaxis(axes, 1, 0), still.focal)
    focal = 1 / (2 * np.tan(0.42) / np.sqrt(SIZE[0] * SIZE[1]))
    maps = model.maps(x, PAIRS, focal)
    for point, region in (([0.7, 0.0, 0.4], 0), ([4e5, 9e5, -3e6], 1)):
        seen = project(camera, np.tile(point, (3, 1)), *SIZE)
        places = np.stack([seen[:, 0] - SIZE[1] / 2, SIZE[0] / 2 - seen[:, 1], np.ones(3)], -1)
        for p, (first, second) in enumerate(PAIRS):
            there = maps.regions()[p, region] @ places[first]
            assert there[:2] / there[2] == pytest.approx(places[second, :2], abs=1e-3)
            assert (maps.level[p] @ places[first] < 0) == (region == 0)


def test_turns_are_rotations_about_their_vector():
    some = np.random.default_rng(0).normal(size=(5, 3))
    found = turned(some)
    assert found @ np.swapaxes(found, 1, 2) == pytest.approx(np.tile(np.eye(3), (5, 1, 1)))
    assert (found @ some[:, :, None])[:, :, 0] == pytest.approx(some)
    assert 1 + 2 * np.cos(np.linalg.norm(some, axis=1)) == pytest.approx(
        np.trace(found, axis1=1, axis2=2)
    )
    assert turned(np.zeros(3)) == pytest.approx(np.eye(3))


def test_a_usual_stand_looks_down_by_its_pitch():
    stand = usual_stand(0.25, 0.5)
    assert np.arctan2(stand.height - stand.target[1], stand.distance) == pytest.approx(0.25)
    assert usual_stand(0.25, 1.0).distance > usual_stand(0.25).distance


def test_first_derivatives_agree_with_differences(model, frames):
    x = 0.1 * moving(model)
    every = np.arange(len(x))
    found, second, first = _system(model, frames, x, PAIRS, 0.3, every)
    assert found == pytest.approx(cost(model, frames, x, PAIRS, 0.3))
    assert np.linalg.eigvalsh(second).min() > 0
    step, slopes = 2e-3, []
    for k in every:
        ends = [x + sign * step * (every == k) for sign in (1, -1)]
        ahead, behind = (cost(model, frames, end, PAIRS, 0.3) for end in ends)
        slopes.append((ahead - behind) / (2 * step))
    # `_system` has half of them, and takes the slopes of pictures from pixels two apart.
    assert first == pytest.approx(np.array(slopes) / 2, rel=0.1, abs=0.05 * np.abs(first).max())


def test_a_fit_never_ends_worse(model, frames):
    x = 0.1 * moving(model)
    before = cost(model, frames, x, PAIRS, 0.3)
    ended, after = fit(model, frames, x, PAIRS, 0.3, list(range(len(AXES))))
    assert after < before
    assert after == pytest.approx(cost(model, frames, ended, PAIRS, 0.3))
    assert (ended[TURNS:] == x[TURNS:]).all()
