"""Camera moves against what a fixed point of the world does on the screen."""

import random

import numpy as np
import pytest

from kineograph.world.v2.camera import (
    SPEED_RATES,
    project,
    rates_of,
    shot_at,
    shots_of,
    track,
)
from kineograph.world.v2.scene import CAMERA_MOVES, UNPACED_MOVES, Camera, Scene, SceneObject, Shot

TIMES = np.linspace(0, 4, 49)


def scene(move, speed="normal", seed=3, **more):
    camera = Camera(move, None if move in UNPACED_MOVES else speed)
    thing = SceneObject("ball", "red", "rubber", "large")
    return Scene(seed, (thing,), "checkered", "noon", shots=more.get("shots", (Shot(camera),)))


def seen(move, point=(0.0, 0.3, 0.0), speed="normal"):
    camera = track(scene(move, speed), TIMES)
    return project(camera, np.tile(np.array(point), (49, 1)), 128, 128)


# What a thing in the middle does: column, row, size; +1 grows, -1 falls, None is not looked at.
EXPECTED = {
    "pan left": (1, None, None), "pan right": (-1, None, None),
    "tilt up": (None, 1, None), "tilt down": (None, -1, None),
    "dolly in": (None, None, 1), "dolly out": (None, None, -1),
    "zoom in": (None, None, 1), "zoom out": (None, None, -1),
    "truck left": (1, None, None), "truck right": (-1, None, None),
    "crane up": (None, 1, None), "crane down": (None, -1, None),
}  # fmt: skip


@pytest.mark.parametrize("move", list(EXPECTED))
def test_moves_move_the_picture_as_named(move):
    for column, sign in enumerate(EXPECTED[move]):
        if sign is not None:
            track_ = seen(move)[:, column]
            assert sign * (track_[-1] - track_[0]) > (0.02 if column == 2 else 4)
            assert (sign * np.diff(track_) > 0).all()


def test_a_roll_turns_the_picture_and_an_orbit_goes_around():
    up = seen("roll right", (0.0, 1.7, 0.0)), seen("roll right", (0.0, 0.1, 0.0))
    lean = np.degrees(np.arctan2(up[0][:, 0] - up[1][:, 0], up[1][:, 1] - up[0][:, 1]))
    rate = shots_of(scene("roll right"))[0][3].roll
    assert lean[-1] - lean[0] == pytest.approx(-4 * rate, rel=0.02)
    camera = track(scene("orbit right"), TIMES)
    around = np.degrees(np.unwrap(np.arctan2(camera.position[:, 0], camera.position[:, 2])))
    assert around[-1] - around[0] == pytest.approx(4 * shots_of(scene("orbit right"))[0][3].orbit)
    assert around[-1] > around[0]
    distance = np.hypot(camera.position[:, 0], camera.position[:, 2])
    assert distance == pytest.approx(distance[0])


def test_a_hand_shakes_and_a_tripod_does_not():
    assert np.ptp(seen("static"), axis=0).max() == 0
    shaken = seen("handheld")[:, 0]
    assert 1 < np.ptp(shaken) < 15
    assert np.abs(np.diff(shaken)).max() < 3


@pytest.mark.parametrize("move", [m for m in CAMERA_MOVES if m not in UNPACED_MOVES])
def test_speeds_are_told_apart_by_their_rates(move):
    rates = []
    for speed in ("slow", "normal", "fast"):
        (value,) = rates_of(Shot(Camera(move, speed)), random.Random(1)).to_dict().values()
        rates.append(abs(value))
    assert rates[0] * 1.2 < rates[1] < rates[2] / 1.2


def test_rates_are_truth_in_units():
    camera = track(scene("truck right", "fast"), TIMES)
    rate = shots_of(scene("truck right", "fast"))[0][3]
    moved = np.linalg.norm(camera.position[-1] - camera.position[0])
    assert moved == pytest.approx(4 * rate.horizontal)
    assert rate.to_dict().keys() == {"horizontal"}
    assert set(SPEED_RATES) >= {"horizontal", "vertical", "pan", "tilt", "roll", "zoom"}


def test_axes_stay_square():
    for move in CAMERA_MOVES:
        camera = track(scene(move), TIMES)
        axes = np.stack([camera.right, camera.up, camera.forward], 1)
        assert np.abs(axes @ axes.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12


def test_a_cut_belongs_to_the_later_shot():
    film = (Shot(Camera(), 1.5), Shot(Camera("pan left", "slow"), 1.0, "cut"))
    one = scene("static", shots=film)
    assert shot_at(one, np.array([0.0, 1.49, 1.5, 2.5])).tolist() == [0, 0, 1, 1]
    apart = track(one, np.array([1.49, 1.5])).position
    assert np.linalg.norm(apart[1] - apart[0]) > 0.5
    held = track(one, np.array([1.5]), np.array([0])).position[0]
    assert held == pytest.approx(apart[0])
