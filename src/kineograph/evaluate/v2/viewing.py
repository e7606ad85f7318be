"""Judges clips of prompts one by one, and keeps what was read: true, through a VAE, a model's.

What one clip gave is kept under a key of all that it depends on (prompt, weights or file,
judges, world). Given the same key it is not made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kineograph.errors import RequestError
from kineograph.evaluate.pool import through_vae
from kineograph.evaluate.sources import Source, generate_batch
from kineograph.evaluate.v2.clips import Clip, read_clip, small, true_clip
from kineograph.evaluate.v2.features import features
from kineograph.evaluate.v2.judges import NOTHING, Judges, Reading
from kineograph.evaluate.v2.measures import MEASURES_VERSION, measure
from kineograph.evaluate.v2.prompts import Entry
from kineograph.evaluate.v2.seen import judged
from kineograph.media.files import write_json
from kineograph.pipeline import Pipeline
from kineograph.weights.header import sha256
from kineograph.world.v2.scene import SHOT_SECONDS, VERSION


@dataclass(frozen=True)
class Judged:
    """One clip as it was read: by the judges, and in numbers; `features` for distances."""

    reading: Reading
    measures: dict[str, float | None]
    features: list[float]
    fault: str = ""  # why it could not be judged

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "reading": self.reading.to_dict(),
            "measures": self.measures,
            "features": self.features,
            "fault": self.fault,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Judged:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "reading": Reading.from_dict(data["reading"])})


class Viewing:
    """Judges the true clips of prompts; subclasses make others. A folder keeps what was read."""

    sources: tuple[Source, ...] = ("truth",)

    def __init__(self, judges: Judges, judges_hash: str, folder: Path) -> None:
        self.judges, self.judges_hash, self.folder = judges, judges_hash, folder
        folder.mkdir(parents=True, exist_ok=True)

    def judged(self, entry: Entry, source: Source) -> Judged:
        """Return what was read of the clip of a prompt."""
        path = self.folder / f"{entry.id}-{source}.json"
        key = self._key(entry, source)
        found = _kept(path, key)
        if found is not None:
            return found
        try:
            result = self._judge(entry, self.clip(entry, source))
        except RequestError as error:
            if source == "truth":
                raise
            result = Judged(NOTHING, {}, [], str(error))
        write_json(path, {"key": key, **result.to_dict()})
        return result

    def clip(self, entry: Entry, source: Source) -> Clip:
        """Return the clip of a prompt; `RequestError` if it cannot be judged."""
        if source != "truth":
            raise ValueError(f"no clips of {source!r} here")
        return true_clip(entry.prompt)

    def _judge(self, entry: Entry, clip: Clip) -> Judged:
        short = entry.prompt.scene.seconds < SHOT_SECONDS
        frames = judged(_held(clip) if short else clip.frames, clip.fps)
        reading = self.judges.read([frames])[0]
        numbers = measure(entry.suite.name, entry.prompt, clip, self.judges, reading)
        return Judged(reading, numbers, features(self.judges, frames).round(5).tolist())

    def _made_by(self, entry: Entry, source: Source) -> list[Any]:
        """Return what the clip depends on besides the prompt, JSON-ready."""
        return []

    def _key(self, entry: Entry, source: Source) -> str:
        parts = {
            "prompt": entry.prompt.to_dict(),
            "judges": self.judges_hash,
            "world": VERSION,
            "measures": MEASURES_VERSION,
            "made_by": self._made_by(entry, source),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _held(clip: Clip) -> np.ndarray:
    """Return the frames of a clip that is too short for the judges, its last one held."""
    wanted = round(SHOT_SECONDS * clip.fps) + 1
    return np.concatenate([clip.frames, *[clip.frames[-1:]] * (wanted - len(clip.frames))])


def _kept(path: Path, key: str) -> Judged | None:
    """Return what a file holds, or None where it is missing, damaged or of another key."""
    try:
        data = json.loads(path.read_text())
        return Judged.from_dict(data) if data.pop("key") == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Showing(Viewing):
    """Judges videos in the place of a model's clips; one that is missing is wrong in all."""

    sources = ("truth", "model")

    def __init__(
        self, judges: Judges, judges_hash: str, folder: Path, videos: Mapping[str, Path | None]
    ) -> None:
        super().__init__(judges, judges_hash, folder)
        self.videos = videos

    def clip(self, entry: Entry, source: Source) -> Clip:
        """Return the clip of a prompt; `RequestError` if it cannot be judged."""
        if source != "model":
            return super().clip(entry, source)
        path = self.videos[entry.id]
        if path is None:
            raise RequestError("there is no such video")
        try:
            return read_clip(path, entry.prompt.scene.seconds)
        except RequestError as error:
            # the report names it by its id
            raise RequestError(str(error).removeprefix(f"cannot read {path}: ")) from None

    def _made_by(self, entry: Entry, source: Source) -> list[Any]:
        path = self.videos[entry.id] if source == "model" else None
        return [] if path is None else [sha256(path)]


class Studio(Viewing):
    """Makes and judges the clips of a model, and what its VAE leaves of the truth."""

    sources = ("truth", "vae", "model")

    def __init__(self, judges: Judges, judges_hash: str, folder: Path, pipeline: Pipeline) -> None:
        super().__init__(judges, judges_hash, folder)
        self.pipeline = pipeline

    def clip(self, entry: Entry, source: Source) -> Clip:
        """Return the clip of a prompt; `RequestError` if the model cannot make it."""
        if source == "truth":
            return super().clip(entry, source)
        if source == "vae":
            truth = true_clip(entry.prompt)
            with self.pipeline.working("vae"):
                decoded = through_vae(self.pipeline.vae, torch.from_numpy(truth.frames)[None])[0]
            return Clip(decoded.numpy(), truth.fps)
        video = generate_batch(
            self.pipeline, [entry.prompt], aspect_ratio=entry.prompt.scene.aspect_ratio
        )[0]
        return Clip(small(video), float(self.pipeline.spec.fps))

    def _made_by(self, entry: Entry, source: Source) -> list[Any]:
        spec, hashes = self.pipeline.spec, self.pipeline.hashes
        if source == "truth":
            return []
        if source == "vae":
            return [hashes.get("vae.safetensors", spec.name)]
        settings: list[Any] = [spec.steps, spec.shift, spec.guidance_scale, spec.guidance]
        settings += [spec.solver, spec.negative_prompt, str(self.pipeline.dtype)]
        return [spec.name, dict(sorted(hashes.items())), settings]
