import numpy as np
import pytest

from kineograph.evaluate.outlines import edges, lay
from kineograph.evaluate.tracking import track_masks
from kineograph.evaluate.views import known_view
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.scene import Scene, SceneObject

SIDE = 128


def view_of(shape):
    play = play_of(Scene(3, (SceneObject(shape, "red", "metal", "large"),), "grassy", "noon"))
    piece = play.pieces[0]
    return known_view(play, piece, SIDE, SIDE), piece.position(np.zeros(1))[0]


def drawn(view, place):
    """Return a mask `h w` of what is convex, its edge half covered."""
    normals, out = edges(view.project(place + view.body))
    x, y = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    away = (x[..., None] * normals[:, 0] + y[..., None] * normals[:, 1] - out).max(-1)
    return np.clip(0.5 - away, 0, 1).astype(np.float32)


def along(place, ways):
    return place + np.array(ways)[:, None] * np.array([1.0, 0, 0])


def test_edges_are_those_of_the_convex_hull():
    inside = np.array([[2.0, 1.0], [1.5, 1.2]])
    normals, out = edges(np.concatenate([np.array([[0, 0], [4, 0], [4, 2], [0, 2.0]]), inside]))
    found = {tuple(map(int, np.round(n))): far for n, far in zip(normals, out, strict=True)}
    assert found == pytest.approx({(1, 0): 4, (-1, 0): 0, (0, 1): 2, (0, -1): 0})


@pytest.mark.parametrize("shape", ["ball", "cube", "cylinder", "cone", "pyramid"])
def test_a_shape_is_found_where_it_is(shape):
    view, place = view_of(shape)
    way = along(place, np.linspace(-0.8, 0.8, 8))
    found, sure = lay(view, track_masks(np.stack([drawn(view, p) for p in way])))
    assert np.abs(found - way).max() < 0.004
    assert sure.min() > 0.8


def test_what_stands_says_the_same_again_and_again():
    view, place = view_of("ball")
    stands = np.stack([drawn(view, place)] * 9)
    assert lay(view, track_masks(stands))[1] == pytest.approx(np.sqrt(0.05))
    way = along(place, 0.01 * np.arange(9))  # half the way that makes a frame count in full
    moves = lay(view, track_masks(np.stack([drawn(view, p) for p in way])))[1]
    assert moves == pytest.approx(np.sqrt(0.5), rel=0.15)


def test_a_hole_in_its_mask_hardly_moves_it():
    view, place = view_of("cylinder")
    way = along(place, np.linspace(-0.5, 0.5, 9))
    masks = np.stack([drawn(view, p) for p in way])
    column, row = np.round(view.project(way)).astype(int).T
    for t in range(5, 9):  # to the left of its middle, not at its edge
        masks[t, row[t] - 8 : row[t] + 8, column[t] - 8 : column[t] - 2] = 0.2
    track = track_masks(masks)
    middles = np.abs(view.places(track.columns, track.rows) - way)[:, 0]
    found, sure = lay(view, track)
    assert middles[5:].min() > 0.02
    assert np.abs(found - way)[:, 0].max() < 0.004
    assert sure[5:].max() < 0.6 * sure[:5].min()


def test_what_is_hidden_is_less_sure_and_what_is_not_seen_is_nowhere():
    view, place = view_of("ball")
    masks = np.stack([drawn(view, p) for p in along(place, np.linspace(-0.6, 0.6, 7))])
    masks[3, :, : int(view.project(place)[0]) - 5] = 0
    masks[6] = 0
    found, sure = lay(view, track_masks(masks))
    assert sure[3] < 0.6 * sure[1]
    assert np.isnan(found[6]).all()
    assert sure[6] == 0
    nothing, unsure = lay(view, track_masks(0 * masks))
    assert np.isnan(nothing).all()
    assert not unsure.any()
