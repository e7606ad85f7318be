from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kineograph.flow.path import (
    add_noise,
    expand_sigma,
    hold_known,
    set_known,
    velocity_target,
    with_known,
    x0_from_velocity,
)

SHAPE = (2, 3, 4, 5, 6)


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2,), (2, 4)])
def test_the_true_velocity_leads_back_to_the_data_at_every_sigma(shape):
    x0, noise = draw(0), draw(1)
    sigma = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    x = add_noise(x0, noise, sigma)
    velocity = velocity_target(x0, noise)
    torch.testing.assert_close(x0_from_velocity(x, velocity, sigma), x0, atol=1e-5, rtol=0)
    slope = (add_noise(x0, noise, sigma + 0.25) - x) / 0.25
    torch.testing.assert_close(slope, velocity, atol=1e-5, rtol=0)


def test_the_ends_of_the_path_are_exactly_data_and_noise():
    x0, noise = draw(0), draw(1)
    x = add_noise(x0, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(x[0], x0[0])
    assert torch.equal(x[1], noise[1])


def test_a_sigma_per_frame_belongs_to_its_frame():
    sigma = torch.arange(8.0).reshape(2, 4) / 8
    x = add_noise(torch.zeros(SHAPE), torch.ones(SHAPE), sigma)
    assert x[1, :, 3].unique().tolist() == [7 / 8]
    assert x[0, :, 2].unique().tolist() == [2 / 8]


def test_a_sigma_of_another_shape_is_refused():
    with pytest.raises(AssertionError, match=r"sigma \(2, 3\) is not \(2,\) or \(2, 4\)"):
        expand_sigma(torch.zeros(2, 3), draw(0))


def test_known_frames_reach_the_network_clean_with_sigma_0_and_do_not_move():
    seen: list[tuple[Tensor, Tensor]] = []

    def network(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append((x, sigma))
        return torch.full_like(x, 3.0)

    known = draw(0)
    mask = torch.tensor([[True, False, False, True], [False, False, False, False]])
    noise = draw(1)
    velocity = with_known(network, known, mask)(noise, torch.tensor([0.5, 0.25]))
    x, sigma = seen[0]
    assert sigma.tolist() == [[0.0, 0.5, 0.5, 0.0], [0.25] * 4]
    assert torch.equal(x, set_known(noise, known, mask))
    assert torch.equal(x[0, :, [0, 3]], known[0, :, [0, 3]])
    assert torch.equal(x[0, :, 1:3], noise[0, :, 1:3])
    assert velocity[0, :, [0, 3]].abs().max() == 0
    assert velocity[0, :, 1:3].min() == velocity[1].min() == 3


def test_hold_known_leaves_a_sigma_per_sample_alone():
    velocity = draw(0)
    assert hold_known(velocity, torch.zeros(2)) is velocity
