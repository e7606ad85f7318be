"""Print how exactly the laws of motion are measured on true renders: the noise floor.

    python benchmarks/floor_physics.py [--clips 20] [--size 128] [--camera known]

For each motion and measure of `evaluate.physical`: median and 90th percentile of the errors at 24
and 12 frames a second, as rendered and softened (blurred by 0.8 pixels, noise of 0.02 of the
range, 8 bits), beside what was reached with a simpler world. Objects are followed by the masks of
the shipped judge, as a model's are; with "true masks" the renderer tells which pixels are theirs,
which leaves what the fits alone do wrong; by "colour", it tells so in the first frame alone, and
they are followed by the colours that they had there.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from numpy import ndarray

from kineograph.evaluate.physical import KEYS, OF_MOTION, measure_physics, without_rod
from kineograph.evaluate.tracking import colour_masks
from kineograph.evaluate.v2.files import load_judges
from kineograph.evaluate.v2.judges import Judges
from kineograph.evaluate.v2.measures import stated_masks
from kineograph.evaluate.v2.pool import distinct
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import FPS, Scene

SEED = 1 << 46
RATES = (2 * FPS, FPS)
LOOKS = ("true masks", "judge", "judge, soft", "colour")
BLUR, NOISE = 0.8, 0.02  # pixels; of 1
# Median and 90th percentile of a first study, of plain balls in a plain place, at 24 and 12 fps.
WANTED = {
    ("fall", "g"): "0.013, 0.018; 0.015, 0.019",
    ("bounce", "restitution"): "0.003, 0.005; 0.004, 0.014",
    ("bounce", "contact_ms"): "0.4, 1; 0.6, 9",
    ("collide", "momentum"): "0.003, 0.007; 0.005, 0.011",
    ("collide", "restitution"): "0.003; 0.004",
    ("collide", "contact_ms"): "0.4, 1.4; 1.9, 6.3",
}
Rows = dict[tuple[str, int, str], dict[str, list[float]]]


def softened(frames: UInt8[ndarray, "t h w 3"], seed: int) -> UInt8[ndarray, "t h w 3"]:
    """Return frames blurred and noisy, as if they had been compressed."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(frames).movedim(-1, 1).float() / 255
    taps = torch.exp(-(((torch.arange(5) - 2) / BLUR) ** 2) / 2)
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps).expand(3, 1, 5, 5)
    x = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    x = x + NOISE * torch.randn(x.shape, generator=generator)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1).numpy()


def scene_of(motion: str, seed: int) -> tuple[Scene, Play]:
    """Return a scene that looks like a photograph, stands still but for one motion."""

    def keep(scene: Scene) -> bool:
        static = scene.shots[0].camera.move == "static"
        return scene.objects[0].motion == motion and static and distinct(scene)

    count = 2 if motion == "collide" else 1
    return draw_scene(seed, count=count, style="photoreal", more="shot", keep=keep)


def measured(
    motion: str, seed: int, size: int, known: bool, judges: Judges
) -> Iterator[tuple[int, str, dict[str, float | None]]]:
    """Yield rate, look and measures of one clip, at two rates and in each look."""
    scene, play = scene_of(motion, seed)
    buffer = filmed(play, frame_times(scene.seconds, 2 * FPS), size, size)
    frames = (buffer.colour * 255 + 0.5).to(torch.uint8).numpy()
    owner = buffer.owner.numpy()
    true = np.stack([owner == FIRST_OBJECT + i for i in range(len(scene.objects))])
    firsts = true[:, 0]
    if motion == "pendulum":
        firsts = without_rod(firsts.astype(np.float32)) > 0.5
    for look in LOOKS:
        if look == "true masks":
            masks = true
        elif look == "colour":
            masks = np.stack([colour_masks(frames, f) for f in firsts])
        else:
            seen = softened(frames, seed) if "soft" in look else frames
            masks = stated_masks(scene, seen, judges)
        for fps in RATES:
            step = RATES[0] // fps
            yield fps, look, measure_physics(scene, masks[:, ::step], fps, camera_known=known)


def cell(values: list[float]) -> str:
    """Return the median and the 90th percentile."""
    if not values:
        return "-"
    digits = 2 if max(values) > 20 else 4
    return ", ".join(f"{np.quantile(values, q):.{digits}f}" for q in (0.5, 0.9))


def table(rows: Rows) -> str:
    """Return a Markdown table of all that was measured."""
    columns = [(fps, look) for look in LOOKS for fps in RATES]
    lines = [
        "| motion | measure | " + " | ".join(f"{fps} fps, {look}" for fps, look in columns)
        + " | n | wanted |",
        "|---|---|" + "---|" * (len(columns) + 2),
    ]  # fmt: skip
    for motion in (m for m in OF_MOTION if rows[m, *columns[0]]["usable"]):
        for key in (*OF_MOTION[motion], "residual", "usable"):
            cells = [rows[motion, *column][key] for column in columns]
            shown = [f"{np.mean(c):.2f}" if key == "usable" and c else cell(c) for c in cells]
            counts = "/".join(str(len(c)) for c in cells)
            wanted = WANTED.get((motion, key), "")
            lines.append(f"| {motion} | {key} | {' | '.join(shown)} | {counts} | {wanted} |")
    return "\n".join(lines)


def main() -> None:
    """Print the noise floor of every measure as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="clips a motion (default 20)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument(
        "--camera", choices=("known", "guessed"), default="known",
        help="whether metres come from the scene's camera or from the object's size",
    )  # fmt: skip
    parser.add_argument(
        "--motion", choices=tuple(OF_MOTION), action="append", help="only this one; may be repeated"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    judges = load_judges()[0]
    rows: Rows = defaultdict(lambda: {key: [] for key in KEYS})
    for motion in args.motion or OF_MOTION:
        for n in range(args.clips):
            told = measured(motion, SEED + n, args.size, args.camera == "known", judges)
            for fps, look, found in told:
                for key, value in found.items():
                    if value is not None:
                        rows[motion, fps, look][key].append(value)
            print(f"{motion}: {n + 1} of {args.clips}", file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
