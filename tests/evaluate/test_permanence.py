"""What is hidden goes on existing; what vanishes, jumps or swells out of sight is found out."""

import numpy as np
import pytest

from kineograph.errors import RequestError
from kineograph.evaluate.permanence import clear_of, measure_permanence
from kineograph.evaluate.tracking import colour_masks
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.scene import Camera, Scene, SceneObject, Shot

SIDE, FPS, COUNT = 128, 12, 49
PIXEL = np.arange(SIDE) + 0.5
BOX = np.zeros((COUNT, SIDE, SIDE), dtype=bool)
BOX[:, 40:90, 50:84] = True  # behind it, something is out of sight


def disc(columns, rows, radii=9.0):
    """Return the masks of a disc at some places."""
    x, y, r = (np.broadcast_to(v, COUNT)[:, None, None] for v in (columns, rows, radii))
    return np.hypot(PIXEL - x, PIXEL[:, None] - y) < r


def behind(mask, box=BOX):
    """Return the masks of something and of the box before it."""
    return np.stack([mask & ~box, box])


PASSES = np.linspace(20, 116, COUNT)  # behind the box and out again


def test_what_passes_behind_something_goes_on():
    found = measure_permanence(behind(disc(PASSES, 70)), FPS)
    (gap,) = found.gaps
    assert gap.explained == 1
    assert gap.offset < 0.05
    assert gap.size_ratio == pytest.approx(1, abs=0.02)
    assert (found.unexplained, found.births, found.deaths) == (0, 0, 0)
    assert found.objects[0].gaps == (gap,)
    assert found.objects[1].gaps == ()


def test_what_vanishes_in_full_view_is_not_explained():
    masks = behind(disc(np.linspace(10, 40, COUNT), 70))
    masks[0, 20:30] = False
    found = measure_permanence(masks, FPS)
    (gap,) = found.gaps
    assert (gap.start, gap.end, gap.explained) == (20, 30, 0)
    assert found.objects[0].unexplained == pytest.approx(10 / COUNT)
    assert found.unexplained == pytest.approx(5 / COUNT)


def test_what_comes_back_too_soon_is_not_where_it_was_going():
    jumps = PASSES + np.where(PASSES > 67, 25, 0)
    found = measure_permanence(behind(disc(jumps, 70)), FPS)
    assert found.gaps[0].explained > 0.5
    assert found.offset > 1


def test_what_jumps_in_full_view_is_lost_for_some_frames():
    found = measure_permanence(behind(disc(np.where(np.arange(COUNT) < 24, 20, 105), 70)), FPS)
    assert found.objects[0].unexplained > 0.02
    assert found.offset > 2


def test_what_comes_back_larger_is_another():
    sizes = np.where(PASSES > 67, 9 * 1.3, 9)
    found = measure_permanence(behind(disc(PASSES, 70, sizes)), FPS)
    assert found.size_change == pytest.approx(0.3, abs=0.03)


def test_what_is_lost_in_full_view_dies_and_what_comes_is_born():
    masks = behind(disc(np.linspace(10, 40, COUNT), 70))
    masks[0, 25:] = False
    found = measure_permanence(masks, FPS)
    assert (found.births, found.deaths) == (0, 1)
    other = measure_permanence(masks[:, ::-1], FPS)
    assert (other.births, other.deaths) == (1, 0)


@pytest.mark.parametrize(
    "columns",
    [
        np.linspace(30, -40, COUNT),  # out of the picture
        np.linspace(20, 320, COUNT),  # out of it fast, past the box
        np.minimum(np.linspace(20, 116, COUNT), 67),  # behind the box, and stays there
    ],
)
def test_what_is_out_of_sight_for_good_does_not_die(columns):
    for masks in (behind(disc(columns, 70)), behind(disc(columns, 70))[:, ::-1]):
        found = measure_permanence(masks, FPS)
        assert (found.births, found.deaths) == (0, 0)


def test_what_grows_or_shrinks_is_still_there():
    for sizes in (np.linspace(8, 4, COUNT), np.linspace(6, 10, COUNT)):
        found = measure_permanence(behind(disc(25, 70, sizes)), FPS)
        assert (found.gaps, found.unexplained, found.births, found.deaths) == ((), 0, 0, 0)


def test_what_is_never_seen_tells_nothing():
    found = measure_permanence(np.zeros((1, COUNT, 32, 32), dtype=bool), FPS)
    assert (found.gaps, found.unexplained, found.offset, found.size_change) == (
        (),
        None,
        None,
        None,
    )


def test_clear_is_what_touches_neither_another_nor_the_edge():
    clear = clear_of(behind(disc(np.linspace(0, 67, COUNT), 70)))[0]
    assert not clear[:8].any()
    assert clear[10:26].all()
    assert not clear[30:].any()


def test_a_rendered_clip_goes_on_and_a_doctored_one_does_not():
    things = (
        SceneObject("ball", "red", "rubber", "small", "orbit", speed="normal", partner=1),
        SceneObject("cube", "blue", "wood", "large"),
    )
    scene = Scene(6, things, "grassy", "noon", shots=(Shot(Camera(), 3.0),))
    buffer = filmed(play_of(scene), frame_times(scene.seconds), SIDE, SIDE)
    true = np.stack([buffer.owner.numpy() == FIRST_OBJECT + i for i in (0, 1)])
    frames = (buffer.colour.numpy() * 255 + 0.5).astype(np.uint8)
    by_colour = np.stack([colour_masks(frames, first) for first in true[:, 0]])
    for masks in (true, by_colour):
        found = measure_permanence(masks, FPS)
        assert len(found.gaps) == 1
        assert found.gaps[0].explained == 1
        assert (found.unexplained, found.births, found.deaths) == (0, 0, 0)
    gap = found.gaps[0]
    vanished = true.copy()
    vanished[0, gap.start - 12 : gap.start - 6] = False
    assert measure_permanence(vanished, FPS).objects[0].unexplained > 0.1


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(RequestError, match="fps 0"):
        measure_permanence(np.zeros((1, 3, 32, 32), dtype=bool), 0)
    with pytest.raises(RequestError, match="0 frames"):
        measure_permanence(np.zeros((1, 0, 32, 32), dtype=bool), FPS)
