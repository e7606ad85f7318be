"""A scene survives JSON, is a key of dictionaries, and costs no torch."""

from __future__ import annotations

import json

import pytest

from kineograph.spec import ASPECT_RATIOS
from kineograph.world import camera, draw, physics, render, scene
from kineograph.world.scene import Camera, Scene, SceneObject, scene_from_dict

SCENE = Scene(
    7,
    (
        SceneObject("ball", "red", "metal", "large", "collide", "left", "fast"),
        SceneObject("cube", "blue", "matte", "small", "still", struck=True),
    ),
    "wooden",
    "dawn",
    Camera("orbit left", "slow"),
    "16:9",
)


def test_a_scene_survives_json():
    assert scene_from_dict(json.loads(json.dumps(SCENE.to_dict()))) == SCENE


def test_a_scene_is_a_key():
    again = scene_from_dict(SCENE.to_dict())
    assert again is not SCENE
    assert len({SCENE, again}) == 1


def test_an_unknown_field_is_not_swallowed():
    with pytest.raises(TypeError, match="weather"):
        scene_from_dict({**SCENE.to_dict(), "weather": "rain"})


def test_no_name_stands_twice():
    for names in (
        scene.COLOURS, scene.SHAPES, scene.MATERIALS, scene.SIZES, scene.SPEEDS, scene.MOTIONS,
        scene.DIRECTIONS, scene.FLOORS, scene.SKIES, scene.CAMERA_MOVES,
    ):  # fmt: skip
        assert len(set(names)) == len(names)


def test_every_table_has_every_name():
    assert set(physics.RADIUS) == set(scene.SIZES)
    assert set(physics.RESTITUTION) == set(scene.MATERIALS)
    for table in (physics.HALF_HEIGHT, physics.HALF_WIDTH, physics.VOLUME):
        assert set(table) == set(scene.SHAPES)
    speeds = (physics.MOVE_SPEED, physics.THROW_SPEED, physics.COLLIDE_SPEED, physics.SPIN_SPEED)
    for table in (*speeds, *camera.RATES.values()):
        assert tuple(table) == scene.SPEEDS
        assert list(table.values()) == sorted(table.values())
    assert set(camera.RATES) == {move.split()[0] for move in scene.CAMERA_MOVES[1:]}
    assert set(render.COLOUR_RGB) == set(scene.COLOURS)
    assert set(render.FLOOR_RGB) == set(scene.FLOORS)
    assert set(render.SKY_LIGHT) == set(scene.SKIES)
    assert set(draw.BASE_SIZES) == set(ASPECT_RATIOS)


def test_the_record_needs_no_torch(run_python):
    done = run_python("-c", "import sys, kineograph.world.scene; print('torch' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")
