"""The sound of a clip: impacts, rolling, sliding and the air around them, exact in time.

An impact rings the modes of both bodies (damped cosines, van den Doel and Pai 1998) through the
contact, which lasts longer between soft bodies and at low speed and so dulls them. What rolls
sends noise through its modes, once a turn stronger; what slides hisses with the power of
friction. Nothing of a contact sounds before its sample, and no delay grows with distance.

Units are SI; levels are amplitudes, 1 being the largest sample. Letters: n samples, t times.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float32
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATE = 24_000  # samples/s
NEAR = 5.0  # m, the distance at which levels are as the tables say; elsewhere they go with 1 / d
HALF_METRE = 0.5  # m, the radius that pitches and contact times of bodies are given for
FULL_IMPULSE = 5.0  # N s, rings with amplitude 1 before the limiter
KNEE = 0.5  # amplitude from which the limiter bends
SLOWEST = 0.05  # m/s; contacts get no longer below it
ROLL_LEVEL, SLIDE_LEVEL = 0.012, 0.012  # RMS at 1 m/s on a floor of roughness 1
TURN_DEPTH = 0.5  # how much stronger and weaker rolling gets within a turn
EDGE = 0.01  # s, over which rubbing comes and goes
KINDS = ("roll", "slide")


@dataclass(frozen=True)
class _Timbre:
    """How something rings when it is struck."""

    pitch: float  # Hz, lowest mode of a body of half a metre
    ratios: tuple[float, ...]  # of its modes to the lowest
    damping: float  # 1/s, of the lowest mode; each next one adds 35 %
    give: float  # s, what it adds to the time constant of a contact at 1 m/s
    loudness: float = 1.0


@dataclass(frozen=True)
class _Floor:
    """How a floor rings, what it swallows of others, and how its grain sounds."""

    timbre: _Timbre
    absorbs: float  # share of a body's ringing
    grain: float  # level of the noise that an impact stirs up
    band: tuple[float, float]  # Hz, of that noise and of rubbing
    settles: float  # 1/s, decay of that noise
    rough: float  # level of rubbing


MATERIALS = {
    "matte": _Timbre(150, (1, 2.1, 3.3), 60, 0.45e-3),  # rubber
    "striped": _Timbre(430, (1, 1.9, 3.1, 4.4), 28, 0.10e-3),  # painted plastic
    "wood": _Timbre(300, (1, 2.76, 5.4, 8.9), 38, 0.12e-3),
    "glass": _Timbre(1250, (1, 2.32, 4.25, 6.63), 11, 0.025e-3),
    "metal": _Timbre(720, (1, 1.51, 2.24, 2.92, 3.87, 5.1), 5, 0.03e-3),
}
_SLAB = (1, 1.7, 2.6)
FLOORS = {
    "checkered": _Floor(_Timbre(260, _SLAB, 140, 0.02e-3, 0.3), 0.0, 0.05, (300, 5000), 150, 0.8),
    "tiled": _Floor(_Timbre(420, _SLAB, 110, 0.02e-3, 0.3), 0.0, 0.05, (500, 7000), 150, 0.9),
    "marble": _Floor(_Timbre(340, _SLAB, 120, 0.02e-3, 0.3), 0.0, 0.03, (500, 6000), 150, 0.5),
    "plain": _Floor(_Timbre(210, _SLAB, 130, 0.08e-3, 0.3), 0.1, 0.05, (250, 4000), 140, 0.7),
    "glowing grid": _Floor(_Timbre(520, _SLAB, 60, 0.06e-3, 0.3), 0.0, 0.02, (400, 6000), 150, 0.5),
    "wooden": _Floor(_Timbre(130, _SLAB, 55, 0.10e-3, 0.5), 0.1, 0.05, (150, 3500), 120, 1.0),
    "grassy": _Floor(_Timbre(85, (1, 1.6), 90, 0.20e-3, 0.4), 0.6, 0.10, (300, 2000), 60, 0.5),
    "sandy": _Floor(_Timbre(75, (1, 1.6), 110, 0.25e-3, 0.4), 0.7, 0.16, (400, 3000), 45, 0.7),
    "snow": _Floor(_Timbre(70, (1, 1.6), 120, 0.35e-3, 0.4), 0.8, 0.12, (250, 1600), 40, 0.5),
    "water": _Floor(_Timbre(190, (1, 2.2), 25, 0.15e-3, 0.3), 0.7, 0.25, (300, 4000), 18, 0.6),
}


@dataclass(frozen=True)
class _Layer:
    """One noise of the air: its level (RMS), its band (Hz), and how it swells."""

    level: float
    low: float
    high: float
    swell: float = 0.0  # Hz
    depth: float = 0.0


WEATHERS = {
    "clear": (_Layer(0.0003, 80, 600),),
    "rain": (_Layer(0.0035, 1200, 6000), _Layer(0.0012, 200, 900, 0.4, 0.3)),
    "wind": (_Layer(0.0030, 100, 450, 0.35, 0.7),),
    "snow": (_Layer(0.0012, 100, 350, 0.25, 0.6),),
    "fog": (_Layer(0.0002, 80, 300),),
}
LAPPING = (_Layer(0.0020, 250, 1100, 0.7, 0.9),)  # where the floor is water
# Level of birds and of crickets, which are heard when the weather is clear.
TIMES_OF_DAY = {
    "dawn": (0.003, 0.0),
    "noon": (0.0015, 0.0),
    "sunset": (0.001, 0.001),
    "dusk": (0.0, 0.0015),
    "night": (0.0, 0.002),
}


def _one_of(name: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}; allowed: {', '.join(allowed)}")


def _within(
    name: str, value: float | Array, low: float, high: float = math.inf, *, open_: bool = False
) -> None:
    """Refuse numbers that are not finite or not between two bounds; `open_`: nor the lower one."""
    numbers = np.atleast_1d(value)
    right = np.isfinite(numbers) & (numbers <= high)
    right &= (numbers > low) if open_ else (numbers >= low)
    if not right.all():
        bounds = f"{'above' if open_ else 'at least'} {low:g}"
        bounds = bounds if high == math.inf else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} {numbers[~right][0]:g} is not allowed; it must be {bounds}")


@dataclass(frozen=True)
class Impact:
    """One blow between two bodies, or a body and the floor."""

    time: float  # s
    impulse: float  # N s
    speed: float  # m/s, at which the two closed in
    materials: tuple[str, str]  # of the two; the name of a floor counts as one
    radii: tuple[float, float]  # m, half their sizes; that of a floor is not looked at
    pan: float = 0.0  # from -1, the left edge of the picture, to 1, the right one
    distance: float = NEAR  # m, from the camera

    def __post_init__(self) -> None:
        for material, radius in zip(self.materials, self.radii, strict=True):
            _one_of("material", material, [*MATERIALS, *FLOORS])
            if material in MATERIALS:
                _within("radius", radius, 0, open_=True)
        if all(material in FLOORS for material in self.materials):
            raise ValueError(f"materials {self.materials} are two floors; one must be of a body")
        for name in ("time", "impulse", "speed"):
            _within(name, getattr(self, name), 0)
        _within("pan", self.pan, -1, 1)
        _within("distance", self.distance, 0, open_=True)


@dataclass(frozen=True, eq=False)
class Rubbing:
    """A body that rolls or slides over the floor, from the first of `times` to the last."""

    kind: str  # "roll" or "slide"
    material: str
    floor: str
    radius: float  # m
    times: Array  # t, s, rising
    speed: Array  # t, m/s
    pan: Array  # t, from -1, left, to 1, right
    distance: Array  # t, m, from the camera

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("material", self.material, MATERIALS)
        _one_of("floor", self.floor, FLOORS)
        _within("radius", self.radius, 0, open_=True)
        count = self.times.size
        for name in ("times", "speed", "pan", "distance"):
            shape = getattr(self, name).shape
            if shape != (count,) or count < 2:
                raise ValueError(f"{name} has the shape {shape}; allowed: (t,), with one t >= 2")
        _within("time", self.times, 0)
        for before, after in pairwise(self.times):
            if after <= before:
                raise ValueError(f"time {after:g} follows {before:g}; times must rise")
        _within("speed", self.speed, 0)
        _within("pan", self.pan, -1, 1)
        _within("distance", self.distance, 0, open_=True)


@dataclass(frozen=True)
class Ambience:
    """What is heard where nothing happens; `place` is the name of the floor."""

    weather: str = "clear"
    place: str = "plain"
    time_of_day: str = "noon"

    def __post_init__(self) -> None:
        _one_of("weather", self.weather, WEATHERS)
        _one_of("place", self.place, FLOORS)
        _one_of("time of day", self.time_of_day, TIMES_OF_DAY)


def _ring(timbre: _Timbre, radius: float) -> Array:
    """Return what a blow at sample 0 sounds like, `n` samples: 1 at first, then down to -80 dB."""
    order = np.arange(len(timbre.ratios))
    pitch = timbre.pitch * HALF_METRE / radius * np.array(timbre.ratios)
    weight = (pitch < 0.45 * RATE) / (1.0 + order)
    damping = timbre.damping * (1 + 0.35 * order)
    t = np.arange(math.ceil(9.2 / timbre.damping * RATE))[:, None] / RATE
    modes = np.exp(-damping * t) * np.cos(2 * np.pi * pitch * t)
    return np.asarray(timbre.loudness * modes @ weight / max(weight.sum(), 1.0))


def _noise(rng: Generator, count: int, low: float, high: float) -> Array:
    """Return `n` samples of noise of a band (Hz) with an RMS of 1."""
    over = np.fft.rfftfreq(count, 1 / RATE)
    gain = (over / low) ** 2 / (1 + (over / low) ** 2) / (1 + (over / high) ** 4)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * gain, count)
    return np.asarray(noise / max(float(np.sqrt(np.mean(noise**2))), 1e-12))


def _blow(impact: Impact, rng: Generator) -> Array:
    """Return the sound of an impact from its first sample on, at the distance `NEAR`."""
    sides = list(zip(impact.materials, impact.radii, strict=True))
    bodies = [(MATERIALS[name], radius) for name, radius in sides if name in MATERIALS]
    floors = [FLOORS[name] for name, _ in sides if name in FLOORS]
    kept = math.prod(1 - floor.absorbs for floor in floors)
    parts = [kept * _ring(timbre, radius) for timbre, radius in bodies]
    for floor in floors:
        fades = np.exp(-floor.settles * np.arange(math.ceil(9.2 / floor.settles * RATE)) / RATE)
        parts.append(_ring(floor.timbre, HALF_METRE))
        parts.append(floor.grain * fades * _noise(rng, len(fades), *floor.band))
    total = np.zeros(max(len(part) for part in parts))
    for part in parts:
        total[: len(part)] += part
    # Hertz: a contact lasts in proportion to the size and to speed^(-1/5); the softer decides.
    give = sum(timbre.give for timbre in (*(b for b, _ in bodies), *(f.timbre for f in floors)))
    size = min(radius for _, radius in bodies) / HALF_METRE
    lasts = give * size * max(impact.speed, SLOWEST) ** -0.2 * RATE
    k = np.arange(1, math.ceil(10 * lasts) + 2)
    push = k * np.exp(-k / lasts)  # a push whose spectrum has no zeros: a faster one is brighter
    return np.convolve(total, push / push.sum()) * (impact.impulse / FULL_IMPULSE)


def _rub(rubbing: Rubbing, count: int, rng: Generator) -> Array:
    """Return `n 2` samples of rolling or sliding: left and right."""
    t, times = np.arange(count) / RATE, rubbing.times
    material, floor = MATERIALS[rubbing.material], FLOORS[rubbing.floor]
    low, high = floor.band
    speed = np.interp(t, times, rubbing.speed, left=0.0, right=0.0)
    if rubbing.kind == "roll":
        fast = speed / (speed + 1)
        dull, bright = (_noise(rng, count, low, top) for top in (math.sqrt(low * high), high))
        grain = np.sqrt(1 - fast) * dull + np.sqrt(fast) * bright
        ring = np.fft.rfft(_ring(material, rubbing.radius), count)
        body = np.fft.irfft(np.fft.rfft(grain) * ring, count)  # round the ends: it is noise
        body /= max(float(np.sqrt(np.mean(body**2))), 1e-12)
        sound = (1 - floor.absorbs) * body + floor.absorbs * grain
        turned = np.cumsum(speed) / RATE / rubbing.radius
        level = ROLL_LEVEL * speed * (1 + TURN_DEPTH * np.cos(turned))
    else:
        sound = _noise(rng, count, low / 2, high * 1.5)
        level = SLIDE_LEVEL * np.sqrt(speed * (rubbing.radius / HALF_METRE) ** 3)
    pan, distance = (np.interp(t, times, along) for along in (rubbing.pan, rubbing.distance))
    ends = np.clip(np.minimum(t - times[0], times[-1] - t) / EDGE, 0, 1)
    return (sound * level * floor.rough * ends * NEAR / distance)[:, None] * _sides(pan)


def _sides(pan: float | Array) -> Array:
    """Return the gains of the left and the right channel; their squares add up to 1."""
    angle = (np.asarray(pan) + 1) * np.pi / 4
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _limit(audio: Array) -> Array:
    """Bend what is louder than the knee towards 1 without ever reaching it: louder stays louder."""
    over = np.maximum(np.abs(audio) - KNEE, 0) / (1 - KNEE)
    bent = KNEE + (1 - KNEE) * over / (1 + over)
    return np.where(over > 0, np.sign(audio) * bent, audio)


def _air(layer: _Layer, count: int, rng: Generator) -> Array:
    """Return `n 2` samples of one noise of the air, wider than a point."""
    both, left, right = (_noise(rng, count, layer.low, layer.high) for _ in range(3))
    t = np.arange(count) / RATE
    starts = rng.uniform(0, 2 * np.pi, 3)
    paces = layer.swell * np.array([0.6, 1.0, 1.7])
    waves = np.sin(2 * np.pi * paces * t[:, None] + starts).mean(1)
    level = layer.level * (1 + layer.depth * waves)
    return level[:, None] * np.stack([both + left, both + right], -1) / math.sqrt(2)


def _crickets(count: int, rng: Generator) -> Array:
    """Return `n 2` samples of three crickets with a peak of about 1."""
    t = np.arange(count) / RATE
    total = np.zeros((count, 2))
    for _ in range(3):
        pitch, rate, start = rng.uniform(4000, 5000), rng.uniform(1.8, 2.4), rng.uniform(0, 1)
        chirp = np.maximum(np.sin(2 * np.pi * (rate * t + start)), 0) ** 0.5
        pulses = np.sin(np.pi * 32 * t) ** 2
        song = chirp * pulses * np.sin(2 * np.pi * pitch * t)
        total += song[:, None] * _sides(rng.uniform(-0.9, 0.9))
    return total


def _birds(count: int, rng: Generator) -> Array:
    """Return `n 2` samples of a bird now and then, each with a few falling notes, peak 1."""
    total = np.zeros((count, 2))
    for _ in range(rng.poisson(0.6 * count / RATE)):
        start, notes = int(rng.integers(count)), int(rng.integers(2, 5))
        pitch, side = rng.uniform(2500, 4200), _sides(rng.uniform(-0.9, 0.9))
        t = np.arange(int(0.09 * RATE)) / RATE
        note = np.sin(np.pi * t / 0.09) ** 2 * np.sin(2 * np.pi * pitch * (t - 1.8 * t * t))
        for k in range(notes):
            begin = start + int(0.13 * k * RATE)
            part = note[: max(count - begin, 0)]
            total[begin : begin + len(part)] += part[:, None] * side
    return total


def _surroundings(ambience: Ambience, count: int, seed: int) -> Array:
    layers = WEATHERS[ambience.weather] + (LAPPING if ambience.place == "water" else ())
    total = np.zeros((count, 2))
    for i, layer in enumerate(layers):
        total += _air(layer, count, default_rng([seed, 2, i]))
    if ambience.weather == "clear":
        birds, crickets = TIMES_OF_DAY[ambience.time_of_day]
        total += birds * _birds(count, default_rng([seed, 3]))
        total += crickets * _crickets(count, default_rng([seed, 4]))
    return total


def synthesise(
    impacts: Sequence[Impact],
    rubbings: Sequence[Rubbing],
    ambience: Ambience | None,
    duration: float,
    seed: int,
) -> Float32[np.ndarray, "n 2"]:
    """Return the sound of a clip of `duration` s: left and right at 24 kHz, in [-1, 1].

    An impact begins at the sample nearest to its time; what comes after the end is not heard.
    Each source draws from a generator of its own, so that one more changes no other; without
    an `ambience` there is silence between contacts. The same call gives the same bytes.
    Raises `ValueError` for a duration of no sample and for a seed below 0.
    """
    _within("duration", duration, 1 / RATE)
    if seed < 0:
        raise ValueError(f"seed {seed} is not allowed; it must be at least 0")
    count = round(duration * RATE)
    total = np.zeros((count, 2))
    for i, impact in enumerate(impacts):
        start = round(impact.time * RATE)
        if start < count:
            part = _blow(impact, default_rng([seed, 0, i]))[: count - start]
            gains = _sides(impact.pan) * (NEAR / impact.distance)
            total[start : start + len(part)] += part[:, None] * gains
    for i, rubbing in enumerate(rubbings):
        total += _rub(rubbing, count, default_rng([seed, 1, i]))
    if ambience is not None:
        total += _surroundings(ambience, count, seed)
    return _limit(total).astype(np.float32)


if __name__ == "__main__":
    from kineograph.world.sound_check import main

    main()
