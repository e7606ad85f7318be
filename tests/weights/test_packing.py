"""Weights in 8 bits: what is lost is small, known, and lost once."""

from __future__ import annotations

import pytest
import torch

from kineograph.weights.header import SCALE
from kineograph.weights.packing import CUTS, LARGEST, pack, unpack, unpacked


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 300), (12, 5, 3, 3), (7, 4, 3, 3, 3)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
def test_what_was_unpacked_is_packed_as_before_and_comes_back_exactly(shape, size):
    numbers, scale = pack(normal(*shape) * size)
    assert (numbers.dtype, numbers.shape) == (torch.int8, shape)
    assert (scale.dtype, scale.shape) == (torch.float32, shape[:1])
    once = unpack(numbers, scale)
    again = pack(once)
    assert torch.equal(unpack(*again), once)
    assert torch.equal(again[0], numbers) and torch.equal(again[1], scale)


def test_no_scale_of_ours_is_rounded_to_another_when_it_is_packed_again():
    once = unpack(*pack(2 ** (normal(100_000, 1) * 3)))  # a row each, of every mantissa
    assert torch.equal(unpack(*pack(once)), once)


def test_a_weight_is_its_number_times_its_scale():
    numbers = torch.tensor([[-127, 0, 5], [1, 2, 3]], dtype=torch.int8)
    scale = torch.tensor([0.5, 0.1])
    assert torch.equal(unpack(numbers, scale), numbers.float() * scale[:, None])


def test_a_row_of_even_weights_is_off_by_half_a_step_at_most():
    # Nothing sticks out that would be worth cutting.
    weight = normal(64, 400).sign() * (1 + 0.1 * torch.rand(64, 400))
    numbers, scale = pack(weight)
    torch.testing.assert_close(scale, weight.abs().amax(1) / LARGEST)
    off = (unpack(numbers, scale) - weight).abs()
    assert bool((off <= scale[:, None] / 2 * 1.001).all())


def test_what_is_not_cut_is_off_by_half_a_step_at_most():
    weight = normal(64, 4000)
    numbers, scale = pack(weight)
    kept = weight.abs() <= (LARGEST + 0.5) * scale[:, None]
    off = (unpack(numbers, scale) - weight).abs() / scale[:, None]
    assert float(off[kept].max()) <= 0.501
    assert float((~kept).float().mean()) < 1e-3
    assert bool((numbers[~kept].abs() == LARGEST).all())


def test_the_cut_of_a_row_loses_least():
    weight = normal(16, 500)
    weight[3, 7] = 5.0  # sticks out a little
    numbers, scale = pack(weight)
    found = (unpack(numbers, scale) - weight).square().sum(1)
    for cut in CUTS:
        step = (weight.abs().amax(1) * cut / LARGEST)[:, None]
        tried = (weight / step).round().clamp(-LARGEST, LARGEST) * step
        assert bool((found <= (tried - weight).square().sum(1) * 1.0001).all())


def test_rows_have_steps_of_their_own():
    weight = normal(3, 50) * torch.tensor([[1e-6], [1.0], [1e4]])
    numbers, scale = pack(weight)
    for row, number, step in zip(weight, numbers, scale, strict=True):
        alone, own = pack(row[None])
        assert torch.equal(alone[0], number) and torch.equal(own[0], step)


def test_rows_of_zeros_stay_zeros():
    weight = normal(3, 50)
    weight[1] = 0
    numbers, scale = pack(weight)
    assert not numbers[1].any() and bool(scale.isfinite().all())
    assert not unpack(numbers, scale)[1].any()
    assert not unpack(*pack(torch.zeros(2, 5))).any()


def test_a_half_weight_is_packed_as_the_same_numbers_in_float32():
    weight = normal(6, 80).bfloat16()
    one, other = pack(weight), pack(weight.float())
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_tensors_come_back_under_their_own_names():
    numbers, scale = pack(normal(4, 6))
    stored = {"a": numbers, "a" + SCALE: scale, "b": torch.ones(3), "b" + SCALE: torch.ones(3)}
    found = unpacked(stored)
    assert list(found) == ["a", "b", "b" + SCALE]  # of nothing in 8 bits: for others to refuse
    assert torch.equal(found["a"], unpack(numbers, scale))
    assert found["b"] is stored["b"]


@pytest.mark.parametrize(
    "scale",
    [None, torch.ones(3), torch.ones(4, 1), torch.ones(()), torch.ones(4).bfloat16()],
    ids=["missing", "short", "matrix", "one", "bfloat16"],
)
def test_scales_that_are_missing_or_do_not_fit_are_refused_by_name(scale):
    stored = {"a.weight": torch.ones(4, 6, dtype=torch.int8)}
    if scale is not None:
        stored["a.weight" + SCALE] = scale
    with pytest.raises(ValueError, match=r"the scales of a\.weight are missing or do not fit"):
        unpacked(stored)


@pytest.mark.parametrize("shape", [(), (4,)])
def test_numbers_without_rows_are_refused(shape):
    stored = {"a": torch.ones(shape, dtype=torch.int8), "a" + SCALE: torch.ones(shape)}
    with pytest.raises(ValueError, match="the scales of a are missing or do not fit"):
        unpacked(stored)
