import numpy as np
import pytest
import torch

from kineograph.errors import RequestError
from kineograph.evaluate.cuts import Transition, find_transitions, shot_consistency, shots_of

FPS = 12.0
FRAMES = 49
MIDDLE = 24


def texture(seed, side=160):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, 14, 14), generator=rng)
    picture = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (picture[0].permute(1, 2, 0).clamp(0, 1) * 200 + 25).numpy()


def shot(seed, speed=0.6, frames=FRAMES):
    """A camera that goes over a picture, pixels a frame."""
    whole = texture(seed)
    starts = 20 + speed * np.arange(frames)
    parts = [(int(s), s - int(s)) for s in starts]
    return np.stack(
        [(1 - f) * whole[20:116, s : s + 96] + f * whole[20:116, s + 1 : s + 97] for s, f in parts]
    )


def film(kind, fps=FPS, speed=0.6):
    scale = fps / FPS
    frames = round((FRAMES - 1) * scale) + 1
    a, b = shot(1, speed / scale, frames), shot(2, -0.3 / scale, frames)
    u = ((np.arange(frames) / fps - MIDDLE / FPS) / 0.5 + 0.5)[:, None, None, None]
    if kind == "cut":
        mixed = np.where(u >= 0.5, b, a)
    elif kind == "dissolve":
        mixed = a + (b - a) * u.clip(0, 1)
    elif kind == "fade":
        mixed = a * (1 - 2 * u).clip(0, 1) + b * (2 * u - 1).clip(0, 1)
    else:
        edge = ((np.arange(96) + 0.5) / 96)[None, None, :, None]
        mixed = a + (b - a) * ((u * 1.1 - edge) / 0.1).clip(0, 1)
    return mixed.round().astype(np.uint8)


@pytest.mark.parametrize("kind", ["cut", "dissolve", "fade", "wipe"])
def test_a_transition_is_found_with_its_times(kind):
    (found,) = find_transitions(film(kind), FPS)
    half = 0 if kind == "cut" else 0.25
    assert found.kind == kind
    assert found.begin == pytest.approx(2 - half, abs=0.09)
    assert found.end == pytest.approx(2 + half, abs=0.09)


@pytest.mark.parametrize("kind", ["cut", "wipe"])
def test_it_is_found_at_other_frame_rates(kind):
    (found,) = find_transitions(film(kind, 30.0), 30.0)
    assert found.kind == kind
    assert found.middle == pytest.approx(2, abs=0.02 if kind == "cut" else 0.1)


@pytest.mark.parametrize("speed", [0.0, 0.8, -0.4])
def test_one_shot_has_none(speed):
    assert find_transitions(shot(3, speed).round().astype(np.uint8), FPS) == []


def test_what_passes_before_a_camera_is_no_transition():
    video = shot(4).round().astype(np.uint8)
    for k in range(8, 36):
        left = 4 * (k - 8) - 20
        video[k, 40:62, max(0, left) : max(0, left + 16)] = (250, 20, 20)
    assert find_transitions(video, FPS) == []


def test_snow_is_no_transition():
    video = shot(5, 0.0).round().astype(np.uint8)
    rng = np.random.default_rng(0)
    for frame in video:
        y, x = rng.integers(0, 94, (2, 120))
        frame[y, x] = frame[y + 1, x] = 255
    assert find_transitions(video, FPS) == []


def test_what_cannot_be_looked_at_is_refused():
    with pytest.raises(RequestError, match="fps 2"):
        find_transitions(film("cut"), 2.0)
    with pytest.raises(RequestError, match="16x16"):
        find_transitions(np.zeros((20, 16, 16, 3), np.uint8), FPS)


def test_shots_lie_between_transitions():
    changes = [Transition("cut", 1.0, 1.0), Transition("fade", 2.0, 2.5)]
    assert shots_of(changes, 49, FPS) == [slice(0, 12), slice(12, 24), slice(30, 49)]


def test_an_object_that_changes_its_colour_shows():
    video = np.full((24, 32, 32, 3), 90, np.uint8)
    masks = np.zeros((3, 24, 32, 32), bool)
    masks[0, :, 4:10, 4:10] = masks[1, :, 20:28, 20:28] = masks[2, :12, 2:8, 20:26] = True
    video[masks[0]] = (200, 40, 40)
    video[:12][masks[1, :12]] = (40, 200, 40)
    video[12:][masks[1, 12:]] = (40, 40, 200)
    found = shot_consistency(video, FPS, [Transition("cut", 1.0, 1.0)], masks)
    assert found.objects[0] == 0
    assert found.objects[1] > 10
    assert found.objects[2] is None
    assert found.surroundings == 0
    assert found.present == (1, 1, 0.5)
    with pytest.raises(RequestError, match="masks of"):
        shot_consistency(video[:20], FPS, [], masks)
