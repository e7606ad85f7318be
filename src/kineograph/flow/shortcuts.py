"""Evaluations that are left out: velocities drawn on from earlier ones, at a measured price.

Both wrap what they make cheaper and keep what they need in a `Memory`, which belongs to the
sampler's state: a run that is interrupted goes on with the same bits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.flow.guidance import ModelFn, PairFn
from kineograph.flow.path import VelocityFn

Memory = dict[str, Tensor]
"""What is kept from one evaluation to the next, by name."""

WARM = 0.2  # of the steps, at the beginning, all of which are evaluated: there the layout is made
LEAST = 3  # evaluations before anything is left out


def step_cache(
    velocity_fn: VelocityFn,
    threshold: float,
    sigmas: Float[Tensor, " steps_plus_1"],
    memory: Memory,
) -> VelocityFn:
    """Return a velocity that is evaluated only where it is expected to have changed.

    How much it changes for a change of x is measured at each evaluation; from that follows how
    much it will have changed at the next noise levels, as a share of itself. The shares add up
    until they reach `threshold`, and the network is evaluated again (EasyCache, arXiv 2507.02860).
    In between the velocity is drawn on in a straight line over sigma, where EasyCache holds what
    the network adds to x, which was further off at the same cost (docs/log.md). The first steps
    and the last one are always evaluated. One clip at a time.

    Raises:
        RequestError: a threshold that is not above 0.
    """
    if not 0 < threshold < float("inf"):
        raise RequestError(f"step_cache {threshold} is not allowed: a number above 0")
    steps = sigmas.numel() - 1
    warm, last = max(LEAST, round(WARM * steps)), float(sigmas[-2])

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        assert x.shape[0] == 1, "what one clip leaves out must not depend on another"
        level = float(sigma.max())
        calls = _count(memory, "calls")
        if calls >= warm and level > last:
            share = memory["rate"] * _size(x - memory["seen"]) / _size(memory["v"])
            total = memory["total"] + share
            if float(total) < threshold:
                memory["total"], memory["seen"] = total, x
                return _drawn_on(memory, "v", level)
        v = velocity_fn(x, sigma)
        if "v" in memory:
            moved = _size(x - memory["x"]).clamp_min(1e-12)
            memory["rate"] = _size(v - memory["v"]) / moved
        _remember(memory, "v", v, level)
        memory["x"], memory["seen"], memory["total"] = x, x, torch.zeros((), device=x.device)
        return v

    return velocity


def guidance_every(pair: PairFn, every: int, memory: Memory, name: str = "dit") -> PairFn:
    """Return a pair that evaluates the negative prompt at every so many calls alone.

    In between what the prompt changes is drawn on in a straight line over sigma. At the first
    calls both are evaluated. One clip at a time; each of two experts has a `name` of its own.

    Raises:
        RequestError: `every` is below 1.
    """
    if every < 1:
        raise RequestError(f"guidance_every {every} is not allowed: 1 or more")

    def seldom(
        model: ModelFn, x: Tensor, sigma: Tensor, context: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert x.shape[0] == 1, "what one clip leaves out must not depend on another"
        level = float(sigma.max())
        calls = _count(memory, f"{name}_pairs")
        if calls >= LEAST and (calls - LEAST + 1) % every:
            cond = model(x, sigma, context)
            return cond, cond - _drawn_on(memory, f"{name}_difference", level)
        cond, uncond = pair(model, x, sigma, context, negative)
        _remember(memory, f"{name}_difference", cond - uncond, level)
        return cond, uncond

    return seldom


def _count(memory: Memory, name: str) -> int:
    """Return how often this has been called before, and count this call."""
    calls = int(memory.get(name, 0))
    memory[name] = torch.tensor(calls + 1)
    return calls


def _size(change: Tensor) -> Tensor:
    return change.abs().mean()


def _remember(memory: Memory, name: str, value: Tensor, level: float) -> None:
    """Keep a value with its noise level, and the one before it."""
    for part in (name, f"{name}_level"):
        if part in memory:
            memory[f"old_{part}"] = memory[part]
    memory[name], memory[f"{name}_level"] = value.clone(), torch.tensor(level)


def _drawn_on(memory: Memory, name: str, level: float) -> Tensor:
    """Return the value at a noise level on the straight line through the last two."""
    here, before = float(memory[f"{name}_level"]), float(memory[f"old_{name}_level"])
    slope = (memory[name] - memory[f"old_{name}"]) / (here - before)
    return memory[name] + (level - here) * slope
