"""What stands still is seen from one place in space; what moves in it is not."""

from dataclasses import replace

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.egomotion import estimate
from kineograph.evaluate.orbits import (
    closes,
    measure_loop,
    measure_orbit,
    stays,
    triangulate,
)
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.camera import Rates, Stand, pose, project
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.pack import pack
from kineograph.world.v2.render import render_frames
from kineograph.world.v2.scene import Camera, Relation, Scene, SceneObject, Shot

SIDE, FPS = 128, 6
TIMES = frame_times(4.0, 6)
STAND = Stand(5.2, 2.0, 0.0, (0.0, 0.72, 0.0))
PLACES = np.array([(-1.1, 0.46, 0.3), (0.9, 0.46, -0.8)])
RADIUS = 0.46
BALL = SceneObject("ball", "red", "rubber", "medium")
STANDS = SceneObject("cube", "blue", "wood", "medium")


def camera(**rates):
    return pose(TIMES, 4.0, STAND, Rates(**rates), "")


def discs(seen, places=PLACES):
    """Return the masks of balls `o 3` or `o t 3` before a camera."""
    pixel = np.arange(SIDE) + 0.5
    masks = []
    for place in places:
        x, y, scale = project(seen, np.broadcast_to(place, (len(TIMES), 3)), SIDE, SIDE).T
        away = np.hypot(pixel - x[:, None, None], pixel[:, None] - y[:, None, None])
        masks.append(away < RADIUS * scale[:, None, None])
    return np.stack(masks)


@pytest.mark.parametrize("rates", [{"orbit": 11.0}, {"horizontal": 0.5}, {"depth": 0.5}])
def test_a_place_is_found_again(rates):
    seen = camera(**rates)
    shown = project(seen, np.tile(PLACES[0], (len(TIMES), 1)), SIDE, SIDE)[:, :2]
    place, miss = triangulate(seen, shown, SIDE, SIDE)
    assert place == pytest.approx(PLACES[0], abs=1e-6)
    assert np.abs(miss).max() < 1e-6


def test_what_stands_still_is_at_one_place():
    seen = camera(orbit=11.0)
    found = measure_orbit(discs(seen), seen, (True, True))
    assert found.error < 0.3
    assert all(error < 0.3 for error in found.errors)
    assert all(10 < angle < 60 for angle in found.parallax)


def test_what_moves_along_is_not_at_one_place():
    seen = camera(orbit=11.0)
    way = np.tile(PLACES[:, None], (1, len(TIMES), 1))
    way[0, :, 0] += np.linspace(0, 1.5, len(TIMES)) ** 2
    found = measure_orbit(discs(seen, way), seen, (True, True))
    assert found.errors[0] > 2
    assert found.errors[1] < 0.3


def test_what_does_not_move_with_the_scene_is_found_out():
    seen = camera(orbit=11.0)
    fixed = np.repeat(discs(seen)[:, 24:25], len(TIMES), 1)
    assert measure_orbit(fixed, seen, (True, True)).error > 1.5
    against = measure_orbit(discs(seen), camera(orbit=-11.0), (True, True))
    assert against.error > 3


def test_a_camera_that_turns_tells_directions_alone():
    seen = camera(pan=6.0)
    found = measure_orbit(discs(seen), seen, (True, True))
    assert found.error < 0.3
    assert max(found.parallax) < 0.1
    assert measure_orbit(discs(seen), camera(pan=3.0), (True, True)).error > 3


def test_errors_are_in_pixels_of_one_size():
    seen = camera(orbit=11.0)
    masks = discs(seen, np.tile(PLACES[:, None], (1, len(TIMES), 1)) * (1 + 0.1 * TIMES[:, None]))
    large = masks.repeat(2, 2).repeat(2, 3)
    small = measure_orbit(masks, seen, (True, True))
    assert measure_orbit(large, seen, (True, True)).error == pytest.approx(small.error, rel=0.02)


def test_what_moves_or_is_not_seen_tells_nothing():
    seen = camera(orbit=11.0)
    masks = discs(seen)
    masks[1] = False
    found = measure_orbit(masks, seen, (False, True))
    assert found.errors == (None, None)
    assert found.parallax == (None, None)
    assert found.error is None


