"""A store of latents is a function of its recipe and VAE, however often it is interrupted."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kineograph.errors import RequestError
from kineograph.presets import PRESETS, SMALL, TINY
from kineograph.train import latents
from kineograph.train.clips import VALIDATION_SEED, render_seen, to_float
from kineograph.train.latents import control_values, read_latents, shard_plan, write_latents
from kineograph.train.recipe import LatentRecipe
from kineograph.train.world1 import FirstWorld
from kineograph.train.world2 import SecondWorld
from kineograph.weights.files import build, save_weights
from kineograph.weights.folder import random_parts
from kineograph.world.draw import CLIP_TIMES, draw_scene
from kineograph.world.render import CPU
from kineograph.world.scene import Scene

WORLD = FirstWorld()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_store_is_complete(store):
    names = {"recipe.json", "statistics.json", "validation.safetensors", "validation.jsonl"}
    names |= {f"{k:03d}.{end}" for k in range(6) for end in ("safetensors", "jsonl")}
    assert set(contents(store)) == names


def test_an_interrupted_store_goes_on_shard_by_shard_to_the_same_bytes(
    store, store_recipe, tiny_vae, short_clips, tmp_path, monkeypatch
):
    encode, done = latents.encode_clips, []

    def interrupted(*of, **settings):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(of)
        return encode(*of, **settings)

    folder = tmp_path / "latents"
    with monkeypatch.context() as patch:
        patch.setattr(latents, "encode_clips", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_latents(store_recipe, tiny_vae, folder, workers=1)
    left = contents(folder)
    assert set(left) == {"recipe.json", "000.safetensors", "000.jsonl"}
    with pytest.raises(RequestError, match="no complete store"):
        read_latents(folder, WORLD)
    # A cut between the two files of a shard: its scenes are there, its latents are not.
    shutil.copy(store / "001.jsonl", folder)
    stamp = (folder / "000.safetensors").stat().st_mtime_ns
    assert write_latents(store_recipe, tiny_vae, folder, workers=1)
    assert contents(folder) == contents(store)
    assert (folder / "000.safetensors").stat().st_mtime_ns == stamp


def test_a_store_is_of_one_recipe_and_one_vae(store, store_recipe, tiny_vae, tmp_path):
    kept = contents(store)
    other = tmp_path / "vae.safetensors"
    save_weights(other, random_parts(TINY, seed=1)["vae"], TINY.vae)
    for recipe, vae in ((replace(store_recipe, seed=9), tiny_vae), (store_recipe, other)):
        with pytest.raises(RequestError, match="another recipe or VAE"):
            write_latents(recipe, vae, store, workers=1)
    assert contents(store) == kept


def test_the_latents_are_those_of_the_scenes_beside_them(store, tiny_vae, short_clips):
    buckets, held, statistics = read_latents(store, WORLD)
    clips = [b for b in buckets if b.latent.shape[2] == 2]
    images = [b for b in buckets if b.latent.shape[2] == 1]
    assert sorted(len(b.scenes) for b in clips) == [2, 2, 4]
    assert sorted(len(b.scenes) for b in images) == [2, 2]
    assert sum(len(b.latent) for b in buckets) == 12
    vae = build("vae", tiny_vae)
    mean, std = (
        torch.tensor(statistics[k])[None, :, None, None, None] for k in ("mean", "std")
    )
    for bucket in (*buckets, held):
        assert len({scene.aspect_ratio for scene in bucket.scenes}) == 1
        assert bucket.latent.dtype == torch.bfloat16
        times = CLIP_TIMES[: 4 * bucket.latent.shape[2] - 3]
        video, ids = render_seen(WORLD, bucket.scenes[-1:], times=times)
        with torch.no_grad():
            raw = vae.encode(to_float(video))[0]
        corners = ids[:, 0, ::8, ::8] > 0  # a corner that shows one is enough
        assert (bucket.objects[-1:, 0] >= corners).all()
        assert bucket.numbers.shape == (len(bucket.scenes), 0)  # a model without controls
        assert bucket.objects.shape == (len(bucket.scenes), *bucket.latent.shape[2:])
        wanted = (raw - mean) / std
        error = (bucket.latent[-1:].float() - wanted).abs().mean() / wanted.abs().mean()
        assert error < 0.02  # bfloat16, in the encoder and on disk


def test_shards_are_planned_by_ratio_from_training_seeds(store, store_recipe, short_clips):
    plan = shard_plan(store_recipe)
    assert [job.name for job in plan] == [f"{k:03d}" for k in range(6)]
    assert [job.ratio for job in plan] == ["1:1", "1:1", "16:9", "9:16", "1:1", "16:9"]
    assert [job.frames for job in plan] == [5, 5, 5, 5, 1, 1]
    seeds = [seed for job in plan for seed in job.seeds]
    assert len(set(seeds)) == 12
    assert all(0 <= seed < VALIDATION_SEED for seed in seeds)
    assert shard_plan(store_recipe) == plan
    assert shard_plan(replace(store_recipe, seed=2)) != plan
    lines = (store / "002.jsonl").read_text().splitlines()
    scene = draw_scene(plan[2].seeds[0], aspect_ratio="16:9")
    assert json.loads(lines[0]) == json.loads(json.dumps(scene.to_dict()))


def test_a_cell_shows_the_object_that_most_of_its_pixels_do_if_any_does():
    ids = torch.zeros(1, 9, 16, 24, dtype=torch.uint8)
    ids[0, 0, 3, 5] = 1  # frame 0 stands alone
    ids[0, 4, 15, 23] = 2  # the last of the four frames of latent frame 1
    ids[0, 7, 0, 0:3] = torch.tensor([2, 3, 3])
    cells = latents.object_cells(ids, TINY.vae)
    assert cells.dtype == torch.uint8 and cells.shape == (1, 3, 2, 3)
    assert cells.nonzero().tolist() == [[0, 0, 0, 0], [0, 1, 1, 2], [0, 2, 0, 0]]
    assert cells[cells > 0].tolist() == [1, 2, 3]
    assert not latents.object_cells(torch.zeros_like(ids), TINY.vae).any()


def test_an_empty_folder_is_no_store(tmp_path):
    with pytest.raises(RequestError, match="run the latents stage"):
        read_latents(tmp_path, WORLD)


def test_a_store_stops_between_shards_when_its_time_is_up(
    store_recipe, short_clips, tiny_vae, store, tmp_path
):
    assert not write_latents(store_recipe, tiny_vae, tmp_path, seconds=0.0, workers=1)
    done = {path.name for path in tmp_path.glob("*.safetensors")}
    assert len(done) == 1
    while not write_latents(store_recipe, tiny_vae, tmp_path, seconds=0.0, workers=1):
        pass
    for path in store.glob("*.safetensors"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_controls_are_in_their_units_and_nan_where_a_scene_has_none():
    world = SecondWorld()
    scenes = [world.draw(seed, count=1) for seed in range(3)]
    values = control_values(SMALL, world, scenes)
    assert values.shape == (3, len(SMALL.controls))
    for row, scene in zip(values.tolist(), scenes, strict=True):
        numbers = world.numbers(scene)
        for (name, unit), value in zip(SMALL.controls.items(), row, strict=True):
            if name in numbers:
                assert value == pytest.approx(numbers[name] / unit)
            else:
                assert math.isnan(value)
    assert control_values(TINY, WORLD, [WORLD.draw(0)]).shape == (1, 0)


def test_a_store_keeps_the_controls_of_its_scenes(
    store_recipe, short_clips, tiny_vae, tmp_path, monkeypatch
):
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, controls={"pan": 2.0, "speed": 1.0}))
    monkeypatch.setattr(FirstWorld, "numbers", lambda _, scene: {"pan": float(scene.seed % 7)})
    recipe = replace(store_recipe, clips=2, images=2, validation_clips=1)
    assert write_latents(recipe, tiny_vae, tmp_path, workers=1)
    buckets, held, _ = read_latents(tmp_path, WORLD)
    assert len(buckets) == 2
    for bucket in (*buckets, held):
        wanted = [scene.seed % 7 / 2 for scene in bucket.scenes]
        assert bucket.numbers[:, 0].tolist() == wanted
        assert bucket.numbers[:, 1].isnan().all()


def test_a_maker_goes_to_another_process_without_its_vae(store_recipe, tiny_vae, tmp_path):
    maker = latents._Maker(store_recipe, tiny_vae, tmp_path, CPU)
    job = latents.Job("000", "1:1", 1, (0,))
    assert maker.draw(job) == (job, [WORLD.draw(0)])
    made, _ = maker.encode([WORLD.draw(0)], job, 0)
    assert maker.vae is not None
    other = pickle.loads(pickle.dumps(maker))
    assert other.vae is None and other.recipe == store_recipe
    again, _ = other.encode([WORLD.draw(0)], job, 0)
    assert torch.equal(made.latent, again.latent) and torch.equal(made.objects, again.objects)


@pytest.fixture(scope="module")
def stills_recipe(store_recipe) -> LatentRecipe:
    return replace(store_recipe, clips=4, images=0, stills=2, validation_clips=1)


@pytest.fixture
def stills(stills_recipe, short_clips, tiny_vae, tmp_path) -> Path:
    folder = tmp_path / "stills"
    assert write_latents(stills_recipe, tiny_vae, folder, workers=1)
    return folder


def test_stills_are_frames_of_the_clips_beside_them(stills, tiny_vae):
    names = {path.stem for path in stills.glob("*.safetensors")}
    assert names == {"000", "000-stills", "001", "001-stills", "validation"}
    buckets, held, statistics = read_latents(stills, WORLD)
    assert len(held.scenes) == 1
    vae = build("vae", tiny_vae)
    mean, std = (
        torch.tensor(statistics[k])[None, :, None, None, None] for k in ("mean", "std")
    )
    by_frames: dict[int, list[Scene]] = {1: [], 2: []}
    for bucket in buckets:
        by_frames[bucket.latent.shape[2]] += bucket.scenes
        if bucket.latent.shape[2] == 2:
            continue
        for i, scene in enumerate(bucket.scenes):
            video, ids = render_seen(WORLD, [scene])
            with torch.no_grad():
                frames = [vae.encode(to_float(video[:, t : t + 1]))[0] for t in range(5)]
            wanted = (torch.cat(frames) - mean) / std
            error = (bucket.latent[i].float() - wanted).abs().mean((1, 2, 3, 4))
            nearest = int(error.argmin())
            assert error[nearest] < 0.02 * wanted.abs().mean()
            cells = latents.object_cells(ids[:, nearest : nearest + 1], TINY.vae)
            assert torch.equal(bucket.objects[i], cells[0])
    assert len(by_frames[2]) == 4
    assert sorted(by_frames[1], key=repr) == sorted(by_frames[2] * 2, key=repr)


def test_a_cut_between_stills_and_their_clips_makes_both_again(
    stills, stills_recipe, short_clips, tiny_vae, tmp_path, monkeypatch
):
    folder, written = tmp_path / "cut", []
    honest = latents.save_tensors

    def interrupted(path, *of):
        if len(written) == 3:  # one shard, and the stills of the next one
            raise KeyboardInterrupt
        written.append(path)
        honest(path, *of)

    with monkeypatch.context() as patch:
        patch.setattr(latents, "save_tensors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_latents(stills_recipe, tiny_vae, folder, workers=1)
    assert not (folder / "001.safetensors").exists()
    assert (folder / "001-stills.safetensors").exists()
    assert write_latents(stills_recipe, tiny_vae, folder, workers=1)
    assert contents(folder) == contents(stills)
