"""Print what a training step of a model's transformer costs on this processor, and of what it is.

    python benchmarks/train_step.py [--model small] [--threads 1]

First the rate of matrix products of the transformer's sizes, in float32 and bfloat16; then seconds
of processor time for forward and backward passes over whole clips, their first latent frames and
single frames, with plain blocks and with fused ones (`train/fused.py`), and the share of them that
such products would take at that rate.
"""

from __future__ import annotations

import argparse
from itertools import product
from time import process_time

import torch
import torch.nn.functional as F

from kineograph.models.dit import VideoDiT, control_rows
from kineograph.presets import get_preset
from kineograph.spec import DiTConfig
from kineograph.train.fused import fuse

BATCHES = ((4, None), (12, 3), (32, 1))  # samples, latent frames (None: all)
TOKENS = 64  # of a caption


def rate(n: int, k: int, m: int, dtype: torch.dtype) -> float:
    """Return the multiplications and additions a second of one layer, over all threads' time."""
    a, b = torch.randn(n, k, dtype=dtype), torch.randn(m, k, dtype=dtype)
    F.linear(a, b)
    start, repeats = process_time(), 20
    for _ in range(repeats):
        F.linear(a, b)
    return 2 * n * k * m * repeats / (process_time() - start)


def products(config: DiTConfig, tokens: int) -> float:
    """Return the multiplications and additions of a forward pass over one sample."""
    layer = 4 * config.dim**2 + 2 * config.dim**2 + 2 * config.dim * config.ffn_dim
    attention = 2 * config.dim * (tokens + TOKENS)
    return 2.0 * config.num_layers * tokens * (layer + attention)


def main() -> None:
    """Print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="small")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    spec = get_preset(args.model)
    config = spec.dit
    channels, frames, height, width = spec.latent_shape(spec.sizes["1:1"], spec.num_frames)
    per_frame = height * width // (config.patch_size[1] * config.patch_size[2])
    print("| layer | float32, GFLOP/s | bfloat16, GFLOP/s |\n|---|---|---|")
    best = 0.0
    for k, m in ((config.dim, config.dim), (config.dim, config.ffn_dim)):
        found = [rate(4 * per_frame * frames, k, m, d) for d in (torch.float32, torch.bfloat16)]
        best = max(best, found[1])
        print(f"| {k} to {m} | {found[0] / 1e9:.0f} | {found[1] / 1e9:.0f} |")
    dit = VideoDiT(config)
    dit.init_weights(torch.Generator().manual_seed(0))
    print(f"\n{sum(p.numel() for p in dit.parameters()) / 1e6:.1f} M parameters\n")
    print("| blocks | samples | latent frames | s a step | s a sample | products, % |")
    print("|---|---|---|---|---|---|")
    for blocks, (batch, asked) in product(("plain", "fused"), BATCHES):
        if blocks == "fused" and not fuse(dit):
            print("| fused | cannot be compiled here | | | | |")
            break
        count = asked or frames
        latent = torch.randn(batch, channels, count, height, width)
        sigma, context = torch.rand(batch, count), torch.randn(batch, TOKENS, config.text_dim)
        if config.num_controls:
            rows = control_rows(torch.randn(batch, config.num_controls), config.text_dim)
            context = torch.cat((context, rows), 1)

        def step(
            latent: torch.Tensor = latent, sigma: torch.Tensor = sigma,
            context: torch.Tensor = context,
        ) -> None:  # fmt: skip
            with torch.autocast("cpu", torch.bfloat16):
                velocity = dit(latent, sigma, context)
            velocity.float().square().mean().backward()

        step()
        start, repeats = process_time(), 4
        for _ in range(repeats):
            step()
        seconds = (process_time() - start) / repeats
        share = 3 * batch * products(config, count * per_frame) / best / seconds
        cells = (blocks, batch, count, f"{seconds:.2f}", f"{seconds / batch:.3f}")
        print("|", *(f"{cell} |" for cell in (*cells, f"{100 * share:.0f}")))


if __name__ == "__main__":
    main()
