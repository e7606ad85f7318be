"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os

import pytest

from kineograph.errors import RequestError
from kineograph.media.files import PendingFile, atomic_write, write_json


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_json_is_readable_utf8_and_ends_in_a_newline(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": "红球", "a": [1, None]})
    text = path.read_text(encoding="utf-8")
    assert "红球" in text
    assert text.index('"b"') < text.index('"a"')
    assert text.endswith("}\n")
    assert json.loads(text) == {"b": "红球", "a": [1, None]}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("bad", "error"), [({"a": float("nan")}, ValueError), ({"a": {1}}, TypeError)]
)
def test_what_json_cannot_say_leaves_the_old_file(tmp_path, bad, error):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(error):
        write_json(path, bad)
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_leaves_the_old_content_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"half of the new")
        raise error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_full_disk_is_one_line_that_names_path_and_reason(tmp_path):
    path = tmp_path / "a.bin"
    refused = pytest.raises(RequestError, match=rf"{path}: No space left")
    with refused as caught, atomic_write(path):
        raise OSError(28, "No space left on device")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_the_new_file_has_ordinary_permissions(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "a.json")
    write_json(link, [1])
    assert link.is_symlink()
    assert json.loads((tmp_path / "real" / "a.json").read_text()) == [1]


def test_the_longest_name_that_the_system_allows_works(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    write_json(path, 1)
    assert path.read_text() == "1\n"


def make_loop(folder):
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def make_pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def make_below_file(folder):
    (folder / "file").touch()
    return folder / "file" / "a.json"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda f: f / "none" / "a.json", "no folder"),
        (lambda f: f, "it is a folder"),
        (lambda f: "", "not a file name"),
        (lambda f: "a\0b", "not a file name"),
        (lambda f: f / ("x" * 300), "too long"),
        (make_below_file, "not a folder"),
        (make_pipe, "neither a file nor a folder"),
        (make_loop, "loop|symbolic"),
    ],
)
def test_paths_that_cannot_be_written_are_refused(tmp_path, make, reason):
    path = make(tmp_path)
    before = names(tmp_path)
    with pytest.raises(RequestError, match=reason):
        write_json(path, 1)
    assert names(tmp_path) == before


def test_a_device_is_never_replaced():
    with pytest.raises(RequestError, match="neither a file nor a folder"):
        PendingFile(os.devnull)


def test_a_pending_folder_is_discarded_with_all_in_it(tmp_path):
    pending = PendingFile(tmp_path / "frames")
    pending.temporary.mkdir()
    (pending.temporary / "00000.png").touch()
    pending.discard()
    assert names(tmp_path) == []
