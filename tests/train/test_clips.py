"""Batches of clips are functions of their seed and step; pixels survive the way to floats."""

from __future__ import annotations

import random

import pytest
import torch

from kineograph.train import clips
from kineograph.train.clips import (
    CROP_SIDE,
    VALIDATION_SEED,
    choose_ratio,
    object_crops,
    psnr,
    random_clips,
    render_clips,
    to_float,
    to_uint8,
    validation_scenes,
)
from kineograph.world.draw import BASE_SIZES, CLIP_TIMES
from kineograph.world.splits import is_training, split_of


def test_every_level_survives_as_float():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).expand(1, 1, 16, 16, 3)
    video = to_float(levels)
    assert video.shape == (1, 3, 1, 16, 16)
    assert (float(video.min()), float(video.max())) == (-1, 1)
    assert torch.equal(to_uint8(video), levels)
    assert torch.equal(to_uint8(video * 3), to_uint8((video * 3).clamp(-1, 1)))


def test_psnr_of_a_known_error():
    a = torch.zeros(2, 3, 1, 4, 4)
    b = torch.stack([a[0] + 0.02, a[1] + 0.2])
    assert psnr(a, b).tolist() == pytest.approx([40.0, 20.0], abs=1e-4)
    assert float(psnr(a, a)[0]) == pytest.approx(120)
    # What is beyond white counts as white: that is how it will be seen.
    assert float(psnr(a + 5, a + 1)[0]) == pytest.approx(120)


def test_ratios_are_drawn_in_their_shares():
    rng = random.Random(0)
    drawn = [choose_ratio(rng, 0.5) for _ in range(3000)]
    for ratio in BASE_SIZES:
        wanted = 0.5 if ratio == "1:1" else 0.1
        assert drawn.count(ratio) / 3000 == pytest.approx(wanted, abs=0.03)
    assert {choose_ratio(rng, 1.0) for _ in range(50)} == {"1:1"}


def test_a_batch_is_a_function_of_seed_and_step():
    def batch(seed: int, step: int) -> torch.Tensor:
        return random_clips(seed, step, 2, 2, 1.0, compiled=False)

    first = batch(1, 7)
    assert (first.shape, first.dtype) == ((2, 2, 64, 64, 3), torch.uint8)
    assert torch.equal(first, batch(1, 7))
    assert not torch.equal(first, batch(1, 8))
    assert not torch.equal(first, batch(2, 7))
    assert not torch.equal(first[0], first[1])


def test_a_batch_has_one_ratio_and_the_asked_length():
    batch = random_clips(0, 0, 1, 3, 0.0, compiled=False)
    sizes = {size for ratio, size in BASE_SIZES.items() if ratio != "1:1"}
    assert batch.shape[:2] == (1, 3)
    assert tuple(batch.shape[2:4]) in sizes


def test_validation_scenes_are_fixed_trained_on_by_nobody_and_of_their_split():
    scenes = validation_scenes(3)
    assert scenes == validation_scenes(5)[:3]
    assert all(is_training(scene) for scene in scenes)
    assert {split_of(scene) for scene in validation_scenes(2, split="pair")} == {"pair"}
    assert validation_scenes(1, ratio="16:9")[0].aspect_ratio == "16:9"
    assert VALIDATION_SEED >= 1 << 40  # training draws its seeds below


def test_whole_clips_are_rendered_at_any_enlargement():
    scenes = validation_scenes(1)
    small = render_clips(scenes, times=CLIP_TIMES[:1])
    large = render_clips(scenes, times=CLIP_TIMES[:1], scale=2)
    assert (small.shape, large.shape) == ((1, 1, 64, 64, 3), (1, 1, 128, 128, 3))
    mean = large.float().unflatten(2, (64, 2)).unflatten(4, (64, 2)).mean((3, 5))
    assert (mean - small.float()).abs().mean() < 3


def _mark(video, ids, seen):
    """Paint objects white and all else black, and keep which is which."""
    seen.append(ids)
    return (ids > 0)[..., None].expand_as(video).to(torch.uint8) * 255, ids


def test_crops_are_squares_around_objects_of_the_clips_of_their_step(monkeypatch):
    def crops(seed: int, step: int) -> torch.Tensor:
        return object_crops(seed, step, 3, 2, 0.0, compiled=False)

    first = crops(1, 7)
    assert first.shape == (3, 2, CROP_SIDE, CROP_SIDE, 3)
    assert torch.equal(first, crops(1, 7)) and not torch.equal(first, crops(1, 8))
    seen = []

    inner = clips.render_seen
    monkeypatch.setattr(clips, "render_seen", lambda *a, **k: _mark(*inner(*a, **k), seen))
    for step in range(4):
        crop = object_crops(0, step, 2, 1, 1.0, compiled=False)
        assert bool(crop.flatten(1).any(1).all()) == bool(seen[-1].any())
