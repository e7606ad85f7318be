"""What happens in a scene, as numbers: pieces that move, contacts, and when things act.

`simulate` fills a `Play`; the renderer, the soundtrack and the laws read it. Units are SI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kineograph.world.v2.scene import Scene

Array = NDArray[np.float64]
Course = Callable[[Array], Array]  # of times


@dataclass(frozen=True)
class Touch:
    """One impact; `other` is None for the floor."""

    time: float  # s
    thing: int  # index of the object
    other: int | None
    impulse: float  # N s
    speed: float  # m/s, at which the two closed in
    point: tuple[float, float, float]  # m


@dataclass
class Piece:
    """One rigid piece of an object; where it is follows from functions of time."""

    thing: int
    shape: str
    radius: float  # m
    position: Course  # t -> t 3
    rotation: Course  # t -> t 3 3, world from local
    scale: Course = np.ones_like  # t -> t, of the radius
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of the radius, along its axes
    shade: float | None = None  # a fixed grey instead of the object's colour


@dataclass
class Play:
    """Everything that happens in a scene."""

    scene: Scene
    pieces: list[Piece] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[int, tuple[float, float]] = field(default_factory=dict)
    """When each object that is recoloured begins and ends to change (s)."""


@dataclass(frozen=True)
class Span:
    """When an object acts: from `start` to `end` (s)."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def spans(scene: Scene) -> list[Span]:
    """Return when each object does what it does first."""
    half = scene.seconds / 2
    two = any(o.order == 1 or o.then for o in scene.objects)
    whole = Span(0.0, half if two else scene.seconds)
    return [Span(half, scene.seconds) if o.order == 1 else whole for o in scene.objects]


def lies(scene: Scene, i: int) -> bool:
    """Whether an object is a ring that lies on the floor around something."""
    return any(r.name == "inside" and r.others[0] == i for r in scene.relations)


def sequel_span(scene: Scene) -> Span:
    """Return when what objects do after their first motion takes place."""
    return Span(scene.seconds / 2, scene.seconds)


def sign_of(direction: str | None) -> float:
    """Return -1 for left, 1 otherwise."""
    return -1.0 if direction == "left" else 1.0
