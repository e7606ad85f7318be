"""The frame between two frames: where it starts, how it moves things, whole clips in chunks."""

from __future__ import annotations

import pytest
import torch

from kineograph.models.interpolator import FrameInterpolator, interpolated, moved
from kineograph.presets import SMALL
from kineograph.spec import InterpolatorConfig


def draw(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def make_model():
    """One whose last layer has learnt something."""
    model = FrameInterpolator(InterpolatorConfig(8))
    generator = torch.Generator().manual_seed(0)
    model.init_weights(generator)
    torch.nn.init.normal_(model.out.weight, std=0.1, generator=generator)
    return model.eval().requires_grad_(False)


def test_starts_as_the_mean_of_the_two_in_the_middle():
    frames = draw(2, 4, 3, 16, 24)
    out = FrameInterpolator(InterpolatorConfig(8))(frames)
    torch.testing.assert_close(out, (frames[:, 1] + frames[:, 2]) / 2)


def test_init_weights_depends_on_its_generator_alone_and_fills_everything():
    first, second = (FrameInterpolator(InterpolatorConfig(8)) for _ in range(2))
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.fill_(float("nan"))
    for model in (first, second):
        model.init_weights(torch.Generator().manual_seed(3))
    for name, weight in second.state_dict().items():
        assert torch.equal(weight, first.state_dict()[name]), name


@pytest.mark.parametrize(("columns", "rows"), [(1, 0), (0, 1), (-2, 0), (0, -3), (2, -1)])
def test_moved_by_whole_pixels_a_frame_is_shifted(columns, rows):
    frames = draw(2, 3, 8, 12)
    flow = torch.tensor([columns, rows]).float()[None, :, None, None].expand(2, 2, 8, 12)
    # Beyond the edge is what is at the edge.
    down = (torch.arange(8) + rows).clamp(0, 7)
    across = (torch.arange(12) + columns).clamp(0, 11)
    wanted = frames[:, :, down][..., across]
    torch.testing.assert_close(moved(frames, flow), wanted, rtol=0, atol=1e-5)


def test_moved_by_half_a_pixel_a_frame_is_the_mean_of_neighbours_there_alone():
    frames = draw(1, 3, 8, 12)
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, 0, 2, 3] = 0.5
    found = moved(frames, flow)
    wanted = frames.clone()
    wanted[..., 2, 3] = (frames[..., 2, 3] + frames[..., 2, 4]) / 2
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def told(model, *, columns_back=0.0, columns_on=0.0, share=0.0, red=0.0):
    """Let a fresh model see the same everywhere."""
    with torch.no_grad():
        model.out.bias.copy_(torch.tensor([columns_back, 0, columns_on, 0, share, red, 0, 0]))
    return model


def test_each_flow_moves_its_own_frame_and_detail_is_added():
    frames = draw(1, 4, 3, 16, 24)
    fresh = FrameInterpolator(InterpolatorConfig(8))
    before = told(fresh, columns_back=2.0, columns_on=9.0, share=50.0)(frames)
    torch.testing.assert_close(before[..., :-2], frames[:, 1, ..., 2:], rtol=0, atol=1e-5)
    after = told(fresh, columns_back=9.0, columns_on=-2.0, share=-50.0, red=0.5)(frames)
    wanted = frames[:, 2, ..., :-2] + torch.tensor([0.5, 0, 0])[:, None, None]
    torch.testing.assert_close(after[..., 2:], wanted, rtol=0, atol=1e-5)


def test_all_four_frames_are_seen():
    model, frames = make_model(), draw(1, 4, 3, 16, 24)
    out = model(frames)
    for k in range(4):
        changed = frames.clone()
        changed[:, k] *= -1
        assert float((model(changed) - out).abs().max()) > 1e-4


def test_every_weight_gets_a_gradient():
    model = make_model().requires_grad_(True)
    model(draw(2, 4, 3, 16, 24)).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_bfloat16_autocast_stays_near_float32_and_returns_float32():
    model, frames = make_model(), draw(2, 4, 3, 16, 24)
    true = model(frames)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(frames)
    assert out.dtype == torch.float32
    assert 0 < (out - true).norm() < 0.02 * true.norm()


@pytest.mark.parametrize("shape", [(1, 3, 3, 16, 24), (1, 4, 3, 12, 24), (1, 4, 3, 16, 20)])
def test_other_than_four_frames_of_sides_in_eights_are_a_bug_of_the_caller(shape):
    with pytest.raises(AssertionError):
        make_model()(draw(*shape))


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_frames_become_twice_as_many_but_one_and_those_given_are_untouched(count):
    model, video = make_model(), draw(2, 3, count, 16, 24)
    fine = torch.cat(list(interpolated(model, [video])), 2)
    assert fine.shape == (2, 3, 2 * count - 1, 16, 24)
    assert torch.equal(fine[:, :, ::2], video)


def test_a_frame_between_is_made_of_two_on_either_side():
    model, video = make_model(), draw(1, 3, 5, 16, 24)
    fine = torch.cat(list(interpolated(model, [video])), 2)
    # Before the first frame it is like it, and behind the last.
    places = [(0, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 4)]
    for i, four in enumerate(places):
        wanted = model(video[:, :, list(four)].transpose(1, 2))
        torch.testing.assert_close(fine[:, :, 2 * i + 1], wanted)


@pytest.mark.parametrize("sizes", [[1, 4, 4], [4, 1, 4], [1] * 9, [2, 7], [8, 1]])
def test_the_cut_into_chunks_changes_nothing(sizes):
    model, video = make_model(), draw(2, 3, 9, 16, 24)
    whole = torch.cat(list(interpolated(model, [video])), 2)
    parts = list(interpolated(model, video.split(sizes, 2)))
    assert all(part.shape[2] > 0 for part in parts)
    assert torch.equal(torch.cat(parts, 2), whole)


def test_frames_come_as_soon_as_they_can_be_made():
    asked = []

    def chunks():
        for frame in draw(1, 3, 6, 16, 24).split(1, 2):
            asked.append(frame)
            yield frame

    found = interpolated(make_model(), chunks())
    next(found)
    assert len(asked) == 1
    next(found)
    assert len(asked) == 3  # the frame between the first two needs the third


def test_without_frames_there_are_none():
    assert list(interpolated(make_model(), [])) == []


def test_the_size_of_small_is_small():
    with torch.device("meta"):
        model = FrameInterpolator(SMALL.interpolator)
    assert 2e5 < sum(p.numel() for p in model.parameters()) < 6e5
