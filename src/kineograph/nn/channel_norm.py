"""Root mean square norm over the channels of channels-last features, and its SiLU in one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SiluKernel = Callable[[Tensor, Tensor, float], Tensor]
"""`(x: *rest c, gamma: c, floor) -> SiLU of the norm: *rest c`."""


class _NormSilu(torch.autograd.Function):
    """SiLU(x / rms(x) * gamma) over the last axis, with few passes over memory each way.

    Written out because the norm is a quarter of a training step when autograd composes it:
    in bf16 it then runs in float32 copies. Equal to `F.silu(F.rms_norm(...))`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, floor: float) -> Tensor:  # noqa: ANN401
        scale = gamma.to(x.dtype)
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        size = size.to(torch.promote_types(x.dtype, torch.float32))
        inverse = (size * x.shape[-1] ** -0.5).clamp_(min=floor).reciprocal_().to(x.dtype)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, scale)
        ctx.gamma_dtype = gamma.dtype
        return F.silu(unit * scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        unit, inverse, scale = ctx.saved_tensors
        grad = torch.ops.aten.silu_backward(grad, unit * scale)
        along = (grad * unit).flatten(0, -2)
        grad_gamma = along.sum(0).to(ctx.gamma_dtype)
        mean = torch.mv(along, scale / scale.numel()).view_as(inverse)
        grad_x = grad.mul_(scale).mul_(inverse).addcmul_(unit, mean.mul_(inverse), value=-1)
        return grad_x, grad_gamma, None


class ChannelNorm(nn.Module):
    """Divide each pixel's channels by their root mean square and scale them by `gamma`."""

    # Wan floors the norm at 1e-12. A floor of 1e-6 under the root mean square gives the same
    # numbers on any real activation and keeps gradients at dead pixels finite in float32.
    floor = 1e-6

    def __init__(self, dim: int, trailing_dims: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *(1,) * trailing_dims))
        self.kernel: SiluKernel | None = None  # for inference in bfloat16, put in from outside

    def forward(self, x: Float[Tensor, "*rest c"]) -> Float[Tensor, "*rest c"]:
        gamma = self.gamma.flatten().to(x.dtype)
        return F.rms_norm(x, gamma.shape, gamma, self.floor**2)

    def silu(self, x: Float[Tensor, "*rest c"]) -> Float[Tensor, "*rest c"]:
        """Return SiLU of the norm: most of its uses, and the fast one."""
        half = x.dtype is torch.bfloat16 and not torch.is_grad_enabled()
        if self.kernel is not None and half:
            return self.kernel(x, self.gamma.flatten(), self.floor)
        return _NormSilu.apply(x, self.gamma.flatten(), self.floor)  # type: ignore[no-untyped-call]
