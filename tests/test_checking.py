"""The package's annotations are checked in every test: the checks do find what is wrong."""

import pytest
import torch
from checking import checked
from jaxtyping import Float
from torch import Tensor

from kineograph.models.interpolator import moved
from kineograph.resolving import is_picture
from kineograph.serve.scheduler import Standing
from kineograph.spec import FrameSize
from kineograph.ways import check_ways, split_camera


def test_functions_of_the_package_are_checked():
    with pytest.raises(TypeError, match="violates"):
        is_picture(3)
    with pytest.raises(TypeError, match="violates"):
        FrameSize("48", 80, 180, 320)
    with pytest.raises(TypeError, match="violates"):
        Standing(1, 2.0, 3.0).stretched("twice")
    assert Standing(1, 2.0, 3.0).stretched(2).ends_in == 6.0  # an int will do for a float


def test_letters_of_shapes_stand_for_one_number_in_a_call():
    frames, flow = torch.zeros(2, 3, 4, 8), torch.zeros(2, 2, 4, 8)
    assert moved(frames, flow).shape == frames.shape
    for wrong in (flow[:1], flow[..., :4], flow[:, :1]):
        with pytest.raises(TypeError, match="violates"):
            moved(frames, wrong)
    assert moved(frames[:1], flow[:1]).shape == (1, 3, 4, 8)  # in the next call another one


def test_what_is_returned_is_checked_with_the_same_letters():
    @checked
    def halved(x: Float[Tensor, "n m"]) -> Float[Tensor, "m n"]:
        return x / 2

    assert halved(torch.zeros(2, 2)).shape == (2, 2)
    with pytest.raises(TypeError, match="violates"):
        halved(torch.zeros(2, 3))


def test_names_for_type_checkers_alone_are_passed_over_and_the_rest_of_a_function_is_checked():
    with pytest.raises(TypeError, match="violates"):
        split_camera(7)
    with pytest.raises(AttributeError):
        check_ways("no request")  # what a GenerationRequest is, its module does not know
