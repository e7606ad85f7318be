"""Does a play obey the world's laws? Energy, momentum, and whether anything is inside another.

Used by the tests and by `benchmarks/laws.py`, which prints the figures for many scenes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from kineograph.world.dynamics import GRAVITY
from kineograph.world.v2.parts import mass, parts_of
from kineograph.world.v2.play import Piece, Play, spans
from kineograph.world.v2.trace import KINDS, TUBE

Array = NDArray[np.float64]


@cache
def _surface(kind: int) -> Array:
    """Return points `n 3` on a primitive's surface, in its unit space."""
    name = KINDS[kind]
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    if name == "ball":
        k = np.arange(160) + 0.5
        up, around = 1 - 2 * k / 160, np.pi * (1 + 5**0.5) * k
        flat = np.sqrt(1 - up * up)
        return np.stack([flat * np.cos(around), up, flat * np.sin(around)], -1)
    if name in ("cylinder", "cone"):
        rings = []
        for y in np.linspace(-1, 1, 9):
            r = 1.0 if name == "cylinder" else (1 - y) / 2
            rings.append(np.stack([r * c, np.full_like(c, y), r * s], -1))
        rings.append(np.stack([0.5 * c, -np.ones_like(c), 0.5 * s], -1))
        return np.concatenate(rings)
    if name == "torus":
        tubes = []
        for a in turn[::2]:
            out = 1 - TUBE + TUBE * np.cos(a)
            tubes.append(np.stack([out * c, out * s, np.full_like(c, TUBE * np.sin(a))], -1))
        return np.concatenate(tubes)
    line = np.linspace(-1, 1, 7)
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    grid = np.stack([x, y, z], -1).reshape(-1, 3)
    grid = grid[np.abs(grid).max(1) == 1]
    if name == "pyramid":
        grid = grid * np.stack([(1 - grid[:, 1]) / 2, np.ones(len(grid)), (1 - grid[:, 1]) / 2], -1)
    return grid


def _depth(kind: int, p: Array, half: Array) -> Array:
    """Return how deep points of unit space are inside a primitive (m); negative outside."""
    name, across = KINDS[kind], np.hypot(p[..., 0], p[..., 2])
    level = (1 - np.abs(p[..., 1])) * half[1]
    if name == "ball":
        return np.asarray((1 - np.linalg.norm(p, axis=-1)) * half.min())
    if name == "cylinder":
        return np.minimum((1 - across) * half[0], level)
    if name == "cone":
        return np.minimum(((1 - p[..., 1]) / 2 - across) * half[0] * 0.9, level)
    if name == "box":
        return np.asarray(((1 - np.abs(p)) * half).min(-1))
    if name == "pyramid":
        square = np.maximum(np.abs(p[..., 0]), np.abs(p[..., 2]))
        return np.minimum(((1 - p[..., 1]) / 2 - square) * half[0] * 0.85, level)
    ring = np.hypot(p[..., 0], p[..., 1]) - (1 - TUBE)
    return np.asarray((TUBE - np.hypot(ring, p[..., 2])) * half[0])


def _pose(piece: Piece, t: Array) -> tuple[Array, Array, Array]:
    return piece.position(t), piece.rotation(t), piece.radius * piece.scale(t)


def _points(piece: Piece, t: Array) -> Array:
    """Return points `t n 3` on the surface of a piece (m)."""
    where, turned, radius = _pose(piece, t)
    local = np.concatenate(
        [
            _surface(p.kind) * np.array(p.half) * np.array(piece.stretch) + np.array(p.offset)
            for p in parts_of(piece.shape)
        ]
    )
    return where[:, None] + np.einsum("tij,nj->tni", turned, local) * radius[:, None, None]


def _inside(piece: Piece, t: Array, points: Array) -> Array:
    """Return how deep points `t n 3` are inside a piece (m), `t n`; negative outside."""
    where, turned, radius = _pose(piece, t)
    local = np.einsum("tij,tni->tnj", turned, points - where[:, None]) / radius[:, None, None]
    depths = []
    for part in parts_of(piece.shape):
        half = np.array(part.half) * np.array(piece.stretch)
        depths.append(_depth(part.kind, (local - np.array(part.offset)) / half, half))
    return np.asarray(np.max(depths, 0) * radius[:, None])


def penetration(play: Play, times: Array) -> float:
    """Return the deepest that anything is inside another object or the floor, in its radius."""
    worst = 0.0
    clouds = [_points(piece, times) for piece in play.pieces]
    boxes = [(cloud.min(1), cloud.max(1)) for cloud in clouds]
    for i, piece in enumerate(play.pieces):
        size = min(piece.radius, 0.6)
        worst = max(worst, float(-clouds[i][..., 1].min()) / size)
        for j, other in enumerate(play.pieces):
            if i == j or "rod" in (piece.shape, other.shape):
                continue
            (low, high), (low2, high2) = boxes[i], boxes[j]
            near = ((low <= high2) & (low2 <= high)).all(1)
            if near.any():
                depth = _inside(other, times[near], clouds[i][near])
                worst = max(worst, float(depth.max()) / min(size, other.radius))
    return worst


def energy_growth(play: Play, times: Array, step: float = 1e-4) -> float:
    """Return the largest growth of energy between two times, over what there was (passive bodies).

    Of objects that fall, fly, roll, slide and collide: kinetic energy of their centres, by
    central differences, and potential energy.
    """
    scene = play.scene
    struck = {o.partner for o in scene.objects if o.motion == "collide"}
    # What is pushed off is given energy; and no difference may reach over a contact.
    begun = max(span.start for span in spans(scene))
    times = times[times > begun + 2 * step]
    for touch in play.touches:
        times = times[np.abs(times - touch.time) > 2 * step]
    total = np.zeros(len(times))
    for piece in play.pieces:
        thing = scene.objects[piece.thing]
        passive = ("fall", "bounce", "throw", "roll", "slide", "collide")
        if thing.motion in passive or piece.thing in struck:
            before, after = piece.position(times - step), piece.position(times + step)
            speed = np.linalg.norm((after - before) / (2 * step), axis=1)
            height = piece.position(times)[:, 1]
            total += mass(thing) * (0.5 * speed**2 + GRAVITY * height)
    if not total.any():
        return 0.0
    return float(np.diff(total).max(initial=0.0) / total.max())


def momentum_error(play: Play, step: float = 1e-5) -> float:
    """Return how much momentum collisions on the floor gain or lose, over what there was."""
    worst = 0.0
    scene = play.scene
    for i, thing in enumerate(scene.objects):
        when = play.truth[i].get("contact") if thing.motion == "collide" else None
        if when is None or thing.partner is None:
            continue
        both = [p for p in play.pieces if p.thing in (i, thing.partner)]
        weights = [mass(scene.objects[p.thing]) for p in both]

        def momentum(t: float, both: list[Piece] = both, weights: list[float] = weights) -> float:
            at = np.array([t - step, t + step])
            moved = [np.diff(p.position(at)[:, 0])[0] / (2 * step) for p in both]
            return float(sum(w * m for w, m in zip(weights, moved, strict=True)))

        # Friction takes a share that goes with the time between; both sides are extrapolated.
        before = 2 * momentum(when - 2 * step) - momentum(when - 4 * step)
        after = 2 * momentum(when + 2 * step) - momentum(when + 4 * step)
        worst = max(worst, abs(after - before) / abs(before))
    return worst
