"""Clips that are rendered once and kept: what a VAE trains on where rendering is dear.

A pool is a folder of shards. Shard k holds clips of one aspect ratio: `k/frames.npy` (n t h w 3,
uint8), `k/owners.npy` (n t h w, uint8: the object that each pixel shows, from 1; 0 for none) and
`k/scenes.json`. Shards are pure functions of (recipe, k) and appear whole, so that an
interrupted run goes on with the next one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.media.files import PendingFile, write_json
from kineograph.presets import get_preset
from kineograph.train.clips import VALIDATION_SEED, choose_ratio, clip_times
from kineograph.train.engine import say_line
from kineograph.train.recipe import ClipRecipe
from kineograph.train.worlds import base_scale, world_of

ARRAYS = ("frames", "owners")
Item = TypeVar("Item")
Result = TypeVar("Result")


def claim(folder: Path, made_of: dict[str, Any]) -> None:
    """Write down what a store is made of, or refuse one that is made of something else."""
    folder.mkdir(parents=True, exist_ok=True)
    path, made_of = folder / "recipe.json", json.loads(json.dumps(made_of))
    if path.exists() and json.loads(path.read_text()) != made_of:
        raise RequestError(f"{folder} was started with another recipe or VAE; choose another --out")
    write_json(path, made_of)


def one_thread() -> None:
    """Keep a worker to one thread: there is one worker a core."""
    torch.set_num_threads(1)


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield the results of items in order, made by processes of their own.

    With one worker everything happens here. When the caller stops, the workers are ended at once:
    what they write appears whole or not at all.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    # Not forked: a process with threads of torch does not survive it.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=one_thread) as pool:
        left = iter(items)
        queue = [pool.submit(function, item) for item in islice(left, workers)]
        try:
            while queue:
                result = queue.pop(0).result()
                queue += [pool.submit(function, item) for item in islice(left, 1)]
                yield result
        except BaseException:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@dataclass(frozen=True)
class _Job:
    """One shard to make."""

    recipe: ClipRecipe
    number: int
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{self.number:04d}"


def _make(job: _Job) -> int:
    """Render one shard; return its number."""
    r, spec = job.recipe, get_preset(job.recipe.model)
    world = world_of(spec)
    rng = random.Random(f"pool {r.seed} {job.number}")
    ratio = choose_ratio(rng, r.square_share, world)
    scenes = [
        world.draw(rng.randrange(VALIDATION_SEED), aspect_ratio=ratio) for _ in range(r.shard)
    ]
    made = [
        world.render([s], clip_times(world), scale=base_scale(spec), compiled=r.compiled)
        for s in scenes
    ]
    pending = PendingFile(job.path)
    try:
        pending.temporary.mkdir()
        write_json(pending.temporary / "scenes.json", [world.to_dict(s) for s in scenes])
        for name, some in zip(ARRAYS, zip(*made, strict=True), strict=True):
            np.save(pending.temporary / f"{name}.npy", torch.cat(some).numpy())
        pending.commit()
    except BaseException:
        pending.discard()
        raise
    return job.number


def write_clips(
    recipe: ClipRecipe, folder: Path, seconds: float, workers: int | None = None
) -> bool:
    """Fill a pool, or go on filling it, a shard a core; return whether it is full.

    It stops after the shard in which `seconds` pass.

    Raises `RequestError` if the pool was started by another recipe.
    """
    claim(folder, asdict(recipe))
    jobs = [_Job(recipe, k, folder) for k in range(recipe.shards)]
    todo = [job for job in jobs if not job.path.exists()]
    start = time.monotonic()
    for done, number in enumerate(ahead(_make, todo, workers or cores()), 1):
        spent = time.monotonic() - start
        left = spent / done * (len(todo) - done)
        say_line(f"shard {number:04d} of {len(jobs)}: {spent:.0f}s, eta {left:.0f}s")
        if left > 0 and spent > seconds:
            return False
    return True


class Pool:
    """The clips of a pool; their pixels are mapped, not read."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("[0-9]*"))
        made_of = folder / "recipe.json"
        asked = ClipRecipe(**json.loads(made_of.read_text())) if made_of.exists() else None
        if asked is None or len(paths) < asked.shards:
            raise RequestError(f"{folder} holds no complete pool; run the clips stage first")
        # copy on write: torch takes no array that cannot be written to
        self.shards = [
            tuple(torch.from_numpy(np.load(p / f"{a}.npy", mmap_mode="c")) for a in ARRAYS)
            for p in paths
        ]

    def batch(
        self, rng: random.Random, batch: int, num_frames: int
    ) -> tuple[UInt8[Tensor, "b t h w 3"], UInt8[Tensor, "b t h w"]]:
        """Draw crops in time of clips of one aspect ratio, and which object a pixel shows."""
        frames, owners = rng.choice(self.shards)
        first = rng.randrange(frames.shape[1] - num_frames + 1)
        where = [rng.randrange(len(frames)) for _ in range(batch)]
        part = slice(first, first + num_frames)
        return (
            torch.stack([frames[i, part] for i in where]),
            torch.stack([owners[i, part] for i in where]),
        )
