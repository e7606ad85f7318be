"""Anybody's videos: found by id, read at the world's instants, wrong where they are missing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate import sources, videos
from kineograph.evaluate.judges import Judges, save_judges
from kineograph.evaluate.prompts import suite_entries, write_suite
from kineograph.evaluate.run import score
from kineograph.evaluate.scoring import JUDGES
from kineograph.evaluate.suites import SUITES
from kineograph.evaluate.videos import find_videos, read_clip
from kineograph.media.video import open_writer
from kineograph.world.draw import CLIP_TIMES
from kineograph.world.render import render


@pytest.fixture(scope="module")
def judges_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("judges") / "judges.safetensors"
    save_judges(path, Judges(), {name: {"right": 99, "n": 100} for name in JUDGES})
    return path


def film(path, frames, fps=10):
    with open_writer(path, fps, frames.shape[2], frames.shape[1]) as writer:
        writer.write(frames)
    return path


def flat(levels, side=64, width=None):
    """Frames of one grey each."""
    grey = np.array(levels, np.uint8)[:, None, None, None]
    return np.broadcast_to(grey, (len(levels), side, width or side, 3))


@pytest.mark.parametrize(
    ("name", "fps", "side"),
    [
        ("a.mp4", 10, 64),
        ("a.webm", 24, 128),
        ("a.gif", 20, 100),
        ("a.mp4", 30, 256),
        ("a.mp4", 8, 64),
    ],
)
def test_any_size_and_rate_is_read_at_the_worlds_instants(tmp_path, name, fps, side):
    count = round(2.4 * fps) + 3
    path = film(tmp_path / name, flat([20 + 3 * k for k in range(count)], side), fps)
    clip = read_clip(path)
    assert (clip.shape, clip.dtype) == ((25, 64, 64, 3), np.uint8)
    wanted = 20 + 3 * np.round(CLIP_TIMES * fps)
    assert np.abs(clip.mean((1, 2, 3)) - wanted).max() < 3


def test_a_clip_of_the_world_is_read_as_it_was_drawn(tmp_path):
    scene = suite_entries(SUITES["single"], 1)[0].prompt.scene
    video, _ = render([scene], CLIP_TIMES, 64, 64)
    clip = read_clip(film(tmp_path / "a.mp4", video[0].numpy()))
    assert np.abs(clip.astype(int) - video[0].numpy()).mean() < 3
    large, _ = render([scene], CLIP_TIMES, 192, 192, scale=3)
    clip = read_clip(film(tmp_path / "b.mp4", large[0].numpy()))
    assert np.abs(clip.astype(int) - video[0].numpy()).mean() < 4


@pytest.mark.parametrize(
    ("frames", "fps", "said"),
    [
        (flat([9] * 24), 10, "24 frames at 10 fps cannot be judged; 2.4 s"),
        (flat([9] * 25), 24, "25 frames at 24 fps"),
        (flat([9] * 25, 48), 10, "48x48"),
        (flat([9] * 25, 64, 96), 10, "96x64"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, frames, fps, said):
    with pytest.raises(RequestError, match=said):
        read_clip(film(tmp_path / "a.mp4", frames, fps))


def test_videos_are_found_by_the_ids_of_their_prompts(tmp_path):
    entries = suite_entries(SUITES["single"], 4)
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(RequestError, match=r"not a folder|no video .* single-0000\.mp4"):
            find_videos(folder, [e.id for e in entries])
    for name in ("single-0000.mp4", "single-0001.webm", "single-0002.gif", "other.mp4"):
        (tmp_path / name).touch()
    found = find_videos(tmp_path, [e.id for e in entries])
    assert {k: v and v.name for k, v in found.items()} == {
        "single-0000": "single-0000.mp4",
        "single-0001": "single-0001.webm",
        "single-0002": "single-0002.gif",
        "single-0003": None,
    }
    (tmp_path / "single-0001.mp4").touch()
    with pytest.raises(RequestError, match=r"single-0001\.mp4 and single-0001\.webm"):
        find_videos(tmp_path, [e.id for e in entries])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A folder with prompts and their videos: the truth itself, but one is missing, two are bad."""
    root = tmp_path_factory.mktemp("filmed")
    write_suite(root / "suite", prompts=6, suite="physics", side=64)
    folder = root / "My model"
    folder.mkdir()
    for entry in suite_entries(SUITES["physics"], 6):
        video, _ = render([entry.prompt.scene], CLIP_TIMES, 64, 64)
        film(folder / f"{entry.id}.mp4", video[0].numpy())
    (folder / "physics-0001.mp4").unlink()
    (folder / "physics-0003.mp4").write_bytes(b"no video")
    film(folder / "physics-0004.mp4", flat([9] * 20))
    return root


