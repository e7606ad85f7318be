import json

import numpy as np
import pytest

from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.film import frame_times
from kineograph.world.v2.scene import scene_from_dict
from kineograph.world.v2.truth import truth


def test_the_truth_is_json_and_complete():
    for seed in (0, 1, 2):
        scene, play = draw_scene(seed, more=("shot", "shots", "any")[seed])
        times = frame_times(scene.seconds)
        found = json.loads(json.dumps(truth(play, times, 128, 128)))
        assert scene_from_dict(found["scene"]) == scene
        assert len(found["times"]) == len(found["camera"]["position"]) == len(times)
        assert {p["thing"] for p in found["pieces"]} == set(range(len(scene.objects)))
        assert len(found["shots"]) == len(scene.shots)
        assert all(0 <= c["time"] <= scene.seconds for c in found["contacts"])
        assert found["objects"][0]["mass"] > 0
        turned = np.array(found["pieces"][0]["rotation"]).reshape(-1, 3, 3)
        assert np.linalg.det(turned) == pytest.approx(1, abs=1e-3)
