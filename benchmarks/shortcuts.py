"""What evaluations that are left out cost in exactness: `python benchmarks/shortcuts.py`.

For a model's prompts, each way against the full run from the same noise: evaluations of the
network as a share of the full run's, and how far the latent is off, as a share of its spread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from kineograph.conditions import condition
from kineograph.generate import begin, denoise
from kineograph.pipeline import Pipeline, load
from kineograph.request import GenerationRequest, ResolvedRequest
from kineograph.resolving import resolve

PROMPTS = (
    "a red ball falls and bounces", "a blue cube slides to the right",
    "a green ball rolls to the left while the camera pans right",
)  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "half the steps": {"steps": 0.5},
    **{f"--step-cache {x}": {"step_cache": x} for x in (0.03, 0.06, 0.1, 0.15)},
    **{f"--guidance-every {n}": {"guidance_every": n} for n in (2, 4)},
    "--step-cache 0.06 --guidance-every 2": {"step_cache": 0.06, "guidance_every": 2},
}


def counted(module: nn.Module) -> Callable[[], int]:
    """Return what tells how often a module has been called since it was last asked."""
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))

    def told() -> int:
        number = len(calls)
        calls.clear()
        return number

    return told


def latent(pipeline: Pipeline, request: ResolvedRequest) -> Tensor:
    """Return the finished latent of a request."""
    given, negative = condition(pipeline, request)
    return denoise(pipeline, request, given, negative, begin(pipeline, request, given)).x


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    args = parser.parse_args()
    pipeline = load(args.model)
    calls = counted(pipeline.dit)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed, prompt in enumerate(PROMPTS[: args.prompts]):
        asked = GenerationRequest(prompt, model=args.model, seed=seed, steps=args.steps)
        request = resolve(asked, pipeline.spec)
        wanted, all_calls = latent(pipeline, request), calls()
        for name, change in WAYS.items():
            more = change | ({"steps": request.steps // 2} if "steps" in change else {})
            made = latent(pipeline, replace(request, **more))
            off = float((made - wanted).square().mean().sqrt() / wanted.std())
            found.setdefault(name, []).append((calls() / all_calls, off))
    print(f"{args.model}, {args.steps} steps, {request.solver}, {args.prompts} prompts")
    print(f"{'':38}evaluations   off")
    for name, pairs in found.items():
        share, off = (sum(values) / len(values) for values in zip(*pairs, strict=True))
        print(f"{name:38}{share:11.2f}{off:6.3f}")


if __name__ == "__main__":
    main()
