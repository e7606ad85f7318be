"""What is asked of a model: one request for the command line, the service and the sidecar.

A `GenerationRequest` says as little as its author wants; `resolve` fills in the
rest from the model's row and refuses, never rounds, what the model cannot make.
The help of each field is the help of its flag.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kineograph.errors import RequestError

if TYPE_CHECKING:
    from kineograph.spec import ModelSpec

SOLVERS = ("euler", "heun", "multistep", "unipc")
FORMATS = ("mp4", "webm", "gif", "png")  # png: a folder of numbered pictures
MAX_SEED = 2**63 - 1  # what torch.Generator takes
SLUG_CHARS = 60

RequestT = TypeVar("RequestT", "GenerationRequest", "ResolvedRequest")


@dataclass(frozen=True)
class Option:
    """How a field of a request is described to its user, and its range where it has one."""

    help: str
    metavar: str
    low: float | None = None
    high: float | None = None


def _option(help: str, metavar: str, low: float | None = None, high: float | None = None) -> Any:  # noqa: ANN401 - the type of `dataclasses.field`
    return field(default=None, metadata={"option": Option(help, metavar, low, high)})


@dataclass(frozen=True)
class GenerationRequest:
    """What the user asks for; None leaves the choice to the model's defaults."""

    prompt: str = field(metadata={"option": Option("what the video shows, in words", "PROMPT")})
    model: str | None = _option("name of the model; see `kineo models`", "NAME")
    aspect_ratio: str | None = _option("width to height: 16:9, 9:16, 1:1, 4:3, 3:4 or 21:9", "W:H")
    duration: float | None = _option(
        "length in seconds; must be one that the model makes exactly", "SECONDS"
    )
    num_frames: int | None = _option("length in frames, instead of --duration", "N", 1)
    fps: int | None = _option("frames per second; must be the model's own", "N", 1)
    seed: int | None = _option(
        "number that decides the noise (default: a new one each time, recorded in the sidecar)",
        "N",
        0,
        MAX_SEED,
    )
    steps: int | None = _option("number of denoising steps, 1 to 1000", "N", 1, 1000)
    guidance_scale: float | None = _option(
        "how strongly the prompt is followed, 1 (off) to 30", "X", 1, 30
    )
    solver: str | None = _option("update rule: euler, heun, multistep or unipc", "NAME")
    shift: float | None = _option(
        "how far the noise levels lean towards noise, 0.01 to 100; 1 is even", "X", 0.01, 100
    )
    negative_prompt: str | None = _option("what the video should not show", "TEXT")
    image: str | None = _option("picture to use as the first frame", "FIRST")
    last_image: str | None = _option("picture to use as the last frame", "LAST")
    count: int | None = _option(
        "number of clips, 1 to 16; each takes the next seed and its own file", "N", 1, 16
    )
    format: str | None = _option(
        "mp4, webm, gif or png, a folder of pictures (default: by the ending of --output, or mp4)",
        "NAME",
    )
    output: str | None = _option(
        "file to write; a name that ends in / is a folder of PNG frames (default: the prompt's "
        "words); an existing file is replaced",
        "FILE",
    )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict without the fields that were left open."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, data: object) -> GenerationRequest:
        """Read a request from JSON; a `RequestError` names an unknown field or a wrong type."""
        return _from_dict(cls, data)


@dataclass(frozen=True)
class ResolvedRequest:
    """A request with every choice made: all that the frames depend on but the weights.

    Sizes are in pixels, `duration` in seconds. The model works at `height` x
    `width`; the clip is delivered at `out_height` x `out_width`.
    """

    prompt: str
    negative_prompt: str
    model: str
    aspect_ratio: str
    height: int
    width: int
    out_height: int
    out_width: int
    num_frames: int
    fps: int
    duration: float
    seed: int
    steps: int
    guidance_scale: float
    solver: str
    shift: float
    image: str | None
    last_image: str | None
    count: int
    format: str
    output: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict of every field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> ResolvedRequest:
        """Read what `to_dict` wrote; a `RequestError` names a missing, unknown or wrong field."""
        return _from_dict(cls, data)

    def as_request(self) -> GenerationRequest:
        """Return the request that asks for exactly this, sizes left to the model."""
        names = {f.name for f in fields(GenerationRequest)}
        return GenerationRequest(**{k: v for k, v in asdict(self).items() if k in names})

    def clips(self) -> list[ResolvedRequest]:
        """Return one request a clip: `count` 1, its own seed and its own file."""
        if self.count == 1:
            return [self]
        outputs = [renamed(self.output, self.format, f"-{i + 1}") for i in range(self.count)]
        return [
            replace(self, count=1, seed=self.seed + i, output=str(output))
            for i, output in enumerate(outputs)
        ]


