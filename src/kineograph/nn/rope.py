"""Rotary position embedding over frame, row and column (arXiv 2104.09864, 2503.20314).

Letters: b batch, n tokens, h heads, d channels of a head, e = d / 2 channel pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.nn.norm import rms_norm

THETA = 10000.0


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """Return how many of a head's channels turn with the frame, the row and the column."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def rope_table(
    grid: tuple[int, int, int], head_dim: int, device: torch.device | None = None
) -> Float[Tensor, "n e 2"]:
    """Return the cosine and sine by which each channel pair of each token is turned.

    Tokens run over the grid t, h, w in row-major order; pairs are neighbouring channels,
    first those of the frame, then of the row, then of the column. Angles are computed in
    float64, as in Wan.
    """
    t, h, w = grid
    spread = (
        ("t e -> (t h w) e", {"h": h, "w": w}),
        ("h e -> (t h w) e", {"t": t, "w": w}),
        ("w e -> (t h w) e", {"t": t, "h": h}),
    )
    angles = []
    for size, dim, (pattern, others) in zip(grid, axis_dims(head_dim), spread, strict=True):
        pair = torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim
        place = torch.arange(size, dtype=torch.float64, device=device)
        angles.append(repeat(torch.outer(place, THETA**-pair), pattern, **others))
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def apply_rope(
    x: Float[Tensor, "b n h d"], table: Float[Tensor, "n e 2"]
) -> Float[Tensor, "b n h d"]:
    """Turn neighbouring channel pairs (0, 1), (2, 3), ... of every head by the table's angles."""
    a, b = rearrange(x.float(), "b n h (e two) -> b n h e two", two=2).unbind(-1)
    cos, sin = table[:, None].unbind(-1)
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def norm_rope_reference(
    x: Float[Tensor, "b n c"],
    weight: Float[Tensor, " c"],
    eps: float,
    num_heads: int,
    table: Float[Tensor, "n e 2"] | None,
) -> Float[Tensor, "b n h d"]:
    """Normalise over all heads, split the heads and turn them: the slow twin of `norm_rope`."""
    x = rearrange(rms_norm(x, weight, eps), "b n (h d) -> b n h d", h=num_heads)
    return x if table is None else apply_rope(x, table)


class _NormRope(torch.autograd.Function):
    """`norm_rope_reference` with few passes over memory, each in float32, on a CPU.

    With u = x * weight, r = 1 / rms(x) and R the turn: y = R(r u). The turn and r are one
    complex factor a pair. Backward, with a = r R^-1(dy) the gradient of u and
    s = sum(a u): dx = a weight - x s r^2 / c, and dweight = sum over tokens of a x.
    The result lies in memory with heads before tokens, as batched matrix products want it.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd's context has no type
        x: Tensor,
        weight: Tensor,
        eps: float,
        num_heads: int,
        table: Tensor | None,
    ) -> Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        r = torch.rsqrt(norm.square() / x.shape[-1] + eps)
        factor = _factor(r, table)
        y = _turn((wide * weight).unflatten(-1, (num_heads, -1)), factor)
        ctx.save_for_backward(x, weight, r, table)
        ctx.num_heads = num_heads
        return _heads_first(y, x.dtype)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *grads: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, r, table = ctx.saved_tensors
        factor = _factor(r, table)
        a = _turn(grads[0].float().contiguous(), factor.conj() if factor.is_complex() else factor)
        a = a.flatten(-2)
        wide = x.float()
        ax = a * wide
        s = ax @ weight
        dx = a.mul_(weight).add_(wide * (s[..., None] * (r.square() / -x.shape[-1]))).to(x.dtype)
        return dx, ax.sum((0, 1)), None, None, None


def _factor(r: Tensor, table: Tensor | None) -> Tensor:
    """Return r (b, n, 1) times the turn, with an axis for the heads."""
    if table is None:
        return r[:, :, None]
    return (torch.view_as_complex(table) * r)[:, :, None]


def _turn(x: Tensor, factor: Tensor) -> Tensor:
    if not factor.is_complex():
        return x * factor
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * factor).flatten(-2)


def _heads_first(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Copy (b, n, h, d) to memory ordered b h n d; the shape stays."""
    b, n, h, d = y.shape
    out = torch.empty(b, h, n, d, dtype=dtype, device=y.device).transpose(1, 2)
    return out.copy_(y)


def norm_rope(
    x: Float[Tensor, "b n c"],
    weight: Float[Tensor, " c"],
    eps: float,
    num_heads: int,
    table: Float[Tensor, "n e 2"] | None,
) -> Float[Tensor, "b n h d"]:
    """RMS-normalise x over all heads together, split the heads and turn them by the table.

    `table` None leaves out the turn. On a CPU one hand-written function does it all; other
    devices, and a compiler, fuse the plain form better than complex numbers.
    """
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        out: Tensor = _NormRope.apply(  # type: ignore[no-untyped-call]  # torch leaves it so
            x, weight, eps, num_heads, table
        )
        return out
    return norm_rope_reference(x, weight, eps, num_heads, table)


class RopeCache(nn.Module):
    """Keeps the tables of the grids seen last; one per model, nothing global."""

    def __init__(self, head_dim: int, capacity: int = 8) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.capacity = capacity
        self.tables: dict[tuple[tuple[int, int, int], torch.device], Tensor] = {}

    def forward(self, grid: tuple[int, int, int], device: torch.device) -> Float[Tensor, "n e 2"]:
        key = (grid, device)
        if key not in self.tables:
            while len(self.tables) >= self.capacity:
                del self.tables[next(iter(self.tables))]
            # A table first needed in inference must serve a later training step too.
            with torch.inference_mode(False):
                self.tables[key] = rope_table(grid, self.head_dim, device)
        return self.tables[key]
