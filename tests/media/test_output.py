"""What can be refused about an output before compute starts."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from kineograph.errors import RequestError
from kineograph.media.output import check_output
from kineograph.outputs import infer_format


@pytest.mark.parametrize(
    ("path", "format", "expected"),
    [
        ("a.mp4", None, "mp4"),
        ("A.MP4", None, "mp4"),
        ("a.b.webm", None, "webm"),
        ("a.gif", "gif", "gif"),
        ("frames/", None, "png"),
        ("frames", "png", "png"),
        ("v1.5", "png", "png"),
        ("a.png", None, "image"),
        ("A.PNG", "image", "image"),
        ("a.png/", None, "png"),
        ("v1.image", "png", "png"),
    ],
)
def test_format_is_what_the_path_says(path, format, expected):
    assert infer_format(path, format) == expected


@pytest.mark.parametrize(
    ("path", "format", "reason"),
    [
        ("a.avi", None, r"'a.avi'.*\.mp4, \.webm, \.gif"),
        ("a", None, r"\.mp4, \.webm, \.gif, in \.png for one picture, or in / for a folder"),
        ("a.jpg", "image", r"'a.jpg'.*in \.png for one picture"),
        ("a.image", None, r"'a.image'"),
        ("a.png", "png", "is image, but the format is png"),
        ("a.png", "mp4", "is image, but the format is mp4"),
        ("a.mp4", "webm", "is mp4, but the format is webm"),
        ("a.mp4", "png", "is mp4, but the format is png"),
        ("frames/", "mp4", "is png, but the format is mp4"),
        ("a.mp4", "mov", "'mov'; allowed: mp4, webm, gif, png, image"),
        (".mp4", None, r"'.mp4'"),
    ],
)
def test_a_format_that_cannot_be_told_is_refused(path, format, reason):
    with pytest.raises(RequestError, match=reason):
        infer_format(path, format)


def test_an_output_that_can_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"old")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert check_output(tmp_path / "a.mp4", num_frames=25, height=180, width=320, fps=10) == "mp4"
    assert check_output(tmp_path / "old.mp4") == "mp4"
    assert check_output(f"{tmp_path}/empty/") == "png"
    assert check_output(tmp_path / "new", "png") == "png"
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "old.mp4").read_bytes() == b"old"


def test_folders_in_the_way_are_refused(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    (tmp_path / "b.png").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "keep.txt").touch()
    (tmp_path / "file").touch()
    for path, format, reason in (
        (tmp_path / "a.mp4", None, "it is a folder"),
        (tmp_path / "none" / "a.mp4", None, f"no folder {tmp_path / 'none'}"),
        (tmp_path / "file" / "a.mp4", None, "not a folder"),
        (tmp_path / "full", "png", "not empty"),
        (tmp_path / "file", "png", "a file has the name"),
        (tmp_path / "b.png", None, "it is a folder"),
        (tmp_path / ("x" * 300 + ".mp4"), None, "too long"),
    ):
        with pytest.raises(RequestError, match=reason):
            check_output(path, format)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_refused():
    with pytest.raises(RequestError, match=r"cannot write /proc/a\.mp4"):
        check_output("/proc/a.mp4")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("a.mp4", {"height": 181}, "height is 181; mp4 needs it even"),
        ("a.webm", {"width": 3}, "width is 3"),
        ("a.gif", {"width": 0}, "1 to"),
        ("a.mp4", {"width": 100_000}, "1 to"),
        ("a.mp4", {"fps": 0}, "fps is 0"),
        ("a.mp4", {"fps": float("nan")}, "fps is nan"),
        ("a.gif", {"fps": 60}, "1 to 50"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, values, reason):
    with pytest.raises(RequestError, match=reason):
        check_output(tmp_path / name, **values)


def test_gif_and_png_take_odd_sizes(tmp_path):
    assert check_output(tmp_path / "a.gif", height=3, width=5) == "gif"
    assert check_output(tmp_path / "a", "png", height=3, width=5) == "png"
    assert check_output(tmp_path / "a.png", height=3, width=5) == "image"


def test_a_disk_too_full_for_the_clip_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**8, 10**8))
    size = {"height": 720, "width": 1280}
    assert check_output(tmp_path / "a.mp4", num_frames=150, **size) == "mp4"
    with pytest.raises(RequestError, match="415 MB are needed, 100 MB are free"):
        check_output(tmp_path / "a", "png", num_frames=150, **size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    with pytest.raises(RequestError, match="0 MB are free"):
        check_output(tmp_path / "a.mp4")
