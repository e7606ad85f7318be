"""Print what the estimators of events, transitions and drift say of true clips: their noise floor.

    python benchmarks/floor_events.py [--clips 20] [--long 3]

Events are judged with true masks and with masks that were softened as a video VAE would, and
with the sound late or of another clip, which shows what chance gives. Transitions are judged on
films of several shots and on single shots, drift on shots of 16 s. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from kineograph.evaluate.cuts import find_transitions
from kineograph.evaluate.drift import measure_drift
from kineograph.evaluate.events import TOLERANCE, Synchrony, av_f1, contacts, heard
from kineograph.evaluate.kinks import tracks_of
from kineograph.evaluate.soften import soften
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.sound import RATE
from kineograph.world.v2.draw import draw_scene, picture_size, play_of
from kineograph.world.v2.film import colours, filmed, frame_times
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import FPS, SHOT_SECONDS, TRANSITIONS, Shot
from kineograph.world.v2.soundtrack import soundtrack

SEED = (1 << 46) + (1 << 30)  # what limits were chosen on lies below
SIDE = 128
LONG = 16.0  # s
STRIKE = frozenset({"fall", "bounce", "throw", "collide", "topple", "dominoes", "collapse"})
ROWS = ("dominoes", "collapse")
OVERLAP = 0.25  # s, half of a gradual transition


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


def true_masks(play: Play) -> np.ndarray:
    """Return the masks `o t h w` of a scene's objects."""
    height, width = picture_size(play.scene.aspect_ratio, SIDE)
    owner = filmed(play, frame_times(play.scene.seconds), height, width).owner.numpy()
    return np.stack([owner == FIRST_OBJECT + i for i in range(len(play.scene.objects))])


