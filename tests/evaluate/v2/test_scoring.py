from dataclasses import replace

import pytest

from kineograph.evaluate.v2.found import Place
from kineograph.evaluate.v2.judges import ObjectReading, true_reading
from kineograph.evaluate.v2.scoring import (
    best_constant,
    holds,
    judge,
    product,
    shuffled,
    substitution,
    tally,
)
from kineograph.evaluate.v2.suites import Prompt
from kineograph.world.v2.facts import facts
from kineograph.world.v2.scene import COLOURS, Camera, Relation, Scene, SceneObject, Shot
from kineograph.world.v2.splits import held_pair, held_triple

ALL_RIGHT = {"right": 100, "n": 100}
JUDGES = (
    "colour", "shape", "material", "size", "motion", "speed", "then", "order", "count", "floor",
    "sky", "weather", "style", "camera",
)  # fmt: skip
TRUST = {g: {name: ALL_RIGHT for name in JUDGES} for g in ("photo", "coloured", "colourless")}
BALL = SceneObject("ball", "red", "rubber", "large", "roll", "left", "fast")
CUBE = SceneObject("cube", "blue", "wood", "small")
SCENE = Scene(1, (BALL, CUBE), "grassy", "noon", shots=(Shot(Camera("pan left", "slow")),))


def prompt_of(scene, **said):
    return Prompt("", "en", "long", scene, said or facts(scene), 0)


def test_a_true_reading_is_right_in_all_that_is_said():
    verdicts = judge(prompt_of(SCENE), true_reading(SCENE), TRUST)
    assert all(all(rights) for rights in verdicts.values())
    assert {"colour", "motion", "speed", "camera, moving", "all", "count"} <= set(verdicts)


@pytest.mark.parametrize(
    ("index", "change", "rows"),
    [
        (0, {"colour": "green"}, {"colour", "object", "all"}),
        (0, {"motion": "roll right"}, {"motion", "direction", "object", "all"}),
        (0, {"speed": "slow"}, {"speed", "object", "all"}),
        (1, {"material": "metal"}, {"material", "object", "all"}),
    ],
)
def test_what_is_wrong_is_wrong_in_its_rows_and_in_no_other(index, change, rows):
    truth = true_reading(SCENE)
    things = [replace(o, **change) if i == index else o for i, o in enumerate(truth.objects)]
    verdicts = judge(prompt_of(SCENE), replace(truth, objects=tuple(things)), TRUST)
    assert {name for name, rights in verdicts.items() if not all(rights)} == rows


def test_what_is_not_said_or_not_trusted_is_not_scored():
    wrong = replace(true_reading(SCENE), floor="sandy", sky="night")
    said = prompt_of(SCENE, **{"object0.shape": "ball", "floor": "grassy"})
    verdicts = judge(said, wrong, TRUST)
    assert verdicts["floor"] == [False]
    assert "sky" not in verdicts
    blind = {g: {k: v for k, v in rows.items() if k != "floor"} for g, rows in TRUST.items()}
    assert "floor" not in judge(said, wrong, blind)


def test_of_several_shots_only_what_holds_for_all_is_scored():
    shots = (Shot(Camera(), 2.0), Shot(Camera("pan left", "slow"), 2.0, "cut"))
    scene = replace(SCENE, shots=shots)
    verdicts = judge(prompt_of(scene), true_reading(scene), TRUST)
    assert set(verdicts) <= {"floor", "sky", "weather", "style", "all"}
    assert "floor" in verdicts


LOW = Place(0.4, 0.6, 0.6, 0.9)


@pytest.mark.parametrize(
    ("name", "subject", "others", "right"),
    [
        ("left of", Place(0.1, 0.2, 0.6, 0.9), [LOW], True),
        ("right of", Place(0.1, 0.2, 0.6, 0.9), [LOW], False),
        ("in front of", Place(0.4, 0.6, 0.7, 0.95), [LOW], True),
        ("behind", Place(0.4, 0.6, 0.5, 0.8), [LOW], True),
        ("behind", Place(0.4, 0.6, 0.7, 0.95), [LOW], False),
        ("on", Place(0.45, 0.55, 0.45, 0.62), [LOW], True),
        ("on", Place(0.45, 0.55, 0.75, 0.9), [LOW], False),
        ("on", Place(0.1, 0.2, 0.45, 0.62), [LOW], False),
        ("under", Place(0.45, 0.55, 0.75, 0.9), [LOW], True),
        ("under", Place(0.45, 0.55, 0.3, 0.5), [LOW], False),
        ("inside", Place(0.45, 0.55, 0.65, 0.8), [LOW], True),
        ("between", LOW, [Place(0.1, 0.2, 0.6, 0.9), Place(0.8, 0.9, 0.6, 0.9)], True),
        ("between", Place(0.0, 0.1, 0.6, 0.9), [LOW, Place(0.8, 0.9, 0.6, 0.9)], False),
    ],
)
def test_relations_are_read_from_places(name, subject, others, right):
    assert holds(name, subject, others) is right


def test_a_relation_needs_all_its_members():
    scene = replace(SCENE, relations=(Relation(0, "left of", (1,)),))
    prompt = prompt_of(scene)
    things = list(true_reading(scene).objects)
    things[0] = replace(things[0], place=Place(0.1, 0.2, 0.6, 0.9))
    reading = replace(true_reading(scene), objects=tuple(things))
    assert judge(prompt, reading, TRUST)["relation"] == [False]
    things[1] = replace(things[1], place=LOW)
    reading = replace(reading, objects=tuple(things))
    assert judge(prompt, reading, TRUST)["relation"] == [True]


def test_shuffled_prompts_meet_other_clips_and_a_constant_is_the_best_of_one_answer():
    scenes = [replace(SCENE, floor=f) for f in ("grassy", "grassy", "sandy", "marble")]
    prompts = [prompt_of(s) for s in scenes]
    readings = [true_reading(s) for s in scenes]
    assert tally(prompts, readings, TRUST)["floor"].share == 1.0
    floor = tally(shuffled(prompts), readings, TRUST)["floor"].share
    assert floor == 0.25  # each meets the one before it, around the corner
    assert best_constant(prompts, TRUST)["floor"] == 0.5


def test_a_held_pair_shown_as_another_shape_is_substituted():
    colour = next(c for c in COLOURS if held_pair(c, "cube"))
    scene = replace(SCENE, objects=(replace(CUBE, colour=colour),))
    reading = true_reading(scene)
    other = replace(reading.objects[0], shape="ball")
    wrong = replace(reading, objects=(other,))
    found = substitution([prompt_of(scene)] * 2, [reading, wrong])
    assert (found.objects, found.shape, found.colour, found.motion) == (2, 0.5, 0.0, 0.0)
    assert substitution([prompt_of(SCENE)], [true_reading(SCENE)]).objects == int(
        any(
            held_pair(o.colour, o.shape) or held_triple(o.colour, o.shape, o.motion)
            for o in SCENE.objects
        )
    )


def test_the_product_is_what_independent_facts_would_give():
    rows = tally([prompt_of(SCENE)], [true_reading(SCENE)], TRUST)
    assert product(rows) == 1.0
    half = ObjectReading("red", "cube", "rubber", "roll left", speed="fast", size="large")
    reading = replace(true_reading(SCENE), objects=(half, true_reading(SCENE).objects[1]))
    assert product(tally([prompt_of(SCENE)], [reading], TRUST)) == pytest.approx(0.5)
