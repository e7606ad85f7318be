"""Compiled blocks: one compilation serves all blocks of a transformer, which are alike.

It is an explicit choice: it takes from seconds to minutes at the first step of each shape, pays
back on long runs, and rounds a little differently.
"""

from __future__ import annotations

import torch
from torch import nn


def compile_blocks(part: nn.Module) -> None:
    """Let torch compile each block of a part when it is first called."""
    blocks = getattr(part, "blocks", None)
    assert isinstance(blocks, nn.ModuleList), "only parts that are made of blocks are compiled"
    for block in blocks:
        # The forward pass alone: what is hung around it moves weights and shares tokens out.
        setattr(block, "forward", torch.compile(block.forward))  # noqa: B010 - no method of a class
