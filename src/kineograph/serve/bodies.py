"""Bodies of requests: JSON or forms, read under limits into one nested dict and its files.

A form's keys may name places in objects and lists: `camera_control[config][zoom]`, `a[0]`, `a[]`.
Every limit is enforced while the body comes in, and every refusal names the field.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from kineograph.errors import shown
from kineograph.serve.forms import MAX_PARTS, MAX_TEXT_BYTES, check_text, read_parts, utf8
from kineograph.serve.forms import BodyError as BodyError
from kineograph.serve.forms import Upload as Upload
from kineograph.serve.submission import LIST_FIELDS

MAX_DEPTH = 8  # objects and lists within one another
MAX_VALUES = 2000  # of a body, the nested ones too
MAX_ITEMS = 256  # of a list
MAX_KEY_CHARS = 128  # of a form's key, brackets and all
MAX_SIGNS = 20_000  # commas, colons and brackets of JSON: it is counted before it is parsed
MAX_NUMBER_CHARS = 40
AT_ONCE = 2**17  # bytes of text that are read without leaving the event loop

JSON, FORM, MULTIPART = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
)

# Fields whose text in a form is JSON where it begins as an object or a list does.
OBJECT_FIELDS = frozenset({
    "input_reference", "image_reference", "video_reference", "image", "last_image", "video",
    "before", "after", "control", "control_mask", "keyframes", "references", "camera",
    "camera_control", "extra_params", "extra_body", "metadata", "watermark_info",
})  # fmt: skip


@dataclass(frozen=True)
class Body:
    """A body that was read: `fields` nested, with the `Upload` where a file stands in it."""

    fields: Mapping[str, Any]
    files: Mapping[str, Upload]  # by `Upload.name`
    digest: str  # SHA-256 in hex of what it says, and where: a form's bytes differ when sent again

    def close(self) -> None:
        """Delete the files that came with it."""
        for upload in self.files.values():
            upload.file.close()


async def read_body(
    request: Request,
    *,
    max_bytes: int,
    max_file_bytes: int,
    objects: Collection[str] = OBJECT_FIELDS,
    repeated: Collection[str] = LIST_FIELDS,
) -> Body:
    """Read a request's body, at most `max_bytes` of it and of each file `max_file_bytes`.

    `objects` names the fields of a form whose text may be JSON, `repeated` those that are lists
    when they are given several times. A body of no bytes is one of no fields. The caller closes
    what it gets; nothing is left open where this fails.

    Raises:
        BodyError: it is too large (413), of a kind that is not read (415), or wrong (400).
    """
    kind, boundary = _kind_of(request)
    stream = _capped(request, max_bytes)
    if kind == MULTIPART:
        parts = await read_parts(stream, boundary, max_file_bytes)

        def sort() -> Body:
            fields = nested(parts.entries, objects=objects, repeated=repeated)
            files = {upload.name: upload for upload in _uploads(fields)}
            return Body(fields, files, _digest(request, fields))

        try:
            return sort() if parts.text_bytes < AT_ONCE else await run_in_threadpool(sort)
        except BaseException:
            parts.close()
            raise
    data = bytearray()
    async for chunk in stream:
        data += chunk
        if len(data) > MAX_TEXT_BYTES:
            raise BodyError(f"the body is longer than {MAX_TEXT_BYTES} bytes", status=413)
    if data and not kind:
        raise BodyError(f"the body needs a Content-Type: {JSON} or {MULTIPART}", status=415)

    def read() -> Body:
        text = utf8(data, "the body")
        if kind == FORM:
            fields = nested(_pairs(text), objects=objects, repeated=repeated)
        else:
            fields = parse_json(text, "the body") if data else {}
            if not isinstance(fields, dict):
                raise BodyError(f"the body must be an object of fields, not {shown(fields)}")
        return Body(fields, {}, _digest(request, fields))

    # A picture as base64 takes its time; nobody else has to wait for it.
    return read() if len(data) < AT_ONCE else await run_in_threadpool(read)


def _kind_of(request: Request) -> tuple[str, bytes]:
    """Return the kind of a body, "" where it is not said, and the boundary of its parts."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise BodyError(
            f"Content-Encoding {shown(encoding)} is not read; send it plain", status=415
        )
    told = request.headers.get("content-type", "")
    try:
        raw, options = parse_options_header(told)
    except ValueError:
        raw, options = told.encode(), {}
    kind = raw.decode("latin-1").strip().lower()
    if kind.startswith("application/") and kind.endswith("+json"):
        kind = JSON
    if kind not in ("", JSON, FORM, MULTIPART):
        raise BodyError(
            f"Content-Type {shown(told)} is not read; allowed: {JSON}, {MULTIPART}, {FORM}",
            status=415,
        )
    charset = options.get(b"charset", b"utf-8").decode("latin-1").lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise BodyError(f"charset {shown(charset)} is not read; allowed: utf-8", status=415)
    boundary = options.get(b"boundary", b"")
    if kind == MULTIPART and not 0 < len(boundary) <= 70:
        raise BodyError(f"Content-Type {shown(told)} has no boundary of 1 to 70 characters")
    return kind, boundary


