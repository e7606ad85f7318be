import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.events import Event, av_f1, contacts, heard, lag, match
from kineograph.evaluate.kinks import centroids, tracks_of
from kineograph.world.sound import RATE, Impact, synthesise

FPS = 12.0
STRIKES = (0.6, 1.9)  # s


def bounce(times=STRIKES, frames=49, fps=FPS):
    """The way of something that falls, is thrown back up, and lands in another's hands."""
    t = np.arange(frames) / fps
    first, second = times
    speed = 0.6 * (second - first)  # back at the floor for the second blow
    y = np.where(t < first, 0.7 - 1.2 * (first**2 - t**2) / 2, 0.0)
    s = t - first
    y = np.where((t >= first) & (t < second), 0.7 - speed * s + 0.6 * s * s, y)
    y = np.where(t >= second, 0.7 - 0.35 * (t - second), y)
    return np.stack([0.3 + 0.05 * t, y], -1)


def blows(times, seconds=4.0):
    impacts = [Impact(t, 2.0, 3.0, ("wood", "wooden"), (0.5, 0.5), 0.0, 5.0) for t in times]
    return synthesise(impacts, [], None, seconds, 0)


def test_kinks_are_found_between_frames():
    found = contacts(bounce()[None], FPS)
    assert [e.time for e in found] == pytest.approx(STRIKES, abs=0.008)
    assert found[0].strength == pytest.approx(1.2 * 0.6 + 0.6 * 1.3, rel=0.1)


@pytest.mark.parametrize("course", ["still", "even", "falls", "sways", "starts"])
def test_what_strikes_nothing_has_no_contact(course):
    t = np.arange(49) / FPS
    y = {
        "still": 0 * t,
        "even": 0.1 * t,
        "falls": 0.05 * t * t,
        "sways": 0.1 * np.sin(3 * t),
        "starts": 0.3 * np.maximum(t - 2, 0),  # pushed, but it was at rest before
    }[course]
    noise = np.random.default_rng(0).normal(0, 0.001, (49, 2))
    assert contacts((np.stack([0.5 + 0 * t, 0.4 + y], -1) + noise)[None], FPS) == []


def test_a_cut_is_no_contact():
    track = bounce()
    track[30:] += 0.2
    assert len(contacts(track[None], FPS, breaks=[30])) == 2


def test_what_is_seen_is_heard():
    found = av_f1(bounce()[None], FPS, blows(STRIKES), RATE)
    assert (found.precision, found.recall, found.f1) == (1, 1, 1)
    assert (found.seen, found.heard) == (2, 2)
    assert found.offset == pytest.approx(0, abs=8)


def test_a_late_sound_counts_for_nothing_and_its_lag_is_told():
    found = av_f1(bounce()[None], FPS, blows([t + 0.1 for t in STRIKES]), RATE)
    assert (found.recall, found.f1, found.offset) == (0, 0, None)
    assert found.lag == pytest.approx(100, abs=8)
    slightly = av_f1(bounce()[None], FPS, blows([t + 0.03 for t in STRIKES]), RATE)
    assert slightly.f1 == 1
    assert slightly.offset == pytest.approx(30, abs=8)


def test_silence_misses_all():
    for sound in (None, np.zeros((4 * RATE, 2), np.float32)):
        found = av_f1(bounce()[None], FPS, sound, RATE)
        assert (found.precision, found.recall, found.f1, found.offset) == (None, 0, 0, None)


def test_a_sound_that_nothing_makes_is_false():
    found = av_f1(bounce()[None], FPS, blows([*STRIKES, 1.2]), RATE)
    assert found.recall == 1
    assert found.precision == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(4 / 5)


def test_where_nothing_strikes_nothing_is_judged():
    track = np.full((1, 49, 2), 0.5)
    found = av_f1(track, FPS, np.zeros((4 * RATE, 2)), RATE)
    assert (found.precision, found.recall, found.f1) == (None, None, None)


def test_a_sound_of_what_is_out_of_sight_is_excused():
    still, hidden = np.full((49, 2), 0.5), np.full((49, 2), 0.2)
    hidden[20:30] = np.nan
    sound = blows([2.0])
    assert av_f1(still[None], FPS, sound, RATE).precision == 0
    found = av_f1(np.stack([still, hidden]), FPS, sound, RATE)
    assert (found.precision, found.excused) == (None, 1)


def test_a_row_that_moves_excuses_sounds_and_one_at_rest_does_not():
    t = np.arange(49) / FPS
    row = np.stack([0.3 + 0.05 * np.clip(t - 1, 0, 1), 0.5 + 0 * t], -1)[None]
    assert av_f1(row, FPS, blows([1.5]), RATE, rows=[0]).excused == 1
    assert av_f1(row, FPS, blows([3.0]), RATE, rows=[0]).precision == 0


def test_masks_do_as_well_as_tracks():
    y, x = np.mgrid[:96, :96] + 0.5
    where = bounce() * 96
    masks = (x - where[:, :1, None]) ** 2 + (y - where[:, 1:, None]) ** 2 < 64
    tracks = tracks_of(masks[None])
    assert np.nanmax(np.abs(tracks[0] - bounce())) < 0.002
    assert av_f1(masks[None], FPS, blows(STRIKES), RATE).f1 == 1


def test_middles_are_unsure_at_the_edge_and_where_half_is_hidden():
    masks = np.zeros((20, 32, 32), bool)
    masks[:, 10:20, 10:20] = True
    masks[3, 10:20, 10:15] = False
    masks[7, 10, :] = True
    found = centroids(masks)
    assert np.flatnonzero(~np.isfinite(found).all(1)).tolist() == [3, 7]
    assert found[0].tolist() == [15, 15]


def test_matching_is_one_to_one_and_takes_what_must_be_matched_first():
    seen = [Event(1.0, 0.5), Event(1.03, 0.12)]
    assert match(seen, [Event(1.02, 20.0)]) == [(0, 0)]
    assert match(seen, [Event(0.99, 20.0), Event(1.05, 1.0)]) == [(0, 0), (1, 1)]
    assert match(seen, [Event(1.2, 20.0)]) == []
    assert lag([], seen) is None


def test_loudness_is_told_in_decibels():
    found = heard(blows([1.0]), RATE)
    assert [e.time for e in found] == pytest.approx([1.0], abs=0.006)
    assert found[0].strength > 20


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(RequestError, match="fps 0"):
        av_f1(bounce()[None], 0.0, None, RATE)
    with pytest.raises(RequestError, match="object 3"):
        av_f1(bounce()[None], FPS, None, RATE, rows=[3])
    with pytest.raises(RequestError, match="rate 100"):
        av_f1(bounce()[None], FPS, np.zeros((400, 2)), 100)
