"""Stored latents: clips rendered and encoded once, with the scenes that made them.

A store is a folder of shards. Shard k holds clips of one aspect ratio, or single frames:
`k.safetensors` with `latent` (n c t h w, bf16, as the VAE makes it), `objects` (n t h w, uint8:
which object, from 1, a latent cell shows most of; 0 for none) and `numbers` (n k: the model's
controls in their units, NaN where one has no value), and `k.jsonl` with one scene a line. Shards
are pure functions of (recipe, k), written whole, so that an interrupted run goes on with the next.
`statistics.json` has the mean and deviation of each channel, from the first shards; it is written
last, and a store without it is not complete.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
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
from kineograph.spec import ModelSpec, VaeConfig
from kineograph.train.clips import VALIDATION_SEED, clip_times, render_seen, to_float
from kineograph.train.engine import say_line
from kineograph.train.pool import ahead, claim, cores
from kineograph.train.recipe import LatentRecipe
from kineograph.train.worlds import Scene, World, base_scale, world_of
from kineograph.weights.files import build, save_tensors
from kineograph.weights.header import sha256
from kineograph.world.render import CPU

STATISTICS = "statistics.json"
VALIDATION = "validation"
STILLS = "-stills"  # ends the name of a shard of single frames of another's clips


@dataclass(frozen=True)
class Latents:
    """Raw latents of clips, and which object each cell shows most of; on the CPU."""

    latent: Float[Tensor, "n c t h w"]
    objects: UInt8[Tensor, "n t h w"]


@torch.no_grad()
def encode(
    vae: VideoVAE, video: UInt8[Tensor, "n t h w 3"]
) -> Float[Tensor, "n c t2 h2 w2"]:
    """Return raw latent means, on the CPU."""
    with torch.autocast(video.device.type, torch.bfloat16):
        return vae.encode(to_float(video))[0].float().cpu()


def encode_clips(
    vae: VideoVAE, world: World, scenes: list[Scene], frames: int, *, compiled: bool,
    scale: int = 1, device: torch.device = CPU, stills: int = 0, seed: str = "",
) -> tuple[Latents, Latents | None]:  # fmt: skip
    """Render the first frames of scenes of one aspect ratio, and encode them.

    With `stills` that many frames of each clip, at times drawn from `seed`, are encoded as
    clips of one frame too, clip by clip.
    """
    parts, singles = [], []
    rng = random.Random(f"stills {seed}")
    size = max(1, 10 * world.num_frames // frames)
    for first in range(0, len(scenes), size):
        video, ids = render_seen(
            world, scenes[first : first + size], scale=scale, compiled=compiled,
            times=clip_times(world)[:frames], device=device,
        )  # fmt: skip
        parts.append((encode(vae, video), object_cells(ids, vae.config).cpu()))
        for clip, seen in zip(video, ids, strict=True) if stills else ():
            where = sorted(rng.sample(range(frames), stills))
            some, owners = clip[where][:, None], seen[where][:, None]
            singles.append((encode(vae, some), object_cells(owners, vae.config).cpu()))
    return _joined(parts), _joined(singles) if stills else None


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Latents:
    return Latents(*(torch.cat(some) for some in zip(*parts, strict=True)))


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


@dataclass(frozen=True)
class Job:
    """A shard to make: its name, aspect ratio, number of frames and the seeds of its scenes."""

    name: str
    ratio: str
    frames: int
    seeds: tuple[int, ...]


def shard_plan(recipe: LatentRecipe) -> list[Job]:
    """Return what every shard holds."""
    world = world_of(get_preset(recipe.model))
    rng = random.Random(f"latents {recipe.seed}")
    others = [r for r in world.ratios if r != "1:1"]
    plan: list[Job] = []
    for count, frames in ((recipe.clips, world.num_frames), (recipe.images, 1)):
        squares = round(count * recipe.square_share / recipe.shard)
        rest = max(0, count // recipe.shard - squares)
        ratios = ["1:1"] * squares + [others[i % len(others)] for i in range(rest)]
        for ratio in ratios:
            seeds = tuple(rng.randrange(VALIDATION_SEED) for _ in range(recipe.shard))
            plan.append(Job(f"{len(plan):03d}", ratio, frames, seeds))
    return plan


class _Maker:
    """Makes shards; the VAE is opened where the work is done, in this process or another."""

    def __init__(
        self, recipe: LatentRecipe, vae: Path, folder: Path, device: torch.device
    ) -> None:
        self.recipe, self.vae_path, self.folder, self.device = recipe, vae, folder, device
        self.vae: VideoVAE | None = None
        self.spec = get_preset(recipe.model)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"vae": None}

    def draw(self, job: Job) -> tuple[Job, list[Scene]]:
        """Draw the scenes of a shard."""
        world = world_of(self.spec)
        return job, [world.draw(s, aspect_ratio=job.ratio) for s in job.seeds]

    def encode(self, scenes: list[Scene], job: Job, stills: int) -> tuple[Latents, Latents | None]:
        """Render and encode the scenes of a shard."""
        if self.vae is None:
            vae = build("vae", self.vae_path)
            assert isinstance(vae, VideoVAE) and vae.config.z_dim == self.spec.vae.z_dim
            self.vae = vae.eval().to(self.device)
        return encode_clips(
            self.vae, world_of(self.spec), scenes, job.frames, compiled=self.recipe.compiled,
            scale=base_scale(self.spec), device=self.device, stills=stills, seed=job.name,
        )  # fmt: skip

    def write(self, job: Job, scenes: list[Scene]) -> Job:
        """Render, encode and write a shard."""
        stills = self.recipe.stills if job.frames > 1 and job.name != VALIDATION else 0
        clips, singles = self.encode(scenes, job, stills)
        if singles is not None:
            again = [scene for scene in scenes for _ in range(stills)]
            self._write(f"{job.name}{STILLS}", singles, again)
        self._write(job.name, clips, scenes)  # last: the job is done when it is there
        return job

    def _write(self, name: str, raw: Latents, scenes: list[Scene]) -> None:
        """Write a shard; it is there when its latents are."""
        world = world_of(self.spec)
        lines = "".join(json.dumps(world.to_dict(s)) + "\n" for s in scenes)
        with atomic_write(self.folder / f"{name}.jsonl") as file:
            file.write(lines.encode())
        tensors = {
            "latent": raw.latent.to(torch.bfloat16),
            "objects": raw.objects,
            "numbers": control_values(self.spec, world, scenes),
        }
        save_tensors(self.folder / f"{name}.safetensors", tensors, {})

    def make(self, job: Job) -> Job:
        """Do all of it."""
        return self.write(*self.draw(job))


def _made(maker: _Maker, todo: list[Job], workers: int) -> Iterator[Job]:
    """Make shards in order: each by one worker, or drawn by workers and rendered on a GPU."""
    if maker.device.type == "cpu":
        yield from ahead(maker.make, todo, workers)
        return
    for job, scenes in ahead(maker.draw, todo, workers):
        yield maker.write(job, scenes)


def write_latents(
    recipe: LatentRecipe, vae_path: Path, folder: Path, device: torch.device = CPU,
    seconds: float = math.inf, workers: int | None = None,
) -> bool:  # fmt: skip
    """Fill a store, or go on filling it; stop after the shard in which `seconds` pass.

    Returns whether the store is full. There is one worker a core unless `workers` says otherwise.

    Raises `RequestError` if the store was started by another recipe or with another VAE.
    """
    claim(folder, {**asdict(recipe), "vae": sha256(vae_path)})
    maker = _Maker(recipe, vae_path, folder, device)
    world = world_of(maker.spec)
    jobs = shard_plan(recipe)
    held = range(VALIDATION_SEED, VALIDATION_SEED + recipe.validation_clips)
    jobs.append(Job(VALIDATION, "1:1", world.num_frames, tuple(held)))
    todo = [job for job in jobs if not (folder / f"{job.name}.safetensors").exists()]
    start = time.monotonic()
    for done, job in enumerate(_made(maker, todo, workers or cores()), 1):
        spent = time.monotonic() - start
        left = spent / done * (len(todo) - done)
        what = f"{len(job.seeds)} clips of {job.frames} frames"
        say_line(f"shard {job.name} {job.ratio}: {what}, {spent:.0f}s, eta {left:.0f}s")
        if left > 0 and spent > seconds:
            return False
    write_json(folder / STATISTICS, _statistics(folder, jobs, recipe.statistics_clips))
    return True


def _statistics(folder: Path, jobs: list[Job], clips: int) -> dict[str, list[float]]:
    """Return the mean and deviation of each channel over the first clips."""
    latents: list[Tensor] = []
    for job in jobs:
        if sum(map(len, latents)) < clips and job.frames == jobs[0].frames:
            latents.append(load_file(folder / f"{job.name}.safetensors")["latent"].float())
    # channels first, and everything else in one row: shards have other aspect ratios
    rows = torch.cat([some.transpose(0, 1).flatten(1) for some in latents], 1)
    return {"mean": rows.mean(1).tolist(), "std": rows.std(1).tolist()}


def control_values(spec: ModelSpec, world: World, scenes: list[Scene]) -> Float[Tensor, "n k"]:
    """Return the controls of scenes in their units; NaN where a scene has no such number."""
    rows = []
    for scene in scenes:
        numbers = world.numbers(scene)
        rows.append([numbers.get(name, math.nan) / unit for name, unit in spec.controls.items()])
    return torch.tensor(rows).view(len(scenes), len(spec.controls))


@dataclass(frozen=True)
class Bucket:
    """All clips of one aspect ratio, or all single frames of it."""

    latent: Float[Tensor, "n c t h w"]
    objects: UInt8[Tensor, "n t h w"]
    numbers: Float[Tensor, "n k"]
    scenes: list[Scene]


def _read_shard(path: Path, world: World, statistics: dict[str, list[float]]) -> Bucket:
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    tensors = load_file(path)
    scenes = [world.from_dict(json.loads(x)) for x in lines]
    mean, std = (torch.tensor(statistics[k])[:, None, None, None] for k in ("mean", "std"))
    latent = ((tensors["latent"].float() - mean) / std).to(torch.bfloat16)
    return Bucket(latent, tensors["objects"], tensors["numbers"], scenes)


def read_latents(
    folder: Path, world: World
) -> tuple[list[Bucket], Bucket, dict[str, list[float]]]:
    """Return the training buckets, the validation clips and the channel statistics.

    Latents are normalised. Raises `RequestError` for a store that is not complete.
    """
    paths = sorted(folder.glob("[0-9]*.safetensors"))
    if not paths or not (folder / STATISTICS).exists():
        raise RequestError(f"{folder} holds no complete store of latents; run the latents stage")
    statistics = json.loads((folder / STATISTICS).read_text())
    by_shape: dict[tuple[int, ...], list[Bucket]] = {}
    for path in paths:
        shard = _read_shard(path, world, statistics)
        by_shape.setdefault(tuple(shard.latent.shape[1:]), []).append(shard)
    buckets = [
        Bucket(
            torch.cat([s.latent for s in shards]),
            torch.cat([s.objects for s in shards]),
            torch.cat([s.numbers for s in shards]),
            [x for s in shards for x in s.scenes],
        )
        for _, shards in sorted(by_shape.items())
    ]
    held = _read_shard(folder / f"{VALIDATION}.safetensors", world, statistics)
    return buckets, held, statistics
