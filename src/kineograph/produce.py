"""From a request to a video file: what the command and the service call.

`run` refuses early, draws the frames of `generate`, writes files, and keeps the state on disk
so that an interrupted run goes on where it was, to the same bits.

Letters: t frames (_t: of a chunk, another number each time), h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from jaxtyping import UInt8
from numpy import ndarray

from kineograph.errors import RequestError
from kineograph.flow.solvers import SamplerState
from kineograph.generate import generate, steps_done
from kineograph.inputs import check_inputs, fitted, join
from kineograph.media.image import read_image
from kineograph.media.output import check_output
from kineograph.media.preview import play
from kineograph.media.video import open_writer, read_video
from kineograph.pipeline import Pipeline, adapt, default_dtype, load
from kineograph.presets import DEFAULT_MODEL
from kineograph.request import GenerationRequest, ResolvedRequest
from kineograph.resolving import fresh_seed, resolve
from kineograph.runtime.options import DEFAULT, RunOptions
from kineograph.runtime.parallel import Team, asked_for, join_team, leave_team
from kineograph.runtime.passes import norms_of
from kineograph.runtime.plan import Plan, as_text, free_memory, make_plan, measured_rate
from kineograph.sidecar import Sidecar, sidecar_path, write_sidecar
from kineograph.spec import ModelSpec
from kineograph.ways import AFTER_LATENTS, BEFORE_LATENTS
from kineograph.weights.folder import locate, spec_of
from kineograph.weights.header import sha256
from kineograph.weights.partial import (
    Keeper,
    differences,
    finished,
    partial_path,
    seed_before,
    take_up,
)


@dataclass(frozen=True)
class Event:
    """What `run` tells while it works: progress of a stage, or a message to the user."""

    stage: str  # load, condition, denoise, decode, preview, resume or warning
    done: int = 0  # steps or frames
    total: int = 0  # 0 where the stage does not count
    message: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A clip that was made: its file, its sidecar and the seconds that each stage took."""

    path: Path
    sidecar: Path
    timings: dict[str, float]


@dataclass(frozen=True)
class Record(Sidecar):
    """A sidecar with what the bits of the frames may depend on besides request and weights."""

    images: dict[str, str] = field(default_factory=dict)  # sha256 of each picture and video
    made_on: dict[str, str] = field(default_factory=dict)  # torch, threads, dtype, device, ...


# What gives the model of a clip: of its row, under options, to a team or none.
Opener = Callable[
    [ResolvedRequest, ModelSpec, RunOptions, Callable[[Event], None], Team | None], Pipeline
]


