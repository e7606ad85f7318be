"""Does what rolls turn as far as it gets? Read from the texture that goes round with it.

A grid of points of a ball's surface, or of a ring's front, lies around the axis on which it
rolls. Where the object is seen tells where these points are in every frame, so that its texture
can be laid out flat, around against across. Rolling shifts it along; light and shade stay where
they are, and are taken off as the mean over time of the logarithm of brightness. Two frames
show how far the object has turned between them by the shift at which their textures agree best;
then each is compared with the texture that all others show together.

Letters: t frames, p pairs of them, n angles around, m places across, c channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.evaluate.tracking import Track, track_masks
from kineograph.evaluate.views import View, guessed_view, known_view
from kineograph.world.v2.camera import Pose, project
from kineograph.world.v2.draw import play_of
from kineograph.world.v2.play import Piece
from kineograph.world.v2.scene import Scene
from kineograph.world.v2.simulate import ROLLERS
from kineograph.world.v2.trace import TUBE

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ANGLES = 180  # around the axis
ACROSS = 9  # places from the rim to the axis
INNER, OUTER = 0.3, 0.95  # of the radius, between which a ball's texture is looked at
WIDE = 0.6  # rad, over which what is left of light and shade is evened out
COVERED = 0.99  # of what is between four pixels, that the object must cover
FACING = 0.25  # cosine of the angle to the viewer, below which a surface is seen too flatly
TEXTURED = 0.03  # of the logarithm of brightness: less contrast shows nothing that turns
PAINTED = 0.1  # contrast of what does not turn, that light alone does not make
STUCK = 0.3  # of it; what turns has more
PATTERNED = ("striped", "wood")  # materials whose texture turns with them
AGREE = 0.5  # correlation with the texture that frames must reach, the median of them
TURNS = (0.35, 0.6, 0.9)  # rad, by which it should turn between frames that are compared
FARTHEST = 120  # deg, by which it may
NEAR = 20  # deg, by which a frame may then be off
ROUNDS = 4  # of comparing frames with the texture that all others show
FEWEST = 5  # frames
LEAST = 1.0  # rad, that it must roll
LEVEL = 0.15  # radii, by which its middle may rise or sink
DARK = 4.0  # of 255, added to brightness so that black has a logarithm


@dataclass(frozen=True)
class Roll:
    """How far one object turned while it rolled; the sign of both angles is that of its way."""

    turned: float  # rad
    rolled: float  # rad: the way it got, in its radii
    agreement: float  # correlation of each frame with the texture of the others, the median

    @property
    def slip(self) -> float:
        """By how much it turned too far, or not far enough, as a share of what it should."""
        return abs(self.turned - self.rolled) / abs(self.rolled)


def rolls(scene: Scene) -> tuple[int, ...]:
    """Return which objects of a scene roll, and have a texture that shows it."""
    return tuple(
        i
        for i, o in enumerate(scene.objects)
        if o.shape in ROLLERS and o.motion in ("roll", "collide") and o.material in PATTERNED
    )


# --- the surface laid out ----------------------------------------------------------------
def _grid(shape: str) -> tuple[Array, Array]:
    """Return points `n m 3` of a surface and its normals there, in radii from its centre."""
    angle = np.linspace(0, 2 * math.pi, ANGLES, endpoint=False)[:, None]
    if shape == "ball":
        out = np.linspace(INNER, OUTER, ACROSS)
        deep = np.sqrt(1 - out * out)
        normal = np.stack(np.broadcast_arrays(out * np.cos(angle), out * np.sin(angle), deep), -1)
        return normal, normal
    tilt = np.linspace(-0.7, 0.7, ACROSS)  # of the tube's surface, from where it faces forward
    out, deep = 1 - TUBE + TUBE * np.sin(tilt), TUBE * np.cos(tilt)
    points = np.broadcast_arrays(out * np.cos(angle), out * np.sin(angle), deep)
    normals = np.broadcast_arrays(
        np.sin(tilt) * np.cos(angle), np.sin(tilt) * np.sin(angle), np.cos(tilt)
    )
    return np.stack(points, -1), np.stack(normals, -1)


def _sampled(
    frames: Float[ndarray, "t h w c"], columns: Float[ndarray, "t n m"],
    rows: Float[ndarray, "t n m"],
) -> tuple[Float[ndarray, "t n m c"], Bool[ndarray, "t n m"]]:  # fmt: skip
    """Return frames at pixels, between those they have, and whether these lie inside."""
    height, width = frames.shape[1:3]
    x, y = columns - 0.5, rows - 0.5
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    left = np.clip(np.floor(x), 0, width - 2).astype(np.int64)
    top = np.clip(np.floor(y), 0, height - 2).astype(np.int64)
    u, v = np.clip(x - left, 0, 1)[..., None], np.clip(y - top, 0, 1)[..., None]
    t = np.arange(len(frames))[:, None, None]
    upper = frames[t, top, left] * (1 - u) + frames[t, top, left + 1] * u
    lower = frames[t, top + 1, left] * (1 - u) + frames[t, top + 1, left + 1] * u
    return upper * (1 - v) + lower * v, inside


def _still(camera: Pose, count: int) -> Pose:
    """Return a camera that stands, for so many points."""
    return Pose(
        *(np.broadcast_to(part[:1], (count, *part.shape[1:])) for part in (
            camera.position, camera.right, camera.up, camera.forward, camera.focal
        ))
    )  # fmt: skip


def _evened(values: Float[ndarray, "... n m c"], seen: Bool[ndarray, "... n m"]) -> Array:
    """Return values around the axis less what they are on average near each, 0 if not seen."""
    wide = np.exp(-0.5 * (np.fft.rfftfreq(ANGLES) * ANGLES * WIDE) ** 2)[:, None, None]

    def blurred(x: Array) -> Array:
        return np.asarray(np.fft.irfft(np.fft.rfft(x, axis=-3) * wide, ANGLES, axis=-3))

    weight = seen[..., None].astype(np.float64)
    return (values - blurred(values * weight) / np.maximum(blurred(weight), 1e-3)) * weight


def _contrast(texture: Float[ndarray, "... n m c"], seen: Bool[ndarray, "... n m"]) -> float:
    """Return the root mean square of a texture where it is seen."""
    return math.sqrt(float((texture * texture).sum()) / max(texture.shape[-1] * seen.sum(), 1))


def _surface(
    frames: UInt8[ndarray, "t h w 3"], masks: Bool[ndarray, "t h w"], view: View,
    places: Float[ndarray, "t 3"], piece: Piece,
) -> tuple[Float[ndarray, "t n m c"], Bool[ndarray, "t n m"]]:  # fmt: skip
    """Return the logarithm of brightness around the axis of a piece, and where it is seen."""
    grid, normals = _grid(piece.shape)
    points = places[:, None, None] + piece.radius * grid
    flat = points.reshape(-1, 3)
    shown = project(_still(view.camera, len(flat)), flat, view.height, view.width)
    columns, rows, _ = np.moveaxis(shown.reshape(*points.shape[:3], 3), -1, 0)
    way = view.camera.position[0] - points
    facing = (way * normals).sum(-1) / np.linalg.norm(way, axis=-1)
    light = np.log(frames.astype(np.float64) + DARK)
    found, inside = _sampled(np.concatenate([light, masks[..., None]], -1), columns, rows)
    return found[..., :3], inside & (facing > FACING) & (found[..., 3] > COVERED)


# --- turns -------------------------------------------------------------------------------
def _correlations(
    first: Float[ndarray, "p n m c"], second: Float[ndarray, "p n m c"],
    seen_first: Bool[ndarray, "p n m"], seen_second: Bool[ndarray, "p n m"],
) -> Float[ndarray, "p n"]:  # fmt: skip
    """Return how alike textures are, the second shifted back along the angle by every step."""

    def product(a: Array, b: Array) -> Array:
        spectrum = np.conj(np.fft.rfft(a, axis=1)) * np.fft.rfft(b, axis=1)
        return np.fft.irfft(spectrum, ANGLES, axis=1).sum(tuple(range(2, spectrum.ndim)))

    ones = (seen_first.astype(np.float64), seen_second.astype(np.float64))
    squares = ((first * first).sum(-1), (second * second).sum(-1))
    both = np.sqrt(
        np.clip(product(squares[0], ones[1]), 0, None)
        * np.clip(product(ones[0], squares[1]), 0, None)
    )
    return np.asarray(product(first, second) / np.maximum(both, 1e-9))


def _peaks(likeness: Float[ndarray, "p n"], within: float) -> tuple[Array, Array]:
    """Return the shift (rad) at the best agreement within degrees, to a share of a step, and it."""
    step = 360 / ANGLES
    reach = round(within / step)
    around = np.roll(likeness, reach, axis=1)[:, : 2 * reach + 1]
    best = np.clip(around.argmax(1), 1, 2 * reach - 1)
    row = np.arange(len(best))
    low, here, high = (around[row, best + k] for k in (-1, 0, 1))
    bend = low - 2 * here + high
    share = np.where(bend < 0, (low - high) / np.minimum(2 * bend, -1e-9), 0.0)
    return np.radians((best - reach + np.clip(share, -1, 1)) * step), here


def _turned(
    texture: Float[ndarray, "t n m c"], seen: Bool[ndarray, "t n m"], rolled: float
) -> Array:
    """Return how far each frame is turned from the first (rad), from pairs of frames."""
    count = len(texture)
    steps = abs(rolled) / (count - 1)
    gaps = sorted({min(max(1, round(turn / steps)), count - 1) for turn in TURNS})
    pairs = np.array([(i, i + g) for g in gaps for i in range(count - g)])
    a, b = pairs.T
    shifts, agreement = _peaks(_correlations(texture[a], texture[b], seen[a], seen[b]), FARTHEST)
    row = np.arange(len(pairs))
    terms = np.zeros((len(pairs), count))
    terms[row, a], terms[row, b] = -1, 1
    sure = np.clip(agreement, 0.01, None)
    angles, weights = np.zeros(count), sure
    for _ in range(5):  # what disagrees with the rest counts less (Geman and McClure 1985)
        solved = np.linalg.lstsq(terms[:, 1:] * weights[:, None], shifts * weights, rcond=None)
        angles[1:] = solved[0]
        off = (terms @ angles - shifts) / math.radians(3)
        weights = sure / (1 + off * off)
    return angles


def _moved(x: Float[ndarray, "t n ..."], angles: Float[ndarray, "t"]) -> Array:
    """Return values around the axis, turned by the angle of each frame (rad)."""
    harmonics = np.fft.rfftfreq(ANGLES) * ANGLES
    phase = np.exp(-1j * harmonics * angles[:, None])
    spectrum = np.fft.rfft(x, axis=1)
    return np.fft.irfft(spectrum * phase.reshape(*phase.shape, *[1] * (x.ndim - 2)), ANGLES, axis=1)


def _refined(
    texture: Float[ndarray, "t n m c"], seen: Bool[ndarray, "t n m"], angles: Float[ndarray, "t"]
) -> tuple[Array, float]:
    """Return better angles, each from the texture of all other frames, and how well they agree."""
    weight = seen.astype(np.float64)
    agreement = 0.0
    for _ in range(ROUNDS):
        body, cover = _moved(texture, -angles), _moved(weight, -angles)
        others, shown = body.sum(0) - body, cover.sum(0) - cover
        wanted = _moved(others / np.maximum(shown, 1)[..., None], angles)
        known = _moved(shown, angles) > 2
        likeness = _correlations(wanted * known[..., None], texture, known, seen)
        steps, found = _peaks(likeness, NEAR)
        angles, agreement = angles + steps, float(np.median(found))
    return angles - angles[0], agreement


def _longest(whole: Mask) -> NDArray[np.int64]:
    """Return the frames of the longest run."""
    edges = np.diff(np.pad(whole.astype(np.int8), 1))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return np.zeros(0, dtype=np.int64)
    k = int((ends - starts).argmax())
    return np.arange(starts[k], ends[k])


def measure_roll(
    scene: Scene,
    i: int,
    frames: UInt8[ndarray, "t h w 3"],
    mask: Float[ndarray, "_ _ _"] | Bool[ndarray, "_ _ _"],
    *,
    camera_known: bool,
) -> Roll | None:
    """Return how far a ball or a ring of a scene turned, and how far it should have.

    `mask`, `t h w`, tells which pixels are the object's. `camera_known` says that the clip begins
    with the scene's own picture; else the camera is taken to stand as the world's usually do.

    None if it does not roll by LEAST while all of it is seen, leaves its level, or has no texture
    that shows how it turns.

    Raises:
        RequestError: the object is none of those that roll, the camera moves, or the mask is not
            of the frames.
    """
    if i not in rolls(scene):
        raise RequestError(f"object {i} does not show that it rolls; these do: {rolls(scene)}")
    if any(shot.camera.move != "static" for shot in scene.shots) or len(scene.shots) > 1:
        raise RequestError("rolling is measured before one camera that is static, not this scene's")
    if mask.shape != frames.shape[:3]:
        raise RequestError(f"a mask of {mask.shape}; it must be {frames.shape[:3]}, as the frames")
    found: Track = track_masks(mask.astype(np.float32))
    some = _longest(found.whole)
    if len(some) < FEWEST:
        return None
    play = play_of(scene)
    piece = next(p for p in play.pieces if p.thing == i)
    size = mask.shape[1:]
    view = known_view(play, piece, *size) if camera_known else guessed_view(play, piece, found)
    places = view.places(found.columns[some], found.rows[some])
    rolled = -float(places[-1, 0] - places[0, 0]) / piece.radius
    if abs(rolled) < LEAST:
        return None
    bends = places[:, 1] - np.polyval(np.polyfit(places[:, 0], places[:, 1], 1), places[:, 0])
    if np.ptp(bends) > LEVEL * piece.radius:
        return None
    light, seen = _surface(frames[some], found.masks[some] > 0.5, view, places, piece)
    mean = (light * seen[..., None]).sum(0) / np.maximum(seen.sum(0), 1)[..., None]
    texture = _evened(light - mean, seen)
    ever = np.asarray(seen.any(0))
    moves, stays = _contrast(texture, seen), _contrast(_evened(mean, ever), ever)
    if moves < max(TEXTURED, STUCK * stays):
        return Roll(0.0, rolled, 1.0) if stays > PAINTED else None
    turned, agreement = _refined(texture, seen, _turned(texture, seen, rolled))
    if agreement < AGREE:
        return None
    return Roll(float(turned[-1]), rolled, agreement)
