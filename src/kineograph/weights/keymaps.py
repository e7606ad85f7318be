"""Names of weights elsewhere, as tables: a rename is a row, never code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Table = Sequence[tuple[str, str]]

# VideoVAE carries the parameter names of diffusers' AutoencoderKLWan: nothing to rename.
VAE_TO_DIFFUSERS: Table = []


def rename(state_dict: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Return the weights under new names: each row is a regular expression and its replacement.

    Rows apply in order, each to the result of the one before. Raises `ValueError` if two
    weights end under one name.
    """
    renamed: dict[str, Tensor] = {}
    for name, weight in state_dict.items():
        new = name
        for pattern, replacement in table:
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise ValueError(f"two weights would be named {new!r}")
        renamed[new] = weight
    return renamed
