"""From a scene record to motion: where every piece is at any time, and all contacts, exactly.

Bodies that fall, fly, roll, slide and collide follow `world.dynamics`; what swings, tips over,
circles, rises or grows follows `world.motions`. The numbers that a record leaves open are drawn
from a generator seeded by the scene, where `ranges.py` lets them lie. Units are SI.
"""

from __future__ import annotations

import math
import random

import numpy as np
from numpy.typing import NDArray

from kineograph.world.dynamics import GRAVITY, Body, Paths, about, follow_bodies
from kineograph.world.motions import Row, circle, ease, pendulum, period, rise
from kineograph.world.v2.parts import FOOT, HALF_HEIGHT, HOOP, RADIUS, RESTITUTION, mass, reach
from kineograph.world.v2.play import (
    Course,
    Piece,
    Play,
    Span,
    Touch,
    lies,
    sequel_span,
    sign_of,
    spans,
)
from kineograph.world.v2.ranges import Range, Table, number, paced
from kineograph.world.v2.scene import SHOT_SECONDS, VERSION, Scene
from kineograph.world.v2.trace import TUBE

Array = NDArray[np.float64]

ROLLERS = ("ball", "ring")
FRICTION = 0.035  # deceleration of what slides, over gravity: every floor is slippery
COLLISION_RESTITUTION = 0.7
# By speed: slow, normal, fast.
START_SPEED = {
    "roll": (0.38, 0.65, 1.0), "slide": (0.60, 0.90, 1.25), "throw": (0.32, 0.55, 0.85),
    "bounce": (0.30, 0.5, 0.8), "collide": (0.75, 1.15, 1.7),
}  # fmt: skip  # m/s
TURN_RATE = {"spin": (50.0, 100.0, 180.0), "orbit": (35.0, 60.0, 95.0)}  # deg/s
RISE_SPEED = (0.22, 0.36, 0.55)  # m/s
DROP = (1.1, 1.7)  # m
UPWARD = {"throw": (3.4, 4.3), "bounce": (2.1, 2.8)}  # m/s
LENGTH, AMPLITUDE = (1.1, 1.5), (24.0, 42.0)  # of a pendulum: m, deg
PUSH = (1.15, 1.3)  # of the least that tips something over
GROWN, SHRUNK = 1.6, 0.5  # of the size at the start
STRING = 0.018  # m, radius of a pendulum's rod
GAP = 0.6  # of a domino's height, from one to the next
OVERHANG = 0.07  # m, by which the top of an unstable stack lies too far out
_UP = np.array([0.0, 1.0, 0.0])


def _turns(axis: Array, angles: Array) -> Array:
    """Return `t 3 3`: rotations by angles (rad) about an axis."""
    return np.stack([about(axis, a) for a in angles]) if len(angles) else np.zeros((0, 3, 3))


def _held(value: Array) -> Course:
    """Return a function of time that is always the same."""
    return lambda t: np.broadcast_to(value, (len(t), *value.shape))


