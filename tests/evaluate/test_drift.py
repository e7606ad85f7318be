import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.drift import (
    measure_drift,
    oklab,
    palette,
    palette_distance,
    similarity_curve,
    slope,
    windows,
)

FPS = 6.0
SECONDS = 16


def world(gain=None, red=None, blur=False, frozen=None):
    """A grey picture with a square that goes round; it fades, reddens, blurs or freezes."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 160, (64, 64, 3)).astype(float)
    frames = []
    for k in range(int(FPS * SECONDS)):
        t = k / FPS
        turn = min(t, frozen) if frozen is not None else t
        x, y = (int(28 + 18 * f(turn)) for f in (np.cos, np.sin))
        frame = ground.copy()
        frame[y : y + 8, x : x + 8] = (40, 60, 220)
        if blur:
            share = 0.5 * t / SECONDS
            around = (np.roll(frame, 1, 0) + np.roll(frame, -1, 0)) / 2
            frame = (1 - share) * frame + share * around
        frame = frame * (1 - (gain or 0) * t / SECONDS)
        frame[..., 0] += (red or 0) * t / SECONDS
        frames.append(frame.clip(0, 255).round().astype(np.uint8))
    return np.stack(frames)


def test_a_video_that_keeps_up_does_not_drift():
    found = measure_drift(world(), FPS)
    assert found.times == pytest.approx((1.92, 5.92, 9.92, 13.92), abs=0.01)
    assert found.stillness == 0
    assert abs(found.slopes["brightness"].per_minute) < 0.5
    assert abs(found.slopes["redness"].per_minute) < 0.5
    assert abs(found.slopes["sharpness"].per_minute) < 0.05
    assert max(found.values["palette"]) < 0.3


def test_a_fading_video_shows():
    found = measure_drift(world(gain=0.5), FPS)
    assert found.slopes["brightness"].per_minute < -40
    assert found.slopes["palette"].per_minute > 20
    assert found.slopes["brightness"].error < 10


def test_a_reddening_video_shows():
    found = measure_drift(world(red=40), FPS)
    assert found.slopes["redness"].per_minute > 5
    assert found.slopes["palette"].per_minute > 5


def test_a_blurring_video_shows():
    assert measure_drift(world(blur=True), FPS).slopes["sharpness"].per_minute < -0.5


def test_a_frozen_video_shows():
    found = measure_drift(world(frozen=8), FPS)
    assert found.stillness == 0.5
    assert found.similarity[2.0] > similarity_curve(world(), FPS)[2.0]
    assert measure_drift(world(frozen=0), FPS).stillness == 1


def test_a_slow_camera_is_motion():
    wide = np.random.default_rng(1).integers(0, 255, (64, 20, 3)).repeat(8, 1).astype(np.uint8)
    panned = np.stack([wide[:, k // 2 : k // 2 + 64] for k in range(96)])
    assert measure_drift(panned, FPS).stillness == 0


def test_similarity_falls_with_the_gap_where_a_video_forgets():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 255, (2, 64, 64, 3))
    video = np.stack([a + (b - a) * k / 95 for k in range(96)]).astype(np.uint8)
    found = similarity_curve(video, FPS)
    assert found[2.0] > found[5.0] > found[10.0]
    assert found[20.0] is None
    same = similarity_curve(np.repeat(video[:1], 96, 0), FPS)
    assert same[10.0] == pytest.approx(1, abs=1e-5)


def test_features_are_compared_by_their_angle():
    turn = np.arange(96) / FPS / 10 * np.pi / 2  # a right angle in 10 s
    features = 3 * np.stack([np.cos(turn), np.sin(turn)], -1)
    found = similarity_curve(world(), FPS, features=features)
    assert found[10.0] == pytest.approx(0, abs=1e-6)
    assert found[5.0] == pytest.approx(0.5**0.5)


def test_a_slope_comes_with_its_error():
    times = np.arange(0, 120, 4.0)
    exact = slope(2 + 0.1 * times, times)
    assert exact.per_minute == pytest.approx(6)
    assert exact.error == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(3)
    found = [slope(rng.normal(0, 1, 30), times) for _ in range(400)]
    spread = np.std([f.per_minute for f in found])
    assert np.sqrt(np.mean([f.error**2 for f in found])) == pytest.approx(spread, rel=0.1)
    assert slope(np.array([1.0, np.nan, 3.0]), np.array([0.0, 4.0, 60.0])).error is None
    assert slope(np.array([1.0]), np.array([0.0])) is None
    with pytest.raises(RequestError, match="3 values at 2"):
        slope(np.zeros(3), np.zeros(2))


def test_colours_lie_where_oklab_has_them():
    pixels = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8)
    found = oklab(pixels)
    assert found[0] == pytest.approx([100, 0, 0], abs=0.01)
    assert found[1] == pytest.approx([0, 0, 0], abs=0.01)
    assert found[2] == pytest.approx([62.80, 22.49, 12.58], abs=0.01)


def test_palettes_do_not_know_where_pixels_are():
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 255, (500, 3)).astype(np.uint8)
    assert palette_distance(palette(pixels), palette(pixels[::-1])) == 0
    assert palette_distance(palette(pixels), palette(pixels // 2)) > 5
    with pytest.raises(RequestError, match="no pixels"):
        palette(pixels[:0])


def test_windows_cover_four_seconds():
    assert windows(193, 12.0) == [slice(0, 48), slice(48, 96), slice(96, 144), slice(144, 192)]
    assert windows(60, 6.0)[-1] == slice(48, 60)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(RequestError, match="too short"):
        measure_drift(world()[:30], FPS)
    with pytest.raises(RequestError, match="features of 3"):
        measure_drift(world(), FPS, np.ones((3, 2)))
