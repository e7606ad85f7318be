"""What rests stays where it is, on what it stands on; what drifts or hovers is found out."""

from functools import cache

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.support import measure_support, rest_span
from kineograph.evaluate.tracking import colour_masks
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.scene import Camera, Relation, Scene, SceneObject, Shot

SIDE, FPS = 128, 12
BALL = SceneObject("ball", "red", "rubber", "medium")
FALLS = SceneObject("cube", "blue", "wood", "small", "fall")
SPINS = SceneObject("ring", "green", "rubber", "medium", "spin", speed="slow")


def scene_of(*things, **more):
    return Scene(3, things, "sandy", "noon", shots=(Shot(Camera(), 3.0),), **more)


PAIR = scene_of(BALL, FALLS)


@cache
def clip(scene):
    """Frames and true masks."""
    buffer = filmed(play_of(scene), frame_times(scene.seconds), SIDE, SIDE)
    owner = buffer.owner.numpy()
    masks = [owner == FIRST_OBJECT + i for i in range(len(scene.objects))]
    return (buffer.colour.numpy() * 255 + 0.5).astype(np.uint8), np.stack(masks)


def shifted(masks, rows):
    """Return masks with the first object's moved down by some rows in every frame."""
    moved = masks.copy()
    for t, by in enumerate(np.broadcast_to(rows, masks.shape[1])):
        moved[0, t] = np.roll(masks[0, t], int(by), axis=0)
    return moved


def test_what_stands_and_what_has_fallen_rests():
    frames, true = clip(PAIR)
    for masks in (true, np.stack([colour_masks(frames, first) for first in true[:, 0]])):
        for rest in measure_support(PAIR, masks, FPS, camera_known=True):
            assert rest.rests
            assert rest.middle < 0.5
            assert rest.bottom < 0.5
            assert abs(rest.gap) < 1.5


def test_without_the_camera_only_what_is_said_to_rest_is_looked_at():
    stands, falls = measure_support(PAIR, clip(PAIR)[1], FPS, camera_known=False)
    assert stands.rests
    assert stands.gap is None
    assert falls is None


def test_what_drifts_does_not_rest():
    masks = clip(PAIR)[1]
    drifts = shifted(masks, -np.arange(masks.shape[1]) // 5)
    found = measure_support(PAIR, drifts, FPS, camera_known=False)[0]
    assert found.middle > 2.5
    assert found.bottom > 2.5
    assert not found.rests


def test_what_hovers_or_is_sunk_in_stands_on_nothing():
    masks = clip(PAIR)[1]
    true = measure_support(PAIR, masks, FPS, camera_known=True)[0].gap
    for rows in (-6, 5):
        found = measure_support(PAIR, shifted(masks, rows), FPS, camera_known=True)[0]
        assert found.middle < 0.5
        assert found.gap - true == pytest.approx(-rows, abs=0.3)
        assert not found.rests


def test_a_frame_or_two_may_fail():
    masks = clip(PAIR)[1]
    rows = np.zeros(masks.shape[1], int)
    rows[[9, 20]] = 4
    assert measure_support(PAIR, shifted(masks, rows), FPS, camera_known=True)[0].rests


def test_pixels_are_those_of_one_size():
    masks = shifted(clip(PAIR)[1], -6)
    small = measure_support(PAIR, masks, FPS, camera_known=True)[0].gap
    large = measure_support(PAIR, masks.repeat(2, 2).repeat(2, 3), FPS, camera_known=True)[0].gap
    assert large == pytest.approx(small, abs=0.3)


def test_what_stands_on_another_has_its_height():
    things = (BALL, SceneObject("cube", "blue", "wood", "large"))
    scene = scene_of(*things, relations=(Relation(0, "on", (1,)),))
    masks = clip(scene)[1]
    assert all(r.rests for r in measure_support(scene, masks, FPS, camera_known=True))
    assert not measure_support(scene, shifted(masks, -6), FPS, camera_known=True)[0].rests


def test_an_edge_that_is_hidden_tells_no_gap():
    masks = clip(PAIR)[1].copy()
    bottom = np.flatnonzero(masks[0, 0].any(1))[-1]
    masks[1] = False
    masks[1, :, bottom - 2 : bottom + 12] = True
    masks[0] &= ~masks[1]
    assert measure_support(PAIR, masks, FPS, camera_known=True)[0].gap is None


def test_when_things_rest_is_told_by_the_scene():
    times = np.arange(37) / FPS
    play = play_of(scene_of(BALL, FALLS, SPINS))
    stands, falls, spins = (rest_span(play, i, times, camera_known=True) for i in range(3))
    assert np.array_equal(stands, np.arange(37))
    assert 3 < falls[0] < 30
    assert falls[-1] == 36
    settled = times[falls[0]] - max(touch.time for touch in play.touches)
    assert settled >= 0.25
    assert len(spins) == 0


def test_what_never_rests_or_is_not_seen_tells_nothing():
    scene = scene_of(BALL, SPINS)
    masks = np.zeros((2, 37, 64, 64), dtype=bool)
    masks[1, :, 20:40, 20:40] = True
    assert measure_support(scene, masks, FPS, camera_known=True) == (None, None)


def test_what_cannot_be_measured_is_refused():
    masks = clip(PAIR)[1]
    with pytest.raises(RequestError, match="fps 0"):
        measure_support(PAIR, masks, 0, camera_known=True)
    with pytest.raises(RequestError, match="masks of 1 objects"):
        measure_support(PAIR, masks[:1], FPS, camera_known=True)
    pans = Scene(3, PAIR.objects, "sandy", "noon", shots=(Shot(Camera("pan left", "slow")),))
    with pytest.raises(RequestError, match="static"):
        measure_support(pans, masks, FPS, camera_known=True)
