"""Print how fast the second version's renderer is, eager and fused, and how far the two differ.

    python benchmarks/render_v2.py [--clips 8] [--size 128] [--device cpu]

The fused kernels need a C++ compiler (or a GPU); a first rendering, which is not counted, pays
for the compilation. On a processor one thread is used, and seconds are those that it spent, so
that a busy machine prints the same; on a GPU they are seconds of the clock.
"""

from __future__ import annotations

import argparse
from time import perf_counter, process_time

import torch

from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.film import frame_times
from kineograph.world.v2.pack import Frames, pack
from kineograph.world.v2.render import render_chunks


def timed(
    clips: list[Frames], size: int, device: torch.device, *, compiled: bool
) -> tuple[list[torch.Tensor], float]:
    """Return the frames of clips and the seconds that a second rendering of them takes."""
    clock = process_time if device.type == "cpu" else perf_counter
    for _ in range(2):
        start = clock()
        shown = []
        for clip in clips:
            chunks = render_chunks(
                clip, size, size, compiled=compiled, device=device, buffers=False
            )
            shown += [(chunk.colour * 255 + 0.5).to(torch.uint8) for chunk in chunks]
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = clock() - start
    return shown, seconds


def main() -> None:
    """Print a Markdown table: clips of one, two to three, and more objects, and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8, help="clips a row (default 8)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    print("| objects | parts | eager, frames/s | fused, frames/s | off by more than a level, % |")
    print("|---|---|---|---|---|")
    total = [0.0, 0.0, 0]
    for counts in ((1,), (2, 3), (4, 5, 6)):
        clips, parts = [], 0
        for i in range(args.clips):
            scene, play = draw_scene(i, count=counts[i % len(counts)], more="shot")
            clips.append(pack([play], [frame_times(scene.seconds)]))
            parts += clips[-1].kind.shape[1]
        plain, slow = timed(clips, args.size, device, compiled=False)
        fused, fast = timed(clips, args.size, device, compiled=True)
        frames = sum(len(c) for c in clips)
        total = [total[0] + slow, total[1] + fast, total[2] + frames]
        off = torch.cat(
            [(a.int() - b.int()).abs().flatten() for a, b in zip(plain, fused, strict=True)]
        )
        names = "-".join(str(c) for c in sorted({counts[0], counts[-1]}))
        print(
            f"| {names} | {parts / len(clips):.1f} | {frames / slow:.0f} | {frames / fast:.0f} | "
            f"{100 * (off > 1).float().mean():.4f} |",
            flush=True,
        )
    print(f"| all | | {total[2] / total[0]:.0f} | {total[2] / total[1]:.0f} | |")


if __name__ == "__main__":
    main()
