"""Affine motions of whole frames, such as a camera's: found, undone, and carried on.

Letters: p pairs of frames, c colours, h height, w width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FAINT = 0.003  # of 1, a difference that says nothing


def warped(x: Float[Tensor, "p c h w"], m: Float[Tensor, "p 2 3"]) -> tuple[Tensor, Tensor]:
    """Return frames seen through affine maps, and which pixels lie inside, `p h w`."""
    grid = F.affine_grid(m, list(x.shape), align_corners=False)
    seen = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return seen, (grid.abs() <= 1).all(-1).float()


def aligned(a: Float[Tensor, "p c h w"], b: Float[Tensor, "p c h w"]) -> Float[Tensor, "p 2 3"]:
    """Return affine maps through which frames a look like frames b, coarse to fine.

    Gauss-Newton steps; pixels that differ much, such as objects, count less.
    """
    n = len(a)
    last = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(n, 1, 3)
    m = torch.eye(3)[None, :2].repeat(n, 1, 1)
    for shrink, steps in ((4, 8), (2, 8), (1, 4)):
        small, wanted = (F.avg_pool2d(x, shrink) if shrink > 1 else x for x in (a, b))
        h, w = small.shape[-2:]
        y, x = (((torch.arange(s) + 0.5) / s * 2 - 1) for s in (h, w))
        y, x = torch.meshgrid(y, x, indexing="ij")
        for _ in range(steps):
            seen, inside = warped(small, m)
            gx, gy = torch.zeros_like(seen), torch.zeros_like(seen)
            gx[..., 1:-1] = (seen[..., 2:] - seen[..., :-2]) * (w / 4)
            gy[..., 1:-1, :] = (seen[..., 2:, :] - seen[..., :-2, :]) * (h / 4)
            off = wanted - seen
            size = off.abs().mean(1, keepdim=True)
            usual = size.flatten(1).median(1).values[:, None, None, None]
            weight = inside[:, None] / (size + usual + FAINT)
            slope = torch.stack([gx * x, gx * y, gx, gy * x, gy * y, gy], -1)
            weighted = slope * weight[..., None]
            # Flat frames tell no motion: then none is taken.
            ridge = torch.eye(6) * (5e-5 * weight.sum((1, 2, 3))[:, None, None] + 1)
            matrix = torch.einsum("pchwi,pchwj->pij", weighted, slope) + ridge
            vector = torch.einsum("pchwi,pchw->pi", weighted, off)
            step = torch.linalg.solve(matrix, vector).view(n, 2, 3) + torch.eye(3)[:2]
            m = (torch.cat([m, last], 1) @ torch.cat([step, last], 1))[:, :2]
    return m


def carried(m: Float[Tensor, "p 2 3"], times: Float[Tensor, "p 1 1"]) -> Float[Tensor, "p 2 3"]:
    """Return maps of a motion that goes on for so many times as long."""
    still = torch.eye(3)[:2]
    return still + (m - still) * times
