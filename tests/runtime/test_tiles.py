"""The VAE in tiles is the VAE: no seam, nothing but rounding."""

import pytest
import torch

from kineograph.models.vae import VideoVAE
from kineograph.runtime.tiles import (
    decode_border,
    decode_tiled,
    encode_border,
    encode_tiled,
    tiled_share,
)
from kineograph.spec import VaeConfig

SMALL = VaeConfig(z_dim=3, encoder_dim=2, decoder_dim=2, dim_mult=(1, 1), num_res_blocks=1,
                  temporal_downsample=(True,))  # fmt: skip
FOLDED = VaeConfig(z_dim=3, encoder_dim=4, decoder_dim=4, dim_mult=(1, 1), num_res_blocks=1,
                   temporal_downsample=(True,), patch_size=2, residual=True)  # fmt: skip


@pytest.mark.parametrize("config", [SMALL, FOLDED], ids=["2.1", "2.2"])
def test_tiles_make_the_same_video_and_latent(config):
    generator = torch.Generator().manual_seed(0)
    vae = VideoVAE(config).eval().requires_grad_(False)
    assert decode_border(config) < 12 and encode_border(config) < 12
    latent = torch.randn(1, 3, 3, 30, 34, generator=generator)
    with torch.no_grad():
        wanted = vae.decode(latent)
        found = torch.cat(list(decode_tiled(vae, latent)), 2)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        video = wanted.clamp(-1, 1)
        whole = [torch.cat(p, 2) for p in zip(*vae.encode_stream(vae.chunks(video)), strict=True)]
        for a, b in zip(encode_tiled(vae, video), whole, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_border_too_narrow_would_show(monkeypatch):
    from kineograph.runtime import tiles

    vae = VideoVAE(SMALL).eval().requires_grad_(False)
    latent = torch.randn(1, 3, 1, 30, 34, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(tiles, "decode_border", lambda config: 1)
    with torch.no_grad():
        off = (torch.cat(list(decode_tiled(vae, latent)), 2) - vae.decode(latent)).abs().max()
    assert off > 1e-3


def test_the_borders_of_wan_and_what_a_tile_takes():
    config = VaeConfig()
    assert (decode_border(config), encode_border(config)) == (13, 10)
    assert 0.3 < tiled_share((90, 160), 13) < 0.4
