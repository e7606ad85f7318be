"""What a clip will cost on a machine, before anything is opened: time and memory, stage by stage.

Operations and memory, that of weights and of the largest tensors that are there at once, are
those of `counting`, and estimates; the rate at which the machine multiplies matrices is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch

from kineograph.request import ResolvedRequest
from kineograph.runtime import counting
from kineograph.runtime.batching import batch_pays
from kineograph.runtime.options import STRATEGIES, Strategy
from kineograph.runtime.tiles import decode_border, encode_border, tiled_share
from kineograph.spec import AnyConfig, ModelSpec, size_of
from kineograph.ways import made_frames

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
    device: torch.device = counting.CPU,
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
        bytes_of[kind], least_of[kind] = counting.held_bytes(
            KINDS.get(kind, kind), config, width, narrow
        )
    made = made_frames(request, spec.vae.temporal_stride)
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
    tokens = counting.PROMPT_TOKENS
    add("text", "text", counting.text(spec.text), tokens * spec.text.dim * 16, 1 + guided)
    if request.inputs():
        if spec.image is not None:
            side = spec.image.image_size
            add("image", "image", counting.image(spec.image), side * side * 200)
        add(
            "encode", "vae", counting.encode(spec.vae, request),
            counting.vae_bytes(spec, request, True), 2 if request.control else 1,
            encode_border(spec.vae),
        )  # fmt: skip
    negative = guided / (request.guidance_every or 1)
    evaluations = request.steps * EVALUATIONS.get(request.solver, 1) * (1 + negative)
    other = counting.block_bytes(spec.dit, latent, dtype.itemsize)
    step = sum(counting.denoise(spec.dit, part) for part in latents)
    add("denoise", "dit", step, other, evaluations)
    # A loop's first part is decoded to lead back to it, and again to be shown.
    decoded = [*latents, *latents[:-1]]
    add(
        "decode", "vae", sum(counting.decode(spec.vae, part) for part in decoded),
        counting.vae_bytes(spec, request, False), border=decode_border(spec.vae),
    )  # fmt: skip
    shown = replace(request, num_frames=sum(made))
    if spec.interpolator is not None and request.times_fps > 1:
        between = counting.interpolate(spec.interpolator, shown)
        add("interpolate", "interpolator", between, 4 * request.height * request.width * 50)
    if spec.upsampler is not None:
        enlarged = request.times_fps * counting.enlarge(spec.upsampler, shown)
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
