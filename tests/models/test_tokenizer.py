import json

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kineograph.errors import RequestError, WeightsError
from kineograph.models.tokenizer import Tokenizer, train_tokenizer

CAPTIONS = [
    "a red ball rolls to the left on a wooden floor, the camera pans right",
    "A big snow-white cube slides slowly at night.",
    "the blue ball hits a green cube; static shot",
    "红色的球在草地上滚动，镜头向左摇",
    "一个蓝色的大方块飞过空中。",
] * 20
KNOWN = [
    "a", "red", "ball", "rolls", "left", "floor", "unseen",
    "红色", "蓝色", "的", "球", "大", "方块", "在", "草地", "上", "滚动", "飞过空中", "沙漠",
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    train_tokenizer(CAPTIONS, path, vocab_size=300, text_len=40)
    return path


@pytest.fixture(scope="module")
def tokenizer(path):
    return Tokenizer.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "a red ball rolls to the left, the camera pans right.",
        "a snow-white cube",
        "红色的球在草地上滚动,镜头向左摇。",
        "红球 rolls left",
        "",
    ],
)
def test_ids_turn_back_into_the_text(tokenizer, text):
    ids, mask = tokenizer.encode([text])
    assert tokenizer.decode(ids[0][mask[0]]) == text


@pytest.mark.parametrize(
    "same",
    [
        ("A  Red\tball ,rolls", "a red ball, rolls"),
        ("红色的球，滚动", "红色 的球,滚动"),
        ("ＲＥＤ　ball", "red ball"),
        ("球rolls", "球 rolls"),
    ],
)
def test_ways_to_write_one_thing_have_the_same_ids(tokenizer, same):
    ids, _ = tokenizer.encode(same)
    assert torch.equal(ids[0], ids[1])


def test_words_have_one_id_wherever_they_stand_and_chinese_characters_one_each(tokenizer):
    def ids(text):
        encoded, mask = tokenizer.encode([text])
        return encoded[0][mask[0]].tolist()

    red, ball, end = ids("red ball")
    assert ids("ball-red")[0] == ball
    assert ids("(red")[-2] == red
    assert len(ids("红色的球")) == 5
    assert ids("红")[0] == ids("大红")[1]
    assert end == 1


def test_every_text_ends_with_eos_and_is_padded_with_0(tokenizer):
    ids, mask = tokenizer.encode(["", "red ball"])
    assert ids.shape == mask.shape == (2, 40)
    assert ids[0].tolist() == [1] + [0] * 39
    assert mask.sum(1).tolist() == [1, 3]
    assert ids[1, 2] == 1 and not ids[1, 3:].any()


def test_unseen_characters_are_unknown_and_unseen_english_is_spelt(tokenizer):
    ids, mask = tokenizer.encode(["猫"])
    assert ids[0][mask[0]].tolist() == [2, 1]
    ids, mask = tokenizer.encode(["xylophone 42"])
    assert 2 not in ids[0][mask[0]]


def test_too_long_a_text_is_refused_with_count_and_limit(tokenizer):
    text = "球" * 39
    assert tokenizer.encode([text])[0].shape == (1, 40)
    assert tokenizer.count(text + "球") == 41
    with pytest.raises(RequestError, match=r"has 41 tokens; at most 40"):
        tokenizer.encode(["red", text + "球"])


def test_transformers_gives_the_same_ids(path, tokenizer, tmp_path):
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(path), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    theirs.save_pretrained(tmp_path)
    texts = [*sorted(set(CAPTIONS)), "", "一只猫 and a cat!"]
    ids, mask = tokenizer.encode(texts)
    for other in (theirs, AutoTokenizer.from_pretrained(tmp_path)):
        found = other(
            texts, padding="max_length", max_length=40, truncation=True, return_tensors="pt"
        )
        assert torch.equal(found.input_ids, ids)
        assert torch.equal(found.attention_mask.bool(), mask)
    assert theirs("").input_ids == [1]


def test_without_known_words_every_english_word_and_chinese_character_counts(tokenizer):
    assert tokenizer.unknown_words("A red CAT, the red ball's 3 cat! 红猫在跑") == [
        "cat",
        "猫",
        "跑",
    ]
    assert tokenizer.unknown_words("snow-white") == []
    assert tokenizer.unknown_words("") == []


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    path = tmp_path_factory.mktemp("strict") / "tokenizer.json"
    return train_tokenizer(CAPTIONS, path, vocab_size=300, text_len=40, known_words=KNOWN)


def test_known_words_count_only_if_captions_have_them(strict):
    assert strict.lexicon is not None
    assert strict.lexicon.en == ("a", "ball", "floor", "left", "red", "rolls")
    assert "沙漠" not in strict.lexicon.zh and "草地" in strict.lexicon.zh
    assert strict.unknown_words("an unseen blue ball") == ["an", "unseen", "blue"]


def test_chinese_is_cut_into_known_words_leaving_the_fewest_characters(strict):
    assert strict.unknown_words("红色的大方块飞过空中") == []
    # 飞 is known in 飞过空中 alone, so 飞机 is no word of the captions.
    assert strict.unknown_words("红色的飞机飞过空中,小猫在草地上滚动") == ["飞机", "小猫"]


def test_a_typo_is_unknown_and_the_nearest_word_is_suggested(strict):
    assert strict.unknown_words("a red bal rols") == ["bal", "rols"]
    assert strict.suggest("rols") == "rolls"
    assert strict.suggest("elephant") is None


def test_without_word_lists_every_word_is_known(path, tmp_path):
    alone = tmp_path / "tokenizer.json"
    alone.write_bytes(path.read_bytes())
    tokenizer = Tokenizer.load(alone, text_len=8)
    assert tokenizer.unknown_words("xyz 猫") == []
    assert tokenizer.suggest("xyz") is None
    assert tokenizer.encode(["red"])[0].shape == (1, 8)


def test_files_are_whole_and_nothing_is_left_beside_them(path):
    assert sorted(p.name for p in path.parent.iterdir()) == ["tokenizer.json", "words.json"]
    assert set(json.loads(path.with_name("words.json").read_text())) == {"en", "zh"}


@pytest.mark.parametrize("content", [None, "{", '{"model": 1}', "[]"])
def test_a_broken_tokenizer_file_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WeightsError, match=str(path)):
        Tokenizer.load(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"en": []}', '{"en": 3, "zh": []}'])
def test_broken_word_lists_are_named(path, tmp_path, content):
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes(path.read_bytes())
    words = tmp_path / "words.json"
    words.write_text(content)
    with pytest.raises(WeightsError, match=str(words)):
        Tokenizer.load(copy)


def test_training_is_reproducible(path, tmp_path):
    again = tmp_path / "tokenizer.json"
    train_tokenizer(iter(CAPTIONS), again, vocab_size=300, text_len=40)
    assert again.read_bytes() == path.read_bytes()
