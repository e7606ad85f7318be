import numpy as np
import pytest
import torch

from kineograph.errors import RequestError
from kineograph.evaluate.shadows import darkening, measure_shadows
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import filmed
from kineograph.world.v2.scene import Scene, SceneObject

SIDE = 128
TIMES = np.arange(24) / 12  # s
STATED = {"sky": "noon", "weather": "clear", "floor": "sandy"}


@pytest.fixture(scope="module")
def clip():
    """A ball that falls and bounces at noon: frames, masks, and the floor without a shadow."""
    scene = Scene(3, (SceneObject("ball", "red", "rubber", "medium", "fall"),), "sandy", "noon")
    buffer = filmed(play_of(scene), TIMES, SIDE, SIDE)
    frames = (buffer.colour * 255 + 0.5).to(torch.uint8).numpy()
    masks = (buffer.owner == FIRST_OBJECT).numpy()[None]
    known = np.where(masks[0][..., None], np.nan, frames)
    floor = np.nan_to_num(np.nanquantile(known, 0.7, axis=0)).astype(np.uint8)
    return frames, masks, floor


def only(clip, **changes):
    found = measure_shadows(*clip[:2], **STATED | changes)
    assert len(found) == 1
    return found[0]


def test_a_true_shadow_follows_and_lies_away_from_the_sun(clip):
    found = only(clip)
    assert found.present > 0.9
    assert found.follows > 0.85
    assert found.off < 12
    assert found.spread < 12


def test_a_shadow_that_is_missing_is_missed(clip):
    frames, masks, floor = clip
    erased = np.where(masks[0][..., None], frames, floor)
    found = measure_shadows(erased, masks, **STATED)[0]
    assert found.present == 0
    assert (found.follows, found.off, found.spread) == (None, None, None)


def test_a_shadow_that_stays_where_it_is_does_not_count(clip):
    frames, masks, floor = clip
    dark = darkening(frames, masks).astype(np.uint8)
    first = floor - np.minimum(dark[0][..., None], floor)
    frozen = np.where(masks[0][..., None], frames, first)
    found = measure_shadows(frozen, masks, **STATED)[0]
    assert found.present < 0.2
    assert found.follows is None or found.follows < 0.2


def test_a_shadow_that_lags_or_goes_the_other_way_does_not_follow(clip):
    frames, masks, floor = clip
    dark = darkening(frames, masks).astype(np.uint8)
    turned = floor - np.minimum(dark[::-1][..., None], floor)
    found = measure_shadows(np.where(masks[0][..., None], frames, turned), masks, **STATED)[0]
    assert found.present < 0.7 or found.follows < 0.5


def test_a_shadow_thrown_the_other_way_is_off(clip):
    assert only(clip, sky="dusk").off > 45


def test_nothing_is_told_where_no_shadow_can_be_expected(clip):
    for changes in ({"weather": "fog"}, {"weather": "rain"}, {"floor": "water"}, {"floor": "grid"}):
        assert only(clip, **changes) is None
    frames, masks, _ = clip
    still = np.repeat(frames[-1:], 24, 0), np.repeat(masks[:, -1:], 24, 1)
    assert measure_shadows(*still, **STATED) == [None]
    assert measure_shadows(frames, masks[:0], **STATED) == []
    assert measure_shadows(frames, np.zeros_like(masks), **STATED) == [None]


def test_what_cannot_be_judged_is_refused(clip):
    with pytest.raises(RequestError, match="sky 'eclipse'"):
        only(clip, sky="eclipse")
    with pytest.raises(RequestError, match="floor 'lava'"):
        only(clip, floor="lava")
