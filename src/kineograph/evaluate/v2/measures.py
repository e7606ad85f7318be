"""What is measured in numbers in a clip, by suite: camera, laws, sound, cuts, drift.

A number is None where a clip does not tell it. Names say what is 0 when all is right, and units.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.evaluate.cuts import Transition, find_transitions, shot_consistency
from kineograph.evaluate.drift import measure_drift, slope, windows
from kineograph.evaluate.egomotion import Egomotion, estimate, rotation_error, translation_error
from kineograph.evaluate.events import av_f1
from kineograph.evaluate.physical import lawful, measure_physics
from kineograph.evaluate.v2 import consistency
from kineograph.evaluate.v2.clips import Clip
from kineograph.evaluate.v2.consistency import Numbers
from kineograph.evaluate.v2.judges import Judges, Reading
from kineograph.evaluate.v2.scoring import assign
from kineograph.evaluate.v2.seen import PIXEL_CLASSES, judged
from kineograph.evaluate.v2.suites import Prompt
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2.camera import AXIS, shots_of, track
from kineograph.world.v2.scene import COLOURS, COUNTED, SHOT_SECONDS, Scene

MEASURES_VERSION = 4
# What every clip of a suite must give, to be usable.
HELD_TO = ("law, residual",)
PHYSICS = {  # as `physical.KEYS`; 1 is what must be there
    "residual": "law, residual",
    "g": "g, relative error",
    "restitution": "restitution, error",
    "momentum": "momentum, share lost or gained",
    "friction": "friction, error",
    "reversal": "way gone back",
}
HEARD = ("physics", "sequence")  # suites in which contacts and onsets are matched
KEPT = (*HEARD, "two", "relations")  # suites in which objects are to go on existing
NEAR = 0.25  # s, by which the middle of a transition may be off
OF_CLIPS = ("floor", "sky", "weather", "style")


def _signed(frames: UInt8[ndarray, "t h w 3"]) -> Tensor:
    return torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1


def masks_of(
    prompt: Prompt, reading: Reading, frames: UInt8[ndarray, "t h w 3"], judges: Judges
) -> Float[ndarray, "o t h w"]:
    """Return the share of each pixel that is each object's; none of what is not found."""
    sets: list[set[int]] = []
    for thing in assign(prompt, reading):
        if thing is None:
            sets.append(set())
        elif thing.colour is None:
            sets.append(set(range(1, PIXEL_CLASSES)))
        else:
            sets.append({1 + COLOURS.index(c) for c in (thing.colour, thing.colour_to) if c})
    return judges.shares(_signed(frames), sets).numpy()


def stated_masks(
    scene: Scene, frames: UInt8[ndarray, "t h w 3"], judges: Judges
) -> Float[ndarray, "o t h w"]:
    """Return the share of each pixel that is each object's of a scene, by its stated colours."""
    sets = [{1 + COLOURS.index(c) for c in (o.colour, o.colour_to) if c} for o in scene.objects]
    return judges.shares(_signed(frames), sets).numpy()


def measure(suite: str, prompt: Prompt, clip: Clip, judges: Judges, reading: Reading) -> Numbers:
    """Return the numbers of a clip that its suite asks for."""
    if suite == "long":
        return _long(prompt, clip, judges)
    if suite not in ("camera", "shots", *KEPT) or prompt.scene.style in COLOURLESS:
        return {}
    masks = masks_of(prompt, reading, clip.frames, judges)
    if suite == "camera":
        others = judges.segment(_signed(clip.frames)).numpy() > 0
        return _camera(prompt, clip, masks, others)
    if suite == "shots":
        return _shots(prompt, clip, masks > 0.5)
    found = consistency.permanence(clip, masks)
    if suite in HEARD:
        found |= _heard(prompt, clip, masks > 0.5)
        found |= consistency.impacts(prompt, clip, masks > 0.5)
    if suite == "physics":
        found |= _physics(prompt, clip, masks)
    return found


def _physics(prompt: Prompt, clip: Clip, masks: Float[ndarray, "o t h w"]) -> Numbers:
    """Return how the laws are kept, and all else that a camera that stands shows of them."""
    found: Numbers = {}
    if lawful(prompt.scene) is not None:
        told = measure_physics(prompt.scene, masks, clip.fps, camera_known=False)
        found |= {name: told[key] for key, name in PHYSICS.items() if key in told}
    found |= consistency.at_rest(prompt, clip, masks) | consistency.rolling(prompt, clip, masks)
    return found | consistency.light(prompt, clip, masks > 0.5)


