"""A pool of clips is a function of its recipe, however often interrupted; VAEs draw from it."""

from __future__ import annotations

import json
import math
import operator
import random
import shutil
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from kineograph.errors import RequestError
from kineograph.train import pool, vae
from kineograph.train.clips import VALIDATION_SEED
from kineograph.train.engine import train
from kineograph.train.pool import Pool, ahead, write_clips
from kineograph.train.recipe import ClipRecipe, Schedule, VaeRecipe
from kineograph.train.vae import VaeTask
from kineograph.train.world1 import FirstWorld
from kineograph.weights.folder import package_folder
from kineograph.world.draw import CLIP_TIMES
from kineograph.world.splits import is_training

WORLD = FirstWorld()
RECIPE = ClipRecipe("tiny", clips=4, shard=2, compiled=False)
VAE_RECIPE = VaeRecipe(
    "tiny", Schedule(2, log_every=1), batch=2, num_frames=5, validation_clips=1, compiled=False,
    pool=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_clips(monkeypatch):
    """Clips of five frames instead of 25."""
    monkeypatch.setattr(FirstWorld, "num_frames", 5)


def fill(folder: Path, seconds: float = math.inf, recipe: ClipRecipe = RECIPE) -> bool:
    """In this process, in which clips are short."""
    return write_clips(recipe, folder, seconds, workers=1)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "clips"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FirstWorld, "num_frames", 5)
        assert fill(folder)
    return folder


def test_a_shard_holds_the_clips_of_the_scenes_beside_them(full):
    names = {"recipe.json"}
    names |= {f"{k:04d}/{n}" for k in range(2) for n in ("frames.npy", "owners.npy", "scenes.json")}
    assert set(contents(full)) == names
    seen = []
    for shard in ("0000", "0001"):
        records = json.loads((full / shard / "scenes.json").read_text())
        scenes = [WORLD.from_dict(record) for record in records]
        assert all(is_training(s) and s.seed < VALIDATION_SEED for s in scenes)
        assert len({s.aspect_ratio for s in scenes}) == 1
        frames, owners = (np.load(full / shard / f"{n}.npy") for n in ("frames", "owners"))
        video, ids = WORLD.render(scenes, CLIP_TIMES[:5], scale=1, compiled=False)
        assert (frames.dtype, owners.dtype) == (np.uint8, np.uint8)
        assert np.array_equal(frames, video.numpy()) and np.array_equal(owners, ids.numpy())
        seen += scenes
    assert len(set(seen)) == 4


def test_the_last_shard_is_as_large_as_the_others(tmp_path):
    assert fill(tmp_path, recipe=replace(RECIPE, clips=3))
    assert [len(frames) for frames, _ in Pool(tmp_path).shards] == [2, 2]


def test_an_interrupted_pool_goes_on_shard_by_shard_to_the_same_bytes(full, tmp_path):
    folder = tmp_path / "clips"
    assert not fill(folder, seconds=0.0)
    assert {path.name for path in folder.iterdir()} == {"recipe.json", "0000"}
    stamp = (folder / "0000" / "frames.npy").stat().st_mtime_ns
    assert fill(folder, seconds=0.0)  # nothing is left after the second one
    assert fill(folder)
    assert (folder / "0000" / "frames.npy").stat().st_mtime_ns == stamp
    assert contents(folder) == contents(full)


def test_a_pool_is_of_one_recipe(full):
    kept = contents(full)
    with pytest.raises(RequestError, match="started with another recipe"):
        fill(full, recipe=replace(RECIPE, seed=9))
    assert contents(full) == kept


@pytest.mark.parametrize("fails", ["render", "save"])
def test_nothing_is_left_half_written(full, tmp_path, monkeypatch, fails):
    calls = []
    where, name = (FirstWorld, "render") if fails == "render" else (pool.np, "save")
    honest = getattr(where, name)

    def failing(*of, **settings):
        calls.append(of)
        if len(calls) == 4:  # within the second shard
            raise KeyboardInterrupt
        return honest(*of, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, failing)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.json", "0000"}
    assert fill(tmp_path)
    assert contents(tmp_path) == contents(full)


