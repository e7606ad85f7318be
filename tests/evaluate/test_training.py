import random

import pytest
import torch

from kineograph.errors import KineographError
from kineograph.evaluate.judges import MOTION_CLASSES
from kineograph.evaluate.pool import (
    fingerprint,
    has_twins,
    judge_scene,
    make_pool,
    true_colours,
)
from kineograph.evaluate.soften import soften
from kineograph.evaluate.training import (
    MIRRORED_MOTIONS,
    MIRRORED_MOVES,
    JudgeRecipe,
    Trainer,
    train,
)
from kineograph.world import physics
from kineograph.world.draw import draw_scene
from kineograph.world.scene import CAMERA_MOVES, COLOURS
from kineograph.world.splits import split_of

TOY = JudgeRecipe(
    clips=2, pixel_steps=1, crop_steps=1, scene_steps=1, motion_steps=1, test_clips=1,
    vae_clips=0, compiled=False,
)  # fmt: skip


def test_an_untrained_judge_is_not_written(tmp_path):
    with pytest.raises(KineographError, match="true renders right"):
        train(TOY, tmp_path / "work", tmp_path / "judges.safetensors", None)
    assert not (tmp_path / "judges.safetensors").exists()
    assert {p.name for p in (tmp_path / "work").glob("*.pt")} == {
        "pixel.pt", "crop.pt", "scene.pt", "motion.pt",
    }  # fmt: skip


def test_training_goes_on_from_what_is_there_and_repeats(tmp_path):
    pool = make_pool(tmp_path, 2, None, 0, lambda line: None, compiled=False)
    states = []
    for name in ("a", "b", "b"):  # the second "b" takes its networks up from files
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        again = make_pool(tmp_path, 2, None, 0, lambda line: None, compiled=False)
        states.append(Trainer(TOY, again, folder, lambda line: None).run().state_dict())
    assert len(pool.frames) == 2
    for other in states[1:]:
        assert all(torch.equal(states[0][k], other[k]) for k in other)


def test_colours_are_painted_where_objects_are():
    scene = draw_scene(1, count=2)
    ids = torch.tensor([0, 1, 2, 0], dtype=torch.uint8).view(1, 1, 2, 2)
    painted = true_colours(ids, [scene]).flatten().tolist()
    first, second = (1 + COLOURS.index(o.colour) for o in scene.objects)
    assert painted == [0, first, second, 0]


def test_judges_see_every_split_and_some_twins():
    scenes = [judge_scene((1 << 44) + i) for i in range(150)]
    assert {split_of(s) for s in scenes} == {"train", "pair", "triple"}
    assert 0.02 < sum(map(has_twins, scenes)) / len(scenes) < 0.15
    assert not any(has_twins(judge_scene((1 << 44) + i, twins=False)) for i in range(150))
    assert judge_scene(5) == judge_scene(5)


def test_a_mirror_swaps_left_and_right_alone():
    for names, mirrored in ((CAMERA_MOVES, MIRRORED_MOVES), (MOTION_CLASSES, MIRRORED_MOTIONS)):
        for name, other in zip(names, mirrored.tolist(), strict=True):
            swapped = name.replace("left", "x").replace("right", "left").replace("x", "right")
            assert names[other] == swapped


def test_softening_changes_pictures_a_little_and_repeats():
    clips = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    clips = torch.nn.functional.avg_pool3d(clips, (1, 9, 9), 1, (0, 4, 4))
    changed = []
    for seed in range(12):
        out = [
            soften(clips, random.Random(seed), torch.Generator().manual_seed(seed)) for _ in "ab"
        ]
        assert torch.equal(*out)
        assert out[0].shape == clips.shape and out[0].abs().max() <= 1
        changed.append(float((out[0] - clips).square().mean().sqrt()))
    assert max(changed) > 0.03
    assert max(changed) < 0.2


def test_a_fingerprint_is_that_of_what_is_rendered(monkeypatch):
    scenes = [draw_scene(i, count=1) for i in range(3)]
    mark = fingerprint(scenes)
    assert mark == fingerprint(scenes)
    assert mark != fingerprint(scenes[:2])
    monkeypatch.setitem(physics.RADIUS, "small", 0.2)
    monkeypatch.setitem(physics.RADIUS, "medium", 0.3)
    monkeypatch.setitem(physics.RADIUS, "large", 0.4)
    assert mark != fingerprint(scenes)  # the same words, another world