async def _capped(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body's bytes, and refuse it as soon as it is known to be too long."""
    message = f"the body is longer than {max_bytes} bytes"
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and (len(told) > 18 or int(told) > max_bytes):
        raise BodyError(message, status=413)
    read = 0
    async for chunk in request.stream():
        read += len(chunk)
        if read > max_bytes:
            raise BodyError(message, status=413)
        yield chunk


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict",
            max_num_fields=MAX_PARTS,
        ) if text else []  # fmt: skip
    except UnicodeDecodeError as error:
        raise BodyError(f"the form is not UTF-8: {error.reason}") from None
    except ValueError as error:
        raise BodyError(f"the form cannot be read: {error}") from None


# JSON


def parse_json(text: str, name: str) -> Any:  # noqa: ANN401 - whatever stands in it
    """Return the value of a JSON text, of which `name` is what a message calls it.

    Raises:
        BodyError: it is no JSON, names a key twice, has a number that is none, or more values,
            or more within one another, than is allowed.
    """
    if sum(text.count(sign) for sign in ",:[{") > MAX_SIGNS:
        raise BodyError(f"{name} has more than {MAX_SIGNS} commas, colons and brackets")
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite,
            parse_int=_integer,
        )  # fmt: skip
    except RecursionError:
        raise BodyError(f"{name} is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise BodyError(f"{name} is not JSON: {error}") from None
    _check_json(value, "" if name == "the body" else name)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BodyError(f"field {shown(twice)} is given twice", param=twice[:MAX_KEY_CHARS])
    return found


def _no_number(text: str) -> NoReturn:
    raise BodyError(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise BodyError(f"the number {shown(text)} is longer than {MAX_NUMBER_CHARS} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise BodyError(f"the number {shown(text)} is too large")
    return value


def _check_json(top: object, name: str) -> None:
    """Refuse what is too deep, too much or no text; the walk is no recursion."""
    todo: list[tuple[object, str, int]] = [(top, name, 0)]
    seen = 0
    while todo:
        value, path, depth = todo.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise BodyError(f"more than {MAX_VALUES} values are given", param=name or None)
        if isinstance(value, str):
            check_text(value, path)
        if not isinstance(value, dict | list):
            continue
        if depth >= MAX_DEPTH:
            raise BodyError(f"{path} is nested deeper than {MAX_DEPTH} levels", param=path)
        if isinstance(value, list) and len(value) > MAX_ITEMS:
            raise BodyError(f"{path} has {len(value)} items; at most {MAX_ITEMS}", param=path)
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            if isinstance(key, str):
                _check_key(key)
            inner = value[key]
            todo.append((inner, f"{path}.{key}" if path else str(key), depth + 1))


def _check_key(key: str) -> None:
    if not 0 < len(key) <= MAX_KEY_CHARS:
        raise BodyError(f"the name {shown(key)} must have 1 to {MAX_KEY_CHARS} characters")
    check_text(key, shown(key))


# Forms: keys that name places


class _Open(dict[str | int, Any]):
    """An object or a list that is still being filled: one whose keys are numbers is a list."""


def nested(
    entries: Sequence[tuple[str, str | Upload]],
    *,
    objects: Collection[str] = OBJECT_FIELDS,
    repeated: Collection[str] = LIST_FIELDS,
) -> dict[str, Any]:
    """Return what a form's keys and values say, nested; `read_body` says what the names are for.

    `a[x]` is a place in an object and `a[0]` one in a list. The k-th `a[]` is item k, and the
    k-th `a[][x]` the field x of item k, since clients send such fields by item or by name. An
    upload is told by its place, with dots: `keyframes.0.image`.

    Raises:
        BodyError: a key is written wrong, given twice, or names what is something else already.
    """
    times = Counter(name for name, _ in entries)
    seen: Counter[str] = Counter()
    columns: dict[str, dict[str, int]] = {}
    root = _Open()
    for name, value in entries:
        keys = _keys(name)
        if len(keys) == 1 and times[name] > 1 and name in repeated:
            keys = [*keys, None]
        if None in keys:
            place = keys.index(None)
            columns.setdefault(name.partition("[]")[0], {})[name] = times[name]
            keys[place] = seen[name]
            seen[name] += 1
            if seen[name] > MAX_ITEMS:
                raise BodyError(f"{name} is given more than {MAX_ITEMS} times", param=name)
        if None in keys:
            raise BodyError(f"{name} is a list of lists; number the items, as in a[0][0]")
        _put(root, [key for key in keys if key is not None], name, value, objects)
    for name, counts in columns.items():
        if len(set(counts.values())) > 1:
            raise BodyError(
                f"the items of {name}[] have not all the same fields; number them, as in "
                f"{name}[0]", param=name,
            )  # fmt: skip
    return {str(key): _closed(value, str(key)) for key, value in root.items()}


def _keys(name: str) -> list[str | int | None]:
    """Return the places of a key; None is the next of a list."""
    _check_key(name)
    if not re.fullmatch(r"[^\[\]]+(\[[^\[\]]*\])*", name):
        raise BodyError(f"the name {shown(name)} is not written as a, a[b], a[0] or a[]")
    first, *rest = name.replace("]", "").split("[")
    if len(rest) >= MAX_DEPTH:
        raise BodyError(f"{shown(name)} is nested deeper than {MAX_DEPTH} levels", param=name)
    keys: list[str | int | None] = [first]
    for key in rest:
        if key.isascii() and key.isdigit():
            if len(key) > 6 or int(key) >= MAX_ITEMS:
                raise BodyError(
                    f"{shown(name)} names item {key}; lists have at most {MAX_ITEMS}", param=name
                )
            keys.append(int(key))
        else:
            keys.append(key or None)
    return keys


def _put(
    root: _Open, keys: list[str | int], name: str, value: str | Upload, objects: Collection[str]
) -> None:
    place = root
    for key in keys[:-1]:
        place = place.setdefault(key, _Open())
        if not isinstance(place, _Open):
            raise BodyError(f"{shown(name)} is a place in what is given as a value", param=name)
    last = keys[-1]
    if isinstance(place.get(last), _Open):
        raise BodyError(f"{shown(name)} is given as a value and as an object", param=name)
    if last in place:
        raise BodyError(f"field {shown(name)} is given twice", param=name)
    path = ".".join(str(key) for key in keys)
    if isinstance(value, Upload):
        place[last] = replace(value, name=path)
        return
    check_text(value, path)
    place[last] = value
    field = next(key for key in reversed(keys) if isinstance(key, str))
    if field in objects and value.lstrip()[:1] in ("{", "["):
        place[last] = parse_json(value, path)


def _closed(value: object, path: str) -> Any:  # noqa: ANN401 - whatever stands there
    if not isinstance(value, _Open):
        return value
    inner = {key: _closed(item, f"{path}.{key}") for key, item in value.items()}
    numbers = sorted(key for key in inner if isinstance(key, int))
    if not numbers:
        return inner
    if len(numbers) < len(inner):
        raise BodyError(f"{path} has names and numbers as keys; it is a list or none", param=path)
    if numbers != list(range(len(numbers))):
        raise BodyError(f"{path} has no item {_gap(numbers)}, but {numbers[-1]}", param=path)
    return [inner[number] for number in numbers]


def _gap(numbers: list[int]) -> int:
    return next(i for i, number in enumerate(numbers) if i != number)


def _uploads(value: object) -> Iterator[Upload]:
    if isinstance(value, Upload):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _uploads(inner)


def _digest(request: Request, fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a request says, in hex: files count by their bytes."""
    said = {"path": request.url.path, "fields": fields}
    text = json.dumps(said, sort_keys=True, default=lambda upload: {"sha256": upload.sha256})
    return hashlib.sha256(text.encode()).hexdigest()
