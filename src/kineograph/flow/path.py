"""The straight path between data and noise, and what the network predicts on it.

Rectified flow (arXiv 2209.03003, 2210.02747): `x = (1 - sigma) * x0 + sigma * noise`, and
`velocity = dx/dsigma = noise - x0`. Sigma is 1 at pure noise and 0 at data.

Letters: b batch, c channels, t latent frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

VelocityFn = Callable[[Tensor, Tensor], Tensor]
"""`(x: b c t h w, sigma: b or b t) -> velocity: b c t h w`."""


def expand_sigma(
    sigma: Float[Tensor, " b *frames"], latent: Float[Tensor, "b c t h w"]
) -> Float[Tensor, "b 1 tt 1 1"]:
    """Give a sigma per sample `(b,)` or per latent frame `(b, t)` the rank of `latent`."""
    b, _, t, _, _ = latent.shape
    assert sigma.shape in ((b,), (b, t)), f"sigma {tuple(sigma.shape)} is not ({b},) or ({b}, {t})"
    return rearrange(sigma.reshape(b, -1), "b t -> b 1 t 1 1")


def add_noise(
    x0: Float[Tensor, "b c t h w"],
    noise: Float[Tensor, "b c t h w"],
    sigma: Float[Tensor, " b *frames"],
) -> Float[Tensor, "b c t h w"]:
    """Return the point at `sigma` on the straight line from `x0` to `noise`."""
    s = expand_sigma(sigma, x0)
    return (1 - s) * x0 + s * noise


def velocity_target(
    x0: Float[Tensor, "b c t h w"], noise: Float[Tensor, "b c t h w"]
) -> Float[Tensor, "b c t h w"]:
    """Return what the network learns to predict: the slope of the line, the same at every sigma."""
    return noise - x0


def x0_from_velocity(
    x: Float[Tensor, "b c t h w"],
    velocity: Float[Tensor, "b c t h w"],
    sigma: Float[Tensor, " b *frames"],
) -> Float[Tensor, "b c t h w"]:
    """Return the data that `velocity` points to from `x`: one straight step down to sigma 0."""
    return x - expand_sigma(sigma, x) * velocity


def hold_known(
    velocity: Float[Tensor, "b c t h w"], sigma: Float[Tensor, " b *frames"]
) -> Float[Tensor, "b c t h w"]:
    """Return `velocity` with 0 in the latent frames whose own sigma is 0: they are known."""
    if sigma.ndim == 1:
        return velocity
    return torch.where(expand_sigma(sigma, velocity) > 0, velocity, 0)


def set_known(
    x: Float[Tensor, "b c t h w"],
    known: Float[Tensor, "b c t h w"],
    known_mask: Bool[Tensor, "b t"],
) -> Float[Tensor, "b c t h w"]:
    """Return `x` with the latent frames in `known_mask` taken from `known`."""
    return torch.where(rearrange(known_mask, "b t -> b 1 t 1 1"), known.to(x.dtype), x)


def with_known(
    velocity_fn: VelocityFn,
    known: Float[Tensor, "b c t h w"],
    known_mask: Bool[Tensor, "b t"],
) -> VelocityFn:
    """Wrap `velocity_fn` so that some latent frames are known: sigma 0, velocity 0.

    The wrapped function sees `known` in those frames and a sigma per frame. Start from
    `set_known(noise, known, known_mask)`: where the velocity is 0 no solver changes a bit, so the
    known frames leave it as they entered. Wrap outside `guided`, which then leaves the known
    frames out of its own sums.
    """

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        frames = sigma.reshape(sigma.shape[0], -1).expand_as(known_mask)
        frames = frames.masked_fill(known_mask, 0)
        return hold_known(velocity_fn(set_known(x, known, known_mask), frames), frames)

    return velocity
