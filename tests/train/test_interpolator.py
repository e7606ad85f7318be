"""The interpolator's training: frames between frames, exact resume, the mean it has to beat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from kineograph.presets import PRESETS, TINY
from kineograph.spec import InterpolatorConfig
from kineograph.train.clips import psnr, render_seen, to_float, validation_scenes
from kineograph.train.engine import Engine, train
from kineograph.train.interpolator import MOVES, InterpolatorTask
from kineograph.train.recipe import InterpolatorRecipe, Schedule
from kineograph.weights.files import build, load_weights

CONFIG = InterpolatorConfig(8)
RECIPE = InterpolatorRecipe(
    "tiny",
    Schedule(2, warmup=1, log_every=1, validate_every=100),
    batch=1,
    num_frames=5,
    compiled=False,
    validation_clips=1,
)


@contextmanager
def interpolating() -> Iterator[None]:
    """Let tiny have an interpolator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", replace(TINY, interpolator=CONFIG))
        yield


@pytest.fixture(autouse=True)
def tiny_with_interpolator() -> Iterator[None]:
    with interpolating():
        yield


@pytest.fixture(scope="module")
def make(tiny_vae):
    return lambda **settings: InterpolatorTask(replace(RECIPE, **settings), tiny_vae)


@pytest.fixture(scope="module")
def run(make, tmp_path_factory):
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("interpolator")
    with interpolating():
        assert train(make(), folder, resume=False)
    return folder


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(run, make, tmp_path, same_state):
    assert not train(make(), tmp_path, resume=False, stop_after=1)
    assert train(make(), tmp_path, resume=True)
    assert same_state(tmp_path, run)
    first, second = (folder / "interpolator.safetensors" for folder in (run, tmp_path))
    assert first.read_bytes() == second.read_bytes()


def test_a_finished_run_stands_beside_the_mean_of_neighbours(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"step", "seconds", "loss", "grad_norm", "rate", "psnr"}
    row = rows[-1]["validation"]
    assert set(row) == {"step", "seconds", "psnr", "psnr_moving", "mean", "mean_moving"}
    assert all(0 < row[name] < 60 for name in row.keys() - {"step", "seconds"})
    assert (run / "interpolator-000002.png").stat().st_size > 1000


def test_a_finished_run_has_the_averaged_weights(run):
    path = run / "interpolator.safetensors"
    config, tensors, metadata = load_weights(path, "interpolator")
    assert config == CONFIG
    assert "InterpolatorRecipe" in metadata["recipe"]
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    names = [name for name, _ in build("interpolator", path).named_parameters()]
    for name, mean in zip(names, average, strict=True):
        assert torch.equal(tensors[name], mean.to(tensors[name].dtype))


def test_before_training_it_is_the_mean_in_whole_frames_and_where_they_move(make, tmp_path):
    task = make()
    with torch.no_grad():
        row = task.validate(tmp_path, 0)
    fours, truth = task._fours(validation_scenes(task.world, 1), 0.5, None)
    mean = fours[:, 1:3].mean(1)
    assert row["mean"] == pytest.approx(float(psnr(mean, truth).mean()), abs=1e-4)
    moving = (fours[:, 1] - fours[:, 2]).abs() > MOVES
    there = psnr(mean[moving][None], truth[moving][None])
    assert row["mean_moving"] == pytest.approx(float(there), abs=1e-4)
    assert abs(row["mean_moving"] - row["mean"]) > 0.01
    assert row["psnr"] == pytest.approx(row["mean"], abs=1e-3)
    assert row["psnr_moving"] == pytest.approx(row["mean_moving"], abs=1e-3)


def test_neighbours_are_every_other_frame_through_the_vae_and_the_truth_is_between(make):
    task = make()
    scenes = validation_scenes(task.world, 2)
    fours, truth = task._fours(scenes, 0.5, None)
    assert (fours.shape, truth.shape) == ((8, 4, 3, 64, 64), (8, 3, 64, 64))
    assert not fours.requires_grad
    times = 0.5 + np.arange(9) / 20
    fine = to_float(render_seen(task.world, scenes, times=times)[0])
    mean, _ = task.vae.encode(fine[:, :, ::2])
    given = task.vae.decode(mean)
    for clip in range(2):
        for i in range(4):
            assert torch.equal(truth[4 * clip + i], fine[clip, :, 2 * i + 1])
            four = given[clip][:, [max(0, i - 1), i, i + 1, min(4, i + 2)]].transpose(0, 1)
            off = fours[4 * clip + i] - four  # by the arithmetic of the VAE in training
            assert float(off.abs().mean()) < 0.02
            one, other = fours[4 * clip + i, 1], fours[4 * clip + i, 2]
            assert not torch.equal(one, other)


def test_a_little_noise_is_on_the_latents_in_training_alone(make):
    task = make()
    scenes = validation_scenes(task.world, 1)
    plain, truth = task._fours(scenes, 0.5, None)
    assert torch.equal(plain, task._fours(scenes, 0.5, None)[0])
    noisy, same = task._fours(scenes, 0.5, torch.Generator().manual_seed(0))
    assert 0 < float((noisy - plain).abs().mean()) < 0.5
    assert torch.equal(same, truth)


def test_batches_are_functions_of_the_step(make):
    losses = [float(make().loss(step)[0].detach()) for step in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_goes_down_on_one_batch(make, tmp_path):
    task = make(schedule=replace(RECIPE.schedule, steps=1000, lr=3e-3, muon_lr=1e-2))
    fours = task._fours(validation_scenes(task.world, 1), 0.5, None)
    task._fours = lambda *_: fours
    engine = Engine(task, tmp_path)
    losses = [engine.advance()["loss"] for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0]


def test_muon_steps_wide_kernels_alone(make):
    task = make()
    named = dict(task.module.named_parameters())
    chosen = {name for name, p in named.items() if task.is_matrix(name, p)}
    assert {"down3.0.weight", "middle.0.weight"} <= chosen
    assert "out.weight" not in chosen and "down1.0.weight" not in chosen
    assert all(min(named[name].shape[:2]) >= 16 for name in chosen)
