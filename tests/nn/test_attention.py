import pytest
import torch
import torch.nn.functional as F

from kineograph.nn import attention
from kineograph.nn.attention import Attention, attend


def random_qkv(dtype, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    sizes = (2, 7, 3, 8), (2, 5, 3, 8), (2, 5, 3, 8)
    qkv = (torch.randn(*size, generator=generator).to(dtype) for size in sizes)
    return [x.requires_grad_(requires_grad) for x in qkv]


def test_attend_is_softmax_attention():
    q, k, v = random_qkv(torch.float32)
    bias = torch.randn(1, 3, 7, 5, generator=torch.Generator().manual_seed(1))
    score = torch.einsum("bnhd,bmhd->bhnm", q, k) * 0.5 + bias
    wanted = torch.einsum("bhnm,bmhd->bnhd", score.softmax(-1), v).flatten(2)
    torch.testing.assert_close(attend(q, k, v, bias=bias, scale=0.5), wanted)


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("biased", [True, False])
def test_written_out_scores_agree_with_the_fused_kernel(monkeypatch, scale, biased):
    bias = torch.randn(1, 3, 7, 5, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = []
    for limit in (2**26, 0):
        monkeypatch.setattr(attention, "EXPLICIT_SCORES", limit)
        qkv = random_qkv(torch.bfloat16, requires_grad=True)
        out = attend(*qkv, bias=bias if biased else None, scale=scale)
        wanted = torch.linspace(-1, 1, out.numel()).view_as(out).bfloat16()
        found.append((out.detach(), *torch.autograd.grad(out, qkv, wanted)))
    for explicit, fused in zip(*found, strict=True):
        torch.testing.assert_close(explicit, fused, rtol=0.05, atol=0.05)


def test_long_sequences_never_write_their_scores_out(monkeypatch):
    called = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or fused(*a, **k)
    )
    monkeypatch.setattr(attention, "EXPLICIT_SCORES", 2 * 3 * 7 * 5 - 1)
    attend(*random_qkv(torch.bfloat16))
    assert called


def test_attention_normalises_over_all_heads_together():
    layer = Attention(12, 3, 1e-6)
    x = torch.randn(1, 4, 12, generator=torch.Generator().manual_seed(0))
    q, k = layer.norm_q(layer.q(x)), layer.norm_k(layer.k(x))
    q, k, v = (y.unflatten(-1, (3, 4)) for y in (q, k, layer.v(x)))
    torch.testing.assert_close(layer(x), layer.o(attend(q, k, v)))
