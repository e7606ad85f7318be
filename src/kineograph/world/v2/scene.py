"""The scene record of the world's second version: what a clip contains, in words for captions.

A `Scene` names attributes only; `simulate.py` and `camera.py` turn it into numbers with random
generators seeded by (scene.seed, VERSION), so that a scene has one and only one video.
Everything is hashable and JSON-ready. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kineograph.errors import RequestError
from kineograph.world.scene import COLOURS as COLOURS  # shared with the first version
from kineograph.world.scene import DIRECTIONS as DIRECTIONS
from kineograph.world.scene import SIZES as SIZES
from kineograph.world.scene import SPEEDS as SPEEDS

VERSION = 2

FPS = 12  # frames a second
SHOT_SECONDS = 4.0  # of a clip with one shot: 49 frames, the last one included
MAX_OBJECTS = 8
MAX_SHOTS = 6

SIMPLE_SHAPES = ("ball", "cube", "cylinder", "cone", "ring", "capsule", "pyramid", "egg")
COMPOUNDS = ("table", "arch", "snowman")
# A domino only stands in rows: its `count` says how many.
SHAPES = (*SIMPLE_SHAPES, *COMPOUNDS, "domino")
MATERIALS = ("rubber", "metal", "glass", "wood", "striped")

MOTIONS = (
    "still",
    "fall",  # dropped, bounces up and down as far as its material lets it
    "bounce",  # hops along
    "throw",  # an arc, then bounces
    "roll",
    "slide",  # pushed, slowed down by friction
    "collide",  # runs into its partner, which stands
    "orbit",  # circles around its partner
    "pendulum",  # swings on a rod
    "spin",  # turns in place
    "topple",  # tips over
    "dominoes",  # a row falls, one pushes the next
    "stack",  # `count` of them stand on one another
    "collapse",  # a stack whose top lies too far out, and tips off
    "float",  # rises
    "grow",
    "shrink",
    "recolour",  # turns into the colour `colour_to`
)
UNPHYSICAL = frozenset({"float", "orbit", "grow", "shrink", "recolour"})
DIRECTED = frozenset({"bounce", "throw", "roll", "slide", "collide", "topple", "dominoes"})
PACED = frozenset({"bounce", "throw", "roll", "slide", "collide", "orbit", "spin", "float"})
PARTNERED = frozenset({"collide", "orbit"})
COUNTED = {"dominoes": (4, 5, 6, 7), "stack": (2, 3, 4), "collapse": (2, 3)}
# Motions with a number that is drawn.
NUMBERED = PACED | {"fall", "pendulum", "topple", "dominoes"}
# What an object may do after what it did first.
SEQUELS = {
    "still": ("spin", "grow", "shrink", "recolour", "float"),
    "spin": ("grow", "shrink", "recolour", "float"),
    "grow": ("spin", "shrink", "recolour"),
    "shrink": ("spin", "grow", "recolour"),
    "recolour": ("spin", "grow", "shrink", "float"),
    "fall": ("recolour",),
    "roll": ("recolour",),
    "slide": ("recolour", "spin"),
}
_DROPPED = ("ball", "cube", "cylinder", "cone", "capsule", "pyramid", "egg")
# Which shapes do what; the others do not, because it would not be seen or would break a law.
CAN: dict[str, tuple[str, ...]] = {
    "still": (*SIMPLE_SHAPES, *COMPOUNDS),
    "fall": _DROPPED,
    "bounce": ("ball", "cube", "egg", "capsule"),
    "throw": _DROPPED,
    "roll": ("ball", "ring"),
    "slide": ("cube", "cylinder", "cone", "capsule", "pyramid", "egg", *COMPOUNDS),
    "collide": ("ball", "cube", "cylinder", "cone", "pyramid"),
    "orbit": SIMPLE_SHAPES,
    "pendulum": ("ball", "cube", "cone", "egg", "ring", "pyramid"),
    "spin": ("cube", "ring", "pyramid", "table", "arch", "snowman"),
    "topple": ("cube", "cylinder"),
    "dominoes": ("domino",),
    "stack": ("cube", "cylinder"),
    "collapse": ("cube", "cylinder"),
    "float": SIMPLE_SHAPES,
    "grow": SIMPLE_SHAPES,
    "shrink": SIMPLE_SHAPES,
    "recolour": (*SIMPLE_SHAPES, *COMPOUNDS),
}
# A round body without edges shows that it turns by its stripes alone.
SPINS_WHEN_STRIPED = ("ball", "cylinder", "cone", "capsule", "egg")

RELATIONS = (
    "left of", "right of", "in front of", "behind", "on", "under", "inside", "between",
)  # fmt: skip
SUPPORTS = ("cube", "cylinder", "table")  # what something can stand on
ROOFS = ("table", "arch")  # what something can stand under

FLOORS = ("checkered", "wooden", "grassy", "sandy", "marble", "snowy", "grid", "water")
SKIES = ("dawn", "noon", "sunset", "dusk", "night")
WEATHERS = ("clear", "rain", "snow", "fog")
CAMERA_MOVES = (
    "static",
    "pan left", "pan right",
    "tilt up", "tilt down",
    "dolly in", "dolly out",
    "truck left", "truck right",
    "crane up", "crane down",
    "orbit left", "orbit right",
    "roll left", "roll right",
    "zoom in", "zoom out",
    "handheld",
)  # fmt: skip
UNPACED_MOVES = ("static", "handheld")
TRANSITIONS = ("cut", "dissolve", "fade", "wipe")
STYLES = (
    "photoreal", "toon", "pencil", "watercolor", "oil", "pixel art", "neon", "noir", "thermal",
    "blueprint", "ink wash", "sepia", "comic", "vhs", "clay", "x-ray", "hologram", "chalkboard",
    "stained glass", "mosaic", "night vision", "vaporwave", "paper cut", "ukiyo-e",
)  # fmt: skip
# Where the numbers come from that a record leaves open; see `ranges.py`.
DRAWN_FROM = ("seen", "gap", "beyond 30", "beyond 60")


@dataclass(frozen=True)
class SceneObject:
    """One thing in the scene and what it does; a row of dominoes or a stack is one thing.

    `order` 0 begins with the clip, 1 when what has order 0 is over. `then` follows what the
    object did first. `partner` is the index of the object that is run into or circled.
    """

    shape: str
    colour: str
    material: str
    size: str
    motion: str = "still"
    direction: str | None = None  # of the motions in DIRECTED
    speed: str | None = None  # of those in PACED
    partner: int | None = None  # of those in PARTNERED
    count: int = 1  # of those in COUNTED
    order: int = 0
    then: str | None = None
    colour_to: str | None = None  # where motion or then is "recolour"


@dataclass(frozen=True)
class Relation:
    """Where objects stand that do not move: "between" has two others, the rest one."""

    subject: int
    name: str
    others: tuple[int, ...]


@dataclass(frozen=True)
class Camera:
    """How the camera moves; `speed` is None when static or handheld."""

    move: str = "static"
    speed: str | None = None


@dataclass(frozen=True)
class Shot:
    """A stretch of the film before one camera; `transition` is how it begins (None: first)."""

    camera: Camera
    seconds: float = SHOT_SECONDS
    transition: str | None = None


@dataclass(frozen=True)
class Scene:
    """Everything that a caption may state about a clip.

    `numbers` says where the numbers come from that this leaves open: no caption tells.
    """

    seed: int
    objects: tuple[SceneObject, ...]
    floor: str
    sky: str
    weather: str = "clear"
    shots: tuple[Shot, ...] = (Shot(Camera()),)
    style: str = "photoreal"
    relations: tuple[Relation, ...] = ()
    aspect_ratio: str = "1:1"
    numbers: str = "seen"  # of DRAWN_FROM
    version: int = VERSION

    @property
    def seconds(self) -> float:
        """How long the film is."""
        return sum(shot.seconds for shot in self.shots)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scene_from_dict(data: dict[str, Any]) -> Scene:
    """Rebuild a scene from its JSON form; `RequestError` if it is of another version."""
    if data.get("version") != VERSION:
        raise RequestError(f"the scene is of world {data.get('version')!r}, not {VERSION}")
    shots = tuple(Shot(**{**s, "camera": Camera(**s["camera"])}) for s in data["shots"])
    relations = tuple(Relation(**{**r, "others": tuple(r["others"])}) for r in data["relations"])
    objects = tuple(SceneObject(**o) for o in data["objects"])
    return Scene(**{**data, "objects": objects, "shots": shots, "relations": relations})


def able(material: str, motion: str) -> tuple[str, ...]:
    """Return the shapes that can do a motion, of a material."""
    striped = motion == "spin" and material == "striped"
    return CAN[motion] + (SPINS_WHEN_STRIPED if striped else ())


def has_numbers(scene: Scene) -> bool:
    """Return whether anything in a scene has a number that is drawn."""
    moves = any(shot.camera.move != "static" for shot in scene.shots)
    return moves or any({o.motion, o.then} & NUMBERED for o in scene.objects)


def _among(what: str, value: object, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        names = ", ".join(str(a) for a in allowed)
        raise RequestError(f"{what} {value!r} is not one of {names}")


def _check_object(i: int, scene: Scene) -> None:
    thing = scene.objects[i]
    name = f"object {i}:"
    for field, allowed in (
        ("shape", SHAPES), ("colour", COLOURS), ("material", MATERIALS), ("size", SIZES),
        ("motion", MOTIONS), ("order", (0, 1)),
    ):  # fmt: skip
        _among(f"{name} {field}", getattr(thing, field), allowed)
    shapes = able(thing.material, thing.motion)
    _among(f"{name} a shape that can {thing.motion!r}:", thing.shape, shapes)
    directions = DIRECTIONS if thing.motion in DIRECTED else (None,)
    _among(f"{name} direction", thing.direction, directions)
    _among(f"{name} speed", thing.speed, SPEEDS if thing.motion in PACED else (None,))
    _among(f"{name} count", thing.count, COUNTED.get(thing.motion, (1,)))
    others = tuple(k for k in range(len(scene.objects)) if k != i)
    partners = others if thing.motion in PARTNERED else (None,)
    _among(f"{name} partner", thing.partner, partners)
    if thing.partner is not None:
        _among(f"{name} motion of its partner", scene.objects[thing.partner].motion, ("still",))
    _among(f"{name} then", thing.then, (None, *SEQUELS.get(thing.motion, ())))
    if thing.then is not None:
        shapes = able(thing.material, thing.then)
        _among(f"{name} a shape that can then {thing.then!r}:", thing.shape, shapes)
    turns = "recolour" in (thing.motion, thing.then)
    hues = tuple(c for c in COLOURS if c != thing.colour) if turns else (None,)
    _among(f"{name} colour_to", thing.colour_to, hues)


def _check_relation(relation: Relation, scene: Scene) -> None:
    _among("relation", relation.name, RELATIONS)
    wanted = 2 if relation.name == "between" else 1
    if len(relation.others) != wanted:
        raise RequestError(
            f"{relation.name!r} holds between one object and {wanted}, not {len(relation.others)}"
        )
    members = (relation.subject, *relation.others)
    for k in members:
        _among("object of a relation", k, tuple(range(len(scene.objects))))
    if len(set(members)) != len(members):
        raise RequestError(f"an object cannot be {relation.name!r} itself")
    base = scene.objects[relation.others[0]].shape
    for name, shapes in (("on", SUPPORTS), ("under", ROOFS), ("inside", ("ring",))):
        if relation.name == name:
            _among(f"what something can be {name}", base, shapes)


def _check_numbers(scene: Scene) -> None:
    _among("numbers", scene.numbers, DRAWN_FROM)
    if scene.numbers == "seen":
        return
    if not has_numbers(scene):
        raise RequestError(f"numbers {scene.numbers!r}: nothing in the scene has one that is drawn")
    # Longer films are slowed down, which would lead back into what is seen.
    if scene.seconds > SHOT_SECONDS + 1e-9:
        raise RequestError(
            f"numbers {scene.numbers!r} are for films of up to {SHOT_SECONDS:g} s, "
            f"not {scene.seconds:g} s"
        )
    if scene.numbers != "gap":
        speeds = [o.speed for o in scene.objects] + [shot.camera.speed for shot in scene.shots]
        for speed in speeds:
            _among(f"a speed with numbers {scene.numbers!r}:", speed, (None, "fast"))


def check(scene: Scene) -> None:
    """Raise `RequestError`, naming the value and what is allowed, for a scene that cannot be."""
    if not 1 <= len(scene.objects) <= MAX_OBJECTS:
        raise RequestError(f"{len(scene.objects)} objects; allowed are 1 to {MAX_OBJECTS}")
    for i in range(len(scene.objects)):
        _check_object(i, scene)
    for relation in scene.relations:
        _check_relation(relation, scene)
    _among("floor", scene.floor, FLOORS)
    _among("sky", scene.sky, SKIES)
    _among("weather", scene.weather, WEATHERS)
    _among("style", scene.style, STYLES)
    if not 1 <= len(scene.shots) <= MAX_SHOTS:
        raise RequestError(f"{len(scene.shots)} shots; allowed are 1 to {MAX_SHOTS}")
    for k, shot in enumerate(scene.shots):
        _among(f"camera move of shot {k}", shot.camera.move, CAMERA_MOVES)
        speeds = (None,) if shot.camera.move in UNPACED_MOVES else SPEEDS
        _among(f"camera speed of shot {k}", shot.camera.speed, speeds)
        _among(f"transition of shot {k}", shot.transition, TRANSITIONS if k else (None,))
        if not shot.seconds > 0:
            raise RequestError(f"shot {k} lasts {shot.seconds:g} s; it must be above 0")
    _check_numbers(scene)
