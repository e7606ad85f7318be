"""What `kineo plan` foretells beside what a clip then takes, by stage.

    python benchmarks/plan.py [--model nano] [--steps 8] [--repeats 3]

Each clip is made anew, in one process, the first one (which warms caches up) left out; a stage's
figure is the median. `measured` over `planned` is 1 where the plan is right; `share` is the part
of the rate of matrix products that the stage reached, which is what SHARES in runtime/plan.py
stands for. Stages that are timed as one are compared as one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from kineograph.produce import plan_for, run
from kineograph.request import GenerationRequest
from kineograph.runtime.options import RunOptions
from kineograph.runtime.plan import SHARES

# A stage of the timings, and those of the plan that are in it.
TIMED = {
    "condition": ("text", "image", "encode"), "denoise": ("denoise",),
    "decode": ("decode", "interpolate", "enlarge"),
}  # fmt: skip


def main() -> None:
    """Print one line of JSON a stage, and one for the whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    args = parser.parse_args()
    options = RunOptions(device=args.device)
    request = GenerationRequest("a red ball bounces", model=args.model, steps=args.steps)
    plan = plan_for(request, options=options)
    seconds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.repeats + 1):
            print(f"clip {i} of {args.repeats}", file=sys.stderr)
            output = str(Path(folder) / f"{i}.mp4")
            [made] = run(replace(request, seed=i, output=output), options=options)
            seconds.append(made.timings)
    told = {stage.name: stage for stage in plan.stages}
    print(json.dumps({"model": args.model, "threads": torch.get_num_threads(),
                      "torch": torch.__version__}))  # fmt: skip
    planned = measured = 0.0
    for name, stages in TIMED.items():
        here = [told[stage] for stage in stages if stage in told]
        foretold = sum(stage.seconds for stage in here)
        # Each stage's seconds are its operations at the rate times its share.
        at_full_rate = sum(stage.seconds * SHARES[stage.name] for stage in here)
        took = median(one[name] for one in seconds[1:])
        planned, measured = planned + foretold, measured + took
        print(json.dumps({
            "stage": name, "of": [stage.name for stage in here], "planned": round(foretold, 2),
            "measured": round(took, 2), "measured_over_planned": round(took / foretold, 2),
            "share": round(at_full_rate / took, 3),
        }))  # fmt: skip
    print(json.dumps({"stage": "all", "planned": round(planned, 2),
                      "measured": round(measured, 2),
                      "measured_over_planned": round(measured / planned, 2)}))  # fmt: skip


if __name__ == "__main__":
    main()
