"""Print how we compare with diffusers on the open Wan weights, on this machine.

    python benchmarks/against_diffusers.py [--parts dit vae-2.1 vae-2.2] [--dtype bfloat16]

The same random weights of the true shapes, in files as diffusers lays them out, in both; each
measurement in a process of its own, ours and theirs by turns. A ratio above 1 is in our favour:
their seconds over ours, their peak of memory over ours. `start` is from the start of the process,
imports and opening of the weights included, to the end of the first use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, time
from typing import Any

PARTS = ("dit", "vae-2.1", "vae-2.2")
# Latent frames, height and width of small clips.
SHAPES = {"dit": (3, 20, 32), "vae-2.1": (3, 20, 32), "vae-2.2": (2, 8, 12)}
REPEATS = 2
SIDES = ("ours", "diffusers")


def write_weights(part: str, folder: Path, dtype: Any) -> None:  # noqa: ANN401 - torch comes later
    """Write random weights of one part of a model, as diffusers does."""
    import torch
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    torch.manual_seed(0)
    if part == "dit":
        model: Any = WanTransformer3DModel(
            num_attention_heads=12, attention_head_dim=128, in_channels=16, out_channels=16,
            text_dim=4096, freq_dim=256, ffn_dim=8960, num_layers=30,
        )  # fmt: skip
    elif part == "vae-2.1":
        model = AutoencoderKLWan()
    else:
        model = AutoencoderKLWan(
            base_dim=160, decoder_base_dim=256, z_dim=48, is_residual=True, in_channels=12,
            out_channels=12, patch_size=2, scale_factor_spatial=16,
            latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
        )  # fmt: skip
    model.to(dtype).save_pretrained(folder)


class Ours:
    """Our part, opened from diffusers' file."""

    def __init__(self, part: str, folder: Path, dtype: Any) -> None:  # noqa: ANN401
        import torch

        from kineograph.presets_wan import T2V_1_3B, VAE_21, VAE_22
        from kineograph.runtime.passes import settle
        from kineograph.weights.layouts import WanFolder, shards
        from kineograph.weights.wan import open_part

        kind = "dit" if part == "dit" else "vae"
        config = {"dit": T2V_1_3B.dit, "vae-2.1": VAE_21, "vae-2.2": VAE_22}[part]
        files = WanFolder(folder, "diffusers", {kind: shards(folder)}, None)
        self.model: Any = open_part(kind, config, files, dtype)
        if kind == "vae" and dtype == torch.bfloat16:
            settle(self.model)  # as a pipeline does
        self.dtype = dtype

    def step(self, latent: Any, sigma: Any, context: Any) -> Any:  # noqa: ANN401
        import torch

        half = self.dtype != torch.float32
        with torch.autocast("cpu", self.dtype if half else None, enabled=half):
            return self.model(latent, sigma, context)

    def encode(self, video: Any) -> Any:  # noqa: ANN401
        return self.model.encode(video.to(self.dtype))[0]

    def decode(self, latent: Any) -> Any:  # noqa: ANN401
        return self.model.decode(latent.to(self.dtype))


class Theirs:
    """The reference's part."""

    def __init__(self, part: str, folder: Path, dtype: Any) -> None:  # noqa: ANN401
        from diffusers import AutoencoderKLWan, WanTransformer3DModel

        cls: Any = WanTransformer3DModel if part == "dit" else AutoencoderKLWan
        self.model = cls.from_pretrained(folder, torch_dtype=dtype).eval()
        self.dtype = dtype

    def step(self, latent: Any, sigma: Any, context: Any) -> Any:  # noqa: ANN401
        return self.model(
            latent.to(self.dtype), sigma * 1000, context.to(self.dtype), return_dict=False
        )[0]

    def encode(self, video: Any) -> Any:  # noqa: ANN401
        return self.model.encode(video.to(self.dtype)).latent_dist.mean

    def decode(self, latent: Any) -> Any:  # noqa: ANN401
        return self.model.decode(latent.to(self.dtype), return_dict=False)[0]


def child(side: str, part: str, folder: Path, dtype_name: str, began: float) -> dict[str, Any]:
    """Measure one side of one part in this process."""
    import torch

    dtype = getattr(torch, dtype_name)
    peer: Any = (Ours if side == "ours" else Theirs)(part, folder, dtype)
    generator = torch.Generator().manual_seed(1)
    frames, height, width = SHAPES[part]
    channels = {"dit": 16, "vae-2.1": 16, "vae-2.2": 48}[part]
    latent = torch.randn(1, channels, frames, height, width, generator=generator)
    found: dict[str, Any] = {}
    checks: dict[str, Any] = {}
    with torch.no_grad():
        if part == "dit":
            context = torch.randn(1, 512, 4096, generator=generator)
            jobs = {"step": lambda: peer.step(latent, torch.tensor([0.7]), context)}
        else:
            scale = 16 if part == "vae-2.2" else 8
            size = (1, 3, 1 + 4 * (frames - 1), height * scale, width * scale)
            video = torch.rand(size, generator=generator) * 2 - 1
            jobs = {"encode": lambda: peer.encode(video), "decode": lambda: peer.decode(latent)}
        for name, job in jobs.items():
            out = job()
            if "start" not in found:
                found["start"] = time() - began
            best = float("inf")
            for _ in range(REPEATS):
                start = perf_counter()
                out = job()
                best = min(best, perf_counter() - start)
            found[name] = best
            checks[name] = [float(out.float().mean()), float(out.float().std())]
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # GB
    return {"figures": found, "checks": checks}


def run(dtype: str, *words: str) -> str:
    """Run this script in a process of its own: a peak of memory is passed on by none."""
    env = {**os.environ, "BEGAN": str(time()), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, *words, "--dtype", dtype]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        import torch

        part, folder = args.write
        write_weights(part, Path(folder), getattr(torch, args.dtype))
        return
    if args.child:
        side, part, folder = args.child
        began = float(os.environ["BEGAN"])
        print(json.dumps(child(side, part, Path(folder), args.dtype, began)))
        return
    import torch

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.dtype}\n")
    print("| part | what | ours | diffusers | ratio |\n|---|---|---|---|---|")
    for part in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            run(args.dtype, "--write", part, folder)
            results = {
                side: json.loads(run(args.dtype, "--child", side, part, folder).splitlines()[-1])
                for side in SIDES
            }
        ours, theirs = (results[side]["figures"] for side in SIDES)
        for name in ours:
            unit = "GB" if name == "memory" else "s"
            ratio = theirs[name] / ours[name]
            print(f"| {part} | {name} | {ours[name]:.2f} {unit} | {theirs[name]:.2f} {unit} "
                  f"| {ratio:.2f} |", flush=True)  # fmt: skip
        for name, mine in results["ours"]["checks"].items():
            other = results["diffusers"]["checks"][name]
            off = max(abs(a - b) for a, b in zip(mine, other, strict=True))
            assert off <= 0.02 * abs(other[1]), f"{part} {name} differs: {mine} and {other}"


if __name__ == "__main__":
    main()