class Stopwatch:
    """Seconds by stage, counted from one lap to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._mark = monotonic()

    def lap(self, stage: str) -> None:
        now = monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._mark
        self._mark = now


def run(
    request: GenerationRequest,
    *,
    resume: bool = False,
    preview: bool = False,
    options: RunOptions = DEFAULT,
    on_event: Callable[[Event], None] = lambda event: None,
    on_state: Callable[[SamplerState], None] = lambda state: None,
    opened: Opener | None = None,
) -> list[Artifact]:
    """Make the clips of a request: files, sidecars, and nothing half done.

    What can be refused is refused before anything is computed. A clip's state lies beside its
    output while it is made; with `resume` such a state is taken up again, and clips that are
    finished are left as they are. `on_state` sees each state, and what `on_event` or it raises
    ends the run with its state on disk; `opened` gives the model in place of `open_pipeline`.

    Where torchrun has started several processes they make each clip together. The first one
    alone reads and writes states and files, speaks, and returns what it wrote.

    Raises:
        RequestError: the request cannot be carried out, or goes not with the state to resume.
        WeightsError: the model's files are missing or damaged.
    """
    spec = spec_of(DEFAULT_MODEL if request.model is None else request.model)
    if asked_for() == 1:
        work = _Work(spec, None, options, on_event, on_state, opened or open_pipeline)
        return _run(request, work, resume, preview)
    if preview:
        raise RequestError("preview shows nothing where several processes work; leave it out")
    kind = torch.device(options.device or default_device()).type
    scale = spec.guidance_scale if request.guidance_scale is None else request.guidance_scale
    team = join_team(kind, guided=scale != 1, heads=spec.dit.num_heads)
    try:
        told = on_event if team.writes else _silent
        work = _Work(spec, team, options, told, on_state, opened or open_pipeline)
        return _run(request, work, resume, preview)
    finally:
        leave_team()


@dataclass(frozen=True)
class _Work:
    """How the clips of a request are made, and who is told."""

    spec: ModelSpec
    team: Team | None
    options: RunOptions
    on_event: Callable[[Event], None]
    on_state: Callable[[SamplerState], None]
    opened: Opener


def _run(
    request: GenerationRequest, work: _Work, resume: bool, preview: bool
) -> list[Artifact]:
    """Make the clips of a request, alone or in a team."""
    spec, team, on_event = work.spec, work.team, work.on_event
    writes = team is None or team.writes
    clips = _resolve(request, spec, resume=resume).clips() if writes else []
    records = [finished(clip) if resume else None for clip in clips]
    if team is not None:
        clips, records = team.share((clips, records))
    if None in records:
        locate(spec.name)  # or say at once that the weights are not here
    for clip, record in zip(clips, records, strict=True):
        if record is None:
            _refuse_early(clip, spec)
    artifacts = []
    pipeline, watch = None, Stopwatch()
    for clip, record in zip(clips, records, strict=True):
        if record is not None:
            on_event(Event("resume", message=f"{clip.output} is already complete"))
        else:
            if pipeline is None:
                pipeline = work.opened(clip, spec, work.options, on_event, team)
                watch.lap("load")
            record = _make(pipeline, clip, watch, work, resume=resume)
            watch = Stopwatch()
        artifacts.append(Artifact(Path(clip.output), sidecar_path(clip), record.timings))
    for clip in clips if preview else []:
        on_event(Event("preview"))
        with suppress(KeyboardInterrupt):  # the clip is made; Ctrl-C has had enough of it
            play(_read_back(clip), clip.delivered_fps)
    return artifacts if writes else []


def _silent(event: Event) -> None:
    """Say nothing: another process speaks."""


def open_pipeline(
    clip: ResolvedRequest,
    spec: ModelSpec,
    options: RunOptions,
    on_event: Callable[[Event], None],
    team: Team | None,
) -> Pipeline:
    """Load the model of a clip as it fits the machine, and put its adapters on."""
    on_event(Event("load"))
    options = replace(options, device=options.device or default_device())
    where = torch.device(options.device or "cpu")
    if spec.hub or where.type != "cpu":
        made = _plan(clip, spec, where, options)
        options = replace(options, fit=made.fit)
        if options.guidance_batch == "auto":
            both = made.batched and team is None
            options = replace(options, guidance_batch="on" if both else "off")
        on_event(Event("plan", message=as_text(made)))
    pipeline = load(spec.name, options=options, team=team)
    return adapt(pipeline, clip.lora) if clip.lora else pipeline


def plan_for(
    request: GenerationRequest,
    *,
    options: RunOptions = DEFAULT,
    memory: int | None = None,
    rate: float | None = None,
) -> Plan:
    """Return what a clip will cost, without opening a weight.

    `memory` (bytes) and `rate` (operations a second) are measured unless they are given.

    Raises:
        RequestError: the request cannot be carried out.
    """
    spec = spec_of(DEFAULT_MODEL if request.model is None else request.model)
    # What a model cannot do without costs the same whatever it shows.
    missing: dict[str, Any] = {n: "any.png" for n in spec.needs if not getattr(request, n)}
    clip = resolve(replace(request, output="plan.mp4", **missing), spec)
    device = torch.device(options.device or default_device())
    return _plan(clip, spec, device, options, memory, rate)


def _plan(
    clip: ResolvedRequest, spec: ModelSpec, device: torch.device, options: RunOptions,
    memory: int | None = None, rate: float | None = None,
) -> Plan:  # fmt: skip
    dtype = default_dtype(spec, device)
    return make_plan(
        spec,
        clip,
        dtype=dtype,
        rate=measured_rate(device, dtype) if rate is None else rate,
        memory=free_memory(device) if memory is None else memory,
        fit=options.fit,
        rounded=options.weights is not None,
        guidance_batch=options.guidance_batch,
        device=device,
    )


def default_device() -> str:
    """Return the device to compute on unless one is named."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _resolve(request: GenerationRequest, spec: ModelSpec, *, resume: bool) -> ResolvedRequest:
    """Fill the request in; a seed that nobody chose is, on resuming, that of the run before."""
    if not resume or request.seed is not None:
        return resolve(request, spec)
    seed = seed_before(resolve(replace(request, seed=0), spec).clips())
    return resolve(request, spec, new_seed=lambda: fresh_seed() if seed is None else seed)


def _refuse_early(clip: ResolvedRequest, spec: ModelSpec) -> None:
    check_output(
        clip.output,
        clip.format,
        num_frames=clip.delivered_frames,
        height=clip.out_height,
        width=clip.out_width,
        fps=clip.delivered_fps,
    )
    check_inputs(clip, spec)
    for path in clip.inputs():
        if Path(path).resolve() == Path(clip.output).resolve():
            raise RequestError(f"output {clip.output!r} is an input as well; name another file")


