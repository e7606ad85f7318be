"""Numbers lie where a record says: around the gap in training, in it, or beyond the range."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.world.v2.camera import SHAKE, SPEED_RATES, shots_of
from kineograph.world.v2.draw import _Draw, _numbered, draw_scene
from kineograph.world.v2.facts import facts
from kineograph.world.v2.layout import foot, places, room
from kineograph.world.v2.ranges import fastest, most, number, paced
from kineograph.world.v2.scene import DRAWN_FROM, SPEEDS, Camera, Scene, SceneObject, Shot, check
from kineograph.world.v2.simulate import (
    AMPLITUDE,
    DROP,
    LENGTH,
    PUSH,
    RISE_SPEED,
    START_SPEED,
    TURN_RATE,
    UPWARD,
    simulate,
)
from kineograph.world.v2.splits import is_training, split_of

TABLE = (0.38, 0.65, 1.0)
DRAWS = [(n + 0.5) / 1000 for n in range(1000)]
SLACK = 1e-9  # of a number; rates go through radians
BEYOND = {"beyond 30": (0.0, 0.3), "beyond 60": (0.3, 0.6)}


def bands(table):
    return [(0.92 * v, 1.08 * v) for v in table]


def within(value, span, shares, strictly=False):
    """Whether a number lies between two shares of a range's width, from its low end."""
    low, high = (span[0] + s * (span[1] - span[0]) for s in shares)
    slack = -SLACK if strictly else SLACK
    return low * (1 - slack) <= value <= high * (1 + slack)


def plain(numbers, value, span):
    """Whether a number of one range lies where it is to."""
    if numbers == "seen":
        return within(value, span, (0, 1)) and not within(value, span, (0.45, 0.55), True)
    if numbers == "gap":
        return within(value, span, (0.45, 0.55))
    return within(value, span, [1 + s for s in BEYOND[numbers]]) and value > span[1]


def named(numbers, value, table, speed, slowed=1.0):
    """Whether the number of a named speed lies where it is to."""
    own = bands(table)[SPEEDS.index(speed)]
    if numbers == "seen":
        strays = any(within(value, band, (0.45, 0.55), True) for band in bands(table))
        return within(value, [slowed * v for v in own], (0, 1)) and not strays
    if numbers == "gap":
        return within(value, own, (0.45, 0.55))
    return plain(numbers, value, (bands(table)[0][0], bands(table)[-1][1]))


def verdicts(play):
    """Yield for each number of a play what it is, and whether it lies where its record says."""
    scene = play.scene
    slowed = min(1.0, 4 / scene.seconds)
    for thing, truth in zip(scene.objects, play.truth, strict=True):
        spans = {"drop_height": DROP, "length": LENGTH, "amplitude": AMPLITUDE, "push": PUSH}
        if thing.motion in UPWARD:
            spans["upward_speed"] = UPWARD[thing.motion]
        for name in spans.keys() & truth.keys():
            yield f"{thing.motion} {name}", plain(scene.numbers, truth[name], spans[name])
        tables = {"spin": TURN_RATE["spin"], "orbit": TURN_RATE["orbit"], "rise": RISE_SPEED}
        for name in tables.keys() & truth.keys():
            value = abs(truth[name])
            yield name, named(scene.numbers, value, tables[name], thing.speed or "normal")
        if "speed" in truth:
            table, limit = START_SPEED[thing.motion], 1.0 if thing.motion == "collide" else slowed
            fine = named(scene.numbers, abs(truth["speed"]), table, thing.speed, limit)
            yield f"{thing.motion} speed", fine
    for _, shot, _, rates in shots_of(scene):
        for name, value in rates.to_dict().items():
            if name == "shake":
                yield name, plain(scene.numbers, value, SHAKE)
            else:
                limit = min(1.0, 4.5 / shot.seconds)
                table, speed = SPEED_RATES[name], shot.camera.speed
                yield name, named(scene.numbers, abs(value), table, speed, limit)


def plays(numbers, seeds):
    """Yield what happens in candidates for scenes, whether or not all of it can be seen."""
    for seed in range(seeds):
        rng = random.Random(f"{numbers} {seed}")
        scene = _Draw(rng, rng.randrange(1, 3), "any").scene(seed, "16:9", None)
        scene = scene and _numbered(scene, numbers)
        if scene and seed % 4 and any(o.motion == "dominoes" for o in scene.objects):
            continue  # they take long
        where = scene and places(scene)
        if where:
            check(scene)
            yield simulate(scene, where)


EVERY = {
    "fall drop_height", "throw upward_speed", "bounce upward_speed", "pendulum length",
    "pendulum amplitude", "topple push", "dominoes push", "spin", "orbit", "rise", "shake",
    *SPEED_RATES, *(f"{motion} speed" for motion in START_SPEED),
}  # fmt: skip


@pytest.mark.parametrize("numbers", DRAWN_FROM)
def test_all_numbers_lie_where_the_record_says(numbers):
    found, wrong = Counter(), Counter()
    for play in plays(numbers, 300):
        here = list(verdicts(play))
        assert here or numbers == "seen"
        found.update(name for name, _ in here)
        wrong.update(name for name, fine in here if not fine)
    assert not wrong
    assert set(found) == EVERY
    assert sum(found.values()) > 300


