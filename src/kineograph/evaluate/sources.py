"""Where the judged clips come from: the renderer, the VAE, the model; batch by batch, resumable.

What a batch took to make is kept: its render, its generated clips, its readings, each under a
key of all that it depends on (prompts, weights, judges). Given the same key it is not made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from kineograph.conditions import encode_prompt, with_controls
from kineograph.decoding import decode, to_frames
from kineograph.evaluate.judges import Judges, Reading, read_videos, to_side
from kineograph.evaluate.pool import fingerprint, through_vae
from kineograph.evaluate.suites import Prompt
from kineograph.flow.solvers import start
from kineograph.generate import denoise, initial_noise
from kineograph.media.files import atomic_write
from kineograph.models.conditioning import Conditioning
from kineograph.pipeline import Pipeline
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.world.render import render

Source = Literal["truth", "vae", "model"]
SOURCES: tuple[Source, ...] = ("truth", "vae", "model")
BATCH = 12
COMPILE_FROM = 100  # clips from which on it pays to compile the renderer

Video = UInt8[ndarray, "t h w 3"]


@dataclass(frozen=True)
class Judged:
    """One clip as it was read; `rows` is the track of its largest object, a row a frame."""

    reading: Reading
    rows: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; NaN is None."""
        rows = [r if np.isfinite(r) else None for r in self.rows]
        return {"reading": self.reading.to_dict(), "rows": rows}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Judged:
        """Read what `to_dict` wrote."""
        rows = tuple(float("nan") if r is None else r for r in data["rows"])
        return cls(Reading.from_dict(data["reading"]), rows)


