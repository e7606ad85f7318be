"""Captions parse back to exactly the facts they state, and any other text to what is known."""

from __future__ import annotations

import random

import pytest

from kineograph.world import captions_en, captions_zh, lexicon
from kineograph.world.captions import Language, caption, facts
from kineograph.world.draw import draw_scene
from kineograph.world.lexicon import Pen, Words
from kineograph.world.parse import Parsed, parse
from kineograph.world.parse_check import agreement, check, main
from kineograph.world.parse_words import vocabulary
from kineograph.world.scene import CAMERA_MOVES, Camera, Scene, SceneObject

LANGUAGES: tuple[Language, Language] = ("en", "zh")


def thing(number: int = 0, **stated: str) -> dict[str, str]:
    return {f"object{number}.{name}": value for name, value in stated.items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_parse_back_to_their_facts(language: Language) -> None:
    trials = check(500, language, seed=1)
    wrong = [trial for trial in trials if trial.result == "wrong"]
    assert not wrong, wrong[:3]
    # What is left open is rare, and only ever a motion with what hangs on it.
    assert sum(trial.result == "exact" for trial in trials) > 0.99 * len(trials)
    assert sum(bool(trial.parsed.open) for trial in trials) < 0.02 * len(trials)
    left = {name.partition(".")[2] for trial in trials for name in trial.parsed.open}
    assert left <= {"motion", "direction", "speed"}
    # Enough of everything is among them.
    stated = {value for trial in trials for value in trial.stated.values()}
    assert stated >= {*CAMERA_MOVES, "collide", "yes", "still", "plain", "night"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_words_are_noticed(language: Language) -> None:
    rng = random.Random(2)
    noticed = 0
    for seed in range(200):
        scene = draw_scene(seed, count=1)
        assert not parse(caption(scene, language, rng)).heldout
        noticed += parse(caption(scene, language, rng, heldout_phrasing=True)).heldout
    assert noticed > 160
    assert parse("a red hoop trundles left").heldout
    assert not parse("a red ring rolls left").heldout


RED = {"colour": "red", "shape": "ball"}
BLUE = {"colour": "blue", "shape": "cube"}


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        # who hits whom
        ("a red ball hits a blue cube",
         thing(0, **RED, motion="collide") | thing(1, **BLUE, struck="yes")),
        ("a blue cube is hit by a red ball rolling left slowly",
         thing(0, **BLUE, struck="yes")
         | thing(1, **RED, motion="collide", direction="left", speed="slow")),
        ("a red ball moves left and then hits a blue cube",
         thing(0, **RED, motion="collide", direction="left") | thing(1, **BLUE, struck="yes")),
        ("red ball quickly rolling right into blue cube",
         thing(0, **RED, motion="collide", direction="right", speed="fast")
         | thing(1, **BLUE, struck="yes")),
        ("红球向左滚动，撞上蓝色方块",
         thing(0, **RED, motion="collide", direction="left") | thing(1, **BLUE, struck="yes")),
        ("一块蓝色方块被慢慢向左滚动的红球撞到",
         thing(0, **BLUE, struck="yes")
         | thing(1, **RED, motion="collide", direction="left", speed="slow")),
        ("红球在草地上撞上蓝色方块。",
         thing(0, **RED, motion="collide") | thing(1, **BLUE, struck="yes")
         | {"floor": "grassy"}),
        # two that do the same
        ("a red ball and a blue cube both slowly fall",
         thing(0, **RED, motion="fall", speed="slow")
         | thing(1, **BLUE, motion="fall", speed="slow")),
        ("a red ball and a blue cube are thrown to the right",
         thing(0, **RED, motion="throw", direction="right")
         | thing(1, **BLUE, motion="throw", direction="right")),
        ("the red ball and the blue cube falls", thing(0, **RED) | thing(1, **BLUE, motion="fall")),
        ("红球和蓝色方块都落下并弹起",
         thing(0, **RED, motion="fall") | thing(1, **BLUE, motion="fall")),
        # "move" is what the shape can do, or the camera's
        ("a red ball moves left", thing(0, **RED, motion="roll", direction="left")),
        ("a blue cube moves left", thing(0, **BLUE, motion="slide", direction="left")),
        ("a red ball and a blue cube, move left",
         thing(0, **RED) | thing(1, **BLUE) | {"camera.move": "truck left"}),
        ("move left slowly, a red ball moves right",
         {"camera.move": "truck left", "camera.speed": "slow"}
         | thing(0, **RED, motion="roll", direction="right")),
        ("a red ball with the camera moving left",
         thing(0, **RED) | {"camera.move": "truck left"}),
        ("红球向右移动，镜头慢慢向左移动",
         thing(0, **RED, motion="roll", direction="right")
         | {"camera.move": "truck left", "camera.speed": "slow"}),
        # the camera within the sentence
        ("a slow pan left", {"camera.move": "pan left", "camera.speed": "slow"}),
        ("medium speed zoom out: a medium object falls",
         {"camera.move": "dolly out", "camera.speed": "normal"}
         | thing(0, size="medium", motion="fall")),
        ("static shot", {"camera.move": "static"}),
        ("a red ball rests with a locked-off shot",
         thing(0, **RED, motion="still") | {"camera.move": "static"}),
        ("快速左摇镜头，红球", {"camera.move": "pan left", "camera.speed": "fast"}
         | thing(0, **RED)),
        ("静止镜头，红球静止", {"camera.move": "static"} | thing(0, **RED, motion="still")),
        # floor and sky
        ("On a lawn at sunset, a tiny red ball made of metal",
         {"floor": "grassy", "sky": "sunset"} | thing(0, **RED, size="small", material="metal")),
        ("黄昏的木地板上，有一颗小红球",
         {"floor": "wooden", "sky": "sunset"} | thing(0, **RED, size="small")),
    ],
)  # fmt: skip
def test_facts_of_a_sentence(text: str, stated: dict[str, str]) -> None:
    assert parse(text) == Parsed(stated, heldout=parse(text).heldout)


