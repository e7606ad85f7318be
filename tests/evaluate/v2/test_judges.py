from dataclasses import replace

import numpy as np
import pytest
import torch

from kineograph.errors import RequestError, WeightsError
from kineograph.evaluate.v2 import testing
from kineograph.evaluate.v2.files import crowded, default_path, load_judges, save_judges, trusted
from kineograph.evaluate.v2.found import find_objects
from kineograph.evaluate.v2.judges import (
    MIRRORED_MOTIONS,
    MIRRORED_MOVES,
    NOTHING,
    Judges,
    Reading,
    group_of,
    true_reading,
)
from kineograph.evaluate.v2.pool import distinct, look, make_shard, read_shard
from kineograph.evaluate.v2.seen import (
    FRAMES,
    MOTION_CLASSES,
    PIXEL_CLASSES,
    UNSURE,
    aspect_of,
    colour_class,
    judged,
    motion_class,
)
from kineograph.evaluate.v2.testing import compare
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.layout import ASPECTS
from kineograph.world.v2.scene import CAMERA_MOVES, COLOURS, STYLES, Scene, SceneObject

RED, BLUE = 1 + COLOURS.index("red"), 1 + COLOURS.index("blue")
RUNNER = SceneObject("ball", "red", "rubber", "large", "collide", "left", "fast", partner=1)
STRUCK = SceneObject("cube", "blue", "wood", "small")
SCENE = Scene(1, (RUNNER, STRUCK), "grassy", "noon")


def painted(*boxes):
    """Return classes of pixels in which boxes (class, first frame, last, left, top) are painted."""
    classes = np.zeros((FRAMES, 64, 64), np.uint8)
    for key, first, last, left, top in boxes:
        classes[first : last + 1, top : top + 10, left : left + 12] = key
    return classes


def test_objects_are_told_apart_by_colour_largest_first():
    classes = painted((RED, 0, 16, 5, 5), (BLUE, 0, 16, 40, 30))
    classes[:, 5:20, 5:17] = RED
    found = find_objects(classes, colourless=False)
    assert [s.colour for s in found] == ["red", "blue"]
    assert [s.area for s in found] == [180.0, 120.0]
    place = found[1].place
    assert place is not None
    assert (place.left, place.top) == pytest.approx((40 / 64, 30 / 64), abs=0.01)
    assert (place.right, place.bottom) == pytest.approx((52 / 64, 40 / 64), abs=0.02)


def test_a_colour_that_follows_another_in_its_place_is_one_object_that_turns():
    turned = find_objects(painted((RED, 0, 7, 20, 20), (BLUE, 10, 16, 21, 20)), colourless=False)
    assert [(s.colour, s.colour_to) for s in turned] == [("red", "blue")]
    assert turned[0].mask[[3, 14], 25, 25].all()
    apart = find_objects(painted((RED, 0, 7, 2, 20), (BLUE, 10, 16, 44, 20)), colourless=False)
    assert {(s.colour, s.colour_to) for s in apart} == {("red", None), ("blue", None)}


def test_flickers_are_no_objects_but_some_answer_stands():
    classes = painted((RED, 0, 16, 5, 5))
    classes[3, 40:43, 40:43] = BLUE
    assert [s.colour for s in find_objects(classes, colourless=False)] == ["red"]
    lonely = np.zeros((FRAMES, 64, 64), np.uint8)
    lonely[0, 3, 3] = BLUE
    assert [s.colour for s in find_objects(lonely, colourless=False)] == ["blue"]


def test_without_colours_all_is_one_object():
    found = find_objects(painted((RED, 0, 16, 5, 5), (11, 0, 16, 40, 30)), colourless=True)
    assert [(s.colour, s.area) for s in found] == [(None, 240.0)]


def test_mirrors_swap_left_and_right_and_nothing_else():
    for names, other in ((CAMERA_MOVES, MIRRORED_MOVES), (MOTION_CLASSES, MIRRORED_MOTIONS)):
        assert other[other].tolist() == list(range(len(names)))
        for name, k in zip(names, other.tolist(), strict=True):
            swapped = name.replace("left", "L").replace("right", "left").replace("L", "right")
            assert names[k] == swapped


def test_styles_fall_into_three_groups():
    groups = {style: group_of(style) for style in STYLES}
    assert groups["photoreal"] == "photo"
    assert {s for s, g in groups.items() if g == "colourless"} == COLOURLESS


def test_what_is_run_into_is_struck():
    assert motion_class(SCENE, 0) == "collide left"
    assert motion_class(SCENE, 1) == "struck left"
    assert {motion_class(SCENE, i) for i in (0, 1)} <= set(MOTION_CLASSES)


def test_the_colour_of_what_turns_is_unsure_in_between():
    thing = SceneObject("ball", "red", "rubber", "large", "recolour", colour_to="blue")
    classes = colour_class(play_of(Scene(3, (thing,), "grassy", "noon")), 0)
    assert classes[0] == RED and classes[-1] == BLUE
    assert UNSURE in classes
    assert set(classes.tolist()) == {RED, BLUE, UNSURE}


def test_clips_are_judged_at_four_frames_a_second_in_their_aspect_ratio():
    video = np.zeros((49, 192, 256, 3), np.uint8)
    video[12] = 255
    seen = judged(video, 12.0)
    assert seen.shape == (FRAMES, 3, *(seen.shape[2:]))
    assert aspect_of(*seen.shape[2:]) == "4:3"
    assert seen[4].min() == 1.0 and seen[3].max() == -1.0
    for ratio, (w, h) in ASPECTS.items():
        assert aspect_of(90 * h, 90 * w) == ratio


