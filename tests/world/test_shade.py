"""Each shape is met where stepping along the ray meets it, and the light follows from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kineograph.world.draw import CLIP_TIMES
from kineograph.world.render import pack
from kineograph.world.scene import SHAPES, Camera, Scene, SceneObject
from kineograph.world.shade import FAR, _hit, shade

R = 0.6
STEP = 0.002
RAYS = 1500


def inside(shape: str, p: torch.Tensor) -> torch.Tensor:
    """Return whether local points `... 3` lie inside a shape of radius R, by its definition."""
    x, y, z = (p / R).unbind(-1)
    disc, round_ = x * x + y * y, (x * x + z * z).sqrt()
    if shape == "ball":
        return disc + z * z < 1
    if shape == "cube":
        return torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs()) < 0.82
    if shape == "cylinder":
        return (round_ < 0.72) & (y.abs() < 0.95)
    if shape == "cone":
        return (round_ < 0.45 - y * 0.9 / 1.9) & (y.abs() < 0.95)
    return (disc < 1) & (disc > 0.55**2) & (z.abs() < 0.30)


@pytest.fixture(scope="module", params=SHAPES)
def shot(request):
    """Rays from all around at about one shape: what `_hit` says, and what stepping finds."""
    generator = torch.Generator().manual_seed(5)
    start = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=generator), dim=1) * 2
    aim = (torch.rand(RAYS, 3, generator=generator) - 0.5) * 2 * R
    d = torch.nn.functional.normalize(aim - start, dim=1) + 1e-7
    kind = torch.full((RAYS, 1), float(SHAPES.index(request.param)))
    radius = torch.full((RAYS, 1), R)
    t, *normal = _hit(kind, radius, list(start[..., None].unbind(1)), list(d[..., None].unbind(1)))
    steps = torch.arange(0, 3.2, STEP)
    seen = inside(request.param, start[:, None] + steps[None, :, None] * d[:, None])
    first = torch.where(seen.any(1), steps[seen.int().argmax(1)], FAR)
    return request.param, start, d, t[:, 0], torch.cat(normal, 1), first


def test_rays_meet_the_shape_where_stepping_does(shot):
    _, _, _, t, _, first = shot
    hit, found = t < FAR, first < FAR
    assert found.float().mean() > 0.2
    assert not (found & ~hit).any()
    # Stepping misses corners that are thinner than a step.
    assert (hit & ~found).float().mean() < 0.01
    both = hit & found
    late = first[both] - t[both]
    assert ((late > -1e-3) & (late < STEP + 1e-3)).float().mean() > 0.99


def test_normals_are_of_length_one_and_point_out_of_the_shape(shot):
    shape, start, d, t, normal, first = shot
    hit = (t < FAR) & (first < FAR)
    p, n = (start + t[:, None] * d)[hit], normal[hit]
    assert n.norm(dim=1).numpy() == pytest.approx(np.ones(len(n)), abs=1e-3)
    assert ((n * d[hit]).sum(1) < 1e-3).all()
    # A step along the normal leaves the shape, a step back enters it; edges excepted.
    out, back = ~inside(shape, p + 0.01 * n), inside(shape, p - 0.01 * n)
    assert out.float().mean() > 0.97
    assert back.float().mean() > 0.97


def lone(**settings: str) -> Scene:
    kept = {"shape": "ball", "colour": "red", "material": "matte", "size": "medium"} | settings
    sky, floor = kept.pop("sky", "noon"), kept.pop("floor", "plain")
    ball = SceneObject(**{"motion": "still"} | kept)
    return Scene(11, (ball,), floor, sky, Camera("static"))


def look(scene: Scene, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return colour `p 3` and object index `p` where the camera sees these points of the world."""
    batch = pack([scene], CLIP_TIMES[:1])
    position, right, up, forward = batch.camera[0].double().numpy().reshape(4, 3)
    rel = points - position
    depth = rel @ forward
    u, v = (torch.tensor(rel @ axis / depth).float()[None] for axis in (right, up))
    colour, index = shade(u, v, torch.zeros(2), *batch.tensors())
    return colour[0].T.numpy(), index[0].numpy()