def test_a_batch_is_a_function_of_its_generator(full):
    clips = Pool(full)
    first = clips.batch(random.Random(3), 3, 2)
    again = Pool(full).batch(random.Random(3), 3, 2)
    assert all(map(torch.equal, first, again))
    others = [clips.batch(random.Random(k), 3, 2)[0] for k in range(4, 10)]
    assert any(o.shape != first[0].shape or not torch.equal(o, first[0]) for o in others)


def test_a_batch_is_cut_in_time_from_clips_of_one_ratio(full):
    clips, starts, shards = Pool(full), set(), set()
    rng = random.Random(0)
    for _ in range(20):
        video, owners = clips.batch(rng, 2, 4)
        assert video.shape[:2] == owners.shape[:2] == (2, 4)
        (found,) = {
            (number, first)
            for number, (frames, ids) in enumerate(clips.shards)
            for first in range(2)
            if frames.shape[2:] == video.shape[2:]
            and all(any(torch.equal(v, f[first : first + 4]) for f in frames) for v in video)
            and all(any(torch.equal(o, f[first : first + 4]) for f in ids) for o in owners)
        }
        shards.add(found[0])
        starts.add(found[1])
    assert shards == {0, 1} and starts == {0, 1}
    assert clips.batch(rng, 1, 5)[0].shape[1] == 5


def test_what_is_done_to_a_batch_leaves_the_pool_as_it_is(full):
    kept, clips = contents(full), Pool(full)
    clips.batch(random.Random(0), 2, 5)[0].zero_()
    clips.shards[0][0].zero_()
    assert contents(full) == kept


def test_an_empty_folder_is_no_pool(tmp_path):
    with pytest.raises(RequestError, match="holds no complete pool; run the clips stage first"):
        Pool(tmp_path)


def test_a_vae_trains_on_a_pool(full, tmp_path, monkeypatch, same_state):
    monkeypatch.delattr(vae, "draw_batch")  # nothing is drawn but for validation
    folders = [tmp_path / name for name in ("a", "b")]
    assert train(VaeTask(VAE_RECIPE, clips=full), folders[0], resume=False)
    assert (folders[0] / "vae.safetensors").exists()
    assert not train(VaeTask(VAE_RECIPE, clips=full), folders[1], resume=False, stop_after=1)
    assert train(VaeTask(VAE_RECIPE, clips=full), folders[1], resume=True)
    assert same_state(*folders)


def test_batches_of_a_pool_are_as_large_as_rendered_ones(full):
    def shapes(**settings) -> set[tuple[int, ...]]:
        task = VaeTask(replace(VAE_RECIPE, num_frames=3, **settings), clips=full)
        return {tuple(task._video(step).shape[:3]) for step in range(2)}

    assert shapes() == {(2, 3, 3)}
    assert shapes(whole_share=0.5) == {(2, 3, 3), (1, 3, 5)}
    task = VaeTask(replace(VAE_RECIPE, object_share=1.0), clips=full)
    assert task._video(0).shape == (8, 3, 5, 32, 32)


# --- working ahead -----------------------------------------------------------------------
@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_no_more_is_asked_for_than_is_needed(workers):
    asked = []

    def items():
        for number in count():
            asked.append(number)
            yield number

    made = ahead(operator.neg, items(), workers)
    assert list(islice(made, 6)) == [0, -1, -2, -3, -4, -5]
    made.close()
    assert len(asked) <= 6 + workers
    assert list(ahead(operator.neg, [], workers)) == []
    made = ahead(math.sqrt, [4.0, -1.0, 9.0], workers)
    assert next(made) == 2.0
    with pytest.raises(ValueError, match="domain"):
        next(made)


def test_a_pool_that_is_not_full_is_refused(full, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(full, part)
    shutil.rmtree(max(part.glob("[0-9]*")))
    with pytest.raises(RequestError, match="holds no complete pool"):
        Pool(part)


def test_a_vae_of_another_structure_is_no_beginning():
    with pytest.raises(RequestError, match="another structure than that of tiny"):
        VaeTask(VAE_RECIPE, begin_with=package_folder() / "nano" / "vae.safetensors")
