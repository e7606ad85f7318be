"""The versions of the world as training sees them: one protocol, true answers, true numbers."""

from __future__ import annotations

import inspect
import json
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from kineograph.presets import NANO, SMALL, TINY
from kineograph.train import world2
from kineograph.train.clips import VALIDATION_SEED, draw_batch
from kineograph.train.world1 import FirstWorld
from kineograph.train.world2 import SecondWorld
from kineograph.train.worlds import UNASKED, World, base_scale, world_of
from kineograph.world import captions as captions1
from kineograph.world import splits as splits1
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2 import captions as captions2
from kineograph.world.v2 import splits as splits2
from kineograph.world.v2.camera import shots_of
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import colours
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    CAN,
    PACED,
    PARTNERED,
    SPEEDS,
    UNPACED_MOVES,
    Camera,
    Relation,
    Scene,
    SceneObject,
    Shot,
)
from kineograph.world.v2.simulate import RISE_SPEED, START_SPEED, TURN_RATE

FIRST, SECOND = FirstWorld(), SecondWorld()
BALL = SceneObject("ball", "red", "rubber", "small")
CUBE = SceneObject("cube", "blue", "wood", "large")

both = pytest.mark.parametrize("world", [FIRST, SECOND], ids=["first", "second"])


def scene_of(*things: SceneObject, camera: Camera | None = None, **more) -> Scene:
    shot = Shot(camera or Camera())
    return Scene(3, things, "checkered", "noon", shots=(shot,), **more)


def told(world: World, key: list[int]) -> dict[str, str]:
    """What a key says, by question; those of an object stand under its colour."""
    questions = world.questions
    names = [f"{c}.{n}" for c in questions.colours for n in questions.of_objects]
    allowed = list(questions.of_objects.values()) * len(questions.colours)
    names += questions.of_scenes
    allowed += questions.of_scenes.values()
    return {n: v[a - 1] for n, v, a in zip(names, allowed, key, strict=True) if a > 0}


# --- the protocol ------------------------------------------------------------------------
@both
def test_a_world_is_what_training_asks_for(world):
    assert isinstance(world, World)
    for name, wanted in inspect.getmembers(World, inspect.isfunction):
        if not name.startswith("_"):
            found = inspect.signature(getattr(type(world), name)).parameters
            assert list(found.values()) == list(inspect.signature(wanted).parameters.values()), name


@both
def test_what_a_world_says_of_its_scenes_is_among_what_it_lists(world):
    assert "1:1" in world.ratios and set(world.ratios) <= set(world.sizes)
    assert set(world.moving) <= set(world.seen)
    widths = [1 + len(v) for v in world.questions.of_objects.values()]
    widths *= len(world.questions.colours)
    widths += [1 + len(v) for v in world.questions.of_scenes.values()]
    rng = random.Random(0)
    for seed in range(20):
        scene = world.imagine(seed)
        assert world.from_dict(json.loads(json.dumps(world.to_dict(scene)))) == scene
        key = world.answers(scene, world.caption(scene, rng)[1])
        assert len(key) == len(widths)
        assert all(a == UNASKED or 0 <= a < w for a, w in zip(key, widths, strict=True))
        things = world.things(scene)
        assert len(things) == len(scene.objects)
        for thing in things:
            assert list(thing) == list(world.seen)
            assert all(v is None or v in world.seen[name] for name, v in thing.items())
        assert world.move(scene) in world.moves
    words = world.known_words()
    assert {"red", "cube"} <= set(words) and len(set(words)) == len(words)


def test_a_model_learns_the_version_that_its_row_names():
    for spec, version in ((TINY, 1), (NANO, 1), (SMALL, 2)):
        world = world_of(spec)
        assert world.version == version
        assert (world.fps, world.num_frames) == (spec.fps, spec.num_frames)
        assert set(spec.controls) <= set(world.controls)
        assert len(spec.controls) == spec.dit.num_controls
        scale = base_scale(spec)
        for ratio, (height, width) in world.sizes.items():
            size = spec.sizes[ratio]
            assert (size.height, size.width) == (scale * height, scale * width)
    double = {ratio: replace(s, height=2 * s.height) for ratio, s in NANO.sizes.items()}
    assert base_scale(replace(NANO, sizes=double)) == 2


# --- scenes ------------------------------------------------------------------------------
def test_scenes_are_those_that_training_may_see():
    for seed in range(40):
        assert splits1.is_training(FIRST.draw(seed)) and splits1.is_training(FIRST.imagine(seed))
        imagined = SECOND.imagine(seed)
        assert splits2.is_training(imagined) and len(imagined.shots) == 1
    drawn = [SECOND.draw(seed, aspect_ratio=SECOND.ratios[seed]) for seed in range(5)]
    assert tuple(scene.aspect_ratio for scene in drawn) == SECOND.ratios
    assert all(splits2.is_training(scene) and len(scene.shots) == 1 for scene in drawn)


