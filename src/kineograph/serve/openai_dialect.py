"""The dialect of OpenAI's Videos API, with the names that other servers of it have added.

A body becomes a `Submission`, a `VideoView` an object of the kind `video`. The fields of a
GenerationRequest may be given by their own names too, but for those that name files of the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from typing import Any

from kineograph.errors import shown
from kineograph.request import GenerationRequest, kind_of
from kineograph.serve.kling_dialect import camera_of
from kineograph.serve.reading import (
    asks_nothing,
    frames_of,
    read_bool,
    read_choice,
    read_float,
    read_int,
    read_media,
    read_metadata,
    read_object,
    read_text,
    read_url,
    refuse,
    unknown_field,
)
from kineograph.serve.refusals import Refusal
from kineograph.serve.submission import (
    LIST_FIELDS,
    MEDIA_FIELDS,
    OPENAI_KINDS,
    SERVER_FIELDS,
    MediaRef,
    Submission,
)
from kineograph.spec import ModelSpec

SpecOf = Callable[[str | None], ModelSpec]  # of a name, or the default; raises RequestError
BaseOf = Callable[[str], GenerationRequest]  # of the id of a video; raises NotFound

# What other names mean, of the fields of a GenerationRequest.
ALIASES = {
    "num_inference_steps": "steps", "guidance_scale_2": "low_guidance_scale",
    "flow_shift": "shift", "input_reference": "image", "image_reference": "image",
    "video_reference": "video", "n": "count",
}  # fmt: skip
FORMATS = ("mp4", "image")  # of several frames, and of one
OWN = tuple(f.name for f in fields_of(GenerationRequest) if f.name not in SERVER_FIELDS)
BESIDES = (
    "seconds", "size", "width", "height", "camera_control", "enable_frame_interpolation",
    "extra_params", "extra_body", "callback_url", "external_task_id", "watermark", "metadata",
    "expires_after",
)  # fmt: skip
NESTED = ("extra_params", "extra_body")  # objects of further fields, as some clients send them
ALLOWED = (*OWN, *ALIASES, *BESIDES)
REFUSED = {
    "lora": "adapters are files of the server, and no request may name them",
    "output": "the service names its files itself; read the content of the video",
    "audio_reference": "no model takes sound",
    "generate_sound": "no model makes sound with its video; leave it out",
    "sound_duration": "no model makes sound with its video; leave it out",
    "boundary_ratio": "where a model's second expert takes over is a part of the model",
    "true_cfg_scale": "it is for other models; give guidance_scale",
}
LENGTH = ("num_frames", "duration")
INHERITED = ("aspect_ratio", "resolution", "fps", *LENGTH)  # an extension has its own length
MAX_EXPIRES = 366 * 86_400  # seconds
_KINDS = {f.name: kind_of(f) for f in fields_of(GenerationRequest)}


def submission_of(
    fields: Mapping[str, Any],
    *,
    kind: str,
    spec_of: SpecOf,
    source: str | None = None,
    base_of: BaseOf | None = None,
) -> Submission:
    """Return what a body asks for, its values checked by type; `resolve` checks what they mean.

    `source` is the id of the video in the path of a remix. `base_of` tells what an earlier video
    was asked with: a remix, an edit or an extension has its model, size and rate, and but for an
    extension its length, unless the body says otherwise.

    Raises:
        Refusal: a field is unknown, of a wrong type or contradicts another; `param` names it.
        RequestError: `spec_of` knows no such model, or `base_of` no such video.
    """
    assert kind in OPENAI_KINDS, kind
    given, named = _merged(fields)
    if kind == "remix":
        assert source is not None
        if given.get("video") is not None:
            raise Refusal("video is in the path of a remix; leave the field out", param="video")
        given["video"] = {"id": source}
    if kind in ("edit", "extend") and given.get("video") is None:
        raise Refusal("video is missing: a file, or {id} of an earlier one", param="video")
    plain, media = _read(given, named)
    if "prompt" not in plain:
        raise Refusal("prompt is missing; say in words what the video shows", param="prompt")
    video = media.get("video")
    earlier = video.value if video is not None and video.source == "video" else None
    base = base_of(earlier) if base_of and earlier and kind != "create" else None
    if kind == "extend":
        if media.get("before") or media.get("image"):
            raise Refusal("an extension goes on from video alone", param="video")
        media["before"] = _moved(media.pop("video"), "before")
    spec = spec_of(plain.get("model") or (base.model if base else None))
    plain |= _size(given, spec, plain) | _camera(given) | _rate(given, spec, plain)
    plain |= _length(given, spec, plain)
    if base is not None:
        plain |= _inherited(plain, base, spec, kind)
    return Submission(
        request=GenerationRequest(**plain | {"model": spec.name, "count": None}),
        media=media,
        kind=kind,
        remixed_from=earlier,
        **_besides(given),
    )


def _merged(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields by their first names, with what `extra_params` holds among them.

    Also return by which name each was given, for messages.
    """
    given: dict[str, Any] = {}
    named: dict[str, str] = {}
    inner = [(name, fields[name]) for name in NESTED if name in fields]
    for where, part in (("", fields), *inner):
        prefix = f"{where}." if where else ""
        for name, value in read_object(where, {} if part in (None, "") else part).items():
            if name in NESTED:
                if where:
                    raise unknown_field(name, ALLOWED, prefix)
                continue
            if name in REFUSED and not asks_nothing(value, None, "", False, "false", []):
                raise Refusal(f"{prefix}{name} is not allowed: {REFUSED[name]}", param=name)
            if name not in ALLOWED and name not in REFUSED:
                raise unknown_field(name, ALLOWED, prefix)
            field = ALIASES.get(name, name)
            texts = ("prompt", "negative_prompt")
            if name in REFUSED or value is None or (value == "" and field not in texts):
                continue
            if field in given and given[field] != value:
                raise Refusal(
                    f"{prefix}{name} {shown(value)} says something else than "
                    f"{named[field]} {shown(given[field])}; give one of the two", param=name,
                )  # fmt: skip
            given[field], named[field] = value, prefix + name
    return given, named


