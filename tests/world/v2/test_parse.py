"""A caption is read back as what it states; other text as far as its words are known."""

import random
from collections import Counter

import pytest

from kineograph.world.atoms import BREAKS
from kineograph.world.v2 import words_en, words_film_en, words_zh
from kineograph.world.v2.captions import LANGUAGES
from kineograph.world.v2.lexicon import Words, words
from kineograph.world.v2.parse import Parsed, parse
from kineograph.world.v2.parse_check import agreement, main, random_scene, trials
from kineograph.world.v2.parse_words import vocabulary
from kineograph.world.v2.scene import MOTIONS, RELATIONS, check

RED = {"colour": "red", "shape": "ball"}
BLUE = {"colour": "blue", "shape": "cube"}


def thing(i=0, **own):
    return {f"object{i}.{name}": value for name, value in own.items()}


def place(name, subject, *others, k=0):
    named = " ".join(f"object{i}" for i in others)
    return {f"relation{k}.name": name, f"relation{k}.subject": f"object{subject}",
            f"relation{k}.others": named}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_parse_back_to_exactly_what_they_state(language):
    found = trials(80, language, seed=2)
    assert Counter(t.result for t in found) == {"exact": 80}
    assert not any(t.parsed.open for t in found)


def test_the_check_draws_every_kind_of_record():
    rng = random.Random(1)
    drawn = [random_scene(rng) for _ in range(600)]
    for scene in drawn:
        check(scene)
    assert {o.motion for s in drawn for o in s.objects} == set(MOTIONS)
    assert {r.name for s in drawn for r in s.relations} == set(RELATIONS)
    assert {len(s.objects) for s in drawn} == set(range(1, 9))
    assert {len(s.shots) for s in drawn} == set(range(1, 7))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("two red balls fall", thing(0, **RED, motion="fall") | thing(1, **RED, motion="fall")),
        ("a red ball, then another red ball falls",
         thing(0, **RED) | thing(1, **RED, motion="fall", order="later")),
        ("a row of five red dominoes topples to the left one after another",
         thing(colour="red", shape="domino", count="5", motion="dominoes", direction="left")),
        ("there is a stack of three blue cubes", thing(**BLUE, count="3", motion="stack")),
        ("a tower of blue blocks collapses", thing(**BLUE, motion="collapse")),
        ("一摞三个蓝色方块倒塌", thing(**BLUE, count="3", motion="collapse")),
        ("一排五块红色骨牌依次向左倒下",
         thing(colour="red", shape="domino", count="5", motion="dominoes", direction="left")),
        # who meets whom
        ("a red ball rolls left quickly and hits a blue cube. The cube stands still",
         thing(0, **RED, motion="collide", direction="left", speed="fast", partner="object1")
         | thing(1, **BLUE, motion="still")),
        ("a blue cube is slowly circled by a red ball",
         thing(0, **BLUE) | thing(1, **RED, motion="orbit", speed="slow", partner="object0")),
        ("一个红球绕着一个蓝色方块慢慢转圈",
         thing(0, **RED, motion="orbit", speed="slow", partner="object1") | thing(1, **BLUE)),
        ("一个蓝色方块被向左滚动的红球撞上",
         thing(0, **BLUE) | thing(1, **RED, motion="collide", direction="left",
                                  partner="object0")),
        # where things stand
        ("a red ball stands still to the left of a blue cube",
         thing(0, **RED, motion="still") | thing(1, **BLUE) | place("left of", 0, 1)),
        ("behind a blue cube stands a red ball",
         thing(0, **BLUE) | thing(1, **RED) | place("behind", 1, 0)),
        ("a red ball falls. it is between a blue cube and a cone",
         thing(0, **RED, motion="fall") | thing(1, **BLUE) | thing(2, shape="cone")
         | place("between", 0, 1, 2)),
        ("a red ball. a red ball. the second red ball is under a table",
         thing(0, **RED) | thing(1, **RED) | thing(2, shape="table") | place("under", 1, 2)),
        ("桌子上有一个红球", thing(0, shape="table") | thing(1, **RED) | place("on", 1, 0)),
        ("一个红球在一个圆环里面，另一个红球落下，第二个红球在这个圆环的左边",
         thing(0, **RED) | thing(1, shape="ring") | thing(2, **RED, motion="fall")
         | place("inside", 0, 1) | place("left of", 2, 1, k=1)),
        # what comes when
        ("first a red ball falls while a blue cube spins, then a cone is thrown left",
         thing(0, **RED, motion="fall", order="first")
         | thing(1, **BLUE, motion="spin", order="first")
         | thing(2, shape="cone", motion="throw", direction="left", order="later")),
        ("a red ball falls, then turns blue",
         thing(**RED, motion="fall", then="recolour", colour_to="blue")),
        ("a red ball falls. Then it turns blue",
         thing(**RED, motion="fall", then="recolour", colour_to="blue")),
        ("一个红球落下，然后变成蓝色，然后一个蓝色方块落下",
         thing(0, **RED, motion="fall", then="recolour", colour_to="blue")
         | thing(1, **BLUE, motion="fall", order="later")),
        # the film
        ("First a static shot of a red ball, then cut to a slow pan left, dissolve to a zoom in",
         thing(**RED) | {"shot0.camera.move": "static", "shot1.transition": "cut",
                         "shot1.camera.move": "pan left", "shot1.camera.speed": "slow",
                         "shot2.transition": "dissolve", "shot2.camera.move": "zoom in",
                         "shots": "3"}),
        ("先是固定镜头，然后切到快速左摇镜头，下一个镜头是手持镜头",
         {"shot0.camera.move": "static", "shot1.transition": "cut", "shots": "3",
          "shot1.camera.move": "pan left", "shot1.camera.speed": "fast",
          "shot2.camera.move": "handheld"}),
        ("the camera rolls left while a red ball rolls left",
         {"shot0.camera.move": "roll left"} | thing(**RED, motion="roll", direction="left")),
        ("a red ball, roll left", thing(**RED) | {"shot0.camera.move": "roll left"}),
        ("a pencil drawing of a red ball at dusk in the rain, in two shots",
         thing(**RED) | {"style": "pencil", "sky": "dusk", "weather": "rain", "shots": "2"}),
        ("水墨画风格，下着雨，夜晚的草地上，一个红球",
         thing(**RED) | {"style": "ink wash", "weather": "rain", "sky": "night",
                         "floor": "grassy"}),
    ],
)  # fmt: skip
def test_facts_of_a_sentence(text, stated):
    assert parse(text) == Parsed(stated)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A RED BALL, at Night.", "a red ball at night"),
        ("a jet black ball; mid sized cube", "a jet-black ball, mid-sized cube"),
        ("a small, red ball rolls   slowly\nto the left!", "a small red ball rolls left slowly"),
        ("The ball is red and falls", "a red ball falls"),
        ("a red ball that rolls left", "a red ball rolls left"),
        ("Slowly, a red ball rolls left", "a red ball slowly rolls left"),
        ("behind a cube, there is a ball", "behind a cube there is a ball"),
        ("a ball falls and turns blue", "a ball falls and then turns blue"),
        ("A ball, a cube and a cone all fall", "a ball falls, a cube falls, a cone falls"),
        ("a row of three red balls", "three red balls"),
        ("dominoes fall", "a row of dominoes falls one after another"),
        ("watercolor, a red ball", "watercolor style: a red ball"),
        ("红球、蓝球都弹跳", "红球弹跳，蓝球弹跳"),
        ("在草地上 a red ball 滚动", "a red ball rolls on grass"),
    ],
)
def test_case_marks_and_common_forms_do_not_matter(text, same):
    assert parse(text) == parse(same)
    assert parse(text).facts and not parse(text).unknown


