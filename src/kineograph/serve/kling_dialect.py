"""The dialect of Kling's API, version 1: bodies of its tasks become a `Submission`.

What a model cannot do is refused, where Kling's would do it, and with Kling's code 1201. Names and
ranges are those of Kling's documentation; the signs of `camera_control` are too, and they are not
those of film people: see `AXES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kineograph.errors import shown
from kineograph.request import GenerationRequest
from kineograph.serve.reading import (
    asks_nothing,
    frames_of,
    read_bool,
    read_choice,
    read_float,
    read_int,
    read_media,
    read_object,
    read_text,
    read_url,
    refuse,
    unknown_field,
)
from kineograph.serve.refusals import Refusal
from kineograph.serve.submission import KLING, KLING_KINDS, MediaRef, Submission
from kineograph.spec import ModelSpec

SpecOf = Callable[[str | None], ModelSpec]  # of a name, or the default; raises RequestError

MAX_PROMPT_CHARS = 2500
MOST = 10.0  # of a number of camera_control, either way

# A number of camera_control: which of our rates it is, and that rate at 10, which is the fast one
# of the procedural world (m/s, deg/s, 1/s). Kling's pan turns the camera up (+) and down, which
# film people and we call tilt; its tilt turns right (+) and left, which is our pan. Its zoom widens
# the view as it grows, ours narrows it.
AXES = {
    "horizontal": ("horizontal", 0.85),
    "vertical": ("vertical", 0.6),
    "pan": ("tilt", 7.0),
    "tilt": ("pan", 11.0),
    "roll": ("roll", 11.0),
    "zoom": ("zoom", -0.17),
}
# The moves that have no numbers, at the world's normal rates.
MOVES = {
    "down_back": {"vertical": -0.36, "depth": -0.58},
    "forward_up": {"depth": 0.58, "tilt": 4.4},
    "right_turn_forward": {"pan": 7.0, "depth": 0.58},
    "left_turn_forward": {"pan": -7.0, "depth": 0.58},
}

_BOTH = (
    "model_name", "model", "prompt", "negative_prompt", "cfg_scale", "callback_url",
    "external_task_id", "watermark_info", "seed",
)  # fmt: skip
_CLIP = ("mode", "duration", "sound", "camera_control")
ALLOWED: dict[str, tuple[str, ...]] = {
    "text2video": (*_BOTH, *_CLIP, "aspect_ratio"),
    "image2video": (*_BOTH, *_CLIP, "aspect_ratio", "image", "image_tail"),
    "video-extend": (*_BOTH, "video_id"),
}
# What Kling knows and no model of ours does, with the values that ask for nothing.
CANNOT: dict[str, tuple[object, str]] = {
    "multi_shot": (False, "clips of several shots"),
    "shot_type": ("", "clips of several shots"),
    "multi_prompt": ([], "clips of several shots"),
    "static_mask": ("", "masks"),
    "dynamic_masks": ([], "masks"),
    "voice_list": ([], "voices"),
    "element_list": ([], "elements"),
    "voice_ids": ([], "voices"),
}


def submission_of(
    fields: Mapping[str, Any],
    *,
    kind: str,
    spec_of: SpecOf,
    models: Mapping[str, str] | None = None,
    base_of: Callable[[str], GenerationRequest] | None = None,
) -> Submission:
    """Return what the body of a task asks for: text2video, image2video or video-extend.

    `models` gives a name of ours for a `model_name` of Kling's; other names are taken for ours.
    `cfg_scale` 0.5 is the model's own guidance, 0 none, and what lies between and beyond is even.
    `mode` std is the model's default resolution, pro its largest. `duration` is the time of the
    last frame, or the length, whichever the model makes exactly; left out, the model's own. A
    `seed`, which Kling has not, may be given. `base_of` tells what an earlier video was asked
    with: an extension has its model, unless it names one, and its size.

    Raises:
        Refusal: a field is unknown, of a wrong type, or asks for what cannot be done.
        RequestError: `spec_of` knows no such model, or `base_of` no such video.
    """
    assert kind in KLING_KINDS, kind
    given = _known(fields, kind)
    media = _media(given, kind)
    base = base_of(media["before"].value) if base_of and "before" in media else None
    spec = _spec(given, spec_of, models or {}, base)
    plain: dict[str, Any] = {"model": spec.name, "prompt": _prompt(given)}
    if "negative_prompt" in given:
        name = "negative_prompt"
        plain[name] = read_text(name, given[name], MAX_PROMPT_CHARS)
    if "seed" in given:
        plain["seed"] = read_int("seed", given["seed"])
    if "duration" in given:
        plain["num_frames"] = frames_of("duration", given["duration"], spec)
    plain |= _guidance(given, spec) | _size(given, spec, kind, base)
    if "camera_control" in given:
        plain["camera"] = camera_of(given["camera_control"])
    if read_choice("sound", given.get("sound", "off"), ("on", "off")) == "on":
        raise Refusal(f"sound 'on' cannot be made; {spec.name} makes none", param="sound")
    return Submission(
        request=GenerationRequest(**plain),
        media=media,
        dialect=KLING,
        kind=kind,
        remixed_from=media["before"].value if "before" in media else None,
        **_besides(given),
    )


def _known(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the fields that say something, of those that a task has."""
    given = {}
    for name, value in fields.items():
        if name in CANNOT:
            nothing, what = CANNOT[name]
            if not asks_nothing(value, None, nothing):
                raise Refusal(f"{name} is not allowed: no model makes {what}", param=name)
        elif name not in ALLOWED[kind]:
            raise unknown_field(name, ALLOWED[kind])
        elif value is not None and (value != "" or name == "negative_prompt"):
            given[name] = value
    return given


