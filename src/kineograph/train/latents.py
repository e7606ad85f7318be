"""Stored latents: clips rendered and encoded once, with the scenes that made them.

A store is a folder of shards. Shard k holds clips of one aspect ratio: `k.safetensors` with
`latent` (n c t h w, bf16, normalised) and `k.jsonl` with one scene a line. Shards are pure
functions of (recipe, k), written whole, so that an interrupted run goes on with the next one.
`statistics.json` has the mean and deviation of each channel, from the first shards.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.media.files import write_json
from kineograph.models.vae import VideoVAE
from kineograph.presets import get_preset
from kineograph.train.clips import VALIDATION_SEED, render_clips, to_float, validation_scenes
from kineograph.train.engine import say_line
from kineograph.train.recipe import LatentRecipe
from kineograph.weights.files import build
from kineograph.world.draw import BASE_SIZES, draw_scene
from kineograph.world.scene import Scene, scene_from_dict

STATISTICS_CLIPS = 512


@torch.no_grad()
def encode_clips(vae: VideoVAE, scenes: list[Scene], *, compiled: bool) -> Float[Tensor, "n c t h w"]:
    """Render scenes of one aspect ratio and return the raw latent means."""
    parts = []
    for first in range(0, len(scenes), 50):
        video = render_clips(scenes[first : first + 50], compiled=compiled)
        for part in video.split(10):
            with torch.autocast("cpu", torch.bfloat16):
                parts.append(vae.encode(to_float(part))[0])
    return torch.cat(parts)


def shard_plan(recipe: LatentRecipe) -> list[tuple[str, list[int]]]:
    """Return the aspect ratio and the scene seeds of every training shard."""
    rng = random.Random(f"latents {recipe.seed}")
    others = [r for r in BASE_SIZES if r != "1:1"]
    squares = round(recipe.clips * recipe.square_share / recipe.shard)
    rest = max(0, recipe.clips // recipe.shard - squares)
    ratios = ["1:1"] * squares + [others[i % len(others)] for i in range(rest)]
    return [(r, [rng.randrange(VALIDATION_SEED) for _ in range(recipe.shard)]) for r in ratios]


def write_latents(recipe: LatentRecipe, vae_path: Path, folder: Path) -> None:
    """Fill a store, or go on filling it."""
    spec = get_preset(recipe.model)
    vae = build("vae", vae_path)
    assert isinstance(vae, VideoVAE)
    vae.eval()
    folder.mkdir(parents=True, exist_ok=True)
    statistics = folder / "statistics.json"
    if not statistics.exists():
        scenes = [draw_scene(VALIDATION_SEED // 2 + i) for i in range(STATISTICS_CLIPS)]
        raw = encode_clips(vae, scenes, compiled=recipe.compiled)
        mean, std = raw.mean((0, 2, 3, 4)), raw.std((0, 2, 3, 4))
        write_json(statistics, {"mean": mean.tolist(), "std": std.tolist()})
    numbers = json.loads(statistics.read_text())
    shift = torch.tensor(numbers["mean"])[None, :, None, None, None]
    scale = torch.tensor(numbers["std"])[None, :, None, None, None]
    jobs = [
        (f"{k:03d}", [draw_seed for draw_seed in seeds], ratio)
        for k, (ratio, seeds) in enumerate(shard_plan(recipe))
    ]
    todo = [j for j in jobs if not (folder / f"{j[0]}.safetensors").exists()]
    start = time.monotonic()
    for done, (name, seeds, ratio) in enumerate(todo):
        scenes = [draw_scene(s, aspect_ratio=ratio) for s in seeds]
        _write_shard(folder, name, (encode_clips(vae, scenes, compiled=recipe.compiled) - shift) / scale, scenes)
        spent = time.monotonic() - start
        left = spent / (done + 1) * (len(todo) - done - 1)
        say_line(f"shard {name} {ratio}: {len(scenes)} clips, {spent:.0f}s, eta {left:.0f}s")
    if not (folder / "validation.safetensors").exists():
        scenes = validation_scenes(recipe.validation_clips)
        latent = (encode_clips(vae, scenes, compiled=recipe.compiled) - shift) / scale
        _write_shard(folder, "validation", latent, scenes)
    assert spec.vae.z_dim == scale.shape[1]


def _write_shard(folder: Path, name: str, latent: Tensor, scenes: list[Scene]) -> None:
    lines = "".join(json.dumps(s.to_dict()) + "\n" for s in scenes)
    (folder / f"{name}.jsonl").write_text(lines)
    temporary = folder / f"{name}.tmp"
    save_file({"latent": latent.to(torch.bfloat16).contiguous()}, temporary)
    temporary.replace(folder / f"{name}.safetensors")


@dataclass(frozen=True)
class Bucket:
    """All clips of one aspect ratio."""

    latent: Float[Tensor, "n c t h w"]
    scenes: list[Scene]


def _read_shard(path: Path) -> Bucket:
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    return Bucket(load_file(path)["latent"], [scene_from_dict(json.loads(x)) for x in lines])


def read_latents(folder: Path) -> tuple[list[Bucket], Bucket, dict[str, list[float]]]:
    """Return the training buckets, the validation clips and the channel statistics."""
    paths = sorted(folder.glob("[0-9]*.safetensors"))
    if not paths or not (folder / "validation.safetensors").exists():
        raise RequestError(f"{folder} holds no complete store of latents; run the latents stage")
    by_shape: dict[tuple[int, ...], list[Bucket]] = {}
    for path in paths:
        shard = _read_shard(path)
        by_shape.setdefault(tuple(shard.latent.shape[1:]), []).append(shard)
    buckets = [
        Bucket(torch.cat([s.latent for s in shards]), [x for s in shards for x in s.scenes])
        for _, shards in sorted(by_shape.items())
    ]
    statistics = json.loads((folder / "statistics.json").read_text())
    return buckets, _read_shard(folder / "validation.safetensors"), statistics