def numbers(scene: Scene) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the object's centre, the direction to the sun, the radius."""
    batch = pack([scene], CLIP_TIMES[:1])
    centre, sun = batch.centre[0, 0].double().numpy(), batch.light[0, 12:15].double().numpy()
    return centre, sun, float(batch.shape[0, 0, 1])


@pytest.mark.parametrize("sky", ["dawn", "noon", "sunset", "night"])
def test_a_shadow_lies_where_the_sun_is_hidden_and_is_darker(sky):
    scene = lone(sky=sky, motion="fall")  # at first high up, so that nothing hides the shadow
    centre, sun, radius = numbers(scene)
    shadow = centre - sun * centre[1] / sun[1]
    across = np.array([-sun[2], 0, sun[0]]) / np.hypot(sun[0], sun[2])
    (dark, bright), index = look(scene, np.stack([shadow, shadow + 1.5 * radius * across]))
    assert index.tolist() == [0, 0]
    assert dark.sum() < 0.75 * bright.sum()


def test_the_side_towards_the_sun_is_brighter():
    scene = lone(sky="sunset", colour="white")
    centre, sun, radius = numbers(scene)
    level = np.array([sun[0], 0.3, 0.8]) / np.linalg.norm([sun[0], 0.3, 0.8])
    away = level * [-1, 1, 1]
    (lit, unlit), index = look(scene, centre + radius * np.stack([level, away]))
    assert index.tolist() == [1, 1]
    assert lit.sum() > 1.2 * unlit.sum()


def test_materials_differ():
    views = {m: look(lone(material=m), patch())[0] for m in ("matte", "striped", "metal")}
    centre, _, radius = numbers(lone())
    assert centre[1] == pytest.approx(radius)
    matte, striped, metal = (views[m].sum(1) for m in ("matte", "striped", "metal"))
    assert 0.1 < (striped < 0.8 * matte).mean() < 0.9  # in stripes, not all over
    # Metal shows its surroundings: more contrast from bottom to top.
    assert np.ptp(metal) > 1.2 * np.ptp(matte)


def patch() -> np.ndarray:
    """Return points on the side of the lone ball that faces the camera."""
    centre, _, radius = numbers(lone())
    a, b = np.meshgrid(np.linspace(-0.7, 0.7, 15), np.linspace(-0.7, 0.7, 15))
    return centre + radius * np.stack([a, b, np.sqrt(1.01 - a * a - b * b)], -1).reshape(-1, 3)


def test_the_sky_is_of_its_hour_and_the_floor_of_its_kind():
    up = np.stack([np.linspace(-2, 2, 9), np.full(9, 2.6), np.full(9, -3.0)], -1)
    skies = {sky: look(lone(sky=sky), up)[0].mean(0) for sky in ("noon", "sunset", "night")}
    assert skies["night"].sum() < 0.3 * skies["noon"].sum()
    assert skies["noon"][2] > skies["noon"][0]
    assert skies["sunset"][0] > skies["sunset"][2]
    a, b = np.meshgrid(np.linspace(-2, 2, 24), np.linspace(-0.5, 2, 24))
    down = np.stack([a, 0 * a, b], -1).reshape(-1, 3)
    contrast = {}
    for floor in ("plain", "checkered", "tiled", "wooden", "grassy", "sandy"):
        colour, index = look(lone(floor=floor), down)
        ground = colour[index == 0]
        contrast[floor] = float(np.median(np.abs(ground - np.median(ground, 0)).sum(1)))
        if floor == "grassy":
            assert ground[:, 1].mean() > ground[:, [0, 2]].mean(0).max()
    assert min(contrast, key=contrast.__getitem__) == "plain"
