"""Does a clip obey the laws of motion? Read from where its objects are seen, in metres.

Metres come from the camera of the scene, where a clip begins with its picture; else from the
size of the object: one that is stated to be large is as large as the world's (`views.py`).

**What is measured** (`KEYS`). All but `usable` and `reversal` are errors, 0 being what the law
and the scene say; None is what the motion does not have or the clip does not tell.

Letters: o objects, t frames, h height, w width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.evaluate.flights import fit_flight
from kineograph.evaluate.outlines import NOISE, lay
from kineograph.evaluate.tracking import Track, track_masks
from kineograph.evaluate.trajectories import (
    AROUND,
    Collision,
    doubt_of,
    fit_collision,
    fit_glide,
    fit_swing,
)
from kineograph.evaluate.views import guessed_view, known_view
from kineograph.world.dynamics import GRAVITY
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.parts import RESTITUTION, mass
from kineograph.world.v2.play import spans
from kineograph.world.v2.scene import Scene
from kineograph.world.v2.simulate import COLLISION_RESTITUTION, FRICTION, ROLLERS

Array = NDArray[np.float64]
Measures = dict[str, float | None]

KEYS: dict[str, str] = {
    "usable": "1 if an object is followed and moves such that a law can be fitted, else 0",
    "residual": "distance from the best curve of the law, root mean square, over the travel",
    "g": "of the gravity of a fall, hop, throw or swing, relative",
    "restitution": "of the share of the speed that the first contact leaves",
    "contact_ms": "of the instant of the first contact (ms), where the camera is known",
    "momentum": "share of the momentum that a collision gains or loses",
    "period": "of the period of a pendulum of this length, relative, where the camera is known",
    "friction": "of the deceleration of what rolls or slides, over gravity",
    "reversal": "share of its travel by which what rolls or slides goes back",
    "speed": "of the speed along the floor at first, relative, where the camera is known",
}
OF_MOTION: dict[str, tuple[str, ...]] = {
    "fall": ("g", "restitution", "contact_ms"),
    "bounce": ("g", "restitution", "contact_ms", "speed"),
    "throw": ("g", "restitution", "contact_ms", "speed"),
    "collide": ("momentum", "restitution", "contact_ms", "speed"),
    "pendulum": ("g", "period"),
    "roll": ("friction", "reversal", "speed"),
    "slide": ("friction", "reversal", "speed"),
}
ROLLING = 0.004  # deceleration of what rolls, over gravity, as `simulate` has it
# Standard errors with which a collision tells of momentum and restitution (shares): where metres
# are known, and where they are guessed and wrong anyway; and of its instant (s). What would be
# less sure than that is not told.
TELLS, TELLS_GUESSED, TELLS_WHEN = 0.05, 0.08, 0.010
SEEN = 0.4  # of the frames of a motion, in which an object must be seen whole


def without_rod(masks: Float[ndarray, "t h w"]) -> Float[ndarray, "t h w"]:
    """Return masks without what is thinner than three pixels, as a pendulum's rod is."""
    least, most = np.minimum, np.maximum
    found = masks
    for better in (least, most):  # of 3 x 3 pixels
        for axis in (1, 2):
            margin = [(0, 0), (0, 0), (0, 0)]
            margin[axis] = (1, 1)
            p = np.moveaxis(np.pad(found, margin, "edge"), axis, 0)
            found = np.moveaxis(better(better(p[:-2], p[1:-1]), p[2:]), 0, axis)
    return least(masks, found)


def lawful(scene: Scene) -> int | None:
    """Return the first object whose motion obeys a law that is measured, None if none does."""
    return next((i for i, o in enumerate(scene.objects) if o.motion in OF_MOTION), None)


def _friction(shape: str) -> float:
    return GRAVITY * (ROLLING if shape in ROLLERS else FRICTION)


@dataclass(frozen=True)
class _Seen:
    """Where a piece is in the frames of its motion; NaN where it is not seen whole."""

    times: Array  # s, since the motion began
    x: Array  # m
    y: Array
    sure: Array  # from 0 to 1

    @property
    def enough(self) -> bool:
        return bool(np.isfinite(self.x).mean() >= SEEN)


