"""Whether both sides of guidance pay in one call: `python benchmarks/guidance_batch.py`.

Of transformers with random weights, cut to a few blocks: seconds of a guided evaluation one by one
and together, by the tokens of one side, and how many times as fast the latter is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from math import isqrt
from time import perf_counter

import torch
from torch import Tensor

from kineograph.flow.guidance import PairFn, one_by_one, together
from kineograph.presets import PRESETS
from kineograph.runtime.batching import batch_pays
from kineograph.weights.files import skeleton


def seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the least seconds of some runs, after one that does not count."""
    best = float("inf")
    for i in range(repeats + 1):
        start = perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i:
            best = min(best, perf_counter() - start)
    return best


@torch.inference_mode()
def main() -> None:
    """Print a line for each model and number of tokens."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["nano", "wan2.1-t2v-1.3b"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 256, 1024, 2304])
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    args = parser.parse_args()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    print(f"{device}, {args.dtype}, {args.blocks} blocks, {torch.get_num_threads()} threads")
    print(f"{'':20}{'tokens':>8}{'one by one':>12}{'together':>10}{'faster':>8}{'rule':>6}")
    for name in args.models:
        config = replace(PRESETS[name].dit, num_layers=args.blocks, control_layers=())
        dit = skeleton("dit", config, "cpu").eval()
        generator = torch.Generator().manual_seed(0)
        for parameter in dit.parameters():
            parameter.normal_(std=0.02, generator=generator)
        dit.to(device)
        context = torch.zeros(1, config.text_len + config.num_controls, config.text_dim).to(device)

        def model(x: Tensor, sigma: Tensor, given: Tensor) -> Tensor:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                velocity: Tensor = dit(x, sigma, given)  # noqa: B023 - called before it changes
            return velocity

        for wanted in args.tokens:
            side = isqrt(wanted)
            size = [side * patch for patch in config.patch_size[1:]]
            x = torch.zeros(1, config.in_channels, config.patch_size[0], *size, device=device)
            sigma = torch.full((1,), 0.5, device=device)

            def timed(pair: PairFn) -> float:
                return seconds(
                    lambda: pair(model, x, sigma, context, context), device, args.repeats  # noqa: B023
                )

            single, double = timed(one_by_one), timed(together)
            rule = "on" if batch_pays(config, side * side, device) else "off"
            print(f"{name:20}{side * side:8}{single:12.4f}{double:10.4f}{single / double:8.2f}"
                  f"{rule:>6}")  # fmt: skip


if __name__ == "__main__":
    main()
