"""Print how exactly permanence, rest, rolling and places in space are measured on true renders.

    python benchmarks/floor_space.py [--clips 20] [--size 128] [--part orbits]

Median and 90th percentile over clips at 12 frames a second, that look like photographs: no model
can be measured better. "True" masks are the renderer's; "judge" ones are those of the shipped
judge, as a model's are. "Doctored" clips have true masks of something
that cannot be: an object vanishes for half a second, comes back elsewhere, or never; trembles by 4
pixels while the camera moves, turns half as far as it rolls, or hovers 8 pixels above what it
stands on and sinks to 4 in the course of the clip. When a camera that goes round once is back,
what stands has moved by 15 cm, or, for PSNR, turned another colour. Half of the clips of permanence
show a ball that rolls past behind a cube.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from kineograph.evaluate.egomotion import estimate
from kineograph.evaluate.orbits import closes, measure_loop, measure_orbit, stays
from kineograph.evaluate.permanence import measure_permanence
from kineograph.evaluate.rolling import measure_roll, rolls
from kineograph.evaluate.support import measure_support
from kineograph.evaluate.v2.files import load_judges
from kineograph.evaluate.v2.judges import Judges
from kineograph.evaluate.v2.measures import stated_masks
from kineograph.evaluate.v2.pool import distinct
from kineograph.world.dynamics import about
from kineograph.world.gbuffer import FIRST_OBJECT
from kineograph.world.v2.camera import Pose, Rates, pose, shots_of, track
from kineograph.world.v2.draw import draw_scene, play_of
from kineograph.world.v2.film import filmed, frame_times
from kineograph.world.v2.layout import places
from kineograph.world.v2.pack import pack
from kineograph.world.v2.play import Array, Course, Play
from kineograph.world.v2.render import render_frames
from kineograph.world.v2.scene import (
    COLOURS,
    DIRECTIONS,
    FLOORS,
    FPS,
    MATERIALS,
    SKIES,
    Scene,
    SceneObject,
)
from kineograph.world.v2.simulate import simulate
from kineograph.world.v2.weather import fall

SEED = (1 << 46) + (3 << 31)  # of scenes; training, suites and the judges' own scenes lie below
SHIFT = 4  # pixels, by which what is doctored is elsewhere
GONE = FPS // 2  # frames, for which it vanishes
ROUND = 90.0  # deg/s: once round in 4 s, faster than any move that the world names
ASTRAY = 0.15  # m, by which what stands has moved when the camera is back
BEFORE = 0.95  # m, from what rolls past to the middle of what hides it
Frames = UInt8[ndarray, "t h w 3"]
Masks = Bool[ndarray, "o t h w"]
Soft = Float[ndarray, "o t h w"]
Told = Iterator[tuple[str, str, float | None]]  # measure, column, value
COLUMNS = ("true", "judge", "doctored")


def drawn(seed: int, count: int, keep: Callable[[Scene], bool]) -> tuple[Scene, Play]:
    """Return a scene of one shot that looks like a photograph, its objects told by colour."""

    def kept(scene: Scene) -> bool:
        steady = all("recolour" not in (o.motion, o.then) for o in scene.objects)
        return steady and distinct(scene) and keep(scene)

    return draw_scene(seed, count=count, style="photoreal", more="shot", keep=kept)


def shown(play: Play, size: int) -> tuple[Frames, Masks]:
    """Return the frames of a clip and its true masks."""
    buffer = filmed(play, frame_times(play.scene.seconds), size, size)
    owner = buffer.owner.numpy()
    masks = [owner == FIRST_OBJECT + i for i in range(len(play.scene.objects))]
    return (buffer.colour * 255 + 0.5).to(torch.uint8).numpy(), np.stack(masks)


@cache
def judges() -> Judges:
    """Return the shipped judges."""
    return load_judges()[0]


def judged(frames: Frames, scene: Scene) -> Soft:
    """Return the masks that the judge sees."""
    return stated_masks(scene, frames, judges())


def static(scene: Scene) -> bool:
    """Return whether the camera stands."""
    return scene.shots[0].camera.move == "static"


def passing(seed: int) -> Play:
    """Return a scene in which a small ball rolls past behind a large cube."""
    rng = random.Random(seed)
    (first, second), materials = rng.sample(COLOURS, 2), rng.choices(MATERIALS, k=2)
    ball = SceneObject("ball", first, materials[0], "small", "roll", rng.choice(DIRECTIONS), "fast")
    cube = SceneObject("cube", second, materials[1], "large")
    floor, sky = rng.choice(FLOORS), rng.choice(SKIES)
    where = None
    while where is None:  # a seed may leave them no room
        scene = Scene(rng.randrange(1 << 48), (ball, cube), floor, sky)
        where = places(scene)
    play = simulate(scene, where)
    mover, stands = play.pieces
    way = mover.position(np.array([scene.seconds / 2]))[0]
    place = np.array([way[0], stands.position(np.zeros(1))[0, 1], way[2] + BEFORE])
    stands.position = lambda t: np.tile(place, (len(t), 1))
    return play


def permanence(seed: int, size: int) -> Told:
    """Yield how objects go on existing that may pass behind others."""

    def moves(scene: Scene) -> bool:
        return any(o.motion in ("roll", "slide", "orbit") for o in scene.objects)

    play = passing(seed) if seed % 2 else drawn(seed, 4, moves)[1]
    frames, true = shown(play, size)
    gone, jumps, dies = true.copy(), true.copy(), true.copy()
    middle = true.shape[1] // 2
    dies[0, FPS:] = False
    gone[0, middle : middle + GONE] = False
    jumps[0, middle : middle + GONE] = False
    jumps[0, middle + GONE :] = np.roll(true[0, middle + GONE :], size // 4, axis=2)
    looks = {"true": true, "judge": judged(frames, play.scene), "doctored": gone}
    for column, masks in looks.items():
        found = measure_permanence(masks, FPS)
        yield "permanence: frames unexplained, share", column, found.unexplained
        yield "permanence: gaps", column, float(len(found.gaps))
        ends = measure_permanence(dies, FPS) if column == "doctored" else found
        yield "permanence: births and deaths", column, float(ends.births + ends.deaths)
        if column == "doctored":
            found = measure_permanence(jumps, FPS)
        yield "permanence: offset after a gap, diameters", column, found.offset
        yield "permanence: change of diameter over a gap", column, found.size_change


def orbits(seed: int, size: int) -> Told:
    """Yield how far objects that stand still are seen from one place."""
    kinds = ("orbit", "truck", "dolly", "crane")
    kind = kinds[seed % len(kinds)]
    scene, play = drawn(
        seed, 2, lambda s: any(stays(s)) and s.shots[0].camera.move.startswith(kind)
    )
    frames, true = shown(play, size)
    still = stays(scene)
    seen = estimate(frames, FPS, np.asarray(true.any(0))).camera
    trembles = true.copy()
    for t in range(0, true.shape[1], 2):
        trembles[:, t] = np.roll(true[:, t], SHIFT, axis=2)
    looks = {"true": true, "judge": judged(frames, play.scene), "doctored": trembles}
    for column, masks in looks.items():
        for error in measure_orbit(masks, seen, still).errors:
            yield f"{kind}: reprojection, px", column, error
    known = measure_orbit(true, track(scene, frame_times(scene.seconds)), still)
    for error in known.errors:
        yield f"{kind}: the same, true camera", "true", error


def circled(play: Play, times: Array, camera: Pose, size: int) -> tuple[Frames, Masks]:
    """Return frames and true masks of a scene before a camera of one's own."""
    rendered = render_frames(pack([play], [times], [camera]), size, size, buffers=False)
    buffer = fall(rendered, play.scene, times, camera)
    owner = buffer.owner.numpy()
    masks = [owner == FIRST_OBJECT + i for i in range(len(play.scene.objects))]
    return (buffer.colour * 255 + 0.5).to(torch.uint8).numpy(), np.stack(masks)


