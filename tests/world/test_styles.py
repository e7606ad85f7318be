"""Each style is a fixed function of a frame, looks like no other, and keeps or drops colours."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from itertools import combinations

import pytest
import torch
from torch.nn.functional import avg_pool2d

from kineograph.world import style_patterns
from kineograph.world.gbuffer import GBuffer
from kineograph.world.style_filters import Picture
from kineograph.world.styles import COLOURLESS, STYLES, stylise

FAR = 1e4
SUN = torch.nn.functional.normalize(torch.tensor([-0.4, 0.8, 0.5]), dim=0)
# Of the same brightness, so that hue is all that tells them apart.
RED, BLUE = (0.80, 0.12, 0.10), (0.16, 0.27, 1.00)
GREEN = (0.15, 0.70, 0.20)


def trace(u, v, shift: float, colours) -> tuple[torch.Tensor, ...]:
    """Meet a ball, a cube, a checkered floor and the sky with rays from (0, 1.4, 6)."""
    eye = torch.tensor([0.0, 1.4, 6.0])
    d = torch.nn.functional.normalize(torch.stack([u, v - 0.13, -torch.ones_like(u)], -1), dim=-1)
    depth, owner = torch.full_like(u, FAR), torch.zeros_like(u, dtype=torch.long)
    normal = torch.zeros_like(d)
    colour = torch.stack([0.75 - v, 0.85 - 0.6 * v, 0.95 - 0.2 * v], -1)

    def meet(t, n, who, paint):
        nonlocal depth, owner, normal, colour
        near = (t > 0) & (t < depth)
        lit = 0.45 + 0.55 * (n @ SUN).clamp_min(0)
        depth, owner = torch.where(near, t, depth), torch.where(near, who, owner)
        normal = torch.where(near[..., None], n, normal)
        colour = torch.where(near[..., None], torch.as_tensor(paint) * lit[..., None], colour)

    t = -eye[1] / d[..., 1].clamp_max(-1e-4)
    p = eye + t[..., None] * d
    tile = (p[..., 0].floor() + p[..., 2].floor()) % 2
    floor = (0.30 + 0.5 * tile)[..., None].expand_as(d) * torch.tensor([1.0, 0.93, 0.8])
    floor = torch.where((t > 40)[..., None], torch.tensor([0.55, 0.51, 0.44]), floor)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(d)
    meet(torch.where(d[..., 1] < -1e-4, t, -1.0), up, 1, floor)
    o = eye - torch.tensor([-1.0 + shift, 0.9, 0.0])
    b = d @ o
    q = b * b - (o @ o - 0.81)
    t = torch.where(q > 0, -b - q.clamp_min(0).sqrt(), -1.0)
    meet(t, (o + t[..., None] * d) / 0.9, 2, colours[0])
    o = eye - torch.tensor([1.2, 0.7, -0.4])
    near = (-0.7 * d.sign() - o) / d
    t, axis = near.max(-1)
    inside = t < ((0.7 * d.sign() - o) / d).amin(-1)
    n = -d.sign() * torch.nn.functional.one_hot(axis, 3)
    meet(torch.where(inside, t, -1.0), n, 3, colours[1])
    return (
        colour.clamp(0, 1),
        owner,
        depth,
        normal,
        torch.where(owner > 0, -(normal * d).sum(-1), 1),
    )


@cache
def scene(height: int, width: int, ball=RED, cube=GREEN) -> GBuffer:
    """Two frames of a ball that moves; colours are the means of four samples a pixel."""
    size = (height * width) ** 0.5
    frames = []
    for shift in (0.0, 0.35):
        samples = []
        for dx, dy in ((0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            u, v = (x + dx - width / 2) / size, (height / 2 - y - dy) / size
            samples.append(trace(u, v, shift, (ball, cube)))
        colour = torch.stack([s[0] for s in samples[1:]]).mean(0)
        frames.append((colour, *samples[0][1:]))
    return GBuffer(*(torch.stack(parts) for parts in zip(*frames, strict=True)))


def only(buffer: GBuffer, *frames: int) -> GBuffer:
    return GBuffer(*(getattr(buffer, f.name)[list(frames)] for f in fields(buffer)))


def luminance(pixels: torch.Tensor) -> torch.Tensor:
    return pixels @ torch.tensor([0.299, 0.587, 0.114])


def hue(style: str, ball) -> torch.Tensor:
    """Return the mean colour of the ball without its brightness."""
    buffer = scene(96, 96, ball)
    pixels = stylise(buffer, style)[buffer.owner == 2].mean(0)
    return pixels - luminance(pixels)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def test_there_are_24_styles():
    assert len(STYLES) == len(set(STYLES)) == 24
    assert STYLES[0] == "photoreal"
    assert len(COLOURLESS) == 11
    assert set(STYLES) > COLOURLESS


@pytest.mark.parametrize("size", [(48, 48), (96, 160), (97, 51)])
@pytest.mark.parametrize("style", STYLES)
def test_frames_have_the_shape_and_range_of_pictures(style, size):
    out = stylise(scene(*size), style)
    assert out.shape == (2, *size, 3)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 1
    assert out.std() > 0.05


def test_photoreal_is_the_picture_itself():
    buffer = scene(48, 48)
    assert torch.equal(stylise(buffer, "photoreal"), buffer.colour)


@pytest.mark.parametrize("size", [(48, 48), (97, 51)])
@pytest.mark.parametrize("style", STYLES)
def test_a_frame_has_the_same_bits_alone_in_company_and_at_any_time(style, size):
    buffer = scene(*size)
    both = stylise(buffer, style)
    for i in range(2):
        assert torch.equal(stylise(only(buffer, i), style)[0], both[i])
    many = stylise(only(buffer, 0, 1, 0, 0, 1), style)
    assert torch.equal(many, both[[0, 1, 0, 0, 1]])
    assert not torch.equal(both[0], both[1])


def test_patterns_are_the_same_when_made_anew():
    buffer = scene(48, 64)
    before = [stylise(buffer, style) for style in STYLES]
    made = [f for f in vars(style_patterns).values() if hasattr(f, "cache_clear")]
    assert len(made) > 10
    for function in made:
        function.cache_clear()
    for style, picture in zip(STYLES, before, strict=True):
        assert torch.equal(stylise(buffer, style), picture)


def test_nothing_that_goes_in_is_changed():
    buffer = scene(48, 48)
    copy = GBuffer(*(getattr(buffer, f.name).clone() for f in fields(buffer)))
    for style in STYLES:
        stylise(buffer, style)
    assert all(torch.equal(getattr(buffer, f.name), getattr(copy, f.name)) for f in fields(buffer))


def test_any_two_styles_can_be_told_apart():
    pictures = {style: stylise(scene(96, 96), style) for style in STYLES}
    for a, b in combinations(STYLES, 2):
        assert (pictures[a] - pictures[b]).abs().mean() > 0.06, (a, b)


@pytest.mark.parametrize("style", STYLES)
def test_hue_is_lost_where_the_style_says_so_and_nowhere_else(style):
    apart = float((hue(style, RED) - hue(style, BLUE)).norm())
    if style in COLOURLESS:
        assert apart < 0.005
    else:
        assert apart > 0.3


@pytest.mark.parametrize("style", STYLES)
def test_a_grey_picture_gives_the_same_only_where_colours_are_lost(style):
    buffer = scene(96, 96)
    grey = replace(buffer, colour=luminance(buffer.colour)[..., None].expand(-1, -1, -1, 3))
    off = (stylise(buffer, style) - stylise(grey, style)).abs()
    if style in COLOURLESS:
        assert off.max() < 1e-3
    else:
        assert off[buffer.owner >= 2].mean() > 0.05


# Where fine lines and dots lie on the picture, averages over them differ more.
FINE = {"noir": 23.5, "pencil": 24, "vaporwave": 24, "oil": 25}


@pytest.mark.parametrize("style", STYLES)
def test_twice_the_resolution_gives_the_same_picture(style):
    large, small = (stylise(scene(n, n), style).permute(0, 3, 1, 2) for n in (256, 128))
    assert psnr(avg_pool2d(large, 2), small) > FINE.get(style, 26)  # dB; photoreal has 29.8
    assert psnr(avg_pool2d(large, 8), avg_pool2d(small, 4)) > 29


def flat(owner: torch.Tensor) -> GBuffer:
    """Return one frame of even grey with the given owners, objects 1 m in front of the rest."""
    h, w = owner.shape
    normal = torch.zeros(1, h, w, 3)
    normal[..., 1] = 1
    depth = torch.where(owner >= 2, 4.0, 5.0)[None]
    return GBuffer(torch.full((1, h, w, 3), 0.6), owner[None], depth, normal, torch.ones(1, h, w))


OUTLINED = (
    "toon", "pencil", "watercolor", "neon", "noir", "blueprint", "ink wash", "x-ray", "hologram",
    "chalkboard", "stained glass", "night vision",
)  # fmt: skip


def test_the_horizon_has_no_outline():
    floor = torch.ones(64, 64, dtype=torch.long)
    horizon = floor.clone()
    horizon[:30] = 0
    assert Picture(flat(horizon), slice(0, 1)).outline(1.0, 1.0).max() == 0
    for style in set(OUTLINED) - {"x-ray"}:  # its film is darker where the sky is
        assert torch.equal(stylise(flat(horizon), style), stylise(flat(floor), style)), style


@pytest.mark.parametrize("style", OUTLINED)
def test_objects_have_outlines_even_before_their_own_colour(style):
    floor = torch.ones(64, 64, dtype=torch.long)
    thing = floor.clone()
    thing[20:44, 20:44] = 2
    off = (stylise(flat(thing), style) - stylise(flat(floor), style)).abs().mean((0, 3))
    border = off[19:45, 19:45].sum() - off[22:42, 22:42].sum()
    assert border / (26 * 26 - 20 * 20) > 0.03


def test_outlines_are_at_creases_and_between_objects_but_not_on_rounded_faces():
    buffer = scene(128, 128)
    outline = Picture(buffer, slice(0, 1)).outline(0.6, 1.4)[0, 0]
    owner = buffer.owner[0]
    cube, ball = owner == 3, owner == 2
    side = cube & (buffer.normal[0, ..., 0] < -0.5)  # seen beside the front
    assert 20 < side.sum() < cube.sum() / 4
    seam = side & torch.roll(cube & ~side, -1, 1)
    assert seam.sum() > 15
    assert outline[seam].min() > 0.6
    assert outline[ball & (buffer.facing[0] > 0.5)].max() < 0.01


def test_outlines_are_as_strong_aslant_as_upright_and_at_any_size():
    def strength(n: int, slope: float) -> float:
        y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        owner = torch.where(x + 0.5 > n / 2 + slope * (y + 0.5 - n / 2), 2, 1)
        line = Picture(flat(owner), slice(0, 1)).outline(0.8, 0.8)[0, 0]
        across = line[n // 2 - n // 8 : n // 2 + n // 8].sum(1).mean()
        return float(across) * 128 / n / (1 + slope**2) ** 0.5  # base pixels

    upright = strength(128, 0.0)
    for n in (128, 256, 512):
        for slope in (0.0, 0.5, 1.0):
            assert strength(n, slope) == pytest.approx(upright, rel=0.15)


def test_an_unknown_style_is_refused_with_the_names_of_all():
    with pytest.raises(ValueError, match="unknown style 'cubism'; allowed: photoreal, toon") as e:
        stylise(scene(48, 48), "cubism")
    assert all(style in str(e.value) for style in STYLES)
