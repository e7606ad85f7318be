"""How well judges read true renders: what `trusted` goes by, and the ceiling of every figure.

`python -m kineograph.evaluate.v2.testing [FILE]` prints what the file of the judges says of it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from kineograph.evaluate.v2.files import FEW, OnTruth, crowded, load_judges, trusted
from kineograph.evaluate.v2.judges import Judges, ObjectReading, Reading, group_of, true_reading
from kineograph.evaluate.v2.pool import TEST_SEED, distinct, look
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import PACED, STYLES, Scene

GROUPS = ("photo", "coloured", "colourless")
PLACE = ("camera", "floor", "sky", "weather", "style")
WHOLE = ("count", *PLACE)
PART = 25  # clips that a process reads at once
NAMES = {
    "camera": "camera move",
    "count": "number of objects",
    "floor": "floor",
    "sky": "time of day",
    "weather": "weather",
    "style": "style",
    "colour": "colours: each found, none that is not there",
    "shape": "shape",
    "material": "material",
    "motion": "what an object does, direction included",
    "then": "what it does then",
    "order": "whether it begins first or later",
    "speed": "slow, normal or fast",
    "size": "size",
    "colour_to": "colour it turns into",
}
OF_OBJECTS = ("shape", "material", "motion", "then", "order", "speed", "size", "colour_to")


def tested_scene(seed: int, group: str) -> tuple[Scene, Play]:
    """Return a scene of one kind of style whose objects can be told apart."""
    rng = random.Random(f"judges tested {seed} {group}")
    style = rng.choice([s for s in STYLES if group_of(s) == group])
    count = 1 if style in COLOURLESS else None
    return draw_scene(seed, more="shot", style=style, count=count, keep=distinct)


def paired(scene: Scene, reading: Reading) -> list[ObjectReading | None]:
    """Return, for each object of a scene, the one of its colour in a reading."""
    if scene.style in COLOURLESS:
        return [next(iter(reading.objects), None)] + [None] * (len(scene.objects) - 1)
    found = {o.colour: o for o in reading.objects}
    return [found.get(o.colour) for o in scene.objects]


def compare(scene: Scene, reading: Reading) -> dict[str, list[bool]]:
    """Return, by judge, what is right in the reading of a clip of a scene."""
    truth = true_reading(scene)
    right = {name: [getattr(truth, name) == getattr(reading, name)] for name in WHOLE}
    pairs = list(zip(scene.objects, truth.objects, paired(scene, reading), strict=True))
    if scene.style not in COLOURLESS:
        # a colour that no object has is as wrong as one that is missed
        ours = {o.colour for o in scene.objects}
        wrong = [False] * sum(o.colour not in ours for o in reading.objects)
        right["colour"] = [found is not None for _, _, found in pairs] + wrong
    for name in OF_OBJECTS:
        rows = [
            found is not None and getattr(found, name) == getattr(wanted, name)
            for thing, wanted, found in pairs
            if _told(name, scene, thing.motion in PACED, thing.colour_to is not None)
        ]
        if rows:
            right[name] = rows
    return right


def _told(name: str, scene: Scene, paced: bool, turns: bool) -> bool:
    if name == "speed":
        return paced
    if name == "colour_to":
        return turns and scene.style not in COLOURLESS
    if name == "order":
        return len({o.order for o in scene.objects}) > 1
    return True


def measure_part(judges: Judges, group: str, numbers: Sequence[int]) -> OnTruth:
    """Return how many of some fresh renders of one kind of style each judge reads right.

    Of objects, and of their number, it is kept apart where there are more than FEW.
    """
    torch.set_num_threads(1)
    found: OnTruth = {}
    for k in numbers:
        scene, play = tested_scene(TEST_SEED + GROUPS.index(group) * 10**6 + k, group)
        shown, _ = look(play)
        reading = judges.read([shown.movedim(-1, 1).float() / 127.5 - 1])[0]
        crowd = crowded(group) if len(scene.objects) > FEW else group
        for name, right in compare(scene, reading).items():
            kind = group if name in PLACE else crowd
            row = found.setdefault(kind, {}).setdefault(name, {"right": 0, "n": 0})
            row["right"] += sum(right)
            row["n"] += len(right)
    return found


def measure(
    judges: Judges, clips: int, say: Callable[[str], None], *, workers: int = 2
) -> OnTruth:  # fmt: skip
    """Read fresh renders, `clips` of each kind of style; return how many each judge reads right."""
    found: OnTruth = {}
    starts = range(0, clips, PART)
    with ProcessPoolExecutor(workers) as pool:
        for group in GROUPS:
            parts = [range(k, min(clips, k + PART)) for k in starts]
            read = pool.map(partial(measure_part, judges, group), parts)
            for part, more in zip(parts, read, strict=True):
                for kind, rows in more.items():
                    for name, row in rows.items():
                        mine = found.setdefault(kind, {}).setdefault(name, {"right": 0, "n": 0})
                        for key, count in row.items():
                            mine[key] += count
                say(f"read {part.stop} of {clips} clips, {group}")
    for kind, rows in found.items():
        shares = (f"{n} {r['right'] / r['n']:.3f} of {r['n']}" for n, r in rows.items())
        say(f"{kind}: {', '.join(shares)}")
    return found


def table(on_truth: OnTruth) -> str:
    """Return a Markdown table of what judges read right; bold is what is asked."""
    heads, crowds = [], []
    for group, words in zip(GROUPS, ("photographs", "styles with colours", "without"), strict=True):
        heads.append(words)
        crowds.append((group, group))
        if crowded(group) in on_truth:
            heads.append(f"{words}, more than {FEW} objects")
            crowds.append((group, crowded(group)))
    lines = [f"| judge | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, words in NAMES.items():
        cells = []
        for group, kind in crowds:
            row = on_truth[kind].get(name)
            good = trusted(on_truth, group, 1 if kind == group else FEW + 1)
            cell = f"{100 * row['right'] / row['n']:.1f} % of {row['n']}" if row else "-"
            cells.append(f"**{cell}**" if row and name in good else cell)
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    sys.stdout.write(f"{table(load_judges(path)[1])}\n")
