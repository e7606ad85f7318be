"""Muon: momentum made orthogonal, for the matrices of a network.

Sources: Muon (Keller Jordan, kellerjordan.github.io/posts/muon), with the update scaled to
the size of an AdamW step and decoupled weight decay (arXiv 2502.16982). Embeddings, heads
and vectors belong to AdamW.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# The quintic a x + b x^3 + c x^5 with which singular values near 0 grow fastest.
QUINTIC = (3.4445, -4.7750, 2.0315)
UPDATE_RMS = 0.2  # of an AdamW step


def orthogonalise(
    matrices: Float[Tensor, "k m n"], steps: int = 5, dtype: torch.dtype = torch.bfloat16
) -> Float[Tensor, "k m n"]:
    """Return the nearest (semi-)orthogonal matrix to each one, roughly.

    Newton-Schulz iteration: after 5 steps singular values lie in about 0.7 to 1.2 (those
    that were not near zero), which is as good for training as all ones. In `dtype`.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    # The quintic converges where the largest singular value is at most 1.
    size = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32)
    x = (x / (size + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.mT
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, poly, x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, on parameters of two or more dimensions.

    A convolution's weight counts as a matrix (out, in * kernel). Equal shapes are done in
    one batch.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        steps: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "steps": steps,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(f"Muon takes matrices, not a parameter of shape {p.shape}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's overloads say the same
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                matrix = p.view(p.shape[0], -1)  # a view, never a copy: it is updated in place
                update = self._momentum(p, p.grad, group["momentum"]).view_as(matrix)
                by_shape[matrix.shape].append((matrix, update))
            for (rows, columns), pairs in by_shape.items():
                _apply(group, rows, columns, pairs)
        return loss

    def _momentum(self, p: Tensor, grad: Tensor, momentum: float) -> Tensor:
        """Fold the gradient into the running mean; return the Nesterov look-ahead."""
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        mean: Tensor = state["momentum"]
        mean.lerp_(grad, 1 - momentum)
        return grad.lerp(mean, momentum)


def _apply(
    group: dict[str, Any], rows: int, columns: int, pairs: list[tuple[Tensor, Tensor]]
) -> None:
    """Decay the matrices of one shape and add their orthogonal updates."""
    matrices = [matrix for matrix, _ in pairs]
    updates = orthogonalise(torch.stack([change for _, change in pairs]), group["steps"])
    # An orthogonal m x n matrix has entries of RMS 1 / sqrt(max(m, n)).
    scale = UPDATE_RMS * math.sqrt(max(rows, columns))
    torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
    changes = list(updates.to(matrices[0].dtype))
    torch._foreach_add_(matrices, changes, alpha=-group["lr"] * scale)
