"""What a model is given besides noise: the context, and latent frames that are known.

First frame, last frame, any keyframe and extension differ only in which frames are known. The
first of Wan's models take pictures in the older form, as channels beside the noisy latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """The context of a prompt and the latent frames that must come out as they are.

    `known` and `known_mask` are both given or both None. `channels`, `image` and `control` are for
    models that have a place for them.
    """

    context: Float[Tensor, "b l d"]
    known: Float[Tensor, "b c t h w"] | None = None
    known_mask: Bool[Tensor, "b t"] | None = None  # True where `known` holds a frame
    channels: Float[Tensor, "b k t h w"] | None = None  # beside those of the noisy latent
    image: Float[Tensor, "b i j"] | None = None  # tokens of pictures
    control: Float[Tensor, "b v t h w"] | None = None  # the latent of a control video (VACE)
    control_scale: float = 1.0  # how much it counts

    def __post_init__(self) -> None:
        assert (self.known is None) == (self.known_mask is None)

    def frame_sigma(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, "b *t"]:
        """Return the noise level of each latent frame: 0 where it is known.

        Without known frames it stays one number a clip.
        """
        if self.known_mask is None:
            return sigma
        return torch.where(self.known_mask, 0.0, sigma[:, None])

    def insert(self, latent: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        """Return the latent with the known frames put in."""
        if self.known is None or self.known_mask is None:
            return latent
        mask = rearrange(self.known_mask, "b t -> b 1 t 1 1")
        return torch.where(mask, self.known.to(latent.dtype), latent)
