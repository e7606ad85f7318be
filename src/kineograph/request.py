"""What is asked of a model: one request for the command line, the service and the sidecar.

A `GenerationRequest` says as little as its author wants; `resolving.resolve` fills in the rest
from the model's row, which makes a `ResolvedRequest` of it.
The help of each field is the help of its flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypeVar

from kineograph.errors import RequestError, shown
from kineograph.outputs import renamed
from kineograph.ways import split_camera, split_keyframe, split_lora

SOLVERS = ("euler", "heun", "multistep", "unipc")
MAX_SEED = 2**63 - 1  # what torch.Generator takes

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
    resolution: str | None = _option(
        "size by name, where a model has several, such as 480p (`kineo models`)", "NAME"
    )
    duration: float | None = _option(
        "length in seconds; must be one that the model makes exactly", "SECONDS"
    )
    num_frames: int | None = _option("length in frames, instead of --duration", "N", 1)
    fps: int | None = _option(
        "frames per second; must be a rate that the model makes (`kineo models`)", "N", 1
    )
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
    low_guidance_scale: float | None = _option(
        "the same for the second expert of a model that has two, at low noise (default: the "
        "model's, or --guidance-scale where that is given)",
        "X",
        1,
        30,
    )
    solver: str | None = _option("update rule: euler, heun, multistep or unipc", "NAME")
    shift: float | None = _option(
        "how far the noise levels lean towards noise, 0.01 to 100; 1 is even", "X", 0.01, 100
    )
    negative_prompt: str | None = _option("what the video should not show", "TEXT")
    image: str | None = _option("picture to use as the first frame", "FIRST")
    last_image: str | None = _option("picture to use as the last frame", "LAST")
    keyframes: tuple[str, ...] | None = _option(
        "picture to pass through at a time in seconds, such as mid.png@1.5; may be given again, "
        "for up to 8 pictures in all",
        "FILE@SECONDS",
    )
    before: str | None = _option(
        "video to go on from: what is written is this video with the new clip behind it", "VIDEO"
    )
    after: str | None = _option(
        "video to lead up to: it is written behind the new clip; with --before the clip "
        "is what lies between the two",
        "VIDEO",
    )
    loop: bool | None = _option("end where the clip begins, so that it can be repeated", "")
    video: str | None = _option(
        "video, or for one frame a picture, to change as the prompt says", "SOURCE"
    )
    strength: float | None = _option(
        "how far --video is changed, 0.05 to 1 (all of it anew); default 0.6", "X", 0.05, 1
    )
    control: str | None = _option(
        "video that says what happens where: depth, poses, lines, or the clip itself to be "
        "changed in parts (VACE models)",
        "VIDEO",
    )
    control_mask: str | None = _option(
        "video, or a picture for all frames, that is bright where --control is made anew", "MASK"
    )
    control_scale: float | None = _option(
        "how much --control counts, 0 to 2; default 1", "X", 0, 2
    )
    references: tuple[str, ...] | None = _option(
        "picture of somebody or something to appear (VACE models); may be given again", "FILE"
    )
    camera: str | None = _option(
        "how the camera moves, in numbers: horizontal, vertical and depth in m/s, pan, tilt, roll "
        "and orbit in deg/s, zoom in 1/s, such as pan=7,zoom=-0.1; what is not named stands",
        "NAME=X,...",
    )
    motion_speed: float | None = _option(
        "how fast things move, 0.25 to 4; 1 is normal", "X", 0.25, 4
    )
    lora: tuple[str, ...] | None = _option(
        "adapter (LoRA, safetensors) to change the model with, such as style.safetensors@0.8; "
        "#high or #low behind it means one of two experts; may be given again",
        "FILE@SCALE",
    )
    step_cache: float | None = _option(
        "leave out evaluations where the velocity is expected to have changed by less than this "
        "share of itself, such as 0.1; default: evaluate all",
        "X",
        0.001,
        1,
    )
    guidance_every: int | None = _option(
        "evaluate the negative prompt at every N-th step alone, 1 (all) to 8", "N", 1, 8
    )
    count: int | None = _option(
        "number of clips, 1 to 16; each takes the next seed and its own file", "N", 1, 16
    )
    format: str | None = _option(
        "mp4, webm, gif, png (a folder of pictures) or image (a picture, of one frame); default: "
        "by the ending of --output, or mp4, or image for one frame",
        "NAME",
    )
    output: str | None = _option(
        "file to write; a name that ends in / is a folder of PNG frames (default: the prompt's "
        "words); an existing file is replaced",
        "FILE",
    )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict without the fields that were left open."""
        return {name: value for name, value in vars(self).items() if value is not None}

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
    resolution: str | None  # None where a model has but one
    height: int
    width: int
    out_height: int
    out_width: int
    num_frames: int
    fps: int  # that the model works at
    out_fps: int | None  # that are delivered; None where a record is older than the difference
    duration: float
    seed: int
    steps: int
    guidance_scale: float
    low_guidance_scale: float | None  # of the second expert, where there is one
    solver: str
    shift: float
    image: str | None
    last_image: str | None
    keyframes: tuple[str, ...] | None
    before: str | None
    after: str | None
    loop: bool | None
    video: str | None
    strength: float | None
    control: str | None
    control_mask: str | None
    control_scale: float | None
    references: tuple[str, ...] | None
    camera: str | None
    motion_speed: float | None
    lora: tuple[str, ...] | None
    step_cache: float | None
    guidance_every: int | None
    count: int
    format: str
    output: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict of every field."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, data: object) -> ResolvedRequest:
        """Read what `to_dict` wrote; a `RequestError` names a missing, unknown or wrong field."""
        return _from_dict(cls, data)

    def inputs(self) -> list[str]:
        """Return the files that are read besides the weights, each once."""
        pictures = [*(path for path, _ in self.pictures()), *(self.references or ())]
        sources = (self.before, self.after, self.video, self.control, self.control_mask)
        videos = [path for path in sources if path is not None]
        adapters = [split_lora(entry)[0] for entry in self.lora or ()]
        return list(dict.fromkeys(pictures + videos + adapters))

    def pictures(self) -> list[tuple[str, int]]:
        """Return the pictures to pass through and the frame each is at, the first frame first."""
        found = [] if self.image is None else [(self.image, 0)]
        for entry in self.keyframes or ():
            path, seconds = split_keyframe(entry)
            found.append((path, round(seconds * self.fps)))
        if self.last_image is not None:
            found.append((self.last_image, self.num_frames - 1))
        return sorted(found, key=lambda pair: pair[1])

    def camera_rates(self) -> dict[str, float]:
        """Return the numbers of `camera`, in its units, by name."""
        return {} if self.camera is None else split_camera(self.camera)

    def as_request(self) -> GenerationRequest:
        """Return the request that asks for exactly this, sizes left to the model."""
        told = {f.name: getattr(self, f.name) for f in fields(GenerationRequest)}
        return GenerationRequest(**told | {"fps": self.delivered_fps})

    @property
    def delivered_fps(self) -> int:
        """The frames a second of the file."""
        return self.fps if self.out_fps is None else self.out_fps

    @property
    def times_fps(self) -> int:
        """How many times as many frames a second are delivered as the model makes."""
        return self.delivered_fps // self.fps

    @property
    def all_steps(self) -> int:
        """The steps of a clip from beginning to end: a loop is made in two parts."""
        return self.steps * (2 if self.loop else 1)

    @property
    def delivered_frames(self) -> int:
        """The frames of the file; in a loop those between the last and the first count, too."""
        whole = self.times_fps * self.num_frames
        return whole if self.loop else self.delivered(self.num_frames)

    def delivered(self, num_frames: int) -> int:
        """Return how many frames are delivered of some that the model makes in a row."""
        return self.times_fps * (num_frames - 1) + 1

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


def kind_of(request_field: Field[Any]) -> type[Any]:
    """Return the type of a field's values, its optional None apart."""
    kinds: dict[str, type[Any]] = {
        "str": str, "int": int, "float": float, "bool": bool, "tuple[str, ...]": tuple,
    }  # fmt: skip
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
        if kind is tuple and type(value) is list and all(type(v) is str for v in value):
            value = tuple(value)
        if type(value) is not kind:  # exactly: True is no number
            wanted = "list of strings" if kind is tuple else kind.__name__
            raise RequestError(f"{name} {shown(value)} must be of type {wanted}")
        values[name] = value
    # A field that JSON left out is None: the two classes agree on that for optional fields.
    return cls(**{name: None for name in known} | values)


def changed(request: GenerationRequest, given: Mapping[str, Any]) -> GenerationRequest:
    """Return the request with the given fields set, and those that they overrule left open."""
    overruled: dict[str, None] = {}
    for pair in (("duration", "num_frames"), ("format", "output")):
        if any(name in given for name in pair):
            overruled |= dict.fromkeys(pair)
    return replace(request, **(overruled | dict(given)))