@both
def test_a_seed_has_one_scene_with_as_many_objects_as_are_asked_for(world):
    for seed in (0, VALIDATION_SEED + 1):
        assert world.imagine(seed) == world.imagine(seed)
        assert world.imagine(seed) != world.imagine(seed + 1)
    scene = world.draw(4, aspect_ratio="16:9", count=2)
    assert scene == world.draw(4, aspect_ratio="16:9", count=2)
    assert (len(scene.objects), scene.aspect_ratio) == (2, "16:9")
    scenes, times = draw_batch(world, 0, 1, 2, 5, 1.0)
    assert len(scenes) == 2 and times[-1] <= (world.num_frames - 1) / world.fps + 1e-9


# --- what captions say -------------------------------------------------------------------
def test_the_answers_of_the_first_world_are_what_the_caption_states():
    for seed in range(60):
        scene = FIRST.imagine(seed)
        _, said = captions1.caption_with_facts(scene, "en", random.Random(seed))
        hues = [thing.colour for thing in scene.objects]
        wanted = {}
        for fact in said:
            head, _, name = fact.partition(".")
            if not head.startswith("object"):
                wanted[fact] = captions1.facts(scene)[fact]
                continue
            colour = hues[int(head.removeprefix("object"))]
            if name == "colour":
                wanted[f"{colour}.colour"] = "said"
            elif f"{head}.colour" in said and hues.count(colour) == 1:
                wanted[f"{colour}.{name}"] = captions1.facts(scene)[fact]
        assert told(FIRST, FIRST.answers(scene, said)) == wanted


def read(scene: Scene, said: dict[str, str]) -> dict[str, str]:
    """What the facts of a caption say, by question, read one fact after another."""
    names = [f"object{i}" for i in range(len(scene.objects))]
    hues = {n: said[f"{n}.colour"] for n in names if f"{n}.colour" in said}
    every = [thing.colour for thing in scene.objects]
    alone = {n: hue for n, hue in hues.items() if every.count(hue) == 1}
    wanted = {f"{hue}.colour": "said" for hue in hues.values()}
    for fact, value in said.items():
        head, _, name = fact.partition(".")
        if not head.startswith(("object", "relation")):
            if fact in SECOND.questions.of_scenes:
                wanted[fact] = value
            continue
        if head.startswith("object") and head in alone and name not in ("colour", "partner"):
            wanted[f"{alone[head]}.{name}"] = value
        if name == "partner":
            if head in alone and value in hues:
                wanted[f"{alone[head]}.partner"] = hues[value]
            if value in alone:
                wanted[f"{alone[value]}.met"] = "yes"
        if name == "subject" and value in alone:
            wanted[f"{alone[value]}.relation"] = said[f"{head}.name"]
        if name == "others":
            wanted |= {f"{alone[n]}.landmark": "yes" for n in value.split() if n in alone}
    return wanted


def test_the_answers_of_the_second_world_are_what_the_caption_states():
    asked: Counter[str] = Counter()
    for seed in range(40):
        scene = SECOND.imagine(seed)
        for language in ("en", "zh"):
            _, said = captions2.caption_with_facts(scene, language, random.Random(seed))
            found = told(SECOND, SECOND.answers(scene, frozenset(said)))
            assert found == read(scene, said)
            asked.update(name.partition(".")[2] or name for name in found)
    questions = {*SECOND.questions.of_objects, "floor", "sky", "weather", "style"}
    rare = {"order", "colour_to", "then", "count"}
    assert questions - rare <= set(asked)


@both
def test_an_object_is_asked_about_where_its_colour_is_said_and_its_own(world):
    each, doubled = len(world.questions.of_objects), 0
    for seed in range(40):
        scene = world.imagine(seed)
        _, said = world.caption(scene, random.Random(seed))
        hues = [thing.colour for thing in scene.objects]
        key = world.answers(scene, said)
        for k, colour in enumerate(world.questions.colours):
            first, *others = key[k * each : (k + 1) * each]
            mine = [i for i, hue in enumerate(hues) if hue == colour]
            named = any(f"object{i}.colour" in said for i in mine)
            assert first == named
            assert all((answer != UNASKED) == (named and len(mine) == 1) for answer in others)
            doubled += named and len(mine) > 1
        assert UNASKED not in key[each * len(world.questions.colours) :]
    assert doubled or world is FIRST  # in which no two objects have the same colour