def _camera(
    prompt: Prompt, clip: Clip, masks: Float[ndarray, "o t h w"], seen: Bool[ndarray, "t h w"]
) -> Numbers:
    """Return how far the camera's rates, turns and ways are off, and what stands from its place."""
    asked = next(iter(shots_of(prompt.scene)))[3]
    found: Egomotion = estimate(clip.frames, clip.fps, seen)
    times = np.arange(len(clip.frames)) / clip.fps
    true = track(prompt.scene, times)
    numbers: Numbers = {
        "rotation, mean error (deg)": float(rotation_error(found.camera, true).mean()),
        "translation, mean error (m)": float(translation_error(found.camera, true).mean()),
    }
    kind = prompt.scene.shots[0].camera.move.partition(" ")[0]
    if kind in AXIS:
        rate = getattr(asked, AXIS[kind])
        numbers["rate asked for, relative error"] = abs(
            getattr(found.rates, AXIS[kind]) - rate
        ) / abs(rate)
    return numbers | consistency.in_space(prompt, masks, found)


def _heard(prompt: Prompt, clip: Clip, masks: Bool[ndarray, "o t h w"]) -> Numbers:
    """Return whether what strikes is heard when it does; nothing of a silent clip."""
    if clip.sound is None:
        return {}
    rows = [i for i, o in enumerate(prompt.scene.objects) if o.motion in COUNTED]
    told = av_f1(masks, clip.fps, clip.sound, clip.rate, rows=rows)
    return {
        "contacts and onsets within 45 ms, F1": told.f1,
        "sound late by (ms)": told.offset,
    }


def _transitions(prompt: Prompt) -> list[tuple[str, float]]:
    """Return kind and middle (s) of every transition of a prompt's scene."""
    shots = prompt.scene.shots
    ends = np.cumsum([shot.seconds for shot in shots])
    return [(str(b.transition), float(end)) for b, end in zip(shots[1:], ends, strict=False)]


def _matched(wanted: list[tuple[str, float]], found: list[Transition]) -> list[tuple[str, str]]:
    """Return the kinds wanted and found of transitions that lie at one time."""
    left = list(found)
    pairs = []
    for kind, middle in wanted:
        near = min(left, key=lambda one: abs(one.middle - middle), default=None)
        if near is not None and abs(near.middle - middle) <= NEAR:
            left.remove(near)
            pairs.append((kind, near.kind))
    return pairs


def _shots(prompt: Prompt, clip: Clip, masks: Bool[ndarray, "o t h w"]) -> Numbers:
    """Return whether shots follow as asked, and are of one scene."""
    wanted, found = _transitions(prompt), find_transitions(clip.frames, clip.fps)
    pairs = _matched(wanted, found)
    same = shot_consistency(clip.frames, clip.fps, found, masks)
    objects = [distance for distance in same.objects if distance is not None]
    return {
        "transitions within 0.25 s, F1": 2 * len(pairs) / (len(wanted) + len(found)),
        "transitions of the kind asked for, share": (
            sum(a == b for a, b in pairs) / len(pairs) if pairs else None
        ),
        "colours of objects apart between shots": float(np.mean(objects)) if objects else None,
        "other colours apart between shots": same.surroundings,
        "objects shown by a shot, share": float(np.mean(same.present)),
    }


def _long(prompt: Prompt, clip: Clip, judges: Judges) -> Numbers:
    """Return how a long clip drifts: in looks, and in what it shows of the prompt."""
    drift = measure_drift(clip.frames, clip.fps)
    numbers: Numbers = {
        f"{name}, slope per minute": None if s is None else abs(s.per_minute)
        for name, s in drift.slopes.items()
        if name != "redness"
    }
    numbers["windows in which nothing moves, share"] = drift.stillness
    for gap, alike in drift.similarity.items():
        if alike is not None:
            numbers[f"similarity of frames {gap:g} s apart"] = alike
    scores, colours = [], []
    parts = windows(len(clip.frames), clip.fps)
    for part in parts:
        reading = judges.read([judged(_window(clip, part), clip.fps)])[0]
        scores.append(_score(prompt, reading))
        colours.append({thing.colour for thing in reading.objects})
    found = slope(np.array(scores), np.array(drift.times))
    numbers["facts right, lost per minute"] = None if found is None else -found.per_minute
    births = sum(len(b - a) for a, b in pairwise(colours))
    numbers["objects that appear per minute"] = 60 * births / prompt.scene.seconds
    return numbers


def _window(clip: Clip, part: slice) -> UInt8[ndarray, "t h w 3"]:
    """Return the frames of a window, as many as the judges need; its last one held."""
    needed = round(SHOT_SECONDS * clip.fps) + 1
    frames = clip.frames[part.start : part.start + needed]
    return np.concatenate([frames, *[frames[-1:]] * (needed - len(frames))])


def _score(prompt: Prompt, reading: Reading) -> float:
    """Return the share of what a prompt states, of objects' looks and the place, that is right."""
    scene = prompt.scene
    rights = [getattr(scene, n) == getattr(reading, n) for n in OF_CLIPS if n in prompt.said]
    for i, thing in enumerate(assign(prompt, reading)):
        for name in ("colour", "shape"):
            if f"object{i}.{name}" in prompt.said:
                wanted = getattr(scene.objects[i], name)
                rights.append(thing is not None and getattr(thing, name) == wanted)
    return float(np.mean(rights)) if rights else float("nan")
