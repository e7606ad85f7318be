import numpy as np
import pytest
import torch

from kineograph.errors import RequestError
from kineograph.evaluate.reflections import measure_reflections
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.film import filmed
from kineograph.world.v2.scene import Scene, SceneObject

SIDE = 128
STATED = {"sky": "sunset", "weather": "clear", "floor": "water"}


@pytest.fixture(scope="module")
def clip():
    """A yellow cylinder and a blue ball on water: frames and masks."""
    things = (
        SceneObject("cylinder", "yellow", "wood", "medium"),
        SceneObject("ball", "blue", "rubber", "medium"),
    )
    scene = Scene(3, things, "water", "sunset")
    buffer = filmed(play_of(scene), np.arange(6) / 3, SIDE, SIDE)
    frames = (buffer.colour * 255 + 0.5).to(torch.uint8).numpy()
    owner = buffer.owner.numpy()
    return frames, np.stack([owner == FIRST_OBJECT + i for i in range(2)])


def likeness(frames, masks):
    return [found and found.likeness for found in measure_reflections(frames, masks, **STATED)]


def test_true_reflections_are_like_their_objects_and_not_like_others(clip):
    for found in measure_reflections(*clip, **STATED):
        assert found.likeness > 0.3
        assert 0.01 < found.strength < 0.3
        assert found.chance < found.likeness - 0.3
        assert found.frames == 6


def test_a_reflection_that_is_erased_is_missed(clip):
    frames, masks = clip
    erased = frames.copy()
    for frame, free in zip(erased, ~masks.any(0), strict=True):
        for row in range(SIDE // 2, SIDE):
            if free[row].any():
                frame[row, free[row]] = np.median(frame[row, free[row]], axis=0)
    assert max(abs(one) for one in likeness(erased, masks)) < 0.1


def test_a_reflection_of_another_colour_is_found_out(clip):
    frames, masks = clip
    for turn in ([1, 2, 0], [2, 0, 1]):
        wrong = frames.copy()
        wrong[masks.any(0)] = frames[masks.any(0)][:, turn]
        told = [one for one in likeness(wrong, masks) if one is not None]
        assert min(told) < 0.1


def test_a_reflection_somewhere_else_is_found_out(clip):
    frames, masks = clip
    moved = np.roll(frames, 40, axis=2)
    moved[masks.any(0)] = frames[masks.any(0)]
    assert max(likeness(moved, masks)) < 0.2


def test_nothing_is_told_of_other_floors_and_of_what_is_not_there(clip):
    frames, masks = clip
    stated = STATED | {"floor": "marble"}
    assert measure_reflections(frames, masks, **stated) == [None, None]
    assert measure_reflections(frames, np.zeros_like(masks), **STATED) == [None, None]
    assert measure_reflections(frames, masks[:1], **STATED)[0].chance is None


def test_what_cannot_be_judged_is_refused(clip):
    for name in STATED:
        with pytest.raises(RequestError, match=f"{name} 'lava'"):
            measure_reflections(*clip, **STATED | {name: "lava"})
