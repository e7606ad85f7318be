from dataclasses import replace

import pytest

from kineograph.evaluate.judges import ObjectReading, Reading, motion_class, true_reading
from kineograph.evaluate.scoring import (
    JUDGES,
    Share,
    assign,
    best_constant,
    judge,
    shuffled,
    tally,
)
from kineograph.evaluate.suites import SUITES, Prompt, make_prompts
from kineograph.world.captions import facts
from kineograph.world.scene import Camera, Scene, SceneObject

BALL = SceneObject("ball", "red", "matte", "small", "roll", "left", "slow")
CUBE = SceneObject("cube", "blue", "metal", "large", "still")
SCENE = Scene(1, (BALL, CUBE), "sandy", "noon", Camera("pan left", "slow"))
HIT = Scene(
    2,
    (replace(BALL, motion="collide"), replace(CUBE, struck=True)),
    "sandy",
    "noon",
    Camera("static"),
)


def prompt_of(scene, drop=()):
    said = frozenset(f for f in facts(scene) if f not in drop)
    return Prompt("words", "en", "long", scene, said, 0)


def failing(prompt, reading):
    return {name for name, rights in judge(prompt, reading).items() if not all(rights)}


def test_the_truth_is_right_in_every_row():
    for scene in (SCENE, HIT):
        assert failing(prompt_of(scene), true_reading(scene)) == set()


def test_motions_have_classes():
    assert [motion_class(SCENE, i) for i in (0, 1)] == ["move left", "still"]
    assert [motion_class(HIT, i) for i in (0, 1)] == ["collide left", "struck left"]


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"floor": "grassy"}, {"floor"}),
        ({"sky": "night"}, {"sky"}),
        ({"camera": "static"}, {"camera", "camera, moving"}),
        ({"count": 1}, {"count"}),
    ],
)
def test_one_wrong_fact_spoils_its_row_and_all(change, rows):
    assert failing(prompt_of(SCENE), replace(true_reading(SCENE), **change)) == rows | {"all"}


def test_objects_are_found_by_colour_in_any_order():
    reading = true_reading(SCENE)
    swapped = replace(reading, objects=reading.objects[::-1])
    assert failing(prompt_of(SCENE), swapped) == set()


def test_swapped_colours_are_wrong_and_so_is_what_hangs_on_them():
    ball, cube = true_reading(SCENE).objects
    reading = replace(
        true_reading(SCENE),
        objects=(replace(ball, colour="blue"), replace(cube, colour="red")),
    )
    assert {"shape", "motion", "object", "all"} <= failing(prompt_of(SCENE), reading)


def test_a_missing_colour_is_judged_by_the_object_that_is_left():
    ball, cube = true_reading(SCENE).objects
    reading = replace(true_reading(SCENE), objects=(replace(ball, colour="pink"), cube))
    assert failing(prompt_of(SCENE), reading) == {"colour", "object", "all"}


def test_a_missing_object_is_wrong_in_all_it_should_be():
    reading = replace(true_reading(SCENE), objects=true_reading(SCENE).objects[:1])
    assert assign(prompt_of(SCENE), reading)[1] is None
    verdicts = judge(prompt_of(SCENE), reading)
    assert verdicts["shape"] == [True, False]


def test_what_is_not_stated_is_not_scored():
    prompt = prompt_of(SCENE, drop=("sky", "camera.move", "object0.direction", "object1.motion"))
    ball, cube = true_reading(SCENE).objects
    reading = Reading(
        2, "sandy", "night", "tilt up",
        (replace(ball, motion="move right"), replace(cube, motion="fall")),
    )  # fmt: skip
    verdicts = judge(prompt, reading)
    assert verdicts["all"] == [True]
    assert "sky" not in verdicts and "camera" not in verdicts and "direction" not in verdicts
    assert verdicts["motion"] == [True]


def test_judges_that_are_not_trusted_are_not_asked():
    prompt, truth = prompt_of(SCENE), true_reading(SCENE)
    still = tuple(replace(thing, motion="spin") for thing in truth.objects)
    wrong = replace(truth, count=3, objects=still)
    verdicts = judge(prompt, wrong, JUDGES - {"motion", "count"})
    assert not {"motion", "direction", "count"} & set(verdicts)
    assert verdicts["object"] == [True, True] and verdicts["all"] == [True]
    assert judge(prompt, wrong)["all"] == [False]
    assert set(best_constant([prompt], frozenset({"sky"}))) == {"sky", "all"}
    assert judge(prompt_of(SCENE, drop=facts(SCENE)), truth, frozenset({"sky"})) == {}


def test_a_static_camera_is_no_moving_one():
    assert "camera, moving" not in judge(prompt_of(HIT), true_reading(HIT))


def test_the_direction_counts_where_it_is_stated():
    ball, cube = true_reading(HIT).objects
    away = replace(true_reading(HIT), objects=(replace(ball, motion="collide right"), cube))
    assert {"motion", "direction"} <= failing(prompt_of(HIT), away)


def test_shuffling_gives_no_prompt_its_own_clip():
    for n in (2, 3, 10, 24, 25):
        prompts = make_prompts(SUITES["single"], n)
        moved = shuffled(prompts)
        assert all(a is not b for a, b in zip(prompts, moved, strict=True))
        assert {id(p) for p in moved} == {id(p) for p in prompts}


def test_the_best_constant_answer_is_the_most_common_one():
    prompts = [prompt_of(replace(SCENE, sky=sky)) for sky in ("noon", "noon", "night", "dawn")]
    assert best_constant(prompts)["sky"] == 0.5
    assert best_constant(prompts)["shape"] == 1.0


def test_tally_counts_objects_and_prompts():
    prompt = prompt_of(SCENE)
    readings = [true_reading(SCENE), replace(true_reading(SCENE), sky="dawn")]
    found = tally([prompt, prompt], readings)
    assert found["shape"] == Share(4, 4)
    assert found["sky"] == Share(1, 2)
    assert found["all"] == Share(1, 2)
    assert found["sky"].share == 0.5
    assert Share(0, 0).share == 0.0


def test_readings_survive_json():
    reading = Reading(1, "sandy", "noon", "static", (ObjectReading("red", "ball", "spin", 3.5),))
    assert Reading.from_dict(reading.to_dict()) == reading
