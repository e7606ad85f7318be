"""A scene has one clip: its bits, its geometry on the screen, its sizes.

`golden.npz` holds frames of version 1 of the world. If a change of the renderer is meant, raise
WORLD_VERSION and write it again: `np.savez_compressed(path, frames=..., ids=...)` of `golden()`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kineograph.world.camera import camera_track, project
from kineograph.world.draw import BASE_SIZES, CLIP_TIMES
from kineograph.world.physics import simulate
from kineograph.world.render import COLOUR_RGB, pack, render, render_frames
from kineograph.world.scene import (
    CAMERA_MOVES,
    COLOURS,
    FLOORS,
    MATERIALS,
    SHAPES,
    SKIES,
    Camera,
    Scene,
    SceneObject,
)

GOLDEN = Path(__file__).with_name("golden.npz")


def thing(shape: str, motion: str = "still", **settings: str | bool) -> SceneObject:
    return replace(SceneObject(shape, "red", "matte", "medium", motion), **settings)


def scene_of(*objects: SceneObject, move: str = "static", **settings: str | int) -> Scene:
    camera = Camera(move, None if move == "static" else "normal")
    return replace(Scene(4, objects, "plain", "noon", camera), **settings)


def golden() -> tuple[torch.Tensor, torch.Tensor]:
    """Render two small frames of every shape, material, floor, sky and camera move."""
    motions = ("fall", "spin", "slide", "throw", "roll")
    scenes = []
    for i in range(12):
        shape = SHAPES[i % 5]
        objects = [
            thing(shape, motions[i % 5], colour=COLOURS[i % 10], material=MATERIALS[i % 3],
                  direction="left", speed="fast"),
            thing("ball", colour=COLOURS[(i + 3) % 10], material=MATERIALS[(i + 1) % 3]),
        ]  # fmt: skip
        look = {"move": CAMERA_MOVES[i % 11], "floor": FLOORS[i % 6], "sky": SKIES[i % 4]}
        scenes.append(scene_of(*objects[: 1 + i % 2], **look, seed=i))
    return render(scenes, CLIP_TIMES[[4, 16]], 40, 40)


@pytest.fixture(scope="module")
def drawn():
    return golden()


def test_frames_are_those_of_the_world_version(drawn):
    with np.load(GOLDEN) as kept:
        frames, ids = kept["frames"], kept["ids"]
    # Sines differ in their last bit between processors: a level of 255, and edges here and there.
    off = np.abs(drawn[0].numpy().astype(int) - frames)
    assert (off > 1).mean() < 1e-3
    assert (drawn[1].numpy() != ids).mean() < 1e-3


def test_the_same_scene_has_the_same_bits_in_any_company(drawn):
    video, ids = golden()
    assert torch.equal(video, drawn[0])
    assert torch.equal(ids, drawn[1])
    scene = scene_of(thing("cone", colour="blue"), move="pan left", floor="wooden")
    other = scene_of(thing("cube"), thing("ball", colour="green"))
    third = scene_of(thing("ring"))
    alone, _ = render([scene], CLIP_TIMES[:2], 24, 24)
    among, _ = render([other, third, scene], CLIP_TIMES[:2], 24, 24)
    assert torch.equal(alone[0], among[2])


def test_another_seed_or_version_is_another_clip():
    scene = scene_of(thing("cube"), floor="checkered")
    scenes = [scene, replace(scene, seed=5), replace(scene, version=2)]
    a, b, c = render(scenes, CLIP_TIMES[:1], 24, 24)[0]
    assert not torch.equal(a, b)
    assert not torch.equal(a, c)


def test_frames_do_not_depend_on_how_work_is_cut():
    batch = pack([scene_of(thing("ball", "fall"), floor="tiled")], CLIP_TIMES[:5])
    whole = render_frames(batch, 16, 20)
    cut = render_frames(batch, 16, 20, chunk_samples=2 * 16 * 20)
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_projected_is_where_it_is_drawn(shape):
    """The mask of an object lies around its projected centre and has its size."""
    moves = ("static", "pan left", "tilt up", "dolly in", "truck right", "orbit left")
    scenes = [scene_of(thing(shape), move=move, floor="checkered") for move in moves]
    times = CLIP_TIMES[[2, 22]]
    _, ids = render(scenes, times, 64, 64)
    for scene, masks in zip(scenes, ids.numpy() == 1, strict=True):
        (track,) = simulate(scene, times)
        screen = project(camera_track(scene, times), track.position, 64, 64)
        for mask, (col, row, ppm) in zip(masks, screen, strict=True):
            rows, cols = np.nonzero(mask)
            radius = track.radius * ppm
            assert len(rows) > 30
            # A ring has a hole and a cone is heavier below: the middle of the box is the measure.
            middle = (cols.min() + cols.max() + 1.5) / 2, (rows.min() + rows.max() + 1.5) / 2
            assert abs(middle[0] - col) < 0.15 * radius + 0.75
            assert abs(middle[1] - row) < 0.25 * radius + 0.75
            assert 0.6 * radius < np.ptp(cols) / 2 + 0.5 < 1.3 * radius + 0.75


def test_a_ball_covers_its_disc():
    _, ids = render([scene_of(thing("ball"))], CLIP_TIMES[:1], 64, 64)
    scene = scene_of(thing("ball"))
    ppm = project(
        camera_track(scene, CLIP_TIMES[:1]), simulate(scene, CLIP_TIMES[:1])[0].position, 64, 64
    )[0, 2]
    area = np.pi * (0.58 * ppm) ** 2
    assert (ids == 1).sum() == pytest.approx(area, rel=0.05)


def test_objects_have_their_colours():
    scenes = [scene_of(thing("cube", colour=c)) for c in COLOURS]
    video, ids = render(scenes, CLIP_TIMES[:1], 64, 64)
    table = np.array([COLOUR_RGB[c] for c in COLOURS])
    for i in range(len(COLOURS)):
        pixels = video[i][ids[i] == 1].numpy() / 255
        # Light makes a colour darker or lighter; nearest by direction, then by brightness.
        mean = np.median(pixels, 0)
        scale = np.linspace(0.5, 1.1, 25)[:, None, None]
        distance = np.abs(table * scale - mean).sum(-1).min(0)
        if COLOURS[i] in ("white", "black"):
            assert (mean.sum() > 1.5) == (COLOURS[i] == "white")
            assert np.ptp(mean) < 0.1
        else:
            assert distance.argmin() == i


def test_wider_frames_see_more_and_nothing_else():
    scene = scene_of(thing("ball"), floor="checkered")
    square, _ = render([scene], CLIP_TIMES[:1], 32, 32)
    wide, _ = render([scene], CLIP_TIMES[:1], 24, 40)
    assert torch.equal(square[0, 0, 4:28], wide[0, 0, :, 4:36])


def test_an_enlargement_shows_the_same():
    scene = scene_of(thing("ball"), move="orbit left", floor="wooden")
    small, _ = render([scene], CLIP_TIMES[:1], 32, 32)
    large, _ = render([scene], CLIP_TIMES[:1], 128, 128, scale=4)
    mean = large[0, 0].float().unflatten(0, (32, 4)).unflatten(2, (32, 4)).mean((1, 3))
    assert (mean - small[0, 0].float()).abs().mean() < 2.5


def test_shapes_and_types_of_what_is_returned():
    scenes = [scene_of(thing("ball"), aspect_ratio="21:9"), scene_of(thing("ball"), thing("cube"))]
    height, width = BASE_SIZES["21:9"]
    video, ids = render(scenes, CLIP_TIMES[:1], height, width)
    assert (video.shape, video.dtype) == ((2, 1, height, width, 3), torch.uint8)
    assert (ids.shape, ids.dtype) == ((2, 1, height, width), torch.uint8)
    assert set(ids[0].unique().tolist()) == {0, 1}
    assert set(ids[1].unique().tolist()) == {0, 1, 2}