@pytest.mark.parametrize(
    ("text", "unknown", "stated"),
    [
        ("a red panda rolls left", ("panda",),
         thing(colour="red", motion="roll", direction="left")),
        ("a red ball hits a panda", ("panda",), thing(0, **RED, motion="collide",
                                                      partner="object1")),
        ("a red ball rolls into view", ("view",), thing(**RED, motion="roll")),
        ("the camera follows a red ball", ("follows",), thing(**RED)),
        ("红熊猫跳舞", ("熊猫跳舞",), thing(colour="red")),
        ("a red ball in the style of van gogh", ("van", "gogh"), thing(**RED)),
    ],
)  # fmt: skip
def test_unknown_words_are_named_and_the_rest_is_read(text, unknown, stated):
    parsed = parse(text)
    assert (parsed.unknown, parsed.facts, parsed.open) == (unknown, stated, {})


def test_moving_is_told_by_the_shape_or_left_open():
    assert parse("a red ball moves left").facts["object0.motion"] == "roll"
    assert parse("蓝色方块向左移动").facts["object0.motion"] == "slide"
    parsed = parse("an object moves left")
    assert parsed.open == {"object0.motion": ("roll", "slide")}
    stated = {"object0.direction": "left", "object0.motion": "roll"}
    assert agreement(parsed, stated) == "open"
    assert agreement(parsed, stated | {"object0.motion": "fall"}) == "wrong"


