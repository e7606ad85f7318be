"""How well contacts and materials can be read back from the sound of the world.

    python -m kineograph.world.sound --check

Random clips with known contacts are synthesised, `onsets` looks for them, and a table says what
it found and how exactly; a second one says how far apart the materials are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from kineograph.world.onsets import onsets
from kineograph.world.sound import (
    FLOORS,
    KINDS,
    MATERIALS,
    RATE,
    TIMES_OF_DAY,
    Ambience,
    Impact,
    Rubbing,
    synthesise,
)

Array = NDArray[np.float64]
Audio = NDArray[np.float32]

DURATION = 4.0  # s
GAP = 0.08  # s, least time between two contacts
WITHIN = 0.03  # s, from a contact to the onset that counts for it
RADII = (0.44, 0.58, 0.76)  # m
SPEEDS = (0.5, 5.0)  # m/s, drawn evenly on a logarithmic scale
SPHERE = 4 / 3 * np.pi  # kg for a radius of 1 m, at unit density
FEWEST = 4  # clips of a row: the spread within a material needs two of one half
HARD = ("checkered", "tiled", "marble", "plain", "wooden", "glowing grid")


@dataclass(frozen=True)
class Course:
    """What one row of the table is measured on."""

    name: str
    weather: str = "clear"
    rubs: bool = False
    close: bool = False  # all contacts 80 to 130 ms apart


COURSES = (
    Course("contacts alone"),
    Course("rain", weather="rain"),
    Course("rolling and sliding", rubs=True),
    Course("all of these", weather="rain", rubs=True),
    Course("80 to 130 ms apart", close=True),
)


def _body(rng: Generator) -> tuple[str, float]:
    return str(rng.choice(list(MATERIALS))), float(rng.choice(RADII))


def random_impact(rng: Generator, time: float, body: tuple[str, float], floor: str) -> Impact:
    """Return a blow of a body on the floor, or one time in four on another body."""
    material, radius = body
    speed = float(np.exp(rng.uniform(*np.log(SPEEDS))))
    mass = SPHERE * radius**3
    other, size = floor, 0.0
    if rng.random() < 0.25:
        other, size = _body(rng)
        mass = SPHERE / (radius**-3 + size**-3)
    pan, distance = float(rng.uniform(-0.8, 0.8)), float(rng.uniform(4, 7))
    return Impact(time, 1.6 * mass * speed, speed, (material, other), (radius, size), pan, distance)


def random_clip(rng: Generator, course: Course, seed: int) -> tuple[Array, Audio]:
    """Return the times of the contacts of a random clip (s), and its sound `n 2`."""
    count = 16 if course.close else int(rng.integers(2, 9))
    if course.close:
        times = 0.1 + np.cumsum(rng.uniform(GAP, GAP + 0.05, count))
    else:
        free = DURATION - 0.3 - GAP * count
        times = 0.1 + np.sort(rng.uniform(0, free, count)) + GAP * np.arange(count)
    floor = str(rng.choice(list(FLOORS)))
    bodies = [_body(rng) for _ in range(3)]
    impacts = [random_impact(rng, float(t), bodies[rng.integers(3)], floor) for t in times]
    frames = np.arange(0, DURATION, 1 / 24)
    rubbings = []
    for kind in KINDS if course.rubs else ():
        speed = np.linspace(rng.uniform(0.4, 1.7), rng.uniform(0, 1.5), len(frames))
        pan, distance = np.linspace(-0.7, 0.7, len(frames)), np.full(len(frames), 5.0)
        material, radius = bodies[rng.integers(3)]
        rubbings.append(Rubbing(kind, material, floor, radius, frames, speed, pan, distance))
    ambience = Ambience(course.weather, floor, str(rng.choice(list(TIMES_OF_DAY))))
    return times, synthesise(impacts, rubbings, ambience, DURATION, seed)


def match(contacts: Array, found: Array, within: float = WITHIN) -> tuple[list[float], int, int]:
    """Give each contact in turn its nearest onset; return errors (s), missed and false ones."""
    left = [float(time) for time in found]
    errors = []
    for contact in contacts:
        nearest = min(left, key=lambda time: abs(time - contact), default=np.inf)
        if abs(nearest - contact) <= within:
            left.remove(nearest)
            errors.append(nearest - float(contact))
    return errors, len(contacts) - len(errors), len(left)


def onset_row(course: Course, clips: int, seed: int) -> dict[str, float]:
    """Return what `onsets` finds on random clips; times are in ms."""
    rng = default_rng([seed, COURSES.index(course)])
    errors, missed, false = [], 0, 0
    for i in range(clips):
        contacts, audio = random_clip(rng, course, seed + i)
        good, lost, wrong = match(contacts, onsets(audio, RATE))
        errors += good
        missed, false = missed + lost, false + wrong
    late = 1000 * np.array(errors)
    return {
        "contacts": len(errors) + missed,
        "found": len(errors),
        "missed": missed,
        "false": false,
        "bias": float(np.median(late)),
        "median": float(np.median(np.abs(late))),
        "p90": float(np.quantile(np.abs(late), 0.9)),
    }


def decay_time(audio: Audio) -> float:
    """Return the time (s) in which the energy that is still to come falls to a hundredth."""
    energy = np.cumsum((audio.astype(np.float64)[::-1] ** 2).sum(1))[::-1]
    first = int(np.flatnonzero(audio.any(1))[0])
    return float(np.argmax(energy < 0.01 * energy[first]) - first) / RATE


def centroid(audio: Audio) -> float:
    """Return the mean frequency of the power spectrum (Hz)."""
    power = (np.abs(np.fft.rfft(audio.astype(np.float64), axis=0)) ** 2).sum(1)
    return float(power @ np.fft.rfftfreq(len(audio), 1 / RATE) / power.sum())


def _heard(material: str, floors: Sequence[str], count: int, seed: int) -> Array:
    """Return decay time (s) and centroid (Hz), `n 2`, of random falls of one material."""
    rng = default_rng([seed, list(MATERIALS).index(material)])
    rows = []
    for i in range(count):
        radius, speed = float(rng.choice(RADII)), float(np.exp(rng.uniform(*np.log(SPEEDS))))
        impulse = 1.6 * SPHERE * radius**3 * speed
        pair = (material, str(rng.choice(floors)))
        audio = synthesise([Impact(0.1, impulse, speed, pair, (radius, 0.0))], [], None, 1.5, i)
        rows.append((decay_time(audio), centroid(audio)))
    return np.array(rows)


def separation(floors: Sequence[str], count: int, seed: int) -> tuple[dict[str, Array], float]:
    """Return decay times and centroids by material, and the share told apart by them.

    The nearest mean, on a logarithmic scale, of the first half judges the second.
    """
    heard = {name: _heard(name, floors, count, seed) for name in MATERIALS}
    logs = np.log(np.stack(list(heard.values())))
    half = count // 2
    means, spread = logs[:, :half].mean(1), logs[:, :half].std(1).mean(0)
    away = (((logs[:, half:, None] - means) / spread) ** 2).sum(-1)
    right = away.argmin(-1) == np.arange(len(heard))[:, None]
    return heard, float(right.mean())


def report(clips: int, seed: int) -> str:
    """Return both tables as text."""
    lines = [f"{clips} clips of {DURATION:g} s a row; seed {seed}; times in ms", ""]
    heads = ("contacts", "found", "missed", "false", "bias", "median", "p90")
    lines.append(f"{'beneath':20}" + "".join(f"{head:>9}" for head in heads))
    for course in COURSES:
        row = onset_row(course, clips, seed)
        cells = [f"{row[head]:9.0f}" for head in heads[:4]]
        cells += [f"{row[head]:9.2f}" for head in heads[4:]]
        lines.append(f"{course.name:20}" + "".join(cells))
    heard, share = separation(HARD, clips, seed)
    lines += ["", f"{'on hard floors':20}{'decay, ms (p10, median, p90)':>30}{'centroid, Hz':>24}"]
    for name, rows in heard.items():
        decay, tone = (
            np.quantile(column, (0.1, 0.5, 0.9)) for column in (1000 * rows.T[0], rows.T[1])
        )
        cells = ["".join(f"{value:8.0f}" for value in column) for column in (decay, tone)]
        lines.append(f"{name:20}{cells[0]:>30}{cells[1]:>24}")
    _, anywhere = separation(list(FLOORS), clips, seed)
    lines.append(
        f"material told from decay and centroid: {100 * share:.0f} % on hard floors, "
        f"{100 * anywhere:.0f} % on all ({100 / len(MATERIALS):.0f} % by chance)"
    )
    return "\n".join(lines)


def main() -> None:
    """Print the tables; the command line is that of `python -m kineograph.world.sound`."""
    parser = argparse.ArgumentParser(prog="python -m kineograph.world.sound")
    parser.add_argument("--check", action="store_true", required=True, help="print the tables")
    parser.add_argument("--clips", type=int, default=40, help="random clips for each row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.clips < FEWEST:
        parser.error(f"{arguments.clips} clips are too few; {FEWEST} or more are allowed")
    sys.stdout.write(report(arguments.clips, arguments.seed) + "\n")
