"""Ways in: pictures and videos that a clip passes through, and numbers that it obeys.

Every one of them but `video` is the same mechanism: some latent frames are known before the
first step. Here it is decided which, and refused what does not go together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kineograph.errors import RequestError, shown

if TYPE_CHECKING:
    from kineograph.request import GenerationRequest, ResolvedRequest
    from kineograph.spec import ModelSpec

WAYS = ("image", "last_image", "keyframes", "before", "after", "loop", "video")
CONTROL_WAYS = ("control", "control_mask", "references")  # of models with a control video (VACE)
MAX_PICTURES = 8  # that a clip may be given, the first and the last among them
STRENGTH = 0.6  # of a video that is changed, unless it is given
BEFORE_LATENTS = 3  # latent frames that a clip shares with what comes before: how things move
AFTER_LATENTS = 2  # and with what comes after
LOOP_LATENTS = 2  # that lead from the end of a loop back to its beginning
LONGEST = 1e6  # seconds: no clip is as long
MAX_LORA = 10.0  # times that an adapter may count
FASTEST = 10.0  # that a camera may be, in the units of its controls


def made_frames(request: ResolvedRequest, stride: int) -> tuple[int, ...]:
    """Return how many frames a model makes of a clip; of a loop also those of its way back."""
    if not request.loop:
        return (request.num_frames,)
    shared = 1 + stride * (BEFORE_LATENTS - 1 + AFTER_LATENTS)
    return request.num_frames - stride * (LOOP_LATENTS - 1), shared + stride * LOOP_LATENTS


def check_path(name: str, path: str) -> str:
    """Return a path; a `RequestError` if no file can have it as its name."""
    if not path or not is_plain_text(path):
        raise RequestError(f"{name} {path!a} is not a file name")
    return path


def is_plain_text(text: str) -> bool:
    """Return False for what no file or JSON can carry: lone surrogates and zero characters."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def check_ways(request: GenerationRequest) -> None:
    """Refuse files that are no names, and ways in that exclude one another."""
    for name in (
        "image", "last_image", "before", "after", "video", "control", "control_mask",
    ):  # fmt: skip
        if getattr(request, name) is not None:
            check_path(name, getattr(request, name))
    for path in request.references or ():
        check_path("references", path)
    for entry in request.keyframes or ():
        check_path("keyframes", split_keyframe(entry)[0])
    pairs = [
        ("before", "image"), ("after", "last_image"), ("loop", "last_image"), ("loop", "before"),
        ("loop", "after"), ("loop", "keyframes"),
        *(("video", n) for n in ("image", "last_image", "keyframes", "before", "after", "loop")),
    ]  # fmt: skip
    for one, other in pairs:
        if getattr(request, one) and getattr(request, other):
            raise RequestError(f"{one} and {other} cannot be given together")
    for name, way in (
        ("strength", "video"), ("control_mask", "control"), ("control_scale", "control"),
    ):  # fmt: skip
        value = getattr(request, name)
        if value is not None and getattr(request, way) is None:
            raise RequestError(f"{name} {value} is for {way}, which is not given")


def check_spec_ways(request: GenerationRequest, spec: ModelSpec) -> None:
    """Refuse pictures and videos that a model has no place for, and want those that it needs."""
    for name in (*WAYS, *CONTROL_WAYS):
        if getattr(request, name) and name not in spec.ways:
            allowed = ", ".join(spec.ways) or "nothing but text"
            raise RequestError(f"{spec.name} takes no {name}; allowed: {allowed}")
    for name in spec.needs:
        if not getattr(request, name):
            raise RequestError(f"{spec.name} needs {' and '.join(spec.needs)}; {name} is missing")


def check_controls(request: GenerationRequest, spec: ModelSpec) -> None:
    """Refuse numbers that a model does not take."""
    axes = [name for name in spec.controls if name != "speed"]
    rates = {} if request.camera is None else split_camera(request.camera)
    if rates and not axes:
        raise RequestError(f"{spec.name} takes no camera in numbers; say the move in words")
    for name, rate in rates.items():
        if name not in axes:
            raise RequestError(f"camera has no {shown(name)}; allowed: {', '.join(axes)}")
        most = FASTEST * spec.controls[name]
        if abs(rate) > most:
            raise RequestError(
                f"camera {name} {rate:g} is out of range; allowed: {-most:g} to {most:g}"
            )
    if request.motion_speed is not None and "speed" not in spec.controls:
        raise RequestError(f"{spec.name} takes no motion_speed; say slowly or fast in words")