def _read(
    given: Mapping[str, Any], named: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, MediaRef]]:
    """Return the plain fields of a request, of their types, and the files that it names."""
    plain: dict[str, Any] = {}
    media: dict[str, MediaRef] = {}
    for name, value in given.items():
        if name not in OWN:
            continue
        called = named.get(name, name)
        if name in LIST_FIELDS:
            media |= _list(name, called, value)
        elif name in MEDIA_FIELDS:
            media[name] = read_media(name, called, value)
        elif name == "camera":
            plain[name] = _camera_text(value)
        elif name == "format":
            plain[name] = read_choice(called, value, FORMATS)
        elif _KINDS[name] is float:
            plain[name] = read_float(called, value)
        elif _KINDS[name] is int:
            plain[name] = read_int(called, value)
        elif _KINDS[name] is bool:
            plain[name] = read_bool(called, value)
        else:
            plain[name] = read_text(called, value)
    if plain.pop("count", 1) != 1:
        raise Refusal("n must be 1: ask once for each video", param="n")
    return plain, media


def _list(name: str, called: str, value: object) -> dict[str, MediaRef]:
    """Return the files of a list; one that stands alone is a list of one."""
    items = value if isinstance(value, list) else [value]
    media = {}
    for i, item in enumerate(items):
        path, at = f"{called}.{i}", None
        if name == "keyframes":
            item, at = _timed(path, item)
        media[f"{name}.{i}"] = read_media(name, path, item, at=at)
    return media


def _timed(path: str, item: object) -> tuple[object, float]:
    """Return a keyframe's picture and its time in seconds, of {image_url, at} or URL@SECONDS."""
    seconds: object = None
    if isinstance(item, Mapping):
        seconds = item.get("at")
        item = {key: value for key, value in item.items() if key != "at"}
    elif isinstance(item, str):
        item, _, seconds = item.rpartition("@")
    if seconds is None or item == "":
        raise Refusal(
            f"{path} needs a picture and its time in seconds, as {{image_url, at}}", param=path
        )
    return item, read_float(f"{path}.at", seconds)


def _moved(ref: MediaRef, field: str) -> MediaRef:
    return MediaRef(field, ref.source, ref.value, ref.name, ref.content_type, ref.at)


def _camera_text(value: object) -> str:
    """Return a camera as a request has it, of pan=7,zoom=-0.1 or {pan: 7, zoom: -0.1}."""
    if isinstance(value, Mapping):
        rates = {name: read_float(f"camera.{name}", rate) for name, rate in value.items()}
        return ",".join(f"{name}={rate!r}" for name, rate in rates.items())
    return read_text("camera", value)


def _camera(given: Mapping[str, Any]) -> dict[str, str]:
    if given.get("camera_control") is None:
        return {}
    if given.get("camera") is not None:
        raise Refusal("camera and camera_control cannot be given together", param="camera_control")
    return {"camera": camera_of(given["camera_control"])}


