from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kineograph import request
from kineograph.errors import RequestError
from kineograph.flow import solvers
from kineograph.flow.path import VelocityFn, set_known, with_known
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import (
    SOLVERS,
    SamplerState,
    advance,
    done,
    evaluation_sigma,
    load_state,
    sample,
    save_state,
    start,
)

ORDER = {"euler": 1, "heun": 2, "multistep": 2, "unipc": 2}
SHAPE = (2, 3, 4, 5, 6)


def draw(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gaussian(mean: float, std: float) -> VelocityFn:
    """The exact velocity of data N(mean, std^2): noise z travels to mean + std * z."""

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.to(x.dtype).reshape(len(x), 1, -1, 1, 1)
        variance = (1 - s) ** 2 * std**2 + s**2
        return (s - (1 - s) * std**2) / variance * (x - (1 - s) * mean) - mean

    return velocity


def network(x: Tensor, sigma: Tensor) -> Tensor:
    """Something that bends x and mixes its channels, as a network would."""
    mix = draw(99, (3, 3))
    s = sigma.reshape(len(x), 1, -1, 1, 1)
    return torch.tanh(torch.einsum("dc,bcthw->bdthw", mix, x) + s) * (1 + s) - 0.3 * x


def last(velocity_fn: VelocityFn, state: SamplerState, sigmas: Tensor) -> SamplerState:
    *_, final = sample(velocity_fn, state, sigmas) if not done(state, sigmas) else [state]
    return final


def same_bits(one: SamplerState, other: SamplerState) -> bool:
    return (
        replace(one, x=other.x, history=()) == replace(other, history=())
        and torch.equal(one.x.view(torch.int32), other.x.view(torch.int32))
        and len(one.history) == len(other.history)
        and all(map(torch.equal, one.history, other.history))
    )


def test_every_solver_is_tested_and_can_be_asked_for():
    assert set(ORDER) == set(SOLVERS) == set(request.SOLVERS)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_error_against_a_closed_form_falls_with_the_order_of_the_solver(solver):
    noise = draw(0, (64, 1, 1, 1, 1)).double()

    def error(steps: int) -> float:
        final = last(gaussian(0.5, 0.5), start(noise, solver), make_sigmas(steps, 1.5)).x
        return float((final - (0.5 + 0.5 * noise)).square().mean().sqrt())

    errors = [error(steps) for steps in (64, 128, 256)]
    assert errors[0] < {1: 0.02, 2: 0.001}[ORDER[solver]]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2 ** ORDER[solver], rel=0.15)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_straight_path_is_walked_exactly_in_any_number_of_steps(solver, steps):
    target = draw(1)

    def straight(x: Tensor, sigma: Tensor) -> Tensor:
        return (x - target) / sigma.reshape(-1, 1, 1, 1, 1)

    final = last(straight, start(draw(0), solver), make_sigmas(steps, 3.0)).x
    torch.testing.assert_close(final, target, atol=2e-6, rtol=0)


def test_multistep_is_exact_for_a_velocity_linear_in_sigma_at_uneven_steps():
    sigmas = torch.tensor([1.0, 0.9, 0.5, 0.4, 0.0])
    *_, final = states = list(
        sample(
            lambda x, sigma: (4 * sigma - 1).double().reshape(-1, 1, 1, 1, 1).expand_as(x),
            start(torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64), "multistep"),
            sigmas,
        )
    )
    moved = float(final.x - states[0].x)  # the first step is Euler's
    assert moved == pytest.approx(0.9 - 2 * 0.9**2, abs=1e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 25])
