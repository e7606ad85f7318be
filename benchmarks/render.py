"""Print how fast the renderer is, eager and compiled, and how far the two differ.

    python benchmarks/render.py [--clips 4] [--threads 1]

The compiled renderer needs a C++ compiler; a first batch, which is not counted, pays for the
compilation. Seconds are those that the processor spent, over all threads, so that a busy machine
prints the same; the world's frames are 64x64 pixels, the upsampler's targets 256x256.
"""

from __future__ import annotations

import argparse
from time import process_time

import torch

from kineograph.world.draw import BASE_SIZES, CLIP_TIMES, draw_scene
from kineograph.world.render import render
from kineograph.world.scene import Scene


def timed(scenes: list[Scene], scale: int, *, compiled: bool) -> tuple[torch.Tensor, float]:
    """Return the frames and the processor seconds that a second rendering of them takes."""
    height, width = BASE_SIZES[scenes[0].aspect_ratio]
    size = (height * scale, width * scale)
    for _ in range(2):
        start = process_time()
        video, _ = render(scenes, CLIP_TIMES, *size, scale=scale, compiled=compiled)
        seconds = process_time() - start
    return video, seconds


def main() -> None:
    """Print one line of a Markdown table for each number of objects and each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=4, help="clips a batch (default 4)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| objects | size | eager, frames/s | compiled, frames/s | differ, at most by |")
    print("|---|---|---|---|---|")
    for count in (1, 2, 3):
        for scale in (1, 4):
            scenes = [draw_scene(i, count=count) for i in range(max(1, args.clips // scale))]
            plain, slow = timed(scenes, scale, compiled=False)
            fused, fast = timed(scenes, scale, compiled=True)
            frames = len(scenes) * len(CLIP_TIMES)
            off = (plain.int() - fused.int()).abs()
            print(
                f"| {count} | {64 * scale}x{64 * scale} | {frames / slow:.0f} | "
                f"{frames / fast:.0f} | {100 * (off > 0).float().mean():.4f} %, {int(off.max())} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
