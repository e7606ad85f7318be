"""Sound against the contacts that make it."""

import numpy as np
import pytest

from kineograph.world.onsets import onsets
from kineograph.world.sound import RATE
from kineograph.world.v2.scene import Scene, SceneObject
from kineograph.world.v2.simulate import simulate
from kineograph.world.v2.soundtrack import _impacts, _rubbings, soundtrack

BALL = SceneObject("ball", "red", "metal", "medium", "fall")


def play(*things, places=None, **more):
    scene = Scene(5, things, more.pop("floor", "marble"), "noon", **more)
    return simulate(scene, places or [(2.0 * i, 0.0, 0.0) for i in range(len(things))])


def test_what_falls_is_heard_when_it_lands():
    found = play(BALL)
    sound = soundtrack(found)
    assert sound.shape == (4 * RATE, 2)
    heard = np.asarray(onsets(sound, RATE))
    for touch in found.touches[:3]:
        assert np.abs(heard - touch.time).min() < 0.01


def test_the_left_is_heard_on_the_left():
    for x, louder in ((-1.8, 0), (1.8, 1)):
        (hit, *_) = _impacts(play(BALL, places=[(x, 0.0, 0.0)]))
        assert np.sign(hit.pan) == (-1, 1)[louder]
        power = (soundtrack(play(BALL, places=[(x, 0.0, 0.0)])) ** 2).sum(0)
        assert power.argmax() == louder


def test_what_rolls_and_slides_rubs_as_long_as_it_moves():
    (roll,) = _rubbings(play(SceneObject("ball", "red", "wood", "small", "roll", "left", "fast")))
    assert roll.kind == "roll"
    assert roll.times[-1] - roll.times[0] > 3.8
    (slide,) = _rubbings(play(SceneObject("cube", "red", "wood", "small", "slide", "left", "slow")))
    assert slide.kind == "slide"
    assert slide.times[-1] < 2.5
    assert slide.speed[0] > slide.speed[-1]


def test_collisions_name_both_materials():
    runner = SceneObject("ball", "red", "glass", "small", "collide", "right", "fast", partner=1)
    found = play(
        runner, SceneObject("cube", "blue", "wood", "small"), places=[(-1.5, 0, 0), (0, 0, 0)]
    )
    assert ("glass", "wood") in [hit.materials for hit in _impacts(found)]


@pytest.mark.parametrize("floor", ["grid", "snowy", "water", "grassy"])
@pytest.mark.parametrize("weather", ["clear", "rain", "snow", "fog"])
def test_every_place_and_weather_has_its_air(floor, weather):
    sound = soundtrack(
        play(SceneObject("cube", "red", "wood", "small"), floor=floor, weather=weather)
    )
    assert np.isfinite(sound).all()
    assert 0 < np.abs(sound).max() < 1
