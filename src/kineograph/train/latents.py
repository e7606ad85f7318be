"""Stored latents: clips rendered and encoded once, with the scenes that made them.

A store is a folder of shards. Shard k holds clips of one aspect ratio, or single frames:
`k.safetensors` with `latent` (n c t h w, bf16, normalised) and `objects` (n t h w, uint8: which
object, from 1, a latent cell shows most of; 0 for none), and `k.jsonl` with one scene a line.
Shards are pure functions of (recipe, k), written whole, so that an interrupted run goes on
with the next one.
`statistics.json` has the mean and deviation of each channel, from the first shards.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.media.files import atomic_write, write_json
from kineograph.models.vae import VideoVAE
from kineograph.presets import get_preset
from kineograph.spec import VaeConfig
from kineograph.train.clips import (
    VALIDATION_SEED,
    base_scale,
    render_seen,
    to_float,
    validation_scenes,
)
from kineograph.train.engine import say_line
from kineograph.train.recipe import LatentRecipe
from kineograph.weights.files import build, save_tensors
from kineograph.weights.header import sha256
from kineograph.world.draw import BASE_SIZES, CLIP_TIMES, NUM_FRAMES, draw_scene
from kineograph.world.render import CPU
from kineograph.world.scene import Scene, scene_from_dict

STATISTICS_CLIPS = 512


@torch.no_grad()
def encode_clips(
    vae: VideoVAE, scenes: list[Scene], frames: int, *, compiled: bool, scale: int = 1,
    device: torch.device = CPU,
) -> tuple[Float[Tensor, "n c t h w"], UInt8[Tensor, "n t h w"]]:  # fmt: skip
    """Render the first frames of scenes of one aspect ratio; return raw latent means and objects.

    Both are on the CPU.
    """
    parts, objects = [], []
    size = 50 * NUM_FRAMES // frames
    for first in range(0, len(scenes), size):
        some = scenes[first : first + size]
        video, ids = render_seen(
            some, scale=scale, compiled=compiled, times=CLIP_TIMES[:frames], device=device
        )
        objects.append(object_cells(ids, vae.config).cpu())
        for part in video.split(10 * NUM_FRAMES // frames):
            with torch.autocast(device.type, torch.bfloat16):
                parts.append(vae.encode(to_float(part))[0].float().cpu())
    return torch.cat(parts), torch.cat(objects)


def object_cells(
    ids: UInt8[Tensor, "n f y x"], config: VaeConfig
) -> UInt8[Tensor, "n t h w"]:
    """Return which object, from 1, each latent cell shows most of at its times; 0 for none."""
    stride = (config.temporal_stride, config.spatial_stride, config.spatial_stride)
    # The first latent frame is one frame alone.
    ids = torch.cat((ids[:, :1].expand(-1, stride[0], -1, -1), ids[:, 1:]), 1)
    shares = torch.stack(
        [F.avg_pool3d((ids == i).float()[:, None], stride)[:, 0] for i in range(int(ids.max()) + 1)]
    )
    shares[0] = 0  # the background counts only where there is nothing else: ties go to the first
    return shares.argmax(0).to(torch.uint8)


def shard_plan(recipe: LatentRecipe) -> list[tuple[str, int, list[int]]]:
    """Return the aspect ratio, the number of frames and the scene seeds of every shard."""
    rng = random.Random(f"latents {recipe.seed}")
    others = [r for r in BASE_SIZES if r != "1:1"]
    plan = []
    for count, frames in ((recipe.clips, NUM_FRAMES), (recipe.images, 1)):
        squares = round(count * recipe.square_share / recipe.shard)
        rest = max(0, count // recipe.shard - squares)
        ratios = ["1:1"] * squares + [others[i % len(others)] for i in range(rest)]
        for ratio in ratios:
            seeds = [rng.randrange(VALIDATION_SEED) for _ in range(recipe.shard)]
            plan.append((ratio, frames, seeds))
    return plan


def write_latents(
    recipe: LatentRecipe, vae_path: Path, folder: Path, device: torch.device = CPU,
    seconds: float = math.inf,
) -> bool:  # fmt: skip
    """Fill a store, or go on filling it; stop after the shard in which `seconds` pass.

    Returns whether the store is full.

    Raises `RequestError` if the store was started by another recipe or with another VAE.
    """
    spec = get_preset(recipe.model)
    vae = build("vae", vae_path)
    assert isinstance(vae, VideoVAE)
    vae.eval().to(device)
    assert spec.vae.z_dim == vae.config.z_dim
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, {**asdict(recipe), "vae": sha256(vae_path)})

    def encode(scenes: list[Scene], frames: int) -> tuple[Tensor, Tensor]:
        return encode_clips(
            vae, scenes, frames, compiled=recipe.compiled, scale=base_scale(spec), device=device
        )

    statistics = folder / "statistics.json"
    if not statistics.exists():
        scenes = [draw_scene(VALIDATION_SEED // 2 + i) for i in range(STATISTICS_CLIPS)]
        raw, _ = encode(scenes, NUM_FRAMES)
        mean, std = raw.mean((0, 2, 3, 4)), raw.std((0, 2, 3, 4))
        write_json(statistics, {"mean": mean.tolist(), "std": std.tolist()})
    numbers = json.loads(statistics.read_text())
    shift = torch.tensor(numbers["mean"])[None, :, None, None, None]
    scale = torch.tensor(numbers["std"])[None, :, None, None, None]
    jobs = [(f"{k:03d}", *shard) for k, shard in enumerate(shard_plan(recipe))]
    todo = [j for j in jobs if not (folder / f"{j[0]}.safetensors").exists()]
    start = time.monotonic()
    for done, (name, ratio, frames, seeds) in enumerate(todo):
        scenes = [draw_scene(s, aspect_ratio=ratio) for s in seeds]
        latent, objects = encode(scenes, frames)
        _write_shard(folder, name, (latent - shift) / scale, objects, scenes)
        spent = time.monotonic() - start
        left = spent / (done + 1) * (len(todo) - done - 1)
        what = f"{len(scenes)} clips of {frames} frames"
        say_line(f"shard {name} {ratio}: {what}, {spent:.0f}s, eta {left:.0f}s")
        if left > 0 and spent > seconds:
            return False
    if not (folder / "validation.safetensors").exists():
        scenes = validation_scenes(recipe.validation_clips)
        latent, objects = encode(scenes, NUM_FRAMES)
        _write_shard(folder, "validation", (latent - shift) / scale, objects, scenes)
    return True


def _claim(folder: Path, made_of: dict[str, Any]) -> None:
    """Write down what a store is made of, or refuse one that is made of something else."""
    path = folder / "recipe.json"
    if path.exists() and json.loads(path.read_text()) != made_of:
        raise RequestError(f"{folder} was started with another recipe or VAE; choose another --out")
    write_json(path, made_of)


def _write_shard(
    folder: Path, name: str, latent: Tensor, objects: Tensor, scenes: list[Scene]
) -> None:
    lines = "".join(json.dumps(s.to_dict()) + "\n" for s in scenes)
    with atomic_write(folder / f"{name}.jsonl") as file:
        file.write(lines.encode())
    # Last: a shard is there when its latents are.
    tensors = {"latent": latent.to(torch.bfloat16), "objects": objects}
    save_tensors(folder / f"{name}.safetensors", tensors, {})


@dataclass(frozen=True)
class Bucket:
    """All clips of one aspect ratio, or all single frames of it."""

    latent: Float[Tensor, "n c t h w"]
    objects: UInt8[Tensor, "n t h w"]
    scenes: list[Scene]


def _read_shard(path: Path) -> Bucket:
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    tensors = load_file(path)
    scenes = [scene_from_dict(json.loads(x)) for x in lines]
    return Bucket(tensors["latent"], tensors["objects"], scenes)


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
        Bucket(
            torch.cat([s.latent for s in shards]),
            torch.cat([s.objects for s in shards]),
            [x for s in shards for x in s.scenes],
        )
        for _, shards in sorted(by_shape.items())
    ]
    statistics = json.loads((folder / "statistics.json").read_text())
    return buckets, _read_shard(folder / "validation.safetensors"), statistics