def softened(masks: np.ndarray, seed: int) -> np.ndarray:
    """Return masks after softening, in 8 bits, cut at a half."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    found = []
    for mask in masks:
        x = torch.from_numpy(mask).float()[None, :, None].repeat(1, 1, 3, 1, 1) * 2 - 1
        y = soften(x, rng, generator)[0, :, 0]
        found.append((((y + 1) * 127.5).round().byte() > 127).numpy())
    return np.stack(found)


def near(time: float, others: list[float]) -> bool:
    """Return whether a time (s) is within the tolerance of any of others."""
    return any(abs(time - other) <= TOLERANCE for other in others)


def share(part: float, whole: float) -> str:
    """Return a share in words."""
    return f"{100 * part / whole:.1f} %" if whole else "none"


def mean(values: list[float | None], digits: int = 2) -> str:
    """Return the mean of what is known, in words."""
    known = [v for v in values if v is not None]
    return f"{np.mean(known):.{digits}f}" if known else "none"


def events(clips: int) -> None:
    """Print tables of contacts, onsets and how they match."""
    counts: Counter[str] = Counter()
    offsets: dict[str, list[float]] = {"contacts": [], "onsets": []}
    rows: dict[str, list[Synchrony]] = {}
    done = []
    for i in range(clips):
        scene, play = draw_scene(
            SEED + i, more="shot", keep=lambda s: any(o.motion in STRIKE for o in s.objects)
        )
        say(f"events {i + 1}/{clips}")
        masks, sound = true_masks(play), soundtrack(play)
        soft = tracks_of(softened(masks, i))
        tracks, true = tracks_of(masks), [t.time for t in play.touches if t.time < scene.seconds]
        rowed = [k for k, o in enumerate(scene.objects) if o.motion in ROWS]
        done.append((tracks, soft, sound, rowed))
        counts["true"] += len(true)
        for name, found in (("contacts", contacts(tracks, FPS)), ("onsets", heard(sound, RATE))):
            times = [event.time for event in found]
            counts[name] += len(times)
            counts[f"{name} false"] += sum(not near(t, true) for t in times)
            counts[f"{name} met"] += sum(near(t, times) for t in true)
            close = [min((t - u for u in true), key=abs) for t in times if near(t, true)]
            offsets[name] += [1000 * c for c in close]
    late = round(0.1 * RATE)
    for i, (tracks, soft, sound, rowed) in enumerate(done):
        shifted = np.concatenate([np.zeros_like(sound[:late]), sound[:-late]])
        for name, objects, audio in (
            ("true masks", tracks, sound),
            ("softened masks, 8 bits", soft, sound),
            ("sound 100 ms late", tracks, shifted),
            ("sound of another clip", tracks, done[(i + 1) % len(done)][2]),
            ("silence", tracks, None),
        ):
            rows.setdefault(name, []).append(av_f1(objects, FPS, audio, RATE, rows=rowed))
    print(f"Events, {clips} clips with {counts['true']} contacts\n")
    print("| | found | contacts met | false | offset, ms | its spread, ms |")
    print("|---|---|---|---|---|---|")
    for name, values in offsets.items():
        print(
            f"| {name} | {counts[name]} | {share(counts[f'{name} met'], counts['true'])} | "
            f"{counts[f'{name} false']} | {np.mean(values):.1f} | {np.std(values):.1f} |"
        )
    print("\n| | F1 | precision | recall | offset, ms | lag, ms | judged | excused |")
    print("|---|---|---|---|---|---|---|---|")
    for name, some in rows.items():
        columns = [mean([getattr(r, c) for r in some]) for c in ("f1", "precision", "recall")]
        columns += [mean([getattr(r, c) for r in some], 1) for c in ("offset", "lag")]
        judged = f"{sum(r.seen for r in some)} + {sum(r.heard for r in some)}"
        print(f"| {name} | {' | '.join(columns)} | {judged} | {sum(r.excused for r in some)} |")


def pictures(play: Play) -> np.ndarray:
    """Return the frames `t h w 3` of a film."""
    height, width = picture_size(play.scene.aspect_ratio, SIDE)
    times = frame_times(play.scene.seconds)
    return np.concatenate([part.numpy() for part in colours(play, times, height, width)])


def transitions(clips: int) -> None:
    """Print what is found of each kind, and what is found where nothing is."""
    counts: Counter[str] = Counter()
    errors: dict[str, list[float]] = {kind: [] for kind in TRANSITIONS}
    for i in range(2 * clips):
        more = "shots" if i % 2 else "shot"
        scene, play = draw_scene(SEED + (1 << 20) + i, more=more)
        left = find_transitions(pictures(play), FPS)
        say(f"transitions {i + 1}/{2 * clips}")
        end = 0.0
        for shot, after in zip(scene.shots, scene.shots[1:], strict=False):
            end += shot.seconds
            kind = str(after.transition)
            counts[kind] += 1
            met = [t for t in left if abs(t.middle - end) <= OVERLAP]
            if met:
                best = min(met, key=lambda t: abs(t.middle - end))
                left.remove(best)
                counts[f"{kind} met"] += 1
                counts[f"{kind} named"] += best.kind == kind
                half = 0.0 if kind == "cut" else OVERLAP
                errors[kind] += [abs(best.begin - end + half), abs(best.end - end - half)]
        counts[f"false {more}"] += len(left)
    print(f"\nTransitions, {clips} films of several shots and {clips} of one\n")
    print("| | true | met | of these named right | error of begin and end, s |")
    print("|---|---|---|---|---|")
    for kind in TRANSITIONS:
        n, met = counts[kind], counts[f"{kind} met"]
        right = share(counts[f"{kind} named"], met)
        print(f"| {kind} | {n} | {share(met, n)} | {right} | {mean(errors[kind], 3)} |")
    print(f"\nFalse: {counts['false shots']} in films of several shots, ", end="")
    print(f"{counts['false shot']} in films of one shot.")


def drift(clips: int) -> None:
    """Print the slopes of true shots of 16 s."""
    found, seed = [], SEED + (1 << 21)
    while len(found) < clips:
        scene, _ = draw_scene(seed, more="shot")
        seed += 1
        try:
            play = play_of(replace(scene, shots=(Shot(scene.shots[0].camera, LONG),)))
        except ValueError:  # what moves for so long finds no room
            continue
        found.append(measure_drift(pictures(play), FPS))
        say(f"drift {len(found)}/{clips}")
    print(f"\nDrift, {clips} shots of {LONG:g} s in windows of {SHOT_SECONDS:g} s\n")
    print("| | slope per minute: mean | mean size | largest size |")
    print("|---|---|---|---|")
    for name in found[0].slopes:
        slopes = [s.per_minute for f in found if (s := f.slopes[name]) is not None]
        sizes = np.abs(slopes)
        print(f"| {name} | {np.mean(slopes):.2f} | {sizes.mean():.2f} | {sizes.max():.2f} |")
    print(f"\nWindows without motion: {100 * np.mean([f.stillness for f in found]):.0f} %.")
    curve = {gap: mean([f.similarity[gap] for f in found]) for gap in found[0].similarity}
    print(
        "Similarity of frames apart: " + ", ".join(f"{g:g} s {v}" for g, v in curve.items()) + "."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="clips of each kind (default 20)")
    parser.add_argument("--long", type=int, default=3, help="shots of 16 s (default 3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    events(args.clips)
    transitions(args.clips)
    drift(args.long)


if __name__ == "__main__":
    main()
