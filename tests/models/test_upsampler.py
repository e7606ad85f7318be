from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kineograph.models.upsampler import VideoUpsampler
from kineograph.nn.causal import ConvCache
from kineograph.presets import NANO
from kineograph.spec import UpsamplerConfig


def make_model(scale=4):
    model = VideoUpsampler(UpsamplerConfig(scale=scale, dim=8, num_blocks=2))
    generator = torch.Generator().manual_seed(0)
    model.init_weights(generator)
    torch.nn.init.normal_(model.conv_out.weight, std=0.1, generator=generator)
    return model.eval()


def clip(frames=9, h=6, w=10):
    return torch.rand(2, 3, frames, h, w, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_starts_as_plain_bicubic_enlargement():
    video = clip()
    frames = video.transpose(1, 2).flatten(0, 1)
    plain = F.interpolate(frames, scale_factor=4, mode="bicubic").unflatten(0, (2, 9))
    out = VideoUpsampler(UpsamplerConfig(dim=8, num_blocks=1))(video)
    torch.testing.assert_close(out, plain.transpose(1, 2))


@pytest.mark.parametrize("scale", [2, 4])
def test_enlarges_and_takes_any_length(scale):
    for frames in (1, 4):
        out = make_model(scale)(clip(frames))
        assert out.shape == (2, 3, frames, 6 * scale, 10 * scale)


def test_detail_lands_on_its_own_pixel():
    model = make_model()
    with torch.no_grad():
        model.conv_out.weight.zero_()
        model.conv_out.bias[16 + 4 * 1 + 2] = 5.0  # green, one down, two across
        grey = model(torch.zeros(1, 3, 1, 2, 2))
    lit = torch.zeros(3, 8, 8)
    lit[1, 1::4, 2::4] = 5.0
    assert torch.equal(grey[0, :, 0], lit)


def test_chunks_give_what_the_whole_clip_gives():
    model, video, cache = make_model(), clip(), ConvCache()
    with torch.no_grad():
        parts = [model(chunk, cache) for chunk in video.split([1, 4, 3, 1], dim=2)]
        torch.testing.assert_close(torch.cat(parts, 2), model(video), rtol=1e-4, atol=1e-5)


def test_a_frame_is_seen_by_itself_and_the_two_after():
    model, video = make_model(), clip()
    changed = video.clone()
    changed[:, :, 4] *= -1
    with torch.no_grad():
        moved = (model(video) - model(changed)).abs().amax(dim=(0, 1, 3, 4))
    assert [bool(m > 1e-4) for m in moved] == [False] * 4 + [True] * 3 + [False] * 2


def test_every_weight_gets_a_gradient():
    model = make_model()
    model(clip()).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_bfloat16_autocast_stays_near_float32_and_returns_float32():
    model, video = make_model(), clip()
    with torch.no_grad():
        true = model(video)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(video)
    assert out.dtype == torch.float32
    assert (out - true).norm() < 0.02 * true.norm()


def test_the_shipped_size_is_small():
    with torch.device("meta"):
        model = VideoUpsampler(NANO.upsampler)
    assert 2e5 < sum(p.numel() for p in model.parameters()) < 4e5