class Viewing:
    """Renders the scenes of prompts and judges clips, and keeps what it has done in a folder.

    What else is judged, a subclass makes.
    """

    def __init__(
        self,
        judges: Judges,
        judges_hash: str,
        folder: Path,
        *,
        size: tuple[int, int],
        num_frames: int,
        fps: int,
        compiled: bool,
    ) -> None:
        self.judges, self.judges_hash, self.folder = judges, judges_hash, folder
        self.size, self.num_frames, self.fps = size, num_frames, fps
        self.compiled = compiled
        self.worlds: dict[tuple[str, ...], str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def judged(
        self, suite: str, source: Source, first: int, prompts: Sequence[Prompt]
    ) -> list[Judged]:
        """Return the readings of a batch, the prompts of a suite from `first` on."""
        path = self.folder / f"{suite}-{source}-read-{first:04d}.npz"
        key = self._key(source, prompts, judges=self.judges_hash)
        found = _take_up(path, key)
        if found is not None:
            judged: list[dict[str, Any]] = json.loads(str(found["judged"]))
            return [Judged.from_dict(j) for j in judged]
        videos = self.videos(suite, source, first, prompts)
        results = []
        for video, reading in zip(videos, read_videos(self.judges, videos, self.fps), strict=True):
            rows = self.judges.rows(to_side(video), reading.objects[0].colour)
            results.append(Judged(reading, tuple(rows.tolist())))
        _keep(path, key, judged=np.array(json.dumps([j.to_dict() for j in results])))
        return results

    def videos(
        self, suite: str, source: Source, first: int, prompts: Sequence[Prompt]
    ) -> list[Video]:
        """Return the clips of a batch at the base size."""
        return list(self._arrays(suite, source, first, prompts)["videos"])

    def _arrays(
        self, suite: str, source: Source, first: int, prompts: Sequence[Prompt]
    ) -> dict[str, ndarray]:
        """Return what `_make` makes of a batch, from the folder if it is there."""
        path, key = self.folder / f"{suite}-{source}-{first:04d}.npz", self._key(source, prompts)
        found = _take_up(path, key)
        if found is None:
            found = self._make(source, prompts)
            _keep(path, key, **found)
        return found

    def _make(self, source: Source, prompts: Sequence[Prompt]) -> dict[str, ndarray]:
        """Return the `videos` (b t h w 3, uint8) of a source, and what else is kept with them."""
        assert source == "truth", source
        times = np.arange(self.num_frames) / self.fps
        scenes = [prompt.scene for prompt in prompts]
        video, _ = render(scenes, times, *self.size, compiled=self.compiled)
        return {"videos": video.numpy()}

    def _made_by(self, source: Source, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Return what the clips of a source depend on besides the prompts, JSON-ready."""
        return {}

    def _key(self, source: Source, prompts: Sequence[Prompt], judges: str = "") -> str:
        parts: dict[str, Any] = {
            "world": self._world(prompts),
            "judges": judges,
            "prompts": [p.to_dict() for p in prompts],
            "clip": [self.fps, self.num_frames],
            **self._made_by(source, prompts),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _world(self, prompts: Sequence[Prompt]) -> str:
        texts = tuple(p.text for p in prompts)
        if texts not in self.worlds:
            self.worlds[texts] = fingerprint([p.scene for p in prompts])
        return self.worlds[texts]


class Studio(Viewing):
    """Makes and judges the clips of a model, and what its VAE leaves of the truth.

    Raises `KineographError` where `pipeline`, a model, cannot make what the judges look at.
    """

    def __init__(
        self, pipeline: Pipeline, judges: Judges, judges_hash: str, folder: Path, *, compiled: bool
    ) -> None:
        spec = pipeline.spec
        base = spec.sizes["1:1"]
        super().__init__(
            judges,
            judges_hash,
            folder,
            size=(base.height, base.width),
            num_frames=spec.num_frames,
            fps=spec.fps,
            compiled=compiled,
        )
        self.pipeline = pipeline

    def videos(
        self, suite: str, source: Source, first: int, prompts: Sequence[Prompt]
    ) -> list[Video]:
        """Return the clips of a batch at the base size."""
        if source == "vae":  # quick to make from the render, which is kept
            truth = np.stack(self.videos(suite, "truth", first, prompts))
            with self.pipeline.working("vae"):
                return list(through_vae(self.pipeline.vae, torch.from_numpy(truth)).numpy())
        return super().videos(suite, source, first, prompts)

    def _make(self, source: Source, prompts: Sequence[Prompt]) -> dict[str, ndarray]:
        if source == "model":
            return {"videos": np.stack(generate_batch(self.pipeline, prompts))}
        return super()._make(source, prompts)

    def _made_by(self, source: Source, prompts: Sequence[Prompt]) -> dict[str, Any]:
        spec, hashes = self.pipeline.spec, self.pipeline.hashes
        if source == "vae":
            return {"vae": hashes.get("vae.safetensors", spec.name)}
        if source == "truth":
            return {}
        made_by = {k: v for k, v in hashes.items() if k != "upsampler.safetensors"}
        settings: list[Any] = [spec.steps, spec.shift, spec.guidance_scale, spec.guidance]
        settings += [spec.solver, spec.negative_prompt, str(self.pipeline.dtype)]
        return {"model": [spec.name, dict(sorted(made_by.items()))], "settings": settings}


def _take_up(path: Path, key: str) -> dict[str, ndarray] | None:
    """Return what a file holds, or None where it is missing, damaged or of another key."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file) as data:
            return dict(data) if str(data["key"]) == key else None
    except (OSError, KeyError, ValueError, EOFError, BadZipFile):
        return None


def _keep(path: Path, key: str, **arrays: ndarray) -> None:
    with atomic_write(path) as file:
        np.savez_compressed(file, allow_pickle=False, key=np.array(key), **arrays)


@runtime_checkable
class Asked(Protocol):
    """What a clip is generated from."""

    @property
    def text(self) -> str: ...

    @property
    def seed(self) -> int: ...


@torch.no_grad()
def generate_batch(
    pipeline: Pipeline, prompts: Sequence[Asked], aspect_ratio: str = "1:1"
) -> list[Video]:
    """Generate the clips of several prompts side by side, as users get them but not enlarged.

    Each has the noise of its own seed; the model's defaults decide all else.
    """
    spec = pipeline.spec
    asked = [
        resolve(GenerationRequest(p.text, aspect_ratio=aspect_ratio, seed=p.seed), spec)
        for p in prompts
    ]
    context = torch.cat([with_controls(pipeline, encode_prompt(pipeline, r.prompt)) for r in asked])
    negative = with_controls(pipeline, encode_prompt(pipeline, asked[0].negative_prompt))
    negative = negative.expand_as(context)
    noise = torch.cat([initial_noise(pipeline, r) for r in asked])
    begun = start(noise, spec.solver)
    last = denoise(pipeline, asked[0], Conditioning(context), negative, begun)
    video = torch.cat(list(decode(pipeline, last.x)), 2)
    size = spec.sizes[aspect_ratio]
    return [to_frames(clip[None], size.height, size.width) for clip in video]


def has_compiler() -> bool:
    """Return whether there is a C++ compiler, which the compiled renderer needs."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++") if name)
