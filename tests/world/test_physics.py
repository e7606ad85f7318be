"""Motion in closed form agrees with stepped integration and with the laws it states."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from kineograph.world.draw import CLIP_TIMES, COLLIDERS
from kineograph.world.physics import (
    COLLISION_RESTITUTION,
    GRAVITY,
    HALF_HEIGHT,
    HALF_WIDTH,
    RADIUS,
    RESTITUTION,
    VOLUME,
    bounce,
    contact_distance,
    mass,
    simulate,
)
from kineograph.world.scene import (
    MATERIALS,
    ROLLERS,
    SHAPES,
    SIZES,
    SPEEDS,
    Camera,
    Scene,
    SceneObject,
)

fine = np.linspace(0, 2.4, 2401)


def scene_of(*objects: SceneObject, seed: int = 1) -> Scene:
    return Scene(seed, objects, "checkered", "noon", Camera("static"))


def thing(shape: str, motion: str, **settings: str | bool | None) -> SceneObject:
    plain = SceneObject(shape, "red", "matte", "medium", motion)
    return replace(plain, **settings)


def moved(shape: str, motion: str, speed: str = "normal", way: str = "right", **settings: str):
    obj = thing(shape, motion, direction=way, speed=speed, **settings)
    return simulate(scene_of(obj), fine)[0]


def stepped(height: float, speed: float, restitution: float, times: np.ndarray) -> np.ndarray:
    """Drop a body in small steps: the slow twin of `bounce`."""
    dt, y, v, out = 1e-4, height, speed, []
    steps = round(times[-1] / dt) + 1
    for _ in range(steps):
        out.append(y)
        y, v = y + v * dt - 0.5 * GRAVITY * dt * dt, v - GRAVITY * dt
        if y < 0:
            y, v = 0.0, -v * restitution
            if v <= 0.25:
                v = 0.0
        if y == 0 and v == 0:
            out += [0.0] * (steps - len(out))
            break
    return np.interp(times, np.arange(steps) * dt, out[:steps])


@pytest.mark.parametrize(
    ("height", "speed", "restitution"),
    [(1.15, 0.0, 0.75), (1.75, 0.0, 0.5), (0.0, 4.7, 0.65), (0.5, 2.0, 0.9), (0.3, -1.0, 0.5)],
)
def test_bouncing_agrees_with_stepped_integration(height, speed, restitution):
    y, _ = bounce(CLIP_TIMES, height, speed, restitution)
    assert np.abs(y - stepped(height, speed, restitution, CLIP_TIMES)).max() < 5e-3
    assert y[0] == height


def test_each_rebound_keeps_the_square_of_the_restitution():
    times = np.linspace(0, 4, 400_001)
    y, contacts = bounce(times, 1.5, 0.0, 0.7)
    assert contacts[0] == pytest.approx(math.sqrt(2 * 1.5 / GRAVITY))
    peaks = [
        y[(times > a) & (times < b)].max() for a, b in pairwise(contacts)
    ]
    wanted = [1.5 * 0.7 ** (2 * k) for k in range(1, len(peaks) + 1)]
    assert peaks == pytest.approx(wanted, rel=1e-3)
    assert np.interp(contacts, times, y) == pytest.approx(np.zeros(len(contacts)), abs=1e-4)
    assert (y[times > contacts[-1]] == 0).all()


@pytest.mark.parametrize("material", MATERIALS)
def test_the_material_decides_how_a_fall_rebounds(material):
    track = simulate(scene_of(thing("ball", "fall", material=material)), fine)[0]
    assert track.truth["restitution"] == RESTITUTION[material]
    rest = RADIUS["medium"]
    assert track.position[0, 1] == pytest.approx(rest + track.truth["drop_height"])
    assert track.position[:, 1].min() >= rest - 1e-12
    first, second = track.truth["contacts"][:2]
    top = track.position[(fine > first) & (fine < second), 1].max() - rest
    wanted = track.truth["drop_height"] * RESTITUTION[material] ** 2
    assert top == pytest.approx(wanted, rel=1e-3)
    assert np.ptp(track.position[:, 0]) == np.ptp(track.position[:, 2]) == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_what_stands_still_stands_on_the_floor(shape):
    track = simulate(scene_of(thing(shape, "still")), fine)[0]
    assert np.ptp(track.position, axis=0).tolist() == [0, 0, 0]
    assert np.ptp(track.roll) == np.ptp(track.yaw) == 0
    assert track.position[0, 1] == HALF_HEIGHT[shape] * RADIUS["medium"]


@pytest.mark.parametrize("shape", ROLLERS)
@pytest.mark.parametrize("size", SIZES)
def test_what_rolls_does_not_slip(shape, size):
    track = moved(shape, "roll", size=size)
    x = track.position[:, 0]
    # The point that touches the floor stands: v + radius * turn = 0, with turns about z.
    slip = np.diff(x) + RADIUS[size] * np.diff(track.roll)
    assert np.abs(slip).max() < 1e-12
    assert np.abs(np.diff(track.roll)).max() > 1e-4
    assert np.ptp(track.position[:, 1]) == 0


@pytest.mark.parametrize(
    ("shape", "motion"),
    [("ball", "roll"), ("ring", "roll"), ("cube", "slide"), ("cone", "slide"), ("cube", "throw")],
)
def test_faster_goes_further_and_to_the_side_that_is_said(shape, motion):
    for way, sign in (("right", 1), ("left", -1)):
        ends = []
        for speed in SPEEDS:
            track = moved(shape, motion, speed, way)
            x = track.position[:, 0]
            assert (sign * np.diff(x) > 0).all()
            assert (x[-1] - x[0]) / 2.4 == pytest.approx(track.truth["speed"])
            ends.append(sign * (x[-1] - x[0]))
        assert ends == sorted(ends)
        assert ends[1] > 1.3 * ends[0]
        assert ends[2] > 1.3 * ends[1]


def test_sliding_slows_down_evenly_and_rolling_does_not():
    courses = (moved("cube", "slide"), moved("ball", "roll"))
    slide, roll = (np.diff(track.position[:, 0]) for track in courses)
    assert np.ptp(np.diff(slide)) < 1e-12
    assert slide[-1] < 0.5 * slide[0]
    assert np.ptp(roll) < 1e-12


def test_a_throw_goes_up_first_under_gravity():
    track = moved("ball", "throw", "slow")
    y = track.position[:, 1]
    flight = fine < track.truth["contacts"][0] - 0.01
    falling = np.diff(y[flight], 2) / (fine[1] - fine[0]) ** 2
    assert falling == pytest.approx(-GRAVITY * np.ones(len(falling)), rel=1e-6)
    assert y[0] == pytest.approx(RADIUS["medium"])
    assert y[1] > y[0]


def test_spinning_turns_in_place_at_its_rate():
    rates = []
    for speed in SPEEDS:
        track = simulate(scene_of(thing("cube", "spin", speed=speed)), fine)[0]
        assert np.ptp(track.position, axis=0).tolist() == [0, 0, 0]
        rates.append(np.degrees(track.yaw[-1] - track.yaw[0]) / 2.4)
        assert rates[-1] == pytest.approx(track.truth["spin"])
    assert rates == sorted(rates)


def collision(a: str, b: str, sizes: tuple[str, str] = ("medium", "medium"), way: str = "right"):
    runner = thing(a, "collide", size=sizes[0], direction=way, speed="normal")
    struck = thing(b, "still", size=sizes[1], struck=True)
    return runner, struck, simulate(scene_of(runner, struck), fine)


@pytest.mark.parametrize(("a", "b"), list(product(COLLIDERS, COLLIDERS)))
def test_a_collision_keeps_momentum_and_has_its_restitution(a, b):
    runner, struck, (first, second) = collision(a, b, ("large", "small"), "left")
    (when,) = first.truth["contacts"]
    before, after = fine < when - 0.002, fine > when + 0.002
    speeds = []
    for track in (first, second):
        x = track.position[:, 0]
        for part in (before, after):
            v = np.diff(x[part]) / (fine[1] - fine[0])
            assert np.ptp(v) < 1e-9
            speeds.append(v[0])
    va, va2, vb, vb2 = speeds
    assert va < 0 and vb == 0
    assert (va, va2) == pytest.approx((first.truth["speed_before"], first.truth["speed_after"]))
    assert vb2 == pytest.approx(second.truth["speed_after"])
    assert mass(runner) * va == pytest.approx(mass(runner) * va2 + mass(struck) * vb2)
    assert vb2 - va2 == pytest.approx(-COLLISION_RESTITUTION * (vb - va))
    distance = np.abs(first.position[:, 0] - second.position[:, 0])
    assert distance.min() >= contact_distance(runner, struck) - 1e-12
    assert np.interp(when, fine, distance) == pytest.approx(
        contact_distance(runner, struck), abs=2e-3
    )


def test_a_heavier_runner_pushes_further():
    shares = []
    for sizes in (("small", "large"), ("medium", "medium"), ("large", "small")):
        _, _, (first, second) = collision("cube", "cube", sizes)
        shares.append(second.truth["speed_after"] / first.truth["speed_before"])
    assert shares == sorted(shares)


@pytest.mark.parametrize(("a", "b"), list(product(COLLIDERS, COLLIDERS)))
@pytest.mark.parametrize("sizes", [("small", "large"), ("medium", "medium")])
def test_objects_at_contact_distance_touch(a, b, sizes):
    one, two = thing(a, "collide", size=sizes[0]), thing(b, "still", size=sizes[1])
    d = contact_distance(one, two)
    assert d == pytest.approx(contact_distance(two, one))
    assert gap(one, two, d) == pytest.approx(0, abs=3e-3)
    assert gap(one, two, d + 0.05) > 0.01


def gap(a: SceneObject, b: SceneObject, distance: float) -> float:
    """Return the space between two outlines seen from the front, by comparing their points."""
    one, two = outline(a), outline(b) + np.array([distance, 0])
    return float(np.sqrt(((one[:, None] - two[None]) ** 2).sum(-1)).min())


def outline(obj: SceneObject) -> np.ndarray:
    r = RADIUS[obj.size]
    if obj.shape in ROLLERS:
        angle = np.linspace(0, 2 * math.pi, 401)
        return np.stack([r * np.cos(angle), r + r * np.sin(angle)], -1)
    w, top = HALF_WIDTH[obj.shape] * r, 2 * HALF_HEIGHT[obj.shape] * r
    rise = np.linspace(0, top, 401)
    return np.concatenate([np.stack([side * w + 0 * rise, rise], -1) for side in (-1, 1)])


def test_volumes_are_those_of_the_shapes():
    n = 80
    x, y, z = np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1] * 3, indexing="ij")
    disc = x * x + y * y
    bodies = {
        "ball": disc + z * z < 1,
        "cube": np.maximum(np.maximum(abs(x), abs(y)), abs(z)) < HALF_HEIGHT["cube"],
        "cylinder": (x * x + z * z < 0.72**2) & (abs(y) < 0.95),
        "cone": (np.hypot(x, z) < 0.45 - y * 0.9 / 1.9) & (abs(y) < 0.95),
        "ring": (disc < 1) & (disc > 0.55**2) & (abs(z) < 0.30),
    }
    for shape, body in bodies.items():
        assert 8 * body.mean() == pytest.approx(VOLUME[shape], rel=0.03), shape
        assert abs(x[body]).max() == pytest.approx(HALF_WIDTH[shape], abs=0.03), shape
        assert abs(y[body]).max() == pytest.approx(HALF_HEIGHT[shape], abs=0.03), shape


def test_any_instant_can_be_asked_for_and_a_scene_has_one_course():
    scene = scene_of(
        thing("ball", "collide", direction="left", speed="fast"),
        thing("cube", "still", struck=True),
        thing("cone", "throw", direction="right", speed="slow"),
    )
    whole = simulate(scene, CLIP_TIMES)
    for track, again in zip(whole, simulate(scene, CLIP_TIMES[[3, 20]]), strict=True):
        assert (track.position[[3, 20]] == again.position).all()
        assert track.truth == again.truth
    other = simulate(replace(scene, seed=2), CLIP_TIMES)
    assert all((a.position != b.position).any() for a, b in zip(whole, other, strict=True))
    newer = simulate(replace(scene, version=scene.version + 1), CLIP_TIMES)
    assert all((a.position != b.position).any() for a, b in zip(whole, newer, strict=True))


def test_objects_start_apart():
    for seed in range(30):
        objects = [thing("cube", "still", size="large")] * 3
        tracks = simulate(scene_of(*objects, seed=seed), CLIP_TIMES)
        x, z = np.array([track.position[0, [0, 2]] for track in tracks]).T
        apart = np.hypot(x[:, None] - x, z[:, None] - z) + 9 * np.eye(3)
        assert apart.min() > 0.9
