from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from kineograph.flow.loss import SigmaBins, flow_loss, frame_loss, sample_sigmas
from kineograph.flow.sigmas import shift_sigma


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, shape: tuple[int, ...] = (3, 2, 4, 5, 6)) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def test_sigmas_are_logit_normal_and_shifted():
    sigma = sample_sigmas(20000, 1, generator(), shift=3.0, uniform_share=0.0)
    quantiles = torch.tensor([0.1587, 0.5, 0.8413])  # of a normal at -1, 0, 1
    expected = shift_sigma(torch.sigmoid(torch.tensor([-1.0, 0.0, 1.0])), 3.0)
    measured = sigma.flatten().quantile(quantiles)
    torch.testing.assert_close(measured, expected, atol=0.01, rtol=0)


def test_the_uniform_share_is_uniform_at_any_shift_and_reaches_both_ends():
    sigma = sample_sigmas(20000, 1, generator(), shift=8.0, uniform_share=1.0).flatten()
    levels = torch.linspace(0.05, 0.95, 10)
    torch.testing.assert_close(sigma.quantile(levels), levels, atol=0.015, rtol=0)
    mixed = sample_sigmas(20000, 1, generator(), shift=8.0, uniform_share=0.1)
    low = (mixed < 0.1).float().mean()  # logit-normal alone: under 0.001
    assert 0.007 < low < 0.014


def test_frames_share_a_sigma_except_in_the_per_frame_share():
    sigma = sample_sigmas(4000, 5, generator(), shift=1.0, per_frame_share=0.25)
    same = (sigma == sigma[:, :1]).all(1)
    assert 0.72 < same.float().mean() < 0.78
    correlation = torch.corrcoef(sigma[~same].T)
    assert correlation.fill_diagonal_(0).abs().max() < 0.12
    together = sample_sigmas(4000, 5, generator(), shift=1.0)
    assert (together == together[:, :1]).all()


def test_sigmas_repeat_with_their_generator_and_shares_do_not_move_the_others():
    one = sample_sigmas(64, 3, generator(7), 1.5, per_frame_share=0.5)
    assert torch.equal(one, sample_sigmas(64, 3, generator(7), 1.5, per_frame_share=0.5))
    assert not torch.equal(one, sample_sigmas(64, 3, generator(8), 1.5, per_frame_share=0.5))
    none = sample_sigmas(64, 3, generator(7), 1.5, per_frame_share=0.0)
    assert torch.equal(one[:, 0], none[:, 0])


def test_the_loss_is_0_at_the_true_velocity_and_the_mean_square_elsewhere():
    x0, noise, error = draw(0), draw(1), draw(2)
    loss, per_sample = flow_loss(noise - x0, noise, x0)
    assert loss == 0
    assert per_sample.tolist() == [0, 0, 0]
    loss, per_sample = flow_loss(noise - x0 + error, noise, x0)
    torch.testing.assert_close(loss, error.square().mean())
    torch.testing.assert_close(per_sample, error.square().flatten(1).mean(1))


def test_cells_weigh_within_a_frame():
    x0, noise, error = draw(0), draw(1), draw(2)
    cells = torch.ones(3, 4, 5, 6)
    cells[1, 2, 3, 4] = 7
    plain, weighed = (frame_loss(noise - x0 + error, noise, x0, c) for c in (None, cells))
    torch.testing.assert_close(
        (weighed - plain)[1, 2], 6 * error[1, :, 2, 3, 4].square().sum() / (2 * 5 * 6)
    )
    plain[1, 2] = weighed[1, 2]
    torch.testing.assert_close(plain, weighed)
    loss, _ = flow_loss(noise - x0 + error, noise, x0, cells=cells)
    torch.testing.assert_close(loss, weighed.mean())


def test_frames_of_weight_0_count_nowhere_and_get_no_gradient():
    x0, noise = draw(0), draw(1)
    velocity = draw(2).requires_grad_()
    weight = torch.ones(3, 4)
    weight[0, 0] = 0
    weight[2] = 0
    loss, per_sample = flow_loss(velocity, noise, x0, weight)
    frames = frame_loss(velocity, noise, x0)
    torch.testing.assert_close(loss, (frames[0, 1:].sum() + frames[1].sum()) / 7)
    torch.testing.assert_close(
        per_sample[:2], torch.stack((frames[0, 1:].mean(), frames[1].mean()))
    )
    assert per_sample[2] == 0
    (loss + per_sample.sum()).backward()
    assert velocity.grad.isfinite().all()
    assert velocity.grad[0, :, 0].abs().max() == velocity.grad[2].abs().max() == 0
    assert velocity.grad[0, :, 1:].abs().min() > 0


def test_the_loss_of_a_bfloat16_velocity_is_taken_in_float32():
    x0, noise = draw(0), draw(1)
    loss, per_sample = flow_loss((noise - x0).bfloat16(), noise.bfloat16(), x0.bfloat16())
    assert loss.dtype == per_sample.dtype == torch.float32


def test_bins_hold_the_mean_loss_at_their_sigmas():
    bins = SigmaBins()
    bins.add(torch.tensor([0.0, 0.05, 0.5, 1.0]), torch.tensor([1.0, 3.0, 5.0, 7.0]))
    bins.add(torch.tensor([[0.95, 0.0]]), torch.tensor([[9.0, 100.0]]), torch.tensor([[3.0, 0.0]]))
    assert bins.means() == [2.0, None, None, None, None, 5.0, None, None, None, (7 + 27) / 4]


@pytest.mark.parametrize("count", [10, 4])
def test_bins_survive_json_to_the_last_bit(count):
    bins = SigmaBins(count)
    bins.add(torch.rand(64, generator=generator()), torch.rand(64, generator=generator(1)) / 3)
    again = SigmaBins.from_dict(json.loads(json.dumps(bins.to_dict())))
    assert again.means() == bins.means()
    again.add(torch.tensor([0.5]), torch.tensor([0.1]))
    bins.add(torch.tensor([0.5]), torch.tensor([0.1]))
    assert again.to_dict() == bins.to_dict()
