"""The transformer's blocks with all that lies between matrix products in C++, for processors.

Under autocast most of a training step's time goes into passes over memory: norms, gates, turns,
scores. `fused.cpp` makes one pass of each, forward and backward; the products stay torch's. A
model's blocks are given another `forward` from outside; weights, hooks and results are the same,
but for the last bits of bfloat16.

Letters as in `models/dit.py`; e channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from kineograph.models.dit import Block, VideoDiT
from kineograph.nn.activation import TanhGELU
from kineograph.runtime.cpp import Given, functions_of, lanes, run_rows

HALF = torch.bfloat16


def ready() -> bool:
    """Return whether the C++ can be had, compiled now if need be."""
    return functions_of(__package__, "fused") is not None


def _run(
    name: str, count: int, before: tuple[Given, ...], after: tuple[Given, ...], sums: list[Tensor],
    unit: int = 1,
) -> None:  # fmt: skip
    """Call a pass of `fused.cpp` on `count` rows."""
    run_rows(getattr(functions_of(__package__, "fused"), name), count, before, after, sums, unit)


def _rows(x: Tensor) -> int:
    return x.numel() // x.shape[-1]


class _Modulate(torch.autograd.Function):
    """x itself, and norm(x) * gain + shift in bfloat16; groups of rows share gain and shift.

    x passes through so that its gradient is summed in the pass that computes the norm's.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float  # noqa: ANN401
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        d, rows = x.shape[-1], _rows(x)
        y, stats = torch.empty(x.shape, dtype=HALF), torch.empty(rows, 2)
        per_group = rows // _rows(gain)
        _run("modulate", rows, (x, gain, shift), (per_group, d, eps, y, stats), [])
        ctx.save_for_backward(x, gain, stats)
        return x.view_as(x), y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, through: Tensor, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, gain, stats = ctx.saved_tensors
        d, rows, per_group = x.shape[-1], _rows(x), _rows(x) // _rows(gain)
        dx, dgain, dshift = torch.empty_like(x), torch.zeros_like(gain), torch.zeros_like(gain)
        given = (x, gain, stats, dy.contiguous(), through.contiguous())
        _run("modulate_back", rows, given, (per_group, d, dx), [dgain, dshift])
        return dx, dgain, dshift, None


