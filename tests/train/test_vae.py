"""The VAE's training: its loss, exact resume, whole clips at the end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from kineograph.errors import RequestError
from kineograph.models.vae import VideoVAE
from kineograph.presets import TINY
from kineograph.train.engine import Engine, train
from kineograph.train.recipe import Schedule, VaeRecipe
from kineograph.train.vae import VaeTask, reconstruction_loss
from kineograph.train.world1 import FirstWorld
from kineograph.weights.files import build, load_weights

RECIPE = VaeRecipe(
    "tiny",
    Schedule(4, warmup=2, log_every=2, validate_every=100),
    batch=1,
    num_frames=5,
    validation_clips=1,
    compiled=False,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of four steps."""
    folder = tmp_path_factory.mktemp("vae")
    assert train(VaeTask(RECIPE), folder, resume=False)
    return folder


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(run, tmp_path, same_state):
    assert not train(VaeTask(RECIPE), tmp_path, resume=False, stop_after=2)
    engine = Engine(VaeTask(RECIPE), tmp_path)
    engine.load()
    for _ in range(2):
        engine.advance()
    engine.save()
    assert same_state(tmp_path, run)


def test_a_finished_run_has_weights_a_log_and_a_picture(run):
    vae = build("vae", run / "vae.safetensors")
    assert isinstance(vae, VideoVAE)
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    assert all(map(torch.equal, vae.parameters(), average))
    config, _, metadata = load_weights(run / "vae.safetensors", "vae")
    assert config == TINY.vae
    assert metadata["world_version"] == "1"
    assert "VaeRecipe(model='tiny'" in metadata["recipe"]
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"step", "seconds", "loss", "psnr", "kl", "rate", "grad_norm"} == set(rows[0])
    validated = rows[-1]["validation"]
    assert set(validated) == {"step", "seconds", "psnr", "psnr_worst", "psnr_objects"}
    assert validated["psnr_objects"] < validated["psnr"]  # what is flat is easy
    assert (run / "vae-000004.png").stat().st_size > 1000


def test_the_loss_is_0_for_the_truth_and_counts_motion_more():
    truth = torch.zeros(1, 3, 4, 8, 8)
    truth[:, :, 2:] = 0.5  # a jump from frame 1 to frame 2
    assert float(reconstruction_loss(truth, truth, RECIPE)) == 0
    only = replace(RECIPE, mse_weight=0.0, gradient_weight=0.0)
    losses = []
    for frame in (1, 3):  # an error of one frame: beside the jump, or where nothing moves
        out = truth.clone()
        out[:, :, frame] += 0.1
        losses.append(float(reconstruction_loss(out, truth, only)))
    l1 = 0.1 / 4
    change = 0.1 / 3  # of one difference out of three
    assert losses[0] == pytest.approx(l1 + 0.5 * (1 + 5) * change, rel=1e-4)
    assert losses[1] == pytest.approx(l1 + 0.5 * change, rel=1e-4)


def test_edges_and_squares_have_their_weights():
    truth = torch.zeros(1, 3, 2, 8, 8)
    out = truth.clone()
    out[..., 4:] = 0.2  # one edge out of seven columns
    plain = replace(RECIPE, mse_weight=0.0, gradient_weight=0.0, temporal_weight=0.0)
    loss = [
        float(reconstruction_loss(out, truth, replace(plain, **extra)))
        for extra in ({}, {"mse_weight": 1.0}, {"gradient_weight": 1.0})
    ]
    assert loss == pytest.approx([0.1, 0.1 + 0.02, 0.1 + 0.2 / 7], rel=1e-4)


def test_muon_steps_the_inner_kernels_alone():
    task = VaeTask(RECIPE)
    named = dict(task.vae.named_parameters())
    chosen = {name for name, p in named.items() if task.is_matrix(name, p)}
    assert chosen
    for name in chosen:
        assert named[name].ndim >= 4
        assert "conv_in" not in name and "conv_out" not in name
    assert {name for name in named if name.endswith("bias")}.isdisjoint(chosen)


def test_the_last_part_of_a_run_is_on_whole_clips_in_half_the_batch():
    task = VaeTask(replace(RECIPE, batch=2, whole_share=0.5))
    whole = FirstWorld.num_frames
    assert [task._video(step).shape[:3] for step in (1, 2)] == [(2, 3, 5), (1, 3, whole)]


def test_batches_around_objects_have_as_many_pixels():
    task = VaeTask(replace(RECIPE, batch=2, object_share=1.0))
    assert task._video(0).shape == (8, 3, 5, 32, 32)
    some = VaeTask(replace(RECIPE, object_share=0.5))
    assert {some._video(step).shape[0] for step in range(8)} == {1, 4}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_batches_are_functions_of_the_step(share):
    task, again = (VaeTask(replace(RECIPE, object_share=share)) for _ in range(2))
    video = task._video(3)
    assert torch.equal(video, again._video(3))
    other = task._video(4)
    assert other.shape != video.shape or not torch.equal(video, other)


def test_a_run_may_begin_with_finished_weights(run):
    path = run / "vae.safetensors"
    begun = VaeTask(RECIPE, begin_with=path).vae
    assert all(map(torch.equal, begun.parameters(), build("vae", path).parameters()))


def test_a_run_goes_on_from_the_weights_it_began_with_alone(run):
    path = run / "vae.safetensors"
    begun = VaeTask(RECIPE, begin_with=path)
    VaeTask(RECIPE, begin_with=path).load_state_dict(begun.state_dict())
    with pytest.raises(RequestError, match="began with other weights"):
        VaeTask(RECIPE).load_state_dict(begun.state_dict())
