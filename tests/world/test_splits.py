"""Hold-outs are few, evenly spread, the same in every process, and count bystanders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from kineograph.world.scene import COLOURS, MOTIONS, ROLLERS, SHAPES, Camera, Scene, SceneObject
from kineograph.world.splits import held_pair, held_triple, is_training, split_of

PAIRS = [pair for pair in product(COLOURS, SHAPES) if held_pair(*pair)]


def drawable(shape: str, motion: str) -> bool:
    """Whether the world shows this shape in this motion: what rolls does not slide."""
    return {"roll": shape in ROLLERS, "slide": shape not in ROLLERS}.get(motion, True)


TRIPLES = [
    (colour, shape, motion)
    for colour, shape, motion in product(COLOURS, SHAPES, MOTIONS)
    if drawable(shape, motion) and not held_pair(colour, shape)
]


def scene_of(*objects: SceneObject) -> Scene:
    return Scene(0, objects, "checkered", "noon", Camera("static"))


def thing(colour: str, shape: str, motion: str = "fall") -> SceneObject:
    return SceneObject(shape, colour, "matte", "medium", motion)


def test_five_pairs_are_held_one_for_each_shape_and_at_most_one_for_each_colour() -> None:
    assert len(PAIRS) == 5
    assert Counter(shape for _, shape in PAIRS) == Counter(SHAPES)
    assert max(Counter(colour for colour, _ in PAIRS).values()) == 1


def test_a_tenth_of_the_triples_is_held_and_no_concept_is_lost() -> None:
    held = [t for t in TRIPLES if held_triple(*t)]
    assert 0.07 < len(held) / len(TRIPLES) < 0.13
    seen = [t for t in TRIPLES if not held_triple(*t)]
    # Every seen pair keeps at least half of its motions; colours and shapes meet every motion.
    motions = Counter((c, s) for c, s, _ in seen)
    assert len(motions) == 45
    assert min(motions.values()) >= 3
    assert {(c, m) for c, _, m in seen} == set(product(COLOURS, MOTIONS))
    assert {(s, m) for _, s, m in seen} == {p for p in product(SHAPES, MOTIONS) if drawable(*p)}


def test_the_documented_prompts_are_in_training() -> None:
    assert is_training(scene_of(thing("red", "ball", "fall")))
    assert is_training(scene_of(thing("blue", "ball", "roll")))


def test_a_held_bystander_takes_the_whole_clip_out_of_training() -> None:
    fine, pair = thing("red", "ball"), thing(*PAIRS[0])
    triple = thing(*next(t for t in TRIPLES if held_triple(*t)))
    assert split_of(scene_of(fine)) == "train"
    assert split_of(scene_of(fine, pair)) == "pair"
    assert split_of(scene_of(fine, triple)) == "triple"
    assert split_of(scene_of(triple, pair)) == "pair"
    assert not is_training(scene_of(fine, triple))


def test_a_held_pair_is_not_a_held_triple_as_well() -> None:
    assert not any(held_triple(*pair, motion) for pair, motion in product(PAIRS, MOTIONS))


def test_only_canonical_attributes_decide() -> None:
    scene = scene_of(thing(*PAIRS[1]))
    other = replace(scene, seed=9, floor="grassy", camera=Camera("pan left", "fast"))
    assert split_of(scene) == split_of(other) == "pair"


def test_decisions_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from itertools import product\n"
        "from kineograph.world.scene import COLOURS, MOTIONS, SHAPES\n"
        "from kineograph.world.splits import held_triple\n"
        "held = ''.join(str(int(held_triple(*t))) for t in product(COLOURS, SHAPES, MOTIONS))\n"
        "print(hex(int(held, 2)))\n"
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
    here = "".join(str(int(held_triple(*t))) for t in product(COLOURS, SHAPES, MOTIONS))
    assert outputs == {f"{hex(int(here, 2))}\n"}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="tuple"):
        held_pair("mauve", "ball")
    with pytest.raises(ValueError, match="dance"):
        held_triple("red", "ball", "dance")