class _Stage:
    """Puts the objects of one scene in motion, one after another."""

    def __init__(self, scene: Scene, places: list[tuple[float, float, float]]) -> None:
        self.scene, self.places = scene, places
        self.rng = random.Random(f"kineograph world {VERSION} {scene.seed} physics")
        self.play = Play(scene, truth=[{} for _ in scene.objects])
        self.spans = spans(scene)
        self.yaws = [self.rng.uniform(-0.5, 0.5) for _ in scene.objects]

    def _number(self, span: Range) -> float:
        return number(self.rng.random(), span, self.scene.numbers)

    def _pace(self, table: Table, speed: str | None, slowed: float = 1.0) -> float:
        return paced(self.rng.random(), table, speed, self.scene.numbers, slowed)

    # --- pieces --------------------------------------------------------------------------
    def _piece(
        self, i: int, position: Course, rotation: Course, scale: Course = np.ones_like
    ) -> None:
        thing = self.scene.objects[i]
        piece = Piece(i, thing.shape, RADIUS[thing.size], position, rotation, scale)
        self.play.pieces.append(piece)

    def _base(self, i: int) -> Array:
        """Return where the centre of a standing object is."""
        x, y, z = self.places[i]
        thing = self.scene.objects[i]
        return np.array([x, y + HALF_HEIGHT[thing.shape] * RADIUS[thing.size], z])

    def _yaw(self, i: int) -> Array:
        shape = self.scene.objects[i].shape
        turned = {"table": 0.35, "arch": 0.35, "ring": 0.6, "snowman": 0.8}.get(shape, 1.0)
        return about(_UP, self.yaws[i] * turned)

    # --- bodies --------------------------------------------------------------------------
    def _body(self, i: int, velocity: tuple[float, float, float], lift: float = 0.0) -> Body:
        thing = self.scene.objects[i]
        round_ = thing.shape in ROLLERS
        x, y, z = self._base(i)
        slides = thing.motion in ("slide", "collide") or not round_
        return Body(
            mass(thing), y, reach(thing), (x, y + lift, z), velocity, RESTITUTION[thing.material],
            FRICTION if slides and not round_ else 0.004, ball=thing.shape == "ball",
            rolls=round_,
        )  # fmt: skip

    def _follow(self, which: list[int], bodies: list[Body], start: float) -> Paths:
        """Simulate some bodies from a time on and keep their contacts."""
        until = self.scene.seconds - start
        paths = follow_bodies(bodies, until, COLLISION_RESTITUTION)
        for k, i in enumerate(which):
            turned = (
                np.eye(3) if self.scene.objects[i].motion in ("collide", "roll") else self._yaw(i)
            )
            if any(o.partner == i and o.motion == "collide" for o in self.scene.objects):
                turned = np.eye(3)

            def position(t: Array, k: int = k) -> Array:
                return paths.position(k, np.maximum(t - start, 0.0))

            def rotation(t: Array, k: int = k, turned: Array = turned) -> Array:
                return paths.rotation(k, np.maximum(t - start, 0.0)) @ turned

            self._piece(i, position, rotation)
        for c in paths.contacts:
            other = None if c.other is None else which[c.other]
            self.play.touches.append(
                Touch(start + c.time, which[c.body], other, c.impulse, c.speed, c.point)
            )
        return paths

    def _free(self, i: int) -> None:
        """Let an object fall, bounce along, fly, roll or slide, alone."""
        thing, span = self.scene.objects[i], self.spans[i]
        sign, truth = sign_of(thing.direction), self.play.truth[i]
        velocity, lift = (0.0, 0.0, 0.0), 0.0
        if thing.motion == "fall":
            lift = self._number(DROP)
            truth["drop_height"] = lift
        else:
            slowed = min(1.0, SHOT_SECONDS / self.scene.seconds)  # a long film keeps it in view
            speed = self._pace(START_SPEED[thing.motion], thing.speed, slowed)
            up = self._number(UPWARD[thing.motion]) if thing.motion in UPWARD else 0.0
            velocity = (sign * speed, up, 0.0)
            truth |= {"speed": sign * speed, "upward_speed": up}
        self._follow([i], [self._body(i, velocity, lift)], span.start)

    def _collision(self, i: int, partner: int) -> None:
        thing = self.scene.objects[i]
        speed = sign_of(thing.direction) * self._pace(START_SPEED["collide"], thing.speed)
        bodies = [self._body(i, (speed, 0.0, 0.0)), self._body(partner, (0.0, 0.0, 0.0))]
        self.play.truth[i]["speed"] = speed
        paths = self._follow([i, partner], bodies, self.spans[i].start)
        met = [c.time for c in paths.contacts if c.other is not None]
        for k, j in enumerate((i, partner)):
            self.play.truth[j] |= {"mass": bodies[k].mass, "contact": met[0] if met else None}

    # --- guided --------------------------------------------------------------------------
    def _stand(self, i: int) -> None:
        """Let an object keep its place, and turn, grow or rise there if it does so."""
        thing = self.scene.objects[i]
        base, yaw = self._base(i), self._yaw(i)
        wide = 1.0
        if lies(self.scene, i):
            wide, yaw = HOOP, about(np.array([1.0, 0.0, 0.0]), math.pi / 2)
            base[1] = self.places[i][1] + TUBE * HOOP * RADIUS[thing.size]
        acts = [(thing.motion, self.spans[i], thing.speed)]
        if thing.then is not None:
            acts.append((thing.then, sequel_span(self.scene), "normal"))
        factors: list[Course] = []
        heights: list[Course] = []
        angles: list[Course] = []
        for motion, span, speed in acts:
            self._act(i, motion, span, speed, factors, heights, angles)
        foot, above = self.places[i][1], float(base[1]) - self.places[i][1]

        def scale(t: Array) -> Array:
            return wide * np.prod([np.ones_like(t), *(f(t) for f in factors)], axis=0)

        def position(t: Array) -> Array:
            y = foot + above * scale(t) / wide + sum((h(t) for h in heights), np.zeros_like(t))
            return np.stack([np.full_like(t, base[0]), y, np.full_like(t, base[2])], -1)

        def rotation(t: Array) -> Array:
            return _turns(_UP, sum((a(t) for a in angles), np.zeros_like(t))) @ yaw

        self._piece(i, position, rotation, scale=scale)

    def _act(
        self, i: int, motion: str, span: Span, speed: str | None,
        factors: list[Course], heights: list[Course],
        angles: list[Course],
    ) -> None:  # fmt: skip
        """Add what one guided motion does to an object's scale, height and turn."""
        truth = self.play.truth[i]
        begin, end = span.start + 0.15 * span.seconds, span.end - 0.15 * span.seconds
        if motion == "spin":
            rate = math.radians(self._pace(TURN_RATE["spin"], speed)) * self.rng.choice((-1, 1))
            truth["spin"] = math.degrees(rate)
            angles.append(lambda t: rate * np.clip(t - span.start, 0.0, None))
        elif motion in ("grow", "shrink"):
            to = GROWN if motion == "grow" else SHRUNK
            truth["scale"] = to
            factors.append(lambda t: 1 + (to - 1) * ease(t, begin, end))
        elif motion == "float":
            up = self._pace(RISE_SPEED, speed)
            truth["rise"] = up
            heights.append(lambda t: rise(np.clip(t - span.start, 0.0, None), up, 0.4))
        elif motion == "recolour":
            self.play.changes[i] = (begin, end)
            truth["recoloured"] = [begin, end]

    def _orbit(self, i: int, partner: int) -> None:
        thing, span = self.scene.objects[i], self.spans[i]
        rate = math.radians(self._pace(TURN_RATE["orbit"], thing.speed))
        rate *= self.rng.choice((-1, 1))
        x, _, z = self.places[partner]
        radius = math.hypot(self.places[i][0] - x, self.places[i][2] - z)
        phase = math.atan2(-(self.places[i][2] - z), self.places[i][0] - x)
        middle = np.array([x, self._base(i)[1], z])
        self.play.truth[i] |= {"orbit": math.degrees(rate), "radius": radius}

        def position(t: Array) -> Array:
            return middle + circle(np.clip(t - span.start, 0.0, None), radius, rate, phase)

        def rotation(t: Array) -> Array:
            return _turns(_UP, rate * np.clip(t - span.start, 0.0, None)) @ self._yaw(i)

        self._piece(i, position, rotation)

    def _pendulum(self, i: int) -> None:
        thing, span = self.scene.objects[i], self.spans[i]
        length, amplitude = self._number(LENGTH), math.radians(self._number(AMPLITUDE))
        amplitude *= self.rng.choice((-1, 1))
        x, y, z = self._base(i)
        pivot = np.array([x, y + 0.2 + length, z])
        self.play.truth[i] |= {
            "length": length, "amplitude": math.degrees(abs(amplitude)),
            "period": period(length, abs(amplitude)),
        }  # fmt: skip

        def angle(t: Array) -> Array:
            s = np.clip(t - span.start, 0.0, None)
            return math.copysign(1.0, amplitude) * pendulum(s, length, abs(amplitude))

        def along(share: float) -> Course:
            def position(t: Array) -> Array:
                a = angle(t)
                arm = np.stack([np.sin(a), -np.cos(a), np.zeros_like(a)], -1)
                return pivot + share * length * arm

            return position

        def rotation(t: Array) -> Array:
            return _turns(np.array([0.0, 0.0, 1.0]), angle(t))

        self._piece(i, along(1.0), rotation)
        hung = HALF_HEIGHT[thing.shape] * RADIUS[thing.size]
        rod = max(length - hung, 0.1)
        self.play.pieces.append(
            Piece(i, "rod", 1.0, along(rod / 2 / length), rotation,
                  stretch=(STRING, rod / 2, STRING), shade=0.12)
        )  # fmt: skip

    # --- rows and stacks -----------------------------------------------------------------
    def _tips(
        self, i: int, foot: Array, half: tuple[float, float], sign: float,
        angle: Course,
    ) -> None:  # fmt: skip
        """Add a block that turns over its forward lower edge; `foot` is below its centre."""
        a, b = half
        edge = foot + np.array([sign * a, 0.0, 0.0])

        def position(t: Array) -> Array:
            w = angle(t)
            x = sign * (-a * np.cos(w) + b * np.sin(w))
            y = a * np.sin(w) + b * np.cos(w)
            return edge + np.stack([x, y, np.zeros_like(w)], -1)

        def rotation(t: Array) -> Array:
            return _turns(np.array([0.0, 0.0, 1.0]), -sign * angle(t))

        self._piece(i, position, rotation)

    def _row(self, i: int) -> None:
        """Let a block or a row of dominoes tip over."""
        thing, r = self.scene.objects[i], RADIUS[self.scene.objects[i].size]
        sign, (x, y, z) = sign_of(thing.direction), self.places[i]
        a, b = FOOT[thing.shape][0] * r, HALF_HEIGHT[thing.shape] * r
        pitch = 2 * a + GAP * 2 * b if thing.count > 1 else 1.0
        row = Row(thing.count, a, b, pitch)
        push = self._number(PUSH)
        fall = row.topple(row.least_push() * push)
        start = self.spans[i].start + self.rng.uniform(0.25, 0.5)
        for k in range(thing.count):
            foot = np.array([x + sign * pitch * (k - (thing.count - 1) / 2), y, z])

            def tilt(t: Array, k: int = k) -> Array:
                return fall.at(t - start)[:, k]

            self._tips(i, foot, (a, b), sign, tilt)
        self.play.truth[i] |= {"push": push, "strikes": [start + s for s in fall.strikes]}
        for k, (when, rate) in enumerate(zip(fall.strikes, fall.speeds, strict=True)):
            speed = rate * 2 * b
            point = (
                float(x + sign * pitch * (k + 0.5 - (thing.count - 1) / 2)),
                float(b),
                float(z),
            )
            last = k == thing.count - 1
            self.play.touches.append(
                Touch(start + when, i, None if last else i, mass(thing) * speed / 3, speed, point)
            )

    def _stack(self, i: int) -> None:
        """Pile blocks up; of an unstable pile the top tips off and falls beside the others."""
        thing, r = self.scene.objects[i], RADIUS[self.scene.objects[i].size]
        a, b = FOOT[thing.shape][0] * r, HALF_HEIGHT[thing.shape] * r
        x, y, z = self.places[i]
        falls = thing.motion == "collapse"
        yaw = np.eye(3) if falls else self._yaw(i)
        for k in range(thing.count - falls):
            self._piece(i, _held(np.array([x, y + (2 * k + 1) * b, z])), _held(yaw))
        if falls:
            self._tip_off(i, np.array([x, y + 2 * (thing.count - 1) * b, z]), a, b)

    def _tip_off(self, i: int, top: Array, a: float, b: float) -> None:
        """Let a block turn about the edge of those below, till it slaps their side, and drop."""
        thing, sign = self.scene.objects[i], self.rng.choice((-1.0, 1.0))
        start = self.spans[i].start + self.rng.uniform(0.2, 0.5)
        inertia = (a * a + b * b) / 3 + OVERHANG**2 + b * b  # about the edge, a kilogram's
        step, angle, rate, time = 1 / 960, 0.0, 0.0, 0.0
        grid, angles = [0.0], [0.0]
        while angle < math.pi / 2:
            middle = angle + 0.5 * step * rate
            pull = GRAVITY * (OVERHANG * math.cos(middle) + b * math.sin(middle)) / inertia
            rate += step * pull
            angle = min(angle + step * rate, math.pi / 2)
            time += step
            grid.append(time)
            angles.append(angle)
        edge = top + np.array([sign * a, 0.0, 0.0])
        drop = float(edge[1]) - OVERHANG - a  # of the centre, to where it lies on its side
        down = rate * b
        lands = (-down + math.sqrt(down * down + 2 * GRAVITY * drop)) / GRAVITY

        def turn(t: Array) -> Array:
            return np.interp(t - start, grid, angles)

        def position(t: Array) -> Array:
            w = turn(t)
            s = np.clip(t - start - time, 0.0, lands)
            x = sign * (OVERHANG * np.cos(w) + b * np.sin(w))
            y = -OVERHANG * np.sin(w) + b * np.cos(w) - down * s - 0.5 * GRAVITY * s * s
            return edge + np.stack([x, y, np.zeros_like(w)], -1)

        self._piece(i, position, lambda t: _turns(np.array([0.0, 0.0, 1.0]), -sign * turn(t)))
        x, _, z = (float(v) for v in edge)
        side = (x, float(edge[1]) - b, z)
        fall = down + GRAVITY * lands
        self.play.truth[i] |= {"tips": start, "lands": start + time + lands}
        self.play.touches += [
            Touch(start + time, i, i, mass(thing) * rate * b / 2, rate * b, side),
            Touch(start + time + lands, i, None, mass(thing) * fall, fall, (x + sign * b, 0.0, z)),
        ]

    # --- all -----------------------------------------------------------------------------
    def run(self) -> Play:
        struck = {o.partner for o in self.scene.objects if o.motion == "collide"}
        for i, thing in enumerate(self.scene.objects):
            if thing.motion == "collide" and thing.partner is not None:
                self._collision(i, thing.partner)
            elif i in struck:
                continue
            elif thing.motion in ("fall", "bounce", "throw", "roll", "slide"):
                self._free(i)
            elif thing.motion == "orbit" and thing.partner is not None:
                self._orbit(i, thing.partner)
            elif thing.motion == "pendulum":
                self._pendulum(i)
            elif thing.motion in ("topple", "dominoes"):
                self._row(i)
            elif thing.motion in ("stack", "collapse"):
                self._stack(i)
            else:
                self._stand(i)
            if thing.then == "recolour" and thing.motion in ("fall", "roll", "slide"):
                span = sequel_span(self.scene)
                self.play.changes[i] = (
                    span.start + 0.15 * span.seconds, span.end - 0.15 * span.seconds,
                )  # fmt: skip
        self.play.touches.sort(key=lambda touch: touch.time)
        return self.play


def simulate(scene: Scene, places: list[tuple[float, float, float]]) -> Play:
    """Return what happens in a scene whose objects begin at some places (x, floor height, z; m).

    Raises `ValueError` where bodies begin in one another.
    """
    return _Stage(scene, places).run()
