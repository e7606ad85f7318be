"""From a request to a video file: the main path, top to bottom.

`generate` is the path itself: noise, conditioning, guided velocity, solver, decoding as a
stream. `run` is what the command and the service call: it refuses early, writes files, and
keeps the state on disk so that an interrupted run goes on where it was, to the same bits.

Letters: b batch, c latent channels, t frames (_t: of a chunk, another number each time), h
height, w width, l context tokens, d context channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.flow.guidance import guided
from kineograph.flow.path import VelocityFn, with_known
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import SamplerState, sample, start
from kineograph.media.image import fit_image, read_image
from kineograph.media.output import check_output
from kineograph.media.preview import play
from kineograph.media.video import open_writer, read_video
from kineograph.models.conditioning import Conditioning
from kineograph.models.dit import VideoDiT
from kineograph.models.text import TextEncoder, encode_context
from kineograph.models.tokenizer import Tokenizer
from kineograph.models.upsampler import VideoUpsampler
from kineograph.models.vae import VideoVAE
from kineograph.nn.causal import ConvCache
from kineograph.presets import DEFAULT_MODEL
from kineograph.request import GenerationRequest, ResolvedRequest, fresh_seed, resolve
from kineograph.sidecar import Sidecar, sidecar_path, write_sidecar
from kineograph.spec import ModelSpec
from kineograph.weights.folder import open_parts, spec_of
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
class Pipeline:
    """A model that is loaded: its parts, where they are and how they compute."""

    spec: ModelSpec
    vae: VideoVAE
    dit: VideoDiT
    text: TextEncoder
    tokenizer: Tokenizer
    upsampler: VideoUpsampler | None
    device: torch.device
    dtype: torch.dtype  # of the arithmetic; below float32 by autocast over float32 weights
    hashes: Mapping[str, str]  # sha256 of every file that decides the frames

    def arithmetic(self) -> AbstractContextManager[object]:
        """Return the context in which the networks run."""
        half = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if half else None, enabled=half)

    def unknown_words(self, request: ResolvedRequest) -> list[str]:
        """Return the words of both prompts that the model was not trained on."""
        return self.tokenizer.unknown_words(f"{request.prompt}\n{request.negative_prompt}")


def load(
    name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Pipeline:
    """Open a preset, or a folder of weights, for inference.

    Raises:
        RequestError: `name` is neither.
        WeightsError: files are missing, damaged, or do not fit together.
    """
    parts, device = open_parts(name), torch.device(device)
    modules = {kind: module.to(device) for kind, module in parts.modules.items()}
    vae, dit, text, upsampler = (modules.get(k) for k in ("vae", "dit", "text", "upsampler"))
    assert isinstance(vae, VideoVAE) and isinstance(dit, VideoDiT) and isinstance(text, TextEncoder)
    assert upsampler is None or isinstance(upsampler, VideoUpsampler)
    tokenizer = Tokenizer.load(parts.tokenizer, parts.spec.dit.text_len)
    return Pipeline(
        parts.spec, vae, dit, text, tokenizer, upsampler, device, dtype, parts.hashes
    )


def generate(
    pipeline: Pipeline,
    request: ResolvedRequest,
    *,
    state: SamplerState | None = None,
    on_step: Callable[[SamplerState], None] = lambda state: None,
) -> Iterator[UInt8[ndarray, "_t h w 3"]]:
    """Yield the frames of one clip, a few at a time.

    `on_step` sees the state before the first step and after every evaluation; any of them,
    given back as `state` here or in another process, leads to the same frames.

    Raises:
        RequestError: a prompt has too many tokens, or a picture cannot be read.
    """
    sigmas = make_sigmas(request.steps, request.shift)
    conditioning, negative = condition(pipeline, request)
    velocity = guided_velocity(pipeline, conditioning, negative, request.guidance_scale)
    if state is None:
        noise = initial_noise(pipeline, request)
        state = start(conditioning.insert(noise), request.solver)
    on_step(state)
    for state in sample(velocity, state, sigmas):  # noqa: B020 - it goes on from where it is
        on_step(state)
    for video in deliver(pipeline, decode(pipeline, state.x)):
        yield to_frames(video, request.out_height, request.out_width)


def initial_noise(pipeline: Pipeline, request: ResolvedRequest) -> Float[Tensor, "1 c t h w"]:
    """Return the noise of a seed, drawn on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(request.seed)
    shape = pipeline.spec.latent_shape(request.aspect_ratio, request.num_frames)
    return torch.randn(1, *shape, generator=generator).to(pipeline.device)


