"""The VAE in tiles: less of a frame on the device at a time, the same picture.

What runs at the smallest size, attention over the whole frame among it, is computed whole. The
levels above it are convolutions: each tile is computed with a border as wide as they reach, which
is cut away. There are no seams and nothing is blended; it differs from the whole by rounding.
What it costs is the borders, computed more than once, and that no frame is ready before all are.

Letters: b batch, z latent channels, t frames (t2: latent ones), h height, w width.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from kineograph.models.vae import VideoVAE
from kineograph.nn.causal import ConvCache
from kineograph.spec import VaeConfig

GRID = (2, 2)  # tiles down and across: more of them are mostly border
HOST = torch.device("cpu")


def decode_border(config: VaeConfig) -> int:
    """Return how many cells of the latent grid the decoder's levels reach beyond a tile."""
    levels = len(config.dim_mult)
    reach = sum(2 * (config.num_res_blocks + 1) / 2**i for i in range(levels))
    reach += sum(1 / 2 ** (i + 1) for i in range(levels - 1)) + 1 / 2 ** (levels - 1)
    return int(-(-reach // 1))


def encode_border(config: VaeConfig) -> int:
    """Return how many cells of the latent grid the encoder's levels reach beyond a tile."""
    levels = len(config.dim_mult)
    reach = 1 + sum(2 * config.num_res_blocks * 2**i for i in range(levels))
    reach += sum(2 * 2**i for i in range(levels - 1))
    return -(-reach // 2 ** (levels - 1))


def tiled_share(cells: tuple[int, int], border: int) -> float:
    """Return which share of a frame, h x w cells, the largest tile is."""
    share = 1.0
    for size, count in zip(cells, GRID, strict=True):
        share *= max(b - a for a, b, _, _ in _cuts(size, count, border)) / size
    return share


def _cuts(size: int, count: int, border: int) -> list[tuple[int, int, int, int]]:
    """Return, for each tile along an axis, where it begins and ends with and without border."""
    edges = [round(size * i / count) for i in range(count + 1)]
    return [(max(0, a - border), min(size, b + border), a, b) for a, b in pairwise(edges)]


def _tiles(
    cells: tuple[int, int], border: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """Yield each tile's place with border, its place without, and that within itself."""
    rows, columns = (
        _cuts(size, count, border) for size, count in zip(cells, GRID, strict=True)
    )
    for top, bottom, y, y2 in rows:
        for left, right, x, x2 in columns:
            within = (slice(y - top, y2 - top), slice(x - left, x2 - left))
            yield (slice(top, bottom), slice(left, right)), (slice(y, y2), slice(x, x2)), within


def _times(place: tuple[slice, slice], scale: int) -> tuple[slice, slice]:
    y, x = (slice(scale * s.start, scale * s.stop) for s in place)
    return y, x


@torch.no_grad()
def decode_tiled(
    vae: VideoVAE, latent: Float[Tensor, "b z t h w"]
) -> Iterator[Float[Tensor, "b 3 _ h2 w2"]]:
    """Yield the video of a raw latent as `decode_stream` does, from the host's memory."""
    cells, scale = (latent.shape[-2], latent.shape[-1]), vae.config.spatial_stride
    whole = ConvCache()
    low = [vae.settled(frame, whole).to(HOST) for frame in latent.split(1, dim=2)]
    video: list[Tensor] = []
    for tile, place, within in _tiles(cells, decode_border(vae.config)):
        cache = ConvCache()
        for i, frame in enumerate(low):
            pixels = vae.risen(frame[:, :, *tile].to(latent.device), cache)
            if len(video) == i:
                size = (scale * cells[0], scale * cells[1])
                video.append(torch.empty(*pixels.shape[:3], *size))
            video[i][..., *_times(place, scale)] = pixels[..., *_times(within, scale)].to(HOST)
    yield from video


@torch.no_grad()
def encode_tiled(
    vae: VideoVAE, video: Float[Tensor, "b 3 t h w"]
) -> tuple[Float[Tensor, "b z t2 h2 w2"], Float[Tensor, "b z t2 h2 w2"]]:
    """Return mean and log-variance as `encode` does; the video may lie in the host's memory."""
    scale, device = vae.config.spatial_stride, next(vae.parameters()).device
    cells = (video.shape[-2] // scale, video.shape[-1] // scale)
    chunks = vae.chunks(video)
    low: list[Tensor] = []
    for tile, place, within in _tiles(cells, encode_border(vae.config)):
        cache = ConvCache()
        for i, chunk in enumerate(chunks):
            features = vae.descended(chunk[..., *_times(tile, scale)].to(device), cache)
            if len(low) == i:
                low.append(features.new_empty(*features.shape[:2], *cells, features.shape[-1]))
            low[i][:, :, *place] = features[:, :, *within]
    whole = ConvCache()
    moments = [vae.moments(features, whole) for features in low]
    mean, logvar = (torch.cat(parts, 2) for parts in zip(*moments, strict=True))
    return mean, logvar
