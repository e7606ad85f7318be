"""Solvers: how to walk from noise to data along the velocity, as pure functions over a state.

    for state in sample(velocity_fn, start(noise, "euler"), make_sigmas(24, 1.5)):
        ...  # show, save, stop

`SamplerState` is all there is to a run: stopped after any evaluation, written to disk and resumed
in another process, it ends in the same bits. Each solver is a function
`(velocity, state, sigmas) -> state`; to add one, write it and name it in `SOLVERS`.

All of them move x by multiples of velocities, or of differences between predictions of x0. Hence
a frame whose velocity is 0 keeps its exact bits, which is how known frames stay known.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.flow.path import VelocityFn

STATE_VERSION = 1


@dataclass(frozen=True)
class SamplerState:
    """Where a run stands: complete, so that it can stop here and go on anywhere."""

    solver: str
    index: int  # steps completed
    x: Float[Tensor, "b c t h w"]  # at sigmas[index]
    stage: int = 0  # evaluations already made of the step under way
    history: tuple[Tensor, ...] = ()  # what the solver remembers; its docstring says what
    memory: Mapping[str, Tensor] = field(default_factory=dict)  # what `flow.shortcuts` remember

    @property
    def x_eval(self) -> Float[Tensor, "b c t h w"]:
        """The point whose velocity is wanted next: x, or the trial point of a step under way."""
        return self.history[0] if self.stage else self.x


Solver = Callable[[Tensor, SamplerState, Sequence[float]], SamplerState]


def _euler(velocity: Tensor, state: SamplerState, sigmas: Sequence[float]) -> SamplerState:
    """Follow the velocity in a straight line; first order, no history."""
    step = sigmas[state.index + 1] - sigmas[state.index]
    return replace(state, index=state.index + 1, x=state.x + step * velocity)


def _heun(velocity: Tensor, state: SamplerState, sigmas: Sequence[float]) -> SamplerState:
    """Take the mean of the velocities at both ends of an Euler step; second order.

    Two evaluations a step, but one in the last: at sigma 0 there is no noise left to predict.
    History between the two: (trial point, velocity at x).
    """
    step = sigmas[state.index + 1] - sigmas[state.index]
    if state.stage == 0 and sigmas[state.index + 1] > 0:
        trial = state.x + step * velocity
        return replace(state, stage=1, history=(trial, velocity.clone()))
    slope = (state.history[1] + velocity) / 2 if state.stage else velocity
    return replace(state, index=state.index + 1, x=state.x + step * slope, stage=0, history=())


def _multistep(velocity: Tensor, state: SamplerState, sigmas: Sequence[float]) -> SamplerState:
    """Extrapolate the velocity from the last two: Adams-Bashforth, uneven steps; second order.

    One evaluation a step. Chosen over DPM-Solver++(2M) (arXiv 2211.01095), whose update is
    already the predictor inside `unipc`: that works in log((1 - sigma) / sigma), which is infinite
    at both ends of a flow; here the velocity itself is smooth in sigma from end to end.
    docs/flow.md has the numbers. History: (last velocity,).
    """
    i = state.index
    step, slope = sigmas[i + 1] - sigmas[i], velocity
    if state.history:
        ratio = step / (sigmas[i] - sigmas[i - 1])
        slope = velocity + ratio / 2 * (velocity - state.history[0])
    # Cloned because the caller may reuse the buffer of its network's output.
    return replace(state, index=i + 1, x=state.x + step * slope, history=(velocity.clone(),))


def _log_snr(sigma: float) -> float:
    """Return log((1 - sigma) / sigma), finite at sigma 1 as in the reference implementations."""
    sigma = min(sigma, 1 - 1e-6)
    return math.log1p(-sigma) - math.log(sigma)


def _unipc(velocity: Tensor, state: SamplerState, sigmas: Sequence[float]) -> SamplerState:
    """UniPC of order 2, B2(h), on predictions of x0 (arXiv 2302.04867); what Wan samples with.

    One evaluation a step, used twice: to correct the point at which it was made, then to predict
    the next one. The predictor alone is DPM-Solver++(2M); the last step, to sigma 0, is of first
    order. Weights are those of the paper times -alpha * B(h), which is 1 - sigma' / sigma.
    History: (corrected last x, last x0, the x0 before it from the third step on).
    """
    i, x = state.index, state.x
    x0 = x - sigmas[i] * velocity
    if state.history:
        x = _unipc_correct(x0, state, sigmas)
    change = x0 - x
    if state.history and i < len(sigmas) - 2:
        before, here, after = (_log_snr(sigmas[j]) for j in (i - 1, i, i + 1))
        change = change + (after - here) / (here - before) / 2 * (x0 - state.history[1])
    next_x = x + (1 - sigmas[i + 1] / sigmas[i]) * change
    return replace(state, index=i + 1, x=next_x, history=(x, x0, *state.history[1:2]))


def _unipc_correct(x0: Tensor, state: SamplerState, sigmas: Sequence[float]) -> Tensor:
    """Redo the last step of `_unipc` knowing the prediction of x0 at its end."""
    i, (last_x, last_x0, *older) = state.index, state.history
    change = last_x0 - last_x
    if older:
        before, start, end = (_log_snr(sigmas[j]) for j in (i - 2, i - 1, i))
        h, r = end - start, (before - start) / (end - start)
        b = math.expm1(-h)
        phi = -b / h - 1
        b1, b2 = phi / b, (-2 * phi / h - 1) / b
        rho = (b1 - b2) / (1 - r)
        change = change + rho / r * (older[0] - last_x0) + (b1 - rho) * (x0 - last_x0)
    else:
        change = change + (x0 - last_x0) / 2
    return last_x + (1 - sigmas[i] / sigmas[i - 1]) * change


SOLVERS: dict[str, Solver] = {
    "euler": _euler,
    "heun": _heun,
    "multistep": _multistep,
    "unipc": _unipc,
}


def start(x: Float[Tensor, "b c t h w"], solver: str) -> SamplerState:
    """Return the state before the first step, at `x` (noise, and known frames if there are any).

    Raises:
        RequestError: there is no solver of that name.
    """
    if solver not in SOLVERS:
        raise RequestError(f"unknown solver {solver!r}; available: {', '.join(SOLVERS)}")
    return SamplerState(solver=solver, index=0, x=x)


def done(state: SamplerState, sigmas: Float[Tensor, " steps_plus_1"]) -> bool:
    """Return whether every step has been taken."""
    return state.index >= sigmas.numel() - 1


def evaluation_sigma(state: SamplerState, sigmas: Float[Tensor, " steps_plus_1"]) -> float:
    """Return the sigma at which the velocity of `state.x_eval` is wanted next."""
    return float(sigmas[state.index + state.stage])


def advance(
    velocity: Float[Tensor, "b c t h w"],
    state: SamplerState,
    sigmas: Float[Tensor, " steps_plus_1"],
) -> SamplerState:
    """Return the state after one more evaluation: `velocity` of `state.x_eval`.

    `velocity` may be of lower precision; the state stays in the precision of x. Weights are
    computed in float64 on the CPU, so keep `sigmas` there. Nothing is changed in place.
    """
    assert not done(state, sigmas), f"all {sigmas.numel() - 1} steps are already taken"
    return SOLVERS[state.solver](velocity.to(state.x.dtype), state, sigmas.tolist())


def sample(
    velocity_fn: VelocityFn, state: SamplerState, sigmas: Float[Tensor, " steps_plus_1"]
) -> Iterator[SamplerState]:
    """Go on from `state` to sigma 0; yield the state after every evaluation of `velocity_fn`.

    Heun yields twice a step: count progress by `state.index`. A finished state yields nothing.
    """
    while not done(state, sigmas):
        level = evaluation_sigma(state, sigmas)
        sigma = torch.full(state.x.shape[:1], level, dtype=torch.float32, device=state.x.device)
        with torch.no_grad():  # not held across the yield, where it would leak to the caller
            state = advance(velocity_fn(state.x_eval, sigma), state, sigmas)
        yield state


def on_device(state: SamplerState, device: torch.device) -> SamplerState:
    """Return a state whose tensors are on a device: one read from a file is on the CPU."""
    return replace(
        state,
        x=state.x.to(device),
        history=tuple(past.to(device) for past in state.history),
        memory={name: tensor.to(device) for name, tensor in state.memory.items()},
    )


def state_tensors(state: SamplerState) -> dict[str, Tensor]:
    """Return the tensors of a state by the names that `load_state` knows."""
    past = {f"history.{i}": tensor for i, tensor in enumerate(state.history)}
    return {"x": state.x, **past, **{f"memory.{k}": t for k, t in state.memory.items()}}


def state_numbers(state: SamplerState) -> dict[str, str | int]:
    """Return what else there is to a state, as the field `sampler_state` of a file has it."""
    numbers: dict[str, str | int] = {"solver": state.solver, "index": state.index}
    return numbers | {"stage": state.stage, "version": STATE_VERSION}


def save_state(state: SamplerState, path: Path | str) -> None:
    """Write `state` to a safetensors file, exact to the last bit; an old file stays until then."""
    path = Path(path)
    tensors, meta = state_tensors(state), state_numbers(state)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            temporary,
            metadata={"sampler_state": json.dumps(meta)},
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: Path | str, device: torch.device | str = "cpu") -> SamplerState:
    """Read what `save_state` wrote.

    Raises:
        RequestError: the file is missing, damaged, or not a sampler state.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            meta = json.loads(file.metadata()["sampler_state"])
            names = set(file.keys())
            told = sorted(name for name in names if name.startswith("memory."))
            past = len(names) - len(told) - 1
            history = [file.get_tensor(f"history.{i}") for i in range(past)]
            state = SamplerState(
                solver=meta["solver"],
                index=int(meta["index"]),
                x=file.get_tensor("x"),
                stage=int(meta["stage"]),
                history=tuple(history),
                memory={n.removeprefix("memory."): file.get_tensor(n) for n in told},
            )
        if state.index < 0 or state.stage not in range(len(history) + 1):
            raise ValueError(f"index {state.index}, stage {state.stage}")
        if any(past.shape != state.x.shape for past in history):
            raise ValueError("history and x differ in shape")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{path} is not a readable sampler state: {error}") from error
    if meta["version"] != STATE_VERSION or state.solver not in SOLVERS:
        raise RequestError(
            f"{path} holds version {meta['version']} of solver {state.solver!r}; "
            f"this program reads version {STATE_VERSION} of {', '.join(SOLVERS)}"
        )
    return state
