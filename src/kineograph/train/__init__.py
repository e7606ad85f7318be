"""Training: recipes, one loop for every part, and the stages of a model."""

from __future__ import annotations

from pathlib import Path


def main(kind: str, recipe: Path, out: Path, *, resume: bool = False) -> None:
    """Run one stage of training by its recipe file; the command line's way in."""
    from kineograph.train.stages import run_stage

    run_stage(kind, Path(recipe), Path(out), resume=resume)