@pytest.fixture
def shown(filmed, tmp_path):
    """The folder of videos, and the file of their prompts; a test's own."""
    root = shutil.copytree(filmed, tmp_path / "shown")
    return root / "My model", root / "suite" / "prompts.jsonl"


def test_a_folder_is_scored_and_what_is_missing_counts_as_wrong(
    shown, tmp_path, judges_path, monkeypatch, capsys
):
    folder, prompts = shown
    out = tmp_path / "report"

    def run():
        return score(folder, prompts, None, out, judges_path=judges_path, compiled=False)

    report = run()
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report))
    assert report["model"] == "My model"
    assert report["faults"] == {
        "physics-0001": "there is no such video",
        "physics-0003": report["faults"]["physics-0003"],
        "physics-0004": "20 frames at 10 fps cannot be judged; 2.4 s are needed",
    }
    assert "not a video we know" in report["faults"]["physics-0003"]
    suite = report["suites"]["physics"]
    assert set(suite["rows"]["motion"]) == {"truth", "model", "shuffled", "constant"}
    assert all(row["model"]["n"] == row["truth"]["n"] for row in suite["rows"].values())
    rows = json.loads((out / "physics.json").read_text())
    for k in (1, 3, 4):
        assert rows[k]["model"]["objects"] == [] and rows[k]["model"]["count"] == 0
    assert set(suite["area"]) == {"model"}
    assert set(suite["physics"]) >= {"truth", "model", "shuffled"}
    page = (out / "report.html").read_text()
    assert "Of 6, 3 are missing or cannot be judged" in page and "physics-0003" in page
    assert "through VAE</th>" not in page
    assert "physics-0003" in capsys.readouterr().out

    def refuse(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(videos, "read_clip", refuse)
    monkeypatch.setattr(sources, "render", refuse)
    assert run() == report


def test_nothing_seen_is_right_in_no_row(shown, tmp_path, judges_path):
    folder, prompts = shown
    for path in folder.iterdir():
        path.write_bytes(b"no video")
    report = score(folder, prompts, None, tmp_path / "r", judges_path=judges_path, compiled=False)
    rows = report["suites"]["physics"]["rows"]
    assert {row[c]["right"] for row in rows.values() for c in ("model", "shuffled")} == {0}
    assert len(report["faults"]) == 6


def test_another_video_is_read_anew(shown, tmp_path, judges_path):
    folder, prompts = shown
    out = tmp_path / "report"

    def faults():
        report = score(folder, prompts, None, out, judges_path=judges_path, compiled=False)
        return set(report["faults"])

    assert faults() == {"physics-0001", "physics-0003", "physics-0004"}
    film(folder / "physics-0001.mp4", flat([9] * 25))
    assert faults() == {"physics-0003", "physics-0004"}


def test_bad_requests_are_refused_in_one_line_before_anything_is_written(
    shown, tmp_path, judges_path
):
    folder, prompts = shown
    out = tmp_path / "report"
    for settings, said in (
        ((folder, prompts, "no", out), "unknown suite 'no'"),
        ((folder, prompts, "two", out), "holds no prompt of suite two"),
        ((tmp_path / "none", prompts, None, out), "not a folder"),
        ((tmp_path, prompts, None, out), "holds no video"),
    ):
        with pytest.raises(RequestError, match=said):
            score(*settings, judges_path=judges_path)
    with pytest.raises(FileNotFoundError):
        score(folder, tmp_path / "none", None, out, judges_path=judges_path)
    assert not out.exists()
