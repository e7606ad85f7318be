from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kineograph import __version__
from kineograph.errors import RequestError
from kineograph.presets import NANO
from kineograph.request import GenerationRequest, ResolvedRequest
from kineograph.resolving import resolve
from kineograph.sidecar import (
    MAX_SIDECAR_BYTES,
    Sidecar,
    read_sidecar,
    request_from_sidecar,
    sidecar_path,
    write_sidecar,
)
from kineograph.spec import InterpolatorConfig


def resolved(**changes: object) -> ResolvedRequest:
    return resolve(replace(GenerationRequest("a red ball"), **changes), NANO, new_seed=lambda: 7)


def test_a_sidecar_makes_the_same_request_again_beside_it(tmp_path):
    made = resolved(output=str(tmp_path / "ball.webm"))
    path = sidecar_path(made)
    assert path == tmp_path / "ball.json"
    sidecar = Sidecar(made, {"denoise": 1.5}, {"dit.safetensors": "ab"}, ["unknown word: 龙"])
    write_sidecar(path, sidecar)
    assert read_sidecar(path) == sidecar
    assert json.loads(path.read_text())["kineograph"] == __version__
    assert [entry.name for entry in tmp_path.iterdir()] == ["ball.json"]

    again = resolve(request_from_sidecar(path), NANO)
    assert again == replace(made, output=str(tmp_path / "ball-again.webm"))


def test_the_ways_in_are_made_again_too(tmp_path):
    entries = ("a.png@1", "b.png@1.5")
    made = resolved(output=str(tmp_path / "ball.mp4"), keyframes=entries, before="c.mp4")
    path = sidecar_path(made)
    write_sidecar(path, Sidecar(made, {}, {}, []))
    assert read_sidecar(path).request == made
    assert resolve(request_from_sidecar(path), NANO).keyframes == entries


def test_the_rate_that_is_delivered_is_made_again_and_may_be_missing_in_an_old_record(tmp_path):
    path = tmp_path / "ball.json"
    spec = replace(NANO, interpolator=InterpolatorConfig())
    for asked, delivered in ((None, 20), (20, 20), (10, 10)):
        made = resolve(GenerationRequest("a red ball", fps=asked, seed=7), spec)
        assert (made.fps, made.out_fps, made.delivered_fps) == (10, delivered, delivered)
        write_sidecar(path, Sidecar(made, {}, {}, []))
        again = resolve(request_from_sidecar(path), spec)
        assert again == replace(made, output=str(tmp_path / "a-red-ball-again.mp4"))
    data = json.loads(path.read_text())
    del data["request"]["out_fps"]
    path.write_text(json.dumps(data))
    old = read_sidecar(path).request
    assert (old.out_fps, old.delivered_fps, old.delivered(25)) == (None, 10, 25)
    assert resolve(request_from_sidecar(path), spec).delivered_fps == 10


def test_a_picture_has_its_sidecar_beside_it():
    assert sidecar_path(resolved(output="a/v1.5.png", num_frames=1)) == Path("a/v1.5.json")


def test_a_folder_of_pictures_has_its_sidecar_beside_it():
    assert sidecar_path(resolved(output="a/v1.5/")) == Path("a/v1.5.json")


def test_a_failed_write_leaves_the_old_sidecar_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "ball.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_sidecar(path, Sidecar(resolved(), {}, {}, []))
    assert [entry.name for entry in tmp_path.iterdir()] == ["ball.json"]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"kineograph": "0", "request": {"prompt": "x"}, "timings": {}, "weights": {}, '
        b'"warnings": []}',
        b" " * (MAX_SIDECAR_BYTES + 1),
    ],
)
def test_a_file_that_is_no_sidecar_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"bad\.json is not a sidecar") as refusal:
        read_sidecar(path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(FileNotFoundError):
        read_sidecar(tmp_path / "none.json")
