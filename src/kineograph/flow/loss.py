"""The training loss of rectified flow, the noise levels it is taken at, and a log of it by level.

Letters: b batch, c channels, t latent frames, h height, w width.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from kineograph.flow.path import velocity_target
from kineograph.flow.sigmas import shift_sigma


def sample_sigmas(
    batch: int,
    frames: int,
    generator: torch.Generator,
    shift: float,
    uniform_share: float = 0.1,
    per_frame_share: float = 0.0,
) -> Float[Tensor, "b t"]:
    """Draw the noise level of every latent frame of a batch, on the generator's device.

    Logit-normal(0, 1), then shifted (arXiv 2403.03206). A `uniform_share` of the draws is uniform
    on [0, 1] and not shifted, so that both ends are learnt at any shift. Frames of one sample
    share one level, except in a `per_frame_share` of the samples, where each frame draws its own
    (diffusion forcing, arXiv 2407.01392). Numbers drawn do not depend on the shares, so that two
    runs that differ only there see the same noise elsewhere.

    Raises:
        RequestError: the shift is not a positive finite number.
    """
    shape, device = (batch, frames), generator.device
    normal = torch.randn(shape, generator=generator, device=device)
    uniform = torch.rand(shape, generator=generator, device=device)
    pick_uniform = torch.rand(shape, generator=generator, device=device) < uniform_share
    pick_per_frame = torch.rand((batch, 1), generator=generator, device=device) < per_frame_share
    sigma = torch.where(pick_uniform, uniform, shift_sigma(torch.sigmoid(normal), shift))
    return torch.where(pick_per_frame, sigma, sigma[:, :1])


def frame_loss(
    velocity: Float[Tensor, "b c t h w"],
    noise: Float[Tensor, "b c t h w"],
    x0: Float[Tensor, "b c t h w"],
    cells: Float[Tensor, "b t h w"] | None = None,
) -> Float[Tensor, "b t"]:
    """Return the mean squared error of `velocity`, in float32, of each latent frame.

    `cells` multiplies the error of each latent cell.
    """
    error = (velocity.float() - velocity_target(x0.float(), noise.float())).square()
    if cells is not None:
        error = error * cells[:, None]
    return reduce(error, "b c t h w -> b t", "mean")


def flow_loss(
    velocity: Float[Tensor, "b c t h w"],
    noise: Float[Tensor, "b c t h w"],
    x0: Float[Tensor, "b c t h w"],
    weight: Float[Tensor, "b t"] | None = None,
    cells: Float[Tensor, "b t h w"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " b"]]:
    """Return the rectified flow loss and the loss of each sample (arXiv 2209.03003, 2210.02747).

    The loss is the mean over all latent frames of the batch, weighted by `weight` (ones when
    absent, 0 for frames that are known and carry no noise); so is the loss of a sample over its
    own frames. `cells` weighs the latent cells within a frame. A sample whose weights are all 0
    has loss 0. At least one weight is above 0.
    """
    frames = frame_loss(velocity, noise, x0, cells)
    weight = torch.ones_like(frames) if weight is None else weight.float()
    weighted, total = (frames * weight).sum(1), weight.sum(1)
    # Divided before 0 / 0 can happen: a NaN inside torch.where would still poison the gradient.
    per_sample = weighted / torch.where(total > 0, total, 1.0)
    return weighted.sum() / total.sum(), per_sample


class SigmaBins:
    """A running mean of the loss in equal bins of sigma.

    The loss over all sigmas mostly shows which sigmas were drawn; by bins it shows learning.
    """

    def __init__(self, bins: int = 10) -> None:
        """Start with `bins` empty bins that split [0, 1] evenly."""
        self.sums = torch.zeros(bins, dtype=torch.float64)
        self.weights = torch.zeros(bins, dtype=torch.float64)

    def add(
        self,
        sigma: Float[Tensor, " b *frames"],
        loss: Float[Tensor, " b *frames"],
        weight: Float[Tensor, " b *frames"] | None = None,
    ) -> None:
        """Count losses (per sample or per frame) into the bins of their sigmas.

        Entries of weight 0 are not counted.
        """
        bins = self.sums.numel()
        where = (sigma.detach().cpu().flatten() * bins).long().clamp(0, bins - 1)
        weights = torch.ones_like(sigma) if weight is None else weight
        flat = weights.detach().cpu().flatten().double()
        self.weights.index_add_(0, where, flat)
        self.sums.index_add_(0, where, flat * loss.detach().cpu().flatten().double())

    def means(self) -> list[float | None]:
        """Return the mean loss of each bin from sigma 0 to 1; None where nothing was counted."""
        pairs = zip(self.sums.tolist(), self.weights.tolist(), strict=True)
        return [total / weight if weight > 0 else None for total, weight in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Return the bins as JSON-ready data, exact to the last bit."""
        return {"sums": self.sums.tolist(), "weights": self.weights.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SigmaBins:
        """Rebuild the bins from `to_dict`."""
        bins = cls(len(data["sums"]))
        bins.sums = torch.tensor(data["sums"], dtype=torch.float64)
        bins.weights = torch.tensor(data["weights"], dtype=torch.float64)
        return bins
