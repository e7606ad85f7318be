from dataclasses import replace
from pathlib import Path

import pytest

from kineograph.presets import NANO
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.serve.task import Task
from kineograph.weights.partial import partial_path


@pytest.mark.parametrize("num_frames", [1, 5])
def test_a_state_lies_where_the_model_keeps_it(num_frames):
    request = GenerationRequest("a ball", num_frames=num_frames, seed=1)
    task = Task("v", Path("folder"), request.to_dict())
    clip = resolve(replace(request, output=f"folder/{task.output}"), NANO)
    assert partial_path(clip) == task.state
