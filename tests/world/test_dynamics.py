"""Bodies obey the laws exactly: known cases, conservation, and nothing in anything."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from kineograph.world.dynamics import (
    GRAVITY,
    Body,
    about,
    follow_bodies,
    touching,
)

TIMES = np.linspace(0, 4, 193)


def ball(x: float = 0.0, y: float = 0.5, z: float = 0.0, **settings) -> Body:
    settings = {"mass": 1.0, "height": 0.5, "reach": 0.5, **settings}
    return Body(position=(x, y, z), **settings)


def crowd(seed: int) -> list[Body]:
    """Draw balls and posts that do not touch: some in the air, most of them moving."""
    rng = random.Random(seed)
    bodies: list[Body] = []
    for _ in range(rng.randint(2, 8)):
        while True:
            r, is_ball = rng.uniform(0.3, 0.8), rng.random() < 0.6
            above = rng.choice((0.0, rng.uniform(0, 2))) if is_ball else 0.0
            body = Body(
                r**3, r, r, (rng.uniform(-3, 3), r + above, rng.uniform(-3, 3)),
                (rng.uniform(-2, 2), 0.0, rng.uniform(-2, 2)),
                rng.uniform(0.4, 0.8), rng.uniform(0, 0.1), is_ball, is_ball,
            )  # fmt: skip
            if all(distance(body, other)[0] > distance(body, other)[1] for other in bodies):
                bodies.append(body)
                break
    return bodies


def distance(a: Body, b: Body) -> tuple[float, float]:
    gap, axes = touching(a, b)
    return float(np.linalg.norm((np.array(a.position) - b.position) * axes)), gap


def test_a_dropped_ball_hits_and_rebounds_when_it_must():
    paths = follow_bodies([ball(y=2.5, restitution=0.7)], 4)
    first = math.sqrt(2 * 2.0 / GRAVITY)
    speeds = [GRAVITY * first * 0.7**n for n in range(10)]
    gaps = [2 * s / GRAVITY for s in speeds[1:] if s >= 0.25]
    wanted = first + np.concatenate(([0.0], np.cumsum(gaps)))
    found = [c for c in paths.contacts if c.other is None]
    assert [c.time for c in found] == pytest.approx(wanted, abs=1e-12)
    assert [c.speed for c in found] == pytest.approx(speeds[: len(found)], rel=1e-9)
    assert [c.impulse for c in found[:3]] == pytest.approx([1.7 * s for s in speeds[:3]], rel=1e-9)
    assert paths.position(0, np.array([4.0]))[0, 1] == pytest.approx(0.5)
    fall = TIMES[first > TIMES]
    assert paths.position(0, fall)[:, 1] == pytest.approx(2.5 - 0.5 * GRAVITY * fall**2)


def test_friction_stops_a_sliding_body_after_its_way():
    body = ball(velocity=(1.2, 0, -0.9), friction=0.1, rolls=False)
    paths = follow_bodies([body], 4)
    end, stop = paths.position(0, np.array([4.0]))[0], 1.5 / (0.1 * GRAVITY)
    way = 1.5**2 / (2 * 0.1 * GRAVITY)
    assert np.hypot(end[0], end[2]) == pytest.approx(way)
    assert end[2] / end[0] == pytest.approx(-0.75)
    speed = np.linalg.norm(paths.velocity(0, TIMES), axis=1)
    assert speed == pytest.approx(np.maximum(1.5 - 0.1 * GRAVITY * TIMES, 0), abs=1e-9)
    assert speed[stop < TIMES].max() == 0


def test_a_head_on_collision_obeys_its_restitution():
    a, b = ball(-2.0, velocity=(2, 0, 0), mass=3.0), ball(1.0, velocity=(-1, 0, 0))
    paths = follow_bodies([a, b], 3, restitution=0.6)
    (hit,) = paths.contacts
    assert hit.time == pytest.approx((3.0 - 1.0) / 3.0)
    after = [paths.velocity(i, np.array([2.0]))[0, 0] for i in (0, 1)]
    assert after[1] - after[0] == pytest.approx(0.6 * 3.0)
    assert 3 * after[0] + after[1] == pytest.approx(3 * 2 - 1)
    assert hit.impulse == pytest.approx(1.6 * 3.0 / (1 / 3 + 1))
    assert hit.point == pytest.approx((-2 + 2 * hit.time + 0.5, 0.5, 0))


def test_an_oblique_collision_keeps_momentum_and_elastic_energy():
    a, b = ball(-2.0, z=0.3, velocity=(2, 0, 0)), ball(0.0, mass=2.0)
    paths = follow_bodies([a, b], 3, restitution=1.0)
    before, after = (
        [paths.velocity(i, np.array([t]))[0] for i in (0, 1)] for t in (0.0, 2.5)
    )
    assert after[0] + 2 * after[1] == pytest.approx(before[0] + 2 * before[1], abs=1e-9)
    assert paths.energy(np.array([0.0])) == pytest.approx(paths.energy(np.array([2.5])))
    assert after[1][2] != 0


def test_a_rolling_ball_turns_by_its_way_and_keeps_turning_in_the_air():
    paths = follow_bodies([ball(velocity=(1, 0, 0))], 4)
    # to the right as the viewer sees it: clockwise, about -z
    assert paths.rotation(0, np.array([0.7]))[0] == pytest.approx(
        about(np.array([0.0, 0.0, -1.0]), 0.7 / 0.5)
    )
    thrown = follow_bodies([ball(velocity=(1, 3, 0), restitution=0.5)], 4)
    contact = thrown.contacts[0].time
    assert thrown.rotation(0, np.array([contact / 2]))[0] == pytest.approx(
        about(np.array([0.0, 0.0, -1.0]), contact / 2 / 0.5)
    )
    around = thrown.rotation(0, TIMES)
    assert around @ around.swapaxes(1, 2) == pytest.approx(np.broadcast_to(np.eye(3), (193, 3, 3)))
    assert np.abs(np.diff(around, axis=0)).max() < 0.1  # no jump, at contacts neither


def test_crowds_keep_the_laws():
    met = 0
    for seed in range(80):
        bodies = crowd(seed)
        try:
            paths = follow_bodies(bodies, 2.0)
        except ValueError as error:
            assert "come apart" in str(error)  # one came to rest upon another
            continue
        times = np.linspace(0, 2.0, 25)
        energy = paths.energy(times)
        assert np.diff(energy).max() <= 1e-9 * energy[0]
        at = [paths.position(i, times) for i in range(len(bodies))]
        for i, a in enumerate(bodies):
            assert at[i][:, 1].min() >= a.height - 1e-9
            for j, b in enumerate(bodies[:i]):
                gap, axes = touching(a, b)
                apart = np.linalg.norm((at[i] - at[j]) * axes, axis=1)
                assert apart.min() > gap - 1e-6 * min(a.reach, b.reach), (seed, i, j)
        met += sum(c.other is not None for c in paths.contacts)
    assert met > 80


def test_momentum_is_kept_in_every_collision_on_the_floor():
    checked = 0
    for seed in range(60):
        bodies = [b for b in crowd(seed) if b.position[1] == b.height]
        if len(bodies) < 2:
            continue
        paths = follow_bodies(bodies, 2.0)
        for hit in paths.contacts:
            if hit.other is None:
                continue
            pair = (hit.body, hit.other)
            before, after = (
                sum(bodies[k].mass * paths.velocity(k, np.array([hit.time + dt]))[0] for k in pair)
                for dt in (-1e-9, 0.0)
            )
            scale = sum(
                bodies[k].mass * np.linalg.norm(paths.velocity(k, np.array([hit.time - 1e-9])))
                for k in pair
            )
            assert np.abs(after - before).max() <= 1e-6 * scale
            checked += 1
    assert checked > 20


def test_a_ball_over_a_low_post_meets_its_rim():
    post = Body(1.0, 0.2, 0.4, (0.0, 0.2, 0.0), ball=False, rolls=False)
    gap, _ = touching(ball(), post)
    assert gap == pytest.approx(0.4 + math.sqrt(0.25 - 0.01))
    assert touching(post, ball())[0] == gap
    tall = Body(1.0, 0.8, 0.4, (0.0, 0.8, 0.0), ball=False, rolls=False)
    assert touching(ball(), tall)[0] == pytest.approx(0.9)
    paths = follow_bodies([ball(-3.0, velocity=(2, 0, 0)), tall], 2)
    assert paths.contacts[0].time == pytest.approx((3 - 0.9) / 2)


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ([ball(y=0.3)], "body 0 starts 0.2 m in the floor"),
        ([ball(), ball(0.6)], "bodies 0 and 1 start 0.4 m in each other"),
    ],
)
def test_impossible_beginnings_are_refused(bodies, said):
    with pytest.raises(ValueError, match=said):
        follow_bodies(bodies, 1.0)