def split_keyframe(entry: str) -> tuple[str, float]:
    """Return the file and the time (s) of a keyframe such as mid.png@1.5."""
    path, _, seconds = entry.rpartition("@")
    try:
        at = float(seconds)
    except ValueError:
        at = float("nan")
    if not path or not 0 <= at <= LONGEST:
        raise RequestError(f"keyframe {shown(entry)} is not FILE@SECONDS, such as mid.png@1.5")
    return path, at


def split_camera(text: str) -> dict[str, float]:
    """Return the numbers of a camera such as pan=7,zoom=-0.1."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise RequestError(f"camera {shown(text)} is not NAME=NUMBER,..., such as pan=7")
        if name.strip() in found:
            raise RequestError(f"camera names {name.strip()!r} twice")
        found[name.strip()] = value
    return found


def split_lora(entry: str) -> tuple[str, float, str]:
    """Return the file, the scale and the expert (or "") of an adapter such as a.safetensors@0.8."""
    rest, _, expert = entry.partition("#")
    path, at, number = rest.rpartition("@")
    if not at:
        path, number = rest, "1"
    try:
        scale = float(number)
    except ValueError:
        scale = float("nan")
    if not path or expert not in ("", "high", "low") or not abs(scale) <= MAX_LORA:
        raise RequestError(
            f"lora {shown(entry)} is not FILE, FILE@SCALE or FILE@SCALE#high (or #low), with a "
            f"scale from {-MAX_LORA:g} to {MAX_LORA:g}"
        )
    return check_path("lora", path), scale, expert


def check_loras(request: GenerationRequest, spec: ModelSpec) -> None:
    """Refuse adapters that are written wrong, or for an expert that a model has not."""
    for entry in request.lora or ():
        _, _, expert = split_lora(entry)
        if expert and not spec.boundary:
            raise RequestError(
                f"lora {shown(entry)} is for one of two experts; {spec.name} has but one"
            )


def latent_place(frame: int, stride: int) -> int:
    """Return which latent frame a frame belongs to; the first stands alone."""
    return 0 if frame == 0 else (frame - 1) // stride + 1


def known_frames(request: ResolvedRequest, spec: ModelSpec) -> dict[int, str]:
    """Return the latent frames that are given, and what gives them, as a message names it.

    Raises `RequestError` where two want the same one, or nothing is left to make.
    """
    stride = spec.vae.temporal_stride
    total = latent_place(request.num_frames - 1, stride) + 1
    pictures = request.pictures()
    count = len(pictures) + len(request.references or ())
    if count > MAX_PICTURES:
        raise RequestError(f"{count} pictures are given; at most {MAX_PICTURES} are allowed")
    given = len(pictures)
    given += 0 if request.before is None else BEFORE_LATENTS
    given += 0 if request.after is None else AFTER_LATENTS
    # A loop's first part must be long enough to be its own past and future.
    loop = max(BEFORE_LATENTS, 1 + AFTER_LATENTS) + LOOP_LATENTS
    needed = loop if request.loop else given + 1
    if (given or request.loop) and total < needed:
        names = " and ".join(n for n in WAYS if getattr(request, n))
        raise RequestError(
            f"num_frames {request.num_frames} leaves nothing to make beside {names}; "
            f"at least {(needed - 1) * stride + 1} are needed"
        )
    known: dict[int, str] = {}

    def take(place: int, what: str) -> None:
        if place in known:
            raise RequestError(
                f"{what} falls together with {known[place]}: pictures must be {stride} frames "
                f"({stride / spec.fps:g} s) apart"
            )
        known[place] = what

    if request.before is not None:
        for place in range(BEFORE_LATENTS):
            take(place, "before")
    if request.after is not None:
        for place in range(total - AFTER_LATENTS, total):
            take(place, "after")
    for path, frame in pictures:
        if frame >= request.num_frames:
            raise RequestError(
                f"keyframe {path!r} is at {frame / request.fps:g} s, but the clip ends at "
                f"{(request.num_frames - 1) / request.fps:g} s"
            )
        take(latent_place(frame, stride), f"the picture {path!r}")
    return known
