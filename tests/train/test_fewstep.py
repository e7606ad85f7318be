"""Training for few steps: it begins as its teacher, leaves what is given alone, and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from kineograph.presets import TINY
from kineograph.train import fewstep
from kineograph.train.engine import Engine, train
from kineograph.train.fewstep import FewStepTask
from kineograph.train.recipe import FewStepRecipe, Schedule
from kineograph.weights.files import build, load_weights, save_weights
from kineograph.weights.folder import random_parts

RECIPE = FewStepRecipe(
    "tiny",
    Schedule(2, warmup=1, log_every=1, validate_every=100),
    batch=2,
    validation_clips=2,
    known_share=0.5,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "dit.safetensors"
    save_weights(path, random_parts(TINY)["dit"], TINY.dit)
    return path


@pytest.fixture(scope="module")
def make(store, tiny_vae, tokenizer, tiny_text, teacher):
    def task(**settings) -> FewStepTask:
        recipe = replace(RECIPE, **settings)
        return FewStepTask(recipe, store, tiny_vae, tokenizer, tiny_text, teacher)

    return task


@pytest.fixture(scope="module")
def run(make, tmp_path_factory):
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("fewstep")
    assert train(make(), folder, resume=False)
    return folder


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(run, make, tmp_path, same_state):
    assert not train(make(), tmp_path, resume=False, stop_after=1)
    assert train(make(), tmp_path, resume=True)
    assert same_state(tmp_path, run)
    first, second = (folder / "dit.safetensors" for folder in (run, tmp_path))
    assert first.read_bytes() == second.read_bytes()


def test_a_finished_run_says_how_far_few_steps_end_from_many(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"step", "seconds", "loss", "grad_norm", "rate", "error"}
    row = rows[-1]["validation"]
    assert set(row) == {"step", "seconds", "off@1", "off@2", "off@4", "off@8"}
    assert all(value > 0 for name, value in row.items() if name.startswith("off"))
    assert (run / "fewstep-000002.png").stat().st_size > 1000


def test_a_finished_run_has_a_flow_map_of_the_averaged_weights(run):
    config, tensors, metadata = load_weights(run / "dit.safetensors", "dit")
    assert config == replace(TINY.dit, flow_map=True)
    assert "FewStepRecipe" in metadata["recipe"]
    assert any(name.startswith("way_embedding.") for name in tensors)
    assert not any("teacher" in name for name in tensors)
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    names = [name for name, _ in build("dit", run / "dit.safetensors").named_parameters()]
    for name, mean in zip(names, average, strict=True):
        assert torch.equal(tensors[name], mean.to(tensors[name].dtype))


def inputs(task, batch=2):
    """Noise, levels and two contexts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 8, 2, 8, 8, generator=generator)
    sigma = torch.rand(batch, 2, generator=generator)
    contexts = [task._context([text] * batch, 2)[0] for text in ("a red ball", "")]
    return x, sigma, *contexts


@torch.no_grad()
def test_before_training_it_is_its_teacher_without_guidance(make):
    task = make()
    x, sigma, context, _ = inputs(task)
    wanted = task.teacher(x, sigma, context)
    assert float(wanted.std()) > 0.01
    for to in (None, sigma, sigma * 0.4, sigma * 0):
        assert torch.equal(task.dit(x, sigma, context, to=to), wanted)


@torch.no_grad()
def test_it_learns_from_the_guided_slope_which_is_0_in_what_is_known(make):
    task = make(guidance_scale=3.0)
    x, sigma, context, negative = inputs(task)
    sigma[0, 1] = 0
    found = task._teacher_velocity(x, sigma, context, negative)
    told, untold = (task.teacher(x, sigma, c) for c in (context, negative))
    wanted = untold + 3 * (told - untold)
    wanted[0, :, 1] = 0
    torch.testing.assert_close(found, wanted)
    assert float((found - told).std()) > 0.01


def test_without_guidance_and_on_slopes_alone_there_is_nothing_to_learn_at_first(make):
    error = {"slope": {"slope_share": 1.0, "guidance_scale": 1.0}, "way": {"guidance_scale": 1.0},
             "guided": {"slope_share": 1.0, "guidance_scale": 4.0}}  # fmt: skip
    errors = {name: make(**settings).loss(0)[1]["error"] for name, settings in error.items()}
    assert errors["slope"] < 1e-10
    assert errors["way"] > 1e-5 and errors["guided"] > 1e-5


def test_what_is_given_is_seen_as_it_is_and_gets_no_gradient(make, monkeypatch):
    task, calls = make(slope_share=0.0), []
    known = torch.tensor([[True, False], [False, True]])
    monkeypatch.setattr(fewstep, "draw_known", lambda *_: known)
    inner = task.dit.forward

    def forward(latent, sigma, context, to):
        out = inner(latent, sigma, context, to=to)
        if out.requires_grad:
            out.retain_grad()
        calls.append((latent, sigma, to, out))
        return out

    monkeypatch.setattr(task.dit, "forward", forward)
    task.loss(0)[0].backward()
    later, earlier, now = calls
    assert not later[3].requires_grad and not earlier[3].requires_grad
    x0 = task._batch(0)[0].transpose(1, 2)
    for latent, sigma, to, _ in calls:
        assert not sigma[known].any() and not to[known].any()
        assert bool((sigma[~known] > 0).all())
        assert torch.equal(latent.transpose(1, 2)[known], x0[known])
    assert bool((later[1] > now[1])[~known].all()) and bool((earlier[1] < now[1])[~known].all())
    gradient = now[3].grad.transpose(1, 2)
    assert not gradient[known].any()
    assert bool(gradient[~known].flatten(1).any(1).all())


def test_the_teacher_stays_as_it_is_and_the_student_moves(make, tmp_path):
    task = make()
    before = {name: p.clone() for name, p in task.teacher.state_dict().items()}
    engine = Engine(task, tmp_path)
    for _ in range(2):
        engine.advance()
    assert all(torch.equal(before[name], p) for name, p in task.teacher.state_dict().items())
    for name, p in task.dit.state_dict().items():
        assert name not in before or not torch.equal(before[name], p), name
    assert task.dit.way_embedding[2].weight.any()


def test_the_error_goes_down_on_one_batch(make, tmp_path):
    task = make(schedule=replace(RECIPE.schedule, steps=1000, lr=5e-3, muon_lr=2e-2))
    engine, honest = Engine(task, tmp_path), task.loss
    task.loss = lambda step: honest(0)
    errors = [engine.advance()["error"] for _ in range(20)]
    assert errors[-1] < 0.7 * errors[0]


def test_a_flow_map_can_be_the_teacher_of_another(run, store, tiny_vae, tokenizer, tiny_text):
    path = run / "dit.safetensors"
    task = FewStepTask(RECIPE, store, tiny_vae, tokenizer, tiny_text, path)
    learnt = build("dit", path).state_dict()
    assert all(torch.equal(learnt[name], p) for name, p in task.dit.state_dict().items())


def test_steps_lead_from_noise_to_data_by_the_levels_of_the_model(make):
    task = make()
    for steps in (1, 4):
        ways = task._ways(steps)
        assert len(ways) == steps and ways[0][0] == 1 and ways[-1][1] == 0
        assert all(one[1] == other[0] for one, other in pairwise(ways))


def test_a_recipe_that_weighs_facts_has_no_head_for_them(make):
    assert set(make(fact_weight=0.5).module) == {"dit"}