def _make(
    pipeline: Pipeline,
    clip: ResolvedRequest,
    watch: Stopwatch,
    work: _Work,
    *,
    resume: bool,
) -> Record:
    """Make one clip and its sidecar; the state on disk goes when both are there."""
    on_event = work.on_event
    images = {path: sha256(path) for path in clip.inputs()}
    inputs = {**pipeline.hashes, **images}
    team = pipeline.team
    made_on = {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "device": pipeline.device.type,
        "norms": norms_of(pipeline.vae),
        "processes": "1 x 1" if team is None else f"{team.mesh.size(0)} x {team.mesh.size(1)}",
        **pipeline.options.told(),
    }
    warnings = _warnings(pipeline, clip)
    writes = team is None or team.writes
    partial = take_up(clip, inputs) if resume and writes else None
    if team is not None:
        partial = team.share(partial)
    if partial is not None:
        where = f"going on after step {steps_done(clip, partial.state)} of {clip.all_steps}"
        on_event(Event("resume", message=where))
        warnings += differences(partial.made_on, made_on)
    for warning in warnings:
        on_event(Event("warning", message=warning))

    def tell(message: str) -> None:
        warnings.append(message)
        on_event(Event("warning", message=message))

    pipeline.residence.tell = tell
    keeper = Keeper(clip, inputs, made_on)

    def on_step(state: SamplerState) -> None:
        watch.lap("condition" if keeper.state is None else "denoise")
        if writes:
            keeper.keep(state)
        work.on_state(state)
        on_event(Event("denoise", steps_done(clip, state), clip.all_steps))

    on_event(Event("condition"))
    try:
        state = None if partial is None else partial.state
        frames = generate(pipeline, clip, state=state, on_step=on_step)
        if writes:
            frames = with_neighbours(frames, clip, pipeline.spec)
            _write(frames, clip, watch, on_event, repeatable=pipeline.options.repeatable)
        else:
            next(frames)  # as far as the clip is made together: frames are the writer's work
    except BaseException:
        with suppress(RequestError):  # what stopped the run is the news, not this
            keeper.save()  # nothing where another process keeps the state
        raise
    watch.seconds["total"] = sum(watch.seconds.values())
    record = Record(
        clip, watch.seconds, dict(pipeline.hashes), warnings, images=images, made_on=made_on
    )
    if writes:
        write_sidecar(sidecar_path(clip), record)
        partial_path(clip).unlink(missing_ok=True)
    return record


def with_neighbours(
    chunks: Iterator[UInt8[ndarray, "_t h w 3"]], clip: ResolvedRequest, spec: ModelSpec
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Put a clip behind the video that it goes on from, and before the one that it leads up to."""
    if clip.before is None and clip.after is None:
        yield from chunks
        return
    stride = spec.vae.temporal_stride
    size = (clip.delivered_fps, clip.out_height, clip.out_width)
    # The clip is made before a neighbour is read: the file is not held open meanwhile.
    begun = chain([next(chunks)], chunks)
    frames: Iterator[UInt8[ndarray, "h w 3"]] = (frame for chunk in begun for frame in chunk)
    if clip.before is not None:
        shared = clip.delivered(1 + stride * (BEFORE_LATENTS - 1))
        frames = join(fitted(clip.before, *size), frames, shared)
    if clip.after is not None:
        # The first of its frames is the past of what the clip shares with it.
        rest = islice(fitted(clip.after, *size), 1, None)
        frames = join(frames, rest, clip.times_fps * stride * AFTER_LATENTS)
    for frame in frames:
        yield frame[None]


def _warnings(pipeline: Pipeline, clip: ResolvedRequest) -> list[str]:
    warnings = []
    for word in pipeline.unknown_words(clip):
        near = pipeline.tokenizer.suggest(word)
        hint = "" if near is None else f"; did you mean {near!r}?"
        warnings.append(f"the model does not know the word {word!r}{hint}")
    if pipeline.spec.upsampler is not None and pipeline.upsampler is None:
        warnings.append("the upsampler's file is missing: the clip is enlarged and stays soft")
    if clip.times_fps > 1 and pipeline.interpolator is None:
        warnings.append("the interpolator's file is missing: frames between are mixed")
    return warnings


def _write(
    chunks: Iterator[UInt8[ndarray, "_t h w 3"]],
    clip: ResolvedRequest,
    watch: Stopwatch,
    on_event: Callable[[Event], None],
    *,
    repeatable: bool,
) -> None:
    """Write frames as they come; the file appears complete or not at all."""
    # How many frames a neighbour has is known when it has been read.
    alone = clip.before is None and clip.after is None
    total = clip.delivered_frames if alone else 0
    with open_writer(
        clip.output, clip.delivered_fps, clip.out_width, clip.out_height, clip.format,
        repeatable=repeatable,
    ) as writer:  # fmt: skip
        for frames in chunks:
            watch.lap("decode")
            writer.write(frames)
            watch.lap("write")
            on_event(Event("decode", writer.num_frames, total))
    watch.lap("write")


def _read_back(clip: ResolvedRequest) -> Iterator[UInt8[ndarray, "h w 3"]]:
    if clip.format == "png":
        yield from (read_image(path) for path in sorted(Path(clip.output).glob("*.png")))
        return
    if clip.format == "image":
        yield read_image(clip.output)
        return
    with read_video(clip.output) as frames:
        yield from frames
