"""Which ways in go together, and which latent frames they decide."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from kineograph.errors import RequestError
from kineograph.presets import NANO, SMALL
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.ways import (
    MAX_PICTURES,
    STRENGTH,
    known_frames,
    latent_place,
    split_camera,
    split_keyframe,
)

BALL = GenerationRequest("a red ball")


def known(**changes):
    return known_frames(resolve(replace(BALL, **changes), NANO), NANO)


def refusal_of(spec=NANO, **changes):
    with pytest.raises(RequestError) as refusal:
        resolve(replace(BALL, **changes), spec)
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


@pytest.mark.parametrize(
    ("entry", "path", "seconds"),
    [
        ("mid.png@1.5", "mid.png", 1.5),
        ("me@home.png@0", "me@home.png", 0.0),
        ("a b.png@.5", "a b.png", 0.5),
    ],
)
def test_a_keyframe_is_a_file_and_a_time(entry, path, seconds):
    assert split_keyframe(entry) == (path, seconds)


@pytest.mark.parametrize(
    "entry",
    ["mid.png", "mid.png@", "@1", "", "mid.png@soon", "mid.png@-1", "mid.png@nan", "mid.png@inf",
     "mid.png@1e308"],
)  # fmt: skip
def test_a_keyframe_without_a_file_or_a_time_is_refused_by_what_was_given(entry):
    with pytest.raises(RequestError) as refusal:
        split_keyframe(entry)
    assert str(refusal.value) == f"keyframe {entry!r} is not FILE@SECONDS, such as mid.png@1.5"


def test_a_camera_is_numbers_by_name():
    assert split_camera("pan=7") == {"pan": 7.0}
    assert split_camera("pan=7, zoom = -0.1") == {"pan": 7.0, "zoom": -0.1}


@pytest.mark.parametrize("text", ["", "pan", "pan=", "pan=left", "pan=nan", "pan=inf", "pan=7,"])
def test_a_camera_that_is_no_numbers_is_refused_by_what_was_given(text):
    with pytest.raises(RequestError) as refusal:
        split_camera(text)
    assert str(refusal.value) == f"camera {text!r} is not NAME=NUMBER,..., such as pan=7"


def test_an_axis_is_named_once():
    with pytest.raises(RequestError, match="camera names 'pan' twice"):
        split_camera("pan=7,pan=8")


def test_the_first_frame_stands_alone_and_the_others_by_the_stride():
    assert [latent_place(frame, 4) for frame in range(10)] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert [latent_place(frame, 1) for frame in range(3)] == [0, 1, 2]


def test_without_a_way_in_nothing_is_known():
    assert known() == {}
    assert known(video="a.mp4") == {}
    assert known(loop=True) == {}


def test_each_way_in_decides_its_latent_frames():
    assert known(image="a.png") == {0: "the picture 'a.png'"}
    assert known(last_image="a.png") == {6: "the picture 'a.png'"}
    assert known(keyframes=("a.png@0.4", "b.png@0.5")) == {
        1: "the picture 'a.png'",
        2: "the picture 'b.png'",
    }
    assert known(before="a.mp4") == dict.fromkeys((0, 1, 2), "before")
    assert known(after="a.mp4") == dict.fromkeys((5, 6), "after")
    between = known(before="a.mp4", after="b.mp4", keyframes=("c.png@1.3",))
    assert between == known(before="a.mp4") | known(after="b.mp4") | {4: "the picture 'c.png'"}


def test_pictures_come_in_the_order_of_their_times():
    got = resolve(
        replace(BALL, image="a.png", last_image="d.png", keyframes=("c.png@1.5", "b.png@0.5")),
        NANO,
    )
    assert got.pictures() == [("a.png", 0), ("b.png", 5), ("c.png", 15), ("d.png", 24)]
    assert got.inputs() == ["a.png", "b.png", "c.png", "d.png"]
    videos = resolve(replace(BALL, before="a.mp4", after="a.mp4"), NANO)
    assert videos.inputs() == ["a.mp4"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"image": "a.png", "keyframes": ("b.png@0",)},
            "the picture 'b.png' falls together with the picture 'a.png': "
            "pictures must be 4 frames (0.4 s) apart",
        ),
        (
            {"last_image": "a.png", "keyframes": ("b.png@2.4",)},
            "the picture 'a.png' falls together with the picture 'b.png': "
            "pictures must be 4 frames (0.4 s) apart",
        ),
        (
            {"keyframes": ("b.png@0.1", "c.png@0.4")},
            "the picture 'c.png' falls together with the picture 'b.png': "
            "pictures must be 4 frames (0.4 s) apart",
        ),
        (
            {"before": "a.mp4", "keyframes": ("b.png@0.8",)},
            "the picture 'b.png' falls together with before: "
            "pictures must be 4 frames (0.4 s) apart",
        ),
        (
            {"after": "a.mp4", "keyframes": ("b.png@2",)},
            "the picture 'b.png' falls together with after: "
            "pictures must be 4 frames (0.4 s) apart",
        ),
        (
            {"keyframes": ("b.png@2.5",)},
            "keyframe 'b.png' is at 2.5 s, but the clip ends at 2.4 s",
        ),
    ],
)
def test_a_picture_that_has_no_place_of_its_own_is_refused(changes, said):
    assert refusal_of(**changes) == said


@pytest.mark.parametrize(
    ("changes", "names", "least"),
    [
        ({"image": "a.png"}, "image", 5),
        ({"image": "a.png", "last_image": "b.png"}, "image and last_image", 9),
        ({"keyframes": ("a.png@0",)}, "keyframes", 5),
        ({"before": "a.mp4"}, "before", 13),
        ({"after": "a.mp4"}, "after", 9),
        ({"before": "a.mp4", "after": "b.mp4"}, "before and after", 21),
        ({"before": "a.mp4", "last_image": "b.png"}, "last_image and before", 17),
        ({"loop": True}, "loop", 17),
        ({"loop": True, "image": "a.png"}, "image and loop", 17),
    ],
)
def test_the_least_length_is_said_at_once_and_is_enough(changes, names, least):
    for frames in range(1, least, 4):
        assert refusal_of(num_frames=frames, **changes) == (
            f"num_frames {frames} leaves nothing to make beside {names}; "
            f"at least {least} are needed"
        )
    assert resolve(replace(BALL, num_frames=least, **changes), NANO).num_frames == least


def test_eight_pictures_are_allowed_and_no_more():
    entries = [f"{i}.png@{i / 3:.4f}" for i in range(1, MAX_PICTURES + 1)]  # four frames apart
    eight = resolve(replace(BALL, keyframes=tuple(entries)), SMALL)
    assert sorted(known_frames(eight, SMALL)) == list(range(1, 9))
    said = refusal_of(SMALL, keyframes=tuple(entries), image="0.png")
    assert said == "9 pictures are given; at most 8 are allowed"


PAIRS = [
    ("before", "image"), ("after", "last_image"), ("loop", "last_image"), ("loop", "before"),
    ("loop", "after"), ("loop", "keyframes"), ("video", "image"), ("video", "last_image"),
    ("video", "keyframes"), ("video", "before"), ("video", "after"), ("video", "loop"),
]  # fmt: skip
GIVEN = {
    "image": "a.png", "last_image": "b.png", "keyframes": ("c.png@1",), "before": "d.mp4",
    "after": "e.mp4", "loop": True, "video": "f.mp4",
}  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_ways_that_exclude_one_another_are_refused_by_name(one, other):
    said = refusal_of(**{name: GIVEN[name] for name in (one, other)})
    assert said == f"{one} and {other} cannot be given together"


def test_all_other_pairs_go_together():
    for one in GIVEN:
        for other in GIVEN:
            if one < other and (one, other) not in PAIRS and (other, one) not in PAIRS:
                assert known(**{name: GIVEN[name] for name in (one, other)})


@pytest.mark.parametrize("name", ["image", "last_image", "before", "after", "video"])
def test_what_is_no_file_name_is_refused_by_its_field(name):
    assert refusal_of(**{name: ""}) == f"{name} '' is not a file name"
    assert refusal_of(**{name: "a\0b"}) == f"{name} 'a\\x00b' is not a file name"
    assert refusal_of(keyframes=("a\0b@1",)) == "keyframes 'a\\x00b' is not a file name"


def test_strength_is_for_a_video_and_has_a_default():
    assert refusal_of(strength=0.5) == "strength 0.5 is for video, which is not given"
    assert "allowed: 0.05 to 1" in refusal_of(video="a.mp4", strength=0.01)
    assert "allowed: 0.05 to 1" in refusal_of(video="a.mp4", strength=math.nan)
    assert resolve(replace(BALL, video="a.mp4"), NANO).strength == STRENGTH
    assert resolve(replace(BALL, video="a.mp4", strength=1.0), NANO).strength == 1
    assert resolve(BALL, NANO).strength is None


def test_a_picture_to_change_is_a_clip_of_one_frame_unless_a_length_is_asked_for():
    for path in ("a.png", "A.JPG", "b.webp"):
        got = resolve(replace(BALL, video=path), NANO)
        assert (got.num_frames, got.format, got.output) == (1, "image", "a-red-ball.png")
    assert resolve(replace(BALL, video="a.png", num_frames=5), NANO).num_frames == 5
    assert resolve(replace(BALL, video="a.gif"), NANO).num_frames == NANO.num_frames


def test_numbers_are_for_a_model_that_takes_them():
    assert refusal_of(camera="pan=7") == (
        "nano takes no camera in numbers; say the move in words"
    )
    assert refusal_of(motion_speed=2.0) == (
        "nano takes no motion_speed; say slowly or fast in words"
    )
    axes = ", ".join(name for name in SMALL.controls if name != "speed")
    assert refusal_of(SMALL, camera="pam=7") == f"camera has no 'pam'; allowed: {axes}"
    assert refusal_of(SMALL, camera="speed=7") == f"camera has no 'speed'; allowed: {axes}"
    assert refusal_of(SMALL, camera="tilt=1e300") == (
        "camera tilt 1e+300 is out of range; allowed: -44 to 44"
    )
    assert "allowed: 0.25 to 4" in refusal_of(SMALL, motion_speed=5.0)
    got = resolve(replace(BALL, camera="pan=70,zoom=-0.1", motion_speed=0.25), SMALL)
    assert got.camera_rates() == {"pan": 70.0, "zoom": -0.1}
    assert resolve(BALL, SMALL).camera_rates() == {}
