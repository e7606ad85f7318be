"""Other kernels for attention, put in at the one seam that there is: `Attention.kernel`.

A kernel of another library is taken where it is installed and the model runs on a GPU in half
precision. What has a bias on its scores, which they do not know, goes on as before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from kineograph.errors import RequestError
from kineograph.nn.attention import Attention, Kernel, attend


@dataclass(frozen=True)
class Library:
    """A function of another library that takes q, k and v as `b n h d`."""

    module: str
    function: str
    scale: str  # what it calls the factor of the scores
    more: dict[str, Any]


LIBRARIES = {
    "flash2": Library("flash_attn", "flash_attn_func", "softmax_scale", {}),
    "flash3": Library("flash_attn_interface", "flash_attn_func", "softmax_scale", {}),
    "sage": Library("sageattention", "sageattn", "sm_scale", {"tensor_layout": "NHD"}),
}


def kernel(name: str) -> Kernel:
    """Return a kernel as `Attention` calls it; its library must be installed."""
    if name == "sdpa":
        return attend
    library = LIBRARIES[name]
    function: Callable[..., Any] = getattr(import_module(library.module), library.function)

    def attend_by(
        q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None
    ) -> Tensor:
        if bias is not None:
            return attend(q, k, v, bias=bias, scale=scale)
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        out = function(q, k, v, **{library.scale: factor}, **library.more)
        out = out[0] if isinstance(out, tuple) else out  # some return the sums of scores as well
        return rearrange(out, "b n h d -> b n (h d)")

    return attend_by


def check_kernel(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `RequestError` for a kernel that is not here, or that cannot serve this model."""
    if name == "sdpa":
        return
    here = ["sdpa", *(n for n, lib in LIBRARIES.items() if find_spec(lib.module) is not None)]
    if name not in here:
        known = name in LIBRARIES
        why = f"its library {LIBRARIES[name].module} is not installed" if known else "unknown"
        raise RequestError(f"attention {name!r} is not here ({why}); there is {', '.join(here)}")
    if device.type != "cuda" or dtype == torch.float32:
        what = str(dtype).removeprefix("torch.")
        raise RequestError(
            f"attention {name!r} computes on a GPU in half precision; this is {what} on "
            f"{device.type}: leave it out, or use sdpa"
        )


def use_kernel(module: nn.Module, name: str) -> None:
    """Let every attention of a transformer compute by a kernel."""
    chosen = kernel(name)
    for part in module.modules():
        if isinstance(part, Attention):
            part.kernel = chosen
