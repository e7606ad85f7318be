"""Pictures and videos as a clip needs them: at its rate, its size and in its number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kineograph.errors import RequestError
from kineograph.inputs import (
    at_rate,
    check_inputs,
    first_frames,
    fitted,
    join,
    last_frames,
    still,
)
from kineograph.media.image import fit_image, read_image
from kineograph.media.video import open_writer
from kineograph.presets import NANO, NANO_SIZES, SMALL_SIZES
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve

SQUARE = NANO_SIZES["1:1"]


def grey(shade, height=48, width=64):
    return np.full((height, width, 3), shade, np.uint8)


def video_of(path: Path, count: int, fps: int, height: int = 48, width: int = 64) -> str:
    """Write a video whose frames are told apart by their grey: 8 times their number."""
    with open_writer(path, fps, width, height) as writer:
        for i in range(count):
            writer.write(grey(8 * i, height, width)[None])
    return str(path)


def numbers(frames):
    return [round(float(frame.mean()) / 8) for frame in frames]


def picture_of(path: Path, height: int, width: int) -> str:
    ramps = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    Image.fromarray(np.stack([*ramps, ramps[0] * 0 + 90], -1).astype(np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif"])
def test_at_its_own_rate_a_video_is_itself(tmp_path, ending):
    path = video_of(tmp_path / f"a.{ending}", 9, 10)
    assert numbers(at_rate(path, 10)) == list(range(9))


@pytest.mark.parametrize(
    ("count", "fps", "wanted", "expected"),
    [
        (9, 24, 12, [0, 2, 4, 6, 8]),
        (6, 10, 12, [0, 1, 2, 3, 3, 4, 5]),
        (9, 30, 10, [0, 3, 6]),
        (4, 5, 10, [0, 1, 1, 2, 2, 3, 3]),
        # Halves go one way, or steps would be uneven: 2, 1, 1, 2 instead of 2, 1, 2, 1.
        (12, 15, 10, [0, 2, 3, 5, 6, 8, 9, 11]),
        (16, 25, 10, [0, 3, 5, 8, 10, 13, 15]),
    ],
)
def test_at_another_rate_the_nearest_frames_are_taken(tmp_path, count, fps, wanted, expected):
    path = video_of(tmp_path / "a.mp4", count, fps)
    assert numbers(at_rate(path, wanted)) == expected


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    path = picture_of(tmp_path / "a.PNG", 40, 60)
    (frame,) = at_rate(path, 10)
    assert np.array_equal(frame, read_image(path))
    (first,) = first_frames(path, 1, 10, SQUARE).unbind(1)
    assert torch.equal(first, still(path, SQUARE))


def test_a_video_begins_and_ends_with_as_many_frames_as_are_asked_for(tmp_path):
    path = video_of(tmp_path / "a.mp4", 12, 10)
    for frames, expected in (
        (first_frames(path, 5, 10, SQUARE), [0, 1, 2, 3, 4]),
        (last_frames(path, 5, 10, SQUARE), [7, 8, 9, 10, 11]),
        (last_frames(path, 12, 10, SQUARE), list(range(12))),
        (last_frames(path, 3, 5, SQUARE), [6, 8, 10]),
    ):
        assert frames.shape == (3, len(expected), SQUARE.height, SQUARE.width)
        assert frames.abs().max() <= 1
        assert numbers((frame + 1) * 127.5 for frame in frames.unbind(1)) == expected


@pytest.mark.parametrize(
    ("count", "fps", "expected"),
    [
        (12, 20, [3, 5, 7, 9, 11]),
        (13, 20, [4, 6, 8, 10, 12]),
        (9, 20, [0, 2, 4, 6, 8]),
        (6, 10, [1, 2, 3, 4, 5]),
        # Of 40 frames a second every other one is delivered, up to the last but one.
        (20, 40, [2, 6, 10, 14, 18]),
    ],
)
def test_what_is_delivered_at_twice_the_rate_ends_with_the_same_frame(
    tmp_path, count, fps, expected
):
    path = video_of(tmp_path / "a.mp4", count, fps)
    frames = last_frames(path, 5, 10, SQUARE, times=2)
    shown = numbers((frame + 1) * 127.5 for frame in frames.unbind(1))
    assert shown == expected == numbers(at_rate(path, 20))[-9::2]


def test_a_video_is_as_short_at_twice_the_rate(tmp_path):
    for count, found in ((7, 4), (8, 4)):
        path = video_of(tmp_path / "a.mp4", count, 20)
        with pytest.raises(RequestError) as refusal:
            last_frames(path, 5, 10, SQUARE, times=2)
        assert str(refusal.value) == f"{path} has {found} frames at 10 fps; at least 5 are needed"


@pytest.mark.parametrize("ends", [first_frames, last_frames])
def test_a_video_that_is_too_short_is_refused_by_its_length_at_that_rate(tmp_path, ends):
    path = video_of(tmp_path / "a.mp4", 9, 10)
    with pytest.raises(RequestError) as refusal:
        ends(path, 6, 5, SQUARE)
    assert str(refusal.value) == f"{path} has 5 frames at 5 fps; at least 6 are needed"


SIZES = [size for sizes in (NANO_SIZES, *SMALL_SIZES.values()) for size in sizes.values()]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_delivered_shows_a_picture_of_that_ratio_whole_and_in_place(tmp_path, size):
    path = picture_of(tmp_path / "a.png", size.out_height, size.out_width)
    base = still(path, size)
    assert base.shape == (3, size.height, size.width)
    # Enlarged and cut, as generate delivers it, it lies on the picture itself.
    times = float(size.enlarged)
    larger = torch.nn.functional.interpolate(base[None], scale_factor=times, mode="bilinear")[0]
    top = (larger.shape[1] - size.out_height) // 2
    left = (larger.shape[2] - size.out_width) // 2
    seen = larger[:, top : top + size.out_height, left : left + size.out_width]
    off = (seen + 1) * 127.5 - torch.from_numpy(read_image(path).copy()).permute(2, 0, 1)
    assert off[:, 4:-4, 4:-4].abs().max() < 1.5  # a step of the ramp is up to 1.4
    assert off.abs().max() < 3


def test_at_a_size_that_is_not_cut_a_picture_is_fitted_as_ever(tmp_path):
    path = picture_of(tmp_path / "a.png", 60, 80)
    assert torch.equal(still(path, SQUARE), fit_image(read_image(path), 64, 64))


def test_what_is_joined_has_the_size_that_is_delivered(tmp_path):
    path = video_of(tmp_path / "a.mp4", 3, 10, 36, 64)
    frames = list(fitted(path, 10, 180, 320))
    assert [(frame.shape, frame.dtype) for frame in frames] == [((180, 320, 3), np.uint8)] * 3
    assert numbers(frames) == [0, 1, 2]
    own = picture_of(tmp_path / "b.png", 180, 320)
    assert np.array_equal(next(fitted(own, 10, 180, 320)), read_image(own))


def test_joined_videos_fade_where_they_show_the_same():
    before, after = [grey(100)] * 5, [grey(200)] * 6
    joined = list(join(before, iter(after), 3))
    assert len(joined) == 5 + 6 - 3
    assert [int(frame[0, 0, 0]) for frame in joined] == [100, 100, 125, 150, 175, 200, 200, 200]
    assert {frame.dtype for frame in joined} == {np.dtype(np.uint8)}


def test_frames_that_agree_stay_as_they_are_when_joined():
    frames = [grey(shade) for shade in range(12)]
    joined = list(join(frames[:8], frames[4:], 4))
    assert np.array_equal(np.stack(joined), np.stack(frames))
    assert len(list(join(frames[:3], frames[3:], 0))) == 12


def test_a_joined_video_is_read_no_further_than_it_is_needed():
    def endless():
        while True:
            yield grey(9)

    joined = join(endless(), endless(), 3)
    assert int(next(joined)[0, 0, 0]) == 9


def asked(**changes):
    return resolve(replace(GenerationRequest("a ball", seed=1), **changes), NANO)


def test_inputs_that_can_be_used_pass(tmp_path):
    video = video_of(tmp_path / "a.mp4", 25, 10)
    gif = video_of(tmp_path / "b.gif", 25, 10)
    short = video_of(tmp_path / "c.mp4", 9, 10)
    picture = picture_of(tmp_path / "d.png", 40, 60)
    odd = tmp_path / "e.old"  # a video by what it holds, whatever it is called
    odd.write_bytes(Path(video).read_bytes())
    for changes in (
        {"before": short, "after": short},
        {"image": picture, "after": gif},
        {"image": gif, "keyframes": (f"{picture}@1",)},
        {"video": video},
        {"video": gif},
        {"video": str(odd)},
        {"video": picture},
    ):
        check_inputs(asked(**changes), NANO)


def test_inputs_that_cannot_be_used_are_refused_by_name(tmp_path):
    video = video_of(tmp_path / "a.mp4", 8, 10)
    picture = picture_of(tmp_path / "b.png", 40, 60)
    text = tmp_path / "notes.mp4"
    text.write_text("not a video at all")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(video).read_bytes()[:-200])
    gone = str(tmp_path / "gone.mp4")
    for changes, path, said in (
        ({"image": gone}, gone, "there is no such file"),
        ({"keyframes": (f"{gone}@1",)}, gone, "there is no such file"),
        ({"image": video}, video, "no image; allowed: PNG, JPEG, WEBP, GIF, BMP"),
        ({"last_image": str(text)}, str(text), "no image"),
        ({"before": gone}, gone, "there is no such file"),
        ({"before": str(text)}, str(text), "not a video we know; allowed: MP4"),
        ({"after": str(cut)}, str(cut), "truncated or damaged"),
        ({"video": str(tmp_path)}, str(tmp_path), "it is not a file"),
        ({"before": video}, video, "has 8 frames at 10 fps; at least 9 are needed"),
        ({"after": video}, video, "has 8 frames at 10 fps; at least 9 are needed"),
        ({"video": video}, video, "has 8 frames at 10 fps; at least 25 are needed"),
        ({"before": picture}, picture, "has 1 frames at 10 fps; at least 9 are needed"),
        ({"video": picture, "num_frames": 5}, picture, "has 1 frames at 10 fps; at least 5"),
    ):
        with pytest.raises(RequestError) as refusal:
            check_inputs(asked(**changes), NANO)
        assert path in str(refusal.value)
        assert said in str(refusal.value)
        assert "\n" not in str(refusal.value)
