"""The tokenizer of a model is a function of its recipe."""

from __future__ import annotations

import json
from dataclasses import replace

from kineograph.models.tokenizer import Tokenizer
from kineograph.presets import TINY
from kineograph.train.recipe import TokenizerRecipe
from kineograph.train.tokens import learn_tokenizer, training_captions

RECIPE = TokenizerRecipe("tiny", captions=200)


def test_half_of_the_captions_are_chinese_and_all_follow_from_the_seed():
    texts = list(training_captions(RECIPE))
    assert len(texts) == 200
    assert sum(text.isascii() for text in texts) == 100
    assert texts == list(training_captions(RECIPE))
    assert texts != list(training_captions(replace(RECIPE, seed=3)))


def test_a_second_run_writes_the_same_files(tokenizer, tmp_path):
    again = learn_tokenizer(RECIPE, tmp_path / "tokenizer.json")
    for name in ("tokenizer.json", "words.json"):
        assert (tmp_path / name).read_bytes() == (tokenizer.parent / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "words.json"}
    assert again.unknown_words("a red dragon") == ["dragon"]


def test_what_it_learnt_on_is_encoded_without_unknown_pieces(tokenizer):
    loaded = Tokenizer.load(tokenizer, TINY.dit.text_len)
    texts = list(training_captions(RECIPE))
    ids, mask = loaded.encode(texts)
    assert ids.shape == mask.shape == (200, TINY.dit.text_len)
    assert int(ids.max()) < TINY.text.vocab_size
    vocabulary = json.loads(tokenizer.read_text())["model"]
    assert not (ids == vocabulary["vocab"][vocabulary["unk_token"]]).any()
    assert max(loaded.count(text) for text in texts) <= TINY.dit.text_len
