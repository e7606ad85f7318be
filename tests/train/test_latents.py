"""A store of latents is a function of its recipe and VAE, however often it is interrupted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from kineograph.errors import RequestError
from kineograph.presets import TINY
from kineograph.train import latents
from kineograph.train.clips import VALIDATION_SEED, render_seen, to_float
from kineograph.train.latents import read_latents, shard_plan, write_latents
from kineograph.weights.files import build, save_weights
from kineograph.weights.folder import random_parts
from kineograph.world.draw import CLIP_TIMES, draw_scene


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
        if len(done) == 2:  # the statistics and one shard
            raise KeyboardInterrupt
        done.append(of)
        return encode(*of, **settings)

    folder = tmp_path / "latents"
    with monkeypatch.context() as patch:
        patch.setattr(latents, "encode_clips", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_latents(store_recipe, tiny_vae, folder)
    left = contents(folder)
    assert set(left) == {"recipe.json", "statistics.json", "000.safetensors", "000.jsonl"}
    with pytest.raises(RequestError, match="no complete store"):
        read_latents(folder)
    # A cut between the two files of a shard: its scenes are there, its latents are not.
    shutil.copy(store / "001.jsonl", folder)
    stamp = (folder / "000.safetensors").stat().st_mtime_ns
    write_latents(store_recipe, tiny_vae, folder)
    assert contents(folder) == contents(store)
    assert (folder / "000.safetensors").stat().st_mtime_ns == stamp


def test_a_store_is_of_one_recipe_and_one_vae(store, store_recipe, tiny_vae, tmp_path):
    kept = contents(store)
    other = tmp_path / "vae.safetensors"
    save_weights(other, random_parts(TINY, seed=1)["vae"], TINY.vae)
    for recipe, vae in ((replace(store_recipe, seed=9), tiny_vae), (store_recipe, other)):
        with pytest.raises(RequestError, match="another recipe or VAE"):
            write_latents(recipe, vae, store)
    assert contents(store) == kept


def test_the_latents_are_those_of_the_scenes_beside_them(store, tiny_vae, short_clips):
    buckets, held, statistics = read_latents(store)
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
        video, ids = render_seen(bucket.scenes[-1:], times=times)
        with torch.no_grad():
            raw = vae.encode(to_float(video))[0]
        corners = ids[:, 0, ::8, ::8] > 0  # a corner that shows one is enough
        assert (bucket.objects[-1:, 0] >= corners).all()
        assert bucket.objects.shape == (len(bucket.scenes), *bucket.latent.shape[2:])
        wanted = (raw - mean) / std
        error = (bucket.latent[-1:].float() - wanted).abs().mean() / wanted.abs().mean()
        assert error < 0.02  # bfloat16, in the encoder and on disk


def test_shards_are_planned_by_ratio_from_training_seeds(store, store_recipe, short_clips):
    plan = shard_plan(store_recipe)
    assert [ratio for ratio, _, _ in plan] == ["1:1", "1:1", "16:9", "9:16", "1:1", "16:9"]
    assert [frames for _, frames, _ in plan] == [5, 5, 5, 5, 1, 1]
    seeds = [seed for _, _, shard in plan for seed in shard]
    assert len(set(seeds)) == 12
    assert all(0 <= seed < VALIDATION_SEED for seed in seeds)
    assert shard_plan(store_recipe) == plan
    assert shard_plan(replace(store_recipe, seed=2)) != plan
    lines = (store / "002.jsonl").read_text().splitlines()
    scene = draw_scene(plan[2][2][0], aspect_ratio="16:9")
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
        read_latents(tmp_path)


def test_a_store_stops_between_shards_when_its_time_is_up(
    store_recipe, short_clips, tiny_vae, store, tmp_path
):
    assert not latents.write_latents(store_recipe, tiny_vae, tmp_path, seconds=0.0)
    done = {path.name for path in tmp_path.glob("*.safetensors")}
    assert len(done) == 1
    while not latents.write_latents(store_recipe, tiny_vae, tmp_path, seconds=0.0):
        pass
    for path in store.glob("*.safetensors"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
