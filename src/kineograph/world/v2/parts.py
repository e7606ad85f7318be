"""What shapes are made of: each is one primitive or a few, in units of the object's radius.

An object stands with its centre `HALF_HEIGHT` above the floor. x points right as the viewer sees
it, y up, z towards the viewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kineograph.world.v2.scene import SceneObject
from kineograph.world.v2.trace import KINDS, TUBE

Array = NDArray[np.float64]

RADIUS = {"small": 0.34, "medium": 0.46, "large": 0.60}  # m
# They are hollow, as toys are: a medium ball of rubber weighs 450 g.
DENSITY = {"rubber": 1.1, "metal": 3.0, "glass": 2.2, "wood": 0.7, "striped": 1.0}  # kg/m^3
# By material: what a bounce from the floor leaves of the speed.
RESTITUTION = {"rubber": 0.80, "striped": 0.68, "glass": 0.60, "metal": 0.50, "wood": 0.42}

HALF_HEIGHT = {
    "ball": 1.0, "cube": 0.82, "cylinder": 0.95, "cone": 0.95, "ring": 1.0, "capsule": 1.05,
    "pyramid": 0.80, "egg": 1.0, "table": 0.80, "arch": 1.0, "snowman": 1.0, "domino": 0.80,
}  # fmt: skip
# Half extents on the floor, along x and along z.
FOOT = {
    "ball": (1.0, 1.0), "cube": (0.82, 0.82), "cylinder": (0.72, 0.72), "cone": (0.90, 0.90),
    "ring": (1.0, TUBE), "capsule": (0.52, 0.52), "pyramid": (0.92, 0.92), "egg": (0.74, 0.74),
    "table": (1.30, 0.85), "arch": (1.25, 0.40), "snowman": (0.62, 0.62), "domino": (0.13, 0.36),
}  # fmt: skip
VOLUME = {
    "ball": 4 / 3 * math.pi,
    "cube": 8 * 0.82**3,
    "cylinder": 2 * math.pi * 0.72**2 * 0.95,
    "cone": math.pi * 0.90**2 * 1.9 / 3,
    "ring": 2 * math.pi**2 * (1 - TUBE) * TUBE**2,
    "capsule": math.pi * 0.52**2 * (2 * 0.53 + 4 / 3 * 0.52),
    "pyramid": 4 * 0.92**2 * 1.6 / 3,
    "egg": 4 / 3 * math.pi * 0.74**2,
    "table": 4 * 1.30 * 0.85 * 0.18 + 16 * 0.09**2 * 1.42,
    "arch": 8 * (1.25 * 0.22 * 0.40 + 2 * 0.26 * 0.78 * 0.40),
    "snowman": 4 / 3 * math.pi * (0.62**3 + 0.44**3 + 0.30**3),
    "domino": 8 * 0.13 * 0.80 * 0.36,
}  # in units of radius^3
HOOP = 2.0  # a ring that lies around something is wider than one that stands, by this


@dataclass(frozen=True)
class Part:
    """One primitive in its object's frame: where it is and how far it reaches, in radii."""

    kind: int
    offset: tuple[float, float, float]
    half: tuple[float, float, float]
    bound: float  # radius of a ball around it
    shade: float = 1.0  # how bright it is of the object's colour


def _part(
    kind: str, half: tuple[float, float, float], offset: tuple[float, float, float] = (0, 0, 0),
    shade: float = 1.0,
) -> Part:  # fmt: skip
    a, b, c = half
    round_bound = {
        "ball": max(half), "torus": max(half), "cylinder": math.hypot(max(a, c), b),
        "cone": math.hypot(max(a, c), b),
    }  # fmt: skip
    bound = round_bound.get(kind, math.sqrt(a * a + b * b + c * c))
    return Part(KINDS.index(kind), offset, half, bound * 1.01, shade)


@cache
def parts_of(shape: str) -> tuple[Part, ...]:
    """Return the primitives of a shape."""
    if shape == "table":
        legs = tuple(
            _part("box", (0.09, 0.71, 0.09), (x * 1.16, -0.09, z * 0.71), 0.85)
            for x in (-1, 1)
            for z in (-1, 1)
        )
        return (_part("box", (1.30, 0.09, 0.85), (0, 0.71, 0)), *legs)
    if shape == "arch":
        pillars = tuple(_part("box", (0.26, 0.78, 0.40), (x * 0.99, -0.22, 0)) for x in (-1, 1))
        return (_part("box", (1.25, 0.22, 0.40), (0, 0.78, 0), 0.92), *pillars)
    if shape == "snowman":
        return (
            _part("ball", (0.62,) * 3, (0, -0.38, 0)),
            _part("ball", (0.44,) * 3, (0, 0.42, 0)),
            _part("ball", (0.30,) * 3, (0, 1.00, 0)),
            _part("ball", (0.06, 0.06, 0.16), (0, 0.98, 0.38), 0.45),
            _part("ball", (0.05,) * 3, (-0.11, 1.10, 0.27), 0.12),
            _part("ball", (0.05,) * 3, (0.11, 1.10, 0.27), 0.12),
        )
    if shape == "capsule":
        caps = tuple(_part("ball", (0.52,) * 3, (0, y * 0.53, 0)) for y in (-1, 1))
        return (_part("cylinder", (0.52, 0.53, 0.52)), *caps)
    one = {
        "ball": ("ball", (1.0, 1.0, 1.0)), "cube": ("box", (0.82, 0.82, 0.82)),
        "cylinder": ("cylinder", (0.72, 0.95, 0.72)), "cone": ("cone", (0.90, 0.95, 0.90)),
        "ring": ("torus", (1.0, 1.0, 1.0)), "pyramid": ("pyramid", (0.92, 0.80, 0.92)),
        "egg": ("ball", (0.74, 1.0, 0.74)), "domino": ("box", (0.13, 0.80, 0.36)),
        "rod": ("cylinder", (1.0, 1.0, 1.0)),
    }  # fmt: skip
    kind, (a, b, c) = one[shape]
    return (_part(kind, (a, b, c)),)


def mass(thing: SceneObject) -> float:
    """Return the mass of one piece of an object (kg)."""
    return DENSITY[thing.material] * VOLUME[thing.shape] * RADIUS[thing.size] ** 3


def reach(thing: SceneObject) -> float:
    """Return how far an object reaches along x where it stands (m)."""
    return FOOT[thing.shape][0] * RADIUS[thing.size]


def rest_height(thing: SceneObject) -> float:
    """Return the height of an object's centre where it stands on the floor (m)."""
    return HALF_HEIGHT[thing.shape] * RADIUS[thing.size]
