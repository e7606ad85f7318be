"""What a clip will cost on a machine, before anything is opened: time and memory, stage by stage.

Operations are counted on tensors without contents, of which torch computes shapes alone. Memory
is that of weights and of the largest tensors that are there at once. Both are estimates; the rate
at which the machine multiplies matrices is measured.

Letters: n tokens, d channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from kineograph.models.dit import Block
from kineograph.models.image import ImageBlock
from kineograph.models.interpolator import CONTEXT, FrameInterpolator
from kineograph.models.text import TextBlock
from kineograph.models.upsampler import VideoUpsampler
from kineograph.models.vae import VideoVAE
from kineograph.nn.rope import rope_table
from kineograph.request import ResolvedRequest
from kineograph.runtime.batching import batch_pays
from kineograph.runtime.options import STRATEGIES, Strategy
from kineograph.runtime.tiles import decode_border, encode_border, tiled_share
from kineograph.spec import (
    AnyConfig,
    DiTConfig,
    ImageConfig,
    InterpolatorConfig,
    ModelSpec,
    TextConfig,
    UpsamplerConfig,
    VaeConfig,
    size_of,
)
from kineograph.ways import loop_parts
from kineograph.weights.files import skeleton
from kineograph.weights.wan import WIDE

CPU = torch.device("cpu")
PROMPT_TOKENS = 64  # of a usual prompt
# Of the rate of matrix products, what whole parts reach: attention, norms and convolutions are
# slower. On two cores nano and small reach 0.44 and 0.54 in denoising, 0.37 and 0.39 from decoding
# on (benchmarks/plan.py); on a GPU these are guesses.
SHARES = {
    "text": 0.5, "image": 0.5, "encode": 0.35, "denoise": 0.5, "decode": 0.35,
    "interpolate": 0.35, "enlarge": 0.35,
}  # fmt: skip
KINDS = {"low_dit": "dit"}  # of parts that are not named by theirs
ROUNDED = ("text", "dit", "low_dit")  # parts of which some weights may be in 8 bits
HEADROOM = 0.9  # of the memory that is free
EVALUATIONS = {"heun": 2}  # of a step, where it is not one


@dataclass(frozen=True)
class Stage:
    """A stage of a run: what it computes and what it needs on the device."""

    name: str
    operations: float  # multiplications and additions
    seconds: float
    weight_bytes: int  # of the part that works
    least_weight_bytes: int  # of it that must be there at once where it comes block by block
    other_bytes: int  # of the largest tensors
    tiled: float = 1.0  # share of these where frames are computed in tiles

    def on_device(self, fit: Strategy, all_weights: int) -> int:
        """Return the bytes on the device on a rung of the ladder."""
        held = {
            "resident": all_weights, "stages": self.weight_bytes, "stream": self.least_weight_bytes,
            "tiles": self.least_weight_bytes,
        }[fit]  # fmt: skip
        return held + round(self.other_bytes * (self.tiled if fit == "tiles" else 1))


@dataclass(frozen=True)
class Plan:
    """What a clip costs on a device, and how it is fitted there."""

    stages: tuple[Stage, ...]
    weight_bytes: int  # of all parts
    fit: Strategy
    memory: int | None  # free on the device, in bytes, if that is known
    batched: bool = False  # both sides of guidance in one call

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def device_bytes(self) -> int:
        return max(stage.on_device(self.fit, self.weight_bytes) for stage in self.stages)

    def fits(self, fit: Strategy) -> bool:
        """Return whether a rung is expected to do."""
        if self.memory is None:
            return True
        most = max(stage.on_device(fit, self.weight_bytes) for stage in self.stages)
        return most <= HEADROOM * self.memory


def make_plan(
    spec: ModelSpec,
    request: ResolvedRequest,
    *,
    dtype: torch.dtype,
    rate: float,
    memory: int | None,
    fit: Strategy | None = None,
    rounded: bool = False,
    guidance_batch: str = "off",
    device: torch.device = CPU,
) -> Plan:
    """Return what a clip costs at a rate (operations a second) within some memory (bytes).

    Without `fit` the first rung that is expected to do is chosen, or the last one. `rounded`
    weights take 8 bits. `guidance_batch` is that of the run's options: "on" counts the tensors
    of both sides of guidance at once, "auto" does where it pays on `device` and where what they
    need changes no rung.
    """
    bytes_of: dict[str, int] = {}
    least_of: dict[str, int] = {}
    for kind, config in _configs(spec).items():
        width = 4 if kind == "vae" and spec.float_vae else dtype.itemsize
        narrow = 1 if rounded and kind in ROUNDED else width
        bytes_of[kind], least_of[kind] = _held(KINDS.get(kind, kind), config, width, narrow)
    made: tuple[int, ...] = (request.num_frames,)
    if request.loop:
        made = loop_parts(request.num_frames, spec.vae.temporal_stride)
    latents = [spec.latent_shape(size_of(request), n) for n in made]
    latent = max(latents)
    stages = []

    def add(
        name: str, kind: str, operations: float, other: float, times: float = 1, border: int = 0
    ) -> None:
        seconds = times * operations / (rate * SHARES[name])
        tiled = tiled_share((latent[2], latent[3]), border) if border else 1.0
        stages.append(
            Stage(
                name, times * operations, seconds, bytes_of[kind], least_of[kind], round(other),
                tiled,
            )
        )  # fmt: skip

    guided = request.guidance_scale != 1
    add("text", "text", _text(spec.text), PROMPT_TOKENS * spec.text.dim * 16, 1 + guided)
    if request.inputs():
        if spec.image is not None:
            side = spec.image.image_size
            add("image", "image", _image(spec.image), side * side * 200)
        add(
            "encode", "vae", _encode(spec.vae, request), _vae_bytes(spec, request, True),
            2 if request.control else 1, encode_border(spec.vae),
        )  # fmt: skip
    negative = guided / (request.guidance_every or 1)
    evaluations = request.steps * EVALUATIONS.get(request.solver, 1) * (1 + negative)
    other = _block_bytes(spec.dit, latent, dtype.itemsize)
    add("denoise", "dit", sum(_denoise(spec.dit, part) for part in latents), other, evaluations)
    # A loop's first part is decoded to lead back to it, and again to be shown.
    decoded = [*latents, *latents[:-1]]
    add(
        "decode", "vae", sum(_decode(spec.vae, part) for part in decoded),
        _vae_bytes(spec, request, False), border=decode_border(spec.vae),
    )  # fmt: skip
    shown = replace(request, num_frames=sum(made))
    if spec.interpolator is not None and request.times_fps > 1:
        between = _interpolate(spec.interpolator, shown)
        add("interpolate", "interpolator", between, 4 * request.height * request.width * 50)
    if spec.upsampler is not None:
        enlarged = request.times_fps * _enlarge(spec.upsampler, shown)
        add("enlarge", "upsampler", enlarged, 4 * request.out_height * request.out_width * 50)
    plan = Plan(tuple(stages), sum(bytes_of.values()), "resident", memory)
    plan = fitted(plan, memory) if fit is None else replace(plan, fit=fit)
    skips = request.guidance_every is not None and request.guidance_every > 1
    if guidance_batch == "off" or not guided or skips:
        return plan
    pays = batch_pays(spec.dit, spec.dit.tokens(latent), device)
    return _batched(plan, guidance_batch, fit, pays)


def _batched(plan: Plan, wanted: str, fit: Strategy | None, pays: bool) -> Plan:
    """Return a plan with both sides of guidance in one call, if that is wanted."""
    stages = tuple(
        replace(stage, other_bytes=2 * stage.other_bytes) if stage.name == "denoise" else stage
        for stage in plan.stages
    )
    both = replace(plan, stages=stages, batched=True)
    both = fitted(both, plan.memory) if fit is None else both
    as_well = both.fit == plan.fit and both.fits(both.fit)
    return both if wanted == "on" or (pays and as_well) else plan


def fitted(plan: Plan, memory: int | None) -> Plan:
    """Return a plan within some memory (bytes): on the first rung that will do, or the last."""
    plan = replace(plan, memory=memory)
    chosen = next((rung for rung in STRATEGIES if plan.fits(rung)), STRATEGIES[-1])
    return replace(plan, fit=chosen)


def _configs(spec: ModelSpec) -> dict[str, AnyConfig]:
    """Return the configs of a model's parts by kind."""
    configs: dict[str, AnyConfig | None] = {
        "vae": spec.vae, "dit": spec.dit, "low_dit": spec.dit if spec.boundary else None,
        "text": spec.text, "image": spec.image, "upsampler": spec.upsampler,
        "interpolator": spec.interpolator,
    }  # fmt: skip
    return {kind: config for kind, config in configs.items() if config is not None}


