"""Whether both sides of guidance are computed faster in one call than one by one."""

from __future__ import annotations

import torch

from kineograph.spec import DiTConfig

TILE = 128  # side of the tiles that matrix products are made of on a GPU
ROUNDS = 2  # of all multiprocessors, below which one side is too small for a GPU


def batch_pays(config: DiTConfig, tokens: int, device: torch.device) -> bool:
    """Return whether one side of guidance, of so many tokens, leaves a GPU partly idle.

    The smallest of a block's matrix products, `tokens` by `dim`, is made of tiles, one at a time by
    each multiprocessor. Where they do not go around twice a good part of a round is idle, which
    the other side fills. On a processor the answer is no: there it gained a little or lost
    (`benchmarks/guidance_batch.py`), and clips stay as they were.
    """
    if device.type != "cuda":
        return False
    tiles = -(-tokens // TILE) * -(-config.dim // TILE)
    return tiles < ROUNDS * multiprocessors(device)


def multiprocessors(device: torch.device) -> int:
    """Return how many multiprocessors a GPU has."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
