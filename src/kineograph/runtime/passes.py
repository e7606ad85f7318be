"""Inference in bfloat16 on a processor: weights rounded once, norms in one pass over memory.

Under autocast every call rounds its weights anew, and a VAE calls each layer once a latent frame.
Nothing of what is computed changes but last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from kineograph.nn.channel_norm import ChannelNorm
from kineograph.runtime.cpp import functions_of, lanes, run_rows

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # of kernels, by their axes


def settle(module: nn.Module) -> None:
    """Make a convolutional network ready for inference under bfloat16 autocast on a processor.

    Convolutions with weights in float32 keep them in bfloat16, as the processor reads them; those
    that a file has in bfloat16 stay mapped from it. Where there is a C++ compiler norms get
    `norm_silu`.
    """
    kernel = _kernel()
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d) and part.weight.dtype == torch.float32:
            layout = LAYOUTS[part.weight.ndim]
            part.weight.data = part.weight.data.to(torch.bfloat16, memory_format=layout)
            if part.bias is not None:
                part.bias.data = part.bias.data.bfloat16()
        elif isinstance(part, ChannelNorm) and kernel and part.gamma.numel() % lanes() == 0:
            part.kernel = kernel


def norms_of(module: nn.Module) -> str:
    """Return what computes the norms of a module, on which last bits depend: c++ or torch."""
    ours = any(isinstance(m, ChannelNorm) and m.kernel is not None for m in module.modules())
    return "c++" if ours else "torch"


def _kernel() -> partial[Tensor] | None:
    """Return `norm_silu`, compiled now if need be; None where that cannot be."""
    functions = functions_of(__package__, "passes")
    return None if functions is None else partial(_norm_silu, functions.norm_silu)


def _norm_silu(call: Callable[..., None], x: Tensor, gamma: Tensor, floor: float) -> Tensor:
    """Return SiLU(x / max(rms(x), floor) * gamma) over the last axis of x, in bfloat16 as x is."""
    x, out = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
    rows, c = x.numel() // x.shape[-1], x.shape[-1]
    run_rows(call, rows, (x, gamma.float()), (c, floor, out))
    return out
