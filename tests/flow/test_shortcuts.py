"""Evaluations left out: how many, how far off, and the same bits after an interruption."""

from dataclasses import replace

import pytest
import torch

from kineograph.errors import RequestError
from kineograph.flow.guidance import guided, one_by_one
from kineograph.flow.shortcuts import guidance_every, step_cache
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import load_state, sample, save_state, start

SIGMAS = make_sigmas(20, 2.0)
NOISE = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
CONTEXT, NEGATIVE = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)


class Network:
    """A velocity that bends, another one under each context; it counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, sigma, context=CONTEXT):
        self.calls += 1
        level = sigma.reshape(-1, 1, 1, 1, 1)
        return torch.sin(2 * x) + level**2 + 0.3 * context.mean() * torch.cos(x)


def walk(velocity, state=None):
    states = list(sample(velocity, state or start(NOISE, "multistep"), SIGMAS))
    return states[-1].x


def test_a_step_cache_leaves_evaluations_out_and_stays_near():
    full = Network()
    wanted = walk(full)
    calls, errors = [full.calls], [0.0]
    for threshold in (0.2, 0.8):
        network = Network()
        found = walk(step_cache(network, threshold, SIGMAS, {}))
        calls.append(network.calls)
        errors.append(float((found - wanted).norm() / wanted.norm()))
    assert 20 == calls[0] > calls[1] > calls[2] >= 5
    assert errors[0] < errors[1] < errors[2] < 0.2


def test_every_evaluation_is_made_where_nothing_may_change():
    network = Network()
    assert torch.equal(walk(step_cache(network, 1e-9, SIGMAS, {})), walk(Network()))
    assert network.calls == 20


def test_guidance_every_second_time_costs_fewer_evaluations_and_stays_near():
    full = Network()
    wanted = walk(guided(full, CONTEXT, NEGATIVE, 3.0))
    assert full.calls == 40
    for every, calls in ((1, 40), (2, 31), (4, 27)):
        network, memory = Network(), {}
        pair = guidance_every(one_by_one, every, memory)
        found = walk(guided(network, CONTEXT, NEGATIVE, 3.0, pair=pair))
        assert network.calls == calls
        assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_an_interrupted_run_leaves_out_the_same_evaluations(tmp_path):
    def velocity(memory):
        pair = guidance_every(one_by_one, 2, memory)
        return step_cache(
            guided(Network(), CONTEXT, NEGATIVE, 3.0, pair=pair), 0.1, SIGMAS, memory
        )

    wanted = walk(velocity({}))
    for stop in (1, 5, 9, 16):
        memory = {}
        states = sample(velocity(memory), start(NOISE, "multistep"), SIGMAS)
        for _ in range(stop):
            state = next(states)
        save_state(replace(state, memory=dict(memory)), tmp_path / "state")
        state = load_state(tmp_path / "state")
        assert torch.equal(walk(velocity(dict(state.memory)), state), wanted)


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match=r"step_cache 0\.0 is not allowed"):
        step_cache(Network(), 0.0, SIGMAS, {})
    with pytest.raises(RequestError, match="guidance_every 0 is not allowed"):
        guidance_every(one_by_one, 0, {})
