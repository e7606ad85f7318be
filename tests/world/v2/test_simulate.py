"""Motions against their laws, over drawn scenes and single ones."""

import math

import numpy as np
import pytest

from kineograph.world.dynamics import GRAVITY
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.laws import energy_growth, momentum_error, penetration
from kineograph.world.v2.parts import HALF_HEIGHT, RADIUS, RESTITUTION, rest_height
from kineograph.world.v2.scene import Camera, Scene, SceneObject, Shot
from kineograph.world.v2.simulate import GROWN, simulate

TIMES = np.linspace(0, 4, 97)


def play(*things, seconds=4.0, places=None, seed=3):
    scene = Scene(seed, things, "checkered", "noon", shots=(Shot(Camera(), seconds),))
    return simulate(scene, places or [(2.0 * i, 0.0, 0.0) for i in range(len(things))])


def track(found, i=0, times=TIMES):
    return next(p for p in found.pieces if p.thing == i).position(times)


@pytest.mark.parametrize("material", list(RESTITUTION))
def test_a_drop_falls_and_rebounds_by_the_material(material):
    found = play(SceneObject("ball", "red", material, "medium", "fall"))
    height = found.truth[0]["drop_height"]
    first, second = (t.time for t in found.touches[:2])
    assert first == pytest.approx(math.sqrt(2 * height / GRAVITY), rel=1e-9)
    e = RESTITUTION[material]
    assert second - first == pytest.approx(2 * e * math.sqrt(2 * height / GRAVITY), rel=1e-9)
    middle = track(found, times=np.array([(first + second) / 2]))[0, 1]
    assert middle - RADIUS["medium"] == pytest.approx(e * e * height, rel=1e-9)


@pytest.mark.parametrize(("direction", "sign"), [("left", -1), ("right", 1)])
@pytest.mark.parametrize("motion", ["roll", "throw", "bounce"])
def test_directions_are_those_that_are_named(motion, direction, sign):
    found = play(SceneObject("ball", "red", "rubber", "small", motion, direction, "normal"))
    moved = track(found)[-1, 0] - track(found)[0, 0]
    assert sign * moved > 1.0


def test_a_ball_rolls_without_slipping_and_speeds_are_told_apart():
    went = {}
    for speed in ("slow", "normal", "fast"):
        found = play(SceneObject("ball", "red", "rubber", "large", "roll", "right", speed))
        piece = found.pieces[0]
        turned = piece.rotation(np.array([0.0, 0.5]))
        angle = math.acos((np.trace(turned[0].T @ turned[1]) - 1) / 2)
        way = track(found, times=np.array([0.0, 0.5]))[:, 0]
        assert angle == pytest.approx((way[1] - way[0]) / RADIUS["large"], rel=1e-6)
        went[speed] = found.truth[0]["speed"]
    assert went["slow"] < went["normal"] < went["fast"]


def test_friction_stops_what_slides():
    found = play(SceneObject("cube", "red", "wood", "medium", "slide", "right", "slow"))
    x = track(found)[:, 0]
    speed = found.truth[0]["speed"]
    assert x[-1] - x[0] == pytest.approx(speed**2 / (2 * 0.035 * GRAVITY), rel=1e-6)
    assert x[-1] == x[-10]


def test_a_pendulum_swings_with_its_period():
    found = play(SceneObject("ball", "red", "metal", "small", "pendulum"))
    period, fine = found.truth[0]["period"], np.linspace(0, 4, 4001)
    x = track(found, times=fine)[:, 0]
    x = x - 0.0
    assert found.truth[0]["amplitude"] > 20
    crossings = fine[1:][np.sign(x[1:]) != np.sign(x[:-1])]
    assert np.diff(crossings) == pytest.approx(period / 2, abs=2e-3)


def test_dominoes_fall_one_after_another_and_stay():
    found = play(SceneObject("domino", "red", "wood", "large", "dominoes", "left", count=5))
    strikes = found.truth[0]["strikes"]
    assert len(strikes) == 5
    assert strikes == sorted(strikes)
    assert strikes[-1] < 4
    ends = [p.rotation(np.array([4.0]))[0] for p in found.pieces]
    tilts = [math.degrees(math.acos(min(1.0, r[1, 1]))) for r in ends]
    assert tilts[-1] == pytest.approx(90, abs=1e-6)
    assert min(tilts) > 70
    assert penetration(found, TIMES) < 0.001


