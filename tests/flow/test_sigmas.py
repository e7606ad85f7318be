from __future__ import annotations

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from kineograph.errors import RequestError
from kineograph.flow.sigmas import make_sigmas, shift_sigma


@pytest.mark.parametrize("shift", [0.1, 1.0, 1.5, 5.0, 17.3])
@pytest.mark.parametrize("steps", [1, 2, 7, 24, 1000])
def test_sigmas_fall_from_exactly_1_to_exactly_0(steps, shift):
    sigmas = make_sigmas(steps, shift)
    assert sigmas.dtype == torch.float32
    assert sigmas.shape == (steps + 1,)
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_shift_is_the_formula_and_undoes_its_inverse():
    sigma = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(shift_sigma(sigma, 3.0), 3 * sigma / (1 + 2 * sigma))
    torch.testing.assert_close(shift_sigma(shift_sigma(sigma, 3.0), 1 / 3), sigma)
    assert torch.equal(shift_sigma(sigma, 1.0), sigma)


def test_sigmas_are_those_of_diffusers_for_the_same_even_levels():
    peer = FlowMatchEulerDiscreteScheduler(shift=3.0)
    peer.set_timesteps(sigmas=torch.linspace(1, 0, 9)[:-1].tolist())
    torch.testing.assert_close(make_sigmas(8, 3.0), peer.sigmas, atol=1e-6, rtol=0)


def test_sigma_min_gives_the_levels_that_diffusers_samples_wan_at():
    peer = UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0
    )
    peer.set_timesteps(20)
    sigmas = make_sigmas(20, 5.0, sigma_min=0.001)
    torch.testing.assert_close(sigmas, peer.sigmas, atol=1.1e-6, rtol=0)  # theirs starts 1e-6 low


@pytest.mark.parametrize("steps", [0, -3])
def test_fewer_than_one_step_is_refused(steps):
    with pytest.raises(RequestError, match=f"steps {steps} is not allowed: at least 1"):
        make_sigmas(steps, 1.5)


@pytest.mark.parametrize("shift", [0.0, -1.0, math.inf, math.nan])
def test_a_shift_that_is_no_positive_number_is_refused(shift):
    with pytest.raises(RequestError, match=r"shift .* is not allowed"):
        make_sigmas(8, shift)


@pytest.mark.parametrize("sigma_min", [-0.1, 1.0])
def test_a_sigma_min_outside_the_path_is_refused(sigma_min):
    with pytest.raises(RequestError, match="sigma_min"):
        make_sigmas(8, 1.5, sigma_min)


def test_levels_that_float32_cannot_tell_apart_are_refused():
    with pytest.raises(RequestError, match="equal noise levels"):
        make_sigmas(1000, 1e9)
