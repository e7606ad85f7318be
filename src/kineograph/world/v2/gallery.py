"""A gallery of the world as one static page: scenes, motions, cameras, shots, light and styles.

Every film has its captions, its sound, and its truth drawn over it on demand. What is written is
kept, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kineograph.errors import RequestError
from kineograph.media.files import atomic_write, write_json
from kineograph.world.v2.captions import caption
from kineograph.world.v2.clips import write_film
from kineograph.world.v2.draw import draw_scene, picture_size
from kineograph.world.v2.film import frame_times
from kineograph.world.v2.gallery_page import page
from kineograph.world.v2.layout import ASPECTS, places
from kineograph.world.v2.play import Play
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    FLOORS,
    MOTIONS,
    SKIES,
    STYLES,
    TRANSITIONS,
    UNPACED_MOVES,
    VERSION,
    WEATHERS,
    Camera,
    Scene,
    SceneObject,
    Shot,
)  # fmt: skip
from kineograph.world.v2.simulate import simulate
from kineograph.world.v2.truth import truth

SIZES = (64, 512)
SHORT = 2.0  # s, of films that differ in their light or style alone
STAGE = (
    SceneObject("ball", "red", "rubber", "large", "throw", "right", "normal"),
    SceneObject("table", "orange", "wood", "large"),
    SceneObject("ring", "blue", "metal", "medium", "spin", None, "normal"),
)
STAGE_SEED = 12


@dataclass(frozen=True)
class Film:
    """One film of the gallery."""

    section: str
    name: str  # of the file
    title: str
    play: Play


def _stage(section: str, name: str, title: str, seconds: float = 4.0, **more: Any) -> Film:  # noqa: ANN401
    """Return the same three things under another camera, light or style."""
    shots = more.pop("shots", (Shot(Camera(), seconds),))
    scene = Scene(STAGE_SEED, STAGE, more.pop("floor", "checkered"), more.pop("sky", "noon"),
                  shots=shots, **more)  # fmt: skip
    where = places(scene)
    assert where is not None, "the stage finds no room"
    return Film(section, name, title, simulate(scene, where))


def _does(motion: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.objects[0].motion == motion and scene.style == "photoreal"


def films(scenes: int, seed: int) -> Iterator[Film]:
    """Yield the films of the gallery, section by section."""
    ratios = list(ASPECTS)
    for i in range(scenes):
        ratio = ratios[i % len(ratios)]
        _, play = draw_scene(seed + i, aspect_ratio=ratio)
        yield Film("scenes", f"scene-{seed + i}", f"{seed + i}, {ratio}", play)
    for motion in MOTIONS:
        count = 2 if motion in ("collide", "orbit") else 1
        _, play = draw_scene(seed, count=count, more="shot", style="photoreal", keep=_does(motion))
        yield Film("motions", f"motion-{motion}", motion, play)
    for move in CAMERA_MOVES:
        camera = Camera(move, None if move in UNPACED_MOVES else "normal")
        yield _stage("cameras", f"camera-{move.replace(' ', '-')}", move, shots=(Shot(camera),))
    for transition in TRANSITIONS:
        shots = (Shot(Camera("dolly in", "slow"), 2.0), Shot(Camera(), 2.0, transition))
        yield _stage("shots", f"shots-{transition}", transition, shots=shots)
    for i in range(4):
        _, play = draw_scene(seed + 500 + i, more="shots", style="photoreal")
        yield Film("shots", f"shots-{seed + 500 + i}", f"{len(play.scene.shots)} shots", play)
    for floor in FLOORS:
        yield _stage("places", f"floor-{floor}", floor, SHORT, floor=floor)
    for sky in SKIES:
        yield _stage("places", f"sky-{sky}", sky, SHORT, sky=sky, floor="wooden")
    for weather in WEATHERS:
        yield _stage(
            "places", f"weather-{weather}", weather, SHORT, weather=weather, floor="grassy"
        )
    for style in STYLES:
        yield _stage("styles", f"style-{style.replace(' ', '-')}", style, SHORT, style=style)


def _entry(film: Film, side: int) -> dict[str, Any]:
    """Return what the page knows of a film."""
    scene = film.play.scene
    height, width = picture_size(scene.aspect_ratio, side)
    known = truth(film.play, frame_times(scene.seconds), height, width)
    rng = random.Random(f"kineograph gallery {VERSION} {film.name}")
    texts = [caption(scene, language, rng) for language in ("en", "zh")]
    overlay = [
        {
            "thing": p["thing"],
            "at": p["screen"],
            "r": [round(r * s, 1) for r, s in zip(p["radius"], p["pixels_per_metre"], strict=True)],
        }
        for p in known["pieces"]
    ]
    return {
        "section": film.section, "name": film.name, "title": film.title, "captions": texts,
        "width": width, "height": height, "seconds": scene.seconds, "times": known["times"],
        "overlay": overlay, "contacts": [[c["time"], c["impulse"]] for c in known["contacts"]],
        "rates": [s["rates"] for s in known["shots"]],
        "starts": [s["start"] for s in known["shots"]],
        "scene": known["scene"],
    }  # fmt: skip


def write_gallery(
    out: Path, *, scenes: int = 12, seed: int = 0, side: int = 192, compiled: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Write index.html and its films to a folder.

    Raises:
        RequestError: an argument is out of range, or the folder holds films of another size.
    """
    if not SIZES[0] <= side <= SIZES[1] or side % 16:
        raise RequestError(
            f"size {side} is not allowed; multiples of 16 from {SIZES[0]} to {SIZES[1]} are"
        )
    if scenes < 1 or seed < 0:
        raise RequestError(
            f"{scenes} scenes from seed {seed}: 1 or more, and 0 or more, are allowed"
        )
    out.mkdir(parents=True, exist_ok=True)
    plan = {"side": side, "version": VERSION}
    held = out / "gallery.json"
    if held.exists() and json.loads(held.read_text(encoding="utf-8")) != plan:
        raise RequestError(f"{out} holds a gallery of another size or world; choose another folder")
    write_json(held, plan)
    found = list(films(scenes, seed))
    entries = []
    for i, film in enumerate(found):
        path = out / f"{film.name}.mp4"
        if not path.exists():
            write_film(path, film.play, side, compiled=compiled)
        entries.append(_entry(film, side))
        if on_progress:
            on_progress(i + 1, len(found))
    with atomic_write(out / "index.html") as file:
        file.write(page(entries).encode())