def condition(
    pipeline: Pipeline, request: ResolvedRequest
) -> tuple[Conditioning, Float[Tensor, "1 l d"]]:
    """Return what the clip is conditioned on, and the negative context.

    The empty negative prompt is encoded as any other text: training dropped prompts so.
    """
    context = encode_prompt(pipeline, request.prompt)
    negative = encode_prompt(pipeline, request.negative_prompt)
    if request.image is None and request.last_image is None:
        return Conditioning(context), negative
    shape = pipeline.spec.latent_shape(request.aspect_ratio, request.num_frames)
    known = torch.zeros(1, *shape, device=pipeline.device)
    mask = torch.zeros(1, shape[1], dtype=torch.bool, device=pipeline.device)
    # A latent frame after the first stands for `stride` frames and depends on those before it:
    # the last image is encoded as the end of a clip in which nothing else is ever seen.
    stride = pipeline.spec.vae.temporal_stride
    for place, picture, frames in ((0, request.image, 1), (-1, request.last_image, 1 + stride)):
        if picture is not None:
            still = fit_image(read_image(picture), request.height, request.width)
            known[:, :, place] = encode_still(pipeline, still, frames)[:, :, -1]
            mask[:, place] = True
    return Conditioning(context, known, mask), negative


def encode_prompt(pipeline: Pipeline, prompt: str) -> Float[Tensor, "1 l d"]:
    """Return the context of a prompt; a `RequestError` says if it has too many tokens."""
    ids, mask = (part.to(pipeline.device) for part in pipeline.tokenizer.encode([prompt]))
    with pipeline.arithmetic():
        return encode_context(pipeline.text, ids, mask, pipeline.spec.dit.text_len).float()


def encode_still(
    pipeline: Pipeline, picture: Float[Tensor, "3 h w"], frames: int
) -> Float[Tensor, "1 c t h2 w2"]:
    """Return the normalised latent of a clip that shows one picture in [-1, 1] throughout."""
    video = repeat(picture.to(pipeline.device), "c h w -> 1 c t h w", t=frames)
    with pipeline.arithmetic():
        mean, _ = pipeline.vae.encode(video)
    return pipeline.vae.normalise(mean)


