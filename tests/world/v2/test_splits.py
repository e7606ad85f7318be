"""Hold-outs have their share, lose no concept, and are the same in every process."""

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import pytest

from kineograph.world import splits as first_version
from kineograph.world.scene import SHAPES as FIRST_SHAPES
from kineograph.world.v2.layout import ASPECTS
from kineograph.world.v2.parse_check import random_scene
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    CAN,
    COLOURS,
    MOTIONS,
    RELATIONS,
    SEQUELS,
    SHAPES,
    STYLES,
    WEATHERS,
    Camera,
    Relation,
    Scene,
    SceneObject,
    Shot,
)
from kineograph.world.v2.splits import (
    HELD_COUNTS,
    HELD_NUMBERS,
    NUMBERS,
    PLAIN,
    SPLITS,
    drawable,
    english_only,
    held_context,
    held_pair,
    held_relation,
    held_sequence,
    held_shots,
    held_triple,
    is_training,
    languages,
    split_of,
)

PAIRS = list(product(COLOURS, SHAPES))
HELD_PAIRS = [p for p in PAIRS if held_pair(*p)]
TRIPLES = [t for t in drawable() if not held_pair(*t[:2])]
RED_BALL = SceneObject("ball", "red", "rubber", "large", "fall")
SCENE = Scene(0, (RED_BALL,), "checkered", "noon")


def training_scenes(number):
    rng = random.Random(2)
    found = []
    while len(found) < number:
        scene = random_scene(rng)
        shots = tuple(replace(s, seconds=2.0) for s in scene.shots)
        ratio = rng.choice(tuple(ASPECTS))
        scene = replace(scene, aspect_ratio=ratio, shots=shots)
        if is_training(scene):
            found.append(scene)
    return found


def test_pairs_are_a_latin_square_that_holds_those_of_the_first_version():
    assert len(HELD_PAIRS) == 10
    assert max(Counter(c for c, _ in HELD_PAIRS).values()) == 1
    assert max(Counter(s for _, s in HELD_PAIRS).values()) == 1
    # Each is seen with 85 in 100 of the others or more.
    assert (len(SHAPES) - 1) / len(SHAPES) > 0.85 and (len(COLOURS) - 1) / len(COLOURS) > 0.85
    for pair in product(COLOURS, FIRST_SHAPES):
        assert held_pair(*pair) == first_version.held_pair(*pair)


def test_a_tenth_of_the_triples_is_held_and_no_concept_is_lost():
    held = [t for t in TRIPLES if held_triple(*t)]
    assert 0.08 < len(held) / len(TRIPLES) < 0.12
    seen = [t for t in TRIPLES if not held_triple(*t)]
    assert {(c, m) for c, _, m in seen} == set(product(COLOURS, MOTIONS))
    assert {(s, m) for _, s, m in seen} == {(s, m) for m in MOTIONS for s in CAN[m]}
    motions, all_motions = (Counter((c, s) for c, s, _ in some) for some in (seen, TRIPLES))
    assert all(motions[pair] >= 0.5 * n for pair, n in all_motions.items())
    assert not any(held_triple(*pair, motion) for pair, motion in product(HELD_PAIRS, MOTIONS))


@pytest.mark.parametrize(
    ("kind", "values"),
    [("camera", CAMERA_MOVES), ("weather", WEATHERS), ("aspect", tuple(ASPECTS))],
)
def test_a_tenth_of_the_contexts_is_held_but_nothing_plain(kind, values):
    marked = [p for p in product(values, STYLES) if not set(p) & set(PLAIN)]
    held = [p for p in marked if held_context(kind, *p)]
    assert 0.07 < len(held) / len(marked) < 0.14
    assert not any(held_context(kind, *p) for p in product(values, STYLES) if p not in marked)
    # A style keeps most of its values, a value most of its styles.
    for part, whole in ((1, len(values)), (0, len(STYLES))):
        assert max(Counter(p[part] for p in held).values()) < 0.35 * whole


def test_a_tenth_of_relations_and_of_sequences_is_held():
    relations = list(product(SHAPES, RELATIONS, SHAPES))
    assert 0.08 < sum(held_relation(*r) for r in relations) / len(relations) < 0.12
    sequences = list(product(MOTIONS, MOTIONS))
    assert 0.08 < sum(held_sequence(*s) for s in sequences) / len(sequences) < 0.12
    shots = list(product(CAMERA_MOVES, CAMERA_MOVES))
    assert 0.08 < sum(held_shots(*s) for s in shots) / len(shots) < 0.12
    # Each motion keeps something that may follow it, and every sequel something to follow.
    kept = [(m, s) for m, after in SEQUELS.items() for s in after if not held_sequence(m, s)]
    assert {m for m, _ in kept} == set(SEQUELS)
    assert {s for _, s in kept} == {s for after in SEQUELS.values() for s in after}


def test_a_twentieth_of_the_pairs_is_captioned_in_english_alone():
    only = [p for p in PAIRS if english_only(*p)]
    assert 0.03 < len(only) / len(PAIRS) < 0.07
    assert not set(only) & set(HELD_PAIRS)
    assert languages(SCENE) == ("en", "zh")
    colour, shape = only[0]
    other = SceneObject(shape, colour, "rubber", "small")
    assert languages(replace(SCENE, objects=(RED_BALL, other))) == ("en",)


def varied(**changes):
    return replace(SCENE, **changes)


def held_by(rule, *options):
    return next(p for p in product(*options) if rule(*p))


