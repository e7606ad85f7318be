"""The upsampler's training: pairs of one scene, exact resume, and the figure it has to beat."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from kineograph.models.upsampler import VideoUpsampler
from kineograph.presets import TINY
from kineograph.train import upsampler
from kineograph.train.clips import psnr, validation_scenes
from kineograph.train.engine import Engine, train
from kineograph.train.recipe import Schedule, UpsamplerRecipe
from kineograph.train.upsampler import UpsamplerTask, enlarge
from kineograph.train.world1 import FirstWorld
from kineograph.weights.files import load_weights

RECIPE = UpsamplerRecipe(
    "tiny",
    Schedule(2, warmup=1, log_every=1, validate_every=100),
    batch=1,
    num_frames=1,
    compiled=False,
    validation_clips=1,
)


@pytest.fixture(scope="module")
def run(tiny_vae, tmp_path_factory):
    """A finished run of two steps; its validation clip has one frame instead of nine."""
    folder = tmp_path_factory.mktemp("upsampler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FirstWorld, "num_frames", 2)
        assert train(UpsamplerTask(RECIPE, tiny_vae), folder, resume=False)
    return folder


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(
    run, tiny_vae, tmp_path, monkeypatch, same_state
):
    monkeypatch.setattr(FirstWorld, "num_frames", 2)
    assert not train(UpsamplerTask(RECIPE, tiny_vae), tmp_path, resume=False, stop_after=1)
    engine = Engine(UpsamplerTask(RECIPE, tiny_vae), tmp_path)
    engine.load()
    engine.advance()
    engine.save()
    assert same_state(tmp_path, run)


def test_a_finished_run_says_what_it_gains_over_bicubic(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    row = rows[-1]["validation"]
    assert set(row) == {"step", "seconds", "psnr", "bicubic", "gain"}
    assert row["gain"] == pytest.approx(row["psnr"] - row["bicubic"], abs=1e-5)
    assert (run / "upsampler-000002.png").stat().st_size > 1000
    config, tensors, metadata = load_weights(run / "upsampler.safetensors", "upsampler")
    assert config == TINY.upsampler
    assert "UpsamplerRecipe" in metadata["recipe"]
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    names = [name for name, _ in VideoUpsampler(config).named_parameters()]
    for name, mean in zip(names, average, strict=True):
        assert torch.equal(tensors[name], mean.to(tensors[name].dtype))


def test_a_pair_is_one_scene_small_through_the_vae_and_large(tiny_vae):
    task = UpsamplerTask(RECIPE, tiny_vae)
    scenes, times = validation_scenes(task.world, 1), np.array([0.5])
    small, (large,) = task._sizes(scenes, times, None)
    assert (small.shape, large.shape) == ((1, 3, 1, 64, 64), (1, 3, 1, 256, 256))
    assert not small.requires_grad
    again, _ = task._sizes(scenes, times, None)
    noisy, _ = task._sizes(scenes, times, torch.Generator().manual_seed(0))
    assert torch.equal(small, again)
    assert 0 < (noisy - small).abs().mean() < 0.5


def test_a_second_pass_learns_from_what_the_first_one_makes(tiny_vae, monkeypatch, tmp_path):
    half = replace(TINY, upsampler=replace(TINY.upsampler, scale=2))
    monkeypatch.setattr(upsampler, "get_preset", lambda _: half)
    task = UpsamplerTask(replace(RECIPE, passes=2), tiny_vae)
    scenes, times = validation_scenes(task.world, 1), np.array([0.5])
    _, wanted = task._sizes(scenes, times, None)
    assert [w.shape[-2:] for w in wanted] == [(128, 128), (256, 256)]
    averaged = wanted[1].unflatten(3, (128, 2)).unflatten(5, (128, 2)).mean((4, 6))
    assert torch.allclose(wanted[0], averaged, atol=1e-6)

    seen = []
    plain = task.upsampler.forward
    monkeypatch.setattr(task.upsampler, "forward", lambda x: (seen.append(x), plain(x))[1])
    loss, figures = task.loss(0)
    assert set(figures) == {"psnr", "psnr2"} and torch.isfinite(loss)
    first, second = (x.shape[-2:] for x in seen)
    assert second == first  # a part of what has twice the height and width
    assert not seen[1].requires_grad
    with torch.no_grad():
        found = task.validate(tmp_path, 1)
    assert set(found) == {"psnr", "bicubic", "gain", "psnr2", "bicubic2", "gain2"}
    assert found["gain"] == pytest.approx(0, abs=0.1)  # it begins as bicubic enlargement


def test_the_windows_of_both_sizes_show_the_same(tiny_vae):
    large = torch.rand(1, 3, 2, 32, 48)
    small = large.unflatten(3, (16, 2)).unflatten(5, (24, 2)).mean((4, 6))
    for seed in range(5):
        x, y = upsampler._window(small, large, random.Random(seed), 2)
        assert (x.shape[-2:], y.shape[-2:]) == ((8, 12), (16, 24))
        assert torch.allclose(y.unflatten(3, (8, 2)).unflatten(5, (12, 2)).mean((4, 6)), x)


def test_bicubic_enlargement_keeps_what_is_smooth():
    grey = torch.full((1, 3, 2, 6, 8), 0.25)
    assert torch.allclose(enlarge(grey, 4), torch.full((1, 3, 2, 24, 32), 0.25), atol=1e-5)
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 1, 32, 32)
    fine = enlarge(ramp, 4)
    assert (fine.diff(dim=-1)[..., 8:-8] > 0).all()
    assert float(psnr(fine.unflatten(3, (32, 4)).unflatten(5, (32, 4)).mean((4, 6)), ramp)) > 50


def test_muon_steps_the_kernels_of_the_blocks(tiny_vae):
    task = UpsamplerTask(RECIPE, tiny_vae)
    named = dict(task.module.named_parameters())
    chosen = {name for name, p in named.items() if task.is_matrix(name, p)}
    assert chosen
    assert all("blocks." in name and named[name].ndim >= 4 for name in chosen)
