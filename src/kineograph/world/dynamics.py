"""Exact motion of bodies that fall, fly, bounce, roll, slide and collide: event by event.

Between two events every body moves on a parabola (in the air under gravity, on the floor under
constant friction), so the instants of contact are roots of polynomials and nothing is stepped:
any time can be asked for, and contact times and impulses are exact. What a collision does is a
frictionless impulse along the line of centres with a coefficient of restitution; a body that
stands on the floor keeps its height, and the floor takes the vertical part.

Units are SI; y is up, the floor is y = 0. Letters: t times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRAVITY = 9.8  # m/s^2
REST_SPEED = 0.25  # m/s; a rebound from the floor that is slower ends the bouncing
MAX_EVENTS = 400
_UP = np.array([0.0, 1.0, 0.0])
_SOON = 1e-9  # s; roots nearer than this are the contact that has just been dealt with


@dataclass(frozen=True)
class Body:
    """A body at the start: a ball, or a post that stands upright and never turns over.

    Balls meet as spheres; whatever meets a post meets its round footprint of radius `reach`.
    """

    mass: float  # kg
    height: float  # m, of its centre when it stands on the floor
    reach: float  # m, radius of the ball, or of the post's footprint
    position: tuple[float, float, float]
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    restitution: float = 0.6  # of a bounce from the floor
    friction: float = 0.0  # deceleration on the floor over gravity
    ball: bool = True
    rolls: bool = True


@dataclass(frozen=True)
class Contact:
    """One impact; `other` is None for the floor."""

    time: float  # s
    body: int
    other: int | None
    impulse: float  # N s
    speed: float  # m/s, at which the two closed in
    point: tuple[float, float, float]  # m


@dataclass(frozen=True)
class _Leg:
    """A body's way from `start` to the next event: a parabola, or a stand."""

    start: float
    position: Array
    velocity: Array
    acceleration: Array
    turned: Array  # 3 3, how the body lies at the start
    spin: Array  # rad/s, about a fixed axis; on the floor, where it rolls, per metre instead
    grounded: bool

    def at(self, time: float) -> tuple[Array, Array]:
        s = time - self.start
        velocity = self.velocity + self.acceleration * s
        return self.position + self.velocity * s + 0.5 * self.acceleration * s * s, velocity

    def lies(self, time: float) -> Array:
        s = time - self.start
        rate = float(np.linalg.norm(self.spin))
        if rate == 0.0:
            return self.turned
        way = s
        if self.grounded:  # straight on, ever slower: the way is the distance gone
            way = float(np.linalg.norm(self.velocity * s + 0.5 * self.acceleration * s * s))
        return about(self.spin / rate, rate * way) @ self.turned


@dataclass
class Paths:
    """The legs of every body and all contacts up to `until` (s)."""

    bodies: tuple[Body, ...]
    until: float
    legs: list[list[_Leg]] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)

    def _leg(self, body: int, time: float) -> _Leg:
        legs = self.legs[body]
        return next((leg for leg in reversed(legs) if leg.start <= time), legs[0])

    def position(self, body: int, times: Array) -> Array:
        """Return the centre `t 3` of a body (m)."""
        return np.stack([self._leg(body, t).at(t)[0] for t in times])

    def velocity(self, body: int, times: Array) -> Array:
        """Return the velocity `t 3` of a body (m/s); at a contact, the one after it."""
        return np.stack([self._leg(body, t).at(t)[1] for t in times])

    def rotation(self, body: int, times: Array) -> Array:
        """Return how a body lies, `t 3 3`, world from local; the identity at the start."""
        return np.stack([self._leg(body, t).lies(t) for t in times])

    def energy(self, times: Array) -> Array:
        """Return the energy `t` of all bodies together, spin left out (J)."""
        total = np.zeros(len(times))
        for i, body in enumerate(self.bodies):
            height = self.position(i, times)[:, 1] - body.height
            squared = (self.velocity(i, times) ** 2).sum(1)
            total += body.mass * (0.5 * squared + GRAVITY * height)
        return total