@cache
def _held(kind: str, config: AnyConfig, width: int, narrow: int) -> tuple[int, int]:
    """Return the bytes of a part's weights, and those that are there if blocks come one by one.

    A number has `width` bytes where it may be rounded, `narrow` in the matrices of blocks. Of
    blocks that come one by one two are there at once.
    """
    part = skeleton(kind, config)  # takes no memory
    whole = blocks = 0
    for name, tensor in part.state_dict().items():
        inner = tensor.ndim == 2 and name.startswith("blocks.")
        each = 4 if WIDE.search(name) else narrow if inner else width
        whole += each * tensor.numel()
        blocks += each * tensor.numel() if name.startswith("blocks.") else 0
    count = len(getattr(part, "blocks", ()))
    return whole, whole - max(0, count - 2) * blocks // max(1, count)


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - torch's own
    return int(sdpa_flop_count(q, k, v))


# torch counts its attention on a GPU alone.
ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


# What is counted is kept: plans of one model mostly ask for the same again.


def _count(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        run()
    return float(counter.get_total_flops())


@cache
def _text(config: TextConfig) -> float:
    """Count the encoding of a prompt: one block, as often as there are any."""
    with FakeTensorMode():
        block = TextBlock(config)
        x = torch.zeros(1, PROMPT_TOKENS, config.dim)
        places = torch.zeros(PROMPT_TOKENS, PROMPT_TOKENS, dtype=torch.long)
        mask = torch.ones(1, PROMPT_TOKENS, dtype=torch.bool)
        return config.num_layers * _count(lambda: block(x, places, mask))


@cache
def _image(config: ImageConfig) -> float:
    with FakeTensorMode():
        block = ImageBlock(config)
        once = _count(lambda: block(torch.zeros(1, config.tokens, config.dim)))
    return config.num_layers * once


@cache
def _denoise(config: DiTConfig, latent: tuple[int, int, int, int]) -> float:
    """Return the operations of one evaluation: of its blocks, mostly."""
    grid = tuple(n // p for n, p in zip(latent[1:], config.patch_size, strict=True))
    n, d = config.tokens(latent), config.dim
    with FakeTensorMode():
        x, context = torch.zeros(1, n, d), torch.zeros(1, config.text_len, d)
        image = torch.zeros(1, config.image_positions or 257, d) if config.image_dim else None
        rope = rope_table((grid[0], grid[1], grid[2]), config.head_dim, CPU)
        block = Block(config)
        once = _count(lambda: block(x, torch.zeros(1, 1, 6, d), context, rope, None, image))
    return config.num_layers * once


def _block_bytes(config: DiTConfig, latent: tuple[int, int, int, int], width: int) -> float:
    """Return the bytes of a block's tensors, where numbers have `width` bytes."""
    n, d = config.tokens(latent), config.dim
    # The sum of updates in float32, what is normed, q, k, v and their float32 copies, the
    # hidden layer before and behind its activation.
    return float(n * (4 * d + 6 * width * d + 8 * d + 2 * width * config.ffn_dim))


def _vae(config: VaeConfig) -> VideoVAE:
    part = skeleton("vae", config, "cpu").requires_grad_(False)
    assert isinstance(part, VideoVAE)
    return part


def _decode(config: VaeConfig, latent: tuple[int, int, int, int]) -> float:
    """Count the first two chunks of a clip; every later one costs what the second does."""
    channels, frames, height, width = latent
    counted = _chunks(config, (channels, min(frames, 2), height, width))
    return counted[0] + (frames - 1) * counted[-1] if frames > 1 else counted[0]


@cache
def _chunks(config: VaeConfig, latent: tuple[int, int, int, int]) -> tuple[float, ...]:
    """Return the operations of each chunk of a clip."""
    with FakeTensorMode():
        chunks = _vae(config).decode_stream(torch.zeros(1, *latent))
        return tuple(_count(lambda: next(chunks)) for _ in range(latent[1]))


def _encode(config: VaeConfig, request: ResolvedRequest) -> float:
    some = min(request.num_frames, 1 + config.temporal_stride)
    counted = _encoded(config, (some, request.height, request.width))
    return counted * request.num_frames / some


@cache
def _encoded(config: VaeConfig, size: tuple[int, int, int]) -> float:
    """Return the operations of encoding a video of so many frames, rows and columns."""
    with FakeTensorMode():
        part = _vae(config)
        return _count(lambda: part.encode(torch.zeros(1, 3, *size)))


def _vae_bytes(spec: ModelSpec, request: ResolvedRequest, encode: bool) -> float:
    """Return about what the widest layers hold of one chunk, float32.

    Five tensors of the chunk at full size, and for each convolution there two frames of its past;
    a level below, of half the size and with twice the channels, half as much again.
    """
    vae = spec.vae
    width = vae.encoder_dim if encode else vae.decoder_dim * vae.dim_mult[0]
    convolutions = 2 * (vae.num_res_blocks + (0 if encode else 1)) + 1
    frames = 5 * vae.temporal_stride + 2 * convolutions
    cells = request.height * request.width / vae.patch_size**2
    return 1.5 * 4 * frames * cells * width


def _interpolate(config: InterpolatorConfig, request: ResolvedRequest) -> float:
    """Return the operations of the frames between those that the model makes."""
    return _one_between(config, request.height, request.width) * (request.num_frames - 1)


@cache
def _one_between(config: InterpolatorConfig, height: int, width: int) -> float:
    with FakeTensorMode():
        four = torch.zeros(1, CONTEXT, 3, height, width)
        return _count(partial(FrameInterpolator(config), four))


def _enlarge(config: UpsamplerConfig, request: ResolvedRequest) -> float:
    """Return the operations of all passes over all frames that the model makes."""
    height, width, total = request.height, request.width, 0.0
    while height < request.out_height or width < request.out_width:
        total += _one_enlarged(config, height, width) * request.num_frames
        height, width = height * config.scale, width * config.scale
    return total


@cache
def _one_enlarged(config: UpsamplerConfig, height: int, width: int) -> float:
    with FakeTensorMode():
        frame = torch.zeros(1, 3, 1, height, width)
        return _count(partial(VideoUpsampler(config), frame))


def measured_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Return the multiplications and additions a second of large matrix products."""
    side = 1024 if device.type == "cpu" else 8192
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    torch.mm(a, b)
    wait()
    start, repeats = perf_counter(), 0
    while perf_counter() - start < seconds:
        torch.mm(a, b)
        wait()
        repeats += 1
    return 2.0 * side**3 * repeats / (perf_counter() - start)


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a GPU; None for a processor, which maps its weights from files."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.mem_get_info(device)[0])


def as_text(plan: Plan) -> str:
    """Return a plan as one line."""
    parts = ", ".join(f"{s.name} {_time(s.seconds)}" for s in plan.stages if s.seconds >= 0.5)
    size = plan.device_bytes / 1e9
    how = {
        "resident": "all of it there", "stages": "one part at a time", "stream": "by blocks",
        "tiles": "by blocks and tiles",
    }  # fmt: skip
    return f"about {_time(plan.seconds)} ({parts}); {size:.1f} GB on the device, {how[plan.fit]}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def as_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON has it: seconds, bytes, and operations of every stage."""
    return {
        "seconds": plan.seconds,
        "fit": plan.fit,
        "guidance_batch": "on" if plan.batched else "off",
        "device_bytes": plan.device_bytes,
        "weight_bytes": plan.weight_bytes,
        "device_bytes_by_fit": {
            rung: max(stage.on_device(rung, plan.weight_bytes) for stage in plan.stages)
            for rung in STRATEGIES
        },
        "stages": [
            {
                "name": stage.name,
                "operations": stage.operations,
                "seconds": stage.seconds,
                "device_bytes": stage.on_device(plan.fit, plan.weight_bytes),
            }
            for stage in plan.stages
        ],
    }
