"""Does an impact sound as it looks? Louder when faster, and of the material that strikes.

A strike is a contact seen in a track together with the onset heard then, as `events.av_f1`
matches them. Of one object the impulse, and so the loudness, grows with the jump of its velocity;
between objects mass and material count as well, so strikes are compared within objects alone.

**Material.** A blow rings the modes of what strikes (van den Doel and Pai 1998), so its power in
bands, over three windows of time, is that of the material. What each material and size gives on
a floor is taken from the world's own synthesis when it is first asked for; what was heard just
before is added to it, so that a band in which other things are louder says nothing.

Letters: o objects, t frames, h height, w width, n samples, b bands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.evaluate.events import FAINT, LOUD, SILENCE, contacts, heard, match
from kineograph.evaluate.kinks import Kink, Watched, tracks_of
from kineograph.world.sound import RATE, Ambience, Impact, synthesise
from kineograph.world.v2.parts import RADIUS
from kineograph.world.v2.scene import FLOORS, MATERIALS
from kineograph.world.v2.soundtrack import FLOOR_SOUND, MATERIAL_SOUND

Array = NDArray[np.float64]

GAP, LENGTH = 0.005, 0.03  # s: around an onset that is known so well; of what is listened to
FEWEST = 3  # strikes of an object that have a rank correlation
FASTER = 1.15  # times another speed: fast enough for an order to be expected
BANDS = 24
LOWEST, HIGHEST = 100.0, 6000.0  # Hz
WINDOWS = ((0.003, 0.025), (0.03, 0.07), (0.08, 0.14))  # s, after an onset
AUDIBLE = 1e-3  # share of the power of the first window, less of which in a band says nothing
BINS = 8192  # of a spectrum
SPEEDS = (0.7, 1.5, 3.0, 5.0)  # m/s, of the blows that materials are learnt from
WAVERS = 0.3  # decades of power, by which bands differ for reasons that no blow has
DEPENDENT = 2.0  # bands that say the same thing count as one
SURE = 0.9  # probability, below which a material is not told


@dataclass(frozen=True)
class Strike:
    """A contact that is seen and heard."""

    time: float  # s, at which it is heard
    track: int  # the object that strikes
    speed: float  # sides/s, the jump of its velocity
    lands: bool  # whether it is thrown up: what it struck is the floor
    loudness: float  # dB, over what was heard just before


@dataclass(frozen=True)
class Loudness:
    """How the loudness of strikes follows their speed."""

    rank: float | None  # Spearman's correlation within objects; 1 is right, 0 chance
    pairs: int  # of one object, whose speeds differ clearly
    agreeing: int  # of these, in which the faster one is the louder one; half is chance


# --- strikes -----------------------------------------------------------------------------
def _level(sound: Array, rate: int, time: float) -> float:
    """Return how loud (dB) an onset is, over what was heard just before."""
    power = (np.diff(sound, axis=0) ** 2).sum(1)
    k = max(0, round((time - GAP) * rate))
    length = round(LENGTH * rate)
    before, after = power[max(0, k - length) : k], power[k : k + length + round(GAP * rate)]
    usual = float(before.mean()) if len(before) else 0.0
    return 10 * math.log10(max(float((after - usual).sum()) / rate, SILENCE / rate))


def strikes(
    objects: Bool[np.ndarray, "o t h w"] | Float[np.ndarray, "o t 2"],
    fps: float,
    sound: Float[np.ndarray, "n 2"] | None,
    rate: int,
    *,
    breaks: Collection[int] = (),
) -> list[Strike]:
    """Return the contacts of a clip that are both seen and heard, in their order.

    `objects` are masks, or tracks in sides of the picture. `sound` begins with the first frame;
    None is silence. `breaks` are the first frames of shots.

    Raises:
        RequestError: fps is not above 0, or as `events.heard`.
    """
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    if sound is None:
        return []
    tracks = tracks_of(objects) if objects.ndim == 4 else objects.astype(np.float64)
    watched = [Watched(track, fps, breaks) for track in tracks]
    seen, sounds = contacts(tracks, fps, breaks), heard(sound, rate)
    found: dict[int, tuple[int, Kink]] = {}
    for i, j in match(seen, sounds):
        track, time = seen[i].track, seen[i].time
        assert track is not None
        found[j] = track, next(k for k in watched[track].kinks if k.time == time)
    for j, onset in enumerate(sounds):
        if j in found or onset.strength < LOUD:
            continue
        again = [(i, kink) for i, one in enumerate(watched) if (kink := one.at(onset.time))]
        best = max(again, key=lambda one: np.linalg.norm(one[1].jump), default=None)
        if best is not None and np.linalg.norm(best[1].jump) >= FAINT:
            found[j] = best
    samples = sound.astype(np.float64)
    return [
        Strike(
            sounds[j].time, i, float(np.linalg.norm(kink.jump)),
            bool(-kink.jump[1] > abs(kink.jump[0])), _level(samples, rate, sounds[j].time),
        )
        for j, (i, kink) in sorted(found.items())
    ]  # fmt: skip


# --- loudness ----------------------------------------------------------------------------
def _ranks(values: Array) -> Array:
    """Return the ranks of some values, those that are equal sharing theirs."""
    below = (values[:, None] > values).sum(1)
    return below + ((values[:, None] == values).sum(1) - 1) / 2


def _spearman(a: Array, b: Array) -> float:
    """Return the rank correlation of two lists; 0 where one of them is all the same."""
    x, y = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size else 0.0


def measure_loudness(struck: Sequence[Strike]) -> Loudness:
    """Return how the loudness of strikes follows their speed, within each object.

    `rank` is the mean over objects that strike three times or more, weighted by how often; None
    where none does. `pairs` and `agreeing` add up over clips, and need two strikes alone.
    """
    ranks, weights, pairs, agreeing = [], [], 0, 0
    for track in sorted({s.track for s in struck}):
        mine = [s for s in struck if s.track == track]
        speeds, levels = (np.array([getattr(s, n) for s in mine]) for n in ("speed", "loudness"))
        if len(mine) >= FEWEST:
            ranks.append(_spearman(speeds, levels))
            weights.append(len(mine))
        faster = speeds[:, None] >= FASTER * speeds
        pairs += int(faster.sum())
        agreeing += int((faster & (levels[:, None] > levels)).sum())
    rank = float(np.average(ranks, weights=weights)) if ranks else None
    return Loudness(rank, pairs, agreeing)


# --- material ----------------------------------------------------------------------------
def _bands(sound: Array, rate: int, start: float, end: float) -> Array:
    """Return the mean power `b` of bands between two times (s)."""
    part = sound[round(start * rate) : round(end * rate)]
    shape = np.hanning(len(part))[:, None]
    spectrum = np.fft.rfft(part * shape, BINS, axis=0)
    power = (np.abs(spectrum) ** 2).sum(1) / (shape**2).sum()
    # Up to where in frequency: bands do not end where bins do.
    total = np.concatenate([[0.0], np.cumsum(power)])
    ends = np.arange(len(total)) * rate / BINS
    return np.diff(np.interp(np.geomspace(LOWEST, HIGHEST, BANDS + 1), ends, total))


def _ringing(sound: Array, rate: int, time: float) -> tuple[Array, Array] | None:
    """Return the power of bands in each window after an onset, and that before, `3*b`.

    They are in shares of what the onset adds in the first window; None where it adds nothing, or
    the sound ends or began too near.
    """
    first = time - WINDOWS[0][1]
    if first < 0 or (time + WINDOWS[-1][1]) * rate > len(sound):
        return None
    before = _bands(sound, rate, first, time - WINDOWS[0][0])
    after = [_bands(sound, rate, time + start, time + end) for start, end in WINDOWS]
    added = float((after[0] - before).sum())
    if added <= before.sum():
        return None
    return np.concatenate(after) / added, np.tile(before, len(WINDOWS)) / added


@cache
def _materials(floor: str) -> tuple[dict[tuple[str, str], Array], Array]:
    """Return the logarithm of the bands of each material and size on a floor, and their variance.

    The variance is that over the speeds of blows, the same for all.
    """
    place = FLOOR_SOUND.get(floor, floor)
    means, rests = {}, []
    for material in MATERIALS:
        for size, radius in RADIUS.items():
            heard_ = []
            for seed, speed in enumerate(SPEEDS):
                name = MATERIAL_SOUND.get(material, material)
                blow = Impact(0.06, 0.5 * speed, speed, (name, place), (radius, radius))
                air = Ambience("fog", place)
                sound = synthesise([blow], [], air, 0.25, seed).astype(np.float64)
                bands = _ringing(sound, RATE, blow.time)
                assert bands is not None
                heard_.append(np.log10(bands[0] + AUDIBLE))
            logs = np.stack(heard_)
            means[material, size] = logs.mean(0)
            rests.append(logs - logs.mean(0))
    variance = np.concatenate(rests).var(0) * len(SPEEDS) / (len(SPEEDS) - 1)
    return means, variance


def sounds_of(
    sound: Float[np.ndarray, "n 2"], rate: int, times: Sequence[float], floor: str
) -> dict[str, float] | None:
    """Return how likely each material of the world is what strikes a floor at some times (s).

    All blows are of one thing. None where no onset is loud and alone for long enough.

    Raises:
        RequestError: a floor that the world does not have, or a rate below 12,000.
    """
    if floor not in FLOORS:
        raise RequestError(f"floor {floor!r} is not one of {', '.join(FLOORS)}")
    if rate < 2 * HIGHEST:
        raise RequestError(f"rate {rate} is not allowed; it must be at least {2 * HIGHEST:g}")
    samples = sound.astype(np.float64)
    onsets = np.array([onset.time for onset in heard(sound, rate)])
    means, variance = _materials(floor)
    found = []
    for time in times:
        later = onsets - time
        rings = _ringing(samples, rate, time)
        if rings is None or ((later > 2 * GAP) & (later < WINDOWS[-1][1])).any():
            continue
        bands, before = rings
        seen = np.log10(bands + AUDIBLE)
        rest = np.stack([seen - np.log10(10**mean + before) for mean in means.values()])
        found.append(-(rest**2 / (variance + WAVERS**2)).sum(1) / 2 / DEPENDENT)
    if not found:
        return None
    odds = np.mean(found, axis=0)
    likely = np.exp(odds - odds.max())
    likely /= likely.sum()
    told = dict.fromkeys(MATERIALS, 0.0)
    for (material, _), share in zip(means, likely.tolist(), strict=True):
        told[material] += share
    return told


def material_heard(
    sound: Float[np.ndarray, "n 2"], rate: int, times: Sequence[float], floor: str
) -> str | None:
    """Return the material of what strikes a floor at some times (s), None below 0.9 sure.

    Raises `RequestError` as `sounds_of`.
    """
    told = sounds_of(sound, rate, times, floor)
    if told is None:
        return None
    best = max(told, key=lambda name: told[name])
    return best if told[best] >= SURE else None
