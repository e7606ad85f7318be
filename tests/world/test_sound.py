"""The sound of a clip has the time, place, strength and matter of what is heard in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kineograph.world.sound import (
    FLOORS,
    MATERIALS,
    NEAR,
    RATE,
    TIMES_OF_DAY,
    WEATHERS,
    Ambience,
    Impact,
    Rubbing,
    synthesise,
)
from kineograph.world.sound_check import centroid, decay_time

SOFT = ("grassy", "sandy", "snow")


def impact(**settings) -> Impact:
    return replace(Impact(0.1, 3.0, 3.0, ("wood", "checkered"), (0.58, 0.0)), **settings)


def struck(**settings) -> np.ndarray:
    return synthesise([impact(**settings)], [], None, 1.0, 0)


def rubbing(kind="roll", duration=1.0, **settings) -> Rubbing:
    times = np.linspace(0, duration, 25)
    even = {"speed": np.ones(25), "pan": np.zeros(25), "distance": np.full(25, NEAR)}
    return replace(Rubbing(kind, "wood", "tiled", 0.5, times, **even), **settings)


def rubbed(*rubbings: Rubbing, duration: float = 1.0) -> np.ndarray:
    return synthesise([], rubbings, None, duration, 0)


def loudness(audio: np.ndarray) -> float:
    return float(np.sqrt((audio.astype(float) ** 2).sum(1).mean()))


def whole(seed: int = 3) -> np.ndarray:
    impacts = [
        impact(time=t, materials=("metal", floor)) for t, floor in ((0.2, "snow"), (0.7, "tiled"))
    ]
    return synthesise(
        impacts, [rubbing("roll"), rubbing("slide")], Ambience("rain", "water"), 1.0, seed
    )


def test_the_same_call_gives_the_same_bytes_and_another_seed_others():
    assert whole().tobytes() == whole().tobytes()
    assert whole().tobytes() != whole(4).tobytes()


def test_another_process_gives_the_same_bytes(run_python):
    code = (
        "import hashlib, sys\n"
        "from kineograph.world.sound import Ambience, Impact, synthesise\n"
        "blow = Impact(0.1, 3.0, 3.0, ('wood', 'sandy'), (0.58, 0.0))\n"
        "audio = synthesise([blow], [], Ambience('rain', 'sandy', 'night'), 1.0, 7)\n"
        "print(hashlib.sha256(audio.tobytes()).hexdigest(), 'torch' in sys.modules)"
    )
    done = [run_python("-c", code) for _ in range(2)]
    assert done[0].stdout == done[1].stdout != ""
    assert done[0].stdout.endswith("False\n")


@pytest.mark.parametrize("duration", [1 / RATE, 0.5, 2.0])
def test_length_type_and_range(duration):
    blows = [impact(time=t / 100, impulse=500.0) for t in range(0, 40, 5)]
    audio = synthesise(blows, [rubbing()], Ambience("wind"), duration, 0)
    assert audio.shape == (round(duration * RATE), 2)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() <= 1


@pytest.mark.parametrize("material", MATERIALS)
def test_an_onset_begins_at_the_sample_nearest_to_the_contact(material):
    for i, other in enumerate([*FLOORS, *MATERIALS]):
        time = 0.0123456 * i
        audio = struck(time=time, materials=(material, other), radii=(0.58, 0.44))
        assert np.flatnonzero(audio.any(1))[0] == round(time * RATE)


def test_what_comes_after_the_end_is_not_heard():
    assert not struck(time=1.0).any()
    assert not rubbed(rubbing(times=np.linspace(2, 3, 25))).any()


def test_sources_do_not_change_each_other():
    blow, roll, air = impact(), rubbing(), Ambience("snow", "snow", "night")
    alone = [synthesise([blow], [], None, 1.0, 5), synthesise([], [roll], None, 1.0, 5)]
    alone.append(synthesise([], [], air, 1.0, 5))
    together = synthesise([blow], [roll], air, 1.0, 5)
    assert together == pytest.approx(sum(alone), abs=1e-6)


@pytest.mark.parametrize("pan", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_panning_keeps_the_power_and_goes_to_the_side(pan):
    left, right = (struck(pan=pan).astype(float) ** 2).sum(0)
    assert left + right == pytest.approx((struck().astype(float) ** 2).sum(), rel=1e-5)
    assert np.sign(right - left) == pytest.approx(np.sign(pan), abs=1e-6)
    if abs(pan) == 1:
        assert min(left, right) < 1e-9 * max(left, right)


def test_what_rolls_across_is_heard_from_left_to_right():
    audio = rubbed(rubbing(pan=np.linspace(-1, 1, 25)))
    first, last = (loudness(part[:, :1]) / loudness(part[:, 1:]) for part in np.split(audio, 2))
    assert first > 1.5
    assert last < 1 / 1.5


def test_level_falls_with_the_distance():
    near, far = struck(impulse=1.0), struck(impulse=1.0, distance=2 * NEAR)
    assert far == pytest.approx(near / 2, abs=1e-6)
    near, far = rubbed(rubbing()), rubbed(rubbing(distance=np.full(25, 2 * NEAR)))
    assert far == pytest.approx(near / 2, abs=1e-6)


def test_materials_differ_in_how_long_they_ring():
    times = {
        name: decay_time(synthesise([impact(materials=(name, "tiled"))], [], None, 2.0, 0))
        for name in MATERIALS
    }
    assert sorted(times, key=times.__getitem__) == ["matte", "wood", "striped", "glass", "metal"]
    assert times["metal"] > 5 * times["matte"]


@pytest.mark.parametrize("material", MATERIALS)
def test_a_larger_body_sounds_lower(material):
    tones = [
        centroid(struck(materials=(material, "marble"), radii=(radius, 0.0)))
        for radius in (0.76, 0.58, 0.44, 0.2)
    ]
    assert tones == sorted(tones)
    assert tones[-1] > 1.5 * tones[0]


@pytest.mark.parametrize("other", ["tiled", "water", "metal"])
def test_a_stronger_blow_is_louder_even_in_the_limiter(other):
    for times in (0.01, 0.1, 0.3, 1, 3, 10, 30, 100):
        soft, hard = (
            struck(impulse=times * k, materials=("wood", other), radii=(0.58, 0.58))
            for k in (1.0, 1.02)
        )
        assert loudness(hard) > loudness(soft)
        assert np.abs(hard).max() > np.abs(soft).max()


@pytest.mark.parametrize("material", MATERIALS)
def test_a_faster_blow_is_brighter_and_never_quieter(material):
    sounds = [struck(speed=v, impulse=2.0, materials=(material, "grassy")) for v in (0.3, 1, 3, 9)]
    tones, levels = [centroid(a) for a in sounds], [loudness(a) for a in sounds]
    assert tones == sorted(tones)
    assert levels == sorted(levels)


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("floor", SOFT)
def test_soft_floors_dull_and_absorb(material, floor):
    hard, soft = (struck(materials=(material, name)) for name in ("checkered", floor))
    assert centroid(soft) < centroid(hard)
    assert loudness(soft) < loudness(hard)


def test_both_bodies_of_a_collision_ring():
    pair = struck(materials=("metal", "wood"), radii=(0.5, 0.5))
    swapped = struck(materials=("wood", "metal"), radii=(0.5, 0.5))
    assert pair == pytest.approx(swapped, abs=1e-6)
    spectrum = np.abs(np.fft.rfft(pair[:, 0], RATE))  # 1 Hz a bin
    for material in ("metal", "wood"):
        pitch = round(MATERIALS[material].pitch)
        assert spectrum[pitch - 3 : pitch + 4].max() > 5 * spectrum[pitch + 80]


@pytest.mark.parametrize("kind", ["roll", "slide"])
@pytest.mark.parametrize("floor", ["tiled", "sandy"])
def test_rubbing_gets_louder_with_speed_and_is_silent_at_rest(kind, floor):
    levels = [
        loudness(rubbed(rubbing(kind, floor=floor, speed=np.full(25, v))))
        for v in (0.0, 0.5, 1.0, 2.0)
    ]
    assert levels[0] == 0
    assert levels == sorted(set(levels))
    slowing = rubbed(rubbing(kind, floor=floor, speed=np.linspace(1, -1, 25).clip(0)))
    assert not slowing[RATE // 2 + 1 :].any()
    parts = [loudness(part) for part in np.split(slowing[: RATE // 2], 4)]
    assert parts == sorted(parts, reverse=True)


def test_rubbing_is_heard_from_its_first_time_to_its_last():
    audio = rubbed(rubbing(times=np.linspace(0.25, 0.5, 25)))
    heard = np.flatnonzero(audio.any(1)) / RATE
    assert heard[0] == pytest.approx(0.25, abs=2 / RATE)
    assert heard[0] >= 0.25
    assert 0.5 - 2 / RATE <= heard[-1] <= 0.5


def test_rolling_swells_once_a_turn():
    speed, radius, duration = 2.0, 0.16, 4.0
    audio = rubbed(
        rubbing(radius=radius, duration=duration, speed=np.full(25, speed)), duration=4.0
    )
    power = (audio.astype(float) ** 2).sum(1)
    swell = np.abs(np.fft.rfft(power - power.mean()))[1 : int(duration * 10)]
    turns = (1 + np.argmax(swell)) / duration
    assert turns == pytest.approx(speed / (2 * np.pi * radius), abs=0.5 / duration)


def test_sliding_is_broader_than_rolling():
    assert centroid(rubbed(rubbing("slide"))) > 1.5 * centroid(rubbed(rubbing("roll")))


def air(weather: str, place: str = "plain", time_of_day: str = "noon") -> np.ndarray:
    return synthesise([], [], Ambience(weather, place, time_of_day), 3.0, 0)


def test_the_air_is_well_under_an_impact_and_fog_is_the_quietest():
    blows = [loudness(struck(materials=(m, "checkered"))[2400:4800]) for m in MATERIALS]
    typical = float(np.median(blows))
    below = {w: 20 * np.log10(typical / loudness(air(w))) for w in WEATHERS}
    assert 20 < below["rain"] < 30
    assert 20 < below["wind"] < 30
    assert below["rain"] < below["wind"] < below["snow"] < below["clear"] < below["fog"]
    assert centroid(air("wind")) < 0.3 * centroid(air("rain"))


def test_water_laps_and_each_time_of_day_has_its_voices():
    assert loudness(air("fog", "water")) > 3 * loudness(air("fog"))
    voices = {name: air("clear", time_of_day=name) for name in TIMES_OF_DAY}
    assert centroid(voices["night"]) > 3000  # crickets
    assert len({audio.tobytes() for audio in voices.values()}) == len(TIMES_OF_DAY)
    assert air("rain", time_of_day="night").tobytes() == air("rain").tobytes()


def test_without_ambience_there_is_silence():
    assert not synthesise([], [], None, 0.5, 0).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": -0.1}, r"time -0.1 is not allowed; it must be at least 0"),
        ({"time": float("nan")}, r"time nan is not allowed"),
        ({"impulse": -1.0}, r"impulse -1 is not allowed; it must be at least 0"),
        ({"speed": float("inf")}, r"speed inf is not allowed"),
        ({"materials": ("jelly", "plain")}, r"unknown material 'jelly'; allowed: matte, .*water"),
        ({"materials": ("snow", "plain")}, r"\('snow', 'plain'\) are two floors"),
        ({"radii": (0.0, 0.0)}, r"radius 0 is not allowed; it must be above 0"),
        ({"pan": 1.5}, r"pan 1.5 is not allowed; it must be between -1 and 1"),
        ({"distance": 0.0}, r"distance 0 is not allowed; it must be above 0"),
    ],
)
def test_a_bad_impact_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        impact(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "hop"}, r"unknown kind 'hop'; allowed: roll, slide"),
        ({"material": "plain"}, r"unknown material 'plain'; allowed: matte, .*metal$"),
        ({"floor": "lava"}, r"unknown floor 'lava'; allowed: checkered, .*water"),
        ({"radius": -0.5}, r"radius -0.5 is not allowed"),
        ({"times": np.linspace(-1, 1, 25)}, r"time -1 is not allowed; it must be at least 0"),
        ({"times": np.array([0.0, 2, 1] + [3.0] * 22)}, r"time 1 follows 2; times must rise"),
        ({"times": np.zeros((5, 5))}, r"times has the shape \(5, 5\); allowed: \(t,\)"),
        ({"speed": np.ones(24)}, r"speed has the shape \(24,\); allowed: \(t,\)"),
        ({"speed": np.full(25, -2.0)}, r"speed -2 is not allowed; it must be at least 0"),
        ({"pan": np.linspace(-2, 2, 25)}, r"pan -2 is not allowed; it must be between -1 and 1"),
        ({"distance": np.zeros(25)}, r"distance 0 is not allowed; it must be above 0"),
    ],
)
def test_bad_rubbing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        rubbing(**change)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hail", "plain", "noon"), r"unknown weather 'hail'; allowed: clear, rain"),
        (("rain", "moon", "noon"), r"unknown place 'moon'; allowed: checkered"),
        (("rain", "plain", "tea"), r"unknown time of day 'tea'; allowed: dawn, noon"),
    ],
)
def test_bad_ambience_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Ambience(*words)


def test_a_clip_without_a_sample_and_a_seed_below_zero_are_refused():
    for duration in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"duration .* is not allowed"):
            synthesise([], [], None, duration, 0)
    with pytest.raises(ValueError, match="seed -1 is not allowed; it must be at least 0"):
        synthesise([], [], None, 1.0, -1)
