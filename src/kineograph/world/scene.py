"""The scene record: what a clip of the world contains, in words that a caption can use.

A `Scene` names attributes only; `physics.py` and `camera.py` turn it into numbers with
a random generator seeded by (scene.seed, WORLD_VERSION). Everything is hashable and
JSON-ready. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

WORLD_VERSION = 1

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
SHAPES = ("ball", "cube", "cylinder", "cone", "ring")
MATERIALS = ("matte", "metal", "striped")
SIZES = ("small", "medium", "large")
SPEEDS = ("slow", "normal", "fast")
# fall: dropped, bounces. roll: ball, ring. slide: cube, cylinder, cone. throw: an arc, bounces.
# collide: two objects; the first runs into the second, which stands still.
MOTIONS = ("still", "fall", "roll", "slide", "throw", "collide", "spin")
DIRECTIONS = ("left", "right")  # as seen by the viewer, along the world's x axis
FLOORS = ("checkered", "tiled", "wooden", "grassy", "sandy", "plain")  # plain: static camera only
SKIES = ("dawn", "noon", "sunset", "night")
CAMERA_MOVES = (
    "static",
    "pan left", "pan right",
    "tilt up", "tilt down",
    "dolly in", "dolly out",
    "truck left", "truck right",
    "orbit left", "orbit right",
)  # fmt: skip
ROLLERS = ("ball", "ring")


@dataclass(frozen=True)
class SceneObject:
    """One thing in the scene and what it does.

    `direction` is None for still, fall and for spin; for the second object of a collision
    (motion "still", struck=True) as well. `speed` is None for still and fall.
    """

    shape: str
    colour: str
    material: str
    size: str
    motion: str
    direction: str | None = None
    speed: str | None = None
    struck: bool = False  # the standing partner that a "collide" object runs into


@dataclass(frozen=True)
class Camera:
    """How the camera moves; `speed` is None when static."""

    move: str
    speed: str | None = None


@dataclass(frozen=True)
class Scene:
    """Everything that a caption may state about a clip."""

    seed: int
    objects: tuple[SceneObject, ...]
    floor: str
    sky: str
    camera: Camera
    aspect_ratio: str = "1:1"
    version: int = WORLD_VERSION

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scene_from_dict(data: dict[str, Any]) -> Scene:
    """Rebuild a scene from its JSON form."""
    objects = tuple(SceneObject(**o) for o in data["objects"])
    return Scene(**{**data, "objects": objects, "camera": Camera(**data["camera"])})