@pytest.mark.parametrize(
    ("shape", "fps", "words"),
    [
        ((49, 64, 64), 12.0, "64x64"),
        ((48, 128, 128), 12.0, "48 frames at 12 fps"),
        ((49, 128, 900), 12.0, "900x128"),
    ],
)
def test_clips_that_cannot_be_judged_are_refused(shape, fps, words):
    with pytest.raises(RequestError, match=words):
        judged(np.zeros((*shape, 3), np.uint8), fps)


def test_readings_are_compared_fact_by_fact():
    truth = true_reading(SCENE)
    assert all(all(rights) for rights in compare(SCENE, truth).values())
    things = (replace(truth.objects[0], shape="cone"), replace(truth.objects[1], colour="green"))
    right = compare(SCENE, replace(truth, objects=things, sky="night"))
    assert right["shape"] == [False, False]  # the second is not found
    assert right["colour"] == [True, False, False]  # and a green one is there that is not
    assert right["sky"] == [False]
    assert right["floor"] == [True]
    assert "colour_to" not in right


def test_judges_read_clips_of_any_aspect_ratio_and_survive_their_file(tmp_path):
    torch.manual_seed(0)
    judges = Judges().eval()
    rows = {
        "photo": {"sky": {"right": 95, "n": 100}, "floor": {"right": 94, "n": 100}},
        "coloured": {"sky": {"right": 0, "n": 0}},
    }
    save_judges(tmp_path / "judges.safetensors", judges, rows)
    again, found = load_judges(tmp_path / "judges.safetensors")
    assert found == rows
    assert trusted(found, "photo") == {"sky"}
    assert trusted(found, "coloured") == trusted(found, "colourless") == frozenset()
    full = rows | {crowded("photo"): {"floor": {"right": 99, "n": 100}}}
    assert trusted(full, "photo", 2) == {"sky"}
    assert trusted(full, "photo", 3) == {"sky", "floor"}
    less = rows | {crowded("photo"): {"sky": {"right": 1, "n": 100}}}
    assert trusted(less, "photo", 3) == frozenset()
    assert trusted({"photo": {"sky": {"right": 9, "n": 9}}}, "photo") == frozenset()
    clips = [torch.rand(FRAMES, 3, *size) * 2 - 1 for size in ((128, 128), (96, 176))]
    readings = again.read(clips)
    assert [Reading.from_dict(r.to_dict()) for r in readings] == readings
    assert all(r.objects for r in readings)
    assert again.segment(clips[1]).max() < PIXEL_CLASSES
    (tmp_path / "judges.safetensors").write_bytes(b"no judges")
    with pytest.raises(WeightsError, match="holds no judges"):
        load_judges(tmp_path / "judges.safetensors")
    with pytest.raises(WeightsError, match="are missing"):
        load_judges(tmp_path / "none.safetensors")


def test_shards_of_the_pool_hold_what_was_rendered_and_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("kineograph.evaluate.v2.pool.SHARD", 2)
    path = make_shard(tmp_path, 1)
    shard = read_shard(path)
    assert len(shard.scenes) == 2 and shard.frames.shape[:2] == (2, FRAMES)
    assert aspect_of(*shard.frames.shape[2:4]) == "4:3"
    for clip, scene in enumerate(shard.scenes):
        seen = shard.truth(torch.tensor([clip]), torch.tensor([0]))
        shown = {int(k) for k in seen.unique()} - {0}
        classes = {int(colour_class(play_of(scene), i)[0]) for i in range(len(scene.objects))}
        assert shown == classes
    before = path.stat().st_mtime_ns
    assert make_shard(tmp_path, 1) == path
    assert path.stat().st_mtime_ns == before


def test_scenes_whose_objects_share_a_colour_cannot_be_told_apart():
    assert distinct(SCENE)
    assert not distinct(replace(SCENE, objects=(RUNNER, replace(STRUCK, colour="red"))))
    turning = replace(STRUCK, motion="recolour", colour_to="red")
    assert not distinct(replace(SCENE, objects=(replace(RUNNER, partner=None), turning)))


def test_what_is_read_right_is_counted_apart_where_there_are_many_objects():
    class Blind(Judges):
        def read(self, clips):
            return [NOTHING for _ in clips]

    threads = torch.get_num_threads()
    rows = testing.measure_part(Blind(), "photo", range(6))
    torch.set_num_threads(threads)
    many = crowded("photo")
    assert set(rows) == {"photo", many}
    assert set(testing.PLACE) < set(rows["photo"]) and not set(testing.PLACE) & set(rows[many])
    assert rows["photo"]["floor"] == {"right": 0, "n": 6}
    assert rows["photo"]["count"]["n"] + rows[many]["count"]["n"] == 6
    assert rows[many]["shape"]["n"] > 2 * rows[many]["count"]["n"]
    lines = testing.table({group: {} for group in testing.GROUPS} | rows).splitlines()
    assert lines[0].count("|") == 6 and "more than 2 objects" in lines[0]


def test_the_shipped_judges_read_a_true_photograph():
    sizes = {f.name: f.stat().st_size for f in default_path().parent.iterdir()}
    assert set(sizes) == {"judges.safetensors", "judges-v2.safetensors"}
    assert sizes["judges-v2.safetensors"] < 4.5e6
    judges, on_truth = load_judges()
    asked = trusted(on_truth, "photo")
    assert asked >= {"camera", "floor", "sky", "style", "shape"}
    scene, play = testing.tested_scene(12345, "photo")
    shown, _ = look(play)
    reading = judges.read([shown.movedim(-1, 1).float() / 127.5 - 1])[0]
    truth = true_reading(scene)
    for name in ("camera", "floor", "sky", "style"):
        assert getattr(reading, name) == getattr(truth, name)
    assert {o.colour for o in reading.objects} & {o.colour for o in truth.objects}