class _Clip:
    """A scene and the masks of a clip that should show it."""

    def __init__(
        self, scene: Scene, masks: Float[ndarray, "o t h w"], fps: float, camera_known: bool
    ) -> None:
        self.play, self.masks, self.known = play_of(scene), masks, camera_known
        self.scene, self.fps = scene, fps

    def follow(
        self, i: int, span: tuple[float, float], outlined: bool = False
    ) -> tuple[Track, _Seen]:
        """Follow an object while it acts, by the middle of its mask or by its outline."""
        times = np.arange(self.masks.shape[1]) / self.fps
        mine = (times >= span[0] - 1e-9) & (times <= span[1] + 1e-9)
        masks = self.masks[i][mine]
        if self.scene.objects[i].motion == "pendulum":
            masks = without_rod(masks)
        found = track_masks(masks)
        x, y = np.full((2, len(found)), np.nan)
        whole = found.whole
        sure = whole.astype(np.float64)
        if whole.any():
            piece = next(p for p in self.play.pieces if p.thing == i)
            size = masks.shape[1:]
            view = (
                known_view(self.play, piece, *size)
                if self.known
                else guessed_view(self.play, piece, found)
            )
            if outlined:
                places, sure = lay(view, found)
                x, y, _ = places.T
            else:
                x[whole], y[whole], _ = view.places(found.columns[whole], found.rows[whole]).T
        return found, _Seen(times[mine] - span[0], x, y, sure)

    def measure(self, i: int) -> Measures:
        thing, span = self.scene.objects[i], spans(self.scene)[i]
        found, seen = self.follow(i, (span.start, span.end), thing.motion == "collide")
        nothing: Measures = {"usable": 0.0, "residual": None}
        nothing |= dict.fromkeys(OF_MOTION[thing.motion])
        if not found.moved() or not seen.enough:
            return nothing
        if thing.motion == "collide":
            told = self._collide(i, span.start, seen)
        elif thing.motion == "pendulum":
            told = self._swing(i, seen)
        elif thing.motion in ("roll", "slide"):
            told = self._glide(i, seen)
        else:
            told = self._fly(i, span.start, seen)
        return nothing if told is None else {**nothing, "usable": 1.0, **told}

    def _only_known(self, found: float | None, wanted: float | None, unit_: float) -> float | None:
        """Return an error of what the caption leaves open: it needs the camera and the scene."""
        if not self.known or found is None or wanted is None:
            return None
        return abs(found - wanted) / abs(unit_)

    def _fly(self, i: int, begun: float, seen: _Seen) -> Measures | None:
        thing, truth = self.scene.objects[i], self.play.truth[i]
        flight = fit_flight(seen.times, seen.x, seen.y)
        if flight is None:
            return None
        touch = next((c.time - begun for c in self.play.touches if c.thing == i), None)
        keeps = flight.restitution
        wanted = RESTITUTION[thing.material]
        found: Measures = {
            "residual": flight.residual,
            "g": abs(flight.gravity - GRAVITY) / GRAVITY,
            "restitution": None if keeps is None else abs(keeps - wanted),
            "contact_ms": self._only_known(flight.contact, touch, 0.001),
        }
        if "speed" in truth:
            found["speed"] = self._only_known(flight.speed, truth["speed"], truth["speed"])
        return found

    def _collide(self, i: int, begun: float, first: _Seen) -> Measures | None:
        partner = self.scene.objects[i].partner
        assert partner is not None
        _, second = self.follow(partner, (begun, begun + float(first.times[-1])), outlined=True)
        if not second.enough:
            return None
        things = (self.scene.objects[i], self.scene.objects[partner])
        masses = (mass(things[0]), mass(things[1]))
        slow = (_friction(things[0].shape), _friction(things[1].shape))
        ways, sure = np.stack([first.x, second.x]), np.stack([first.sure, second.sure])
        # friction is as known as metres are
        around = math.inf if self.known else AROUND
        met: Collision | None = fit_collision(first.times, ways, slow, sure, around)
        if met is None:
            return None
        truth = self.play.truth[i]
        contact = truth["contact"]
        doubt = doubt_of(met, first.times, masses, slow, COLLISION_RESTITUTION, NOISE)
        tells = TELLS if self.known else TELLS_GUESSED
        keeps = abs(met.restitution - COLLISION_RESTITUTION)
        late = self._only_known(met.contact, None if contact is None else contact - begun, 0.001)
        return {
            "residual": met.residual,
            "momentum": met.momentum(masses) if doubt.momentum <= tells else None,
            "restitution": keeps if doubt.restitution <= tells else None,
            "contact_ms": late if doubt.contact <= TELLS_WHEN else None,
            "speed": self._only_known(met.speed, truth["speed"], truth["speed"]),
        }

    def _swing(self, i: int, seen: _Seen) -> Measures | None:
        truth = self.play.truth[i]
        swing = fit_swing(seen.times, seen.x, seen.y)
        if swing is None:
            return None
        gravity = swing.gravity(truth["length"] if self.known else None)
        return {
            "residual": swing.residual,
            "g": abs(gravity - GRAVITY) / GRAVITY,
            "period": self._only_known(swing.period, truth["period"], truth["period"]),
        }

    def _glide(self, i: int, seen: _Seen) -> Measures | None:
        thing, truth = self.scene.objects[i], self.play.truth[i]
        glide = fit_glide(seen.times, seen.x)
        if glide is None:
            return None
        return {
            "residual": glide.residual,
            "friction": abs(glide.friction - _friction(thing.shape)) / GRAVITY,
            "reversal": glide.reversal,
            "speed": self._only_known(glide.speed, truth["speed"], truth["speed"]),
        }


def measure_physics(
    scene: Scene, masks: Float[ndarray, "o t h w"] | Bool[ndarray, "o t h w"], fps: float, *,
    camera_known: bool,
) -> Measures:  # fmt: skip
    """Return how well the first object of a scene that moves by a law obeys it (see `KEYS`).

    `masks` tell which pixels of each frame are each object's, as shares or yes and no: from a
    judge, or from `tracking.colour_masks`. `camera_known` says that the clip begins with the
    scene's own picture, so that its camera and all its numbers hold.

    Empty if nothing in the scene moves by a law.

    Raises:
        RequestError: the camera moves, fps is not above 0, or there are not as many masks as
            objects.
    """
    if any(shot.camera.move != "static" for shot in scene.shots) or len(scene.shots) > 1:
        raise RequestError("laws are measured before one camera that is static, not this scene's")
    if not fps > 0:
        raise RequestError(f"fps {fps:g}; it must be above 0")
    if len(masks) != len(scene.objects):
        raise RequestError(f"masks of {len(masks)} objects; there must be {len(scene.objects)}")
    i = lawful(scene)
    if i is None:
        return {}
    return _Clip(scene, masks.astype(np.float32), fps, camera_known).measure(i)
