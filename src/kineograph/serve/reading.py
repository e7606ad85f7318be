"""Values of a body, read strictly: what is no number, no switch or no file is refused by name.

A form has nothing but text, so text that is exactly a number counts as one; in JSON too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from kineograph.errors import shown
from kineograph.serve.forms import Upload
from kineograph.serve.refusals import Refusal
from kineograph.serve.submission import MediaRef, Source
from kineograph.spec import ModelSpec
from kineograph.ways import is_plain_text

MAX_URL_CHARS = 2048
MAX_WORD_CHARS = 200  # of an id or a name
MIN_BASE64_CHARS = 64  # no picture has fewer; a name of a file is mistaken for none
MAX_METADATA = 16  # pairs, as OpenAI has it
MAX_METADATA_CHARS = 512  # of a value
URL_KEYS = ("image_url", "video_url", "url")
_ID_SOURCES: dict[str, Source] = {"file_id": "file", "id": "video", "video_id": "video"}
MEDIA_KEYS = (*URL_KEYS, *_ID_SOURCES, "b64_json", "image", "video")


def refuse(name: str, value: object, allowed: str) -> Refusal:
    """Return the refusal of a field's value, to be raised: `allowed` is what it must be."""
    return Refusal(f"{name} {shown(value)} must be {allowed}", param=name)


def asks_nothing(value: object, *nothings: object) -> bool:
    """Whether a value is one of those that ask for nothing, of the same type: 0 is not False."""
    return any(type(value) is type(nothing) and value == nothing for nothing in nothings)


def read_text(name: str, value: object, limit: int | None = None) -> str:
    """Return a text of at most `limit` characters; a `Refusal` if it is none."""
    if not isinstance(value, str) or not is_plain_text(value):
        raise refuse(name, value, "plain text")
    if limit is not None and len(value) > limit:
        raise Refusal(
            f"{name} has {len(value)} characters; at most {limit} are allowed", param=name
        )
    return value


def read_int(name: str, value: object) -> int:
    """Return a whole number; a `Refusal` if it is none, or is longer than 20 digits."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        return int(value)
    if type(value) is not int or abs(value) >= 10**20:
        raise refuse(name, value, "a whole number")
    return value


def read_float(name: str, value: object) -> float:
    """Return a finite number; a `Refusal` if it is none."""
    pattern = r"[-+]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,3})?"
    if isinstance(value, str) and re.fullmatch(pattern, value):
        value = float(value)
    if type(value) is int and abs(value) < 10**20:
        value = float(value)
    if type(value) is not float or not abs(value) < float("inf"):
        raise refuse(name, value, "a number")
    return value


def read_bool(name: str, value: object) -> bool:
    """Return a switch: true or false, as JSON or as text; a `Refusal` if it is neither."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise refuse(name, value, "true or false")
    return value


def read_choice(name: str, value: object, allowed: Collection[str]) -> str:
    """Return one of some words; a `Refusal` that lists them if it is none of them."""
    if not isinstance(value, str) or value not in allowed:
        raise Refusal(
            f"{name} {shown(value)} is unknown; allowed: {', '.join(allowed)}", param=name
        )
    return value


def read_object(name: str, value: object) -> Mapping[str, Any]:
    """Return an object; a `Refusal` if it is none."""
    if not isinstance(value, Mapping):
        raise refuse(name, value, "an object")
    return value


