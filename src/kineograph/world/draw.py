"""Draw scenes at random such that every fact a caption may state can be seen in the clip."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from kineograph.spec import FrameSize
from kineograph.world.camera import camera_track, project
from kineograph.world.physics import simulate
from kineograph.world.scene import (
    CAMERA_MOVES,
    COLOURS,
    DIRECTIONS,
    FLOORS,
    MATERIALS,
    ROLLERS,
    SHAPES,
    SIZES,
    SKIES,
    SPEEDS,
    WORLD_VERSION,
    Camera,
    Scene,
    SceneObject,
)
from kineograph.world.splits import split_of

FPS = 10  # frames a second of the world's clips
NUM_FRAMES = 25
CLIP_TIMES: NDArray[np.float64] = np.arange(NUM_FRAMES) / FPS

STATIC_SHARE = 0.15
OBJECT_COUNTS = ((1, 0.52), (2, 0.38), (3, 0.10))
COLLIDE_SHARE = 0.3  # of scenes with two objects or more
SINGLE_MOTIONS = ("still", "fall", "move", "throw", "spin")
MOTION_WEIGHTS = (0.14, 0.25, 0.27, 0.22, 0.12)
COLLIDERS = ("ball", "cube", "cylinder", "ring")

# Base sizes at constant area; presets.NANO_SIZES says what is delivered of them.
BASE_SIZES: dict[str, tuple[int, int]] = {
    "16:9": (48, 80),
    "9:16": (80, 48),
    "1:1": (64, 64),
    "4:3": (48, 64),
    "3:4": (64, 48),
    "21:9": (48, 112),
}
MIN_AREA = 30.0  # base pixels an object covers on average
MIN_TRAVEL = 5.0  # base pixels that a stated motion moves, measured in the world's frame


def _speed(rng: random.Random) -> str:
    return rng.choice(SPEEDS)


def _object(rng: random.Random, colour: str) -> SceneObject:
    shape, material, size = rng.choice(SHAPES), rng.choice(MATERIALS), rng.choice(SIZES)
    motion = rng.choices(SINGLE_MOTIONS, MOTION_WEIGHTS)[0]
    if motion == "spin" and shape not in ("cube", "ring"):
        material = "striped"  # a turning body without edges shows its turn by its stripes alone
    if motion == "move":
        motion = "roll" if shape in ROLLERS else "slide"
    direction = rng.choice(DIRECTIONS) if motion in ("roll", "slide", "throw") else None
    speed = _speed(rng) if motion not in ("still", "fall") else None
    return SceneObject(shape, colour, material, size, motion, direction, speed)


def _collision(rng: random.Random, colours: list[str]) -> list[SceneObject]:
    runner = SceneObject(
        rng.choice(COLLIDERS), colours[0], rng.choice(MATERIALS), rng.choice(SIZES), "collide",
        rng.choice(DIRECTIONS), _speed(rng),
    )  # fmt: skip
    struck = SceneObject(
        rng.choice(COLLIDERS), colours[1], rng.choice(MATERIALS), rng.choice(SIZES), "still",
        struck=True,
    )  # fmt: skip
    return [runner, struck]


def _candidate(seed: int, rng: random.Random, n: int, aspect_ratio: str) -> Scene:
    colours = rng.sample(COLOURS, n)
    objects: list[SceneObject] = []
    if n >= 2 and rng.random() < COLLIDE_SHARE:
        objects = _collision(rng, colours)
    objects += [_object(rng, c) for c in colours[len(objects) :]]
    if rng.random() < STATIC_SHARE:
        camera = Camera("static")
    else:
        camera = Camera(rng.choice(CAMERA_MOVES[1:]), _speed(rng))
    floors = FLOORS if camera.move == "static" else [f for f in FLOORS if f != "plain"]
    return Scene(seed, tuple(objects), rng.choice(floors), rng.choice(SKIES), camera, aspect_ratio)


def all_visible(scene: Scene) -> bool:
    """Return whether each object, its motion and its direction can be seen in the clip."""
    height, width = BASE_SIZES[scene.aspect_ratio]
    camera = camera_track(scene, CLIP_TIMES)
    tracks = simulate(scene, CLIP_TIMES)
    screens = [project(camera, k.position, height, width) for k in tracks]
    radii = [k.radius * s[:, 2] for k, s in zip(tracks, screens, strict=True)]
    depths = [k.position - camera.position for k in tracks]
    near = [np.einsum("tc,tc->t", d, camera.forward) for d in depths]
    for i, (obj, track) in enumerate(zip(scene.objects, tracks, strict=True)):
        col, row, ppm = screens[i].T
        inside = (col > 0.03 * width) & (col < 0.97 * width) & (row > 0) & (row < height)
        hidden = np.zeros(NUM_FRAMES, dtype=bool)
        for j in range(len(tracks)):
            if j != i:
                gap = np.hypot(col - screens[j][:, 0], row - screens[j][:, 1])
                hidden |= (near[j] < near[i]) & (gap < 0.8 * radii[j])
        seen = inside & ~hidden
        if seen.mean() < 0.7 or (seen[:12].mean() < 0.6) or (radii[i] ** 2 * 2.5).mean() < MIN_AREA:
            return False
        if obj.direction is not None:
            travel = np.abs(track.position[:, 0] - track.position[0, 0]) * ppm
            if travel[seen].max(initial=0.0) < MIN_TRAVEL:
                return False
        if obj.motion == "fall" and not seen[:6].all():
            return False
    return True


def draw_scene(
    seed: int, *, aspect_ratio: str = "1:1", count: int | None = None, split: str = "train"
) -> Scene:
    """Return the scene of a seed: candidates are drawn until one is visible and in the split.

    `split` is "train" (no object is a held-out combination), "pair" or "triple" (the first
    object is one), or "any".
    """
    rng = random.Random(f"kineograph draw {WORLD_VERSION} {seed} {aspect_ratio} {count} {split}")
    # Drawn once: crowded scenes are refused more often, and must not grow rare by it.
    n = count or rng.choices([k for k, _ in OBJECT_COUNTS], [p for _, p in OBJECT_COUNTS])[0]
    while True:
        scene = _candidate(seed, rng, n, aspect_ratio)
        if split != "any" and split_of(scene) != split:
            continue
        if all_visible(scene):
            return scene
        # The same seed would lay the objects out in the same place: move on to a fresh one.
        seed = rng.randrange(1 << 48)


def base_size(size: FrameSize) -> tuple[int, int]:
    """Return the height and width that the world is rendered at for a model's frame size."""
    return size.height, size.width
