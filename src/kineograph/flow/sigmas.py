"""Lists of noise levels: where a solver stops on its way from noise to data."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from kineograph.errors import RequestError


def shift_sigma(sigma: Float[Tensor, " *shape"], shift: float) -> Float[Tensor, " *shape"]:
    """Push noise levels up (shift > 1) or down: `s * sigma / (1 + (s - 1) * sigma)`.

    A bigger latent needs more noise to hide the same content, hence a larger shift
    (arXiv 2403.03206, section 5.3.2). The denominator is written so that 0 and 1 stay exact.

    Raises:
        RequestError: the shift is not a positive finite number.
    """
    if not (math.isfinite(shift) and shift > 0):
        raise RequestError(f"shift {shift!r} is not allowed: a finite number above 0, such as 1.5")
    return shift * sigma / (shift * sigma + (1 - sigma))


def make_sigmas(
    steps: int, shift: float, sigma_min: float = 0.0, sigma_max: float = 1.0
) -> Float[Tensor, " steps_plus_1"]:
    """Return `steps + 1` falling noise levels, float32 on the CPU, that end at exactly 0.

    Evenly spaced from `sigma_max` to `sigma_min`, then shifted, with the last level replaced by
    0. `sigma_max=0.999` gives the levels at which Wan's own code samples, `sigma_min=0.001` those
    at which diffusers samples Wan.

    Raises:
        RequestError: fewer than one step, a bad shift or bad ends, or levels so close together
            that float32 cannot tell them apart.
    """
    if steps < 1:
        raise RequestError(f"steps {steps} is not allowed: at least 1")
    if not 0 <= sigma_min < 1:
        raise RequestError(f"sigma_min {sigma_min} is not allowed: from 0 up to, not with, 1")
    if not sigma_min < sigma_max <= 1:
        raise RequestError(f"sigma_max {sigma_max} is not allowed: above {sigma_min}, up to 1")
    even = torch.linspace(sigma_max, sigma_min, steps + 1, dtype=torch.float64)
    even[-1] = 0.0
    sigmas = shift_sigma(even, shift).to(torch.float32)
    if not bool((sigmas[1:] < sigmas[:-1]).all()):
        raise RequestError(
            f"{steps} steps with shift {shift} fall on equal noise levels: "
            "fewer steps, or a shift closer to 1"
        )
    return sigmas
