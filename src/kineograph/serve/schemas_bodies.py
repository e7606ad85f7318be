"""What bodies may hold, as JSON schemas: each field with what is read of it, and nothing besides.

They are made of the same tables as the reading of bodies. What goes with what is not in them: a
size with a length, a strength with a video; the refusals say that.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields as fields_of
from typing import Any

from kineograph.request import SOLVERS, GenerationRequest, kind_of, option_of
from kineograph.serve import kling_dialect as kling
from kineograph.serve import openai_dialect as openai
from kineograph.serve.reading import (
    MAX_METADATA,
    MAX_METADATA_CHARS,
    MAX_URL_CHARS,
    MAX_WORD_CHARS,
    MEDIA_KEYS,
    MIN_BASE64_CHARS,
)
from kineograph.serve.submission import LIST_FIELDS, MEDIA_FIELDS
from kineograph.spec import ModelSpec
from kineograph.ways import FASTEST

Schema = dict[str, Any]
NOT_GIVEN = {"enum": [None, ""]}  # what counts as a field that is left out
NUMBER = r"^[-+]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,3})?$"
PLAIN = r"^[^\x00]*$"  # a text without zero characters
BASE64 = r"^[A-Za-z0-9+/\r\n]+={0,2}[\r\n]*$"
MEDIA, KEYFRAME, MORE = (
    {"$ref": f"#/components/schemas/{name}"} for name in ("Media", "Keyframe", "MoreFields")
)
_OPTIONS = {f.name: f for f in fields_of(GenerationRequest)}


def video_body(specs: Collection[ModelSpec], required: list[str]) -> Schema:
    """Return the schema of a JSON body that asks for a video of one of some models."""
    every = {name: _video_field(name, specs) for name in openai.ALLOWED}
    every |= {name: {"enum": [None, "", False, "false", []], "description": f"not allowed: {why}"}
              for name, why in openai.REFUSED.items()}  # fmt: skip
    for name in openai.NESTED:
        every[name] = _either(MORE, description="further fields, as some clients send them")
    for name in required:
        every[name] = {k: v for k, v in every[name].items() if k != "anyOf"} | {
            "anyOf": [s for s in every[name].get("anyOf", [{}]) if s != NOT_GIVEN]
        }
    return {
        "type": "object", "required": required, "properties": every, "additionalProperties": False,
    }  # fmt: skip


def components(specs: Collection[ModelSpec]) -> dict[str, Schema]:
    """Return the schemas that others refer to, by their names in the document."""
    inner = {n: _video_field(n, specs) for n in openai.ALLOWED if n not in openai.NESTED}
    more = {"type": "object", "properties": inner, "additionalProperties": False}
    return {"Media": {"anyOf": _media()}, "Keyframe": {"anyOf": _media(at=True)},
            "MoreFields": more}  # fmt: skip


def video_form(specs: Collection[ModelSpec], required: list[str], files: Collection[str]) -> Schema:
    """Return the schema of a form that asks the same: files, and texts; `a[b]` is nested."""
    body = video_body(specs, required)
    properties = {}
    for name, field in body["properties"].items():
        text = {"type": "string"} | {k: v for k, v in field.items() if k == "description"}
        properties[name] = text
    for name in files:
        properties[name] |= {"contentMediaType": "application/octet-stream"}
    return {"type": "object", "required": required, "properties": properties}


def kling_body(kind: str, specs: Collection[ModelSpec], models: Collection[str]) -> Schema:
    """Return the schema of the body of a task; `models` are further names of ours."""
    properties = {name: _kling_field(name, kind, specs, models) for name in kling.ALLOWED[kind]}
    for name, (nothing, what) in kling.CANNOT.items():
        properties[name] = {"enum": [None, nothing], "description": f"no model makes {what}"}
    required = ["prompt"] + (["video_id"] if kind == "video-extend" else [])
    for name in required:
        properties[name] = properties[name]["anyOf"][0]
    schema: Schema = {
        "type": "object", "required": required, "properties": properties,
        "additionalProperties": False,
    }  # fmt: skip
    if kind == "image2video":
        schema["anyOf"] = [{"required": ["image"]}, {"required": ["image_tail"]}]
    return schema


def _either(*schemas: Schema, description: str | None = None) -> Schema:
    """Return a field that is one of some, or not given."""
    found: Schema = {"anyOf": [*schemas, NOT_GIVEN]}
    return found if description is None else found | {"description": description}


def text(limit: int | None = None, least: int = 1, pattern: str = PLAIN) -> Schema:
    """Return the schema of a plain text."""
    found: Schema = {"type": "string", "minLength": least, "pattern": pattern}
    return found if limit is None else found | {"maxLength": limit}


def _number(kind: str, low: float | None = None, high: float | None = None) -> list[Schema]:
    """Return a number, and a text that is one."""
    number: Schema = {"type": kind}
    if low is not None:
        number["minimum"] = low
    if high is not None:
        number["maximum"] = high
    pattern = r"^-?[0-9]{1,20}$" if kind == "integer" else NUMBER
    return [number, {"type": "string", "pattern": pattern}]


def _one_of(values: Collection[float]) -> list[Schema]:
    """Return a number out of a list, and the texts of those numbers."""
    numbers = sorted(set(values))
    return [{"enum": numbers}, {"enum": [f"{n:g}" for n in numbers]}]


SWITCH: list[Schema] = [
    {"type": "boolean"},
    {"type": "string", "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"},
]
HTTPS = r"^[hH][tT][tT][pP][sS]://[^\s/?#][^\s\x00]*$"
WORDS = r"^[^\x00]*[^\s\x00][^\x00]*$"  # a text in which something stands


def _media(at: bool = False) -> list[Schema]:
    """Return what a picture or a video may be named by; with `at`, of a keyframe."""
    texts: list[Schema] = [
        text(MAX_URL_CHARS, pattern=r"^[hH][tT][tT][pP][sS]?://[^\s/?#][^\s\x00]*$"),
        text(pattern=r"^[dD][aA][tT][aA]:[^\x00,]*[bB][aA][sS][eE]64[^\x00,]*,[A-Za-z0-9+/\r\n=]+$"),
        text(MAX_WORD_CHARS, pattern=r"^(video_|file_)[A-Za-z0-9_.:-]+$"),
        text(least=MIN_BASE64_CHARS, pattern=BASE64),
    ]
    keys: dict[str, Schema] = {key: {"type": ["string", "null"]} for key in MEDIA_KEYS}
    for key in ("image_url", "video_url"):
        keys[key] = {"anyOf": [keys[key], {"type": "object", "required": ["url"]}]}
    found: Schema = {"type": "object", "properties": keys, "additionalProperties": False,
                     "minProperties": 1}  # fmt: skip
    if not at:
        return [*texts, found]
    found["properties"] = keys | {"at": {"anyOf": _number("number", 0)}}
    found |= {"required": ["at"], "minProperties": 2}
    return [text(pattern=r"^[^\x00]+@[^@\x00]+$"), found]


def seconds_of(specs: Collection[ModelSpec]) -> list[float]:
    """Return the lengths that may be asked for: of a clip, or up to its last frame."""
    ends = {(n - more) / s.fps for s in specs for n in s.allowed_frames() for more in (0, 1)}
    return sorted(round(n, 6) for n in ends if n > 0)


def _video_field(name: str, specs: Collection[ModelSpec]) -> Schema:
    """Return the schema of one field of a body for a video."""
    field = openai.ALIASES.get(name, name)
    help = option_of(_OPTIONS[field]).help if field in _OPTIONS else None
    special = _special(field, specs)
    if special is not None:
        schemas, told = special
        return _either(*schemas, description=told or help)
    if field in LIST_FIELDS:
        item = [KEYFRAME if field == "keyframes" else MEDIA]
        several = {"type": "array", "items": {"anyOf": item}, "maxItems": 256}
        return _either(*item, several, description=help)
    if field in MEDIA_FIELDS:
        return _either(MEDIA, description=help)
    option, kind = option_of(_OPTIONS[field]), kind_of(_OPTIONS[field])
    if kind is bool:
        return _either(*SWITCH, description=help)
    kinds = {int: "integer", float: "number"}
    return _either(*_number(kinds[kind], option.low, option.high), description=help)


def _special(
    field: str, specs: Collection[ModelSpec]
) -> tuple[list[Schema], str | None] | None:  # fmt: skip
    """Return what a field may be whose type alone does not say it, and its description."""
    longest = max(s.max_prompt_chars for s in specs)
    sizes = [size for s in specs for size in openai.sizes_of(s)]
    ratios = [r for s in specs for table in s.resolutions.values() for r in table]
    names = [name for s in specs for name in s.resolutions if name]
    found: dict[str, tuple[list[Schema], str | None]] = {
        "prompt": ([text(longest, pattern=WORDS)], None),
        "negative_prompt": ([text(longest, least=0)], None),
        "model": ([_words(s.name for s in specs)], "what makes it; default: the first"),
        "seconds": (_one_of(seconds_of(specs)), "length; see the model's `seconds`"),
        "duration": (_one_of(seconds_of(specs)), None),
        "size": ([_words(sizes)], "WIDTHxHEIGHT"),
        "width": (_one_of([int(size.split("x")[0]) for size in sizes]), "with `height`, a size"),
        "height": (_one_of([int(size.split("x")[1]) for size in sizes]), "with `width`, a size"),
        "aspect_ratio": ([_words(ratios)], None),
        "resolution": ([_words(names)] if names else [], None),
        "fps": (_one_of([f for s in specs for f in (s.fps, s.out_fps)]), None),
        "num_frames": (_one_of([n for s in specs for n in s.allowed_frames()]), None),
        "solver": ([_words(SOLVERS)], None),
        "format": ([_words(openai.FORMATS)], "mp4, or image for one frame; it follows of itself"),
        "count": (_one_of([1]), "one video is made of a request"),
        "camera": (_camera(specs), None),
        "camera_control": (_camera(specs) and [_camera_control()], "as Kling has it"),
        "enable_frame_interpolation": (SWITCH, "whether frames in between are made"),
        "callback_url": ([text(MAX_URL_CHARS, pattern=HTTPS)],
                         "is sent the video's event at its end"),
        "external_task_id": ([text(200)], "your name for it, once an account"),
        "watermark": (SWITCH, "whether a mark that is seen is asked for"),
        "metadata": ([_metadata()], "kept, and told back"),
        "expires_after": ([*_number("integer", 60, openai.MAX_EXPIRES), _expiry()],
                          "seconds after its end for which it is wanted"),
    }  # fmt: skip
    if field in openai.NESTED:
        return [], None
    return found.get(field)


def _words(words: Any) -> Schema:  # noqa: ANN401 - any iterable of str
    return {"enum": list(dict.fromkeys(words))}


def _camera(specs: Collection[ModelSpec]) -> list[Schema]:
    """Return what the camera may be told in: nothing, where no model takes numbers."""
    most: dict[str, float] = {}
    for spec in specs:
        for axis, rate in spec.controls.items():
            most[axis] = max(most.get(axis, 0.0), FASTEST * rate)
    rates = {axis: {"anyOf": _number("number", -rate, rate)}
             for axis, rate in sorted(most.items()) if axis != "speed"}  # fmt: skip
    if not rates:
        return []
    return [text(least=3, pattern=r"^[^\x00]+=[^\x00]+$"), {
        "type": "object", "additionalProperties": False, "minProperties": 1, "properties": rates,
    }]  # fmt: skip


def _camera_control() -> Schema:
    number = {"anyOf": [*_number("number", -kling.MOST, kling.MOST), {"type": "null"}]}
    config = {"type": "object", "additionalProperties": False, "minProperties": 1,
              "properties": dict.fromkeys(kling.AXES, number),
              "description": "exactly one number that is not 0"}  # fmt: skip
    simple = {"type": "object", "required": ["type", "config"], "additionalProperties": False,
              "properties": {"type": {"enum": ["simple"]}, "config": config}}  # fmt: skip
    move = {"type": _words(kling.MOVES), "config": {"enum": [None, {}]}}
    moves = {"type": "object", "required": ["type"], "additionalProperties": False,
             "properties": move}  # fmt: skip
    return {"anyOf": [simple, moves]}


def _metadata() -> Schema:
    return {"type": "object", "maxProperties": MAX_METADATA,
            "propertyNames": text(128), "additionalProperties": text(MAX_METADATA_CHARS, 0),
            }  # fmt: skip


def _expiry() -> Schema:
    seconds = {"anyOf": _number("integer", 60, openai.MAX_EXPIRES)}
    return {"type": "object", "required": ["seconds"], "additionalProperties": False,
            "properties": {"seconds": seconds, "anchor": {"enum": ["created_at"]}}}  # fmt: skip


def _kling_field(
    name: str, kind: str, specs: Collection[ModelSpec], models: Collection[str]
) -> Schema:
    offered = [s.name for s in specs]
    ratios = [r for s in specs for r in s.sizes]
    picture = _media()[:-1]
    found: dict[str, list[Schema]] = {
        "model_name": [_words([*offered, *models])],
        "model": [_words([*offered, *models])],
        "prompt": [text(kling.MAX_PROMPT_CHARS, pattern=WORDS)],
        "negative_prompt": [text(kling.MAX_PROMPT_CHARS, least=0)],
        "cfg_scale": _number("number", 0, 1),
        "mode": [_words(("std", "pro"))],
        "aspect_ratio": [_words(ratios)],
        "duration": _one_of(seconds_of(specs)),
        "sound": [_words(("off",))],
        "camera_control": _camera(specs) and [_camera_control()],
        "image": picture,
        "image_tail": picture,
        "video_id": [text(MAX_WORD_CHARS, pattern="^[A-Za-z0-9_.:-]+$")],
        "callback_url": [text(MAX_URL_CHARS, pattern=HTTPS)],
        "external_task_id": [text(200)],
        "watermark_info": [{"type": "object", "additionalProperties": False,
                            "properties": {"enabled": {"anyOf": SWITCH}}}],
        "seed": _number("integer", 0, 2**63 - 1),
    }  # fmt: skip
    return _either(*found[name])