def test_the_top_of_an_unstable_stack_ends_on_the_floor():
    found = play(SceneObject("cube", "red", "wood", "medium", "collapse", count=3))
    top = found.pieces[-1]
    a = HALF_HEIGHT["cube"] * RADIUS["medium"]
    heights = top.position(TIMES)[:, 1]
    assert heights[0] == pytest.approx(5 * a)
    assert heights[-1] == pytest.approx(a)
    assert (np.diff(heights) < 1e-3).all()  # it tips up by no more than its diagonal allows
    assert penetration(found, TIMES) < 0.001
    assert found.truth[0]["lands"] == found.touches[-1].time


def test_stacks_stand():
    found = play(SceneObject("cylinder", "red", "wood", "small", "stack", count=4))
    a = rest_height(found.scene.objects[0])
    heights = [p.position(TIMES)[0, 1] for p in found.pieces]
    assert heights == pytest.approx([a, 3 * a, 5 * a, 7 * a])
    assert all(np.ptp(p.position(TIMES), axis=0).max() == 0 for p in found.pieces)


def test_what_grows_stays_on_the_floor():
    found = play(SceneObject("egg", "red", "glass", "small", "grow"))
    piece = found.pieces[0]
    assert piece.scale(np.array([0.0, 4.0])) == pytest.approx([1, GROWN])
    assert track(found)[:, 1] == pytest.approx(RADIUS["small"] * piece.scale(TIMES))


def test_what_comes_later_waits():
    later = SceneObject("ball", "blue", "rubber", "small", "roll", "right", "fast", order=1)
    found = play(SceneObject("cube", "red", "wood", "small", "spin", None, "slow"), later)
    x = track(found, 1)[:, 0]
    assert (x[TIMES <= 2] == x[0]).all()
    assert x[-1] > x[0] + 1


def test_a_second_act_follows_the_first():
    thing = SceneObject("cube", "red", "wood", "small", "still", then="grow")
    scale = play(thing).pieces[0].scale(TIMES)
    assert (scale[TIMES <= 2] == 1).all()
    assert scale[-1] == pytest.approx(GROWN)
    hue = SceneObject("ball", "red", "wood", "small", "fall", then="recolour", colour_to="blue")
    begin, end = play(hue).changes[0]
    assert 2 < begin < end < 4


def test_what_circles_keeps_its_distance_and_its_rate():
    thing = SceneObject("ball", "red", "rubber", "small", "orbit", None, "normal", partner=1)
    found = play(
        thing, SceneObject("cube", "blue", "wood", "small"), places=[(1.2, 0, 0), (0, 0, 0)]
    )
    where = track(found)
    assert np.hypot(where[:, 0], where[:, 2]) == pytest.approx(1.2)
    turned = np.unwrap(np.arctan2(-where[:, 2], where[:, 0]))
    assert np.degrees(turned[-1] - turned[0]) == pytest.approx(4 * found.truth[0]["orbit"])


def test_drawn_scenes_obey_the_laws():
    for seed in range(40):
        scene, found = draw_scene(seed)
        times = np.linspace(0, scene.seconds, 25)
        assert energy_growth(found, times) < 1e-6, seed
        assert momentum_error(found) < 1e-6, seed
        assert penetration(found, times) < 0.01, seed


def test_the_measures_of_the_laws_can_fail():
    thing = SceneObject("ball", "red", "rubber", "small", "fall")
    inside = play(
        thing, SceneObject("cube", "blue", "wood", "small"), places=[(0, 0, 0), (0.1, 0, 0)]
    )
    assert penetration(inside, np.array([3.9])) > 0.4
    piece = inside.pieces[0]
    real = piece.position
    piece.position = lambda t: real(4.0 - t)  # played backwards, it bounces higher and higher
    assert energy_growth(inside, np.linspace(0, 3.9, 30)) > 0.05


def test_a_scene_has_one_motion():
    one, other = (draw_scene(11)[1] for _ in range(2))
    assert one.scene == other.scene
    for a, b in zip(one.pieces, other.pieces, strict=True):
        assert (a.position(TIMES) == b.position(TIMES)).all()
