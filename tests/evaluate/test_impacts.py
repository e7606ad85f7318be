import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.impacts import (
    Strike,
    material_heard,
    measure_loudness,
    sounds_of,
    strikes,
)
from kineograph.world.dynamics import GRAVITY
from kineograph.world.sound import RATE, Ambience, Impact, synthesise
from kineograph.world.v2.scene import MATERIALS

FPS = 12.0
SOUND = {"rubber": "matte"}
TALL = 0.16  # sides a metre
START, KEPT = 0.4, 0.75  # s, of the first blow; of the speed at each
SPEEDS = [5.0 * KEPT**k for k in range(4)]  # m/s
TIMES = [START + sum(2 * KEPT * v / GRAVITY for v in SPEEDS[:k]) for k in range(4)]


def hops():
    """The track of something that falls and hops four times."""
    t = np.arange(49) / FPS
    height = SPEEDS[0] * (START - t) + GRAVITY / 2 * (2 * START * t - START**2 - t * t)
    height = np.where(t < START, SPEEDS[0] * (START - t) - GRAVITY / 2 * (START - t) ** 2, height)
    for time, speed in zip(TIMES, SPEEDS, strict=True):
        s = t - time
        height = np.where(s >= 0, KEPT * speed * s - GRAVITY / 2 * s * s, height)
    height = np.where(height < 0, 0, height)
    return np.stack([0.3 + 0.05 * t, 0.7 - TALL * height], -1)[None]


def blows(speeds, material="wood", floor="wooden", times=TIMES):
    name = SOUND.get(material, material)
    pairs = zip(times, speeds, strict=True)
    hits = [Impact(t, 0.4 * v, v, (name, floor), (0.46, 0.46)) for t, v in pairs]
    return synthesise(hits, [], Ambience(place=floor), 4.0, 0)


def test_strikes_are_seen_and_heard():
    found = strikes(hops(), FPS, blows(SPEEDS), RATE)
    assert [s.time for s in found] == pytest.approx(TIMES, abs=0.006)
    jumps = [TALL * (1 + KEPT) * v for v in SPEEDS]
    assert [s.speed for s in found] == pytest.approx(jumps, rel=0.1)
    assert all(s.lands and s.track == 0 for s in found)


def test_the_faster_is_the_louder():
    told = measure_loudness(strikes(hops(), FPS, blows(SPEEDS), RATE))
    assert told.rank == pytest.approx(1)
    assert (told.pairs, told.agreeing) == (6, 6)


@pytest.mark.parametrize(
    ("order", "rank", "agreeing"), [([3, 2, 1, 0], -1, 0), ([1, 3, 0, 2], 0, 3)]
)
def test_shuffled_loudness_is_found_out(order, rank, agreeing):
    told = measure_loudness(strikes(hops(), FPS, blows([SPEEDS[k] for k in order]), RATE))
    assert told.rank == pytest.approx(rank)
    assert told.agreeing == agreeing


def test_loudness_is_compared_within_objects():
    struck = [Strike(t, i, 1.0 + t, True, 10 * i + t) for i in (0, 1) for t in (0.0, 1.0, 2.0)]
    assert measure_loudness(struck).rank == pytest.approx(1)
    turned = [Strike(s.time, s.track, s.speed, True, -s.loudness) for s in struck]
    assert measure_loudness(turned).rank == pytest.approx(-1)
    assert measure_loudness(struck[:2]).rank is None
    assert measure_loudness(struck[:2]).pairs == 1
    even = [Strike(s.time, 0, s.speed, True, 1.0) for s in struck]
    assert measure_loudness(even).rank == 0


def test_what_is_not_heard_does_not_count():
    assert strikes(hops(), FPS, None, RATE) == []
    assert strikes(hops(), FPS, np.zeros((4 * RATE, 2), np.float32), RATE) == []
    assert measure_loudness([]).rank is None


@pytest.mark.parametrize("floor", ["wooden", "marble"])
@pytest.mark.parametrize("material", MATERIALS)
def test_a_material_is_known_by_its_sound(material, floor):
    sound = blows([3.3, 2.2], material, floor, [1.003, 2.011])
    told = sounds_of(sound, RATE, [1.003], floor)
    assert told is not None
    assert max(told, key=told.get) == material
    assert sum(told.values()) == pytest.approx(1)
    assert material_heard(sound, RATE, [1.003, 2.011], floor) == material


def test_another_rate_does_as_well():
    sound = blows([3.3], "glass", "wooden", [1.0])
    twice = np.repeat(sound, 2, axis=0)
    assert material_heard(twice, 2 * RATE, [1.0], "wooden") == "glass"


def test_noise_and_silence_have_no_material():
    noise = 0.05 * np.random.default_rng(0).standard_normal((2 * RATE, 2))
    for sound in (noise, np.zeros((2 * RATE, 2))):
        assert material_heard(sound, RATE, [1.0], "wooden") is None


def test_blows_too_near_to_one_another_are_not_judged():
    sound = blows([3.0, 3.0], times=[1.0, 1.08])
    assert sounds_of(sound, RATE, [1.0], "wooden") is None
    assert sounds_of(sound, RATE, [1.08], "wooden") is not None


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(RequestError, match="fps 0"):
        strikes(hops(), 0.0, None, RATE)
    with pytest.raises(RequestError, match="floor 'lava'"):
        sounds_of(np.zeros((RATE, 2)), RATE, [0.5], "lava")
    with pytest.raises(RequestError, match="rate 8000"):
        sounds_of(np.zeros((8000, 2)), 8000, [0.5], "wooden")
