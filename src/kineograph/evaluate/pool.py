"""What judges are trained and tested on: rendered clips of scenes that nothing else has seen.

Scenes come from seeds of their own, with every colour on every shape, held-out ones too. In
some clips two objects have one colour, which the world never draws, so that counting is not
counting colours.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from kineograph.evaluate.judges import (
    COUNTS,
    MOTION_CLASSES,
    SIDE,
    TIMES,
    motion_class,
)
from kineograph.media.files import atomic_write
from kineograph.models.vae import VideoVAE
from kineograph.world.draw import CLIP_TIMES, draw_scene
from kineograph.world.render import pack, render
from kineograph.world.scene import CAMERA_MOVES, COLOURS, FLOORS, SHAPES, SKIES, Scene

JUDGE_SEED = 1 << 44  # training below, validation and prompts between
TEST_SEED = 1 << 45
COUNT_SHARES = (0.45, 0.40, 0.15)
TWIN_SHARE = 0.12  # of clips with several objects: two of them have the same colour
SHARD = 500


def judge_scene(seed: int, *, twins: bool = True) -> Scene:
    """Return a scene to train or test judges on, of any split."""
    rng = random.Random(f"judges {seed}")
    count = rng.choices(COUNTS, COUNT_SHARES)[0]
    scene = draw_scene(seed, count=count, split="any")
    if twins and count > 1 and rng.random() < TWIN_SHARE:
        first, second, *rest = scene.objects
        scene = replace(scene, objects=(first, replace(second, colour=first.colour), *rest))
    return scene


def has_twins(scene: Scene) -> bool:
    """Return whether two objects have one colour."""
    return len({o.colour for o in scene.objects}) < len(scene.objects)


@dataclass
class Pool:
    """Clips at the judged size and times, with what is true of them.

    `colours` starts as the truth (0 background, 1 + the colour's index) and is replaced by what
    the pixel judge sees. The first clips also exist as reconstructions of a VAE.
    """

    scenes: list[Scene]
    frames: UInt8[Tensor, "n 13 64 64 3"]
    colours: UInt8[Tensor, "n 13 64 64"]
    soft: UInt8[Tensor, "m 13 64 64 3"]

    def labels(self) -> Int64[Tensor, "n 4"]:
        """Return the indices of camera move, count, floor and sky."""
        rows = [
            (
                CAMERA_MOVES.index(s.camera.move),
                COUNTS.index(len(s.objects)),
                FLOORS.index(s.floor),
                SKIES.index(s.sky),
            )
            for s in self.scenes
        ]
        return torch.tensor(rows)

    def things(self) -> Int64[Tensor, "k 4"]:
        """Return clip, colour, shape and motion of every object that its colour tells apart."""
        rows = [
            (
                clip,
                COLOURS.index(o.colour),
                SHAPES.index(o.shape),
                MOTION_CLASSES.index(motion_class(s, i)),
            )
            for clip, s in enumerate(self.scenes)
            if not has_twins(s)
            for i, o in enumerate(s.objects)
        ]
        return torch.tensor(rows)

    def clips(
        self, index: Tensor, rng: random.Random, times: slice | Tensor = slice(None)
    ) -> Float[Tensor, "b t 3 h w"]:
        """Return clips in [-1, 1]: true, or the VAE's where there is one, by half."""
        picked = [
            (self.soft if i < len(self.soft) and rng.random() < 0.5 else self.frames)[i][times]
            for i in index.tolist()
        ]
        return rearrange(torch.stack(picked), "b t h w c -> b t c h w").float() / 127.5 - 1


def true_colours(
    ids: UInt8[Tensor, "n t h w"], scenes: list[Scene]
) -> UInt8[Tensor, "n t h w"]:
    """Turn the index of the object at each pixel into 1 + the index of its colour."""
    table = torch.zeros(len(scenes), len(COUNTS) + 1, dtype=torch.uint8)
    for clip, scene in enumerate(scenes):
        for i, thing in enumerate(scene.objects):
            table[clip, i + 1] = 1 + COLOURS.index(thing.colour)
    flat = table.gather(1, ids.flatten(1).long())
    return flat.view(ids.shape)


def fingerprint(scenes: list[Scene]) -> str:
    """Return a name for what the world makes of scenes, so that no old render passes for it.

    It covers the scenes, where all is at every time, and the pixels of one small frame.
    """
    digest = hashlib.sha256()
    for count in sorted({len(s.objects) for s in scenes}):
        some = [s for s in scenes if len(s.objects) == count]
        digest.update(json.dumps([s.to_dict() for s in some]).encode())
        for tensor in pack(some, TIMES).tensors():
            digest.update(tensor.numpy().tobytes())
    digest.update(render(scenes[:1], TIMES[:1], 16, 16)[0].numpy().tobytes())
    return digest.hexdigest()[:16]


def make_pool(
    folder: Path,
    clips: int,
    vae: VideoVAE | None,
    vae_clips: int,
    say: Callable[[str], None],
    *,
    compiled: bool = True,
) -> Pool:
    """Render the training clips, a shard at a time; shards that are there are not made again."""
    scenes = [judge_scene(JUDGE_SEED + i) for i in range(clips)]
    frames = torch.empty(clips, len(TIMES), SIDE, SIDE, 3, dtype=torch.uint8)
    colours = torch.empty(clips, len(TIMES), SIDE, SIDE, dtype=torch.uint8)
    for start in range(0, clips, SHARD):
        some = scenes[start : start + SHARD]
        path = folder / f"clips-{start:06d}-{fingerprint(some)}.npz"
        if not path.exists():
            video, ids = render(some, TIMES, SIDE, SIDE, compiled=compiled)
            with atomic_write(path) as file:
                np.savez(file, video=video.numpy(), ids=ids.numpy())
            say(f"rendered {start + len(some)} of {clips} clips")
        with np.load(path) as data:
            part = slice(start, start + len(some))
            frames[part] = torch.from_numpy(data["video"])
            colours[part] = true_colours(torch.from_numpy(data["ids"]), some)
    soft = frames[:0]
    if vae is not None:
        weights = hashlib.sha256(b"".join(p.numpy().tobytes() for p in vae.parameters()))
        path = folder / f"soft-{fingerprint(scenes[:vae_clips])}-{weights.hexdigest()[:16]}.npz"
        if not path.exists():
            parts = []
            for start in range(0, vae_clips, 50):
                some = scenes[start : start + 50]
                video, _ = render(some, CLIP_TIMES, SIDE, SIDE, compiled=compiled)
                parts.append(through_vae(vae, video)[:, ::2])
            with atomic_write(path) as file:
                np.savez(file, video=torch.cat(parts).numpy())
            say(f"passed {vae_clips} clips through the VAE")
        with np.load(path) as data:
            soft = torch.from_numpy(data["video"])
    return Pool(scenes, frames, colours, soft)


@torch.no_grad()
def through_vae(
    vae: VideoVAE, video: UInt8[Tensor, "b t h w 3"]
) -> UInt8[Tensor, "b t h w 3"]:
    """Return clips encoded (to the mean) and decoded again."""
    parts = []
    for part in video.split(8):
        x = rearrange(part, "b t h w c -> b c t h w").float() / 127.5 - 1
        out = vae.decode(vae.encode(x)[0]).float().clamp(-1, 1)
        pixels = out.add(1).mul(127.5).round().to(torch.uint8)
        parts.append(rearrange(pixels, "b c t h w -> b t h w c"))
    return torch.cat(parts)
