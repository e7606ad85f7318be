"""How well random scenes of the world's second version obey its laws: python benchmarks/laws.py."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.laws import energy_growth, momentum_error, penetration
from kineograph.world.v2.scene import DRAWN_FROM


def main() -> int:
    """Print the worst of each law over many scenes, and which scene it was; 1 beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--numbers", choices=DRAWN_FROM, default="seen")
    args = parser.parse_args()
    limits = {"energy growth": 1e-6, "momentum": 1e-6, "penetration, radii": 0.01}
    worst = dict.fromkeys(limits, (0.0, -1))
    over = dict.fromkeys(limits, 0)
    for seed in range(args.scenes):
        scene, play = draw_scene(seed, more="shot", numbers=args.numbers)
        times = np.linspace(0, scene.seconds, 33)
        found = (energy_growth(play, times), momentum_error(play), penetration(play, times))
        for name, value in zip(limits, found, strict=True):
            worst[name] = max(worst[name], (value, seed))
            over[name] += value > limits[name]
    for name, limit in limits.items():
        value, seed = worst[name]
        sys.stdout.write(
            f"{name}: at most {value:.2g} (scene {seed}), over {limit:g} in {over[name]} "
            f"of {args.scenes} scenes\n"
        )
    return int(any(over.values()))


if __name__ == "__main__":
    sys.exit(main())
