"""Training: recipes, one loop for every part, and the stages of a model."""

from __future__ import annotations

import math
from pathlib import Path


def main(
    kind: str, recipe: Path, out: Path, *, resume: bool = False, device: str = "cpu",
    minutes: float | None = None,
) -> None:  # fmt: skip
    """Run one stage of training by its recipe file; the command line's way in."""
    import torch

    from kineograph.train.stages import How, run_stage

    seconds = math.inf if minutes is None else 60 * minutes
    run_stage(kind, Path(recipe), Path(out), How(resume, torch.device(device), seconds))
