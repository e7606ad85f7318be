"""How long a video will keep a worker: its operations by the model's shape, at a learnt rate.

The rate, in operations a second, is that of the model's own finished videos; a model that has
made none yet is given a guess. No torch is needed: the shape is in the model's row.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.dialects.postgresql import insert as of_postgresql
from sqlalchemy.dialects.sqlite import insert as of_sqlite

from kineograph.request import GenerationRequest, ResolvedRequest
from kineograph.resolving import resolve
from kineograph.serve.tables import settings
from kineograph.spec import DiTConfig, ModelSpec, size_of
from kineograph.ways import made_frames

GUESS = 1e11  # operations a second before anything was measured: a small CPU
DECODE = 30_000.0  # operations a pixel of the output, about what a VAE decoder and upsampler do
LEARNING = 0.2  # the weight of the newest video


def operations(clip: ResolvedRequest, spec: ModelSpec) -> float:
    """Return about how many floating-point operations a clip takes."""
    parts = made_frames(clip, spec.vae.temporal_stride)
    frames = sum(map(clip.delivered, parts))
    denoise = sum(_denoise(clip, spec, part) for part in parts)
    return denoise + DECODE * frames * clip.out_height * clip.out_width


def _denoise(clip: ResolvedRequest, spec: ModelSpec, num_frames: int) -> float:
    """Return the operations of all steps of so many frames."""
    tokens, weights = _tokens(clip, spec, num_frames), _weights(spec.dit)
    attention = spec.dit.num_layers * 2 * spec.dit.dim * tokens
    branches = 1 if clip.guidance_scale == 1 else 2
    return 2.0 * tokens * (weights + attention) * branches * clip.steps


def seconds(connection: Connection, model: str, work: float) -> float:
    """Return the seconds that so many operations of a model will take a worker."""
    return work / _rate(connection, model)[0]


def learn(connection: Connection, row: RowMapping, used: float) -> None:
    """Take in how long a finished video took, in seconds of a worker."""
    work = json.loads(row["told"]).get("operations")
    if not work or used <= 0:
        return
    rate, count = _rate(connection, row["model"])
    weight = max(LEARNING, 1 / (count + 1))
    # Of seconds, not of rates: what is shown to people is seconds.
    per = (1 - weight) / rate + weight * used / work
    name = f"rate:{row['model']}"
    value = json.dumps({"rate": 1 / per, "count": count + 1})
    insert = of_sqlite if connection.dialect.name == "sqlite" else of_postgresql
    # Two workers may be the first at once: whoever comes second changes what the first wrote.
    connection.execute(
        insert(settings)
        .values(name=name, value=value)
        .on_conflict_do_update(index_elements=[settings.c.name], set_={"value": value})
    )


def _rate(connection: Connection, model: str) -> tuple[float, int]:
    """Return a model's operations a second, and of how many videos that is learnt."""
    value = connection.scalar(select(settings.c.value).where(settings.c.name == f"rate:{model}"))
    if value is None:
        return GUESS, 0
    told = json.loads(value)
    return float(told["rate"]), int(told["count"])


def usual(connection: Connection, spec: ModelSpec) -> float:
    """Return the seconds of a worker that a second of a model's usual video takes."""
    clip = resolve(GenerationRequest("anything", seed=0, **_needed(spec)), spec)
    return seconds(connection, spec.name, operations(clip, spec)) / clip.duration


def _needed(spec: ModelSpec) -> dict[str, Any]:
    """Return stand-ins for the files that a model does not do without."""
    return {name: "any.png" for name in spec.needs}


def memory(clip: ResolvedRequest, spec: ModelSpec) -> int:
    """Return about how many bytes a clip takes: weights of 2 bytes, and what is computed on."""
    dit = spec.dit
    activations = _tokens(clip, spec, clip.num_frames) * (8 * dit.dim + 2 * dit.ffn_dim)
    frames = 4 * 3 * clip.out_height * clip.out_width * 16
    return int(2 * (_weights(dit) + activations) + frames)


def _tokens(clip: ResolvedRequest, spec: ModelSpec, num_frames: int) -> int:
    return spec.dit.tokens(spec.latent_shape(size_of(clip), num_frames))


def _weights(dit: DiTConfig) -> int:
    """Return about how many weights a transformer has."""
    return dit.num_layers * (8 * dit.dim**2 + 2 * dit.dim * dit.ffn_dim)
