"""Print how accurate each solver is; the tables of docs/flow.md come from here.

    python benchmarks/solver_order.py

Two data distributions have a velocity that is known exactly, so that all error is the solver's:
a Gaussian, whose paths are known too, and a mixture of narrow Gaussians, where paths bend and
part as those of a trained model do, measured against Heun with 1,500 steps. About half a minute
on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kineograph.flow.path import VelocityFn
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import SOLVERS, SamplerState, sample, start

SHIFTS = (1.0, 1.5, 3.0, 5.0)
EVALUATIONS = (8, 16, 24, 48, 96)


def dpm_2m(velocity: Tensor, state: SamplerState, sigmas: Sequence[float]) -> SamplerState:
    """DPM-Solver++(2M) (arXiv 2211.01095), for comparison; history: (last x0,)."""
    i, x0 = state.index, state.x - sigmas[state.index] * velocity
    change = x0 - state.x
    if 0 < i < len(sigmas) - 2:
        levels = (min(sigmas[j], 1 - 1e-6) for j in (i - 1, i, i + 1))
        before, here, after = (math.log1p(-level) - math.log(level) for level in levels)
        change = change + (after - here) / (here - before) / 2 * (x0 - state.history[0])
    x = state.x + (1 - sigmas[i + 1] / sigmas[i]) * change
    return replace(state, index=i + 1, x=x, history=(x0,))


def gaussian(mean: float, std: float) -> VelocityFn:
    """Return the exact velocity of data N(mean, std^2): noise z travels to mean + std * z."""

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.to(x.dtype).reshape(-1, 1, 1, 1, 1)
        variance = (1 - s) ** 2 * std**2 + s**2
        return (s - (1 - s) * std**2) / variance * (x - (1 - s) * mean) - mean

    return velocity


def mixture(centres: Tensor, std: float) -> VelocityFn:
    """Return the exact velocity of data that is N(centre, std^2) around each row of `centres`."""

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.to(x.dtype).reshape(-1, 1, 1)
        variance = (1 - s) ** 2 * std**2 + s**2
        away = x.flatten(1)[:, None] - (1 - s) * centres
        which = torch.softmax(-away.square().sum(2, keepdim=True) / (2 * variance), dim=1)
        slope = (s - (1 - s) * std**2) / variance * away - centres
        return (which * slope).sum(1).reshape(x.shape)

    return velocity


def run(velocity_fn: VelocityFn, noise: Tensor, solver: str, steps: int, shift: float) -> Tensor:
    """Return where `solver` takes `noise`."""
    *_, final = sample(velocity_fn, start(noise, solver), make_sigmas(steps, shift))
    return final.x


def row(name: str, cells: Sequence[str]) -> None:
    """Print one line of a Markdown table."""
    print(f"| {name} | " + " | ".join(cells) + " |")


def order_table() -> None:
    """Print the error on a Gaussian as steps double, and the order that follows."""
    noise = torch.randn((256, 1, 1, 1, 1), generator=torch.Generator().manual_seed(0)).double()
    counts = (8, 16, 32, 64, 128, 256)
    print("Gaussian N(0.5, 0.5^2), shift 1.5: root mean square error by steps\n")
    row("solver", [*map(str, counts), "order"])
    row("---", ["---"] * (len(counts) + 1))
    for solver in SOLVERS:
        ends = [run(gaussian(0.5, 0.5), noise, solver, steps, 1.5) for steps in counts]
        errors = [float((end - 0.5 - 0.5 * noise).square().mean().sqrt()) for end in ends]
        order = math.log2(errors[-2] / errors[-1])
        row(solver, [*(f"{error:.1e}" for error in errors), f"{order:.2f}"])


def quality_table(dim: int, count: int, std: float) -> None:
    """Print the error on a mixture at equal numbers of evaluations of the velocity."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn((count, dim), generator=generator).double()
    noise = torch.randn((256, dim, 1, 1, 1), generator=generator).double()
    velocity_fn = mixture(centres, std)
    truth = run(velocity_fn, noise, "heun", 1500, 2.0)
    print(f"\nMixture of {count} Gaussians of width {std} in {dim} dimensions: mean absolute error")
    print("by evaluations of the velocity (heun: half as many steps)\n")
    row("shift, solver", [*map(str, EVALUATIONS)])
    row("---", ["---"] * len(EVALUATIONS))
    for shift in SHIFTS:
        for solver in SOLVERS:
            steps = [n // 2 if solver == "heun" else n for n in EVALUATIONS]
            ends = [run(velocity_fn, noise, solver, n, shift) for n in steps]
            row(f"{shift}, {solver}", [f"{float((end - truth).abs().mean()):.4f}" for end in ends])


def main() -> None:
    """Print every table."""
    SOLVERS["dpm++(2m)"] = dpm_2m
    order_table()
    quality_table(dim=16, count=32, std=0.2)
    quality_table(dim=64, count=64, std=0.5)


if __name__ == "__main__":
    main()