def frames_of(name: str, value: object, spec: ModelSpec) -> int:
    """Return the number of frames of a clip of some seconds.

    Clients ask for whole seconds, and models make whole seconds and one frame: either the clip
    lasts as long, or its last frame is at that time, exactly.

    Raises:
        Refusal: the model makes neither; what it makes is listed.
    """
    seconds = read_float(name, value)
    allowed = spec.allowed_frames()
    for more in (0, 1):
        for frames in allowed:
            if abs((frames - more) / spec.fps - seconds) < 1e-6 and seconds > 0:
                return frames
    whole = [(n - 1) // spec.fps for n in allowed if n > 1 and (n - 1) % spec.fps == 0]
    ends = f"{allowed[0] / spec.fps:g} to {allowed[-1] / spec.fps:g}"
    among = f", {' and '.join(map(str, whole))} among them" if whole else ""
    step = spec.vae.temporal_stride
    raise Refusal(
        f"{name} {shown(value)} cannot be made; {spec.name} makes {ends} s in steps of "
        f"{step} frames at {spec.fps} fps{among}", param=name,
    )  # fmt: skip


def read_url(name: str, value: object) -> str:
    """Return an http or https URL; a `Refusal` if it is none. Nobody has asked what is there."""
    text = read_text(name, value, MAX_URL_CHARS)
    if not re.fullmatch(r"https?://[^\s/?#][^\s]*", text, re.IGNORECASE):
        raise refuse(name, value, "a URL that begins with https:// or http://")
    return text


def read_metadata(name: str, value: object) -> dict[str, str]:
    """Return up to 16 pairs of texts that are kept for the client; a `Refusal` of anything else."""
    pairs = read_object(name, value)
    if len(pairs) > MAX_METADATA:
        raise Refusal(f"{name} has {len(pairs)} pairs; at most {MAX_METADATA}", param=name)
    return {
        read_text(name, key, MAX_WORD_CHARS): read_text(f"{name}.{key}", text, MAX_METADATA_CHARS)
        for key, text in pairs.items()
    }


def read_media(field: str, name: str, value: object, *, at: float | None = None) -> MediaRef:
    """Return what a picture or a video is read from, as it was named.

    That is a file of the form, an http(s) URL, a data URI, base64, the id of a video (`video_...`)
    or of an upload (`file_...`), or an object of one of them: `{image_url}`, `{video_url}`,
    `{url}`, `{file_id}`, `{id}`, `{b64_json}`, `{image}`, `{video}`. The name of a file on the
    server is none of these.

    Raises:
        Refusal: it is none of these.
    """
    if isinstance(value, Upload):
        return MediaRef(field, "upload", value.name, name, value.content_type, at)
    if isinstance(value, Mapping):
        given = [key for key in value if value[key] is not None]
        if len(given) != 1 or given[0] not in MEDIA_KEYS:
            raise refuse(name, value, f"an object of one of {', '.join(MEDIA_KEYS)}")
        key = given[0]
        inner, inner_name = value[key], f"{name}.{key}"
        if key in _ID_SOURCES:
            id = read_text(inner_name, inner, MAX_WORD_CHARS)
            return MediaRef(field, _ID_SOURCES[key], _word(inner_name, id), name, None, at)
        if isinstance(inner, Mapping) and (key not in URL_KEYS[:2] or set(inner) != {"url"}):
            raise refuse(inner_name, inner, "text")
        return read_media(field, inner_name, inner, at=at)
    text = read_text(name, value)
    source, content, kind = _named(name, text)
    return MediaRef(field, source, content, name, kind, at)


def _named(name: str, text: str) -> tuple[Source, str, str | None]:
    """Return the source, the value and the content type that a text names."""
    scheme = text[:8].lower()
    if scheme.startswith(("https://", "http://")):
        return "url", read_url(name, text), None
    if scheme.startswith("data:"):
        head, comma, content = text[5:].partition(",")
        kind, *options = head[:MAX_WORD_CHARS].lower().split(";")
        if not comma or len(head) > MAX_WORD_CHARS or "base64" not in options:
            raise refuse(name, text, "a data URI such as data:image/png;base64,...")
        return "base64", _base64(name, content), kind or None
    if text.startswith("video_") and len(text) <= MAX_WORD_CHARS:
        return "video", _word(name, text), None
    if text.startswith("file_") and len(text) <= MAX_WORD_CHARS:
        return "file", _word(name, text), None
    if len(text) < MIN_BASE64_CHARS:
        raise refuse(
            name, text, "a file of the form, an http(s) URL, a data URI, base64 or the id of a "
            "video or an upload; files of the server cannot be named",
        )  # fmt: skip
    return "base64", _base64(name, text), None


def _word(name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", text):
        raise refuse(name, text, "an id")
    return text


def _base64(name: str, text: str) -> str:
    """Return base64 without its line breaks; decoding is left to whoever has the limits."""
    if "\n" in text or "\r" in text:
        text = text.replace("\r", "").replace("\n", "")
    if not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text):
        raise refuse(name, text, "base64, or a URL")
    return text


def unknown_field(name: str, allowed: Collection[str], where: str = "") -> Refusal:
    """Return the refusal of a field that nobody knows, to be raised: it tells the nearest."""
    near = get_close_matches(name[:MAX_WORD_CHARS], allowed, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(sorted(allowed))}"
    return Refusal(f"unknown field {shown(where + name)}{hint}", param=(where + name)[:128])
