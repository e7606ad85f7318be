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
from kineograph.train.clips import VALIDATION_SEED, to_float
from kineograph.train.latents import read_latents, shard_plan, write_latents
from kineograph.weights.files import build, save_weights
from kineograph.weights.folder import random_parts
from kineograph.world.draw import draw_scene


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_store_is_complete(store):
    names = {"recipe.json", "statistics.json", "validation.safetensors", "validation.jsonl"}
    names |= {f"{k:03d}.{end}" for k in range(4) for end in ("safetensors", "jsonl")}
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
    assert sorted(len(b.scenes) for b in buckets) == [2, 2, 4]
    assert sum(len(b.latent) for b in buckets) == 8
    vae = build("vae", tiny_vae)
    mean, std = (
        torch.tensor(statistics[k])[None, :, None, None, None] for k in ("mean", "std")
    )
    for bucket in (*buckets, held):
        assert len({scene.aspect_ratio for scene in bucket.scenes}) == 1
        assert bucket.latent.dtype == torch.bfloat16
        video = latents.render_clips(bucket.scenes[-1:])
        with torch.no_grad():
            raw = vae.encode(to_float(video))[0]
        wanted = (raw - mean) / std
        error = (bucket.latent[-1:].float() - wanted).abs().mean() / wanted.abs().mean()
        assert error < 0.02  # bfloat16, in the encoder and on disk


def test_shards_are_planned_by_ratio_from_training_seeds(store, store_recipe):
    plan = shard_plan(store_recipe)
    assert [ratio for ratio, _ in plan] == ["1:1", "1:1", "16:9", "9:16"]
    seeds = [seed for _, shard in plan for seed in shard]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < VALIDATION_SEED for seed in seeds)
    assert shard_plan(store_recipe) == plan
    assert shard_plan(replace(store_recipe, seed=2)) != plan
    lines = (store / "002.jsonl").read_text().splitlines()
    scene = draw_scene(plan[2][1][0], aspect_ratio="16:9")
    assert json.loads(lines[0]) == json.loads(json.dumps(scene.to_dict()))


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