def guided_velocity(
    pipeline: Pipeline,
    conditioning: Conditioning,
    negative: Float[Tensor, "b l d"],
    guidance_scale: float,
) -> VelocityFn:
    """Return the velocity of the transformer, guided, with known latent frames held."""

    def model(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        with pipeline.arithmetic():
            velocity: Tensor = pipeline.dit(x, sigma, context)
        return velocity

    method = pipeline.spec.guidance
    velocity = guided(model, conditioning.context, negative, guidance_scale, method=method)
    if conditioning.known is None or conditioning.known_mask is None:
        return velocity
    return with_known(velocity, conditioning.known, conditioning.known_mask)


def decode(
    pipeline: Pipeline, latent: Float[Tensor, "b c t h w"]
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield the video of a normalised latent at the base size, a latent frame at a time."""
    yield from _under(
        pipeline, pipeline.vae.decode_stream(pipeline.vae.denormalise(latent))
    )


def deliver(
    pipeline: Pipeline, chunks: Iterable[Float[Tensor, "b 3 _t h w"]]
) -> Iterator[Float[Tensor, "b 3 _t h2 w2"]]:
    """Yield a video, given in chunks, at the size it is delivered at before cropping.

    Where the upsampler's file is missing the enlargement is bicubic.
    """
    if pipeline.spec.upsampler is None:
        yield from chunks
        return
    cache = ConvCache()
    for video in chunks:
        if pipeline.upsampler is None:
            yield _bicubic(video, pipeline.spec.upsampler.scale)
            continue
        with pipeline.arithmetic():
            larger = pipeline.upsampler(video, cache).float()
        yield larger


def _under(pipeline: Pipeline, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Draw each chunk within the arithmetic, which a generator would leak to its caller."""
    while True:
        with pipeline.arithmetic():
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _bicubic(video: Tensor, scale: int) -> Tensor:
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    larger = F.interpolate(frames, scale_factor=float(scale), mode="bicubic")
    return rearrange(larger, "(b t) c h w -> b c t h w", b=video.shape[0])


def to_frames(
    video: Float[Tensor, "1 3 t h w"], height: int, width: int
) -> UInt8[ndarray, "t height width 3"]:
    """Cut the middle out of a video in [-1, 1] and return it as pixels."""
    top, left = (video.shape[-2] - height) // 2, (video.shape[-1] - width) // 2
    cut = video[0, :, :, top : top + height, left : left + width]
    pixels = cut.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    frames: UInt8[ndarray, "t h w 3"] = rearrange(pixels, "c t h w -> t h w c").cpu().numpy()
    return np.ascontiguousarray(frames)


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

    images: dict[str, str] = field(default_factory=dict)  # sha256 of each picture
    made_on: dict[str, str] = field(default_factory=dict)  # torch, threads, dtype, device


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
    on_event: Callable[[Event], None] = lambda event: None,
) -> list[Artifact]:
    """Make the clips of a request: files, sidecars, and nothing half done.

    What can be refused is refused before anything is computed. A clip's state lies beside its
    output while it is made; with `resume` such a state is taken up again, and clips that are
    finished are left as they are.

    Raises:
        RequestError: the request cannot be carried out, or goes not with the state to resume.
        WeightsError: the model's files are missing or damaged.
    """
    spec = spec_of(DEFAULT_MODEL if request.model is None else request.model)
    clips = _resolve(request, spec, resume=resume).clips()
    records = [finished(clip) if resume else None for clip in clips]
    for clip, record in zip(clips, records, strict=True):
        if record is None:
            _refuse_early(clip)
    artifacts = []
    pipeline, watch = None, Stopwatch()
    for clip, record in zip(clips, records, strict=True):
        if record is not None:
            on_event(Event("resume", message=f"{clip.output} is already complete"))
        else:
            if pipeline is None:
                on_event(Event("load"))
                pipeline = load(spec.name)
                watch.lap("load")
            record = _make(pipeline, clip, watch, on_event, resume=resume)
            watch = Stopwatch()
        artifacts.append(Artifact(Path(clip.output), sidecar_path(clip), record.timings))
    for clip in clips if preview else []:
        on_event(Event("preview"))
        with suppress(KeyboardInterrupt):  # the clip is made; Ctrl-C has had enough of it
            play(_read_back(clip), clip.fps)
    return artifacts


def _resolve(request: GenerationRequest, spec: ModelSpec, *, resume: bool) -> ResolvedRequest:
    """Fill the request in; a seed that nobody chose is, on resuming, that of the run before."""
    if not resume or request.seed is not None:
        return resolve(request, spec)
    seed = seed_before(resolve(replace(request, seed=0), spec).clips())
    return resolve(request, spec, new_seed=lambda: fresh_seed() if seed is None else seed)


def _refuse_early(clip: ResolvedRequest) -> None:
    check_output(
        clip.output,
        clip.format,
        num_frames=clip.num_frames,
        height=clip.out_height,
        width=clip.out_width,
        fps=clip.fps,
    )
    for picture in (clip.image, clip.last_image):
        if picture is not None:
            read_image(picture)


def _make(
    pipeline: Pipeline,
    clip: ResolvedRequest,
    watch: Stopwatch,
    on_event: Callable[[Event], None],
    *,
    resume: bool,
) -> Record:
    """Make one clip and its sidecar; the state on disk goes when both are there."""
    images = {path: sha256(path) for path in (clip.image, clip.last_image) if path is not None}
    inputs = {**pipeline.hashes, **images}
    made_on = {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "dtype": str(pipeline.dtype).removeprefix("torch."),
        "device": pipeline.device.type,
    }
    warnings = _warnings(pipeline, clip)
    partial = take_up(clip, inputs) if resume else None
    if partial is not None:
        where = f"going on after step {partial.state.index} of {clip.steps}"
        on_event(Event("resume", message=where))
        warnings += differences(partial.made_on, made_on)
    for warning in warnings:
        on_event(Event("warning", message=warning))
    keeper = Keeper(clip, inputs, made_on)

    def on_step(state: SamplerState) -> None:
        watch.lap("condition" if keeper.state is None else "denoise")
        keeper.keep(state)
        on_event(Event("denoise", state.index, clip.steps))

    on_event(Event("condition"))
    try:
        state = None if partial is None else partial.state
        _write(generate(pipeline, clip, state=state, on_step=on_step), clip, watch, on_event)
    except BaseException:
        with suppress(RequestError):  # what stopped the run is the news, not this
            keeper.save()
        raise
    watch.seconds["total"] = sum(watch.seconds.values())
    record = Record(
        clip, watch.seconds, dict(pipeline.hashes), warnings, images=images, made_on=made_on
    )
    write_sidecar(sidecar_path(clip), record)
    partial_path(clip).unlink(missing_ok=True)
    return record


def _warnings(pipeline: Pipeline, clip: ResolvedRequest) -> list[str]:
    warnings = []
    for word in pipeline.unknown_words(clip):
        near = pipeline.tokenizer.suggest(word)
        hint = "" if near is None else f"; did you mean {near!r}?"
        warnings.append(f"the model does not know the word {word!r}{hint}")
    if pipeline.spec.upsampler is not None and pipeline.upsampler is None:
        warnings.append("the upsampler's file is missing: the clip is enlarged and stays soft")
    return warnings


def _write(
    chunks: Iterator[UInt8[ndarray, "_t h w 3"]],
    clip: ResolvedRequest,
    watch: Stopwatch,
    on_event: Callable[[Event], None],
) -> None:
    """Write frames as they come; the file appears complete or not at all."""
    with open_writer(
        clip.output, clip.fps, clip.out_width, clip.out_height, clip.format
    ) as writer:
        for frames in chunks:
            watch.lap("decode")
            writer.write(frames)
            watch.lap("write")
            on_event(Event("decode", writer.num_frames, clip.num_frames))
    watch.lap("write")


def _read_back(clip: ResolvedRequest) -> Iterator[UInt8[ndarray, "h w 3"]]:
    if clip.format == "png":
        yield from (read_image(path) for path in sorted(Path(clip.output).glob("*.png")))
        return
    with read_video(clip.output) as frames:
        yield from frames
