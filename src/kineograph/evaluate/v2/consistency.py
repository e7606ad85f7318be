"""What must agree within one clip: things that stay, rest, roll, cast shadows, are mirrored, ring.

Names say what is measured, and units; None is what the clip does not tell.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from kineograph.evaluate.egomotion import Egomotion
from kineograph.evaluate.impacts import material_heard, measure_loudness, strikes
from kineograph.evaluate.orbits import measure_orbit, stays
from kineograph.evaluate.permanence import measure_permanence
from kineograph.evaluate.reflections import measure_reflections
from kineograph.evaluate.rolling import measure_roll, rolls
from kineograph.evaluate.shadows import measure_shadows
from kineograph.evaluate.support import measure_support
from kineograph.evaluate.v2.clips import Clip
from kineograph.evaluate.v2.suites import Prompt

Numbers = dict[str, float | None]

PARALLAX = 3.0  # deg, from which on directions to an object tell where in space it is


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def permanence(clip: Clip, masks: Float[ndarray, "o t h w"]) -> Numbers:
    """Return whether objects go on existing while they are out of sight, and while they are not."""
    found = measure_permanence(masks, clip.fps)
    return {
        "frames in which an object is missing, share": found.unexplained,
        "objects that appear or vanish": float(found.births + found.deaths),
        "back from out of sight, diameters off": found.offset,
    }


def at_rest(prompt: Prompt, clip: Clip, masks: Float[ndarray, "o t h w"]) -> Numbers:
    """Return whether what rests does so, before a camera that stands; nothing if all moves."""
    found = [r for r in measure_support(prompt.scene, masks, clip.fps, camera_known=False) if r]
    return {"at rest within 2 px, share": _mean([float(r.rests) for r in found])} if found else {}


def rolling(prompt: Prompt, clip: Clip, masks: Float[ndarray, "o t h w"]) -> Numbers:
    """Return by how much what rolls slips; nothing if nothing shows that it rolls."""
    some = [
        measure_roll(prompt.scene, i, clip.frames, masks[i], camera_known=False)
        for i in rolls(prompt.scene)
    ]
    return {"slip of what rolls": _mean([r.slip if r else None for r in some])} if some else {}


def light(prompt: Prompt, clip: Clip, masks: Bool[ndarray, "o t h w"]) -> Numbers:
    """Return whether shadows and reflections are where they must be, before a still camera."""
    scene = prompt.scene
    said = {"sky": scene.sky, "weather": scene.weather, "floor": scene.floor}
    shadows = [s for s in measure_shadows(clip.frames, masks, **said) if s]
    mirrored = [r for r in measure_reflections(clip.frames, masks, **said) if r]
    found: Numbers = {}
    if shadows:
        found["shadow against the sun (deg)"] = _mean([s.off for s in shadows])
        found["shadow goes with its object, correlation"] = _mean([s.follows for s in shadows])
    if mirrored:
        found["reflection, likeness"] = _mean([r.likeness for r in mirrored])
    return found


def impacts(prompt: Prompt, clip: Clip, masks: Bool[ndarray, "o t h w"]) -> Numbers:
    """Return whether what strikes the floor sounds as fast, and as made of what it is, as it looks.

    Nothing of a silent clip.
    """
    if clip.sound is None:
        return {}
    scene = prompt.scene
    struck = strikes(masks, clip.fps, clip.sound, clip.rate)
    found: Numbers = {"loudness against speed, rank correlation": measure_loudness(struck).rank}
    told = []
    for i, thing in enumerate(scene.objects):
        times = [s.time for s in struck if s.track == i and s.lands]
        heard = material_heard(clip.sound, clip.rate, times, scene.floor)
        told.append(None if heard is None else float(heard == thing.material))
    return found | {"material heard is the one stated, share": _mean(told)}


def in_space(prompt: Prompt, masks: Float[ndarray, "o t h w"], seen: Egomotion) -> Numbers:
    """Return how far what stands still is from one place in space; nothing if all moves."""
    still = stays(prompt.scene)
    if not any(still):
        return {}
    found = measure_orbit(masks, seen.camera, still)
    pairs = zip(found.errors, found.parallax, strict=True)
    far = [e for e, angle in pairs if angle is not None and angle >= PARALLAX]
    return {"one place in space, error (px)": _mean(far)}
