"""A model that is loaded: its parts, where they are and how they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from kineograph.errors import RequestError, choice
from kineograph.models.dit import VideoDiT
from kineograph.models.image import ImageEncoder
from kineograph.models.interpolator import FrameInterpolator
from kineograph.models.text import TextEncoder
from kineograph.models.tokenizer import Tokenizer
from kineograph.models.umt5 import UmT5Tokenizer
from kineograph.models.upsampler import VideoUpsampler
from kineograph.models.vae import VideoVAE
from kineograph.request import ResolvedRequest
from kineograph.runtime.compiling import compile_blocks
from kineograph.runtime.contexts import ContextStore
from kineograph.runtime.kernels import check_kernel, use_kernel
from kineograph.runtime.options import DEFAULT, GUIDANCE_BATCH, ON_CPU, RunOptions
from kineograph.runtime.parallel import Team, share_weights, share_work
from kineograph.runtime.passes import settle
from kineograph.runtime.residence import Residence
from kineograph.runtime.rounding import check_rounding, round_weights
from kineograph.spec import ModelSpec
from kineograph.ways import split_lora
from kineograph.weights.adapters import Attached, read_adapter
from kineograph.weights.folder import Parts, open_parts, spec_of
from kineograph.weights.header import cache_folder

COMPANIONS = ("upsampler", "interpolator")  # small, and at work beside the VAE: always there
TRANSFORMERS = ("dit", "low_dit")

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Pipeline:
    """A model that is loaded: its parts, where they are and how they compute."""

    spec: ModelSpec
    vae: VideoVAE
    dit: VideoDiT
    low_dit: VideoDiT | None  # the expert for low noise, where there are two
    text: TextEncoder
    image: ImageEncoder | None  # what sees pictures besides the VAE
    tokenizer: Tokenizer | UmT5Tokenizer
    upsampler: VideoUpsampler | None
    interpolator: FrameInterpolator | None
    device: torch.device
    dtype: torch.dtype  # of the arithmetic; below float32 by autocast
    hashes: Mapping[str, str]  # sha256 of every file that decides the frames
    residence: Residence  # where the weights are meanwhile
    options: RunOptions = DEFAULT
    adapted: tuple[Attached, ...] = ()  # what changes the transformers at present
    contexts: ContextStore | None = None  # prompts that were encoded before
    team: Team | None = None  # the processes that work on one clip, where there are several

    def working(self, kind: str) -> AbstractContextManager[object]:
        """Return the context in which a part works, its weights on the device."""
        self.residence.need(kind)
        half = self.dtype != torch.float32 and not (kind == "vae" and self.spec.float_vae)
        return torch.autocast(self.device.type, self.dtype if half else None, enabled=half)

    def persist(self, work: Callable[[], ResultT]) -> ResultT:
        """Return what some work makes, begun again with less there where memory runs out."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError:
                if not self.step_down():
                    raise

    def step_down(self) -> bool:
        """Keep less on the device after it ran out of memory; False where that cannot be.

        In a team one process cannot repeat a step: the others would not take part in it.
        """
        return self.team is None and self.residence.step_down()

    def unknown_words(self, request: ResolvedRequest) -> list[str]:
        """Return the words of both prompts that the model was not trained on."""
        return self.tokenizer.unknown_words(f"{request.prompt}\n{request.negative_prompt}")


