import numpy as np
import pytest

from kineograph.evaluate.views import body_of, known_view, silhouette
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.scene import SHAPES, Scene, SceneObject


def test_a_silhouette_has_the_middle_and_the_area_of_its_shape():
    square = np.array([[[0, 0], [2, 0], [2, 1], [0, 1], [1, 0.5]]], float)
    middle, area = silhouette(square)
    assert middle[0] == pytest.approx([1, 0.5])
    assert area[0] == pytest.approx(2)
    _, area = silhouette(body_of("ball")[None, :, :2])
    assert area[0] == pytest.approx(np.pi, rel=0.02)


def test_a_view_finds_places_again():
    thing = SceneObject("cone", "red", "rubber", "medium", "throw", "left", "slow")
    play = play_of(Scene(3, (thing,), "grassy", "noon"))
    view = known_view(play, play.pieces[0], 128, 128)
    where = play.pieces[0].position(np.linspace(0, 4, 9))
    assert view.places(*view.seen(where)[0].T) == pytest.approx(where, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_a_silhouette(shape):
    middle, area = silhouette(body_of(shape)[None, :, :2])
    assert np.isfinite(middle).all()
    assert area[0] > 0.1