def _astray(place: Course, times: Array) -> Array:
    """Return where something is, `t 3`, that is not quite where it was."""
    return place(times) + np.array([ASTRAY, 0.0, 0.0])


def loops(seed: int, size: int) -> Told:
    """Yield how far a camera that goes round sees its first frame again."""
    scene, play = drawn(seed, 2, lambda s: static(s) and any(stays(s)))
    still, times = stays(scene), frame_times(scene.seconds)
    rates = Rates(orbit=ROUND if seed % 2 else -ROUND)
    stand = next(iter(shots_of(scene)))[2]
    camera = pose(times, scene.seconds, stand, rates, "")
    frames, true = circled(play, times, camera, size)
    end = closes(camera)
    assert end is not None
    new = next(c for c in COLOURS if c not in [o.colour for o in scene.objects])
    pairs = zip(scene.objects, still, strict=True)
    other = replace(scene, objects=tuple(replace(o, colour=new) if s else o for o, s in pairs))
    last = slice(end, end + 1)
    one = pose(times[last], scene.seconds, stand, rates, "")
    recoloured, moved, elsewhere = frames.copy(), frames.copy(), true.copy()
    recoloured[last] = circled(play_of(other), times[last], one, size)[0]
    for piece in (p for p in play.pieces if still[p.thing]):
        piece.position = partial(_astray, piece.position)
    moved[last], elsewhere[:, last] = circled(play, times[last], one, size)
    for column, clip, masks in (
        ("true", frames, true), ("judge", frames, judged(frames, scene)),
        ("doctored", moved, elsewhere),
    ):  # fmt: skip
        found = measure_loop(clip, masks, camera, still)
        assert found is not None
        yield "loop: moved when the camera is back, px", column, found.displacement
        if column != "doctored":
            yield "loop: first frame again, PSNR, dB", column, found.psnr
    changed = measure_loop(recoloured, true, camera, still)
    assert changed is not None
    yield "loop: first frame again, PSNR, dB", "doctored", changed.psnr
    read = closes(estimate(frames, FPS, np.asarray(true.any(0))).camera)
    yield "loop: the camera that is read comes round", "true", float(read is not None)


