"""Encoded prompts, kept on disk: a text encoder of gigabytes need not be opened for them again.

A context is found by the tokens of its prompt and by everything else that its bits depend on.
What is kept is exact, so that a clip is the same with it and without.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.weights.files import save_tensors

KEPT = 256  # contexts; those used longest ago go first


class ContextStore:
    """The contexts of one text encoder, as files in a folder.

    `told` is what decides their bits besides the prompt: hashes of weights, type, device, version.
    """

    def __init__(self, folder: Path, told: Mapping[str, str]) -> None:
        self.folder = folder
        self.told = json.dumps(dict(sorted(told.items())), ensure_ascii=False)

    def path(self, tokens: Sequence[int]) -> Path:
        """Return where the context of a prompt's tokens lies, if it is there."""
        told = f"{self.told}\n{list(tokens)}".encode()
        return self.folder / f"{hashlib.sha256(told).hexdigest()[:32]}.safetensors"

    def get(self, tokens: Sequence[int]) -> Float[Tensor, "l d"] | None:
        """Return the rows of a context, or None."""
        path = self.path(tokens)
        try:
            with safe_open(path, framework="pt") as file:
                rows = file.get_tensor("context").clone()
        except (OSError, SafetensorError):  # none, or a damaged one: it is made again
            return None
        with suppress(OSError):
            os.utime(path)  # used now
        return rows

    def put(self, tokens: Sequence[int], rows: Float[Tensor, "l d"]) -> None:
        """Keep a context; a folder that cannot be written is no trouble."""
        with suppress(OSError, RequestError):
            self.folder.mkdir(parents=True, exist_ok=True)
            save_tensors(self.path(tokens), {"context": rows}, {})
            kept = sorted(self.folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime)
            for old in kept[:-KEPT]:
                old.unlink(missing_ok=True)
