import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from kineograph.nn.rope import (
    RopeCache,
    apply_rope,
    axis_dims,
    norm_rope,
    norm_rope_reference,
    rope_table,
)


@pytest.mark.parametrize(("head_dim", "split"), [(128, (44, 42, 42)), (64, (24, 20, 20))])
def test_head_is_split_as_in_wan(head_dim, split):
    assert axis_dims(head_dim) == split


@pytest.mark.parametrize("head_dim", [64, 16, 10])
def test_table_equals_diffusers(head_dim):
    t, h, w = 3, 4, 5
    cos, sin = WanRotaryPosEmbed(head_dim, (1, 1, 1), 16)(torch.empty(1, 1, t, h, w))
    table = rope_table((t, h, w), head_dim)
    torch.testing.assert_close(table[..., 0], cos[0, :, 0, 0::2], rtol=0, atol=1e-7)
    torch.testing.assert_close(table[..., 1], sin[0, :, 0, 1::2], rtol=0, atol=1e-7)


def test_turning_keeps_lengths_and_depends_on_distance_only():
    table = rope_table((1, 1, 6), 16)
    x = torch.randn(2, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    q, k = (apply_rope(y.expand(1, 6, 1, 16), table)[0, :, 0] for y in x)
    torch.testing.assert_close(q.norm(dim=-1), x[0, 0, 0].norm().expand(6))
    score = q @ k.T
    torch.testing.assert_close(score[0, 2], score[3, 5])
    assert (score[0, 2] - score[0, 3]).abs() > 1e-3


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fast_norm_rope_agrees_with_its_slow_twin(turned, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 12, 30, generator=generator).to(dtype)
    weight = torch.randn(30, generator=generator)
    wanted = torch.randn(2, 12, 3, 10, generator=generator).to(dtype)
    table = rope_table((2, 3, 2), 10) if turned else None
    found = []
    for function in (norm_rope, norm_rope_reference):
        inputs = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = function(*inputs, 1e-6, 3, table)
        found.append((y.detach(), *torch.autograd.grad(y, inputs, wanted)))
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    for fast, slow in zip(*found, strict=True):
        assert fast.dtype == slow.dtype
        torch.testing.assert_close(fast, slow, rtol=tolerance, atol=tolerance)


def test_fast_norm_rope_has_the_gradient_of_its_value():
    table = rope_table((1, 2, 2), 6)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 12, generator=generator)
    weight = torch.randn(12, generator=generator)
    direction = torch.randn(1, 4, 12, generator=generator)
    wanted = torch.randn(1, 4, 2, 6, generator=generator)

    def value(step):
        return float((norm_rope(x + step * direction, weight, 1e-6, 2, table) * wanted).sum())

    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norm_rope(at, weight, 1e-6, 2, table), at, wanted)
    slope = (value(1e-2) - value(-1e-2)) / 2e-2
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-2)


def test_cache_keeps_few_tables_and_serves_training_after_inference():
    cache = RopeCache(12, capacity=2)
    with torch.inference_mode():
        first = cache((1, 2, 3), torch.device("cpu"))
    assert not first.is_inference()
    assert cache((1, 2, 3), torch.device("cpu")) is first
    for width in (4, 5):
        assert cache((1, 2, width), torch.device("cpu")).shape == (2 * width, 6, 2)
    assert len(cache.tables) == 2
    assert cache.state_dict() == {}
