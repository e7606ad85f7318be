"""Rotary position embedding over frame, row and column (arXiv 2104.09864, 2503.20314)."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Complex, Float
from torch import Tensor, nn

THETA = 10000.0


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """Return how many of a head's channels turn with the frame, the row and the column."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def rope_table(
    grid: tuple[int, int, int], head_dim: int, device: torch.device | None = None
) -> Complex[Tensor, "n e"]:
    """Return the unit complex numbers that turn each channel pair of each token.

    `n` runs over the grid t, h, w in row-major order; `e` is head_dim / 2 pairs of
    neighbouring channels, first those of the frame, then of the row, then of the column.
    Angles are computed in float64, as in Wan.
    """
    angles = []
    for axis, dim in enumerate(axis_dims(head_dim)):
        pair = torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim
        place = torch.arange(grid[axis], dtype=torch.float64, device=device)
        angle = torch.outer(place, 1.0 / THETA**pair)
        t, h, w = (1 if other == axis else grid[other] for other in range(3))
        names = ("p e -> (p h w) e", "p e -> (t p w) e", "p e -> (t h p) e")
        sizes = ({"h": h, "w": w}, {"t": t, "w": w}, {"t": t, "h": h})
        angles.append(repeat(angle, names[axis], **sizes[axis]))
    angle = torch.cat(angles, dim=-1)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def apply_rope(
    x: Float[Tensor, "b n h d"], table: Complex[Tensor, "n e"]
) -> Float[Tensor, "b n h d"]:
    """Turn neighbouring channel pairs (0, 1), (2, 3), ... of every head by the table's angles."""
    pairs = torch.view_as_complex(rearrange(x.float(), "b n h (e two) -> b n h e two", two=2))
    turned = torch.view_as_real(pairs * table[:, None])
    return rearrange(turned, "b n h e two -> b n h (e two)").to(x.dtype)


class RopeCache(nn.Module):
    """Keeps the tables of the grids seen last; one per model, nothing global."""

    def __init__(self, head_dim: int, capacity: int = 8) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.capacity = capacity
        self.tables: dict[tuple[tuple[int, int, int], torch.device], Tensor] = {}

    def forward(self, grid: tuple[int, int, int], device: torch.device) -> Complex[Tensor, "n e"]:
        key = (grid, device)
        if key not in self.tables:
            while len(self.tables) >= self.capacity:
                del self.tables[next(iter(self.tables))]
            self.tables[key] = rope_table(grid, self.head_dim, device)
        return self.tables[key]
