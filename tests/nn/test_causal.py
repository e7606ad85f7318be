from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kineograph.nn.causal import CausalConv3d, ConvCache, begins, per_frame


def make_conv(kernel=(3, 3, 3), stride=1):
    torch.manual_seed(0)
    return CausalConv3d(4, 6, kernel, time_stride=stride)


def clip(frames=9):
    return torch.randn(2, frames, 5, 6, 4, generator=torch.Generator().manual_seed(1))


def stream(conv, x, sizes):
    cache = ConvCache()
    return torch.cat([conv(chunk, cache) for chunk in x.split(sizes, dim=1)], dim=1)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1), (1, 1, 1), (2, 3, 5)])
def test_equals_a_plain_convolution_over_zeros_in_front(kernel):
    conv, x = make_conv(kernel), clip()
    padded = F.pad(x.movedim(-1, 1), (0, 0, 0, 0, kernel[0] - 1, 0))
    plain = F.conv3d(padded, conv.weight, conv.bias, padding=(0, kernel[1] // 2, kernel[2] // 2))
    torch.testing.assert_close(conv(x), plain.movedim(1, -1))


@pytest.mark.parametrize("sizes", [[1, 4, 4], [1] * 9, [3, 1, 5], [9]])
def test_chunks_give_what_the_whole_clip_gives(sizes):
    conv, x = make_conv(), clip()
    torch.testing.assert_close(stream(conv, x, sizes), conv(x), rtol=1e-5, atol=1e-6)


def test_chunks_of_a_strided_convolution_join_too():
    conv, x = make_conv((3, 1, 1), stride=2), clip(8)
    assert conv.history == 1
    assert conv(x).shape == (2, 4, 5, 6, 6)
    torch.testing.assert_close(stream(conv, x, [2, 4, 2]), conv(x), rtol=1e-5, atol=1e-6)


def test_history_given_by_hand_stands_in_for_the_past():
    conv, x = make_conv((3, 1, 1), stride=2), clip(9)
    by_hand = conv(x[:, 1:], before=x[:, :1])
    plain = F.conv3d(x.movedim(-1, 1), conv.weight, conv.bias, stride=(2, 1, 1)).movedim(1, -1)
    torch.testing.assert_close(by_hand, plain)


def test_a_later_frame_changes_no_earlier_output():
    conv, x = make_conv(), clip()
    changed = x.clone()
    changed[:, 5] += 1
    before, after = conv(x), conv(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert all((before[:, t] - after[:, t]).abs().max() > 0.01 for t in (5, 6, 7))
    assert torch.equal(before[:, 8], after[:, 8])  # and it is forgotten after two frames


def test_a_cache_begins_once_a_module_and_caches_do_not_mix():
    one, two = nn.Identity(), nn.Identity()
    cache, other = ConvCache(), ConvCache()
    assert [cache.begins(one), cache.begins(one), cache.begins(two)] == [True, False, True]
    assert begins(other, one)
    assert not begins(cache, one)
    assert begins(None, one)
    assert begins(None, one)
    cache.keep(one, torch.zeros(1))
    assert cache.tail(two) is None
    assert other.tail(one) is None


def test_a_cache_keeps_copies_of_the_last_frames_only():
    conv, cache, x = make_conv(), ConvCache(), clip()
    conv(x, cache)
    kept = cache.tail(conv)
    assert torch.equal(kept, x[:, -2:])
    assert kept.untyped_storage().nbytes() == kept.numel() * 4  # not a view that holds the clip
    x.zero_()
    assert kept.abs().max() > 0


def test_history_shorter_than_the_kernel_reaches_over_several_chunks():
    conv, cache, x = make_conv(), ConvCache(), clip(3)
    for frame in x.split(1, dim=1):
        last = conv(frame, cache)
    torch.testing.assert_close(last, conv(x)[:, 2:], rtol=1e-5, atol=1e-6)


def test_per_frame_applies_an_image_layer_to_each_frame():
    layer, x = nn.Conv2d(4, 3, 3, stride=2), clip()
    out = per_frame(layer, x[:, 1:])  # a slice: not contiguous
    assert out.shape == (2, 8, 2, 2, 3)
    torch.testing.assert_close(out[1, 4], layer(x[1, 5].movedim(-1, 0)[None])[0].movedim(0, -1))


@pytest.mark.parametrize("shape", [(1, 1, 4, 6, 8), (1, 3, 4, 6, 8), (2, 1, 4, 6, 8)])
def test_frames_come_channels_last_in_memory_to_layers(shape):
    """A single frame too: its first stride decides which kernels a convolution takes."""
    seen = []

    def layer(frames):
        seen.append((frames.shape, frames.stride()))
        return frames

    x = torch.randn(shape)
    assert torch.equal(per_frame(layer, x), x)
    assert seen == [((shape[0] * shape[1], 8, 4, 6), (4 * 6 * 8, 1, 6 * 8, 8))]