def test_a_motion_without_a_shape_is_left_open() -> None:
    motions = {"object0.motion": ("roll", "slide")}
    moved = {"object0.colour": "red", "object0.direction": "left"}
    assert parse("a red object moves left") == Parsed(moved, motions)
    assert parse("红色物体向左移动") == Parsed(moved, motions)
    # Two that do the same are told by the shape of either.
    both = parse("an object and a cube both move left")
    assert both.facts["object0.motion"] == "slide" and not both.open
    assert agreement(parse("a red object moves left"), moved | thing(motion="roll")) == "open"
    assert agreement(parse("a red object moves left"), moved | thing(motion="fall")) == "wrong"


def test_what_the_grammar_says_of_two_scenes_in_the_same_words_is_left_open() -> None:
    """ "A red ball and a blue cube falling": both fall, or nothing is said of the ball."""
    things = (
        SceneObject("ball", "red", "matte", "large", "fall"),
        SceneObject("cube", "blue", "matte", "large", "fall"),
    )
    scene = Scene(0, things, "tiled", "noon", Camera("static"))
    names = frozenset(f"object{i}.{name}" for i in (0, 1) for name in ("colour", "shape"))
    alone, both = names | {"object1.motion"}, names | {"object0.motion", "object1.motion"}
    rng = random.Random(3)
    texts = [
        {captions_en.compose(scene, said, Pen(rng)) for _ in range(2000)} for said in (alone, both)
    ]
    same = texts[0] & texts[1]
    assert same
    for said, found in zip((alone, both), texts, strict=True):
        stated = {name: value for name, value in facts(scene).items() if name in said}
        for text in found:
            parsed = parse(text)
            assert parsed.open or text not in same, text
            exact = "open" if parsed.open and said == both else "exact"
            assert agreement(parsed, stated) == exact, text


def test_objects_are_compared_in_any_order() -> None:
    stated = thing(0, **BLUE, motion="still") | thing(1, **RED) | {"sky": "night"}
    parsed = parse("at night, there is a red ball, a blue cube rests")
    assert agreement(parsed, stated) == "exact"
    assert agreement(parsed, stated | {"object1.size": "small"}) == "wrong"
    assert agreement(parsed, stated | {"object0.colour": "red"}) == "wrong"
    assert agreement(parsed, stated | {"sky": "dawn"}) == "wrong"
    assert agreement(parsed, {**stated, **thing(2, **RED)}) == "wrong"
    assert agreement(Parsed(), {}) == "exact"


