"""Print what is read of impacts, shadows and reflections in true clips, and in doctored ones.

    python benchmarks/floor_light.py [--clips 8] [--sounds 60]

Masks are the renderer's. Materials are told from the sound of single blows that the clips of
`--sounds` scenes have; all else from rendered clips before a static camera. Progress goes to
stderr.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch

from kineograph.evaluate.impacts import material_heard, measure_loudness, sounds_of, strikes
from kineograph.evaluate.reflections import measure_reflections
from kineograph.evaluate.shadows import SHADOWLESS, SUNLESS, darkening, measure_shadows
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.onsets import onsets
from kineograph.world.sound import RATE
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import FPS, MATERIALS, Scene
from kineograph.world.v2.soundtrack import soundtrack

SEED = (1 << 46) + (1 << 31)
SIDE = 128
NEAR = 0.03  # s, between a contact and the onset that is taken for it
DROPPED = ("fall", "bounce", "throw")
MOVES = (*DROPPED, "roll", "slide", "pendulum")
OPPOSITE = {"dawn": "sunset", "noon": "dusk", "sunset": "dawn", "dusk": "noon", "night": "dawn"}
Told = dict[tuple[str, str], list[float | None]]


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


def pictures(play: Play) -> tuple[np.ndarray, np.ndarray]:
    """Return frames `t h w 3` and masks `o t h w` of a scene."""
    buffer = filmed(play, frame_times(play.scene.seconds), SIDE, SIDE)
    owner = buffer.owner.numpy()
    masks = np.stack([owner == FIRST_OBJECT + i for i in range(len(play.scene.objects))])
    return (buffer.colour * 255 + 0.5).to(torch.uint8).numpy(), masks


def static(scene: Scene) -> bool:
    """Whether the camera stands, before one object that moves."""
    return scene.shots[0].camera.move == "static" and scene.objects[0].motion in MOVES


def table(told: Told, worst: float) -> None:
    """Print a table of numbers; `worst` is the quantile that is told beside the median."""
    name = f"{100 * worst:.0f}th percentile"
    print(f"| clips | number | median | {name} | objects | share that tells |")
    print("|---|---|---|---|---|---|")
    for (row, number), values in told.items():
        known = [v for v in values if v is not None]
        shown = [f"{np.quantile(known, q):.2f}" if known else "-" for q in (0.5, worst)]
        share = f"{100 * len(known) / len(values):.0f} %"
        print(f"| {row} | {number} | {' | '.join(shown)} | {len(values)} | {share} |")


def materials(count: int) -> None:
    """Print how often the material of a true blow is told, and told right."""
    seen: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    for i in range(count):
        scene, play = draw_scene(
            SEED + i, more="shot", count=1, keep=lambda s: s.objects[0].motion in DROPPED
        )
        say(f"materials {i + 1}/{count}")
        sound = soundtrack(play)
        heard = onsets(sound, RATE)
        for touch in play.touches:
            near = heard[np.abs(heard - touch.time) < NEAR]
            told = sounds_of(sound, RATE, near[:1].tolist(), scene.floor)
            if told is None:
                continue
            true = scene.objects[0].material
            sure = material_heard(sound, RATE, near[:1].tolist(), scene.floor)
            best = max(told, key=lambda name: told[name])
            seen[true].append((best == true, sure is not None, sure == true))
    seen["all"] = [one for some in list(seen.values()) for one in some]
    print(f"Material of single blows, {count} clips of one object each\n")
    print("| material | blows | likeliest is right | told | right of those told |")
    print("|---|---|---|---|---|")
    for name in (*MATERIALS, "all"):
        right, sure, both = np.array(seen[name]).reshape(-1, 3).sum(0).tolist()
        n = max(len(seen[name]), 1)
        print(
            f"| {name} | {len(seen[name])} | {100 * right / n:.0f} % | {100 * sure / n:.0f} % | "
            f"{100 * both / max(sure, 1):.0f} % |"
        )


def loudness(count: int) -> None:
    """Print how loudness follows speed."""
    ranks: Told = defaultdict(list)
    pairs: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for i in range(count):
        _, play = draw_scene(
            SEED + (1 << 20) + i, more="shot", count=1,
            keep=lambda s: static(s) and s.objects[0].motion in DROPPED,
        )  # fmt: skip
        say(f"loudness {i + 1}/{count}")
        struck = strikes(pictures(play)[1], FPS, soundtrack(play), RATE)
        levels = [s.loudness for s in struck]
        random.Random(i).shuffle(levels)
        shuffled = [replace(s, loudness=v) for s, v in zip(struck, levels, strict=True)]
        for row, some in (("true", struck), ("loudness shuffled", shuffled)):
            found = measure_loudness(some)
            ranks[row, "rank correlation"].append(found.rank)
            pairs[row][0] += found.agreeing
            pairs[row][1] += found.pairs
    print("\nLoudness against speed\n")
    table(ranks, 0.1)
    for row, (agreeing, all_) in pairs.items():
        print(f"\n{row}: the faster of two blows is the louder in {agreeing} of {all_} pairs.")


def shadows(count: int) -> None:
    """Print what is read of shadows."""
    told: Told = defaultdict(list)
    for i in range(count):
        scene, play = draw_scene(
            SEED + (1 << 21) + i, more="shot", count=1, style="photoreal",
            keep=lambda s: static(s) and s.weather not in SUNLESS and s.floor not in SHADOWLESS,
        )  # fmt: skip
        say(f"shadows {i + 1}/{count}")
        frames, masks = pictures(play)
        dark = darkening(frames, masks)[..., None]
        mine = np.asarray(masks.any(0))[..., None]
        floor = np.median(np.where(mine, frames[:1], frames), axis=0)
        backwards = np.clip(floor - dark[::-1], 0, 255).astype(np.uint8)
        for row, shown, sky in (
            ("true", frames, scene.sky),
            ("shadow erased", np.where(mine, frames, floor.astype(np.uint8)), scene.sky),
            ("shadow of the clip played backwards", np.where(mine, frames, backwards), scene.sky),
            ("shadow of another time of day", frames, OPPOSITE[scene.sky]),
        ):
            (found,) = measure_shadows(
                shown, masks, sky=sky, weather=scene.weather, floor=scene.floor
            )
            for name in ("present", "follows", "off", "spread"):
                told[row, name].append(getattr(found, name, None))
    print("\nShadows: up is worse of `off` and `spread` (deg), down of the others\n")
    worse = ("off", "spread")
    table({key: values for key, values in told.items() if key[1] in worse}, 0.9)
    print()
    table({key: values for key, values in told.items() if key[1] not in worse}, 0.1)


def reflections(count: int) -> None:
    """Print what is read of reflections."""
    told: Told = defaultdict(list)
    for i in range(count):
        scene, play = draw_scene(
            SEED + (1 << 22) + i, more="shot", count=2, style="photoreal",
            keep=lambda s: s.shots[0].camera.move == "static" and s.floor == "water",
        )  # fmt: skip
        say(f"reflections {i + 1}/{count}")
        frames, masks = pictures(play)
        frames, masks = frames[::4], masks[:, ::4]
        mine = np.asarray(masks.any(0))
        turned = frames.copy()
        turned[mine] = frames[mine][:, [1, 2, 0]]
        known = np.where(mine[..., None], np.nan, frames)
        # Where a whole row is hidden nothing is left to see either.
        rows = np.nan_to_num(np.nanmedian(known, axis=2, keepdims=True)).astype(np.uint8)
        for row, shown in (
            ("true", frames),
            ("reflection erased", np.where(mine[..., None], frames, rows)),
            ("reflection of another colour", turned),
        ):
            for found in measure_reflections(
                shown, masks, sky=scene.sky, weather=scene.weather, floor=scene.floor
            ):
                for name in ("likeness", "chance"):
                    told[row, name].append(getattr(found, name, None))
    print("\nReflections\n")
    table(told, 0.1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8, help="clips of each kind (default 8)")
    parser.add_argument("--sounds", type=int, default=60, help="clips of sound (default 60)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    materials(args.sounds)
    loudness(args.clips)
    shadows(args.clips)
    reflections(args.clips)


if __name__ == "__main__":
    main()
