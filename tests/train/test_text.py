"""The text encoder's own training: the key is what was said, nothing else is asked, runs resume."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from kineograph.presets import TINY
from kineograph.train.engine import Engine, train
from kineograph.train.recipe import Schedule, TextRecipe
from kineograph.train.text import (
    OBJECT_FACTS,
    SCENE_FACTS,
    UNASKED,
    Reader,
    TextTask,
    answer_key,
    reading_loss,
)
from kineograph.weights.files import load_weights
from kineograph.world.captions import caption_with_facts, facts
from kineograph.world.draw import draw_scene
from kineograph.world.scene import COLOURS

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


def told(key: list[int]) -> dict[str, str]:
    """What a key says, by fact; an object's facts stand under its colour."""
    names = [f"{c}.{n}" for c in COLOURS for n in OBJECT_FACTS] + list(SCENE_FACTS)
    values = list(OBJECT_FACTS.values()) * len(COLOURS) + list(SCENE_FACTS.values())
    return {n: v[a - 1] for n, v, a in zip(names, values, key, strict=True) if a > 0}


def test_the_key_is_what_the_caption_states():
    for seed in range(60):
        scene = draw_scene(seed)
        _, said = caption_with_facts(scene, "en", random.Random(seed))
        colours = [thing.colour for thing in scene.objects]
        wanted = {}
        for fact in said:
            head, _, name = fact.partition(".")
            if not head.startswith("object"):
                wanted[fact] = facts(scene)[fact]
                continue
            colour = colours[int(head.removeprefix("object"))]
            if name == "colour":
                wanted[f"{colour}.colour"] = "said"
            elif f"{head}.colour" in said and colours.count(colour) == 1:
                wanted[f"{colour}.{name}"] = facts(scene)[fact]
        assert told(answer_key(scene, said)) == wanted


def test_nothing_is_asked_of_a_colour_that_is_not_said():
    scene = draw_scene(0, count=1)
    key = answer_key(scene, frozenset({"object0.shape"}))
    objects = torch.tensor(key[: -len(SCENE_FACTS)]).view(len(COLOURS), -1)
    assert (objects[:, 0] == 0).all() and (objects[:, 1:] == UNASKED).all()


def test_what_is_not_asked_costs_nothing_and_what_is_wrong_does():
    scene = draw_scene(0, count=1)
    key = torch.tensor([answer_key(scene, frozenset(facts(scene)))])
    logits = F.one_hot(key.clamp_min(0), 12) * 20.0
    loss, right = reading_loss(logits, key)
    assert loss < 1e-3 and right.all()
    at = 1 + len(OBJECT_FACTS) * COLOURS.index(scene.objects[0].colour)  # its shape
    logits[0, at] = logits[0, at].roll(1)
    loss, right = reading_loss(logits, key)
    assert loss > 0.1 and (~right).nonzero().tolist() == [[0, at]]


def test_a_question_has_no_answer_but_its_own():
    reader = Reader(16)
    mask = torch.ones(2, 5, dtype=torch.bool)
    logits = reader(torch.randn(2, 5, 16), mask)
    for i, width in enumerate(reader.widths):
        assert torch.isfinite(logits[:, i, :width]).all()
        assert torch.isinf(logits[:, i, width:]).all()


def test_padding_is_not_read():
    reader, encoded = Reader(16), torch.randn(1, 5, 16)
    mask = torch.tensor([[True, True, True, False, False]])
    short = reader(encoded[:, :3], mask[:, :3])
    assert torch.allclose(reader(encoded, mask), short, atol=1e-5)


def test_a_stopped_run_ends_in_the_bits_of_one_left_alone(run, make, tmp_path, same_state):
    assert not train(make(), tmp_path, resume=False, stop_after=2)
    assert train(make(), tmp_path, resume=True)
    assert same_state(tmp_path, run)


def test_a_finished_run_has_the_encoder_without_the_reader(run):
    config, tensors, metadata = load_weights(run / "text.safetensors", "text")
    assert config == TINY.text
    assert "TextRecipe" in metadata["recipe"]
    assert not any("reader" in name for name in tensors)


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
