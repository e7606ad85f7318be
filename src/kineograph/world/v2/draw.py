"""Draw scenes at random such that every fact a caption may state can be seen in the clip."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.camera import project, track
from kineograph.world.v2.laws import penetration
from kineograph.world.v2.layout import ASPECTS, fits, places
from kineograph.world.v2.pack import OWNER, Frames, pack
from kineograph.world.v2.play import Play
from kineograph.world.v2.render import render_frames, seen_parts
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    CAN,
    COLOURS,
    COMPOUNDS,
    COUNTED,
    DIRECTED,
    DIRECTIONS,
    DRAWN_FROM,
    FLOORS,
    FPS,
    MATERIALS,
    PACED,
    RELATIONS,
    ROOFS,
    SEQUELS,
    SHOT_SECONDS,
    SIMPLE_SHAPES,
    SIZES,
    SKIES,
    SPEEDS,
    SPINS_WHEN_STRIPED,
    STYLES,
    SUPPORTS,
    TRANSITIONS,
    UNPACED_MOVES,
    VERSION,
    WEATHERS,
    Camera,
    Relation,
    Scene,
    SceneObject,
    Shot,
    able,
    check,
    has_numbers,
)  # fmt: skip
from kineograph.world.v2.simulate import simulate

Array = NDArray[np.float64]

COUNTS = ((1, 0.36), (2, 0.28), (3, 0.16), (4, 0.09), (5, 0.05), (6, 0.03), (7, 0.02), (8, 0.01))
MOTION_SHARES = {
    "still": 0.10, "fall": 0.11, "bounce": 0.07, "throw": 0.09, "roll": 0.10, "slide": 0.08,
    "collide": 0.10, "orbit": 0.05, "pendulum": 0.05, "spin": 0.06, "topple": 0.04,
    "dominoes": 0.04, "stack": 0.03, "collapse": 0.03, "float": 0.02, "grow": 0.01,
    "shrink": 0.01, "recolour": 0.01,
}  # fmt: skip
RELATED = 0.30  # share of scenes with two objects or more in which some stand in a relation
SEQUEL, LATER = 0.10, 0.25  # of objects that could: do something more; begin when others ended
PLAIN_STYLE = 0.34  # share of scenes that look like a photograph
STATIC_SHARE = 0.15
CLEAR = 0.55
SEVERAL_SHOTS = 0.12
MIN_PIXELS = 30  # of 128 x 128, that a caption's object shows where it is looked for
MIN_SHARE = 0.4  # of an object's pixels that nothing hides
MIN_TRAVEL = 8.0  # pixels of 128 x 128 that a stated direction moves
MIN_CONTRAST = 0.05  # of 1, between an object and what is next to it
APART = 0.005  # radii; what is deeper in something else touches what it should not
LOOK_SIDE = 48  # pixels, side of the small picture that this is seen in
LOOKS = 9  # instants of it
Keep = Callable[[Scene], bool]


class _Draw:
    """One attempt at a scene."""

    def __init__(self, rng: random.Random, n: int, more: str) -> None:
        self.rng, self.n, self.more = rng, n, more
        self.objects: list[SceneObject] = []
        self.relations: list[Relation] = []

    def _thing(self, shapes: tuple[str, ...], motion: str = "still") -> SceneObject:
        rng = self.rng
        shape, material = rng.choice(shapes), rng.choice(MATERIALS)
        if motion == "spin" and shape in SPINS_WHEN_STRIPED:
            material = "striped"
        return SceneObject(
            shape, rng.choice(COLOURS), material, rng.choice(SIZES), motion,
            rng.choice(DIRECTIONS) if motion in DIRECTED else None,
            rng.choice(SPEEDS) if motion in PACED else None,
            count=rng.choice(COUNTED[motion]) if motion in COUNTED else 1,
        )  # fmt: skip

    def _acting(self, motion: str) -> None:
        """Add an object that does something, and its partner if it needs one."""
        shapes = CAN[motion] + (SPINS_WHEN_STRIPED if motion == "spin" else ())
        thing = self._thing(shapes, motion)
        if motion == "recolour":
            thing = self._with_hue(thing)
        if motion in ("collide", "orbit"):
            thing = replace(thing, partner=len(self.objects) + 1)
            partner = self._thing(
                ("ball", "cube", "cylinder") if motion == "collide" else SIMPLE_SHAPES
            )
            self.objects += [thing, partner]
            return
        if motion in SEQUELS and self.rng.random() < SEQUEL:
            allowed = [s for s in SEQUELS[motion] if thing.shape in able(thing.material, s)]
            if allowed:
                thing = replace(thing, then=self.rng.choice(allowed))
                if thing.then == "recolour":
                    thing = self._with_hue(thing)
        self.objects.append(thing)

    def _with_hue(self, thing: SceneObject) -> SceneObject:
        return replace(thing, colour_to=self.rng.choice([c for c in COLOURS if c != thing.colour]))

    def _related(self) -> None:
        """Add objects that stand in a relation."""
        rng, first = self.rng, len(self.objects)
        name = rng.choice(RELATIONS if self.n >= 3 else RELATIONS[:-1])
        if name == "between":
            self.objects += [self._thing(SIMPLE_SHAPES) for _ in range(3)]
            self.relations.append(Relation(first, name, (first + 1, first + 2)))
            return
        bases = {"on": SUPPORTS, "under": ROOFS, "inside": ("ring",)}
        base = self._thing(bases.get(name, (*SIMPLE_SHAPES, *COMPOUNDS)))
        if name in bases:
            base = replace(base, size="large")
        top = self._thing(SIMPLE_SHAPES)
        if name in ("under", "inside"):
            top = replace(top, size="small")
        self.objects += [top, base]
        self.relations.append(Relation(first, name, (first + 1,)))

    def _camera(self) -> Camera:
        if self.rng.random() < STATIC_SHARE:
            return Camera()
        move = self.rng.choice(CAMERA_MOVES[1:])
        return Camera(move, None if move in UNPACED_MOVES else self.rng.choice(SPEEDS))

    def _shots(self) -> tuple[Shot, ...]:
        rng = self.rng
        several = self.more == "shots" or (self.more == "any" and rng.random() < SEVERAL_SHOTS)
        if not several:
            return (Shot(self._camera()),)
        number = rng.choices((2, 3, 4, 5, 6), (0.4, 0.3, 0.15, 0.1, 0.05))[0]
        # Whole numbers of frames: a cut falls between two of them.
        seconds = [rng.randrange(18, 31) / FPS for _ in range(number)]
        return tuple(
            Shot(self._camera(), s, rng.choice(TRANSITIONS) if k else None)
            for k, s in enumerate(seconds)
        )

    def scene(self, seed: int, aspect_ratio: str, style: str | None) -> Scene | None:
        rng = self.rng
        if self.n >= 2 and rng.random() < RELATED:
            self._related()
        while len(self.objects) < self.n:
            left = self.n - len(self.objects)
            names = [m for m in MOTION_SHARES if left > 1 or m not in ("collide", "orbit")]
            # A crowd stands mostly still: too much at once finds no room.
            calm = 1.0 if len(self.objects) < 2 else 6.0
            shares = [MOTION_SHARES[m] * (calm if m == "still" else 1.0) for m in names]
            self._acting(rng.choices(names, shares)[0])
        movers = [i for i, o in enumerate(self.objects) if o.motion != "still" and o.then is None]
        if len(movers) >= 2 and rng.random() < LATER:
            late = rng.choice(movers)
            if self.objects[late].motion in (
                "fall",
                "throw",
                "roll",
                "slide",
                "topple",
                "dominoes",
                "collapse",
            ):
                self.objects[late] = replace(self.objects[late], order=1)
        kinds = [(o.colour, o.shape, o.size, o.material) for o in self.objects]
        if len(set(kinds)) < len(kinds):
            return None  # nobody could say which is meant
        scene = Scene(
            seed, tuple(self.objects), rng.choice(FLOORS), rng.choice(SKIES),
            "clear" if rng.random() < CLEAR else rng.choice(WEATHERS[1:]), self._shots(),
            style or ("photoreal" if rng.random() < PLAIN_STYLE else rng.choice(STYLES[1:])),
            tuple(self.relations), aspect_ratio,
        )  # fmt: skip
        return scene if all(fits(scene, r) for r in scene.relations) else None


def picture_size(aspect_ratio: str, side: int) -> tuple[int, int]:
    """Return height and width of a frame of about side x side pixels, in multiples of 16."""
    w, h = ASPECTS[aspect_ratio]
    step = 16 if side % 16 == 0 else 1
    sides = ((h / w) ** 0.5, (w / h) ** 0.5)
    height, width = (max(step, round(side * s / step) * step) for s in sides)
    return height, width


def _each_alone(frames: Frames, objects: int) -> Frames:
    """Return the frames as often as there are objects, each time with one of them alone."""
    owner, none = frames.parts[..., OWNER], torch.full_like(frames.kind, -1)
    kind = torch.cat([torch.where(owner == i, frames.kind, none) for i in range(objects)])
    rest = {n: torch.cat([getattr(frames, n)] * objects) for n in frames.__annotations__}
    return replace(Frames(**rest), kind=kind)


def shares_seen(play: Play, times: Array) -> tuple[Array, Array]:
    """Return pixels of 128 x 128 that each object shows `n t`, and the share not hidden."""
    frames, objects = pack([play], [times]), len(play.scene.objects)
    height, width = picture_size(play.scene.aspect_ratio, LOOK_SIDE)
    scale = 128**2 / (height * width)
    part = seen_parts(frames, height, width)
    owner = frames.parts[..., OWNER].gather(1, part.clamp_min(0).flatten(1)).view_as(part)
    shown = [((owner == i) & (part >= 0)).flatten(1).sum(1) for i in range(objects)]
    both = torch.stack(shown).numpy() * scale
    alone = (seen_parts(_each_alone(frames, objects), height, width) >= 0).flatten(1).sum(1)
    return both, both / np.maximum(alone.view(objects, -1).numpy() * scale, 1e-9)


def contrast(play: Play, times: Array) -> Array:
    """Return how each object differs from what is around it at some times, `n t`.

    The largest of the differences of red, green and blue between the mean of its pixels and
    that of the pixels next to it, in display space; 0 where it is not seen.
    """
    frames = pack([play], [times])
    height, width = picture_size(play.scene.aspect_ratio, LOOK_SIDE)
    g = render_frames(frames, height, width, buffers=False)
    found = np.zeros((len(play.scene.objects), len(times)))
    for i in range(len(found)):
        mine = (g.owner == FIRST_OBJECT + i).float()
        near = F.max_pool2d(mine[:, None], 5, stride=1, padding=2)[:, 0] - mine
        for n in range(len(times)):
            if mine[n].any() and near[n].any():
                inside = g.colour[n][mine[n] > 0].mean(0)
                found[i, n] = float((inside - g.colour[n][near[n] > 0].mean(0)).abs().max())
    return found


def _whole(play: Play, i: int) -> bool:
    """Return whether all pieces of a row or a stack are in the picture at first."""
    scene = play.scene
    height, width = picture_size(scene.aspect_ratio, 128)
    start = np.zeros(1)
    for piece in play.pieces:
        if piece.thing == i:
            column, row, _ = project(track(scene, start), piece.position(start), height, width)[0]
            if not (0.04 * width < column < 0.96 * width and 0.06 * height < row < height):
                return False
    return True


def all_visible(play: Play) -> bool:
    """Return whether each object, and what it does, can be seen in the clip."""
    scene = play.scene
    for i, thing in enumerate(scene.objects):  # what is told soonest first
        if thing.count > 1 and not _whole(play, i):
            return False
        if thing.motion == "collide":
            when = play.truth[i].get("contact")
            if when is None or when > 0.75 * scene.seconds:
                return False
    times = np.linspace(0, scene.seconds, LOOKS)
    pixels, share = shares_seen(play, times)
    seen = (pixels >= MIN_PIXELS) & (share >= MIN_SHARE)
    camera = track(scene, times)
    height, width = picture_size(scene.aspect_ratio, 128)
    for i, thing in enumerate(scene.objects):
        # What moves may leave in the end; what stands stays in view.
        if seen[i].mean() < 0.7 or not seen[i, :3].all():
            return False
        if thing.direction is not None and thing.motion not in ("topple", "dominoes"):
            piece = next(p for p in play.pieces if p.thing == i)
            x = piece.position(times)
            moved = x - x[:1]
            ppm = project(camera, x, height, width)[:, 2]
            if np.abs(moved[:, 0] * ppm)[seen[i]].max(initial=0.0) < MIN_TRAVEL:
                return False
    looks = contrast(play, np.array([0.0, 0.5, 0.9]) * scene.seconds)
    return bool((looks[:, 0] > MIN_CONTRAST).all() and (looks.max(1) > 2 * MIN_CONTRAST).all())


def keeps_apart(play: Play) -> bool:
    """Return whether what a collision sends off runs into nothing else."""
    scene = play.scene
    if len(scene.objects) == 2 or all(o.motion != "collide" for o in scene.objects):
        return True
    return penetration(play, np.arange(0, scene.seconds, 0.16)) < APART


def play_of(scene: Scene) -> Play:
    """Return what happens in a scene; `ValueError` if its objects find no room."""
    found = places(scene)
    if found is None:
        raise ValueError(f"the objects of scene {scene.seed} find no room")
    return simulate(scene, found)


def _numbered(scene: Scene, numbers: str) -> Scene | None:
    """Return a scene with its numbers from elsewhere, or None if it cannot have them."""
    if numbers == "seen":
        return scene
    if not has_numbers(scene) or scene.seconds > SHOT_SECONDS:
        return None
    if numbers == "gap":
        return replace(scene, numbers=numbers)
    things = (replace(o, speed=o.speed and "fast") for o in scene.objects)
    cameras = (replace(s.camera, speed=s.camera.speed and "fast") for s in scene.shots)
    shots = (replace(s, camera=c) for s, c in zip(scene.shots, cameras, strict=True))
    return replace(scene, objects=tuple(things), shots=tuple(shots), numbers=numbers)


def _number_of_objects(rng: random.Random) -> int:
    return rng.choices([k for k, _ in COUNTS], [p for _, p in COUNTS])[0]


def draw_record(seed: int, *, more: str = "any", keep: Keep | None = None) -> Scene:
    """Return a scene as `draw_scene` draws its candidates: there may be no room for it.

    Good for captions alone, and a hundred times as fast.
    """
    rng = random.Random(f"kineograph record {VERSION} {seed} {more}")
    n = _number_of_objects(rng)
    while True:
        scene = _Draw(rng, n, more).scene(rng.randrange(1 << 48), "1:1", None)
        if scene is not None and len(scene.objects) == n and (keep is None or keep(scene)):
            return scene


def draw_scene(
    seed: int, *, aspect_ratio: str = "1:1", count: int | None = None, style: str | None = None,
    more: str = "any", numbers: str = "seen", keep: Keep | None = None,
) -> tuple[Scene, Play]:  # fmt: skip
    """Return the scene of a seed, and what happens in it.

    Candidates are drawn until one finds room, is visible, and is kept by `keep` (a split).
    `more` is "any", "shot" (one shot only) or "shots" (several). `numbers` is one of
    `scene.DRAWN_FROM`, `RequestError` otherwise; where it is not "seen", films last up to
    SHOT_SECONDS, and beyond the ranges whatever has a speed is fast.
    """
    if numbers not in DRAWN_FROM:
        raise RequestError(f"numbers {numbers!r} is not one of {', '.join(DRAWN_FROM)}")
    asked = f"{seed} {aspect_ratio} {count} {style} {more} {numbers}"
    rng = random.Random(f"kineograph draw {VERSION} {asked}")
    # Drawn once: crowded scenes are refused more often, and must not grow rare by it.
    n = count or _number_of_objects(rng)
    while True:
        scene = _Draw(rng, n, more).scene(rng.randrange(1 << 48), aspect_ratio, style)
        scene = scene and _numbered(scene, numbers)
        if scene is None or len(scene.objects) != n or (keep is not None and not keep(scene)):
            continue
        where = places(scene)
        if where is None:
            continue
        check(scene)
        play = simulate(scene, where)
        if keeps_apart(play) and all_visible(play):
            return scene, play
