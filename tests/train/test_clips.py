"""Batches of clips are functions of their seed and step; pixels survive the way to floats."""

from __future__ import annotations

import random

import pytest
import torch

from kineograph.train.clips import (
    VALIDATION_SEED,
    choose_ratio,
    clip_times,
    draw_batch,
    object_crops,
    psnr,
    render_seen,
    to_float,
    to_uint8,
    validation_scenes,
)
from kineograph.train.world1 import FirstWorld
from kineograph.train.world2 import SecondWorld
from kineograph.world.draw import BASE_SIZES, CLIP_TIMES
from kineograph.world.splits import is_training

WORLD = FirstWorld()
SIDE = 32  # of a crop


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
    drawn = [choose_ratio(rng, 0.5, WORLD) for _ in range(3000)]
    for ratio in BASE_SIZES:
        wanted = 0.5 if ratio == "1:1" else 0.1
        assert drawn.count(ratio) / 3000 == pytest.approx(wanted, abs=0.03)
    assert {choose_ratio(rng, 1.0, WORLD) for _ in range(50)} == {"1:1"}
    # What a world holds out is never drawn.
    assert {choose_ratio(rng, 0.0, SecondWorld()) for _ in range(200)} == {
        "16:9", "9:16", "4:3", "3:4"
    }  # fmt: skip


def test_a_batch_is_a_function_of_seed_and_step():
    def batch(seed: int, step: int) -> torch.Tensor:
        scenes, times = draw_batch(WORLD, seed, step, 2, 2, 1.0)
        return render_seen(WORLD, scenes, times=times)[0]

    first = batch(1, 7)
    assert (first.shape, first.dtype) == ((2, 2, 64, 64, 3), torch.uint8)
    assert torch.equal(first, batch(1, 7))
    assert not torch.equal(first, batch(1, 8))
    assert not torch.equal(first, batch(2, 7))
    assert not torch.equal(first[0], first[1])


def test_a_batch_has_one_ratio_and_the_asked_length():
    scenes, times = draw_batch(WORLD, 0, 0, 1, 3, 0.0)
    batch, _ = render_seen(WORLD, scenes, times=times)
    sizes = {size for ratio, size in BASE_SIZES.items() if ratio != "1:1"}
    assert batch.shape[:2] == (1, 3)
    assert tuple(batch.shape[2:4]) in sizes


def test_a_batch_is_of_training_scenes_that_have_the_same_number_of_objects():
    counts = set()
    for step in range(30):
        scenes, times = draw_batch(WORLD, 0, step, 2, 5, 0.5)
        assert len(scenes) == 2 and all(is_training(scene) for scene in scenes)
        assert len({scene.aspect_ratio for scene in scenes}) == 1
        (count,) = {len(scene.objects) for scene in scenes}
        counts.add(count)
        assert times[0] >= 0 and times[-1] <= CLIP_TIMES[-1] + 1e-9
        assert times[1:] - times[:-1] == pytest.approx(1 / WORLD.fps)
    assert counts == {1, 2, 3}
    whole = draw_batch(WORLD, 0, 0, 1, WORLD.num_frames, 0.5)[1]
    assert whole == pytest.approx(CLIP_TIMES)


def test_validation_scenes_are_fixed_and_trained_on_by_nobody():
    scenes = validation_scenes(WORLD, 3)
    assert scenes == validation_scenes(WORLD, 5)[:3]
    assert all(is_training(scene) for scene in scenes)
    assert validation_scenes(WORLD, 1, ratio="16:9")[0].aspect_ratio == "16:9"
    assert VALIDATION_SEED >= 1 << 40  # training draws its seeds below


def test_a_clip_has_the_times_of_its_world():
    assert clip_times(WORLD).tolist() == CLIP_TIMES.tolist()
    times = clip_times(SecondWorld())
    assert (len(times), times[0], times[-1]) == (49, 0, 4)


def test_whole_clips_are_rendered_unless_times_are_given(monkeypatch):
    monkeypatch.setattr(FirstWorld, "num_frames", 2)
    scenes = validation_scenes(WORLD, 1)
    whole, owners = render_seen(WORLD, scenes)
    assert whole.shape == (1, 2, 64, 64, 3) and owners.shape == (1, 2, 64, 64)
    asked = render_seen(WORLD, scenes, times=CLIP_TIMES[:2])
    assert torch.equal(whole, asked[0]) and torch.equal(owners, asked[1])


def test_clips_are_rendered_at_any_enlargement():
    scenes = validation_scenes(WORLD, 1)
    small, _ = render_seen(WORLD, scenes, times=CLIP_TIMES[:1])
    large, _ = render_seen(WORLD, scenes, times=CLIP_TIMES[:1], scale=2)
    assert (small.shape, large.shape) == ((1, 1, 64, 64, 3), (1, 1, 128, 128, 3))
    mean = large.float().unflatten(2, (64, 2)).unflatten(4, (64, 2)).mean((3, 5))
    assert (mean - small.float()).abs().mean() < 3


def crops_of(
    video: torch.Tensor, owners: torch.Tensor, batch: int, seed: int = 0
) -> torch.Tensor:
    return object_crops(video, owners, batch, SIDE, random.Random(seed))


def test_crops_are_squares_around_objects_and_functions_of_their_generator():
    scenes, times = draw_batch(WORLD, 1, 7, 2, 2, 0.0)
    video, owners = render_seen(WORLD, scenes, times=times)
    first = crops_of(video, owners, 3, seed=7)
    assert (first.shape, first.dtype) == ((3, 2, SIDE, SIDE, 3), torch.uint8)
    assert torch.equal(first, crops_of(video, owners, 3, seed=7))
    assert not torch.equal(first, crops_of(video, owners, 3, seed=8))
    for step in range(4):
        scenes, times = draw_batch(WORLD, 0, step, 1, 1, 1.0)
        _, owners = render_seen(WORLD, scenes, times=times)
        # objects are white and all else is black
        white = (owners > 0)[..., None].expand(*owners.shape, 3).to(torch.uint8) * 255
        crop = crops_of(white, owners, 2, seed=step)
        assert bool(crop.flatten(1).any(1).all()) == bool(owners.any())


def test_a_window_stands_still_and_clips_give_equally_many():
    y, x = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    one = torch.stack([y, x, torch.zeros_like(x)], -1).to(torch.uint8)
    video = torch.stack([one, one + torch.tensor([0, 0, 9], dtype=torch.uint8)])
    video = video[:, None].expand(2, 3, 40, 48, 3)
    owners = torch.zeros(2, 3, 40, 48, dtype=torch.uint8)
    owners[:, :, 0, 47] = 1  # a corner of the picture, where a window is pushed inside
    crops = crops_of(video, owners, 6)
    assert [set(c[..., 2].flatten().tolist()) for c in crops] == [{0}] * 3 + [{9}] * 3
    for crop in crops:
        assert torch.equal(crop, crop[:1].expand_as(crop))
        assert crop[0, 0, -1, :2].tolist() == [0, 47]
        assert crop[0, -1, 0, :2].tolist() == [SIDE - 1, 48 - SIDE]
    # Where no object is in sight, anywhere.
    owners.zero_()
    corners = {tuple(crop[0, 0, 0, :2].tolist()) for crop in crops_of(video, owners, 20)}
    assert len(corners) > 5
