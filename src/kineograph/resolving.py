"""From what is asked to what is made: a request filled in from the model's row, or refused.

Nothing is rounded: what the model cannot make is an error that says what it can.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import fields

from kineograph.errors import RequestError, choice
from kineograph.outputs import resolve_output
from kineograph.request import (
    MAX_SEED,
    SOLVERS,
    GenerationRequest,
    ResolvedRequest,
    option_of,
)
from kineograph.spec import ModelSpec
from kineograph.ways import (
    STRENGTH,
    check_controls,
    check_loras,
    check_spec_ways,
    check_ways,
    is_plain_text,
    known_frames,
)

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Fields that a model's row says nothing about.
AS_THEY_ARE = (
    "image", "last_image", "keyframes", "before", "after", "loop", "video", "control",
    "control_mask", "references", "camera", "motion_speed", "lora", "step_cache", "guidance_every",
)  # fmt: skip


def fresh_seed() -> int:
    """Return a seed nobody chose, from the operating system: no global generator is touched."""
    return secrets.randbelow(2**32)


def resolve(
    request: GenerationRequest, spec: ModelSpec, *, new_seed: Callable[[], int] = fresh_seed
) -> ResolvedRequest:
    """Fill a request in from a model's row.

    `new_seed` is asked only where the request names no seed. Whatever the model
    cannot make exactly raises a `RequestError` that names the value and what is allowed.
    """
    if request.model not in (None, spec.name):
        raise RequestError(f"model {request.model!r} was asked of the model {spec.name!r}")
    check_ranges(request)
    prompt = _check_text("prompt", request.prompt, spec.max_prompt_chars)
    if not prompt.strip():
        raise RequestError("the prompt is empty; say in words what the video shows")
    negative = spec.negative_prompt if request.negative_prompt is None else request.negative_prompt
    resolution = _resolve_resolution(request, spec)
    sizes = spec.resolutions[resolution]
    ratio = choice("aspect ratio", request.aspect_ratio, _default_ratio(spec), sizes)
    size = sizes[ratio]
    num_frames = _resolve_frames(request, spec)
    count = 1 if request.count is None else request.count
    seed = new_seed() if request.seed is None else request.seed
    if seed + count - 1 > MAX_SEED:
        raise RequestError(f"seed {seed} leaves no room for {count} clips; at most {MAX_SEED}")
    check_ways(request)
    check_spec_ways(request, spec)
    check_controls(request, spec)
    check_loras(request, spec)
    solver = choice("solver", request.solver, spec.solver, SOLVERS)
    _check_shortcuts(request, solver)
    format, output = resolve_output(request.prompt, request.output, request.format, num_frames)
    resolved = ResolvedRequest(
        prompt=prompt,
        negative_prompt=_check_text("negative prompt", negative, spec.max_prompt_chars),
        model=spec.name,
        aspect_ratio=ratio,
        resolution=resolution or None,
        height=size.height,
        width=size.width,
        out_height=size.out_height,
        out_width=size.out_width,
        num_frames=num_frames,
        fps=spec.fps,
        out_fps=spec.out_fps if request.fps is None else request.fps,
        duration=num_frames / spec.fps,
        seed=seed,
        steps=spec.steps if request.steps is None else request.steps,
        guidance_scale=(
            spec.guidance_scale if request.guidance_scale is None else request.guidance_scale
        ),
        low_guidance_scale=_resolve_low_guidance(request, spec),
        solver=solver,
        shift=spec.shift if request.shift is None else request.shift,
        strength=STRENGTH if request.video and request.strength is None else request.strength,
        count=count,
        format=format,
        output=output,
        **{name: getattr(request, name) or None for name in AS_THEY_ARE},
        control_scale=request.control_scale,
    )
    known_frames(resolved, spec)
    return resolved


def _check_shortcuts(request: GenerationRequest, solver: str) -> None:
    """Refuse to leave out evaluations of a solver that makes two at one noise level."""
    for name in ("step_cache", "guidance_every"):
        if getattr(request, name) not in (None, 1) and solver == "heun":
            others = ", ".join(n for n in SOLVERS if n != "heun")
            raise RequestError(f"{name} does not go with the solver 'heun'; allowed: {others}")


def _resolve_resolution(request: GenerationRequest, spec: ModelSpec) -> str:
    if request.resolution is None:
        return spec.resolution
    if not spec.resolution:
        raise RequestError(
            f"resolution {request.resolution!r} is not allowed: {spec.name} has but one"
        )
    return choice("resolution", request.resolution, spec.resolution, spec.resolutions)


def _resolve_low_guidance(request: GenerationRequest, spec: ModelSpec) -> float | None:
    if not spec.boundary:
        if request.low_guidance_scale is not None:
            raise RequestError(
                f"low_guidance_scale {request.low_guidance_scale:g} is for models with two "
                f"experts; {spec.name} has one"
            )
        return None
    if request.low_guidance_scale is not None:
        return request.low_guidance_scale
    return spec.low_guidance_scale if request.guidance_scale is None else request.guidance_scale


def check_ranges(request: GenerationRequest) -> None:
    """Raise `RequestError` for a number beyond its range, or a solver that there is not."""
    choice("solver", request.solver, SOLVERS[0], SOLVERS)
    for f in fields(request):
        option, value = option_of(f), getattr(request, f.name)
        if value is None or option.low is None:
            continue
        # Written so that NaN, which compares false with everything, is refused too.
        if not option.low <= value <= (float("inf") if option.high is None else option.high):
            top = "" if option.high is None else f" to {_plain(option.high)}"
            allowed = f"{_plain(option.low)}{top}" if top else f"{_plain(option.low)} or more"
            raise RequestError(f"{f.name} {value} is out of range; allowed: {allowed}")


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _check_text(name: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise RequestError(f"the {name} has {len(text)} characters; at most {limit} are allowed")
    if not is_plain_text(text):
        raise RequestError(f"the {name} {text!a} is not plain Unicode text")
    return text


def _default_ratio(spec: ModelSpec) -> str:
    return "1:1" if "1:1" in spec.sizes and not spec.hub else next(iter(spec.sizes))


def _resolve_frames(request: GenerationRequest, spec: ModelSpec) -> int:
    rates = sorted({spec.fps, spec.out_fps})
    if request.fps not in (None, *rates):
        raise RequestError(
            f"fps {request.fps} cannot be made; {spec.name} makes {' or '.join(map(str, rates))}"
        )
    allowed = spec.allowed_frames()
    frames = request.num_frames
    if frames is None and request.duration is None and is_picture(request.video):
        return 1
    if frames is not None and frames not in allowed:
        raise RequestError(
            f"num_frames {frames} cannot be made; {spec.name} makes {_listed(allowed)}"
        )
    if request.duration is None:
        return spec.num_frames if frames is None else frames
    for n in allowed:
        if abs(n / spec.fps - request.duration) < 1e-6:
            if frames not in (None, n):
                raise RequestError(
                    f"duration {request.duration:g} s is {n} frames at {spec.fps} fps, "
                    f"but num_frames is {frames}; give one of the two"
                )
            return n
    raise RequestError(
        f"duration {request.duration:g} s cannot be made; {spec.name} makes "
        f"{_listed([n / spec.fps for n in allowed])} s"
    )


def is_picture(path: str | None) -> bool:
    """Return whether a path names a picture, by its ending."""
    return path is not None and path.lower().endswith(PICTURE_ENDINGS)


def _listed(values: list[int] | list[float]) -> str:
    """Name every value of an even series, or a long series by its ends and step."""
    if len(values) <= 16:
        return ", ".join(f"{v:g}" for v in values)
    return f"{values[0]:g} to {values[-1]:g} in steps of {values[1] - values[0]:g}"
