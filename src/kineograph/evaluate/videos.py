"""Anybody's videos, found by the ids of their prompts and judged as a model's clips are.

A video is looked at as the world's own clips are: ten frames a second of its first 2.4 s, averaged
down to what the judges see. One that is missing or cannot be judged counts as wrong in all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from kineograph.errors import RequestError
from kineograph.evaluate.judges import SIDE, Judges, Reading, to_side
from kineograph.evaluate.prompts import Entry
from kineograph.evaluate.sources import Judged, Source, Video, Viewing
from kineograph.evaluate.suites import Prompt
from kineograph.media.video import read_video
from kineograph.weights.header import sha256
from kineograph.world.draw import CLIP_TIMES, FPS, NUM_FRAMES

ENDINGS = (".mp4", ".webm", ".mov", ".mkv", ".gif")
NOTHING = Reading(0, "", "", "", ())  # right in nothing
MISSING = "there is no such video"


def find_videos(folder: Path, ids: Sequence[str]) -> dict[str, Path | None]:
    """Return the video of each prompt by its id, FOLDER/ID.mp4 or another of `ENDINGS`.

    Raises:
        RequestError: there is no such folder, it holds none of the videos, or two of one id.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not a folder of videos")
    found: dict[str, Path | None] = {}
    for name in ids:
        paths = [p for end in ENDINGS if (p := folder / f"{name}{end}").is_file()]
        if len(paths) > 1:
            both = " and ".join(path.name for path in paths)
            raise RequestError(f"{folder} holds {both}: keep one of them")
        found[name] = paths[0] if paths else None
    if not any(found.values()):
        raise RequestError(
            f"{folder} holds no video of these prompts; they are looked for by their ids, such as "
            f"{ids[0]}.mp4 (or {', '.join(ENDINGS[1:])})"
        )
    return found


def read_clip(path: Path) -> Video:
    """Return a video as the judges look at it: (25, 64, 64, 3), ten frames a second.

    Raises:
        RequestError: it cannot be decoded, is not square, smaller than 64x64 or shorter than 2.4 s.
    """
    with read_video(path) as reader:
        if reader.height != reader.width or reader.height < SIDE:
            size = f"{reader.width}x{reader.height}"
            raise RequestError(f"clips of {size} cannot be judged; 64x64 or larger squares can")
        wanted = np.round(CLIP_TIMES * float(reader.fps)).astype(int).tolist()
        frames: list[ndarray] = []
        for number, frame in enumerate(reader):
            if number in wanted:
                small = to_side(frame[None])[0].add(1).mul(127.5).round().byte().numpy()
                frames += [small.transpose(1, 2, 0)] * wanted.count(number)
            if number == wanted[-1]:
                return np.stack(frames)
        raise RequestError(
            f"{number + 1} frames at {float(reader.fps):g} fps cannot be judged; 2.4 s are needed"
        )


class Showing(Viewing):
    """Judges videos in the place of a model's clips; `faults` says by id which could not be."""

    def __init__(
        self,
        entries: Sequence[Entry],
        videos: Mapping[str, Path | None],
        judges: Judges,
        judges_hash: str,
        folder: Path,
        *,
        compiled: bool,
    ) -> None:
        super().__init__(
            judges,
            judges_hash,
            folder,
            size=(SIDE, SIDE),
            num_frames=NUM_FRAMES,
            fps=FPS,
            compiled=compiled,
        )
        self._ids = {entry.prompt: entry.id for entry in entries}
        self._paths = videos
        self.faults: dict[str, str] = {}

    def judged(
        self, suite: str, source: Source, first: int, prompts: Sequence[Prompt]
    ) -> list[Judged]:
        """Return the readings of a batch; nothing is read in a video that cannot be judged."""
        judged = super().judged(suite, source, first, prompts)
        if source != "model":
            return judged
        faults = json.loads(str(self._arrays(suite, source, first, prompts)["faults"]))
        for k, (prompt, fault) in enumerate(zip(prompts, faults, strict=True)):
            if fault:
                self.faults[self._ids[prompt]] = fault
                lost = (float("nan"),) * NUM_FRAMES
                judged[k] = replace(judged[k], reading=NOTHING, rows=lost)
        return judged

    def _make(self, source: Source, prompts: Sequence[Prompt]) -> dict[str, ndarray]:
        if source != "model":
            return super()._make(source, prompts)
        clips, faults = zip(*(self._clip(prompt) for prompt in prompts), strict=True)
        return {"videos": np.stack(clips), "faults": np.array(json.dumps(faults))}

    def _clip(self, prompt: Prompt) -> tuple[Video, str]:
        """Return the clip of a prompt, or black frames and what is wrong with it."""
        path = self._paths[self._ids[prompt]]
        try:
            if path is None:
                raise RequestError(MISSING)
            return read_clip(path), ""
        except RequestError as error:
            # the report names it by its id
            reason = str(error).removeprefix(f"cannot read {path}: ")
            return np.zeros((NUM_FRAMES, SIDE, SIDE, 3), np.uint8), reason

    def _made_by(self, source: Source, prompts: Sequence[Prompt]) -> dict[str, Any]:
        if source != "model":
            return {}
        paths = [self._paths[self._ids[prompt]] for prompt in prompts]
        return {"videos": [sha256(path) if path is not None else None for path in paths]}
