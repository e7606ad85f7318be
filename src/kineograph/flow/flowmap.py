"""Few steps: a network that knows where a step ends, and what it learns from.

Rectified flow's velocity is the slope at a point; its path bends, and long steps miss. A flow
map predicts the mean velocity u(x, sigma, to) of the whole way from `sigma` down to `to`, so that
`x - (sigma - to) * u` is where the way leads, in one step or in many (MeanFlow, arXiv
2505.13447; AnyFlow, arXiv 2605.13724). Differentiating that along the way gives what u must be:

    u(x, sigma, to) = v - (sigma - to) * d/dsigma u(x, sigma, to)

with v the slope and d/dsigma the change of u while x moves with v and `to` stays. The change is
taken from two evaluations a little apart: no forward-mode derivative, so any kernel will do.

Letters: b batch, c channels, t latent frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from kineograph.flow.path import expand_sigma

MapFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(x: b c t h w, sigma: b t, to: b t) -> mean velocity: b c t h w`."""
LIMIT = 2.0  # of what a target is off the slope, in sizes of what it is the slope at
STEP = 0.005  # of sigma, between the evaluations that tell how u changes


@torch.no_grad()
def map_target(
    mean_velocity: MapFn,
    x: Float[Tensor, "b c t h w"],
    velocity: Float[Tensor, "b c t h w"],
    sigma: Float[Tensor, "b t"],
    to: Float[Tensor, "b t"],
    step: float = STEP,
    limit: float = LIMIT,
) -> Float[Tensor, "b c t h w"]:
    """Return what the mean velocity from `sigma` to `to` has to be, by the network's own account.

    `velocity` is the slope at `x`: noise - x0, or that of a guided teacher. Where `to` equals
    `sigma` the target is the slope itself. Central differences, one-sided at the ends of [0, 1].
    In each latent frame the target is off the slope by no more than `limit` times the size of
    `x`: a network that changes too fast would otherwise teach itself to change faster.
    """
    above, below = (sigma + step).clamp_max(1.0), (sigma - step).clamp_min(0.0)
    # Below `to` there is no way left; the difference is then taken above alone.
    below = torch.maximum(below, torch.minimum(to, sigma))
    width = expand_sigma(above - below, x)
    later = mean_velocity(x + expand_sigma(above - sigma, x) * velocity, above, to)
    earlier = mean_velocity(x + expand_sigma(below - sigma, x) * velocity, below, to)
    change = (later - earlier) / width.clamp_min(step / 4)
    bend = expand_sigma(sigma - to, x) * change
    size, most = (y.square().mean((1, 3, 4), keepdim=True).sqrt() for y in (bend, x))
    return velocity - bend * (limit * most / size.clamp_min(1e-12)).clamp_max(1.0)


def draw_ends(
    sigma: Float[Tensor, "b t"], generator: torch.Generator, slope_share: float
) -> Float[Tensor, "b t"]:
    """Draw where the ways from given noise levels end, on the generator's device.

    In a share of the samples at their own beginning, which is plain rectified flow; elsewhere
    evenly between it and 0.
    """
    draws = torch.rand((2, len(sigma), 1), generator=generator, device=generator.device)
    return torch.where(draws[0] < slope_share, sigma, sigma * draws[1])