def _size(given: Mapping[str, Any], spec: ModelSpec, plain: Mapping[str, Any]) -> dict[str, str]:
    """Return the resolution and the aspect ratio of a size that the model delivers exactly."""
    sides: list[tuple[str, str]] = []
    if given.get("size") is not None:
        sides.append(("size", read_text("size", given["size"], 40).lower()))
    if given.get("width") is not None or given.get("height") is not None:
        for name in ("width", "height"):
            if given.get(name) is None:
                raise Refusal(f"{name} is missing beside the other side", param=name)
        width, height = (read_int(name, given[name]) for name in ("width", "height"))
        sides.append(("width", f"{width}x{height}"))
    if not sides:
        return {}
    if len({side for _, side in sides}) > 1:
        raise Refusal(f"size {sides[0][1]} is not width and height {sides[1][1]}", param="size")
    name, asked = sides[0]
    for resolution, sizes in spec.resolutions.items():
        for ratio, size in sizes.items():
            if f"{size.out_width}x{size.out_height}" != asked:
                continue
            found = {"aspect_ratio": ratio} | ({"resolution": resolution} if resolution else {})
            for field, value in found.items():
                if plain.get(field) not in (None, value):
                    raise Refusal(
                        f"{field} {shown(plain[field])} is not that of the size {asked}, {value}",
                        param=field,
                    )
            return found
    allowed = ", ".join(sizes_of(spec))
    raise Refusal(f"size {shown(asked)} cannot be made; {spec.name} makes {allowed}", param=name)


def sizes_of(spec: ModelSpec) -> list[str]:
    """Return the sizes WxH that a model delivers, those of its default resolution first."""
    every = (size for sizes in spec.resolutions.values() for size in sizes.values())
    return list(dict.fromkeys(f"{size.out_width}x{size.out_height}" for size in every))


def _rate(given: Mapping[str, Any], spec: ModelSpec, plain: Mapping[str, Any]) -> dict[str, int]:
    """Return the frames a second that frames in between are asked or not asked for by."""
    if given.get("enable_frame_interpolation") is None:
        return {}
    name = "enable_frame_interpolation"
    wanted = read_bool(name, given[name])
    if wanted and spec.interpolator is None:
        raise Refusal(f"{spec.name} makes no frames in between; leave {name} out", param=name)
    fps = spec.out_fps if wanted else spec.fps
    if plain.get("fps") not in (None, fps):
        raise Refusal(f"fps {plain['fps']} and {name} contradict; give one", param=name)
    return {"fps": fps}


def _length(given: Mapping[str, Any], spec: ModelSpec, plain: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of frames of `seconds`, which are told as clients do: whole ones."""
    if given.get("seconds") is None:
        return {}
    frames = frames_of("seconds", given["seconds"], spec)
    for name, same in (("num_frames", frames), ("duration", frames / spec.fps)):
        if name in plain and abs(plain[name] - same) > 1e-6:
            raise Refusal(
                f"seconds {shown(given['seconds'])} is {name} {same:g}, not {plain[name]:g}; give "
                "one of the two", param="seconds",
            )  # fmt: skip
    return {"num_frames": frames}


def _inherited(
    plain: Mapping[str, Any], base: GenerationRequest, spec: ModelSpec, kind: str
) -> dict[str, Any]:
    """Return the fields that are taken over from the earlier video, if it is of the same model."""
    if base.model not in (None, spec.name):
        return {}
    found = {}
    for name in INHERITED:
        if kind == "extend" and name in LENGTH:
            continue
        said = LENGTH if name in LENGTH else (name,)
        if getattr(base, name) is not None and not any(n in plain for n in said):
            found[name] = getattr(base, name)
    return found


def _besides(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a Submission holds besides its request and its files."""
    found: dict[str, Any] = {}
    readers: dict[str, Callable[[str, object], Any]] = {
        "callback_url": read_url, "watermark": read_bool, "metadata": read_metadata,
        "external_task_id": lambda name, value: read_text(name, value, 200),
        "expires_after": _expiry,
    }  # fmt: skip
    for name, reader in readers.items():
        if given.get(name) is not None:
            found[name] = reader(name, given[name])
    return found


def _expiry(name: str, value: object) -> int:
    if isinstance(value, Mapping):
        if set(value) - {"seconds", "anchor"} or value.get("anchor", "created_at") != "created_at":
            raise refuse(name, value, '{"anchor": "created_at", "seconds": N}, or seconds')
        value = value.get("seconds")
    seconds = read_int(name, value)
    if not 60 <= seconds <= MAX_EXPIRES:
        raise refuse(name, seconds, f"60 to {MAX_EXPIRES} seconds")
    return seconds
