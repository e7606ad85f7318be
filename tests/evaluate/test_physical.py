from dataclasses import replace

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.physical import (
    KEYS,
    OF_MOTION,
    ROLLING,
    lawful,
    measure_physics,
    without_rod,
)
from kineograph.evaluate.views import known_view
from kineograph.world.dynamics import GRAVITY
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.scene import Camera, Scene, SceneObject, Shot
from kineograph.world.v2.simulate import FRICTION

SIDE, FPS = 128, 12
THINGS = {
    "fall": SceneObject("ball", "red", "rubber", "medium", "fall"),
    "bounce": SceneObject("ball", "red", "rubber", "medium", "bounce", "left", "normal"),
    "throw": SceneObject("ball", "red", "wood", "medium", "throw", "right", "slow"),
    "pendulum": SceneObject("ball", "red", "metal", "medium", "pendulum"),
    "roll": SceneObject("ball", "red", "metal", "medium", "roll", "right", "slow"),
    "slide": SceneObject("egg", "red", "metal", "medium", "slide", "left", "slow"),
    "collide": SceneObject(
        "ball", "red", "wood", "medium", "collide", "right", "normal", partner=1
    ),
}
STANDS = SceneObject("ball", "blue", "rubber", "medium")


def scene_of(motion):
    others = (STANDS,) if motion == "collide" else ()
    return Scene(3, (THINGS[motion], *others), "grassy", "noon")


def disc(view, way):
    """Return masks of what goes a way, drawn as the disc that a ball looks like."""
    pixel = np.arange(SIDE) + 0.5
    middle, area = view.seen(way)
    away = np.hypot(pixel - middle[:, 0, None, None], pixel[:, None] - middle[:, 1, None, None])
    return np.clip(np.sqrt(area / np.pi)[:, None, None] - away + 0.5, 0, 1).astype(np.float32)


def discs(scene, fps=FPS):
    """Return masks of the objects, drawn as the discs that balls look like."""
    play = play_of(scene)
    times = np.arange(round(scene.seconds * fps) + 1) / fps
    pieces = [piece for piece in play.pieces if piece.shape != "rod"]
    return np.stack([disc(known_view(play, p, SIDE, SIDE), p.position(times)) for p in pieces])


@pytest.fixture(scope="module")
def clips():
    return {motion: discs(scene_of(motion)) for motion in THINGS}


LIMITS = {
    "g": 0.02, "restitution": 0.02, "contact_ms": 4.0, "momentum": 0.03, "period": 0.003,
    "friction": 0.003, "reversal": 0.01, "speed": 0.02, "residual": 0.006,
}  # fmt: skip


@pytest.mark.parametrize("motion", THINGS)
def test_what_obeys_the_law_is_measured_so(clips, motion):
    found = measure_physics(scene_of(motion), clips[motion], FPS, camera_known=True)
    assert set(found) == {"usable", "residual", *OF_MOTION[motion]}
    assert found.pop("usable") == 1
    for name, value in found.items():
        assert value < LIMITS[name], (name, value)


@pytest.mark.parametrize("motion", ["fall", "throw", "pendulum", "slide", "collide"])
def test_without_a_camera_sizes_give_metres(clips, motion):
    found = measure_physics(scene_of(motion), clips[motion], FPS, camera_known=False)
    assert found["usable"] == 1
    for name in ("contact_ms", "speed", "period"):
        assert found.get(name) is None
    assert found.get("g", 0) < 0.15
    assert found.get("restitution", 0) < 0.05
    assert found.get("momentum", 0) < 0.05
    assert found.get("friction", 0) < 0.01
    assert found["residual"] < 0.02


def test_masks_may_be_yes_and_no(clips):
    found = measure_physics(scene_of("fall"), clips["fall"] > 0.5, FPS, camera_known=True)
    assert found["g"] < 0.02
    assert found["contact_ms"] < 4


@pytest.mark.parametrize("motion", ["fall", "collide"])
def test_a_frozen_clip_says_nothing(clips, motion):
    still = np.repeat(clips[motion][:, :1], clips[motion].shape[1], 1)
    found = measure_physics(scene_of(motion), still, FPS, camera_known=True)
    assert found.pop("usable") == 0
    assert set(found.values()) == {None}
    nowhere = measure_physics(scene_of(motion), 0 * still, FPS, camera_known=False)
    assert nowhere["usable"] == 0


@pytest.mark.parametrize(
    ("motion", "names"),
    [
        ("fall", ("g", "contact_ms")),
        ("pendulum", ("g", "period")),
        ("slide", ("friction", "speed")),
        ("collide", ("contact_ms", "speed")),
    ],
)
def test_slow_motion_is_wrong(clips, motion, names):
    found = measure_physics(scene_of(motion), clips[motion], FPS / 2, camera_known=True)
    for name in names:
        assert found[name] > 2 * LIMITS[name], (name, found)


