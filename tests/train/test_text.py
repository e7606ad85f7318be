"""The text encoder's own training: nothing is asked but what was said, runs resume."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from kineograph.presets import TINY
from kineograph.train.engine import Engine, train
from kineograph.train.recipe import Schedule, TextRecipe
from kineograph.train.text import Reader, TextTask, reading_loss
from kineograph.train.world1 import FirstWorld
from kineograph.train.world2 import SecondWorld
from kineograph.weights.files import load_weights
from kineograph.world.captions import facts
from kineograph.world.draw import draw_scene
from kineograph.world.scene import COLOURS

WORLD = FirstWorld()
QUESTIONS = [WORLD.questions, SecondWorld().questions]

RECIPE = TextRecipe(
    "tiny", Schedule(4, warmup=2, log_every=2, validate_every=100), batch=4, validation_captions=4
)


@pytest.fixture(scope="module")
def make(tokenizer):
    return lambda **settings: TextTask(replace(RECIPE, **settings), tokenizer)


@pytest.fixture(scope="module")
def run(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    assert train(make(), folder, resume=False)
    return folder


def test_what_is_not_asked_costs_nothing_and_what_is_wrong_does():
    scene = draw_scene(0, count=1)
    key = torch.tensor([WORLD.answers(scene, frozenset(facts(scene)))])
    logits = F.one_hot(key.clamp_min(0), 12) * 20.0
    loss, right = reading_loss(logits, key)
    assert loss < 1e-3 and right.all()
    each = len(WORLD.questions.of_objects)
    at = 1 + each * COLOURS.index(scene.objects[0].colour)  # its shape
    logits[0, at] = logits[0, at].roll(1)
    loss, right = reading_loss(logits, key)
    assert loss > 0.1 and (~right).nonzero().tolist() == [[0, at]]


@pytest.mark.parametrize("questions", QUESTIONS, ids=["first", "second"])
def test_a_question_has_no_answer_but_its_own(questions):
    reader = Reader(16, questions)
    count = len(questions.colours) * len(questions.of_objects) + len(questions.of_scenes)
    assert len(reader.widths) == count
    mask = torch.ones(2, 5, dtype=torch.bool)
    logits = reader(torch.randn(2, 5, 16), mask)
    for i, width in enumerate(reader.widths):
        assert torch.isfinite(logits[:, i, :width]).all()
        assert torch.isinf(logits[:, i, width:]).all()


def test_padding_is_not_read():
    reader, encoded = Reader(16, WORLD.questions), torch.randn(1, 5, 16)
    mask = torch.tensor([[True, True, True, False, False]])
    short = reader(encoded[:, :3], mask[:, :3])
    assert torch.allclose(reader(encoded, mask), short, atol=1e-5)


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(run, make, tmp_path, same_state):
    assert not train(make(), tmp_path, resume=False, stop_after=2)
    assert train(make(), tmp_path, resume=True)
    assert same_state(tmp_path, run)


def test_muon_steps_the_matrices_of_the_blocks_where_the_recipe_says_so(
    make, tmp_path, same_state
):
    plain, task = make(), make(muon=True)
    named = dict(task.module.named_parameters())
    chosen = {name for name, p in named.items() if task.is_matrix(name, p)}
    assert chosen == {n for n, p in named.items() if n.startswith("text.blocks.") and p.ndim == 2}
    assert chosen and not any(plain.is_matrix(name, p) for name, p in named.items())
    engines = [Engine(made, tmp_path) for made in (plain, task)]
    assert [len(engine.optimizers) for engine in engines] == [1, 2]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(make(muon=True), whole, resume=False)
    assert not train(make(muon=True), parts, resume=False, stop_after=2)
    assert train(make(muon=True), parts, resume=True)
    assert same_state(whole, parts)


def test_a_finished_run_has_the_encoder_without_the_reader(run):
    config, tensors, metadata = load_weights(run / "text.safetensors", "text")
    assert config == TINY.text
    assert "TextRecipe" in metadata["recipe"]
    assert not any("reader" in name for name in tensors)


def test_some_batches_are_in_words_that_no_clip_is_captioned_with(make, tmp_path, monkeypatch):
    phrasings: list[str] = []
    honest = FirstWorld.caption

    def caption(self, scene, rng, **settings):
        phrasings.append(settings["phrasing"])
        return honest(self, scene, rng, **settings)

    monkeypatch.setattr(FirstWorld, "caption", caption)
    task = make(batch=1, text_only_share=0.33)
    for step in range(40):
        task.loss(step)
    assert set(phrasings) == {"trained", "text"} and 5 < phrasings.count("text") < 22
    for share, phrasing in ((0.0, "trained"), (1.0, "text")):
        phrasings.clear()
        make(text_only_share=share).loss(0)
        assert phrasings == [phrasing] * RECIPE.batch
    phrasings.clear()
    with torch.no_grad():
        task.validate(tmp_path, 0)
    assert phrasings == ["trained"] * 4 + ["held"] * 4


def test_validation_tells_what_is_read_in_known_and_held_wordings(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    (row,) = [row["validation"] for row in rows if "validation" in row]
    for name in ("facts_right", "captions_right", "heldout_facts_right", "heldout_captions_right"):
        assert 0 <= row[name] <= 1


def test_the_loss_goes_down_on_one_batch(make, tmp_path):
    task = make(schedule=replace(RECIPE.schedule, steps=1000, lr=1e-2), typo_rate=0.0)
    engine, honest = Engine(task, tmp_path), task.loss
    task.loss = lambda step: honest(0)
    losses = [engine.advance()["loss"] for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]