class _Gated(torch.autograd.Function):
    """x + update * gate, or x + update."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, update: Tensor, gate: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(update, gate)
        y, rows = torch.empty_like(x), _rows(x)
        per_group = rows if gate is None else rows // _rows(gate)
        _run("gated", rows, (x, update, gate), (per_group, x.shape[-1], y), [])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        update, gate = ctx.saved_tensors
        dy, rows = dy.contiguous(), _rows(dy)
        back = torch.empty_like(update)
        dgate = torch.zeros(1) if gate is None else torch.zeros_like(gate)
        per_group = rows if gate is None else rows // _rows(gate)
        after = (per_group, dy.shape[-1], back)
        _run("gated_back", rows, (update, gate, dy), after, [dgate])
        return dy, back, None if gate is None else dgate


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        _run("gelu", x.numel(), (x,), (y,), [], unit=lanes())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        _run("gelu_back", x.numel(), (x, dy.contiguous()), (dx,), [], unit=lanes())
        return dx


class _Attend(torch.autograd.Function):
    """Attention over rows of projections: queries, keys and values beside one another.

    `query` holds all three in self-attention; else keys and values are in `other`. The softmax of
    the scores is kept for the way back.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, other: Tensor | None, norm_q: Tensor, norm_k: Tensor,  # noqa: ANN401
        turn: tuple[Tensor, Tensor] | None, bias: Tensor | None, heads: int, eps: float,
    ) -> Tensor:  # fmt: skip
        d, (b, n) = len(norm_q), query.shape[:2]
        e = d // heads
        rows = _sides(query, other, d)
        q, r_q = _normed(rows[0], norm_q, turn, heads, eps)
        k, r_k = _normed(rows[1], norm_k, turn, heads, eps)
        v = _split(rows[2], heads)
        m = k.shape[2]
        p = q @ k.mT
        _run("softmax", b * heads * n, (p, bias), (heads * n, m, e**-0.5), [])
        out = p @ v
        ctx.save_for_backward(query, other, norm_q, norm_k, q, k, v, p, r_q, r_k)
        ctx.turn = turn
        return _join(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, other, norm_q, norm_k, q, k, v, p, r_q, r_k = ctx.saved_tensors
        d, (b, heads, n, m) = len(norm_q), p.shape
        e = d // heads
        back = _split(dout.contiguous(), heads)
        dv, ds = p.mT @ back, back @ v.mT
        _run("softmax_back", b * heads * n, (p, ds), (m, e**-0.5), [])
        dq, dk = ds @ k, ds.mT @ q
        dquery = torch.empty_like(query)
        dother = None if other is None else torch.empty_like(other)
        rows, grads = _sides(query, other, d), _sides(dquery, dother, d)
        dnorm_q = _normed_back(rows[0], norm_q, ctx.turn, r_q, dq, grads[0])
        dnorm_k = _normed_back(rows[1], norm_k, ctx.turn, r_k, dk, grads[1])
        _join(dv, grads[2])
        return dquery, dother, dnorm_q, dnorm_k, None, None, None, None


# Autograd's functions as torch calls them, which has no types for them.
_modulate: Any = _Modulate.apply
_gated: Any = _Gated.apply
_gelu: Any = _Gelu.apply
_attend: Any = _Attend.apply


def _sides(query: Tensor, other: Tensor | None, d: int) -> list[Tensor]:
    """Return queries, keys and values: views of rows."""
    if other is None:
        return list(query.split(d, -1))
    return [query, *other.split(d, -1)]


def _split(x: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b h n e"]:
    b, n, d = x.shape
    out = torch.empty(b, heads, n, d // heads, dtype=HALF)
    _run("split", b * n, (x, x.stride(1)), (n, heads, d // heads, out), [])
    return out


def _join(
    x: Float[Tensor, "b h n e"], out: Float[Tensor, "b n d"] | None = None
) -> Float[Tensor, "b n d"]:
    b, heads, n, e = x.shape
    if out is None:
        out = torch.empty(b, n, heads * e, dtype=HALF)
    _run("join", b * n, (x,), (n, heads, e, out.stride(1), out), [])
    return out


def _normed(
    x: Tensor, norm: Tensor, turn: tuple[Tensor, Tensor] | None, heads: int, eps: float
) -> tuple[Float[Tensor, "b h n e"], Float[Tensor, " rows"]]:
    """Normalise, split into heads and turn; also return what rows were multiplied by."""
    b, n, d = x.shape
    e = d // heads
    out, inverse = torch.empty(b, heads, n, e, dtype=HALF), torch.empty(b * n)
    before = (x, x.stride(1), norm, *(turn or (None, None)))
    _run("norm_rope", b * n, before, (n, heads, e, eps, out, inverse), [])
    return out, inverse


def _normed_back(
    x: Tensor, norm: Tensor, turn: tuple[Tensor, Tensor] | None, inverse: Tensor,
    dy: Float[Tensor, "b h n e"], dx: Tensor,
) -> Tensor:  # fmt: skip
    """Write the gradient of x, which lies as x does, to dx; return that of the norm's weight."""
    b, heads, n, e = dy.shape
    dnorm = torch.zeros_like(norm)
    before = (x, x.stride(1), norm, *(turn or (None, None)), inverse, dy)
    _run("norm_rope_back", b * n, before, (n, heads, e, dx), [dnorm])
    return dnorm


def _turns(rope: Float[Tensor, "n p 2"]) -> tuple[Tensor, Tensor]:
    """Return what channels are multiplied by, and what their neighbours: cos, and -sin and sin."""
    cos, sin = rope.unbind(-1)
    return cos.repeat_interleave(2, -1), torch.stack((-sin, sin), -1).flatten(-2)


def _linear(x: Tensor, *layers: Any) -> Tensor:  # noqa: ANN401 - modules' attributes have no type
    """Return the outputs of linear layers of one input beside one another."""
    weight, bias = (torch.cat([getattr(a, name) for a in layers]) for name in ("weight", "bias"))
    return F.linear(x, weight, bias)


def _forward(
    block: Block,
    plain: Callable[..., Tensor],
    x: Float[Tensor, "b n d"],
    modulation: Float[Tensor, "b g 6 d"],
    context: Float[Tensor, "b l d"],
    rope: Float[Tensor, "n e 2"],
    context_bias: Float[Tensor, "b l"] | None,
    image: Float[Tensor, "b i d"] | None,
) -> Float[Tensor, "b n d"]:
    """Do what `Block.forward` does; `plain`, where numbers are not those of the C++ passes."""
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is HALF
    if not half or x.dtype != torch.float32 or image is not None:
        return plain(x, modulation, context, rope, context_bias, image)
    rows = (modulation + block.modulation).movedim(2, 0).contiguous()
    shift1, scale1, gate1, shift2, scale2, gate2 = rows.unbind(0)
    mine, cross, norm = block.self_attn, block.cross_attn, block.norm3
    heads = mine.num_heads
    x, y = _modulate(x.contiguous(), 1 + scale1, shift1, block.eps)
    projected = _linear(y, mine.q, mine.k, mine.v)
    norms = mine.norm_q.weight, mine.norm_k.weight
    mixed = _attend(projected, None, *norms, _turns(rope), None, heads, mine.norm_q.eps)
    x = _gated(x, mine.o(mixed), gate1)
    x, y = _modulate(x, norm.weight, norm.bias, norm.eps)
    told = _linear(context, cross.k, cross.v)
    norms = cross.norm_q.weight, cross.norm_k.weight
    bias = None if context_bias is None else context_bias.float().contiguous()
    mixed = _attend(cross.q(y), told, *norms, None, bias, heads, cross.norm_q.eps)
    x = _gated(x, cross.o(mixed), None)
    x, y = _modulate(x, 1 + scale2, shift2, block.eps)
    out: Tensor = _gated(x, block.ffn[2](_gelu(block.ffn[0](y))), gate2)
    return out


def fuse(dit: VideoDiT) -> bool:
    """Give the blocks of a transformer their fused forward; return whether it is possible.

    It is for plain blocks of float32 weights on a processor with a C++ compiler, and is used
    under bfloat16 autocast.
    """
    config, weight = dit.config, dit.head.head.weight
    able = weight.dtype == torch.float32 and weight.device.type == "cpu" and not config.image_dim
    able = able and not config.control_layers and lanes() > 0
    if not able or config.head_dim % lanes() or config.ffn_dim % lanes() or not ready():
        return False
    for block in dit.blocks:
        assert isinstance(block, Block) and isinstance(block.ffn[1], TanhGELU)
        block.forward = partial(_forward, block, block.forward)  # type: ignore[method-assign]
    return True