def _spec(
    given: Mapping[str, Any],
    spec_of: SpecOf,
    models: Mapping[str, str],
    base: GenerationRequest | None,
) -> ModelSpec:
    if "model_name" in given and given.get("model", given["model_name"]) != given["model_name"]:
        raise Refusal("model_name and model contradict; give one of the two", param="model")
    name = given.get("model_name", given.get("model"))
    if name is None:
        return spec_of(None if base is None else base.model)
    name = read_text("model_name", name, 200)
    return spec_of(models.get(name, name))


def _prompt(given: Mapping[str, Any]) -> str:
    if "prompt" not in given:
        raise Refusal("prompt is missing; say in words what the video shows", param="prompt")
    return read_text("prompt", given["prompt"], MAX_PROMPT_CHARS)


def _guidance(given: Mapping[str, Any], spec: ModelSpec) -> dict[str, float]:
    if "cfg_scale" not in given:
        return {}
    scale = read_float("cfg_scale", given["cfg_scale"])
    if not 0 <= scale <= 1:
        raise refuse("cfg_scale", scale, "0 to 1")
    if scale == 0.5:
        return {}
    found = {"guidance_scale": 1 + 2 * scale * (spec.guidance_scale - 1)}
    if spec.boundary:
        found["low_guidance_scale"] = 1 + 2 * scale * (spec.low_guidance_scale - 1)
    return found


def _size(
    given: Mapping[str, Any], spec: ModelSpec, kind: str, base: GenerationRequest | None
) -> dict[str, str]:
    """Return the aspect ratio and the resolution; an extension has those of its video."""
    if kind == "video-extend":
        if base is None or base.model not in (None, spec.name):
            return {}
        told = {"aspect_ratio": base.aspect_ratio, "resolution": base.resolution}
        return {name: value for name, value in told.items() if value is not None}
    found = {}
    mode = read_choice("mode", given.get("mode", "std"), ("std", "pro"))
    if mode == "pro" and spec.resolution:
        found["resolution"] = max(spec.resolutions, key=lambda name: _pixels(spec, name))
    ratio = given.get("aspect_ratio")
    if ratio is not None:
        found["aspect_ratio"] = read_choice("aspect_ratio", ratio, tuple(spec.sizes))
    elif kind == "text2video" and "16:9" in spec.sizes:
        found["aspect_ratio"] = "16:9"
    return found


def _pixels(spec: ModelSpec, resolution: str) -> int:
    return max(size.out_height * size.out_width for size in spec.resolutions[resolution].values())


def _media(given: Mapping[str, Any], kind: str) -> dict[str, MediaRef]:
    if kind == "video-extend":
        if "video_id" not in given:
            raise Refusal("video_id is missing: the id of the video to go on from",
                          param="video_id")  # fmt: skip
        ref = read_media("before", "video_id", {"id": given["video_id"]})
        return {"before": ref}
    names = {"image": "image", "image_tail": "last_image"}
    media = {
        field: read_media(field, name, read_text(name, given[name]))
        for name, field in names.items() if name in given
    }  # fmt: skip
    if kind == "image2video" and not media:
        raise Refusal("image is missing, and image_tail; one at least is needed", param="image")
    return media


def _besides(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "callback_url" in given:
        found["callback_url"] = read_url("callback_url", given["callback_url"])
    if "external_task_id" in given:
        found["external_task_id"] = read_text("external_task_id", given["external_task_id"], 200)
    if "watermark_info" in given:
        info = read_object("watermark_info", given["watermark_info"])
        for name in info:
            if name != "enabled":
                raise unknown_field(str(name), ("enabled",), "watermark_info.")
        if "enabled" in info:
            found["watermark"] = read_bool("watermark_info.enabled", info["enabled"])
    return found


def camera_of(control: object) -> str:
    """Return our camera, such as tilt=3.5, of a `camera_control`: {type, config}.

    Of the type simple, `config` has six numbers from -10 to 10 of which exactly one is not 0; 10
    is the fast rate in `AXES`. The other types are the moves in `MOVES` and take no config.

    Raises:
        Refusal: it is none of these.
    """
    name = "camera_control"
    fields = read_object(name, control)
    for key in fields:
        if key not in ("type", "config"):
            raise unknown_field(str(key), ("type", "config"), f"{name}.")
    kind = read_choice(f"{name}.type", fields.get("type"), ("simple", *MOVES))
    config = fields.get("config")
    if kind != "simple":
        if config not in (None, {}):
            raise refuse(f"{name}.config", config, f"left out where the type is {kind}")
        return ",".join(f"{axis}={rate:g}" for axis, rate in MOVES[kind].items())
    numbers = {}
    for key, value in read_object(f"{name}.config", config).items():
        if key not in AXES:
            raise unknown_field(str(key), tuple(AXES), f"{name}.config.")
        if value is None:
            continue
        number = read_float(f"{name}.config.{key}", value)
        if not abs(number) <= MOST:
            raise refuse(f"{name}.config.{key}", number, f"{-MOST:g} to {MOST:g}")
        if number:
            numbers[key] = number
    if len(numbers) != 1:
        raise Refusal(
            f"{name}.config {shown(config)} must have exactly one number that is not 0; it has "
            f"{len(numbers)}", param=f"{name}.config",
        )  # fmt: skip
    [(key, number)] = numbers.items()
    axis, most = AXES[key]
    return f"{axis}={number * most / MOST:.9g}"
