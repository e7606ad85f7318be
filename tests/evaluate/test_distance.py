"""The distance between sets of clips: time out of order must count for more than blur."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kineograph.errors import RequestError
from kineograph.evaluate.distance import distance, features, track
from kineograph.evaluate.judges import TIMES, default_path, load_judges
from kineograph.evaluate.pool import TEST_SEED, judge_scene
from kineograph.world.render import render

pytestmark = pytest.mark.skipif(
    not default_path().exists(), reason="no judges of this world have passed the gate yet"
)
CLIPS = 40
GENERATOR = torch.Generator().manual_seed(3)


def true_clips(first):
    scenes = [judge_scene(TEST_SEED + first + i) for i in range(CLIPS)]
    video, _ = render(scenes, TIMES, 64, 64)
    return video.permute(0, 1, 4, 2, 3).float() / 127.5 - 1


def blurred(clips):
    small = F.interpolate(clips.flatten(0, 1), (32, 32), mode="area")
    return F.interpolate(small, (64, 64), mode="bilinear").unflatten(0, clips.shape[:2])


def shuffled(clips):
    return torch.stack([c[torch.randperm(13, generator=GENERATOR)] for c in clips])


SPOILED = {
    "shuffled": shuffled,
    "frozen": lambda clips: clips[:, :1].expand_as(clips),
    "reversed": lambda clips: clips.flip(1),
    "warped": lambda clips: clips[:, ((torch.arange(13) / 12) ** 2 * 12).round().long()],
}


@pytest.fixture(scope="module")
def sets():
    """Return the judges, features of a reference, and other true clips."""
    judges, _ = load_judges()
    reference = features(judges, true_clips(1 << 24))
    clips = true_clips(1 << 25)
    return judges, reference, clips


@pytest.fixture(scope="module")
def soft(sets):
    """How far blurred clips are."""
    judges, reference, clips = sets
    return distance(features(judges, blurred(clips)), reference)


def test_true_clips_lie_where_true_clips_lie(sets):
    judges, reference, clips = sets
    found = distance(features(judges, clips), reference)
    assert found.low < 0.05
    assert found.low <= found.value <= found.high
    # A set without itself is at no distance from itself, and less than none by its own pairs.
    assert distance(reference, reference).value < 0


@pytest.mark.parametrize("name", list(SPOILED))
def test_time_out_of_order_counts_for_more_than_blur(name, sets, soft):
    judges, reference, clips = sets
    spoiled = distance(features(judges, SPOILED[name](clips)), reference)
    assert spoiled.low > soft.high
    assert spoiled.value > soft.value + 0.2


def test_an_object_that_is_hidden_is_where_it_was():
    seen = np.zeros((4, 8, 8), np.uint8)
    seen[1, 2:5, 2:5] = 3
    seen[3, 4:7, 4:7] = 3
    where = track(seen)
    assert where[:, 0].tolist() == [3, 3, 3, 5]
    assert where[:, 2].tolist() == [3, 3, 3, 3]
    assert not track(np.zeros((4, 8, 8), np.uint8)).any()


def test_too_few_clips_have_no_distance():
    with pytest.raises(RequestError, match="7 clips are too few for a distance; 8 or more"):
        distance(np.zeros((7, 3)), np.zeros((9, 3)))
    with pytest.raises(RequestError, match="3 reference clips are too few"):
        distance(np.zeros((8, 3)), np.zeros((3, 3)))
