"""Guidance: pushing the velocity away from what the network would do without the prompt.

Letters: b batch, c channels, t latent frames, h height, w width, l context length, d width of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.flow.path import VelocityFn, hold_known

ModelFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(x: b c t h w, sigma: b or b t, context: b l d) -> velocity: b c t h w`."""

GuidanceFn = Callable[[Tensor, Tensor, float], Tensor]
"""`(cond, uncond, scale) -> velocity`, all `b c t h w`; scale 1 gives `cond`."""

PairFn = Callable[[ModelFn, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`(model, x, sigma, context, negative) -> (cond, uncond)`: both velocities of one step."""


def one_by_one(
    model: ModelFn, x: Tensor, sigma: Tensor, context: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Evaluate under both contexts, one behind the other."""
    return model(x, sigma, context), model(x, sigma, negative)


def together(
    model: ModelFn, x: Tensor, sigma: Tensor, context: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Evaluate under both contexts in one call of twice the batch.

    Faster where one alone leaves the device idle, but not the same bits.
    """
    both = torch.cat((context, negative))
    cond, uncond = model(torch.cat((x, x)), torch.cat((sigma, sigma)), both).chunk(2)
    return cond, uncond


def _wide(velocity: Tensor) -> Tensor:
    """Return at least float32: the scale would magnify the rounding of bfloat16."""
    return velocity.to(torch.promote_types(velocity.dtype, torch.float32))


def cfg(
    cond: Float[Tensor, "b c t h w"], uncond: Float[Tensor, "b c t h w"], scale: float
) -> Float[Tensor, "b c t h w"]:
    """Classifier-free guidance (arXiv 2207.12598), with scale 1 meaning off."""
    cond, uncond = _wide(cond), _wide(uncond)
    return uncond + scale * (cond - uncond)


def cfg_zero_star(
    cond: Float[Tensor, "b c t h w"], uncond: Float[Tensor, "b c t h w"], scale: float
) -> Float[Tensor, "b c t h w"]:
    """CFG-Zero* (arXiv 2503.18886): `uncond` is first scaled to fit `cond` best.

    The factor `<cond, uncond> / |uncond|^2` of a sample takes out of the difference what the two
    merely have in different amount. The other half of the paper, no velocity at all in the first
    steps, is `zero_above` of `guided`.
    """
    cond, uncond = _wide(cond), _wide(uncond)
    # One reduction a sample: reduced as a batch, its bits would depend on who else is in it.
    pairs = zip(cond, uncond, strict=True)
    alpha = torch.stack([(c * u).sum() / (u.square().sum() + 1e-8) for c, u in pairs])
    return cfg(cond, rearrange(alpha, "b -> b 1 1 1 1") * uncond, scale)


GUIDANCE: dict[str, GuidanceFn] = {"cfg": cfg, "cfg-zero-star": cfg_zero_star}


def guidance_window(
    sigmas: Float[Tensor, " steps_plus_1"], off_share: float = 0.0, zero_steps: int = 0
) -> tuple[float, float]:
    """Return `(off_below, zero_above)` of `guided` for a list of sigmas.

    Guidance is off in the last `off_share` of the steps, rounded down (arXiv 2404.07724: late
    guidance costs time and variety, and adds nothing); the velocity is 0 in the first
    `zero_steps` (arXiv 2503.18886). With `heun`, whose second evaluation belongs to the next
    level, an edge falls inside a step.

    Raises:
        RequestError: a share outside 0..1 or more zero steps than there are steps.
    """
    steps = sigmas.numel() - 1
    if not 0 <= off_share <= 1:
        raise RequestError(f"guidance off_share {off_share} is not allowed: from 0 to 1")
    if not 0 <= zero_steps < steps:
        raise RequestError(f"zero_steps {zero_steps} is not allowed: from 0 to {steps - 1}")
    return float(sigmas[steps - int(off_share * steps)]), float(sigmas[zero_steps])


def guided(
    model: ModelFn,
    context: Float[Tensor, "b l d"],
    negative: Float[Tensor, "b l d"] | None,
    scale: float,
    *,
    method: str = "cfg",
    pair: PairFn = one_by_one,
    off_below: float = 0.0,
    zero_above: float = 1.0,
) -> VelocityFn:
    """Return the velocity of `model` under `context`, guided away from `negative`.

    With scale 1 `negative` is never evaluated and may be None. `pair` says how both are
    evaluated. Guidance is off at sigma <= `off_below`, and the velocity is 0, unevaluated, at
    sigma > `zero_above`; both hold for each sample by itself, and `guidance_window` finds them
    for a number of steps.

    Raises:
        RequestError: unknown method, or a scale that is negative or not finite.
    """
    if method not in GUIDANCE:
        raise RequestError(f"unknown guidance {method!r}; available: {', '.join(GUIDANCE)}")
    if not (math.isfinite(scale) and scale >= 0):
        raise RequestError(f"guidance_scale {scale} is not allowed: a finite number from 0 up")
    assert scale == 1 or negative is not None, "guidance needs a negative context"

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        level = rearrange(sigma.reshape(x.shape[0], -1).amax(1), "b -> b 1 1 1 1")
        moves, on = level <= zero_above, level > off_below
        if not bool(moves.any()):
            return torch.zeros_like(x)
        if scale == 1 or not bool((moves & on).any()):
            result = model(x, sigma, context)
        else:
            assert negative is not None
            cond, uncond = (
                hold_known(v, sigma) for v in pair(model, x, sigma, context, negative)
            )
            result = torch.where(on, GUIDANCE[method](cond, uncond, scale), cond)
        return torch.where(moves, result, 0)

    return velocity