def option_of(request_field: Field[Any]) -> Option:
    """Return the description of a field of `GenerationRequest`."""
    option = request_field.metadata["option"]
    assert isinstance(option, Option)
    return option


def kind_of(request_field: Field[Any]) -> type[str] | type[int] | type[float]:
    """Return the type of a field's values, its optional None apart."""
    kinds: dict[str, type[str] | type[int] | type[float]] = {"str": str, "int": int, "float": float}
    return kinds[str(request_field.type).split(" | ")[0]]


def _from_dict(cls: type[RequestT], data: object) -> RequestT:
    if not isinstance(data, Mapping):
        raise RequestError(f"a request must be an object of fields, not {shown(data)}")
    known = {f.name: f for f in fields(cls)}
    for name in data:
        if name not in known:
            raise RequestError(f"unknown field {name!r}; allowed: {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, f in known.items():
        value = data.get(name)
        kind = kind_of(f)
        optional = str(f.type).endswith("| None")
        if name not in data and not optional:
            raise RequestError(f"field {name!r} is missing")
        if value is None and optional:
            continue
        if kind is float and type(value) is int and abs(value) <= MAX_SEED:
            value = float(value)
        if type(value) is not kind:  # exactly: True is no number
            raise RequestError(f"{name} {shown(value)} must be of type {kind.__name__}")
        values[name] = value
    # A field that JSON left out is None: the two classes agree on that for optional fields.
    return cls(**{name: None for name in known} | values)


def shown(value: object) -> str:
    """Return a value as a message may show it, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= SLUG_CHARS else text[: SLUG_CHARS - 3] + "..."


def changed(request: GenerationRequest, given: Mapping[str, Any]) -> GenerationRequest:
    """Return the request with the given fields set, and those that they overrule left open."""
    overruled: dict[str, None] = {}
    for pair in (("duration", "num_frames"), ("format", "output")):
        if any(name in given for name in pair):
            overruled |= dict.fromkeys(pair)
    return replace(request, **(overruled | dict(given)))


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
    _check_ranges(request)
    prompt = _check_text("prompt", request.prompt, spec.max_prompt_chars)
    if not prompt.strip():
        raise RequestError("the prompt is empty; say in words what the video shows")
    negative = spec.negative_prompt if request.negative_prompt is None else request.negative_prompt
    ratio = _choice("aspect ratio", request.aspect_ratio, _default_ratio(spec), spec.sizes)
    size = spec.sizes[ratio]
    num_frames = _resolve_frames(request, spec)
    count = 1 if request.count is None else request.count
    seed = new_seed() if request.seed is None else request.seed
    if seed + count - 1 > MAX_SEED:
        raise RequestError(f"seed {seed} leaves no room for {count} clips; at most {MAX_SEED}")
    _check_images(request, spec, num_frames)
    format, output = _resolve_output(request)
    return ResolvedRequest(
        prompt=prompt,
        negative_prompt=_check_text("negative prompt", negative, spec.max_prompt_chars),
        model=spec.name,
        aspect_ratio=ratio,
        height=size.height,
        width=size.width,
        out_height=size.out_height,
        out_width=size.out_width,
        num_frames=num_frames,
        fps=spec.fps,
        duration=num_frames / spec.fps,
        seed=seed,
        steps=spec.steps if request.steps is None else request.steps,
        guidance_scale=(
            spec.guidance_scale if request.guidance_scale is None else request.guidance_scale
        ),
        solver=_choice("solver", request.solver, spec.solver, SOLVERS),
        shift=spec.shift if request.shift is None else request.shift,
        image=request.image,
        last_image=request.last_image,
        count=count,
        format=format,
        output=output,
    )


def _check_ranges(request: GenerationRequest) -> None:
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
    if not _is_plain_text(text):
        raise RequestError(f"the {name} {text!a} is not plain Unicode text")
    return text


def _check_path(name: str, path: str) -> str:
    if not path or not _is_plain_text(path):
        raise RequestError(f"{name} {path!a} is not a file name")
    return path


def _is_plain_text(text: str) -> bool:
    """Return False for what no file or JSON can carry: lone surrogates and zero characters."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _choice(name: str, given: str | None, default: str, allowed: Any) -> str:  # noqa: ANN401 - dict or tuple
    value = default if given is None else given
    if value not in allowed:
        raise RequestError(f"unknown {name} {shown(value)}; allowed: {', '.join(allowed)}")
    return value


def _default_ratio(spec: ModelSpec) -> str:
    return "1:1" if "1:1" in spec.sizes else next(iter(spec.sizes))


def _resolve_frames(request: GenerationRequest, spec: ModelSpec) -> int:
    if request.fps not in (None, spec.fps):
        raise RequestError(f"fps {request.fps} cannot be made; {spec.name} makes {spec.fps}")
    allowed = spec.allowed_frames()
    frames = request.num_frames
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


def _listed(values: list[int] | list[float]) -> str:
    """Name every value of an even series, or a long series by its ends and step."""
    if len(values) <= 16:
        return ", ".join(f"{v:g}" for v in values)
    return f"{values[0]:g} to {values[-1]:g} in steps of {values[1] - values[0]:g}"


def _check_images(request: GenerationRequest, spec: ModelSpec, num_frames: int) -> None:
    given = [n for n in ("image", "last_image") if getattr(request, n) is not None]
    for name in given:
        _check_path(name, getattr(request, name))
    latent_frames = spec.latent_shape(_default_ratio(spec), num_frames)[1]
    if given and len(given) >= latent_frames:
        least = len(given) * spec.vae.temporal_stride + 1
        raise RequestError(
            f"num_frames {num_frames} leaves nothing to make beside {' and '.join(given)}; "
            f"at least {least} are needed"
        )


def infer_format(path: str, format: str | None = None) -> str:
    """Return the format that a path asks for: by its ending, png for one that ends in a slash.

    Raises `RequestError` for an unknown ending, or one that says other than `format`.
    """
    if format is not None:
        _choice("output format", format, "", FORMATS)
    ending = Path(path).suffix.lower().removeprefix(".")
    if path.endswith(("/", os.sep)):
        ending = "png"
    elif format == "png" and ending not in FORMATS:
        return format
    elif ending == "png" or ending not in FORMATS:
        raise RequestError(
            f"unknown output format of {path!r}; a name ends in .mp4, .webm or .gif, "
            "or in / for a folder of PNG frames"
        )
    if format not in (None, ending):
        raise RequestError(f"output {path!r} is {ending}, but the format is {format}")
    return ending


def _resolve_output(request: GenerationRequest) -> tuple[str, str]:
    """Return the format and the path; a folder of pictures has no ending of its own."""
    if request.output is None:
        format = _choice("output format", request.format, "mp4", FORMATS)
        name = slug(request.prompt)
        return format, name if format == "png" else f"{name}.{format}"
    path = _check_path("output", request.output)
    format = infer_format(path, request.format)
    return format, os.path.normpath(path) if format == "png" else path


def slug(prompt: str) -> str:
    """Return a file name of the prompt's words, at most 60 characters."""
    name = ""
    for word in re.findall(r"\w+", prompt.lower()):
        longer = f"{name}-{word}" if name else word[:SLUG_CHARS]
        if len(longer) > SLUG_CHARS:
            break
        name = longer
    return name or "clip"


def renamed(output: str, format: str, more: str = "", ending: str | None = None) -> Path:
    """Return a path with more in its name before the ending; a folder has no ending."""
    path = Path(output)
    stem, suffix = (path.name, "") if format == "png" else (path.stem, path.suffix)
    return path.with_name(stem + more + (suffix if ending is None else ending))