def test_each_hold_out_is_found_in_a_scene_wherever_it_is():
    assert split_of(SCENE) == frozenset() and is_training(SCENE)
    colour, shape = HELD_PAIRS[0]
    bystander = SceneObject(shape, colour, "rubber", "small")
    assert split_of(varied(objects=(RED_BALL, bystander))) == {"pair"}
    turns = next(c for c, s in HELD_PAIRS if s == "ball")
    turning = replace(RED_BALL, motion="recolour", colour_to=turns)
    assert "pair" in split_of(varied(objects=(turning,)))
    colour, shape, _ = next(t for t in TRIPLES if held_triple(*t) and t[2] == "still")
    bystander = SceneObject(shape, colour, "wood", "large")
    assert "triple" in split_of(varied(objects=(RED_BALL, bystander)))
    move, style = held_by(lambda m, s: held_context("camera", m, s), CAMERA_MOVES, STYLES)
    speed = None if move == "handheld" else "slow"
    shots = (Shot(Camera(), 2.0), Shot(Camera(move, speed), 2.0, "cut"))
    assert "context" in split_of(varied(style=style, shots=shots))
    weather, style = held_by(lambda w, s: held_context("weather", w, s), WEATHERS, STYLES)
    assert "context" in split_of(varied(style=style, weather=weather))
    ratio, style = held_by(lambda a, s: held_context("aspect", a, s), tuple(ASPECTS), STYLES)
    assert "context" in split_of(varied(style=style, aspect_ratio=ratio))
    a, b = held_by(held_shots, CAMERA_MOVES[:1], CAMERA_MOVES[1:])
    shots = (Shot(Camera(a), 2.0), Shot(Camera(b, "slow"), 2.0, "cut"))
    assert "temporal" in split_of(varied(shots=shots))
    assert split_of(varied(shots=(Shot(Camera(), 8.0),))) == {"format"}
    assert split_of(varied(aspect_ratio="21:9")) == {"format"}
    assert split_of(varied(numbers="gap")) == {"interpolation"}
    assert split_of(varied(numbers="beyond 30")) == {"extrapolation"}
    assert split_of(varied(numbers="beyond 60")) == {"extrapolation"}


def test_relations_numbers_and_sequences_count():
    a, name, b = held_by(held_relation, SHAPES[:6], ("left of", "right of", "behind"), SHAPES[:6])
    still = tuple(SceneObject(s, "red", "rubber", "large") for s in (a, b))
    related = varied(objects=still, relations=(Relation(0, name, (1,)),))
    assert "relation" in split_of(related)
    for motion, shape, count in HELD_COUNTS:
        stack = SceneObject(shape, "red", "rubber", "small", motion, count=count)
        assert "relation" in split_of(varied(objects=(stack,)))
    for shape, number in HELD_NUMBERS:
        some = (SceneObject(shape, "red", "rubber", "small"),) * number
        assert "relation" in split_of(varied(objects=some))
        assert "relation" not in split_of(varied(objects=some[1:]))
    motion, then = next((m, s) for m in SEQUELS for s in SEQUELS[m] if held_sequence(m, s))
    twice = SceneObject(CAN[motion][0], "red", "rubber", "small", motion, then=then)
    assert "temporal" in split_of(varied(objects=(twice,)))
    early, late = held_by(held_sequence, ("fall", "throw", "topple"), ("fall", "throw", "roll"))
    two = (replace(RED_BALL, motion=early), replace(RED_BALL, motion=late, order=1))
    assert "temporal" in split_of(varied(objects=two))
    assert "temporal" not in split_of(varied(objects=(two[0], replace(two[1], order=0))))


def test_training_never_contains_what_is_held():
    for scene in training_scenes(60):
        for thing in scene.objects:
            assert (thing.colour, thing.shape) not in HELD_PAIRS
            assert (thing.colour_to, thing.shape) not in HELD_PAIRS
            assert not held_triple(thing.colour, thing.shape, thing.motion)
            assert (thing.motion, thing.shape, thing.count) not in HELD_COUNTS
            assert thing.then is None or not held_sequence(thing.motion, thing.then)
        for shot in scene.shots:
            assert not held_context("camera", shot.camera.move, scene.style)
        assert not held_context("weather", scene.weather, scene.style)
        assert not held_context("aspect", scene.aspect_ratio, scene.style)
        shapes = [o.shape for o in scene.objects]
        for r in scene.relations:
            assert not any(held_relation(shapes[r.subject], r.name, shapes[k]) for k in r.others)
        assert not any(held_shots(a.camera.move, b.camera.move) for a, b in pairwise(scene.shots))
        assert scene.aspect_ratio != "21:9"


def test_every_split_has_its_number_and_only_canonical_attributes_decide():
    assert tuple(NUMBERS) == SPLITS
    other = replace(SCENE, seed=9, floor="grassy", sky="night")
    assert split_of(other) == split_of(SCENE)
    with pytest.raises(ValueError, match="mauve"):
        held_pair("mauve", "ball")
    with pytest.raises(ValueError, match="dance"):
        held_triple("red", "ball", "dance")
    with pytest.raises(ValueError, match="sound"):
        held_context("sound", "loud", "oil")


def test_decisions_do_not_depend_on_the_hash_seed():
    code = (
        "from kineograph.world.v2.splits import drawable, held_triple\n"
        "print(hex(int(''.join(str(int(held_triple(*t))) for t in drawable()), 2)))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = hex(int("".join(str(int(held_triple(*t))) for t in drawable()), 2))
    assert outputs == {f"{here}\n"}
