"""The transformer's training: exact resume, what is given is not learnt, the loss goes down."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kineograph.errors import RequestError
from kineograph.flow.loss import SigmaBins
from kineograph.models.dit import VideoDiT, control_rows
from kineograph.presets import PRESETS, TINY
from kineograph.train import dit
from kineograph.train.dit import VALIDATION_SIGMAS, DiTTask, draw_known
from kineograph.train.engine import Engine, train
from kineograph.train.latents import Bucket
from kineograph.train.recipe import DiTRecipe, Schedule
from kineograph.weights.files import build, load_weights, save_weights

RECIPE = DiTRecipe(
    "tiny",
    Schedule(4, warmup=2, log_every=2, validate_every=100),
    batch=2,
    validation_clips=2,
    known_share=0.5,
)


@pytest.fixture(scope="module")
def make(store, tiny_vae, tokenizer, tiny_text):
    def task(begin_with: Path | None = None, **settings) -> DiTTask:
        recipe = replace(RECIPE, **settings)
        return DiTTask(recipe, store, tiny_vae, tokenizer, tiny_text, begin_with=begin_with)

    return task


@pytest.fixture(scope="module")
def run(make, tmp_path_factory):
    """A finished run of four steps."""
    folder = tmp_path_factory.mktemp("dit")
    assert train(make(), folder, resume=False)
    return folder


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(run, make, tmp_path, same_state):
    assert not train(make(), tmp_path, resume=False, stop_after=2)
    engine = Engine(make(), tmp_path)
    engine.load()
    assert sum(engine.task.bins.weights) > 0  # the losses by level are a part of the state
    for _ in range(2):
        engine.advance()
    with engine.averaged(), torch.no_grad():
        result = engine.task.validate(tmp_path, 4)
    engine.save()
    assert same_state(tmp_path, run)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    logged = rows[-1]["validation"]
    assert result == {k: v for k, v in logged.items() if k not in ("step", "seconds")}


def test_validation_tells_the_loss_at_fixed_levels_and_of_every_bin(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (row,) = [row["validation"] for row in rows if "validation" in row]
    levels = [row[f"loss@{level}"] for level in VALIDATION_SIGMAS]
    assert row["loss"] == pytest.approx(sum(levels) / len(levels))
    bins = {k: v for k, v in row.items() if k.startswith("bin")}
    assert bins and all(v > 0 for v in bins.values())
    assert (run / "dit-000004.png").stat().st_size > 1000


def test_a_finished_run_has_the_averaged_weights(run, make):
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    names = [name for name, _ in make().module.named_parameters()]
    average = dict(zip(names, state["average"], strict=True))
    stored, tensors, metadata = load_weights(run / "dit.safetensors", "dit")
    assert stored == TINY.dit
    assert "DiTRecipe" in metadata["recipe"]
    for name, tensor in tensors.items():
        assert torch.equal(tensor, average[f"dit.{name}"].to(tensor.dtype))


def test_a_run_begins_with_the_transformer_of_another_stage(
    run, make, store, tiny_vae, tokenizer, tiny_text, tmp_path
):
    path = run / "dit.safetensors"
    begun = make(begin_with=path)
    finished = build("dit", path)
    assert all(map(torch.equal, begun.dit.parameters(), finished.parameters()))
    with pytest.raises(RequestError, match="began with other weights"):
        make().load_state_dict(begun.state_dict())
    # A flow map's without what tells it of ways: at no way it is rectified flow.
    config = replace(TINY.dit, flow_map=True)
    weights = VideoDiT(config).state_dict() | finished.state_dict()
    save_weights(tmp_path / "few.safetensors", weights, config)
    begun = make(begin_with=tmp_path / "few.safetensors")
    assert all(map(torch.equal, begun.dit.parameters(), finished.parameters()))
    other = replace(TINY.dit, num_layers=1)
    save_weights(tmp_path / "other.safetensors", VideoDiT(other), other)
    with pytest.raises(RequestError, match=r"other.safetensors is a transformer of another"):
        make(begin_with=tmp_path / "other.safetensors")


def test_batches_are_functions_of_the_step(make):
    task = make()
    (x0, objects, numbers, scenes, texts), again = task._batch(3), make()._batch(3)
    assert torch.equal(x0, again[0]) and torch.equal(objects, again[1])
    assert numbers.shape == again[2].shape == (2, 0)
    assert (scenes, texts) == again[3:]
    assert x0.shape[:3] == (2, 8, 2) and objects.shape == (2, *x0.shape[2:])
    assert not torch.equal(x0[0], x0[1])
    assert any(task._batch(step)[4] != texts for step in range(4, 8))


def test_images_come_before_clips(make):
    task = make(image_steps=2, image_batch=1)
    shapes = [task._batch(step)[0].shape[:3] for step in range(4)]
    assert shapes == [(1, 8, 1)] * 2 + [(2, 8, 2)] * 2
    assert all(torch.isfinite(task.loss(step)[0]) for step in range(4))
    mixed = make(image_steps=2, image_batch=1, image_share=0.5)
    counts = [mixed._batch(step)[0].shape[2] for step in range(22)]
    assert counts[:2] == [1, 1] and 5 < counts[2:].count(1) < 15
    short = make(image_steps=1, image_batch=1, short_steps=2, short_frames=1, short_batch=2)
    assert [short._batch(step)[0].shape[2] for step in range(5)] == [1, 1, 1, 2, 2]
    x0, objects, *_ = short._batch(1)
    assert x0.shape[0] == 2 and objects.shape == (2, *x0.shape[2:])


def test_images_are_the_first_frames_of_the_clips_where_a_store_has_none(make, monkeypatch):
    full = make()
    monkeypatch.setattr(dit, "read_latents", lambda *_: (full.clips, full.held, full.statistics))
    task = make(image_steps=2, image_batch=2)
    for step in range(2):
        x0, objects, _, scenes, _ = task._batch(step)
        assert x0.shape[:3] == (2, 8, 1) and objects.shape == (2, 1, *x0.shape[3:])
        for i, scene in enumerate(scenes):
            (bucket,) = (b for b in task.clips if scene in b.scenes)
            where = bucket.scenes.index(scene)
            assert torch.equal(x0[i], bucket.latent[where, :, :1].float())
            assert torch.equal(objects[i], bucket.objects[where, :1])
        assert torch.isfinite(task.loss(step)[0])
    assert task._batch(2)[0].shape[2] == 2
    mixed = make(image_batch=2, image_share=0.5)
    counts = [mixed._batch(step)[0].shape[2] for step in range(20)]
    assert 5 < counts.count(1) < 15
    for settings in ({"image_steps": 1}, {"image_share": 0.1}):
        with pytest.raises(RequestError, match=r"^image_batch 3 is not between 1 and 2"):
            make(**settings, image_batch=3)


def test_what_cells_show_is_named_from_the_tokens_of_a_block(make):
    task = make(fact_weight=0.5, fact_block=1)
    plain, total = make().loss(0)[0], task.loss(0)
    assert float(total[1]["flow_loss"]) == pytest.approx(float(plain.detach()))
    assert float(total[0].detach()) > float(plain.detach())
    total[0].backward()
    first = dict(task.dit.blocks[0].named_parameters())["self_attn.q.weight"]
    assert first.grad is not None and bool(first.grad.any())
    with pytest.raises(RequestError, match="fact_block 2 is not between 0 and 1"):
        make(fact_weight=0.5, fact_block=2)


def test_a_batch_is_no_larger_than_the_rarest_aspect_ratio(make):
    for settings in (
        {"batch": 3},
        {"short_steps": 1, "short_batch": 3},
        {"image_steps": 1, "image_batch": 3},
    ):
        name = list(settings)[-1]
        with pytest.raises(RequestError, match=f"^{name} 3 is not between 1 and 2"):
            make(**settings)
    make(batch=2, short_batch=64, image_batch=64)  # of which nothing is asked
    with pytest.raises(RequestError, match="short_frames 0 is not allowed"):
        make(short_steps=1, short_batch=2, short_frames=0)


def test_objects_weigh_more_and_the_more_the_less_noise_there_is(make, monkeypatch):
    task, seen = make(object_weight=3.0, known_share=0.0, per_frame_share=0.0), {}
    loss = dit.flow_loss

    def weighed(velocity, noise, x0, weight, cells):
        seen.update(cells=cells)
        return loss(velocity, noise, x0, weight, cells)

    objects = torch.zeros(2, 2, 8, 8)
    objects[:, 0, 1, 2] = 1
    x0 = task._batch(0)[0]
    batch = (x0[..., :8, :8], objects, torch.zeros(2, 0), [], ["", ""])
    monkeypatch.setattr(task, "_batch", lambda _: batch)
    monkeypatch.setattr(dit, "sample_sigmas", lambda *_: torch.tensor([[0.0, 0.0], [0.8, 0.8]]))
    monkeypatch.setattr(dit, "flow_loss", weighed)
    task.loss(0)
    assert seen["cells"][:, 0, 1, 2].tolist() == pytest.approx([4.0, 1.6])
    assert (seen["cells"][objects == 0] == 1).all()


def test_captions_are_dropped_and_translated_in_their_shares(make):
    def texts(**settings: float) -> list[str]:
        task, rng = make(**settings), random.Random(0)
        return task._captions(task.held.scenes * 10, rng)

    assert set(texts(text_dropout=1.0)) == {""}
    assert all(text.isascii() and text for text in texts(text_dropout=0.0, chinese_share=0.0))
    assert all(not text.isascii() for text in texts(text_dropout=0.0, chinese_share=1.0))
    assert 3 < sum(text == "" for text in texts(text_dropout=0.5)) < 17


def test_what_is_given_has_no_noise_and_no_weight(make, monkeypatch):
    task, seen = make(), {}
    known = torch.tensor([[True, False], [False, True]])
    monkeypatch.setattr(dit, "draw_known", lambda *_: known)
    inner, loss = task.dit.forward, dit.flow_loss

    def forward(latent, sigma, context, bias):
        seen.update(latent=latent, sigma=sigma)
        return inner(latent, sigma, context, bias)

    def weighed(velocity, noise, x0, weight, cells):
        seen.update(velocity=velocity, x0=x0, weight=weight)
        return loss(velocity, noise, x0, weight, cells)

    monkeypatch.setattr(task.dit, "forward", forward)
    monkeypatch.setattr(dit, "flow_loss", weighed)
    task.loss(0)
    assert (seen["sigma"][known] == 0).all()
    assert (seen["sigma"][~known] > 0).all()
    assert torch.equal(seen["weight"], (~known).float())
    frames = {name: seen[name].transpose(1, 2) for name in ("latent", "x0")}
    assert torch.equal(frames["latent"][known], frames["x0"][known])
    assert (frames["latent"][~known] != frames["x0"][~known]).any()
    assert task.bins.weights.sum() == 2  # frames that were learnt


def test_the_loss_goes_down_on_one_batch(make, tmp_path):
    task = make(schedule=replace(RECIPE.schedule, steps=1000, lr=5e-3, muon_lr=2e-2))
    engine, honest = Engine(task, tmp_path), task.loss
    task.loss = lambda step: honest(0)
    losses = [engine.advance()["loss"] for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0]


def test_muon_steps_the_matrices_of_the_blocks_alone(make):
    task = make()
    named = dict(task.module.named_parameters())
    chosen = {name for name, p in named.items() if task.is_matrix(name, p)}
    assert chosen and all(named[n].ndim == 2 and n.startswith("dit.blocks.") for n in chosen)


def test_the_text_encoder_stays_as_it_is(make, tmp_path):
    task = make()
    before = {name: p.clone() for name, p in task.text.named_parameters()}
    engine = Engine(task, tmp_path)
    for _ in range(2):
        engine.advance()
    assert all(torch.equal(before[name], p) for name, p in task.text.named_parameters())


def test_padding_is_hidden_at_first_and_let_in_by_and_by(make):
    task = make(padding_hidden=0.25, schedule=replace(RECIPE.schedule, steps=400))
    strengths = []
    longest = int(task.tokenizer.encode(["a red ball", ""])[1].sum(1).max())
    assert longest < TINY.dit.text_len
    for step in (0, 99, 150, 199, 200, 399):
        context, bias = task._context(["a red ball", ""], step)
        # padding that is wholly hidden is left out
        assert context.shape[:2] == (2, longest if step < 100 else TINY.dit.text_len)
        if bias is None:
            strengths.append(0.0)
            continue
        padding = context.abs().sum(2) == 0
        assert (bias[~padding] == 0).all() and len(bias[padding].unique()) == 1
        strengths.append(float(-bias[padding][0] / dit.PADDING_BIAS))
    assert strengths == pytest.approx([1, 1, 0.5, 0.01, 0, 0])
    assert make(padding_hidden=0.0)._context(["a red ball"], 0)[1] is None


def test_text_gain_is_what_the_right_captions_save(make, tmp_path):
    task = make(validation_clips=2)
    with torch.no_grad():
        for p in task.dit.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
        assert abs(task.validate(tmp_path, 4)["text_gain"]) == 0  # two clips: each is its own other
        for block in task.dit.blocks:
            block.cross_attn.o.weight.zero_()
        assert task.validate(tmp_path, 4)["text_gain"] == 0


def test_latents_are_shown_by_the_statistics_of_the_store(make, store):
    numbers = json.loads((store / "statistics.json").read_text())
    config = make().vae.config
    assert config.latents_mean == tuple(numbers["mean"])
    assert config.latents_std == tuple(numbers["std"])


@pytest.mark.parametrize("frames", [2, 3, 7])
def test_one_frame_is_always_left_to_make(frames):
    known = draw_known(4000, frames, 1.0, torch.Generator().manual_seed(0))
    assert known.shape == (4000, frames)
    assert not known.all(1).any()
    assert known.float().mean() > 0.2


def test_first_last_both_beginnings_ends_and_any_frames_are_given():
    known = draw_known(4000, 7, 1.0, torch.Generator().manual_seed(0))
    rows = [tuple(row) for row in known.int().tolist()]

    def share(*row: int) -> float:
        return rows.count(row) / len(rows)

    assert share(1, 0, 0, 0, 0, 0, 0) == pytest.approx(0.44, abs=0.04)
    assert share(0, 0, 0, 0, 0, 0, 1) == pytest.approx(0.11, abs=0.03)
    assert share(1, 0, 0, 0, 0, 0, 1) == pytest.approx(0.12, abs=0.03)
    for length in (2, 3, 4, 5, 6):
        assert share(*[1] * length, *[0] * (7 - length)) > 0.01
        assert share(*[0] * (7 - length), *[1] * length) > 0.01
    assert share(1, 1, 0, 0, 0, 0, 1) > 0.002
    assert share(1, 1, 0, 0, 1, 1, 1) > 0.002
    assert len(set(rows)) > 60


def test_frames_are_given_in_a_share_of_the_samples():
    generator = torch.Generator().manual_seed(0)
    assert not draw_known(500, 7, 0.0, generator).any()
    assert not draw_known(500, 1, 1.0, generator).any()  # a picture has no frames to spare
    share = draw_known(4000, 7, 0.25, generator).any(1).float().mean()
    assert share == pytest.approx(0.25, abs=0.03)


def test_bins_start_afresh_after_a_validation(make, tmp_path):
    task = make()
    task.loss(0)
    with torch.no_grad():
        first = task.validate(tmp_path, 1)
    assert any(key.startswith("bin") for key in first)
    assert task.bins.means() == SigmaBins().means()


CONTROLS = {"pan": 2.0, "speed": 1.0, "zoom": 0.5}


@pytest.fixture
def controlled(make, monkeypatch):
    """Make tasks of a model with three controls; every clip has the first two of them."""
    config = replace(TINY.dit, num_controls=3)
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, dit=config, controls=CONTROLS))

    read = dit.read_latents

    def numbered(bucket: Bucket) -> Bucket:
        rows = [[0.5, 1.0, math.nan]] * len(bucket.scenes)
        return replace(bucket, numbers=torch.tensor(rows))

    def read_numbered(*of):
        buckets, held, statistics = read(*of)
        return [numbered(b) for b in buckets], numbered(held), statistics

    monkeypatch.setattr(dit, "read_latents", read_numbered)
    return make


def test_a_store_without_the_numbers_of_the_model_is_refused(make, monkeypatch):
    config = replace(TINY.dit, num_controls=3)
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, dit=config, controls=CONTROLS))
    with pytest.raises(RequestError, match="holds 0 numbers a clip; the model has 3"):
        make()


def test_controls_follow_the_text_and_are_in_sight_from_the_start(controlled):
    numbers = torch.tensor([[0.5, 1.0, math.nan], [math.nan] * 3])
    rows = control_rows(numbers, TINY.dit.text_dim)
    task = controlled(padding_hidden=0.25, schedule=replace(RECIPE.schedule, steps=400))
    for step in (0, 150, 399):
        plain, _ = task._context(["a red ball", ""], step)
        context, bias = task._context(["a red ball", ""], step, numbers)
        assert torch.equal(context[:, -3:], rows)
        assert torch.equal(context[:, :-3], plain[:, :-3])
        assert torch.equal(plain[:, -3:], rows[1:].expand(2, -1, -1))  # nothing is given
        if bias is not None:
            assert bias.shape == context.shape[:2] and not bias[:, -3:].any()
    assert task._context([""], 399)[0].shape[1] == TINY.dit.text_len + 3


def test_controls_are_left_out_in_their_shares(controlled):
    numbers = torch.tensor([[0.5, 1.0, math.nan]] * 2000)
    kept = controlled(control_dropout=0.3)._controls(numbers, random.Random(0))
    assert kept[:, 2].isnan().all()
    for column in (0, 1):
        given = ~kept[:, column].isnan()
        assert (kept[given, column] == numbers[given, column]).all()
        assert float(given.float().mean()) == pytest.approx(0.5 * 0.7, abs=0.04)
    both = (~kept[:, :2].isnan()).all(1).float().mean()
    assert float(both) == pytest.approx(0.5 * 0.7**2, abs=0.04)
    assert not numbers[:, :2].isnan().any()  # the store stays as it is
    kept = controlled(control_dropout=0.0)._controls(numbers, random.Random(0))
    assert set((~kept[:, :2].isnan()).sum(1).tolist()) == {0, 2}  # all of a sample, or none


def test_a_model_with_controls_learns_them_and_goes_on_where_it_stopped(
    controlled, tmp_path, same_state
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    settings = {"control_dropout": 0.0, "schedule": replace(RECIPE.schedule, steps=6)}
    task = controlled(**settings)
    given = [bool((~task._batch(step)[2].isnan()).any()) for step in range(6)]
    assert any(given[1:]) and not all(given)  # some batches have none
    before = {n: p.clone() for n, p in task.dit.control_embedding.named_parameters()}
    assert train(task, whole, resume=False)
    after = dict(task.dit.control_embedding.named_parameters())
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert load_weights(whole / "dit.safetensors", "dit")[0].num_controls == 3
    assert not train(controlled(**settings), parts, resume=False, stop_after=3)
    assert train(controlled(**settings), parts, resume=True)
    assert same_state(whole, parts)
