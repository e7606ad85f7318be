"""Suites, prompts on disk, and an evaluation from end to end, with judges that know nothing."""

import json

import numpy as np
import pytest
import torch

from kineograph.errors import RequestError
from kineograph.evaluate.prompts import version_of
from kineograph.evaluate.v2 import run as run_module
from kineograph.evaluate.v2.clips import read_clip, true_clip
from kineograph.evaluate.v2.files import save_judges
from kineograph.evaluate.v2.judges import Judges, true_reading
from kineograph.evaluate.v2.prompts import find_entry, read_prompts, write_suite
from kineograph.evaluate.v2.run import main, score
from kineograph.evaluate.v2.suites import LAWFUL, SUITES, get_suite, make_prompts, scene_of
from kineograph.evaluate.v2.testing import OF_OBJECTS, WHOLE
from kineograph.pipeline import load
from kineograph.world.v2.clips import write_film
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.facts import facts
from kineograph.world.v2.scene import CAMERA_MOVES
from kineograph.world.v2.splits import split_of


class Knowing(Judges):
    """Judges that look up the truth, to test what is done with their answers."""

    def __init__(self, scenes):
        super().__init__()
        self.scenes = scenes

    def read(self, clips):
        return [true_reading(self.scenes.pop(0)) for _ in clips]


@pytest.fixture
def judges_path(tmp_path):
    torch.manual_seed(0)
    names = ("colour", *OF_OBJECTS, *WHOLE)
    rows = {g: {n: {"right": 99, "n": 100} for n in names} for g in ("photo", "coloured")}
    path = tmp_path / "judges.safetensors"
    save_judges(path, Judges(), rows)
    return path


@pytest.mark.parametrize(
    "name", ["single", "pair", "triple", "context", "temporal", "interpolation", "extrapolation"]
)
def test_suites_hold_out_what_they_say_and_nothing_else(name):
    suite = get_suite(name)
    for i in (0, suite.prompts - 1):
        held = split_of(scene_of(suite, i))
        assert held == (set() if suite.split is None else {suite.split})


def test_prompts_take_turns_and_state_facts_of_their_scene():
    prompts = make_prompts(get_suite("single"), 6)
    assert [p.language for p in prompts] == ["en", "zh"] * 3
    assert [p.length for p in prompts] == ["short", "short", "medium", "medium", "long", "long"]
    for prompt in prompts:
        known = facts(prompt.scene)
        assert prompt.said and all(known[n] == v for n, v in prompt.said.items())
    assert make_prompts(get_suite("single"), 3) == prompts[:3]
    moves = [find_entry("camera", i).prompt.scene.shots[0].camera.move for i in (0, 5, 6, 12)]
    assert moves == [CAMERA_MOVES[k] for k in (0, 0, 1, 2)]
    laws = [scene_of(get_suite("physics"), 4 * k).objects[0].motion for k in range(len(LAWFUL))]
    assert laws == list(LAWFUL)
    with pytest.raises(RequestError, match="single has 1 to 480 prompts, not 481"):
        make_prompts(get_suite("single"), 481)
    with pytest.raises(RequestError, match="unknown suite 'none'"):
        get_suite("none")


def test_suites_are_told_apart_by_their_seeds():
    numbers = [suite.number for suite in SUITES.values()]
    assert len(set(numbers)) == len(numbers)


def test_prompts_are_read_back_as_they_were_written(tmp_path):
    path = write_suite(tmp_path, "camera", 2, side=128)
    assert version_of(path) == 2
    entries = read_prompts(path)
    assert [e.id for e in entries] == ["camera-0000", "camera-0001"]
    assert entries == [find_entry("camera", i) for i in (0, 1)]
    line = json.loads(path.read_text().splitlines()[1])
    assert find_entry("camera", 6).to_dict()["camera"][0]["pan"] < 0  # "pan left"
    assert (tmp_path / line["first_frame"]).is_file()
    changed = {**line, "prompt": "something else"}
    path.write_text(json.dumps(changed))
    with pytest.raises(RequestError, match="line 1: prompt is something else; the suite has"):
        read_prompts(path)
    with pytest.raises(RequestError, match="size 100 is not allowed"):
        write_suite(tmp_path / "other", "camera", 1, side=100)


def test_true_videos_score_as_the_truth_does_and_bad_ones_as_wrong(
    tmp_path, monkeypatch, judges_path, capsys
):
    path = write_suite(tmp_path / "suite", "two", 3, side=128)
    entries = read_prompts(path)
    videos = tmp_path / "videos"
    videos.mkdir()
    write_film(videos / f"{entries[0].id}.mp4", play_of(entries[0].prompt.scene), 128)
    (videos / f"{entries[1].id}.mp4").write_bytes(b"no video")
    # truth and video of the first, the truth of the other two
    scenes = [entries[i].prompt.scene for i in (0, 0, 1, 2)]
    real = run_module.load_judges
    monkeypatch.setattr(
        run_module, "load_judges", lambda p: (Knowing(scenes).eval(), real(p)[1])
    )
    report = score(videos, path, None, tmp_path / "out", judges_path=judges_path)
    rows = report["suites"]["two"]["rows"]
    assert rows["count"]["truth"]["share"] == 1.0
    assert rows["count"]["model"] == {**rows["count"]["model"], "right": 1, "n": 3}
    assert set(report["faults"]) == {entries[1].id, entries[2].id}
    assert "there is no such video" in report["faults"][entries[2].id]
    page = (tmp_path / "out" / "report.html").read_text()
    assert entries[2].id in page and "two.png" in page
    assert (tmp_path / "out" / "two.png").is_file()
    # what was read is kept: nothing is judged again
    again = score(videos, path, None, tmp_path / "out", judges_path=judges_path)
    assert again["suites"] == report["suites"]
    assert not scenes
    with pytest.raises(RequestError, match="holds no prompt of suite pair"):
        score(videos, path, "pair", tmp_path / "out", judges_path=judges_path)


def test_a_video_is_read_at_its_own_rate_with_its_sound(tmp_path):
    prompt = find_entry("camera", 0).prompt
    write_film(tmp_path / "a.mp4", play_of(prompt.scene), 128, fps=24)
    clip = read_clip(tmp_path / "a.mp4", prompt.scene.seconds)
    truth = true_clip(prompt)
    assert (clip.fps, len(clip.frames)) == (24.0, 97)
    assert np.abs(clip.frames[::2].astype(int) - truth.frames).mean() < 6
    assert clip.sound is not None and clip.rate == truth.rate
    assert len(clip.sound) == pytest.approx(4 * clip.rate, rel=0.01)
    with pytest.raises(RequestError, match="97 frames at 24 fps cannot be judged; 5 s"):
        read_clip(tmp_path / "a.mp4", 5.0)


def test_a_model_that_makes_too_little_is_wrong_in_all(tmp_path, monkeypatch, judges_path):
    real = run_module.load_judges
    scenes = [find_entry("two", 0).prompt.scene] * 2
    monkeypatch.setattr(
        run_module, "load_judges", lambda p: (Knowing(scenes).eval(), real(p)[1])
    )
    report = main(load("tiny"), "two", 1, tmp_path / "out", judges_path=judges_path)
    assert report["suites"]["two"]["rows"]["count"]["model"]["right"] == 0
    assert list(report["faults"]) == ["two-0000"]
    with pytest.raises(RequestError, match="suite two has 400 prompts, not 401"):
        main(load("tiny"), "two", 401, tmp_path / "out", judges_path=judges_path)
