"""The sound of a film: what `simulate` says of contacts, as `world.sound` makes it heard."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from kineograph.world.sound import Ambience, Impact, Rubbing, synthesise
from kineograph.world.v2.camera import Pose, project, track
from kineograph.world.v2.parts import HALF_HEIGHT, RADIUS
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import Scene
from kineograph.world.v2.simulate import ROLLERS

Array = NDArray[np.float64]

MATERIAL_SOUND = {"rubber": "matte"}
FLOOR_SOUND = {"grid": "glowing grid", "snowy": "snow"}
RUBS = ("roll", "slide", "throw", "bounce", "collide")
STEP = 0.02  # s, between the instants at which rolling and sliding are looked at
SLOWEST = 0.05  # m/s, that is still heard
FRAME = 128  # pixels; the place on the screen is in shares of it


def _heard(camera: Pose, points: Array) -> tuple[Array, Array]:
    """Return where points `t 3` are heard: from -1, left, to 1, right; and how far away (m)."""
    screen = project(camera, points, FRAME, FRAME)
    pan = np.clip(2 * screen[:, 0] / FRAME - 1, -1, 1)
    return pan, np.linalg.norm(points - camera.position, axis=1)


def _impacts(play: Play) -> list[Impact]:
    scene, found = play.scene, []
    floor = FLOOR_SOUND.get(scene.floor, scene.floor)
    for touch in play.touches:
        camera = track(scene, np.array([touch.time]))
        pan, away = _heard(camera, np.array([touch.point]))
        thing = scene.objects[touch.thing]
        mine, radius = MATERIAL_SOUND.get(thing.material, thing.material), RADIUS[thing.size]
        other, reach = floor, radius
        if touch.other is not None:
            met = scene.objects[touch.other]
            other = MATERIAL_SOUND.get(met.material, met.material)
            reach = RADIUS[met.size]
        found.append(
            Impact(
                touch.time, touch.impulse, touch.speed, (mine, other), (radius, reach),
                float(pan[0]), float(away[0]),
            )
        )  # fmt: skip
    return found


def _rubbings(play: Play) -> list[Rubbing]:
    """Return when and how objects roll and slide over the floor."""
    scene, found = play.scene, []
    times = np.arange(0, scene.seconds + STEP / 2, STEP)
    camera = track(scene, times)
    struck = {o.partner for o in scene.objects if o.motion == "collide"}
    for piece in play.pieces:
        thing = scene.objects[piece.thing]
        if thing.motion not in RUBS and piece.thing not in struck:
            continue
        where = piece.position(times)
        speed = np.linalg.norm(np.gradient(where[:, [0, 2]], STEP, axis=0), axis=1)
        low = np.abs(where[:, 1] - HALF_HEIGHT[thing.shape] * piece.radius) < 1e-3
        pan, away = _heard(camera, where)
        runs = groupby(range(len(times)), key=(low & (speed > SLOWEST)).__getitem__)
        for heard, run in runs:
            k = list(run)
            if heard and len(k) >= 4:
                found.append(
                    Rubbing(
                        "roll" if thing.shape in ROLLERS else "slide",
                        MATERIAL_SOUND.get(thing.material, thing.material),
                        FLOOR_SOUND.get(scene.floor, scene.floor),
                        piece.radius, times[k], speed[k], pan[k], away[k],
                    )
                )  # fmt: skip
    return found


def soundtrack(play: Play) -> Float32[np.ndarray, "n 2"]:
    """Return the sound of a film, stereo at `world.sound.RATE`."""
    scene: Scene = play.scene
    ambience = Ambience(scene.weather, FLOOR_SOUND.get(scene.floor, scene.floor), scene.sky)
    return synthesise(_impacts(play), _rubbings(play), ambience, scene.seconds, scene.seed % 2**32)
