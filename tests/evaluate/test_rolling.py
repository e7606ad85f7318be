"""What rolls turns as far as it gets; what slides, or turns too little, is found out."""

from functools import cache

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.rolling import measure_roll, rolls
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.scene import Camera, Scene, SceneObject, Shot
from kineograph.world.v2.simulate import _turns

SIDE, FPS = 128, 12


def scene_of(shape="ball", material="striped", direction="right"):
    thing = SceneObject(shape, "red", material, "medium", "roll", direction, "normal")
    return Scene(21, (thing,), "grassy", "noon", shots=(Shot(Camera(), 2.5),))


@cache
def clip(scene, turns=1.0):
    """Frames and mask of a clip; what rolls turns by a share of what it should."""
    play = play_of(scene)
    piece = play.pieces[0]
    if turns != 1.0:
        begin = piece.position(np.zeros(1))[0, 0]
        piece.rotation = lambda t: _turns(
            np.array([0.0, 0.0, 1.0]),
            -turns * (piece.position(t)[:, 0] - begin) / piece.radius,
        )
    buffer = filmed(play, frame_times(scene.seconds, FPS), SIDE, SIDE)
    frames = (buffer.colour.numpy() * 255 + 0.5).astype(np.uint8)
    return frames, buffer.owner.numpy() == FIRST_OBJECT


@pytest.mark.parametrize(
    ("shape", "material", "direction"),
    [("ball", "striped", "right"), ("ball", "wood", "left"), ("ring", "striped", "left")],
)
def test_what_rolls_turns_as_far_as_it_gets(shape, material, direction):
    scene = scene_of(shape, material, direction)
    found = measure_roll(scene, 0, *clip(scene), camera_known=True)
    assert found.slip < 0.03
    assert np.sign(found.rolled) == np.sign(found.turned) == (-1 if direction == "right" else 1)
    piece = play_of(scene).pieces[0]
    way = np.ptp(piece.position(np.array([0.0, 2.5]))[:, 0])
    assert abs(found.rolled) == pytest.approx(way / piece.radius, rel=0.03)


def test_a_usual_camera_will_do():
    scene = scene_of()
    assert measure_roll(scene, 0, *clip(scene), camera_known=False).slip < 0.12


@pytest.mark.parametrize("turns", [0.6, -1.0, 1.5])
def test_what_turns_otherwise_slips(turns):
    scene = scene_of()
    found = measure_roll(scene, 0, *clip(scene, turns), camera_known=True)
    assert found.turned / found.rolled == pytest.approx(turns, abs=0.06)
    assert found.slip == pytest.approx(abs(1 - turns), abs=0.06)


def test_stripes_that_do_not_turn_slide():
    scene = scene_of()
    found = measure_roll(scene, 0, *clip(scene, 0.0), camera_known=True)
    assert found.slip == pytest.approx(1, abs=0.15)


def test_without_texture_or_a_way_nothing_is_told():
    scene = scene_of()
    frames, mask = clip(scene)
    plain = np.where(mask[..., None], np.uint8([200, 30, 20]), frames)
    assert measure_roll(scene, 0, plain, mask, camera_known=True) is None
    stands = np.repeat(frames[:1], len(frames), 0), np.repeat(mask[:1], len(mask), 0)
    assert measure_roll(scene, 0, *stands, camera_known=True) is None
    assert measure_roll(scene, 0, frames, 0 * mask.astype(np.float32), camera_known=True) is None


def test_what_hops_does_not_roll():
    scene = scene_of()
    frames, mask = (x.copy() for x in clip(scene))
    for k in range(8):  # it hops by 8 pixels
        t, lift = 10 + k, round(8 * np.sin(np.pi * k / 7))
        frames[t], mask[t] = np.roll(frames[t], -lift, 0), np.roll(mask[t], -lift, 0)
    assert measure_roll(scene, 0, frames, mask, camera_known=True) is None


def test_what_rolls_is_told_by_the_scene():
    things = (
        SceneObject("ball", "red", "wood", "medium", "collide", "left", "normal", partner=1),
        SceneObject("ball", "blue", "striped", "medium"),
        SceneObject("ball", "pink", "metal", "medium", "roll", "left", "slow"),
        SceneObject("cube", "cyan", "wood", "medium", "slide", "left", "slow"),
        SceneObject("ring", "green", "striped", "medium", "roll", "left", "slow"),
    )
    assert rolls(Scene(1, things, "grassy", "noon")) == (0, 4)


def test_what_cannot_be_measured_is_refused():
    scene = scene_of()
    frames, mask = np.zeros((9, 32, 32, 3), np.uint8), np.zeros((9, 32, 32), bool)
    with pytest.raises(RequestError, match="object 1 does not show"):
        measure_roll(scene, 1, frames, mask, camera_known=True)
    with pytest.raises(RequestError, match="as the frames"):
        measure_roll(scene, 0, frames, mask[1:], camera_known=True)
    pans = Scene(3, scene.objects, "grassy", "noon", shots=(Shot(Camera("pan left", "slow")),))
    with pytest.raises(RequestError, match="static"):
        measure_roll(pans, 0, frames, mask, camera_known=True)
