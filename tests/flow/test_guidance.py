from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.flow.guidance import GUIDANCE, cfg, cfg_zero_star, guidance_window, guided, together
from kineograph.flow.path import with_known
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import sample, start
from kineograph.spec import ModelSpec

SHAPE = (2, 3, 4, 5, 6)


def draw(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Network:
    """A velocity that depends on x, sigma and context, and counts what it was asked."""

    def __init__(self) -> None:
        self.contexts: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        self.contexts.append(context)
        level = sigma.reshape(len(x), 1, -1, 1, 1)
        return torch.sin(x + level) * (1 + context.mean((1, 2))).reshape(-1, 1, 1, 1, 1)


CONTEXT, NEGATIVE = draw(10, (2, 7, 8)), draw(11, (2, 7, 8))


def test_cfg_goes_past_the_conditional_velocity():
    cond, uncond = draw(0), draw(1)
    torch.testing.assert_close(cfg(cond, uncond, 3.5), 3.5 * cond - 2.5 * uncond)


@pytest.mark.parametrize("method", GUIDANCE)
def test_scale_1_is_the_conditional_velocity(method):
    cond, uncond = draw(0), draw(1)
    torch.testing.assert_close(GUIDANCE[method](cond, uncond, 1.0), cond, atol=1e-6, rtol=0)


def test_cfg_zero_star_is_that_of_diffusers():
    from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale

    cond, uncond = draw(0), draw(0) * 0.7 + draw(1) * 0.5
    alpha = cfg_zero_star_scale(cond.flatten(1), uncond.flatten(1)).view(-1, 1, 1, 1, 1)
    expected = alpha * uncond + 4.0 * (cond - alpha * uncond)
    torch.testing.assert_close(cfg_zero_star(cond, uncond, 4.0), expected)


def test_cfg_zero_star_ignores_how_much_there_is_of_uncond_and_survives_none_of_it():
    cond, uncond = draw(0), draw(1)
    torch.testing.assert_close(
        cfg_zero_star(cond, 5 * uncond, 4.0), cfg_zero_star(cond, uncond, 4.0)
    )
    torch.testing.assert_close(cfg_zero_star(cond, 0 * uncond, 4.0), 4 * cond)


def test_cfg_zero_star_of_a_sample_does_not_depend_on_its_company():
    cond, uncond = draw(0, (3, 4, 5, 32, 32)), draw(1, (3, 4, 5, 32, 32))
    together = cfg_zero_star(cond, uncond, 4.0)
    assert torch.equal(together[1:2], cfg_zero_star(cond[1:2], uncond[1:2], 4.0))


@pytest.mark.parametrize("method", GUIDANCE)
def test_guidance_of_bfloat16_velocities_is_computed_in_float32(method):
    cond, uncond = draw(0).bfloat16(), draw(1).bfloat16()
    result = GUIDANCE[method](cond, uncond, 5.0)
    assert torch.equal(result, GUIDANCE[method](cond.float(), uncond.float(), 5.0))


def test_the_methods_are_those_a_model_may_name():
    assert set(GUIDANCE) == {"cfg", "cfg-zero-star"}
    assert "cfg-zero-star" in str(ModelSpec.__annotations__["guidance"])


def test_scale_1_never_evaluates_the_negative():
    network = Network()
    velocity = guided(network, CONTEXT, None, 1.0)(draw(0), torch.tensor([0.5, 0.5]))
    assert torch.equal(velocity, Network()(draw(0), torch.tensor([0.5, 0.5]), CONTEXT))
    assert len(network.contexts) == 1
    with pytest.raises(AssertionError, match="negative"):
        guided(network, CONTEXT, None, 2.0)


@pytest.mark.parametrize("method", GUIDANCE)
def test_batched_is_one_call_with_the_same_result(method):
    x, sigma = draw(0), torch.tensor([0.5, 0.25])
    apart, at_once = Network(), Network()
    slow = guided(apart, CONTEXT, NEGATIVE, 3.5, method=method)(x, sigma)
    fast = guided(at_once, CONTEXT, NEGATIVE, 3.5, method=method, pair=together)(x, sigma)
    assert (len(apart.contexts), len(at_once.contexts)) == (2, 1)
    torch.testing.assert_close(fast, slow)
    network = Network()
    expected = GUIDANCE[method](network(x, sigma, CONTEXT), network(x, sigma, NEGATIVE), 3.5)
    assert torch.equal(slow, expected)


def test_the_window_holds_for_each_sample_by_itself():
    network, x = Network(), draw(0)
    velocity_fn = guided(network, CONTEXT, NEGATIVE, 3.5, off_below=0.3, zero_above=0.8)
    full = guided(Network(), CONTEXT, NEGATIVE, 3.5)
    plain = guided(Network(), CONTEXT, None, 1.0)

    inside_and_below = torch.tensor([0.8, 0.3])
    velocity = velocity_fn(x, inside_and_below)
    assert torch.equal(velocity[0], full(x, inside_and_below)[0])
    assert torch.equal(velocity[1], plain(x, inside_and_below)[1])
    assert len(network.contexts) == 2

    above_and_below = torch.tensor([0.9, 0.1])
    velocity = velocity_fn(x, above_and_below)
    assert velocity[0].abs().max() == 0
    assert torch.equal(velocity[1], plain(x, above_and_below)[1])
    assert len(network.contexts) == 3  # nobody needed the negative

    assert velocity_fn(x, torch.tensor([0.9, 0.81])).abs().max() == 0
    assert len(network.contexts) == 3  # nobody needed anything


@pytest.mark.parametrize("solver", ["euler", "multistep", "unipc"])
def test_the_window_of_steps_is_evaluated_where_it_says(solver):
    sigmas, network = make_sigmas(10, 1.5), Network()
    off_below, zero_above = guidance_window(sigmas, off_share=0.3, zero_steps=2)
    velocity_fn = guided(
        network, CONTEXT, NEGATIVE, 3.5, off_below=off_below, zero_above=zero_above
    )
    counts = []
    for _ in sample(velocity_fn, start(draw(0), solver), sigmas):
        counts.append(len(network.contexts))
        network.contexts.clear()
    assert counts == [0, 0, 2, 2, 2, 2, 2, 1, 1, 1]


def test_a_window_left_alone_is_the_whole_path():
    sigmas = make_sigmas(10, 1.5)
    assert guidance_window(sigmas) == (0.0, 1.0)
    assert guidance_window(sigmas, off_share=1.0)[0] == 1.0


@pytest.mark.parametrize("method", GUIDANCE)
def test_what_a_network_says_about_known_frames_does_not_matter(method):
    mask = torch.tensor([[True, False, False, False], [False, True, False, False]])
    known, sigma = draw(3), torch.tensor([0.5, 0.5])

    def loud(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        junk = torch.where(sigma == 0, 1e4, 0.0).reshape(2, 1, -1, 1, 1)
        return Network()(x, sigma, context) + junk

    quiet_fn = with_known(guided(Network(), CONTEXT, NEGATIVE, 3.5, method=method), known, mask)
    loud_fn = with_known(guided(loud, CONTEXT, NEGATIVE, 3.5, method=method), known, mask)
    assert torch.equal(loud_fn(draw(0), sigma), quiet_fn(draw(0), sigma))


@pytest.mark.parametrize("scale", [-0.5, math.nan, math.inf])
def test_a_scale_that_is_no_amount_is_refused(scale):
    with pytest.raises(RequestError, match=r"guidance_scale .* is not allowed"):
        guided(Network(), CONTEXT, NEGATIVE, scale)


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(RequestError, match="'cfgg'; available: cfg, cfg-zero-star"):
        guided(Network(), CONTEXT, NEGATIVE, 2.0, method="cfgg")


@pytest.mark.parametrize("window", [{"off_share": 1.1}, {"off_share": -0.1}, {"zero_steps": 10}])
def test_a_window_beyond_the_steps_is_refused(window):
    with pytest.raises(RequestError, match="is not allowed"):
        guidance_window(make_sigmas(10, 1.5), **window)