def test_what_stays_is_told_by_the_scene():
    struck = SceneObject("ball", "green", "rubber", "medium")
    runs = SceneObject("ball", "red", "rubber", "medium", "collide", "left", "fast", partner=2)
    rises = SceneObject("cone", "white", "rubber", "medium", then="float")
    turns = SceneObject("cube", "pink", "rubber", "medium", "spin", speed="slow")
    scene = Scene(
        1, (STANDS, runs, struck, rises, turns), "grassy", "noon",
        relations=(Relation(0, "left of", (3,)),),
    )  # fmt: skip
    assert stays(scene) == (True, False, False, False, True)


def test_a_rendered_orbit_is_read_off_its_pixels():
    scene = Scene(
        6, (BALL, STANDS), "checkered", "noon", shots=(Shot(Camera("orbit right", "normal")),)
    )
    buffer = filmed(play_of(scene), TIMES, SIDE, SIDE)
    masks = np.stack([buffer.owner.numpy() == FIRST_OBJECT + i for i in (0, 1)])
    frames = (buffer.colour.numpy() * 255 + 0.5).astype(np.uint8)
    seen = estimate(frames, FPS, masks.any(0)).camera
    found = measure_orbit(masks, seen, (True, True))
    assert found.error < 0.6
    for t in range(0, len(TIMES), 2):  # it trembles
        masks[0, t] = np.roll(masks[0, t], 3, axis=1)
    assert measure_orbit(masks, seen, (True, True)).errors[0] > 1.2


@pytest.mark.parametrize(
    ("rates", "frame"),
    [
        ({"orbit": 90.0}, 24), ({"orbit": -90.0}, 24), ({"orbit": 120.0}, 18), ({"pan": 90.0}, 24),
        ({"orbit": 85.0}, None), ({"orbit": 180.0}, 12), ({"orbit": 90.0, "vertical": 0.3}, None),
        ({"orbit": 90.0, "zoom": 0.1}, None), ({"orbit": 18.0}, None), ({}, None),
    ],
)  # fmt: skip
def test_a_camera_comes_round_after_a_whole_turn(rates, frame):
    assert closes(camera(**rates)) == frame


def circled(scene, times, things=None):
    """Return frames and masks of a scene before a camera that goes round once in 4 s."""
    play = play_of(scene)
    for piece, shift in zip(play.pieces, things or (), strict=False):
        piece.position = lambda t, at=piece.position, by=shift: at(t) + np.array([by, 0.0, 0.0])
    seen = pose(times, 4.0, STAND, Rates(orbit=90.0), "")
    buffer = render_frames(pack([play], [times], [seen]), SIDE, SIDE)
    masks = np.stack([buffer.owner.numpy() == FIRST_OBJECT + i for i in (0, 1)])
    return (buffer.colour.numpy() * 255 + 0.5).astype(np.uint8), masks, seen


def test_a_whole_turn_shows_the_first_frame_again():
    scene = Scene(6, (BALL, STANDS), "checkered", "noon")
    times = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0])
    frames, masks, seen = circled(scene, times)
    found = measure_loop(frames, masks, seen, (True, True))
    assert found.frame == 8
    assert found.psnr > 40
    assert found.displacement < 0.1
    end = times[-1:]
    moved, recoloured = frames.copy(), frames.copy()
    elsewhere = masks.copy()
    moved[-1:], elsewhere[:, -1:], _ = circled(scene, end, (0.0, 0.15))
    green = replace(scene, objects=(BALL, replace(STANDS, colour="green")))
    recoloured[-1:] = circled(green, end)[0]
    gone = measure_loop(moved, elsewhere, seen, (True, True))
    assert gone.psnr < 30
    assert gone.displacement > 1
    assert measure_loop(recoloured, masks, seen, (True, True)).psnr < 30
    away = measure_loop(moved, elsewhere, seen, (True, False))  # it may go
    assert away.psnr > gone.psnr + 3
    assert away.displacement is None  # the ball is cut by the edge
    half = pose(times, 4.0, STAND, Rates(orbit=45.0), "")
    assert measure_loop(frames, masks, half, (True, True)) is None
    with pytest.raises(RequestError, match="8 frames; masks have 9"):
        measure_loop(frames[1:], masks, seen, (True, True))


def test_what_cannot_be_measured_is_refused():
    seen = camera(orbit=11.0)
    with pytest.raises(RequestError, match="still has 1"):
        measure_orbit(discs(seen), seen, (True,))
    with pytest.raises(RequestError, match="25 frames; masks have 24"):
        measure_orbit(discs(seen)[:, 1:], seen, (True, True))
