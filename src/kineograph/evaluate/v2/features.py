"""What the second world's judges see of a clip as numbers, for `evaluate.distance`."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kineograph.evaluate.distance import moved, track
from kineograph.evaluate.v2.judges import Judges, scene_view, views

Array = NDArray[np.float64]


@torch.no_grad()
def features(judges: Judges, clip: Float[Tensor, "17 3 h w"]) -> Array:
    """Return features `k` of judged frames in [-1, 1]: how the largest object moves, and logits.

    Places are in shares of the picture's size, so that aspect ratios compare.
    """
    seen = judges.segment(clip)
    counts = torch.bincount(seen[seen > 0].long(), minlength=1)
    mask = (seen == int(counts.argmax())) & (seen > 0)
    path = track(seen.numpy()) / (seen.shape[1] * seen.shape[2]) ** 0.5
    motion = judges.motion(*views(clip[None], mask.float()[None], (seen > 0)[None]))[0][0]
    scene = torch.cat(judges.scene(scene_view(clip[None]).movedim(2, 1)), 1)[0]
    answers = torch.cat((motion, scene)).double().numpy()
    return np.concatenate((moved(path[None])[0], answers))
