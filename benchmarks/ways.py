"""Print how faithful every way into a model is: pictures, videos before and after, loop, source.

    python benchmarks/ways.py [--model nano] [--scenes 4]

Inputs are renders of scenes that training never saw; prompts are their captions. Pictures: PSNR
(dB) of the frame where a picture was asked for against the picture, beside what the VAE alone
gives back of it. Seams: how much the picture changes from one frame to the next at the seam, over
the median change beside it (1: nothing is seen of it; a cut is 5 or more). Source: correlation of
what changes in the source and in what was made of it, by strength; 1 is the same motion.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from kineograph.decoding import encode_video
from kineograph.generate import generate
from kineograph.inputs import still
from kineograph.media.video import open_writer
from kineograph.pipeline import Pipeline, load
from kineograph.produce import with_neighbours
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.train.clips import VALIDATION_SEED
from kineograph.train.worlds import World, world_of

SEED = VALIDATION_SEED + (1 << 20)
STRENGTHS = (0.4, 0.6, 0.8)
BESIDE = 6  # frames on each side of a seam
Clip = UInt8[ndarray, "t h w 3"]


def psnr(a: ndarray, b: ndarray) -> float:
    """Return the likeness of two pictures of 8 bits, in dB."""
    error = np.square((a.astype(float) - b.astype(float)) / 255).mean()
    return float(-10 * np.log10(max(error, 1e-9)))


def seam(clip: Clip, at: int) -> float:
    """Return the change into frame `at` over the median change around it."""
    frames = clip.astype(float)
    changes = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    around = [c for i, c in enumerate(changes) if abs(i - (at - 1)) <= BESIDE and i != at - 1]
    return float(changes[at - 1] / max(np.median(around), 1e-6))


def motion_likeness(a: Clip, b: Clip) -> float:
    """Return the correlation of what changes from frame to frame in two clips."""
    moves = [np.abs(np.diff(x.astype(float).mean(-1), axis=0)).ravel() for x in (a, b)]
    return float(np.corrcoef(moves[0], moves[1])[0, 1])


class Trial:
    """One scene, its caption and its films on disk."""

    def __init__(self, pipeline: Pipeline, world: World, number: int, folder: Path) -> None:
        self.pipeline, self.folder = pipeline, folder
        spec = pipeline.spec
        scene = world.draw(SEED + number)
        rng = random.Random(number)
        self.prompt = world.caption(scene, rng, full=True)[0]
        times = np.arange(spec.num_frames) / spec.fps
        scale = spec.sizes["1:1"].out_height // world.sizes["1:1"][0]
        video, _ = world.render([scene], times, scale=scale, compiled=False)
        self.truth: Clip = video[0].numpy()
        self.film = str(folder / f"film-{number}.webm")
        with open_writer(self.film, spec.fps, *self.truth.shape[2:0:-1]) as writer:
            writer.write(self.truth)
        self.number = number

    def picture(self, frame: int) -> str:
        """Write one frame of the truth; return its path."""
        path = self.folder / f"frame-{self.number}-{frame}.png"
        Image.fromarray(self.truth[frame]).save(path)
        return str(path)

    def make(self, **fields: object) -> Clip:
        """Return the frames that a request leads to, neighbours and all."""
        asked = GenerationRequest(self.prompt, seed=self.number, fps=self.pipeline.spec.fps)
        request = resolve(replace(asked, **fields), self.pipeline.spec)
        chunks = with_neighbours(generate(self.pipeline, request), request, self.pipeline.spec)
        return np.concatenate(list(chunks))

    def vae_alone(self, path: str, frames: int) -> float:
        """Return the PSNR of a picture through the VAE alone, at the base size."""
        size = self.pipeline.spec.sizes["1:1"]
        picture = still(path, size)
        with torch.no_grad():
            latent = encode_video(self.pipeline, picture[:, None].expand(-1, frames, -1, -1))
            back = self.pipeline.vae.decode(self.pipeline.vae.denormalise(latent))[0, :, -1]
        pixels = [x.clamp(-1, 1).add(1).mul(127.5).round().numpy() for x in (back, picture)]
        return psnr(pixels[0], pixels[1])


def based(pipeline: Pipeline, frame: ndarray) -> ndarray:
    """Return a delivered frame at the base size."""
    size = pipeline.spec.sizes["1:1"]
    shrunk = Image.fromarray(frame).resize((size.width, size.height), Image.Resampling.BOX)
    return np.asarray(shrunk)


def measured(trial: Trial) -> dict[str, float]:
    """Return every figure of one scene."""
    pipeline, spec = trial.pipeline, trial.pipeline.spec
    stride, last = spec.vae.temporal_stride, spec.num_frames - 1
    middle = stride * (last // stride // 2)
    found: dict[str, float] = {}
    for name, field, frame in (
        ("first picture", "image", 0),
        ("last picture", "last_image", last),
        ("picture in the middle", "keyframes", middle),
    ):
        path = trial.picture(frame)
        value = (f"{path}@{frame / spec.fps}",) if field == "keyframes" else path
        clip = trial.make(**{field: value})
        found[f"{name}: PSNR, dB"] = psnr(
            based(pipeline, clip[frame]), based(pipeline, trial.truth[frame])
        )
        found[f"{name}: VAE alone, dB"] = trial.vae_alone(path, 1 + stride if frame else 1)
    known = len(trial.truth)
    found["before: seam"] = seam(trial.make(before=trial.film), known)
    after = trial.make(after=trial.film)
    found["after: seam"] = seam(after, len(after) - known)
    looped = trial.make(loop=True)
    found["loop: seam"] = seam(np.concatenate((looped, looped)), len(looped))
    for strength in STRENGTHS:
        made = trial.make(video=trial.film, strength=strength)
        likeness = motion_likeness(
            np.stack([based(pipeline, f) for f in made]),
            np.stack([based(pipeline, f) for f in trial.truth]),
        )
        found[f"source at {strength:g}: motion alike"] = likeness
    other = motion_likeness(
        np.stack([based(pipeline, f) for f in trial.make()]),
        np.stack([based(pipeline, f) for f in trial.truth]),
    )
    found["no source, same prompt: motion alike"] = other
    return found


def _worst(name: str, some: list[float]) -> float:
    return max(some) if "seam" in name else min(some)


def main() -> None:
    """Print a Markdown table: medians and the worst of all scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=int, default=4)
    args = parser.parse_args()
    pipeline = load(args.model)
    world = world_of(pipeline.spec)
    figures: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.scenes):
            for name, value in measured(Trial(pipeline, world, number, Path(folder))).items():
                figures[name].append(value)
    print(f"{args.model}, {args.scenes} scenes\n\n| | median | worst |\n|---|---|---|")
    for name, some in figures.items():
        print(f"| {name} | {np.median(some):.2f} | {_worst(name, some):.2f} |")


if __name__ == "__main__":
    main()