@both
def test_nothing_is_asked_of_a_colour_that_is_not_said(world):
    scene = world.imagine(0)
    key = world.answers(scene, frozenset({"object0.shape"}))
    objects = torch.tensor(key[: -len(world.questions.of_scenes)])
    objects = objects.view(len(world.questions.colours), -1)
    assert (objects[:, 0] == 0).all() and (objects[:, 1:] == UNASKED).all()


def test_a_partner_is_told_by_its_colour_and_knows_that_it_is_met():
    runs = replace(BALL, motion="collide", direction="left", speed="fast", partner=1)
    scene = scene_of(runs, CUBE)
    facts = {"object0.colour", "object0.motion", "object0.partner", "object1.colour"}
    found = told(SECOND, SECOND.answers(scene, frozenset(facts)))
    assert found == {
        "red.colour": "said", "red.motion": "collide", "red.partner": "blue",
        "blue.colour": "said", "blue.met": "yes",
    }  # fmt: skip
    # "the red ball runs into a cube": no colour, no answer
    found = told(SECOND, SECOND.answers(scene, frozenset(facts - {"object1.colour"})))
    assert found == {"red.colour": "said", "red.motion": "collide"}


def test_a_relation_is_of_its_subject_and_what_it_stands_to_is_a_landmark():
    cone = SceneObject("cone", "green", "wood", "small")
    scene = scene_of(BALL, CUBE, cone, relations=(Relation(0, "between", (1, 2)),))
    facts = {f"object{i}.colour" for i in range(3)}
    facts |= {f"relation0.{name}" for name in ("name", "subject", "others")}
    found = told(SECOND, SECOND.answers(scene, frozenset(facts)))
    assert {k: v for k, v in found.items() if not k.endswith(".colour")} == {
        "red.relation": "between", "blue.landmark": "yes", "green.landmark": "yes"
    }  # fmt: skip
    silent = frozenset(f"object{i}.colour" for i in range(3))
    assert set(told(SECOND, SECOND.answers(scene, silent)).values()) == {"said"}


@both
def test_captions_have_their_language_and_their_phrasing(world):
    scenes = [world.imagine(seed) for seed in range(30)]

    def texts(**settings) -> list[str]:
        return [world.caption(s, random.Random(i), **settings)[0] for i, s in enumerate(scenes)]

    assert all(text.isascii() for text in texts())
    chinese = [not text.isascii() for text in texts(chinese_share=1.0)]
    if world is SECOND:  # some pairs of colour and shape are captioned in English alone
        assert chinese == ["zh" in splits2.languages(scene) for scene in scenes]
    else:
        assert all(chinese)
    assert 5 < sum(not text.isascii() for text in texts(chinese_share=0.5)) < 25
    assert texts(phrasing="held") != texts()
    assert (texts(phrasing="text") != texts()) == (world is SECOND)
    assert texts(full=True) != texts()
    assert texts(typo_rate=1.0) != texts()


def test_a_full_caption_states_everything():
    for seed in range(10):
        first, second = FIRST.imagine(seed), SECOND.imagine(seed)
        rng = random.Random(seed)
        assert FIRST.caption(first, rng, full=True)[1] == set(captions1.facts(first))
        assert SECOND.caption(second, rng, full=True)[1] == set(captions2.facts(second))


# --- what is seen ------------------------------------------------------------------------
def test_what_has_no_lasting_colour_is_not_asked_for_one():
    styles: Counter[bool] = Counter()
    for seed in range(40):
        scene = SECOND.imagine(seed)
        grey = scene.style in COLOURLESS
        styles[grey] += 1
        for thing, facts in zip(scene.objects, SECOND.things(scene), strict=True):
            unseen = grey or thing.colour_to is not None  # it turns from one into another
            assert facts["colour"] == (None if unseen else thing.colour)
            assert all(facts[n] == getattr(thing, n) for n in SECOND.seen if n != "colour")
    assert min(styles.values()) > 5


def test_the_first_world_has_no_numbers():
    assert FIRST.controls == () and FIRST.numbers(FIRST.draw(0)) == {}


@pytest.mark.parametrize("move", CAMERA_MOVES)
def test_numbers_are_the_rates_of_the_camera(move):
    for speed in (None,) if move in UNPACED_MOVES else SPEEDS:
        scene = scene_of(BALL, camera=Camera(move, speed))
        rates, numbers = shots_of(scene)[0][3], SECOND.numbers(scene)
        assert "speed" not in numbers  # nothing in it has one
        if move == "handheld":
            assert rates.shake > 0 and numbers == {}
            continue
        assert set(numbers) == set(world2.AXES) and set(numbers) <= set(SECOND.controls)
        assert numbers == {axis: getattr(rates, axis) for axis in numbers}
        assert sum(value != 0 for value in numbers.values()) == (move != "static")


