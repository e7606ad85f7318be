import torch
import torch.nn.functional as F

from kineograph.nn.norm import RMSNorm, layer_norm, work_dtype


def test_rms_norm_equals_torch():
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    norm = RMSNorm(12, eps=1e-3)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(norm(x), F.rms_norm(x, (12,), norm.weight, 1e-3))


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).bfloat16() * 100
    found = RMSNorm(64)(x)
    assert found.dtype is torch.bfloat16
    exact = RMSNorm(64)(x.float())
    torch.testing.assert_close(found, exact.bfloat16(), rtol=0, atol=0)


def test_layer_norm_has_mean_0_and_deviation_1():
    y = layer_norm(torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) * 7 + 5, 1e-6)
    torch.testing.assert_close(y.mean(-1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.std(-1, correction=0), torch.ones(3))


def test_work_dtype_is_autocasts_or_the_tensors_own():
    x = torch.zeros(1, dtype=torch.float64)
    assert work_dtype(x) is torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert work_dtype(x) is torch.bfloat16
