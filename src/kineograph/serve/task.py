"""One job as a worker hands it to its child: a folder, and what is called how in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One job: a folder with its inputs, and with its state where it was begun before."""

    id: str
    folder: Path
    request: Mapping[str, Any]  # files are named as they lie in the folder

    @property
    def output(self) -> str:
        """The name of what is made, in the folder."""
        return "clip.png" if self.request.get("num_frames") == 1 else "clip.mp4"

    @property
    def state(self) -> Path:
        """Where the generator keeps its state, by renaming a file to it.

        It is `weights.partial.partial_path` of the output, which cannot be asked without torch.
        """
        return self.folder / f"{self.output}.partial.safetensors"
