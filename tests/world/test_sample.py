"""Samples of the world are complete on disk, go on where they stopped, and refuse nonsense."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from kineograph.errors import RequestError
from kineograph.media.video import read_video
from kineograph.world import sample
from kineograph.world.draw import CLIP_TIMES
from kineograph.world.sample import truth, write_samples, write_sheet
from kineograph.world.scene import scene_from_dict


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Clips of three frames: every frame costs."""
    monkeypatch.setattr(sample, "CLIP_TIMES", CLIP_TIMES[:3])
    monkeypatch.setattr(sample, "SHEET_COLUMNS", 2)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_samples_are_clips_captions_and_truth(tmp_path):
    seen = []
    write_samples(
        tmp_path / "out", count=2, seed=3, aspect_ratio="16:9", scale=1,
        on_progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} == {
        "00000.mp4", "00000.json", "00001.mp4", "00001.json", "captions.jsonl"
    }  # fmt: skip
    assert seen == [(1, 2), (2, 2)]
    captions = lines(out / "captions.jsonl")
    assert [row["clip"] for row in captions] == ["00000.mp4", "00001.mp4"]
    for row in captions:
        frames = list(read_video(out / row["clip"]))
        assert (len(frames), frames[0].shape) == (3, (48, 80, 3))
        data = json.loads((out / row["clip"]).with_suffix(".json").read_text(encoding="utf-8"))
        assert data["captions"] == {"en": row["en"], "zh": row["zh"]}
        assert row["en"].isascii() and not row["zh"].isascii()
        scene = scene_from_dict(data["scene"])
        assert scene.aspect_ratio == "16:9"
        assert {k: v for k, v in data.items() if k != "captions"} == json.loads(
            json.dumps(truth(scene))
        )


def test_truth_says_everything_in_plain_json():
    scene = sample.draw_scene(3, count=2)
    data = json.loads(json.dumps(truth(scene)))
    assert set(data) == {
        "world_version", "scene", "split", "times", "gravity", "camera", "objects"
    }  # fmt: skip
    assert set(data["camera"]) == {"rate", "position", "forward", "right"}
    assert (data["split"], data["gravity"], len(data["objects"])) == ("train", 9.8, 2)
    for obj in data["objects"]:
        assert {"radius", "position", "screen", "pixels_per_metre", "yaw", "roll"} <= set(obj)
        assert np.shape(obj["position"]) == (3, 3)
        assert np.shape(obj["screen"]) == (3, 2)
    assert scene_from_dict(data["scene"]) == scene


def test_a_stopped_run_goes_on_and_keeps_what_is_there(tmp_path):
    write_samples(tmp_path, count=2, scale=1)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    text = (tmp_path / "captions.jsonl").read_text()
    # As an interrupt leaves it: a clip without its truth.
    (tmp_path / "00001.json").unlink()
    write_samples(tmp_path, count=3, scale=1)
    after = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert {k for k, t in before.items() if after[k] == t} == {"00000.mp4", "00000.json"}
    assert {"00001.json", "00002.mp4", "00002.json"} <= set(after)
    assert (tmp_path / "captions.jsonl").read_text().startswith(text)


def test_other_clips_are_not_taken_for_these(tmp_path):
    write_samples(tmp_path, count=1, scale=1)
    kept = (tmp_path / "captions.jsonl").read_text()
    with pytest.raises(RequestError, match=r"00000.*another"):
        write_samples(tmp_path, count=1, seed=5, scale=1)
    assert (tmp_path / "captions.jsonl").read_text() == kept


def test_a_sheet_shows_every_scene_with_its_caption(tmp_path):
    path = tmp_path / "sheet.png"
    write_sheet(path, count=2, scale=1)
    with Image.open(path) as picture:
        rows = picture.text["Description"].splitlines()
        assert np.asarray(picture.convert("RGB")).std() > 5
        assert picture.width > 2 * 64
    assert len(rows) == 2
    assert rows[0].isascii() and not rows[1].isascii()
    write_sheet(tmp_path / "again.png", count=2, scale=1)
    assert (tmp_path / "again.png").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"aspect_ratio": "2:1"}, ["'2:1'", "21:9"]),
        ({"scale": 0}, ["0", "1", "16"]),
        ({"scale": 17}, ["17", "1", "16"]),
        ({"count": 0}, ["count 0", "1 or more"]),
        ({"seed": -1}, ["seed -1", "0 or more"]),
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(tmp_path, settings, said):
    for write, path in ((write_samples, tmp_path / "out"), (write_sheet, tmp_path / "s.png")):
        with pytest.raises(RequestError) as refused:
            write(path, **{"count": 1, **settings})
        assert all(part in str(refused.value) for part in said)
    assert not list(tmp_path.iterdir())
