"""The camera's motion is read off rendered clips whose camera is known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.alignment import axes_of, turned
from kineograph.evaluate.egomotion import estimate, rotation_error, translation_error
from kineograph.world.v2.camera import Pose, Rates, Stand, pose, shots_of, track
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.film import colours, frame_times
from kineograph.world.v2.scene import FPS, Camera, Shot

SEED = 1 << 46
SIDE = 64
STAND = Stand(5.2, 2.0, 0.0, (0.0, 0.72, 0.0))
TIMES = np.arange(13) / 4
AXES = {"pan right": "pan", "dolly in": "depth", "zoom out": "zoom", "truck left": "horizontal"}


def plain(scene):
    return (scene.floor, scene.sky, scene.weather) == ("checkered", "noon", "clear")


@cache
def clip(move):
    """A small clip of one scene under any move, its rates and its camera."""
    scene, play = draw_scene(SEED, count=2, style="photoreal", more="shot", keep=plain)
    camera = Camera(move, None if move == "static" else "normal")
    scene = replace(scene, shots=(Shot(camera),))
    times = frame_times(scene.seconds)
    frames = colours(replace(play, scene=scene), times, SIDE, SIDE)
    found = np.concatenate([part.numpy() for part in frames])
    return found, shots_of(scene)[0][3], track(scene, times)


@cache
def estimated(move):
    return estimate(clip(move)[0], FPS)


def at(**rates):
    return pose(TIMES, 3.0, STAND, Rates(**rates), "")


@pytest.mark.parametrize("move", AXES)
def test_a_move_is_named_and_its_rate_told(move):
    _, rates, camera = clip(move)
    found = estimated(move)
    assert found.move == move
    assert found.rate == getattr(found.rates, AXES[move])
    assert found.rate == pytest.approx(getattr(rates, AXES[move]), rel=0.15)
    assert rotation_error(found.camera, camera).max() < 2
    assert translation_error(found.camera, camera).max() < 0.3
    assert 0 < found.residual < 0.6
    assert 0 < found.confidence < 1


def test_a_camera_that_stands_is_static():
    found = estimated("static")
    assert (found.move, found.rate) == ("static", 0.0)
    assert rotation_error(found.camera, clip("static")[2]).max() < 0.2
    assert translation_error(found.camera, clip("static")[2]).max() < 0.15


def test_how_far_down_the_camera_looks_is_seen():
    _, _, camera = clip("pan right")
    assert estimated("pan right").pitch == pytest.approx(
        -np.arcsin(camera.forward[24, 1]), abs=0.02
    )


def test_a_mirrored_video_has_the_mirrored_move():
    found = estimate(clip("pan right")[0][:, :, ::-1].copy(), FPS)
    assert found.move == "pan left"
    assert found.rate == pytest.approx(-estimated("pan right").rate, rel=0.01)


def test_fewer_frames_a_second_tell_the_same():
    found = estimate(clip("truck left")[0][::2].copy(), FPS / 2)
    assert found.move == "truck left"
    assert found.rate == pytest.approx(estimated("truck left").rate, rel=0.05)
    assert len(found.camera.position) == 25


def test_what_is_ignored_does_not_count():
    frames = clip("pan right")[0].copy()
    ignore = np.zeros(frames.shape[:3], dtype=bool)
    ignore[:, 10:55, 12:36] = True
    frames[ignore] = np.random.default_rng(0).integers(0, 256, (int(ignore.sum()), 3))
    found = estimate(frames, FPS, ignore)
    assert found.move == "pan right"
    assert found.rate == pytest.approx(clip("pan right")[1].pan, rel=0.05)
    assert found.residual < 0.75 * estimate(frames, FPS).residual


@pytest.mark.parametrize(
    ("shape", "fps", "ignored", "message"),
    [
        ((2, 64, 64), 12, None, "2 frames of 64x64; allowed are 3 or more, of 32x32 or more"),
        ((9, 16, 64), 12, None, "9 frames of 64x16; allowed"),
        ((9, 64, 64), 0, None, "fps 0; it must be above 0"),
        ((9, 64, 64), float("nan"), None, "fps nan; it must be above 0"),
        ((9, 64, 64), 12, (9, 64, 32), r"ignore is \(9, 64, 32\); it must be \(9, 64, 64\)"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(shape, fps, ignored, message):
    ignore = None if ignored is None else np.zeros(ignored, dtype=bool)
    with pytest.raises(RequestError, match=message):
        estimate(np.zeros((*shape, 3), dtype=np.uint8), fps, ignore)


def test_a_rotation_error_is_the_angle_between_turns():
    assert rotation_error(at(pan=7.0), at(pan=4.0)) == pytest.approx(3 * TIMES, abs=1e-9)
    assert rotation_error(at(roll=-5.0), at()) == pytest.approx(5 * TIMES, abs=1e-9)
    ahead = np.abs(TIMES - TIMES[4])
    assert rotation_error(at(tilt=2.0), at(), reference=4) == pytest.approx(2 * ahead, abs=1e-9)
    assert rotation_error(at(horizontal=0.5), at()) == pytest.approx(0 * TIMES, abs=1e-9)
    assert rotation_error(at(pan=100.0), at(pan=-20.0)).max() == pytest.approx(180)


def test_a_translation_error_is_how_far_ways_end_apart():
    assert translation_error(at(depth=0.5), at(depth=0.2)) == pytest.approx(0.3 * TIMES)
    assert translation_error(at(vertical=0.4), at(horizontal=-0.3)) == pytest.approx(0.5 * TIMES)
    assert translation_error(at(zoom=0.1, pan=0.0), at()) == pytest.approx(0 * TIMES)


def test_errors_do_not_depend_on_where_the_world_stands():
    true = at(pan=5.0, depth=0.4, vertical=0.2)
    turn = turned(np.array([0.3, -0.8, 0.5]))
    right, up, forward = np.moveaxis(axes_of(true) @ turn.T, 1, 0)
    moved = Pose(true.position @ turn.T + [1.0, 2.0, 3.0], right, up, forward, true.focal)
    assert rotation_error(moved, true) == pytest.approx(0 * TIMES, abs=1e-6)
    assert translation_error(moved, true) == pytest.approx(0 * TIMES, abs=1e-9)