def test_unipc_is_that_of_diffusers(steps, shift):
    from diffusers import UniPCMultistepScheduler  # here: the resuming process has no use for it

    peer = UniPCMultistepScheduler(
        solver_order=2,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        flow_shift=shift,
    )
    peer.set_timesteps(steps)
    state, x = start(draw(0), "unipc"), draw(0)
    for i, timestep in enumerate(peer.timesteps):
        x = peer.step(network(x, peer.sigmas[i].repeat(2)), timestep, x).prev_sample
        sigma = torch.full((2,), evaluation_sigma(state, peer.sigmas))
        state = advance(network(state.x_eval, sigma), state, peer.sigmas)
        assert (state.x - x).abs().max() < 2e-5 * x.abs().max()
    assert done(state, peer.sigmas)

    # From exactly 1, where theirs starts 1e-6 lower, the result is the same in all but rounding.
    ours = last(network, start(draw(0), "unipc"), make_sigmas(steps, shift, sigma_min=0.001)).x
    assert (ours - x).abs().max() < 1e-4 * x.abs().max()


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_euler_is_that_of_diffusers_to_the_bit(steps):
    from diffusers import FlowMatchEulerDiscreteScheduler

    peer = FlowMatchEulerDiscreteScheduler(shift=3.0)
    peer.set_timesteps(steps)
    x = draw(0)
    for state in sample(network, start(x, "euler"), peer.sigmas):
        i = state.index - 1
        x = peer.step(network(x, peer.sigmas[i].repeat(2)), peer.timesteps[i], x).prev_sample
        assert torch.equal(state.x, x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_velocity_is_asked_for_at_the_sigmas_of_the_list(solver):
    sigmas, asked = make_sigmas(4, 1.5), []

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.dtype == torch.float32
        asked.append(sigma.tolist())
        return network(x, sigma)

    states = list(sample(velocity, start(draw(0), solver), sigmas))
    s = sigmas.tolist()
    expected = [s[0], s[1], s[1], s[2], s[2], s[3], s[3]] if solver == "heun" else s[:4]
    assert asked == [[level, level] for level in expected]
    assert [state.index for state in states] == (
        [0, 1, 1, 2, 2, 3, 4] if solver == "heun" else [1, 2, 3, 4]
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_known_frames_keep_their_bits_and_the_others_follow_their_own_path(solver):
    known, mask = draw(1), torch.tensor([[True, False, False, True], [False] * 4])
    velocity_fn = with_known(network, known, mask)
    for state in sample(
        velocity_fn, start(set_known(draw(0), known, mask), solver), make_sigmas(7, 3.0)
    ):
        for x in (state.x, state.x_eval if state.index < 7 else state.x):
            assert torch.equal(x[0, :, [0, 3]], known[0, :, [0, 3]])
    alone = last(network, start(draw(0)[1:], solver), make_sigmas(7, 3.0)).x
    torch.testing.assert_close(state.x[1:], alone)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_ends_in_the_same_bits_alone_and_in_a_batch(solver):
    def elementwise(x: Tensor, sigma: Tensor) -> Tensor:
        return 2 * x * sigma.reshape(-1, 1, 1, 1, 1) - 0.1

    batch = last(elementwise, start(draw(0), solver), make_sigmas(6, 1.5)).x
    alone = last(elementwise, start(draw(0)[1:], solver), make_sigmas(6, 1.5)).x
    assert torch.equal(batch[1:], alone)


@pytest.mark.parametrize("solver", SOLVERS)
def test_advance_is_pure_and_keeps_nothing_of_the_callers(solver):
    sigmas = make_sigmas(5, 1.5)
    for state in (start(draw(0), solver), *sample(network, start(draw(0), solver), sigmas)):
        if done(state, sigmas):
            break
        before = replace(state, x=state.x.clone(), history=tuple(h.clone() for h in state.history))
        velocity = draw(1)
        one = advance(velocity, state, sigmas)
        assert same_bits(state, before)
        assert torch.equal(velocity, draw(1))
        velocity.fill_(torch.nan)  # as a network that writes into the same output buffer would
        assert same_bits(one, advance(draw(1), state, sigmas))
        assert not one.x.isnan().any()
        assert not any(past.isnan().any() for past in one.history)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_state_stays_in_float32_under_a_bfloat16_network(solver):
    state = last(
        lambda x, sigma: network(x, sigma).bfloat16(), start(draw(0), solver), make_sigmas(4, 1.5)
    )
    assert {state.x.dtype, *(past.dtype for past in state.history)} == {torch.float32}


def test_sampling_takes_no_gradient_and_leaves_the_callers_mode_alone():
    weight = torch.ones((), requires_grad=True)
    for state in sample(lambda x, _: x * weight, start(draw(0), "heun"), make_sigmas(3, 1.5)):
        assert torch.is_grad_enabled()
        assert not state.x.requires_grad


def test_a_finished_state_yields_nothing_and_goes_no_further():
    sigmas = make_sigmas(2, 1.5)
    state = last(network, start(draw(0), "euler"), sigmas)
    assert done(state, sigmas)
    assert list(sample(network, state, sigmas)) == []
    with pytest.raises(AssertionError, match="all 2 steps are already taken"):
        advance(draw(1), state, sigmas)


@pytest.mark.parametrize("first", [1, 3, 5])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_run_that_begins_later_is_a_run_over_the_levels_that_are_left(solver, first):
    sigmas = make_sigmas(6, 3.0)
    states = list(sample(network, replace(start(draw(0), solver), index=first), sigmas))
    shorter = list(sample(network, start(draw(0), solver), sigmas[first:]))
    assert states[-1].index == 6
    assert len(states) == len(shorter)
    for one, other in zip(states, shorter, strict=True):
        assert same_bits(replace(one, index=one.index - first), other)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_run_that_begins_later_lands_where_the_path_leads(solver):
    noise = draw(0, (64, 1, 1, 1, 1)).double()
    sigmas = make_sigmas(128, 1.5)
    level = float(sigmas[40])
    # The exact path from noise z: std^2 * (1 - s)^2 + s^2 is its variance at s.
    there = 0.5 * (1 - level) + noise * (0.25 * (1 - level) ** 2 + level**2) ** 0.5
    final = last(gaussian(0.5, 0.5), replace(start(there, solver), index=40), sigmas).x
    error = float((final - (0.5 + 0.5 * noise)).square().mean().sqrt())
    assert error < {1: 0.02, 2: 0.001}[ORDER[solver]]


def test_an_unknown_solver_is_refused_with_those_there_are():
    with pytest.raises(RequestError, match="'ddim'; available: euler, heun, multistep, unipc"):
        start(draw(0), "ddim")


STEPS, SHIFT = 6, 3.0
RESUME = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_solvers", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["test_solvers"] = module
spec.loader.exec_module(module)
sigmas = module.make_sigmas(module.STEPS, module.SHIFT)
for path in sorted(Path(sys.argv[2]).glob("*.state")):
    final = module.last(module.network, module.load_state(path), sigmas)
    module.save_state(final, path.with_suffix(".final"))
"""


def test_stopped_after_any_evaluation_and_resumed_in_a_new_process_it_ends_in_the_same_bits(
    tmp_path, run_python
):
    sigmas, whole = make_sigmas(STEPS, SHIFT), {}
    for solver in SOLVERS:
        states = [start(draw(0), solver)]
        states += sample(network, states[0], sigmas)
        for i, state in enumerate(states):
            path = tmp_path / f"{solver}-{i}.state"
            save_state(state, path)
            assert same_bits(load_state(path), state)
            whole[path.with_suffix(".final")] = states[-1]
    resumed = run_python("-c", RESUME, __file__, str(tmp_path))
    assert resumed.returncode == 0, resumed.stderr
    assert len(whole) == 3 * (STEPS + 1) + 2 * STEPS
    for path, expected in whole.items():
        assert same_bits(load_state(path), expected), path.name


def test_a_failed_save_leaves_the_old_state_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "run.state"
    save_state(start(draw(0), "euler"), path)

    def full_disk(_tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(solvers, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_state(start(draw(1), "euler"), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.state"]
    assert torch.equal(load_state(path).x, draw(0))


def damaged(path: Path, kind: str) -> None:
    good = {"solver": "heun", "index": 1, "stage": 0, "version": 1}
    tensors = {"x": draw(0)}
    match kind:
        case "missing":
            return
        case "garbage":
            path.write_bytes(b"\x08\x00\x00\x00garbage" * 9)
            return
        case "cut off":
            save_state(start(draw(0), "euler"), path)
            path.write_bytes(path.read_bytes()[:-10])
            return
        case "no metadata":
            save_file(tensors, path)
            return
        case "no x":
            tensors = {"y": draw(0)}
        case "negative index":
            good["index"] = -1
        case "stage without history":
            good["stage"] = 1
        case "history of another shape":
            tensors["history.0"] = draw(0)[:1]
        case "newer version":
            good["version"] = 2
        case "unknown solver":
            good["solver"] = "ddim"
        case "not a number":
            good["index"] = None
    text = solvers.json.dumps(good)
    save_file(tensors, path, metadata={"sampler_state": text})


@pytest.mark.parametrize(
    "kind",
    ["missing", "garbage", "cut off", "no metadata", "no x", "negative index", "not a number",
     "stage without history", "history of another shape", "newer version", "unknown solver"],
)  # fmt: skip
def test_a_file_that_is_no_state_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "run.state"
    damaged(path, kind)
    with pytest.raises(RequestError, match=r"run\.state"):
        load_state(path)
