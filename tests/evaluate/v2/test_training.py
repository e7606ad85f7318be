"""Training of the second world's judges, in steps of one."""

import shutil
from dataclasses import replace

import pytest
import torch

from kineograph.errors import RequestError, WeightsError
from kineograph.evaluate.v2.files import load_judges
from kineograph.evaluate.v2.judges import CROP_HEADS, MOTION_HEADS, scene_view
from kineograph.evaluate.v2.pool import make_shard, read_shard
from kineograph.evaluate.v2.seen import COLOURLESS_CLASS, FRAMES
from kineograph.evaluate.v2.training import NETWORKS, JudgeRecipe, _shams, _things, train
from kineograph.world.styles import COLOURLESS

TOY = JudgeRecipe(
    clips=4, pixel_steps=1, crop_steps=1, scene_steps=1, frame_steps=1, motion_steps=1,
    test_clips=1,
)  # fmt: skip


def test_judges_are_trained_measured_and_written_even_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr("kineograph.evaluate.v2.pool.SHARD", 4)
    # That a shard is known again is tested with the pool; here it would be a render each time.
    monkeypatch.setattr("kineograph.evaluate.v2.pool._fingerprint", lambda seed, ratio: "known")
    out = tmp_path / "judges.safetensors"
    for name in ("pixel", "crop", "scene", "frame", "motion"):
        train(TOY, tmp_path / "work", out, name)
        assert not out.exists()
        assert (tmp_path / "work" / f"{name}.pt").exists()
    train(TOY, tmp_path / "work", out)
    _, on_truth = load_judges(out)
    assert set(on_truth) == {"photo", "coloured", "colourless"}
    assert all(row["n"] for rows in on_truth.values() for row in rows.values())
    # from a file, and in steps of none, the networks stay what they were
    still = replace(TOY, pixel_steps=0)
    shutil.copytree(tmp_path / "work", tmp_path / "again", ignore=shutil.ignore_patterns("*.pt"))
    train(still, tmp_path / "again", tmp_path / "b.safetensors", "pixel", out)
    kept = torch.load(tmp_path / "again" / "pixel.pt", weights_only=True)
    first = load_judges(out)[0].pixel.state_dict()
    assert all(torch.equal(kept[k], first[k]) for k in first)
    # what is kept is not trained, what is not is
    shutil.rmtree(tmp_path / "again")
    (tmp_path / "again").mkdir()
    kinds = [name for name in NETWORKS if name != "frame"]
    train(TOY, tmp_path / "again", tmp_path / "b.safetensors", None, out, kinds)
    files = (out, tmp_path / "b.safetensors")
    before, after = (dict(load_judges(path)[0].named_children()) for path in files)
    for name in NETWORKS:
        pairs = zip(before[name].parameters(), after[name].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == (name in kinds)
    with pytest.raises(RequestError, match="keep pixel says nothing without start"):
        train(TOY, tmp_path / "again", out, keep=["pixel"])


def test_a_file_to_start_from_is_looked_at_before_anything_is_rendered(tmp_path):
    with pytest.raises(WeightsError, match="are missing"):
        train(TOY, tmp_path / "work", tmp_path / "a", start=tmp_path / "none.safetensors")
    assert not list((tmp_path / "work").iterdir())


def test_colours_that_no_object_has_are_shams(tmp_path, monkeypatch):
    monkeypatch.setattr("kineograph.evaluate.v2.pool.SHARD", 4)
    shard = read_shard(make_shard(tmp_path, 0))
    clip = next(i for i, s in enumerate(shard.scenes) if s.style not in COLOURLESS)
    known = set(shard.classes[clip].flatten().tolist())
    sham = next(k for k in range(1, COLOURLESS_CLASS) if k not in known)
    seen = torch.zeros_like(shard.owners)
    seen[clip, :, :10, :10] = sham
    seen[clip, :, 20:30, 20:30] = next(k for k in known if 0 < k < COLOURLESS_CLASS)
    rows = _shams(shard, seen)
    assert rows[:, :3].tolist() == [[clip, sham, sham]]
    real = 3 + list(CROP_HEADS).index("real")
    assert rows[0, real] == CROP_HEADS["real"].index("no")
    assert rows.shape[1] == _things(shard).shape[1] == 3 + len(CROP_HEADS) + len(MOTION_HEADS)
    assert (_things(shard)[:, real] == CROP_HEADS["real"].index("yes")).all()
    seen[clip, :, :10, :10] = 0
    assert not len(_shams(shard, seen))


def test_what_halving_loses_is_shown_beside_it():
    clips = torch.zeros(2, FRAMES, 3, 32, 48)
    clips[1, :, :, :, ::2] = 1.0  # stripes of one pixel
    view = scene_view(clips)
    assert view.shape == (2, FRAMES, 4, 16, 24)
    assert view[0, :, 3].abs().max() == 0
    assert view[1, :, 3].min() > 1
    assert (view[1, :, :3] == 0.5).all()
