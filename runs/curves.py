"""Draw what the parts of a run learnt, over steps: docs/media/curves.png of the shipped weights.

python runs/curves.py RUN_FOLDER PICTURE. Needs kineograph[train].
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from kineograph.train.plots import read_log

# Title, and for each line its name, the stage's folder and the figure of its log.
PANELS = (
    (
        "VAE, held-out clips, dB (31 wanted)",
        (("first part", "vae_first", "psnr"), ("second part", "vae", "psnr")),
    ),
    (
        "transformer, loss on held-out clips",
        tuple((f"sigma {s}", "dit", f"loss@{s}") for s in (0.1, 0.3, 0.5, 0.7, 0.9)),
    ),
    ("transformer, loss saved by the right caption", (("sigma 0.9", "dit", "text_gain"),)),
    (
        "transformer, cells named rightly",
        (("shape", "dit", "shape_named"), ("motion", "dit", "motion_named")),
    ),
    ("upsampler, gain over bicubic, dB (2 wanted)", (("gain", "upsampler", "gain"),)),
)


def main(run: Path, picture: Path) -> None:
    """Draw the panels; a stage without a log leaves its lines out."""
    figure = Figure(figsize=(4.2 * len(PANELS), 3.2), layout="constrained")
    for i, (title, lines) in enumerate(PANELS):
        axes = figure.add_subplot(1, len(PANELS), i + 1)
        for name, stage, key in lines:
            log = run / stage / "log.jsonl"
            training, validation = read_log(log) if log.exists() else ([], [])
            fixed = any(key in row for row in validation)
            rows, style = (validation, "o-") if fixed else (training, "-")
            points = [(row["step"], row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), style, markersize=3, linewidth=1, label=name)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
