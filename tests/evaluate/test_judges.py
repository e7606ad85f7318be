from collections import Counter

import numpy as np
import pytest
import torch

from kineograph.errors import KineographError, RequestError, WeightsError
from kineograph.evaluate.judges import (
    GATE,
    MIRRORED_MOVES,
    MOTION_CLASSES,
    TIMES,
    Judges,
    cut_crops,
    default_path,
    judged,
    load_judges,
    save_judges,
    true_reading,
    trusted,
)
from kineograph.evaluate.measure import fit_bounce, true_view
from kineograph.evaluate.pool import JUDGE_SEED, TEST_SEED, judge_scene
from kineograph.evaluate.training import compare
from kineograph.world.draw import draw_scene
from kineograph.world.render import render
from kineograph.world.scene import CAMERA_MOVES

GOOD = {"colour": {"right": 96, "n": 100}}
# The gate keeps judges that read too little out of the package; then there is nothing to test.
needs_judges = pytest.mark.skipif(
    not default_path().exists(), reason="no judges of this world have passed the gate yet"
)


@pytest.fixture(scope="module")
def judges():
    return load_judges()[0]


@needs_judges
def test_the_shipped_judges_read_true_renders(judges):
    scenes = [judge_scene(TEST_SEED + (1 << 20) + i, twins=False) for i in range(48)]
    video, _ = render(scenes, TIMES, 64, 64)
    right, total = Counter(), Counter()
    clips = video.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    for scene, reading in zip(scenes, judges.read(clips), strict=True):
        for name, rights in compare(scene, reading).items():
            right[name] += sum(rights)
            total[name] += len(rights)
    # a judge at the gate falls two deviations below it in one such sample of fifty
    least = {n: GATE * k - 2 * (k * GATE * (1 - GATE)) ** 0.5 for n, k in total.items()}
    good = trusted(load_judges()[1])
    assert {n: (right[n], total[n]) for n in good if right[n] < least[n]} == {}


@needs_judges
def test_the_shipped_judges_passed_the_gate_on_many_renders():
    _, on_truth = load_judges()
    assert set(on_truth) == {"count", "floor", "sky", "camera", "colour", "shape", "motion"}
    assert all(row["n"] >= 500 for row in on_truth.values())


@needs_judges
def test_the_shipped_judges_are_small():
    assert default_path().stat().st_size < 2.5e6


@needs_judges
def test_a_fall_is_measured_in_a_render(judges):
    seed = TEST_SEED + (1 << 21)
    while True:
        scene = draw_scene(seed, count=1)
        if scene.objects[0].motion == "fall" and scene.camera.move == "static":
            break
        seed += 1
    video, _ = render([scene], np.arange(25) / 10, 64, 64)
    frames = video[0].permute(0, 3, 1, 2).float() / 127.5 - 1
    rows = judges.rows(frames, scene.objects[0].colour)
    found = fit_bounce(true_view(scene).heights(rows, 64), 10.0)
    assert found.gravity == pytest.approx(9.8, rel=0.1)


def test_judges_below_the_gate_are_not_trusted_and_none_is_no_judge(tmp_path):
    path = tmp_path / "judges.safetensors"
    bad = {"camera": {"right": 94, "n": 100}}
    assert trusted(GOOD | bad) == {"colour"}
    save_judges(path, Judges(), bad)
    with pytest.raises(KineographError, match=r"no judge reads 95% .*camera 94.0%"):
        load_judges(path)


def test_judges_come_back_as_they_were_stored(tmp_path):
    path = tmp_path / "judges.safetensors"
    mine = Judges()
    save_judges(path, mine, GOOD)
    loaded, on_truth = load_judges(path)
    assert on_truth == GOOD
    state = loaded.state_dict()
    assert all(
        torch.equal(state[name], t.half().float() if t.ndim > 1 else t)
        for name, t in mine.state_dict().items()
    )
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_judges_of_another_world_are_refused(tmp_path):
    path = tmp_path / "judges.safetensors"
    save_judges(path, Judges(), GOOD, {"world_version": "999"})
    with pytest.raises(WeightsError, match="they know world 999, not"):
        load_judges(path)


@pytest.mark.parametrize("content", [b"", b"not weights at all, but long enough to be read"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "judges.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="holds no judges"):
        load_judges(path)
    with pytest.raises(WeightsError, match="are missing"):
        load_judges(tmp_path / "none.safetensors")


def test_a_clip_and_its_mirror_image_are_read_alike():
    torch.manual_seed(0)
    judges = Judges().eval()
    clips = torch.rand(6, 13, 3, 64, 64) * 2 - 1
    for clip, other in zip(judges.read(clips), judges.read(clips.flip(-1)), strict=True):
        move = CAMERA_MOVES[MIRRORED_MOVES[CAMERA_MOVES.index(clip.camera)]]
        assert (other.camera, other.count, other.floor) == (move, clip.count, clip.floor)


def test_frames_are_taken_in_time_and_averaged_over_area():
    video = np.zeros((49, 256, 256, 3), np.uint8)
    video[8, ::2] = 255  # at 20 fps, 0.4 s
    x = judged(video, 20)
    assert x.shape == (13, 3, 64, 64)
    assert x[2].mean() == pytest.approx(0.0, abs=1e-6)
    assert (x[[0, 1, 3]] == -1).all()


@pytest.mark.parametrize("shape", [(25, 48, 80, 3), (25, 32, 32, 3), (24, 64, 64, 3)])
def test_clips_that_cannot_be_judged_are_refused(shape):
    with pytest.raises(RequestError, match="cannot be judged"):
        judged(np.zeros(shape, np.uint8), 10)


def test_crops_are_centred_on_their_object():
    masks = torch.zeros(2, 64, 64)
    masks[0, 10:18, 30:38] = 1
    masks[1, 60:64, 0:4] = 1  # in a corner
    crops = cut_crops(torch.rand(2, 3, 64, 64), masks)
    assert crops.shape == (2, 4, 32, 32)
    line = torch.arange(32) - 15.5
    for crop in crops[:1]:
        total = crop[3].sum()
        assert abs((crop[3].sum(0) @ line) / total) < 0.2
        assert abs((crop[3].sum(1) @ line) / total) < 0.2
    assert crops[0, 3].mean() == pytest.approx(1 / 9, rel=0.1)  # sides thrice the object's
    assert torch.isfinite(crops).all()


def test_colours_are_told_apart_by_pixels():
    class Painted(Judges):
        def segment(self, frames):
            seen = torch.zeros(len(frames), 64, 64, dtype=torch.uint8)
            seen[:, 10:20, 10:20] = 1  # red, the larger
            seen[:, 40:45, 40:44] = 6  # blue
            seen[0, 0, 0] = 9  # a speckle
            return seen

    (reading,) = Painted().eval().read(torch.zeros(1, 13, 3, 64, 64))
    assert [(o.colour, o.area) for o in reading.objects] == [("red", 100.0), ("blue", 20.0)]


def test_something_is_read_where_nothing_is_seen():
    class Blind(Judges):
        def segment(self, frames):
            return torch.zeros(len(frames), 64, 64, dtype=torch.uint8)

    (reading,) = Blind().eval().read(torch.zeros(1, 13, 3, 64, 64))
    assert len(reading.objects) == 1


def test_every_motion_of_the_world_has_a_class():
    scenes = [judge_scene(JUDGE_SEED + i) for i in range(120)]
    seen = {o.motion for s in scenes for o in true_reading(s).objects}
    assert seen == set(MOTION_CLASSES)
