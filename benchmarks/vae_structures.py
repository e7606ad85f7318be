"""Which VAE of the Wan family learns fastest on a CPU: train each for a while on the same clips.

    python benchmarks/vae_structures.py [--seconds 60] [--batch 4] [--compiled]

Prints the reconstruction PSNR (dB, training batches, mean of the last ten steps) that each
structure reaches in the same time on one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kineograph import presets
from kineograph.spec import VaeConfig
from kineograph.train.clips import draw_batch, render_seen, to_float
from kineograph.train.engine import Engine
from kineograph.train.recipe import Schedule, VaeRecipe
from kineograph.train.vae import VaeTask
from kineograph.train.worlds import world_of

STRUCTURES = {
    "patch 4, 4x16x16, z 64, residual, 48/64 x (1,2,2)": VaeConfig(
        z_dim=64, patch_size=4, encoder_dim=48, decoder_dim=64, dim_mult=(1, 2, 2),
        num_res_blocks=1, temporal_downsample=(True, True), residual=True,
    ),
    "patch 4, 4x16x16, z 64, plain, 32/64 x (1,2,4)": VaeConfig(
        z_dim=64, patch_size=4, encoder_dim=32, decoder_dim=64, dim_mult=(1, 2, 4),
        num_res_blocks=1, temporal_downsample=(True, True),
    ),
    "patch 2, 4x8x8, z 16, plain, 24/32 x (1,2,4)": VaeConfig(
        z_dim=16, patch_size=2, encoder_dim=24, decoder_dim=32, dim_mult=(1, 2, 4),
        num_res_blocks=1, temporal_downsample=(True, True),
    ),
    "patch 2, 4x8x8, z 16, plain, 24/32 x (1,4,4)": VaeConfig(
        z_dim=16, patch_size=2, encoder_dim=24, decoder_dim=32, dim_mult=(1, 4, 4),
        num_res_blocks=1, temporal_downsample=(True, True),
    ),
}  # fmt: skip
WARM_STEPS = 2  # not timed: first calls build kernels
BATCHES, FRAMES = 60, 13


class SameClips(VaeTask):
    """Trains on batches that are rendered already, one after another."""

    def __init__(self, recipe: VaeRecipe, batches: list[Tensor]) -> None:
        super().__init__(recipe)
        self.batches = batches

    def _video(self, step: int) -> Tensor:
        return to_float(self.batches[step % len(self.batches)])


def rendered(batch: int, compiled: bool) -> list[Tensor]:
    """Render batches of square clips."""
    world, batches = world_of(presets.NANO), []
    for k in range(BATCHES):
        scenes, times = draw_batch(world, 7, k, batch, FRAMES, 1.0)
        batches.append(render_seen(world, scenes, compiled=compiled, times=times)[0])
    return batches


def main() -> None:
    """Train every structure and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--compiled", action="store_true", help="compile the renderer")
    args = parser.parse_args()
    torch.set_num_threads(1)
    batches = rendered(args.batch, args.compiled)
    for name, config in STRUCTURES.items():
        presets.PRESETS["nano"] = replace(presets.NANO, vae=config)
        schedule = Schedule(steps=10**6, warmup=30, weight_decay=0.0, ema=0.9)
        task = SameClips(VaeRecipe("nano", schedule, batch=args.batch), batches)
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(task, Path(folder))
            for _ in range(WARM_STEPS):
                engine.advance()
            start, scores = time.monotonic(), [0.0]
            while time.monotonic() - start < args.seconds:
                scores.append(engine.advance()["psnr"])
        parameters = sum(p.numel() for p in task.vae.parameters()) / 1e6
        score = sum(scores[-10:]) / len(scores[-10:])
        print(f"{name}: {parameters:.1f}M, {len(scores) - 1} steps, {score:.1f} dB", flush=True)


if __name__ == "__main__":
    main()
