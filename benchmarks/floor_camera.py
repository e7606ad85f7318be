"""Print how well the camera's motion is read off true clips: what a judge of it cannot exceed.

    python benchmarks/floor_camera.py [--clips 90] [--style photoreal] [--soften]

Clips go through all camera moves in turn, from scenes that nothing is trained on; `--style all`
goes through the styles too. Rates are compared on the axis of the true move, for "handheld" the
amplitude of the shake; a guess is the mean size of the true rates of a kind, with the right
sign. The camera's errors are means over the frames of a clip, since its first frame, as in
CameraCtrl (arXiv 2404.02101), which has their sums. One thread is used, and seconds are those
that it spent.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass
from time import process_time

import numpy as np
import torch
from jaxtyping import UInt8

from kineograph.evaluate.egomotion import estimate, rotation_error, translation_error
from kineograph.evaluate.soften import soften
from kineograph.world.v2.camera import AXIS, SPEED_RATES, shots_of, track
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.film import colours, frame_times
from kineograph.world.v2.scene import CAMERA_MOVES, FPS, STYLES

SEED = 1 << 46  # of scenes; training, suites and the judges' own scenes lie below


@dataclass(frozen=True)
class Result:
    """One clip: what was true, and what was found."""

    move: str
    found: str
    true_rate: float
    rate: float
    rotation: float  # deg
    translation: float  # m
    seconds: float

    @property
    def kind(self) -> str:
        return self.move.split()[0]


def softened(frames: UInt8[np.ndarray, "t h w 3"], seed: int) -> UInt8[np.ndarray, "t h w 3"]:
    """Return frames damaged as a video VAE would."""
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None] / 127.5 - 1
    damaged = soften(clip, random.Random(seed), torch.Generator().manual_seed(seed))[0]
    shown: UInt8[np.ndarray, "t h w 3"] = (
        ((damaged + 1) * 127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    )
    return shown


def measured(number: int, style: str, size: int, *, damaged: bool) -> Result:
    """Render the clip of a number, and compare its camera with what is found."""
    move = CAMERA_MOVES[number % len(CAMERA_MOVES)]
    if style == "all":
        # every move meets every style within 432 clips, and each of both is as frequent within 72
        style = STYLES[(number + number // 72) % len(STYLES)]
    scene, play = draw_scene(
        SEED + number, more="shot", style=style,
        keep=lambda scene: scene.shots[0].camera.move == move,
    )  # fmt: skip
    times = frame_times(scene.seconds)
    frames = np.concatenate([part.numpy() for part in colours(play, times, size, size)])
    if damaged:
        frames = softened(frames, number)
    start = process_time()
    found = estimate(frames, FPS)
    seconds = process_time() - start
    rates, camera = shots_of(scene)[0][3], track(scene, times)
    axis = {**AXIS, "handheld": "shake"}.get(move.split()[0])
    return Result(
        move, found.move,
        getattr(rates, axis) if axis else 0.0, getattr(found.rates, axis) if axis else 0.0,
        float(rotation_error(found.camera, camera).mean()),
        float(translation_error(found.camera, camera).mean()), seconds,
    )  # fmt: skip


def row(name: str, some: list[Result]) -> str:
    """Return a line of the table; rates of all kinds together are in shares of the normal rate."""
    right = sum(r.move == r.found for r in some)
    moving = [r for r in some if r.kind in AXIS or len({one.kind for one in some}) == 1]
    unit = {kind: SPEED_RATES[axis][1] for kind, axis in AXIS.items()}
    units = [unit.get(r.kind, 1.0) if name == "all" else 1.0 for r in moving]
    true = np.array([r.true_rate for r in moving]) / units
    rate = np.array([r.rate for r in moving]) / units
    rates = "| | | "
    if true.any():
        usual = {k: np.mean([abs(t) for t, r in zip(true, moving, strict=True) if r.kind == k])
                 for k in {r.kind for r in moving}}  # fmt: skip
        guesses = np.array([usual[r.kind] for r in moving])
        error, guess = np.abs(rate - true).mean(), np.abs(guesses - np.abs(true)).mean()
        rates = f"| {error:.3f} | {guess:.3f} | {error / guess:.2f} "
    columns = [[r.rotation for r in some], [r.translation for r in some]]
    errors = " | ".join(f"{np.median(c):.2f} / {np.quantile(c, 0.9):.2f}" for c in columns)
    seconds = np.mean([r.seconds for r in some])
    return f"| {name} | {len(some)} | {right} {rates}| {errors} | {seconds:.1f} |"


def main() -> None:
    """Print a Markdown table, a row a kind of move and one of all, and the mistaken moves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=90, help="how many (default 90)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--style", default="photoreal", choices=[*STYLES, "all"])
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--soften", action="store_true", help="damage clips as a VAE would")
    args = parser.parse_args()
    if args.clips < 1 or args.first < 0:
        parser.error("--clips must be 1 or more, --first 0 or more")
    torch.set_num_threads(1)
    done: list[Result] = []
    for number in range(args.first, args.first + args.clips):
        done.append(measured(number, args.style, args.size, damaged=args.soften))
        last = done[-1]
        mistaken = f": clip {number}, {last.move}, taken for {last.found}"
        note = mistaken if last.found != last.move else ""
        print(f"{len(done)} of {args.clips}{note}", file=sys.stderr, flush=True)
    print(f"{args.style}{', softened' if args.soften else ''}, {args.size} pixels\n")
    print(
        "| move | clips | named right | rate: error | guess | ratio "
        "| rotation, deg: median / p90 | translation, m: median / p90 | s a clip |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in dict.fromkeys(move.split()[0] for move in CAMERA_MOVES):
        some = [r for r in done if r.kind == kind]
        if some:
            print(row(kind, some))
    print(row("all", done))
    wrong = Counter((r.move, r.found) for r in done if r.move != r.found)
    if wrong:
        print("\nMistaken: " + ", ".join(f"{a} for {b} {n}" for (b, a), n in wrong.most_common()))


if __name__ == "__main__":
    main()