def about(axis: Array, angle: float) -> Array:
    """Return the rotation `3 3` by an angle (rad) about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


def touching(a: Body, b: Body) -> tuple[float, Array]:
    """Return the distance of centres at which two bodies touch (m), and the axes that count."""
    if a.ball and b.ball:
        return a.reach + b.reach, np.ones(3)
    if not a.ball and not b.ball:
        return a.reach + b.reach, np.array([1.0, 0.0, 1.0])
    ball, post = (a, b) if a.ball else (b, a)
    top, r = 2 * post.height, ball.reach
    over = r if top >= r else math.sqrt(r * r - (r - top) ** 2)  # a low post meets the ball's flank
    return post.reach + over, np.array([1.0, 0.0, 1.0])


def _first_root(coefficients: Sequence[float]) -> float:
    """Return where a polynomial (highest power first) first falls through 0 after 0; inf if never.

    Starting at or below 0 and falling counts as now.
    """
    slope = coefficients[-2]
    scale = max(abs(c) for c in coefficients) or 1.0
    if coefficients[-1] <= 1e-12 * scale and slope < 0:
        return 0.0
    roots = np.roots(np.array(coefficients))
    derivative = np.polyder(np.array(coefficients))
    best = math.inf
    for root in roots:
        if abs(root.imag) > 1e-7 * max(1.0, abs(root.real)) or root.real <= _SOON:
            continue
        time = float(root.real)
        for _ in range(3):  # to the last bits
            fall = float(np.polyval(derivative, time))
            if fall == 0.0:
                break
            time -= float(np.polyval(coefficients, time)) / fall
        if _SOON < time < best and np.polyval(derivative, time) < 0:
            best = time
    return best


class _World:
    """The bodies between events; every leg that ends is kept in `paths`."""

    def __init__(self, bodies: Sequence[Body], until: float) -> None:
        self.bodies = tuple(bodies)
        self.time = 0.0
        self.paths = Paths(self.bodies, until, [[] for _ in bodies])
        self.pairs = [
            (i, j, *touching(a, b))
            for i, a in enumerate(bodies)
            for j, b in enumerate(bodies)
            if i < j
        ]
        for i, body in enumerate(bodies):
            place, velocity = (np.array(v, dtype=float) for v in (body.position, body.velocity))
            if place[1] < body.height - 1e-9:
                raise ValueError(f"body {i} starts {body.height - place[1]:g} m in the floor")
            grounded = bool(place[1] <= body.height + 1e-9 and velocity[1] <= 0)
            self._set(i, place, velocity, np.eye(3), grounded)
        for i, j, gap, axes in self.pairs:
            apart = float(np.linalg.norm((self._now(i)[0] - self._now(j)[0]) * axes))
            if apart < gap * (1 - 1e-9):
                raise ValueError(f"bodies {i} and {j} start {gap - apart:g} m in each other")

    def _leg(self, i: int) -> _Leg:
        return self.paths.legs[i][-1]

    def _now(self, i: int) -> tuple[Array, Array]:
        return self._leg(i).at(self.time)

    def _set(self, i: int, place: Array, velocity: Array, turned: Array, grounded: bool) -> None:
        """Let a body go on from here: on the floor under friction, or through the air."""
        body = self.bodies[i]
        spin = np.zeros(3)
        if grounded:
            place = np.array([place[0], body.height, place[2]])
            velocity = np.array([velocity[0], 0.0, velocity[2]])
            speed = float(np.linalg.norm(velocity))
            acceleration = np.zeros(3)
            if speed > 0:
                acceleration = -velocity / speed * (body.friction * GRAVITY)
                if body.rolls:
                    spin = np.cross(_UP, velocity / speed) / body.reach
        else:
            acceleration = -GRAVITY * _UP
            if body.rolls:  # it goes on turning as it did on the floor, or as if it came from there
                legs = self.paths.legs[i]
                along = np.array([velocity[0], 0.0, velocity[2]])
                flies = legs and not legs[-1].grounded
                spin = legs[-1].spin if flies else np.cross(_UP, along) / body.reach
        leg = _Leg(self.time, place, velocity, acceleration, turned, spin, grounded)
        self.paths.legs[i].append(leg)

    def _restart(self, i: int, velocity: Array, *, grounded: bool) -> None:
        place, _ = self._now(i)
        self._set(i, place, velocity, self._leg(i).lies(self.time), grounded)

    def _next(self) -> tuple[float, tuple[int, ...]]:
        """Return the time of the next event and who takes part: one body (the floor) or two."""
        when = math.inf
        who: tuple[int, ...] = ()
        for i, body in enumerate(self.bodies):
            place, velocity = self._now(i)
            leg = self._leg(i)
            if leg.grounded:
                slowing = float(np.linalg.norm(leg.acceleration))
                soon = float(np.linalg.norm(velocity)) / slowing if slowing else math.inf
            else:
                above, up = float(place[1]) - body.height, float(velocity[1])
                soon = (up + math.sqrt(up * up + 2 * GRAVITY * max(above, 0.0))) / GRAVITY
            if soon < when:
                when, who = soon, (i,)
        for i, j, gap, axes in self.pairs:
            (pi, vi), (pj, vj) = self._now(i), self._now(j)
            p, v = (pi - pj) * axes, (vi - vj) * axes
            a = (self._leg(i).acceleration - self._leg(j).acceleration) * axes
            if not v.any() and not a.any():
                continue
            terms = (a @ a / 4, v @ a, v @ v + p @ a, 2 * p @ v, p @ p - gap * gap)
            soon = _first_root([float(term) for term in terms])
            if soon < when:
                when, who = soon, (i, j)
        return self.time + when, who

    def _floor(self, i: int) -> None:
        body, leg = self.bodies[i], self._leg(i)
        place, velocity = self._now(i)
        if leg.grounded:  # friction has stopped it
            self._restart(i, np.zeros(3), grounded=True)
            return
        down = -float(velocity[1])
        up = body.restitution * down
        rests = up < REST_SPEED
        point = (float(place[0]), 0.0, float(place[2]))
        impulse = body.mass * (down + (0.0 if rests else up))
        self.paths.contacts.append(Contact(self.time, i, None, impulse, down, point))
        after = np.array([velocity[0], 0.0 if rests else up, velocity[2]])
        place = np.array([place[0], body.height, place[2]])
        self._set(i, place, after, leg.lies(self.time), rests)

    def _collide(self, i: int, j: int, restitution: float) -> None:
        axes = next(axes for a, b, _, axes in self.pairs if (a, b) == (i, j))
        (pi, vi), (pj, vj) = self._now(i), self._now(j)
        normal = (pi - pj) * axes
        normal = normal / np.linalg.norm(normal)
        closing = -float((vi - vj) @ normal)
        # What stands on the floor keeps its height: of the impulse only the level part moves it.
        ground = [self._leg(k).grounded for k in (i, j)]
        level = np.array([1.0, 0.0, 1.0])
        free = [normal * level if g else normal for g in ground]
        yields = sum(
            float(f @ f) / self.bodies[k].mass for f, k in zip(free, (i, j), strict=True)
        )
        impulse = (1 + restitution) * max(closing, 0.0) / yields
        middle = pj + normal * self.bodies[j].reach if axes[1] else (pi + pj) / 2
        point = (float(middle[0]), float(middle[1]), float(middle[2]))
        self.paths.contacts.append(Contact(self.time, i, j, impulse, closing, point))
        for k, sign, f, v, g in zip((i, j), (1, -1), free, (vi, vj), ground, strict=True):
            self._restart(k, v + sign * impulse / self.bodies[k].mass * f, grounded=g)

    def run(self, restitution: float) -> Paths:
        for _ in range(MAX_EVENTS):
            when, who = self._next()
            if when > self.paths.until:
                return self.paths
            self.time = when
            if len(who) == 1:
                self._floor(who[0])
            else:
                self._collide(who[0], who[1], restitution)
        raise ValueError(f"{MAX_EVENTS} events in {self.time:.3f} s: the bodies do not come apart")


def follow_bodies(bodies: Sequence[Body], until: float, restitution: float = 0.7) -> Paths:
    """Return where bodies go until a time (s); `restitution` is of collisions between them.

    Raises `ValueError` for bodies that begin in the floor or in each other, and for ones that
    touch over and over without end (one that comes to rest upon another).
    """
    return _World(bodies, until).run(restitution)
