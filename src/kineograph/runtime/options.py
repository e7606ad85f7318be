"""How a request is run: what changes time and memory rather than what is asked; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["resident", "stages", "stream", "tiles"]
# Rungs of a ladder, each with less on the device than the one before it (`residence.py`).
STRATEGIES: tuple[Strategy, ...] = ("resident", "stages", "stream", "tiles")
ATTENTION = ("sdpa", "flash2", "flash3", "sage")  # kernels (`kernels.py`)
GUIDANCE_BATCH = ("auto", "on", "off")  # both sides of guidance in one call (`plan.py`)
WEIGHTS = ("int8", "fp8")  # that matrices may be rounded to (`rounding.py`)


@dataclass(frozen=True)
class RunOptions:
    """Where and how a model works; on a processor the defaults change no bit of what it makes."""

    device: str | None = None  # cpu, cuda or cuda:N; None: a GPU where there is one
    fit: Strategy | None = None  # None: what is planned to fit
    attention: str = "sdpa"
    weights: str | None = None  # None: as they are stored
    compiled: bool = False  # the transformer's blocks, by torch.compile
    shard: bool = False  # of several processes each holds a part of the transformer's weights
    guidance_batch: str = "auto"  # of GUIDANCE_BATCH; auto: as is planned, off without a plan
    repeatable: bool = False  # the same frames are the same file, at some cost in speed

    def told(self) -> dict[str, str]:
        """Return what of it the bits of a clip depend on, for its record."""
        return {
            "attention": self.attention,
            "weights": self.weights or "as stored",
            "compiled": "yes" if self.compiled else "no",
            "tiles": "yes" if self.fit == "tiles" else "no",
            "guidance_batch": "on" if self.guidance_batch == "on" else "off",
        }


DEFAULT = RunOptions()
ON_CPU = RunOptions(device="cpu")