def test_objects_are_compared_in_any_order_with_whom_they_meet():
    stated = (
        thing(0, **BLUE) | thing(1, **RED, motion="collide", partner="object0")
        | place("behind", 0, 2) | thing(2, shape="cone")
    )  # fmt: skip
    parsed = parse("a red ball hits a blue cube. the cube is behind a cone")
    assert agreement(parsed, stated) == "exact"
    assert agreement(parsed, stated | {"object1.partner": "object2"}) == "wrong"
    assert agreement(parsed, stated | {"relation0.name": "on"}) == "wrong"
    assert agreement(parsed, stated | {"relation0.others": "object1"}) == "wrong"
    assert agreement(parsed, stated | {"sky": "dawn"}) == "wrong"
    assert agreement(parsed, stated | thing(3, **BLUE)) == "wrong"
    assert agreement(Parsed(), {}) == "exact"
    between = thing(0, **RED) | thing(1, **BLUE) | thing(2, shape="cone")
    told = parse("a red ball between a cone and a blue cube")
    assert agreement(told, between | place("between", 0, 1, 2)) == "exact"


def test_texts_of_no_sense_are_read_without_complaint():
    for text in (
        "",
        " ",
        "\n",
        "...",
        "。，",
        "\ud800",
        "🙂",
        "a",
        "an the",
        "的",
        "two",
        "it",
        "then",
    ):
        assert parse(text).facts == {}, text
    rng = random.Random(4)
    pieces = [" ".join(key) for key in rng.sample(sorted(vocabulary().senses), 3000)]
    pieces += [
        *BREAKS,
        "panda",
        "熊猫",
        "é",
        "7",
        "it",
        "then",
        "first",
        "another",
        "and",
        "在",
        "被",
    ]
    for _ in range(600):
        some = rng.choices(pieces, k=rng.randrange(14))
        parse(rng.choice((" ", "")).join(some))
    for _ in range(200):
        parse("".join(chr(rng.randrange(0x110000)) for _ in range(12)))
    assert parse("a red ball rolls left, " * 300).facts["object299.direction"] == "left"


def test_a_word_added_to_a_table_is_understood(monkeypatch):
    text = "a maroon ball waltzes left, the camera glances up"
    assert parse(text).unknown == ("maroon", "waltzes", "glances")
    for table, key, value in (
        (words_en.EN_COLOUR, "red", words("red, maroon")),
        (words_en.EN_MOTION, "roll", words("roll {d}", held="waltz {d}")),
        (words_film_en.EN_CAMERA, "tilt", words("tilt {d}, glance {d}")),
        (words_en.EN_RELATION, "on", words("on, aboard")),
        (words_zh.ZH_COLOUR, "red", Words(("红色", "枣红"))),
        (words_film_en.EN_TRANSITION, "cut", words("cut to, smash to")),
    ):
        monkeypatch.setitem(table, key, value)
    vocabulary.cache_clear()
    try:
        stated = thing(**RED, motion="roll", direction="left") | {"shot0.camera.move": "tilt up"}
        assert parse(text) == Parsed(stated, heldout=True)
        assert parse("枣红球").facts == thing(**RED)
        assert parse("a ball aboard a table, smash to a zoom in").facts == (
            thing(0, shape="ball") | thing(1, shape="table") | place("on", 0, 1)
            | {"shots": "2", "shot1.transition": "cut", "shot1.camera.move": "zoom in"}
        )  # fmt: skip
    finally:
        vocabulary.cache_clear()


def test_a_phrase_plays_one_part_but_for_verbs():
    """Only "roll left" and its like may be an object's or the camera's, "move" of two motions."""
    for key, senses in vocabulary().senses.items():
        roles = {sense.role for sense in senses}
        assert len(roles) == 1 or roles == {"verb", "camera verb"}, key
        assert len({sense.form for sense in senses}) == 1, key
        for role in roles:
            stated = [s.facts for s in senses if s.role == role]
            moves = {"move", "moves", "moving"} & set(key) or key[-2:] == ("移", "动")
            assert len(stated) == 1 or moves, key


def test_the_command_counts_and_shows_failures(capsys, monkeypatch):
    assert main(["--check", "20"]) == 0
    out = capsys.readouterr().out
    assert "en: of 20 captions 20 parse" in out and "zh: of 20 captions 20 parse" in out
    monkeypatch.setattr("kineograph.world.v2.parse_check.parse", lambda text: Parsed())
    assert main(["--check", "5"]) == 1
    assert "5 are wrong" in capsys.readouterr().out
