"""Weights in 8 bits: whole numbers for the rows of a matrix or kernel, and a scale for each row.

Stored as an int8 tensor under the weight's own name and float32 scales under the name with
SCALE behind it. A weight is `number * scale` in float32, exactly, so that packing what was
unpacked gives the same file again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from kineograph.weights.header import SCALE

LARGEST = 127
# Shares of the largest weight of a row that may be its largest number: what is beyond is cut.
# A little less than all of it rounds the rest finer; the best of these is taken row by row.
CUTS = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8)


def pack(weight: Float[Tensor, "r *rest"]) -> tuple[Int8[Tensor, "r *rest"], Float[Tensor, " r"]]:
    """Return whole numbers and the scale of each row that lose least of it, in squares."""
    rows = weight.detach().float().flatten(1)
    largest = rows.abs().amax(1)
    best = torch.full_like(largest, torch.inf)
    scale = torch.ones_like(largest)
    for cut in CUTS:
        tried = torch.where(largest > 0, largest * cut / LARGEST, 1.0)
        error = (_numbers(rows, tried) * tried[:, None] - rows).square().sum(1)
        scale = torch.where(error < best, tried, scale)
        best = torch.minimum(best, error)
    return _numbers(rows, scale).to(torch.int8).view(weight.shape), scale


def _numbers(rows: Tensor, scale: Tensor) -> Tensor:
    return (rows / scale[:, None]).round().clamp(-LARGEST, LARGEST)


def unpack(
    numbers: Int8[Tensor, "r *rest"], scale: Float[Tensor, " r"]
) -> Float[Tensor, "r *rest"]:
    """Return a weight in float32."""
    return (numbers.float().flatten(1) * scale[:, None]).view(numbers.shape)


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by their own names, in float32 where they were packed.

    Raises `ValueError` for a weight whose scales are missing or do not fit.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whose = tensors.get(name.removesuffix(SCALE))
        if name.endswith(SCALE) and whose is not None and whose.dtype == torch.int8:
            continue
        if tensor.dtype == torch.int8:
            scale = tensors.get(name + SCALE)
            if (
                scale is None or tensor.ndim < 2
                or scale.shape != tensor.shape[:1] or scale.dtype != torch.float32
            ):  # fmt: skip
                raise ValueError(f"the scales of {name} are missing or do not fit")
            tensor = unpack(tensor, scale)
        found[name] = tensor
    return found