@pytest.mark.parametrize("motion", sorted(PACED))
def test_speed_is_1_for_what_goes_at_its_normal_speed(motion):
    table = {**START_SPEED, **TURN_RATE, "float": RISE_SPEED}[motion]
    thing = replace(BALL, shape=CAN[motion][0], motion=motion)
    if motion in PARTNERED:
        thing = replace(thing, partner=1)
    for direction in ("left", "right") if motion not in ("float", "orbit", "spin") else (None,):
        for speed, pace in zip(SPEEDS, table, strict=True):
            one = replace(thing, direction=direction, speed=speed)
            found = SECOND.numbers(scene_of(one, CUBE))["speed"]
            assert found == pytest.approx(pace / table[1], rel=0.081)


def test_speed_is_the_mean_factor_of_all_that_have_one():
    fast = replace(BALL, motion="roll", direction="left", speed="fast")
    spins = replace(CUBE, motion="spin", speed="slow")
    still = SceneObject("cone", "green", "wood", "small")
    scene = scene_of(fast, spins, still)
    truth = play_of(scene).truth
    paces = [abs(truth[0]["speed"]) / START_SPEED["roll"][1]]
    paces += [abs(truth[1]["spin"]) / TURN_RATE["spin"][1]]
    assert SECOND.numbers(scene)["speed"] == pytest.approx((paces[0] * paces[1]) ** 0.5)


def test_drawn_scenes_have_numbers_in_every_case():
    for seed in range(12):
        scene = SECOND.draw(seed, count=1 + seed % 3)
        numbers = SECOND.numbers(scene)
        assert all(np.isfinite(value) for value in numbers.values())
        assert ("speed" in numbers) == any(thing.speed for thing in scene.objects)
        assert numbers.get("speed", 1.0) > 0
        shakes = scene.shots[0].camera.move == "handheld"
        assert set(numbers) - {"speed"} == (set() if shakes else set(world2.AXES))


# --- pixels ------------------------------------------------------------------------------
@both
def test_clips_have_the_size_of_their_ratio_and_show_their_objects(world):
    scene = world.draw(2, aspect_ratio="16:9", count=2)
    times = np.array([0.0, 0.5])
    video, owners = world.render([scene], times, scale=1, compiled=False)
    height, width = world.sizes["16:9"]
    assert (video.shape, video.dtype) == ((1, 2, height, width, 3), torch.uint8)
    assert (owners.shape, owners.dtype) == ((1, 2, height, width), torch.uint8)
    assert set(owners[0, 0].unique().tolist()) == {0, 1, 2}  # all is seen at first
    assert set(owners.unique().tolist()) == {0, 1, 2}
    assert not torch.equal(video[0, 0], video[0, 1])


def test_owners_tell_objects_apart_by_their_places_in_the_record():
    things = (BALL, replace(CUBE, size="small"))
    scene = scene_of(*things)
    times = np.array([0.0])
    video, owners = SECOND.render([scene], times, scale=1, compiled=False)
    red = video[owners == 1].float().mean(0)
    blue = video[owners == 2].float().mean(0)
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0]


def test_clips_of_the_second_world_are_its_films(monkeypatch):
    scenes = [replace(SECOND.imagine(k), objects=(BALL,), relations=()) for k in range(3)]
    styles = ("photoreal", "pencil", "pixel art")
    scenes = [replace(s, style=style, seed=5) for s, style in zip(scenes, styles, strict=True)]
    times = np.array([0.0, 1.0, 2.0])
    monkeypatch.setattr(SecondWorld, "sizes", {"1:1": (48, 48)})
    video, owners = SECOND.render(scenes, times, scale=1, compiled=False)
    assert video.shape == (3, 3, 48, 48, 3)
    for k, scene in enumerate(scenes):
        assert torch.equal(video[k], torch.cat(list(colours(play_of(scene), times, 48, 48))))
    # However few frames are rendered at once.
    monkeypatch.setattr(world2, "CHUNK", 2)
    again = SECOND.render(scenes, times, scale=1, compiled=False)
    assert torch.equal(video, again[0]) and torch.equal(owners, again[1])
    large, _ = SECOND.render(scenes[:1], times[:1], scale=2, compiled=False)
    assert large.shape == (1, 1, 96, 96, 3)