def rolling(seed: int, size: int) -> Told:
    """Yield by how much what rolls slips."""
    shape = ("ball", "ball", "ring")[seed % 3]
    scene, play = drawn(
        seed, 1, lambda s: static(s) and bool(rolls(s)) and s.objects[0].shape == shape
    )
    frames, true = shown(play, size)
    piece = play.pieces[0]
    turning = piece.position
    begin = turning(np.zeros(1))[0, 0]
    axis = np.array([0.0, 0.0, 1.0])
    piece.rotation = lambda t: np.stack(
        [about(axis, -0.5 * (x - begin) / piece.radius) for x in turning(t)[:, 0]]
    )
    slips = shown(play, size)
    looks = {
        "true": (frames, true[0]), "judge": (frames, judged(frames, scene)[0]),
        "doctored": (slips[0], slips[1][0]),
    }  # fmt: skip
    for known in (True, False):
        camera = "known" if known else "guessed"
        for column, (clip, mask) in looks.items():
            found = measure_roll(scene, 0, clip, mask, camera_known=known)
            yield f"{shape}: slip, camera {camera}", column, None if found is None else found.slip


def support(seed: int, size: int) -> Told:
    """Yield how what rests moves and hovers."""
    scene, play = drawn(
        seed, 2, lambda s: static(s) and any(o.motion == "still" for o in s.objects)
    )
    frames, true = shown(play, size)
    hovers = true.copy()
    for t, sunk in enumerate(np.linspace(0, SHIFT, true.shape[1]).round().astype(int)):
        hovers[:, t] = np.roll(true[:, t], sunk - 2 * SHIFT, axis=1)
    looks = {"true": true, "judge": judged(frames, play.scene), "doctored": hovers}
    for column, masks in looks.items():
        for rest in measure_support(scene, masks, FPS, camera_known=True):
            if rest is not None:
                yield "rest: middle moves, px", column, rest.middle
                yield "rest: lowest edge moves, px", column, rest.bottom
                yield "rest: gap below, px", column, None if rest.gap is None else abs(rest.gap)
                yield "rest: share at rest", column, float(rest.rests)


SHARES = ("rest: share at rest", "loop: the camera that is read comes round")
PARTS = {
    "permanence": permanence, "orbits": orbits, "loops": loops, "rolling": rolling,
    "support": support,
}  # fmt: skip


def cell(values: list[float | None], share: bool) -> str:
    """Return median and 90th percentile, or the mean of what is a share; and how many told."""
    known = [v for v in values if v is not None]
    if not known:
        return f"- (0 of {len(values)})" if values else ""
    told = f"{np.mean(known):.2f}" if share else ", ".join(
        f"{np.quantile(known, q):.3f}" for q in (0.5, 0.9)
    )  # fmt: skip
    return f"{told} ({len(known)} of {len(values)})"


def main() -> None:
    """Print the noise floor of every measure as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=20, help="clips a part (default 20)")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument(
        "--part", choices=tuple(PARTS), action="append", help="only this one; may be repeated"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    for part in args.part or PARTS:
        for n in range(args.clips):
            for name, column, value in PARTS[part](SEED + n, args.size):
                rows[name][column].append(value)
            print(f"{part}: {n + 1} of {args.clips}", file=sys.stderr, flush=True)
    print("| measure | true masks | the judge's masks | doctored |\n|---|---|---|---|")
    for name, columns in rows.items():
        share = name in SHARES
        print(f"| {name} | {' | '.join(cell(columns[c], share) for c in COLUMNS)} |")


if __name__ == "__main__":
    main()
