"""Do things sound when they strike? Contacts seen in tracks, onsets heard, matched one to one.

A contact is a kink of a track: the velocity jumps and a smooth curve does not explain it. Its
instant lies between frames, where the curves on both sides meet. AV-Align (arXiv 2305.11588)
takes peaks of optical flow instead, which come with any fast motion.

**What counts.** Each event has a strength, and one rule holds for what is seen and what is heard:
what is strong must find a partner; what is weaker may be one but is not missed. Strength is, of a
contact, the jump of the velocity on the screen in sides of the picture a second (the side being
the root of its area); of an onset, by how much it is louder than what was just before (dB).

**What nobody can tell.** An onset that nothing explains is no fault where a contact could not
have been seen: while an object is partly out of the picture or hidden, and shortly after the last
contact of a track, when hops grow too short for the frames. Of rows and stacks, whose middle
does not show their contacts, the caller says so.

Letters: o objects, t frames, h height, w width, n samples.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from kineograph.errors import RequestError
from kineograph.evaluate.kinks import Watched, tracks_of
from kineograph.world.onsets import onsets

TOLERANCE = 0.045  # s; people notice sound that is early by more (ITU-R BT.1359)
APART = 0.03  # s; of events that are nearer than this nobody, `onsets` included, tells two
FAINT, CLEAR = 0.10, 0.25  # sides/s: jumps of contacts that may, and that must be matched
LOUD = 9.0  # dB: onsets that must be matched; all others may

SILENCE = 1e-8  # power of what counts as silence
FARTHEST = 0.4  # s, of a lag


@dataclass(frozen=True)
class Event:
    """Something that strikes: when (s), how strongly, and which track shows it (None: heard)."""

    time: float
    strength: float
    track: int | None = None


def _merged(events: Sequence[Event]) -> list[Event]:
    """Return events in their order, of those that are too near one another the strongest."""
    kept: list[Event] = []
    for event in sorted(events, key=lambda e: -e.strength):
        if all(abs(event.time - other.time) >= APART for other in kept):
            kept.append(event)
    return sorted(kept, key=lambda e: e.time)


def _contacts(watched: Sequence[Watched]) -> list[Event]:
    found = []
    for i, one in enumerate(watched):
        for kink in one.kinks:
            strength = float(np.linalg.norm(kink.jump))
            if kink.strikes and strength >= FAINT:
                found.append(Event(kink.time, strength, i))
    return _merged(found)


def contacts(
    tracks: Float[np.ndarray, "o t 2"], fps: float, breaks: Collection[int] = ()
) -> list[Event]:
    """Return where objects strike something, by their tracks in sides of the picture.

    NaN is a place that is not known. `breaks` are the first frames of shots.
    """
    return _contacts([Watched(track, fps, breaks) for track in tracks.astype(np.float64)])


def heard(sound: Float[np.ndarray, "n 2"], rate: int) -> list[Event]:
    """Return what strikes in a sound, by how much (dB) it is louder than just before.

    Raises `RequestError` for a rate that is too low or samples that are not finite.
    """
    try:
        times = onsets(sound, rate)
    except ValueError as error:
        raise RequestError(str(error)) from error
    # Differences: what rumbles must not hide what clicks.
    power = (np.diff(sound.astype(np.float64), axis=0) ** 2).sum(1)
    gap, length = round(0.005 * rate), round(0.03 * rate)
    found = []
    for time in times.tolist():
        k = max(0, round(time * rate) - gap)
        before, after = power[max(0, k - length) : k], power[k : k + length]
        rise = (np.mean(after) + SILENCE) / (np.mean(before) + SILENCE) if len(before) else 1.0
        found.append(Event(time, 10 * math.log10(rise)))
    return found


def match(
    seen: Sequence[Event], sounds: Sequence[Event], within: float = TOLERANCE
) -> list[tuple[int, int]]:
    """Return pairs of a contact and an onset, one to one and in order, that cover most.

    First come those that must be matched, then small distances. `within` is in seconds.
    """
    n, m = len(seen), len(sounds)
    best = np.zeros((n + 1, m + 1))
    gain = np.full((n, m), -1.0)
    for i, contact in enumerate(seen):
        for j, sound in enumerate(sounds):
            apart = abs(sound.time - contact.time)
            if apart <= within:
                must = (contact.strength >= CLEAR) + (sound.strength >= LOUD)
                gain[i, j] = 1 + must - 0.5 * apart / within
    for i in range(n):
        for j in range(m):
            best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], best[i, j] + gain[i, j])
    pairs, i, j = [], n, m
    while i and j:
        if gain[i - 1, j - 1] > 0 and best[i, j] == best[i - 1, j - 1] + gain[i - 1, j - 1]:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def lag(seen: Sequence[Event], sounds: Sequence[Event]) -> float | None:
    """Return by how much (s) the sound as a whole comes late; None without events.

    Of the shifts up to 0.4 s the one with which most contacts and onsets meet.
    """
    apart = [h.time - s.time for s in seen for h in sounds if abs(h.time - s.time) <= FARTHEST]
    if not apart:
        return None

    def merit(shift: float) -> tuple[int, float]:
        moved = [replace(h, time=h.time - shift) for h in sounds]
        return len(match(seen, moved)), -abs(shift)

    best = max(apart, key=merit)
    moved = [replace(h, time=h.time - best) for h in sounds]
    return float(np.median([sounds[j].time - seen[i].time for i, j in match(seen, moved)]))


@dataclass(frozen=True)
class Synchrony:
    """How sound and picture agree; None where nothing had to be matched."""

    precision: float | None  # of loud onsets, the share with a contact
    recall: float | None  # of clear contacts, the share with an onset
    f1: float | None
    offset: float | None  # ms, mean of matched pairs; above 0 the sound is late
    lag: float | None  # ms, of the sound as a whole, up to 400
    seen: int  # contacts that had to be matched
    heard: int  # onsets that had to be matched
    excused: int  # loud onsets that nothing explains, where a contact could not have been seen


def _share(right: int, all_: int) -> float | None:
    return right / all_ if all_ else None


def av_f1(
    objects: Bool[np.ndarray, "o t h w"] | Float[np.ndarray, "o t 2"],
    fps: float,
    sound: Float[np.ndarray, "n 2"] | None,
    rate: int,
    *,
    breaks: Collection[int] = (),
    rows: Collection[int] = (),
) -> Synchrony:
    """Return how well what strikes in a clip is heard, and what is heard is seen.

    `objects` are masks, or tracks in sides of the picture. `sound` begins with the first frame;
    None is silence. `breaks` are the first frames of shots. `rows` are objects of several parts,
    whose contacts nobody can tell from their middle: while they move, no onset is a fault.

    Raises:
        RequestError: fps is not above 0, an object that is not there, or as `heard`.
    """
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    for i in rows:
        if not 0 <= i < len(objects):
            raise RequestError(f"object {i} is not there; there are {len(objects)}")
    tracks = tracks_of(objects) if objects.ndim == 4 else objects.astype(np.float64)
    watched = [Watched(track, fps, breaks) for track in tracks]
    seen = _contacts(watched)
    sounds = [] if sound is None else heard(sound, rate)
    pairs = match(seen, sounds)
    left = set(range(len(sounds))) - {j for _, j in pairs}
    again = [
        Event(kink.time, FAINT, i)
        for j in left if sounds[j].strength >= LOUD
        for i, one in enumerate(watched)
        if (kink := one.at(sounds[j].time)) and np.linalg.norm(kink.jump) >= FAINT
    ]  # fmt: skip
    if again:
        seen = _merged([*seen, *again])
        pairs = match(seen, sounds)
    matched = [(seen[i], sounds[j]) for i, j in pairs]
    both = [(s, h) for s, h in matched if s.strength >= CLEAR or h.strength >= LOUD]
    left = set(range(len(sounds))) - {j for _, j in pairs}
    loud = [sounds[j].time for j in left if sounds[j].strength >= LOUD]
    excused = [t for t in loud if any(w.blind(t) for w in watched)
               or any(watched[i].moves(t) for i in rows)]  # fmt: skip
    false = len(loud) - len(excused)
    clear = sum(s.strength >= CLEAR for s in seen)
    found = sum(s.strength >= CLEAR for s, _ in matched)
    explained = sum(h.strength >= LOUD for _, h in matched)
    late = lag(seen, sounds)
    return Synchrony(
        _share(explained, explained + false),
        _share(found, clear),
        _share(2 * len(both), 2 * len(both) + false + clear - found),
        1000 * float(np.mean([h.time - s.time for s, h in both])) if both else None,
        None if late is None else 1000 * late,
        clear, explained + false, len(excused),
    )  # fmt: skip
