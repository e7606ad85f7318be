"""Numbers of true clips and of damaged ones, with judges that look up the truth."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from kineograph.evaluate.orbits import stays
from kineograph.evaluate.v2.clips import Clip, true_clip
from kineograph.evaluate.v2.consistency import light
from kineograph.evaluate.v2.judges import NOTHING, Judges, true_reading
from kineograph.evaluate.v2.measures import masks_of, measure
from kineograph.evaluate.v2.prompts import find_entry
from kineograph.evaluate.v2.seen import SIDE
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.draw import picture_size, play_of
from kineograph.world.v2.film import blend, filmed, frame_times
from kineograph.world.v2.scene import COLOURS, FPS

HALF = FPS / 2  # is enough where a camera is followed, which is dear


class Knowing(Judges):
    """Reads one scene, and one clip's masks, whatever it is shown."""

    def __init__(self, scene, classes=None):
        super().__init__()
        self.only, self.classes = scene, None if classes is None else torch.tensor(classes)

    def read(self, clips):
        return [true_reading(self.only) for _ in clips]

    def segment(self, frames):
        return self.classes[: len(frames)]

    def shares(self, frames, classes):
        seen = self.segment(frames)
        return torch.stack([torch.isin(seen, torch.tensor(sorted(c))) for c in classes]).float()


@cache
def true_classes(scene, fps=FPS):
    """Return the class of every pixel of all frames; it is not to be written to."""
    play = play_of(scene)
    times = frame_times(scene.seconds, fps)
    size = picture_size(scene.aspect_ratio, SIDE)
    owner = filmed(play, times, *size, shots=blend(play, times).first).owner - FIRST_OBJECT
    names = torch.tensor([1 + COLOURS.index(o.colour) for o in scene.objects])
    found = torch.where(owner >= 0, names[owner.clamp_min(0)], 0).to(torch.uint8).numpy()
    found.flags.writeable = False
    return found


def shown(name, wanted=lambda scene: True, first=0, fps=FPS):
    """Return a prompt of a suite that is wanted, looked for from some number on, and its clip."""
    prompts = (find_entry(name, i).prompt for i in range(first, 108, 2))
    prompt = next(prompt for prompt in prompts if wanted(prompt.scene))
    return prompt, true_clip(prompt, fps)


def numbers(name, prompt, clip, classes=None):
    classes = true_classes(prompt.scene, clip.fps) if classes is None else classes
    judges = Knowing(prompt.scene, classes)
    return measure(name, prompt, clip, judges, true_reading(prompt.scene))


def test_a_true_fall_keeps_the_law_and_one_that_stands_is_not_usable():
    prompt, clip = shown("physics", lambda s: s.objects[0].motion == "bounce")
    found = numbers("physics", prompt, clip)
    assert found["law, residual"] < 0.02
    assert found["g, relative error"] < 0.2
    assert found["restitution, error"] < 0.05
    assert found["contacts and onsets within 45 ms, F1"] > 0.7
    assert found["objects that appear or vanish"] == 0
    assert found["frames in which an object is missing, share"] == 0
    assert found["loudness against speed, rank correlation"] is None  # it strikes but twice
    still = np.repeat(true_classes(prompt.scene)[:1], len(clip.frames), 0)
    frozen = numbers("physics", prompt, clip, still)
    assert frozen["law, residual"] is None and frozen["g, relative error"] is None
    gone = true_classes(prompt.scene).copy()
    gone[20:] = 0
    assert numbers("physics", prompt, clip, gone)["objects that appear or vanish"] == 1
    assert "contacts and onsets within 45 ms, F1" not in numbers(
        "physics", prompt, Clip(clip.frames, clip.fps)
    )


def test_the_rate_of_the_camera_is_read():
    prompt, clip = shown("camera", lambda s: s.shots[0].camera.move == "pan left", fps=HALF)
    found = numbers("camera", prompt, clip)
    assert found["rate asked for, relative error"] < 0.3
    assert found["rotation, mean error (deg)"] < 2
    assert found["translation, mean error (m)"] < 0.3
    back = numbers("camera", prompt, replace(clip, frames=clip.frames[::-1].copy()))
    assert back["rate asked for, relative error"] > 1


def test_what_stands_is_at_one_place_in_space():
    prompt, clip = shown(
        "camera", lambda s: s.shots[0].camera.move == "orbit right" and all(stays(s)), 74, HALF
    )
    true = numbers("camera", prompt, clip)["one place in space, error (px)"]
    assert true < 1
    trembling = true_classes(prompt.scene, HALF).copy()
    trembling[::2] = np.roll(trembling[::2], 4, axis=2)
    assert numbers("camera", prompt, clip, trembling)["one place in space, error (px)"] > true + 0.5

    prompt, clip = shown("physics", lambda s: s.objects[0].motion == "collide")
    assert "at rest within 2 px, share" not in numbers("physics", prompt, clip)  # it is struck
    assert light(prompt, clip, np.zeros((2, *clip.frames.shape[:3]), bool)) == {}


def test_shots_are_found_where_they_were_asked_for():
    prompt, clip = shown("shots", lambda s: {shot.transition for shot in s.shots[1:]} == {"cut"})
    found = numbers("shots", prompt, clip)
    assert found["transitions within 0.25 s, F1"] == 1.0
    assert found["transitions of the kind asked for, share"] == 1.0
    one = clip.frames[: len(clip.frames) // 4]
    stuck = np.concatenate([one, np.repeat(one[-1:], len(clip.frames) - len(one), 0)])
    assert (
        numbers("shots", prompt, replace(clip, frames=stuck))["transitions within 0.25 s, F1"] < 1.0
    )


def test_a_long_clip_that_fades_and_forgets_drifts():
    prompt = find_entry("long", 0).prompt
    clip = true_clip(prompt)
    true = numbers("long", prompt, clip)
    assert true["facts right, lost per minute"] == pytest.approx(0)
    assert true["objects that appear per minute"] == 0
    assert true["windows in which nothing moves, share"] < 1
    light = np.linspace(1, 0.3, len(clip.frames))[:, None, None, None]
    faded = replace(clip, frames=(clip.frames * light).astype(np.uint8))
    drifted = numbers("long", prompt, faded)
    assert drifted["brightness, slope per minute"] > 5 * true["brightness, slope per minute"]


def test_what_is_not_found_has_no_mask_and_other_suites_no_numbers():
    prompt = find_entry("two", 0).prompt
    assert not masks_of(prompt, NOTHING, np.zeros((3, 16, 16, 3), np.uint8), Judges()).any()
    clip = Clip(np.zeros((49, 128, 128, 3), np.uint8), 12.0)
    assert measure("single", prompt, clip, Knowing(prompt.scene), true_reading(prompt.scene)) == {}
