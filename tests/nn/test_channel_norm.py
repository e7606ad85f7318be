from __future__ import annotations

import torch
import torch.nn.functional as F

from kineograph.nn.channel_norm import ChannelNorm, _NormSilu


def make_norm(dim=12):
    norm = ChannelNorm(dim)
    with torch.no_grad():
        norm.gamma.copy_(torch.randn(norm.gamma.shape, generator=torch.Generator().manual_seed(0)))
    return norm


def features(dtype=torch.float32):
    return torch.randn(2, 3, 4, 5, 12, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_equals_wans_normalise_times_root_of_channels():
    norm, x = make_norm(), features()
    wans = F.normalize(x, dim=-1) * 12**0.5 * norm.gamma.flatten()
    torch.testing.assert_close(norm(x), wans)
    torch.testing.assert_close(norm.silu(x), F.silu(wans))


def test_the_gradient_written_out_is_the_derivative():
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gamma = torch.linspace(-1, 2, 5, dtype=torch.float64)
    inputs = (x.requires_grad_(), gamma.requires_grad_(), 1e-6)
    assert torch.autograd.gradcheck(_NormSilu.apply, inputs)


def test_the_fast_form_in_bfloat16_stays_near_the_plain_one_in_float32():
    norm = make_norm()
    x = features(torch.bfloat16).requires_grad_()
    wide = x.detach().float().requires_grad_()
    fast, plain = norm.silu(x), F.silu(norm(wide))
    weights = features().sin()
    (fast * weights).sum().backward()
    gamma_fast, norm.gamma.grad = norm.gamma.grad, None
    (plain * weights).sum().backward()
    assert fast.dtype == x.grad.dtype == torch.bfloat16
    for got, true in ((fast, plain), (x.grad, wide.grad), (gamma_fast, norm.gamma.grad)):
        assert (got.float() - true).norm() < 0.02 * true.norm()


def test_dead_pixels_give_zeros_and_finite_gradients():
    norm = make_norm()
    x = torch.zeros(1, 1, 2, 2, 12, requires_grad=True)
    out = norm.silu(x)
    out.sum().backward()
    assert out.abs().max() == 0
    assert x.grad.isfinite().all()
