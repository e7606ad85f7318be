"""Write clips of the world with their captions and truth, and contact sheets of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kineograph.errors import RequestError
from kineograph.media.files import atomic_write, write_json
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.media.video import open_writer
from kineograph.world.camera import camera_track, project
from kineograph.world.captions import Language, caption
from kineograph.world.draw import BASE_SIZES, CLIP_TIMES, FPS, draw_scene
from kineograph.world.physics import GRAVITY, simulate
from kineograph.world.render import render
from kineograph.world.scene import WORLD_VERSION, Scene, scene_from_dict
from kineograph.world.splits import split_of

SHEET_COLUMNS = 6
MAX_SCALE = 16
LANGUAGES: tuple[Language, Language] = ("en", "zh")


def truth(scene: Scene) -> dict[str, Any]:
    """Return everything that is known of a clip: attributes, tracks, contacts, camera.

    Tracks are in metres and, projected, in base pixels; times in seconds.
    """
    height, width = BASE_SIZES[scene.aspect_ratio]
    camera = camera_track(scene, CLIP_TIMES)
    objects = []
    for track in simulate(scene, CLIP_TIMES):
        screen = project(camera, track.position, height, width)
        objects.append(
            {
                "radius": track.radius,
                "position": track.position.round(5).tolist(),
                "screen": screen[:, :2].round(3).tolist(),
                "pixels_per_metre": screen[:, 2].round(4).tolist(),
                "yaw": track.yaw.round(5).tolist(),
                "roll": track.roll.round(5).tolist(),
                **track.truth,
            }
        )
    return {
        "world_version": WORLD_VERSION,
        "scene": scene.to_dict(),
        "split": split_of(scene),
        "times": CLIP_TIMES.tolist(),
        "gravity": GRAVITY,
        "camera": {
            "rate": camera.rate,
            "position": camera.position.round(5).tolist(),
            "forward": camera.forward.round(6).tolist(),
            "right": camera.right.round(6).tolist(),
        },
        "objects": objects,
    }


def _check(count: int, seed: int, aspect_ratio: str, scale: int) -> None:
    if aspect_ratio not in BASE_SIZES:
        allowed = ", ".join(BASE_SIZES)
        raise RequestError(f"unknown aspect ratio {aspect_ratio!r}; allowed: {allowed}")
    if not 1 <= scale <= MAX_SCALE:
        raise RequestError(f"scale {scale} is not between 1 and {MAX_SCALE}")
    if count < 1:
        raise RequestError(f"count {count} is not allowed; 1 or more is")
    if seed < 0:
        raise RequestError(f"seed {seed} is not allowed; 0 or more is")


def _clip(scene: Scene, scale: int, *, compiled: bool) -> NDArray[np.uint8]:
    height, width = BASE_SIZES[scene.aspect_ratio]
    size = (height * scale, width * scale)
    video, _ = render([scene], CLIP_TIMES, *size, scale=scale, compiled=compiled)
    frames: NDArray[np.uint8] = video[0].numpy()
    return frames


def write_samples(
    out: Path,
    *,
    count: int,
    seed: int = 0,
    aspect_ratio: str = "1:1",
    compiled: bool = False,
    scale: int = 4,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `count` clips as NNNNN.mp4 and NNNNN.json (truth), and captions.jsonl.

    Clip i is the scene of seed + i. Existing clips are kept, so that a stopped run goes on.

    Raises:
        RequestError: an argument is out of range, or the folder holds clips of other scenes.
    """
    _check(count, seed, aspect_ratio, scale)
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(count):
        scene = draw_scene(seed + i, aspect_ratio=aspect_ratio, split="any")
        rng = random.Random(f"sample {seed + i}")
        captions = {k: caption(scene, k, rng) for k in LANGUAGES}
        name = f"{i:05d}"
        lines.append(json.dumps({"clip": f"{name}.mp4", **captions}, ensure_ascii=False))
        if not _is_there(out / f"{name}.json", scene):
            frames = _clip(scene, scale, compiled=compiled)
            with open_writer(out / f"{name}.mp4", FPS, frames.shape[2], frames.shape[1]) as writer:
                writer.write(frames)
            write_json(out / f"{name}.json", {"captions": captions, **truth(scene)})
        if on_progress:
            on_progress(i + 1, count)
    with atomic_write(out / "captions.jsonl") as file:
        file.write(("\n".join(lines) + "\n").encode())


def _is_there(path: Path, scene: Scene) -> bool:
    """Return whether a clip with its truth is on disk; another scene's is refused."""
    if not path.exists():
        return False
    if scene_from_dict(json.loads(path.read_text(encoding="utf-8"))["scene"]) != scene:
        raise RequestError(f"{path} is of another scene; choose another folder")
    return True


def write_sheet(
    out: Path,
    *,
    count: int,
    seed: int = 0,
    aspect_ratio: str = "1:1",
    compiled: bool = False,
    scale: int = 2,
) -> None:
    """Write a contact sheet: one clip a row, with its caption, alternately English and Chinese."""
    _check(count, seed, aspect_ratio, scale)
    clips, captions = [], []
    picks = np.linspace(0, len(CLIP_TIMES) - 1, SHEET_COLUMNS).round().astype(int)
    for i in range(count):
        scene = draw_scene(seed + i, aspect_ratio=aspect_ratio, split="any")
        language = LANGUAGES[i % 2]
        captions.append(caption(scene, language, random.Random(f"sheet {seed + i}"), full=True))
        height, width = BASE_SIZES[aspect_ratio]
        size = (height * scale, width * scale)
        video, _ = render([scene], CLIP_TIMES[picks], *size, scale=scale, compiled=compiled)
        clips.append(video[0].numpy())
    save_png(contact_sheet(clips, captions, columns=SHEET_COLUMNS), out)