@pytest.mark.parametrize(
    ("motion", "names"), [("slide", ("friction", "speed")), ("collide", ("restitution",))]
)
def test_a_clip_that_runs_backwards_is_wrong(clips, motion, names):
    found = measure_physics(scene_of(motion), clips[motion][:, ::-1], FPS, camera_known=True)
    for name in names:
        assert found[name] > 3 * LIMITS[name], (name, found)


def test_what_is_struck_and_stays_loses_momentum(clips):
    masks = clips["collide"].copy()
    masks[1] = masks[1, 0]
    found = measure_physics(scene_of("collide"), masks, FPS, camera_known=True)
    assert found["momentum"] > 0.3


def test_what_passes_through_another_is_wrong(clips):
    masks, play = clips["collide"].copy(), play_of(scene_of("collide"))
    piece, t = play.pieces[0], np.arange(masks.shape[1]) / FPS
    way = np.repeat(piece.position(np.zeros(1)), len(t), 0)
    way[:, 0] += play.truth[0]["speed"] * t - 0.5 * ROLLING * GRAVITY * t * t
    masks[0], masks[1] = disc(known_view(play, piece, SIDE, SIDE), way), masks[1, 0]
    found = measure_physics(scene_of("collide"), masks, FPS, camera_known=True)
    assert found["restitution"] > 1
    assert found["contact_ms"] is None or found["contact_ms"] > 50


def test_holes_in_masks_hardly_count(clips):
    masks = clips["collide"].copy()
    piece, times = play_of(scene_of("collide")).pieces[0], np.arange(masks.shape[1]) / FPS
    view = known_view(play_of(scene_of("collide")), piece, SIDE, SIDE)
    column, row = np.round(view.project(piece.position(times))).astype(int).T
    for t in range(masks.shape[1]):
        if column[t] < SIDE - 12:
            deep = 0.7 * np.sin(0.25 * t) ** 2
            masks[0, t, row[t] - 5 : row[t] + 5, column[t] + 1 : column[t] + 7] *= 1 - deep
    found = measure_physics(scene_of("collide"), masks, FPS, camera_known=True)
    for name in ("momentum", "restitution", "contact_ms", "speed"):
        assert found[name] < LIMITS[name], (name, found)


def test_a_heavy_thing_that_hardly_moves_tells_nothing_of_momentum():
    heavy = SceneObject("ball", "blue", "metal", "large")
    light = replace(THINGS["collide"], size="small")
    scene = Scene(3, (light, heavy), "grassy", "noon")
    found = measure_physics(scene, discs(scene), FPS, camera_known=True)
    assert found["usable"] == 1
    assert found["momentum"] is None
    assert found["restitution"] < LIMITS["restitution"]


def test_what_halts_in_the_air_is_wrong(clips):
    masks = clips["fall"]
    halts = np.concatenate([masks[:, :5], np.repeat(masks[:, 5:6], 44, 1)], 1)
    found = measure_physics(scene_of("fall"), halts, FPS, camera_known=True)
    assert found["usable"] == 1
    assert found["restitution"] > 0.3
    assert found["contact_ms"] > 50


def test_every_measure_is_described():
    names = {"usable", "residual"} | {name for some in OF_MOTION.values() for name in some}
    assert names == set(KEYS)


def test_friction_is_that_of_the_world():
    for motion, share in (("roll", ROLLING), ("slide", FRICTION)):
        piece = play_of(scene_of(motion)).pieces[0]
        x = piece.position(np.array([0.0, 0.1, 0.2]))[:, 0]
        assert abs(x[0] - 2 * x[1] + x[2]) / 0.01 == pytest.approx(share * GRAVITY, rel=1e-4)


def test_rods_are_left_out():
    mask = np.zeros((1, 20, 20), np.float32)
    mask[0, 10:16, 5:13] = 1
    hung = mask.copy()
    hung[0, :10, 8] = 1
    assert np.array_equal(without_rod(hung), mask)


def test_only_what_moves_by_a_law_is_measured():
    scene = Scene(3, (STANDS,), "grassy", "noon")
    assert lawful(scene) is None
    assert measure_physics(scene, np.zeros((1, 9, 32, 32), bool), 12, camera_known=True) == {}


def test_what_cannot_be_measured_is_refused(clips):
    scene, masks = scene_of("fall"), clips["fall"]
    with pytest.raises(RequestError, match="fps 0"):
        measure_physics(scene, masks, 0, camera_known=True)
    with pytest.raises(RequestError, match="masks of 2 objects"):
        measure_physics(scene, np.concatenate([masks, masks]), FPS, camera_known=True)
    pans = Scene(3, scene.objects, "grassy", "noon", shots=(Shot(Camera("pan left", "slow")),))
    with pytest.raises(RequestError, match="static"):
        measure_physics(pans, masks, FPS, camera_known=True)
