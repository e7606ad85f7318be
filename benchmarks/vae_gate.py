"""Whether a VAE keeps what physics is read from: the go/no-go before a transformer is trained.

    python benchmarks/vae_gate.py VAE.safetensors [--clips 6]

True clips of falls, bounces, throws, rolls and collisions go through the VAE; objects are followed
by the judge's masks before and after. Asked: an error of tracks under 1.5 pixels (of 128) and of
instants of contact under 40 ms in nine of ten; else time is to be compressed less. Of instants
those motions count whose own are read of true clips within 10 ms.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from floor_physics import SEED, scene_of
from jaxtyping import Float
from numpy import ndarray

from kineograph.evaluate.physical import measure_physics
from kineograph.evaluate.pool import through_vae
from kineograph.evaluate.v2.files import load_judges
from kineograph.evaluate.v2.measures import stated_masks
from kineograph.models.vae import VideoVAE
from kineograph.weights.files import build
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.scene import FPS

MOTIONS = ("fall", "bounce", "throw", "roll", "collide")
SIZE = 128
MOST_PIXELS, MOST_MS = 1.5, 40.0
TOLD_MS = 10.0
LEAST_SHARE = 12.0  # pixels that an object must show for its middle to mean something


def middles(masks: Float[ndarray, "o t h w"]) -> Float[ndarray, "o t 2"]:
    """Return the middle (row, column) of each object in each frame; NaN where it is hardly seen."""
    rows, columns = np.arange(masks.shape[2]) + 0.5, np.arange(masks.shape[3]) + 0.5
    weight = masks.sum((2, 3))
    enough = np.where(weight >= LEAST_SHARE, weight, np.nan)
    row = (masks.sum(3) * rows).sum(2) / enough
    column = (masks.sum(2) * columns).sum(2) / enough
    return np.stack((row, column), -1)


def main() -> None:
    """Print a Markdown table by motion, and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vae", type=Path)
    parser.add_argument("--clips", type=int, default=6, help="clips a motion (default 6)")
    args = parser.parse_args()
    vae = build("vae", args.vae)
    assert isinstance(vae, VideoVAE)
    judges = load_judges()[0]
    tracks: dict[str, list[float]] = defaultdict(list)
    instants: dict[tuple[str, str], list[float]] = defaultdict(list)
    quality: dict[str, list[float]] = defaultdict(list)
    for motion in MOTIONS:
        for n in range(args.clips):
            scene, play = scene_of(motion, SEED + n)
            buffer = filmed(play, frame_times(scene.seconds, FPS), SIZE, SIZE, compiled=False)
            truth = (buffer.colour * 255 + 0.5).to(torch.uint8)
            back = through_vae(vae, truth[None])[0]
            error = (truth.float() - back.float()) / 255
            quality[motion].append(float(-10 * error.square().mean().log10()))
            masks = {k: stated_masks(scene, x.numpy(), judges) for k, x in
                     (("truth", truth), ("VAE", back))}  # fmt: skip
            apart = middles(masks["VAE"]) - middles(masks["truth"])
            tracks[motion] += [d for d in np.hypot(*apart.T).ravel().tolist() if d == d]
            for name, some in masks.items():
                value = measure_physics(scene, some, FPS, camera_known=True).get("contact_ms")
                if value is not None:
                    instants[motion, name].append(abs(value))
            print(f"{motion}: {n + 1} of {args.clips}", file=sys.stderr, flush=True)
    print("| motion | PSNR, dB | track, px: median, p90 | contact, ms, truth | contact, ms, VAE |")
    print("|---|---|---|---|---|")
    for motion in MOTIONS:
        cells = [f"{np.mean(quality[motion]):.1f}", _pair(tracks[motion])]
        cells += [_pair(instants[motion, name]) for name in ("truth", "VAE")]
        print(f"| {motion} | {' | '.join(cells)} |")
    told = [m for m in MOTIONS if np.median(instants[m, "truth"] or [np.inf]) < TOLD_MS]
    late = [v for m in told for v in instants[m, "VAE"]]
    pixels = float(np.median([d for some in tracks.values() for d in some]))
    ms = float(np.quantile(late, 0.9)) if late else float("nan")
    go = pixels < MOST_PIXELS and ms < MOST_MS
    print(f"\nTracks {pixels:.2f} px (under {MOST_PIXELS}); contacts of {', '.join(told)}")
    print(f"{ms:.1f} ms in nine of ten (under {MOST_MS:g}): {'go' if go else 'no go'}")


def _pair(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.quantile(values, 0.5):.2f}, {np.quantile(values, 0.9):.2f}"


if __name__ == "__main__":
    main()
