"""Contacts are found in the sound, at their times, and little else is."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from kineograph.world.onsets import onsets
from kineograph.world.sound import (
    KINDS,
    RATE,
    TIMES_OF_DAY,
    WEATHERS,
    Ambience,
    Impact,
    Rubbing,
    synthesise,
)
from kineograph.world.sound_check import COURSES, main, match, onset_row, separation


@cache
def row(name: str) -> dict[str, float]:
    return onset_row(next(c for c in COURSES if c.name == name), 6, 100)


@pytest.mark.parametrize(
    ("course", "missed", "false"),
    [
        ("contacts alone", 0.02, 0.03),
        ("80 to 130 ms apart", 0.04, 0.02),
        ("all of these", 0.1, 0.1),
    ],
)
def test_contacts_are_found_in_time(course, missed, false):
    found = row(course)
    assert found["contacts"] >= 20
    assert found["missed"] <= missed * found["contacts"]
    assert found["false"] <= false * found["contacts"]
    assert abs(found["bias"]) < 1.5
    assert found["median"] < 2
    assert found["p90"] < 6


def blow(time: float) -> Impact:
    return Impact(time, 3.0, 3.0, ("wood", "tiled"), (0.58, 0.0))


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_other_rates_and_one_channel_will_do(rate):
    audio = synthesise([blow(0.3), blow(0.8)], [], None, 1.2, 0)
    times = np.arange(int(1.2 * rate)) / rate
    heard = np.interp(times, np.arange(len(audio)) / RATE, audio[:, 0])
    assert onsets(heard, rate) == pytest.approx([0.3, 0.8], abs=0.004)


def test_only_one_side_is_enough():
    audio = synthesise(
        [Impact(0.3, 3.0, 3.0, ("wood", "tiled"), (0.58, 0.0), -1.0)], [], None, 1, 0
    )
    assert onsets(audio, RATE) == pytest.approx([0.3], abs=0.004)


@pytest.mark.parametrize("weather", WEATHERS)
@pytest.mark.parametrize("place", ["plain", "water"])
def test_the_air_alone_strikes_nothing(weather, place):
    for time_of_day in TIMES_OF_DAY if weather == "clear" else ("noon",):
        audio = synthesise([], [], Ambience(weather, place, time_of_day), 2.0, 0)
        assert len(onsets(audio, RATE)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rolling_and_sliding_strike_nothing(kind):
    times = np.linspace(0, 2, 49)
    even = np.ones(49)
    way = Rubbing(kind, "metal", "wooden", 0.5, times, even, 0 * even, 5 * even)
    assert len(onsets(synthesise([], [way], None, 2.0, 0), RATE)) <= 1


@pytest.mark.parametrize(
    "shape", [(0, 2), (1, 2), (100, 2), (2399, 2), (2400, 2), (9000, 2), (9000,)]
)
def test_silence_of_any_length_strikes_nothing(shape):
    found = onsets(np.zeros(shape), RATE)
    assert found.shape == (0,)
    assert found.dtype == np.float64


def test_other_audio_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 4, 5\); allowed: \(n,\) and \(n, channels\)"):
        onsets(np.zeros((3, 4, 5)), RATE)
    with pytest.raises(ValueError, match="not finite"):
        onsets(np.full((9000, 2), np.nan), RATE)
    with pytest.raises(ValueError, match="rate 4000 is not allowed; it must be at least 8000"):
        onsets(np.zeros((9000, 2)), 4000)


def test_an_onset_counts_for_one_contact_only():
    errors, missed, false = match(np.array([0.5, 0.52, 0.9]), np.array([0.501, 0.7]))
    assert errors == pytest.approx([0.001])
    assert (missed, false) == (2, 1)


def test_hard_floors_tell_the_material():
    _, share = separation(("checkered", "tiled"), 6, 0)
    assert share > 0.9


def test_the_check_prints_its_tables(monkeypatch, capsys):
    monkeypatch.setattr("kineograph.world.sound_check.COURSES", COURSES[:1])
    monkeypatch.setattr("sys.argv", ["sound", "--check", "--clips", "4"])
    main()
    printed = capsys.readouterr().out
    assert "contacts alone" in printed
    assert "told from decay and centroid" in printed


def test_the_check_is_a_command(run_python):
    done = run_python("-m", "kineograph.world.sound", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--check" in done.stdout


def test_the_check_refuses_too_few_clips(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sound", "--check", "--clips", "3"])
    with pytest.raises(SystemExit):
        main()
    assert "3 clips are too few; 4 or more are allowed" in capsys.readouterr().err
