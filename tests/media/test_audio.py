"""Sound beside the pictures: in step with them, which stay as they are."""

from __future__ import annotations

import av
import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.media.audio import add_sound
from kineograph.media.video import open_writer, read_video

RATE = 24_000


def tones(seconds=2.0):
    t = np.arange(round(RATE * seconds)) / RATE
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * t), 0.4 * np.sin(2 * np.pi * 660 * t)], 1)


def film(path, frames=20):
    pictures = np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)
    with open_writer(path, 10, 80, 48, repeatable=True) as writer:
        writer.write(pictures)
    return path


def pictures(path):
    with read_video(path) as reader:
        return np.stack(list(reader))


def heard(path):
    with av.open(path) as file:
        (track,) = file.streams.audio
        assert (track.codec_context.name, track.rate, track.channels) == ("aac", RATE, 2)
        return np.concatenate([frame.to_ndarray() for frame in file.decode(track)], 1).T


def test_a_track_is_added_in_step_and_the_pictures_stay(tmp_path):
    path = film(tmp_path / "a.mp4")
    before, sound = pictures(path), tones().astype(np.float32)
    add_sound(path, sound, RATE)
    assert np.array_equal(pictures(path), before)
    found = heard(path)
    assert 0 <= len(found) - len(sound) < 1024  # whole blocks of the codec
    inner = slice(2000, len(sound) - 2000)  # the codec blurs both ends
    assert np.abs(found[inner] - sound[inner]).max() < 0.02
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_the_same_sound_makes_the_same_bytes_and_what_is_too_loud_is_cut(tmp_path):
    loud = (4 * tones()).astype(np.float32)
    content = []
    for sound in (loud, loud, loud.clip(-1, 1)):
        path = film(tmp_path / "a.mp4")
        add_sound(path, sound, RATE)
        content.append(path.read_bytes())
    assert content[0] == content[1] == content[2]


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros((9, 2)),
        np.zeros((9, 1), np.float32),
        np.zeros((0, 2), np.float32),
        np.full((9, 2), np.nan, np.float32),
    ],
)
def test_what_is_no_sound_is_refused(tmp_path, sound):
    path = film(tmp_path / "a.mp4", 1)
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"sound is|parameter sound="):
        add_sound(path, sound, RATE)
    assert path.read_bytes() == before


def test_a_file_that_is_no_video_is_refused_and_stays(tmp_path):
    path = tmp_path / "a.mp4"
    for content in (None, b"no video at all"):
        if content:
            path.write_bytes(content)
        with pytest.raises(RequestError, match=r"a\.mp4"):
            add_sound(path, tones().astype(np.float32), RATE)
    assert path.read_bytes() == b"no video at all"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
