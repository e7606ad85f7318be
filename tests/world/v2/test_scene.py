import json
from dataclasses import replace

import pytest

from kineograph.errors import RequestError
from kineograph.world import styles
from kineograph.world.v2.look import COLOUR_RGB, DAYLIGHT, FLOOR_TINTS, WEATHER
from kineograph.world.v2.parts import FOOT, HALF_HEIGHT, VOLUME, parts_of
from kineograph.world.v2.scene import (
    CAN,
    COLOURS,
    DRAWN_FROM,
    FLOORS,
    MOTIONS,
    SHAPES,
    SKIES,
    STYLES,
    WEATHERS,
    Camera,
    Relation,
    Scene,
    SceneObject,
    Shot,
    check,
    scene_from_dict,
)

BALL = SceneObject("ball", "red", "rubber", "large", "roll", "left", "fast")
CUBE = SceneObject("cube", "blue", "wood", "small")
SCENE = Scene(
    7, (BALL, CUBE, SceneObject("ring", "pink", "metal", "large")), "water", "dusk", "fog",
    (Shot(Camera("zoom in", "slow"), 2.0), Shot(Camera("handheld"), 1.5, "wipe")), "toon",
    (Relation(1, "inside", (2,)),), "16:9",
)  # fmt: skip


def test_a_scene_comes_back_from_json():
    check(SCENE)
    assert scene_from_dict(json.loads(json.dumps(SCENE.to_dict()))) == SCENE
    for numbers in DRAWN_FROM:
        one = replace(SCENE, numbers=numbers)
        assert scene_from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert len({replace(SCENE, numbers=numbers) for numbers in DRAWN_FROM}) == 4
    assert SCENE.seconds == 3.5
    with pytest.raises(RequestError, match="world 1, not 2"):
        scene_from_dict(SCENE.to_dict() | {"version": 1})


def test_everything_that_can_be_named_can_be_drawn():
    assert set(CAN) == set(MOTIONS)
    assert {shape for shapes in CAN.values() for shape in shapes} == set(SHAPES)
    for shape in SHAPES:
        assert parts_of(shape)
        assert {shape} <= set(FOOT) & set(HALF_HEIGHT) & set(VOLUME)
    assert tuple(COLOUR_RGB) == COLOURS
    assert tuple(FLOOR_TINTS) == FLOORS
    assert tuple(DAYLIGHT) == SKIES
    assert tuple(WEATHER) == WEATHERS
    assert styles.STYLES == STYLES
    assert len(STYLES) == 24


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ({"shape": "blob"}, "object 0: shape 'blob' is not one of ball, cube"),
        ({"colour": "mauve"}, "colour 'mauve'"),
        ({"motion": "topple", "direction": "left", "speed": None}, "can 'topple': 'ball'"),
        ({"direction": None}, "direction None is not one of left, right"),
        ({"speed": "warp"}, "speed 'warp' is not one of slow, normal, fast"),
        ({"count": 3}, "count 3 is not one of 1"),
        ({"motion": "collide", "partner": 0}, "partner 0 is not one of 1, 2"),
        ({"motion": "spin", "direction": None}, "can 'spin': 'ball' is not"),
        ({"then": "float"}, "then 'float' is not one of None, recolour"),
        ({"then": "recolour", "colour_to": "red"}, "colour_to 'red'"),
        (
            {"shape": "cone", "motion": "still", "direction": None, "speed": None, "then": "spin"},
            "can then 'spin': 'cone'",
        ),
        ({"order": 2}, "order 2 is not one of 0, 1"),
    ],
)
def test_objects_that_cannot_be_are_refused(thing, said):
    with pytest.raises(RequestError, match=said):
        check(replace(SCENE, objects=(replace(BALL, **thing), *SCENE.objects[1:])))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objects": ()}, "0 objects; allowed are 1 to 8"),
        ({"floor": "lava"}, "floor 'lava'"),
        ({"sky": "brunch"}, "sky 'brunch'"),
        ({"weather": "hail"}, "weather 'hail'"),
        ({"style": "baroque"}, "style 'baroque'"),
        ({"shots": ()}, "0 shots; allowed are 1 to 6"),
        ({"shots": (Shot(Camera("fly")),)}, "camera move of shot 0 'fly'"),
        ({"shots": (Shot(Camera("pan left")),)}, "camera speed of shot 0 None"),
        ({"shots": (Shot(Camera(), 4.0, "cut"),)}, "transition of shot 0 'cut'"),
        ({"shots": (Shot(Camera(), 0.0),)}, "shot 0 lasts 0 s"),
        ({"relations": (Relation(0, "under", (1,)),)}, "can be under 'cube' is not one of table"),
        ({"relations": (Relation(0, "on", (0,)),)}, "cannot be 'on' itself"),
        ({"relations": (Relation(0, "between", (1,)),)}, "one object and 2, not 1"),
    ],
)
def test_scenes_that_cannot_be_are_refused(change, said):
    with pytest.raises(RequestError, match=said):
        check(replace(SCENE, **change))