def load(
    name: str,
    dtype: torch.dtype | None = None,
    options: RunOptions = ON_CPU,
    team: Team | None = None,
) -> Pipeline:
    """Open a preset, or a folder of weights, for inference.

    It computes in `dtype`; by default in float32, or in bfloat16 where the model's row and the
    processor are for it. `options` say where and how, `team` who else works on the same clips.

    Raises:
        RequestError: `name` is neither, or an option is not for this machine.
        WeightsError: files are missing, damaged, or do not fit together.
    """
    spec, device = spec_of(name), torch.device(options.device or "cpu")
    device = device if team is None else team.device
    dtype = default_dtype(spec, device) if dtype is None else dtype
    check_kernel(options.attention, device, dtype)
    if options.weights is not None:
        check_rounding(options.weights)
    options = _guiding(options, team)
    parts = open_parts(name, dtype if spec.hub else None)
    modules = dict(parts.modules)
    moved = {kind: part for kind, part in modules.items() if kind not in COMPANIONS}
    for kind in COMPANIONS:
        if kind in modules:
            modules[kind].to(device)
    for kind in TRANSFORMERS:
        dit = modules.get(kind)
        if isinstance(dit, VideoDiT):
            _prepare(dit, options, team)
            if team is not None and options.shard:
                del moved[kind]  # its pieces are moved by what shares them out
    if options.weights is not None:
        round_weights(modules["text"], options.weights)
    vae, dit, text = (modules[kind] for kind in ("vae", "dit", "text"))
    low_dit, image = modules.get("low_dit"), modules.get("image")
    upsampler, interpolator = modules.get("upsampler"), modules.get("interpolator")
    assert isinstance(vae, VideoVAE) and isinstance(dit, VideoDiT) and isinstance(text, TextEncoder)
    assert low_dit is None or isinstance(low_dit, VideoDiT)
    assert image is None or isinstance(image, ImageEncoder)
    assert upsampler is None or isinstance(upsampler, VideoUpsampler)
    assert interpolator is None or isinstance(interpolator, FrameInterpolator)
    if device.type == "cpu" and dtype == torch.bfloat16:
        for part in (upsampler, interpolator, None if spec.float_vae else vae):
            if part is not None:
                settle(part)
    reader = UmT5Tokenizer if parts.spec.hub else Tokenizer
    tokenizer = reader.load(parts.tokenizer, parts.spec.dit.text_len)
    return Pipeline(
        parts.spec, vae, dit, low_dit, text, image, tokenizer, upsampler, interpolator, device,
        dtype, parts.hashes, Residence(moved, device, options.fit or "resident"), options,
        contexts=_contexts(parts, options, device, dtype), team=team,
    )  # fmt: skip


def _guiding(options: RunOptions, team: Team | None) -> RunOptions:
    """Return options that say whether both sides of guidance are one call: where it is planned."""
    batch = choice("guidance_batch", options.guidance_batch, "auto", GUIDANCE_BATCH)
    if batch == "on" and team is not None:
        raise RequestError(
            "guidance_batch 'on' is not allowed where several processes work; auto and off are"
        )
    return replace(options, guidance_batch="on" if batch == "on" else "off")


def _prepare(dit: VideoDiT, options: RunOptions, team: Team | None) -> None:
    """Let a transformer compute as the options say, alone or in a team."""
    if options.weights is not None:
        round_weights(dit, options.weights)
    use_kernel(dit, options.attention)
    if team is not None:
        share_work(dit, team)
        if options.shard:
            share_weights(dit, team)
    if options.compiled:
        compile_blocks(dit)


def _contexts(
    parts: Parts, options: RunOptions, device: torch.device, dtype: torch.dtype
) -> ContextStore | None:
    """Return where encoded prompts are kept, for a text encoder that is dear to open."""
    if not parts.spec.hub:
        return None
    told = {"torch": torch.__version__, "device": device.type, "dtype": str(dtype)}
    told |= {"weights": options.weights or "", "threads": str(torch.get_num_threads())}
    return ContextStore(cache_folder() / "contexts", {**parts.hashes, **told})


def adapt(pipeline: Pipeline, loras: Sequence[str], merge: bool = False) -> Pipeline:
    """Return a pipeline whose transformers are changed by these adapters and by no others.

    Entries are those of `GenerationRequest.lora`; none takes all off again. With `merge` they are
    added to the weights, which makes a step no dearer but takes memory.

    Raises:
        WeightsError: a file is damaged or for another model.
    """
    experts: dict[str, VideoDiT] = {"high": pipeline.dit}
    if pipeline.low_dit is not None:
        experts["low"] = pipeline.low_dit
    wanted = {
        name: [
            (read_adapter(path, dit, second=name == "low"), scale)
            for path, scale, expert in map(split_lora, loras)
            if expert in ("", name)
        ]
        for name, dit in experts.items()
    }
    old = pipeline.residence
    old.close()
    for attached in pipeline.adapted:
        attached.detach()
    adapted = tuple(Attached(experts[name], some, merge) for name, some in wanted.items() if some)
    residence = Residence(old.parts, old.device, old.strategy, old.always, old.tell)
    return replace(pipeline, residence=residence, adapted=adapted)


def default_dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    """Return what a model is computed in on a device unless it is asked for."""
    return torch.bfloat16 if spec.half and fast_bfloat16(device) else torch.float32


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices of bfloat16 faster than of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.12 or later
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
