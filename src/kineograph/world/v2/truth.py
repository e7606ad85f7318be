"""Everything that is known of a clip, JSON-ready: objects, contacts, cameras, the cuts.

Units are SI; places on the screen are pixels of the frame that was rendered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kineograph.world.dynamics import GRAVITY
from kineograph.world.v2.camera import project, shots_of, track
from kineograph.world.v2.film import blend
from kineograph.world.v2.parts import RADIUS, mass
from kineograph.world.v2.play import Piece, Play
from kineograph.world.v2.scene import VERSION

Array = NDArray[np.float64]


def _piece(play: Play, piece: Piece, times: Array, height: int, width: int) -> dict[str, Any]:
    where = piece.position(times)
    screen = project(track(play.scene, times), where, height, width)
    turned = piece.rotation(times)
    return {
        "thing": piece.thing,
        "radius": (piece.radius * piece.scale(times)).round(5).tolist(),
        "position": where.round(5).tolist(),
        "rotation": turned.reshape(len(times), 9).round(5).tolist(),
        "screen": screen[:, :2].round(3).tolist(),
        "pixels_per_metre": screen[:, 2].round(4).tolist(),
    }


def truth(play: Play, times: Array, height: int, width: int) -> dict[str, Any]:
    """Return what is known of a film's frames at some times (s)."""
    scene = play.scene
    pose, plan = track(scene, times), blend(play, times)
    return {
        "world_version": VERSION,
        "scene": scene.to_dict(),
        "times": times.round(6).tolist(),
        "gravity": GRAVITY,
        "size": [height, width],
        "objects": [
            {"radius": RADIUS[o.size], "mass": mass(o), **found}
            for o, found in zip(scene.objects, play.truth, strict=True)
        ],
        "pieces": [_piece(play, p, times, height, width) for p in play.pieces if p.shape != "rod"],
        "contacts": [
            {
                "time": c.time, "object": c.thing, "other": c.other, "impulse": c.impulse,
                "speed": c.speed, "point": list(c.point),
            }
            for c in play.touches if c.time <= scene.seconds
        ],
        "recoloured": {str(i): list(span) for i, span in play.changes.items()},
        "shots": [
            {"start": start, "seconds": shot.seconds, "rates": rates.to_dict()}
            for start, shot, _, rates in shots_of(scene)
        ],
        "camera": {
            "shot": plan.first.tolist(), "next": plan.second.tolist(),
            "share": plan.share.round(4).tolist(),
            "position": pose.position.round(5).tolist(),
            "forward": pose.forward.round(6).tolist(), "up": pose.up.round(6).tolist(),
            "focal": pose.focal.round(6).tolist(),
        },
    }  # fmt: skip