@pytest.mark.parametrize("numbers", DRAWN_FROM)
def test_drawn_scenes_hold_their_numbers_and_belong_to_their_split(numbers):
    split = {"seen": None, "gap": "interpolation"}.get(numbers, "extrapolation")
    only = frozenset([split] if split else [])
    for seed in range(6):
        scene, play = draw_scene(seed, numbers=numbers, keep=lambda s: split_of(s) == only)
        check(scene)
        assert scene.numbers == numbers
        assert is_training(scene) == (numbers == "seen")
        assert all(fine for _, fine in verdicts(play))
        assert facts(scene) == facts(replace(scene, numbers="seen"))


def test_draws_fill_the_range_but_for_its_gap():
    span = (2.0, 4.0)
    seen = [number(u, span, "seen") for u in DRAWS]
    assert seen == sorted(seen) and seen[0] < 2.01 and 3.99 < seen[-1] < 4
    assert not any(2.9 <= v < 3.1 for v in seen)
    assert sum(v < 2.9 for v in seen) == 500
    gap = [number(u, span, "gap") for u in DRAWS]
    assert 2.9 <= min(gap) < 2.91 and 3.09 < max(gap) < 3.1
    near, far = ([number(u, span, n) for u in DRAWS] for n in BEYOND)
    assert 4 < min(near) < 4.01 and 4.59 < max(near) <= 4.6 < min(far) and max(far) <= 5.2
    for numbers in DRAWN_FROM:
        assert max(number(u, span, numbers) for u in DRAWS) <= most(span, numbers)


def test_what_is_slowed_down_stays_out_of_the_gaps_of_all_names():
    slowed = [paced(u, TABLE, "fast", "seen", 0.65) for u in DRAWS]
    assert min(slowed) < 0.6 and max(slowed) > 0.7
    assert not any(within(v, band, (0.45, 0.55), True) for v in slowed for band in bands(TABLE))
    # One end of what is left lies within a gap.
    cut = [paced(u, TABLE, "fast", "seen", 0.65 / 1.08) for u in DRAWS]
    assert max(cut) <= bands(TABLE)[1][0] + 0.45 * (0.16 * 0.65) + SLACK
    assert fastest(TABLE, "fast", "seen") == pytest.approx(1.08)
    assert fastest(TABLE, "fast", "beyond 60") == pytest.approx(1.08 + 0.6 * (1.08 - 0.92 * 0.38))


def test_an_unknown_source_of_numbers_is_refused():
    with pytest.raises(RequestError, match="numbers 'beyond 90' is not one of seen, gap, beyond"):
        number(0.5, (1.0, 2.0), "beyond 90")
    with pytest.raises(RequestError, match="numbers 'all'"):
        paced(0.5, TABLE, "slow", "all")
    with pytest.raises(RequestError, match="numbers 'none'"):
        draw_scene(0, numbers="none")


@pytest.mark.parametrize("numbers", DRAWN_FROM)
@pytest.mark.parametrize("direction", ["left", "right"])
@pytest.mark.parametrize("motion", ["roll", "slide", "throw", "pendulum", "bounce"])
def test_there_is_room_for_the_largest_numbers(motion, direction, numbers):
    shape = "ball" if motion in ("roll", "throw", "pendulum") else "cube"
    way, speed = (None, None) if motion == "pendulum" else (direction, "fast")
    thing = SceneObject(shape, "red", "rubber", "small", motion, way, speed)
    for seed in range(12):
        scene = Scene(seed, (thing,), "checkered", "noon", numbers=numbers)
        x = simulate(scene, [(0.0, 0.0, 0.0)]).pieces[0].position(np.linspace(0, 4, 97))[:, 0]
        kept, reach = room(scene, 0), foot(scene, 0)[0]
        assert kept.left < x.min() - reach + 0.01 and x.max() + reach - 0.01 < kept.right


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"numbers": "any"}, "numbers 'any' is not one of seen, gap, beyond 30, beyond 60"),
        ({"numbers": "beyond 30"}, "a speed with numbers 'beyond 30': 'slow' is not one of None"),
        ({"numbers": "gap", "objects": ()}, "0 objects"),
    ],
)
def test_records_with_numbers_that_cannot_be_are_refused(change, said):
    ball = SceneObject("ball", "red", "rubber", "small", "roll", "left", "slow")
    scene = Scene(3, (ball,), "checkered", "noon")
    check(replace(scene, numbers="gap"))
    with pytest.raises(RequestError, match=said):
        check(replace(scene, **change))


def test_only_short_films_with_numbers_have_them_elsewhere():
    still = SceneObject("ball", "red", "rubber", "small")
    scene = Scene(3, (still,), "checkered", "noon", numbers="gap")
    with pytest.raises(RequestError, match="nothing in the scene has one"):
        check(scene)
    check(replace(scene, shots=(Shot(Camera("handheld")),)))
    check(replace(scene, objects=(replace(still, motion="recolour", colour_to="blue"),),
                  shots=(Shot(Camera("pan left", "slow"), 4.0),)))  # fmt: skip
    with pytest.raises(RequestError, match=r"films of up to 4 s, not 5\.5 s"):
        check(replace(scene, shots=(Shot(Camera("handheld"), 5.5),)))
    fast = (Shot(Camera("pan left", "fast")),)
    check(replace(scene, shots=fast, numbers="beyond 60"))
    slow = (Shot(Camera("pan left", "normal")),)
    with pytest.raises(RequestError, match="'normal' is not one of None, fast"):
        check(replace(scene, shots=slow, numbers="beyond 60"))
