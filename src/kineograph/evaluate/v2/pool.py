"""What the second world's judges are trained on: clips of scenes that nothing else has seen.

A shard is 100 clips of one aspect ratio, with the object that each pixel shows. Scenes come
from seeds of their own, held-out combinations too: a judge must know all there is.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kineograph.evaluate.v2.seen import SIDE, TIMES, colour_class
from kineograph.media.files import PendingFile, write_json
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.styles import stylise
from kineograph.world.v2 import native
from kineograph.world.v2.draw import draw_scene, picture_size
from kineograph.world.v2.film import filmed
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import MAX_OBJECTS, VERSION, Scene, scene_from_dict

JUDGE_SEED = 1 << 44  # of training; suites lie below
TEST_SEED = 1 << 45
SHARD = 100
ARRAYS = ("frames", "owners", "classes")
# Half of the shards are square.
RATIOS = ("1:1", "4:3", "1:1", "16:9", "1:1", "3:4", "1:1", "9:16", "1:1", "21:9")
ALIKE_SHARE = 0.1  # of scenes in which two objects may have one colour


def distinct(scene: Scene) -> bool:
    """Whether no two objects ever have the same colour, so that colours tell them apart."""
    colours = [c for o in scene.objects for c in {o.colour, o.colour_to or o.colour}]
    return len(set(colours)) == len(colours)


def judge_scene(seed: int, aspect_ratio: str = "1:1") -> tuple[Scene, Play]:
    """Return a scene to train or test judges on, of any split, with one shot."""
    alike = random.Random(f"judges {VERSION} {seed}").random() < ALIKE_SHARE
    return draw_scene(
        seed, aspect_ratio=aspect_ratio, more="shot", keep=None if alike else distinct
    )


def look(play: Play) -> tuple[Tensor, Tensor]:
    """Return a clip as judges see it: `t h w 3` and, `t h w`, 1 + the object of each pixel."""
    height, width = picture_size(play.scene.aspect_ratio, SIDE)
    buffer = filmed(play, TIMES, height, width, compiled=native.ready())
    shown = (stylise(buffer, play.scene.style) * 255 + 0.5).to(torch.uint8)
    return shown, (buffer.owner - FIRST_OBJECT + 1).clamp_min(0).to(torch.uint8)


@dataclass(frozen=True)
class Shard:
    """Clips of one aspect ratio."""

    scenes: list[Scene]
    frames: UInt8[Tensor, "n t h w 3"]
    owners: UInt8[Tensor, "n t h w"]
    classes: UInt8[Tensor, "n t o"]  # what `seen.colour_class` says of each owner at each time

    def truth(self, clips: Tensor, times: Tensor) -> UInt8[Tensor, "m h w"]:
        """Return the class of each pixel of some frames."""
        owners = self.owners[clips, times]
        table = self.classes[clips, times]
        return table.gather(1, owners.flatten(1).long()).view(owners.shape)


def _class_table(play: Play) -> np.ndarray:
    table = np.zeros((len(TIMES), MAX_OBJECTS + 1), np.uint8)
    for i in range(len(play.scene.objects)):
        table[:, i + 1] = colour_class(play, i)
    return table


def _fingerprint(seed: int, ratio: str) -> str:
    """Return a name for what the world makes of a seed, so that no old render passes for it."""
    scene, play = judge_scene(seed, ratio)
    frames, _ = look(play)
    digest = hashlib.sha256(json.dumps(scene.to_dict()).encode())
    digest.update(frames.numpy().tobytes())
    return digest.hexdigest()[:12]


def make_shard(folder: Path, number: int) -> Path:
    """Render a shard, unless it is there; return its folder."""
    torch.set_num_threads(1)
    first, ratio = JUDGE_SEED + number * SHARD, RATIOS[number % len(RATIOS)]
    path = folder / f"shard-{number:04d}-{_fingerprint(first, ratio)}"
    if path.exists():
        return path
    scenes: list[dict[str, Any]] = []
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    for seed in range(first, first + SHARD):
        scene, play = judge_scene(seed, ratio)
        shown, who = look(play)
        scenes.append(scene.to_dict())
        made = (shown.numpy(), who.numpy(), _class_table(play))
        for name, array in zip(ARRAYS, made, strict=True):
            arrays[name].append(array)
    pending = PendingFile(path)
    pending.temporary.mkdir()
    write_json(pending.temporary / "scenes.json", scenes)
    for name, some in arrays.items():
        np.save(pending.temporary / f"{name}.npy", np.stack(some))
    pending.commit()
    return path


def read_shard(path: Path) -> Shard:
    """Open a shard; its pixels are mapped, so that several processes share them.

    Raises:
        OSError, ValueError: it is missing or damaged.
    """
    scenes = [scene_from_dict(s) for s in json.loads((path / "scenes.json").read_text())]
    # copy on write: torch takes no array that cannot be written to
    arrays = (np.load(path / f"{name}.npy", mmap_mode="c") for name in ARRAYS)
    return Shard(scenes, *(torch.from_numpy(a) for a in arrays))


def make_pool(
    folder: Path, clips: int, say: Callable[[str], None], *, skip: int = 0, workers: int = 2
) -> list[Shard]:
    """Render the training clips, a shard at a time; shards that are there are not made again.

    The first `skip` of all clips are left out.
    """
    first = skip // SHARD
    numbers: Sequence[int] = range(first, first + -(-clips // SHARD))
    paths = []
    with ProcessPoolExecutor(workers) as pool:
        for path in pool.map(partial(make_shard, folder), numbers):
            paths.append(path)
            if len(paths) % 5 == 0:
                say(f"rendered {len(paths) * SHARD} of {clips} clips")
    return [read_shard(path) for path in paths]

