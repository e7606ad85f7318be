import torch
import torch.nn.functional as F

from kineograph.nn.activation import TanhGELU


def test_float32_has_the_tanh_form_exactly():
    x = torch.linspace(-6, 6, 1001)
    torch.testing.assert_close(TanhGELU()(x), F.gelu(x, approximate="tanh"), rtol=0, atol=0)


def test_what_stands_in_for_it_in_bfloat16_differs_by_less_than_its_rounding():
    x = torch.linspace(-6, 6, 1001)
    assert (F.gelu(x) - F.gelu(x, approximate="tanh")).abs().max() < 5e-4
    found = TanhGELU()(x.bfloat16()).float()
    exact = F.gelu(x.bfloat16().float(), approximate="tanh")
    torch.testing.assert_close(found, exact, rtol=2**-8, atol=6e-4)
