import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.tracking import colour_masks, track_colour, track_masks

SIDE = 64
RED, GREY, BLUE = (200, 40, 30), (120, 125, 120), (40, 60, 190)


def disc(x, y, radius=7.0):
    pixel = np.arange(SIDE) + 0.5
    return np.clip(radius - np.hypot(pixel - x, pixel[:, None] - y) + 0.5, 0, 1)


def painted(shares, colour=RED, seed=0):
    """Return frames of a disc of a colour, shaded and noisy, before a grey ground."""
    rng = np.random.default_rng(seed)
    light = np.linspace(1.1, 0.8, SIDE)[:, None, None]
    x = np.array(GREY) + shares[..., None] * (np.array(colour) * light - np.array(GREY))
    return (x + 4 * rng.standard_normal(x.shape)).clip(0, 255).astype(np.uint8)


WAY = np.stack([np.linspace(12, 50, 20), 20 + 0.06 * np.arange(20) ** 2], -1)
CLIP = np.stack([disc(x, y) for x, y in WAY])


def test_a_disc_is_followed_to_a_share_of_a_pixel():
    track = track_colour(painted(CLIP), CLIP[0] > 0.5)
    assert track.seen.all()
    assert track.whole.all()
    off = np.stack([track.columns, track.rows], -1) - WAY
    # a constant is allowed, a change is not
    assert np.abs(off).max() < 0.4
    assert np.abs(off - off.mean(0)).max() < 0.15
    assert track.areas == pytest.approx(np.pi * 49, rel=0.1)
    assert track.travel() == pytest.approx(np.hypot(*(WAY[-1] - WAY[0])), abs=0.3)
    assert track.moved()


def test_colours_tell_an_object_from_its_ground_and_from_another():
    frames = painted(CLIP)
    frames[:, 50:60, 5:15] = BLUE
    masks = colour_masks(frames, CLIP[0] > 0.5)
    assert masks.shape == frames.shape[:3]
    assert masks[CLIP > 0.99].mean() > 0.9
    assert masks[:, 50:60, 5:15].max() < 0.1
    assert masks[CLIP == 0].mean() < 0.02


def test_a_far_thing_of_the_same_colour_is_not_taken():
    other = disc(54, 12)
    track = track_masks(np.maximum(CLIP, other)[:10], CLIP[0] > 0.5)
    assert np.abs(track.columns - WAY[:10, 0]).max() < 0.3


def test_the_largest_piece_is_followed_where_nothing_says_which():
    small = disc(54, 54, 3.0)
    masks = np.concatenate([np.zeros((2, SIDE, SIDE)), np.maximum(CLIP, small)])
    track = track_masks(masks)
    assert not track.seen[:2].any()
    assert track.columns[2:10] == pytest.approx(WAY[:8, 0], abs=0.3)


def test_what_was_hidden_is_found_again():
    hidden = CLIP.copy()
    hidden[8:11] = 0
    track = track_masks(hidden, CLIP[0] > 0.5)
    assert track.seen.tolist() == [not 8 <= t < 11 for t in range(20)]
    assert track.columns[11:] == pytest.approx(WAY[11:, 0], abs=0.2)


def test_what_is_partly_hidden_or_cut_is_not_whole():
    half = CLIP.copy()
    half[10:12, :, : int(WAY[10, 0])] = 0
    whole = track_masks(half, CLIP[0] > 0.5).whole
    assert not whole[10:12].any()
    assert whole[:9].all()
    leaves = np.stack([disc(40 + 3 * t, 30) for t in range(8)])
    track = track_masks(leaves, leaves[0] > 0.5)
    assert track.cut.tolist() == [40 + 3 * t > 57 for t in range(8)]


def test_bottoms_follow_the_lower_edge():
    track = track_masks(CLIP, CLIP[0] > 0.5)
    assert track.bottoms == pytest.approx(WAY[:, 1] + 7, abs=0.6)


def test_what_stands_or_is_nowhere_does_not_move():
    still = np.repeat(CLIP[:1], 9, 0)
    track = track_colour(painted(still), CLIP[0] > 0.5)
    assert not track.moved()
    nothing = track_masks(np.zeros((4, SIDE, SIDE)))
    assert not nothing.seen.any()
    assert not nothing.whole.any()
    assert nothing.travel() == 0
    assert np.isnan(nothing.bottoms).all()


@pytest.mark.parametrize("pixels", [0, SIDE * SIDE])
def test_a_mask_without_a_colour_is_refused(pixels):
    first = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) < pixels
    with pytest.raises(RequestError, match=f"mask of {pixels} pixels"):
        colour_masks(painted(CLIP[:1]), first)
