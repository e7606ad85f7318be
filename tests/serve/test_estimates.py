"""What a video is expected to cost, before anything is measured."""

import pytest

from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.serve.estimates import DECODE, operations
from kineograph.weights.folder import spec_of


def work(**asked):
    spec = spec_of("nano")
    clip = resolve(GenerationRequest("a red ball", seed=0, **asked), spec)
    return operations(clip, spec), clip


def test_twice_the_steps_are_twice_the_work_but_for_decoding():
    once, clip = work(steps=8)
    shown = DECODE * clip.delivered_frames * clip.out_height * clip.out_width
    assert work(steps=16)[0] - shown == pytest.approx(2 * (once - shown))


def test_a_loop_costs_the_clip_and_its_way_back():
    plain, clip = work(num_frames=25)
    looped, _ = work(num_frames=25, loop=True)
    # 21 frames of a clip, and 25 from its end to its beginning.
    assert looped == pytest.approx(work(num_frames=21)[0] + plain)
    assert not clip.loop