@pytest.mark.parametrize(
    ("text", "unknown", "stated"),
    [
        ("a red panda rolls left", ("panda",),
         thing(colour="red", motion="roll", direction="left")),
        ("A cinematic shot of a Red Panda, 4k", ("cinematic", "Panda", "4k"), thing(colour="red")),
        ("a red ball happily rolls left", ("happily",),
         thing(**RED, motion="roll", direction="left")),
        ("a red ball hits a panda", ("panda",),
         thing(0, **RED, motion="collide") | thing(1, struck="yes")),
        ("a red ball rolls into view", ("view",), thing(**RED, motion="roll")),
        ("a car turns left", ("car",), {}),
        ("the camera follows a red ball", ("follows",), thing(**RED)),
        ("a panda's ball, déjà vu", ("panda's", "déjà", "vu"), thing(shape="ball")),
        ("一只红熊猫向左滚动", ("熊猫",), thing(colour="red", motion="roll", direction="left")),
        ("两个机器人，跳舞", ("两个机器人", "跳舞"), {}),
        ("红球被熊猫撞上", ("熊猫",), thing(0, **RED, struck="yes") | thing(1, motion="collide")),
    ],
)  # fmt: skip
def test_unknown_words_are_named_and_the_rest_is_read(
    text: str, unknown: tuple[str, ...], stated: dict[str, str]
) -> None:
    parsed = parse(text)
    assert (parsed.unknown, parsed.facts, parsed.open) == (unknown, stated, {})


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A RED BALL, at Night.", "a red ball at night"),
        ("“red” ball... (static shot)", "red ball, static shot"),
        ("a jet black ball; mid sized cube", "a jet-black ball, mid-sized cube"),
        ("a small, red ball rolls   slowly\nto the left!", "a small red ball rolls left slowly"),
        ("The ball is red and falls", "a red ball falls"),
        ("Slowly, a red ball rolls left", "a red ball slowly rolls left"),
        ("a red ball, rolling left", "a red ball rolls left"),
        ("红球、蓝球都弹跳", "红球和蓝球都弹跳"),
        ("红球 弹跳!", "红球弹跳。"),
        ("向左滚动的红球", "红球向左滚动"),
        ("在草地上 a red ball 滚动", "a red ball rolls on grass"),
    ],
)
def test_case_marks_and_common_forms_do_not_matter(text: str, same: str) -> None:
    assert parse(text) == parse(same)
    assert parse(text).facts and not parse(text).unknown


def test_texts_of_no_sense_are_read_without_complaint() -> None:
    for text in (
        "",
        " ",
        "\n\t",
        "...",
        "。，",
        "_-_",
        "\ud800",
        "\x00",
        "🙂",
        "a",
        "an the",
        "的",
    ):
        assert parse(text) == Parsed(), text
    assert parse("привет мир").unknown == ("привет", "мир")
    rng = random.Random(4)
    words = [" ".join(key) for key in vocabulary().senses]
    words += [" ".join(key) for key in vocabulary().fillers]
    marks = [*",.;:!?&，。、“'-_\n", "panda", "熊猫", "é", "\u0301", "7"]
    for _ in range(800):
        pieces = rng.choices(words, k=rng.randrange(12)) + rng.choices(marks, k=rng.randrange(4))
        rng.shuffle(pieces)
        parse(rng.choice((" ", "")).join(pieces))
        parse("".join(chr(rng.randrange(0x110000)) for _ in range(12)))
    assert parse("a red ball rolls left, " * 2000).facts["object1999.direction"] == "left"


def test_a_word_added_to_the_lexicon_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a maroon ball waltzes left, the camera glances up"
    assert parse(text).unknown == ("maroon", "waltzes", "glances")
    additions = (
        (lexicon.EN_COLOUR, "red", Words(("red", "maroon"))),
        (lexicon.EN_MOTION, "roll", Words(("roll {d}",), ("waltz {d}",))),
        (lexicon.EN_CAMERA, "tilt", Words(("tilt {d}", "glance {d}"))),
        (lexicon.EN_INFLECT, "waltz", ("waltzes", "waltzing")),
        (lexicon.EN_INFLECT, "glance", ("glances", "glancing")),
        (lexicon.ZH_COLOUR, "red", Words(("红色", "枣红"))),
        (captions_zh.__dict__, "ZH_BOTH", Words(("都", "一起"))),
    )
    for table, key, value in additions:
        monkeypatch.setitem(table, key, value)  # type: ignore[arg-type]  # tables of two kinds
    vocabulary.cache_clear()
    try:
        stated = thing(**RED, motion="roll", direction="left") | {"camera.move": "tilt up"}
        assert parse(text) == Parsed(stated, heldout=True)
        assert parse("枣红球和枣红球一起弹跳").facts == (
            thing(0, **RED, motion="fall") | thing(1, **RED, motion="fall")
        )
    finally:
        vocabulary.cache_clear()


def test_a_phrase_plays_one_part_but_for_verbs() -> None:
    """Only "move left" and its like may be an object's or the camera's."""
    for key, senses in vocabulary().senses.items():
        roles = {sense.role for sense in senses}
        assert len(roles) == 1 or roles == {"verb", "camera verb"}, key
        assert len({sense.form for sense in senses}) == 1, key


def test_the_command_counts_and_shows_failures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--check", "20"]) == 0
    out = capsys.readouterr().out
    assert "en: of 20 captions" in out and "zh: of 20 captions" in out
    monkeypatch.setattr("kineograph.world.parse_check.parse", lambda text: Parsed())
    assert main(["--check", "5"]) == 1
    assert "5 are wrong" in capsys.readouterr().out
