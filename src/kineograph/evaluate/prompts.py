"""Suites on disk, for models of any kind: prompts as JSON lines and first frames as pictures.

A line is a pure function of its id. What is read back must be what the suite writes, so that a
figure measured with the file is one of the suite.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from kineograph.errors import RequestError
from kineograph.evaluate.sources import COMPILE_FROM, has_compiler
from kineograph.evaluate.suites import (
    SUITES,
    SUITES_VERSION,
    Prompt,
    Suite,
    get_suite,
    make_prompts,
)
from kineograph.media.files import atomic_write
from kineograph.weights.header import shown
from kineograph.world.captions import facts
from kineograph.world.draw import BASE_SIZES, FPS, NUM_FRAMES
from kineograph.world.render import render

PROMPTS, FIRST_FRAMES = "prompts.jsonl", "first"
SIDE = 512  # pixels of a first frame
MAX_SIDE = 1024
MAX_BYTES = 16 << 20
ID = re.compile(r"([a-z]+)-(\d{4})")
REMEDY = "`kineo world suite` writes them"


@runtime_checkable
class Line(Protocol):
    """A prompt under its id, as a line of a file."""

    @property
    def id(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Return the line, JSON-ready."""
        ...


E = TypeVar("E", bound=Line)


@dataclass(frozen=True)
class Entry:
    """A prompt and the name of its video."""

    id: str
    suite: Suite
    prompt: Prompt

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, a line of the file."""
        prompt, known = self.prompt, facts(self.prompt.scene)
        return {
            "id": self.id,
            "suite": self.suite.name,
            "suites_version": SUITES_VERSION,
            "language": prompt.language,
            "prompt": prompt.text,
            "seed": prompt.seed,
            "facts": {name: known[name] for name in sorted(prompt.said)},
            "aspect_ratio": prompt.scene.aspect_ratio,
            "fps": FPS,
            "num_frames": NUM_FRAMES,
            "first_frame": f"{FIRST_FRAMES}/{self.id}.png",
        }


def suite_entries(suite: Suite, count: int | None = None) -> list[Entry]:
    """Return the first `count` prompts of a suite, or all, under their ids."""
    prompts = make_prompts(suite, count)
    return [Entry(f"{suite.name}-{i:04d}", suite, prompt) for i, prompt in enumerate(prompts)]


def write_suite(
    out: Path,
    suite: str | None = None,
    prompts: int | None = None,
    *,
    side: int = SIDE,
    compiled: bool | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write prompts.jsonl and, for models that take one, first/ID.png; return the former.

    `suite` None is all, `prompts` the most to take from each. Pictures that are there are kept.
    The renderer is compiled where that pays and can be, unless `compiled` says.

    Raises:
        RequestError: an unknown suite, a number out of range, or `out` holds other prompts.
    """
    base, _ = BASE_SIZES["1:1"]
    if side % base or not base <= side <= MAX_SIDE:
        raise RequestError(f"size {side} is not allowed; multiples of {base} up to {MAX_SIDE} are")
    if suite is None:
        counts = {s: min(prompts or s.prompts, s.prompts) for s in SUITES.values()}
    else:
        counts = {get_suite(suite): prompts or get_suite(suite).prompts}
    entries = [entry for s, count in counts.items() for entry in suite_entries(s, count)]
    path = out / PROMPTS
    if compiled is None:
        compiled = len(entries) >= COMPILE_FROM and has_compiler()

    def draw(picture: Path, entry: Entry) -> None:
        _write_first_frame(picture, entry.prompt, side, compiled=compiled)

    write_entries(out, entries, draw, lambda picture, _: has_size(picture, side, side), on_progress)
    return path


def write_entries(
    out: Path,
    entries: Sequence[E],
    draw: Callable[[Path, E], None],
    is_there: Callable[[Path, E], bool],
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Write prompts.jsonl, and each first frame that is not there yet.

    Raises `RequestError` if the folder holds other prompts.
    """
    lines = [json.dumps(entry.to_dict(), ensure_ascii=False) for entry in entries]
    text = ("\n".join(lines) + "\n").encode()
    path = out / PROMPTS
    if path.exists() and path.read_bytes() != text:
        raise RequestError(f"{path} holds other prompts; choose another folder")
    (out / FIRST_FRAMES).mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text)
    for done, entry in enumerate(entries, 1):
        picture = out / FIRST_FRAMES / f"{entry.id}.png"
        if not is_there(picture, entry):
            draw(picture, entry)
        if on_progress:
            on_progress(done, len(entries))


def _write_first_frame(path: Path, prompt: Prompt, side: int, *, compiled: bool) -> None:
    scale = side // BASE_SIZES["1:1"][0]
    video, _ = render([prompt.scene], np.zeros(1), side, side, scale=scale, compiled=compiled)
    save_picture(path, video[0, 0].numpy())


def save_picture(path: Path, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a picture as PNG, whole or not at all."""
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, "PNG")


def has_size(path: Path, width: int, height: int) -> bool:
    """Return whether there is a PNG of a size."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.size == (width, height)
    except OSError:
        return False


def read_prompts(path: Path) -> list[Entry]:
    """Return the prompts of a file that `write_suite` wrote, or of any lines of it, in any order.

    Raises:
        RequestError: a line is not what its suite writes, an id comes twice, or there is none.
        OSError: the file cannot be read.
    """
    return list(read_lines(path, _entry).values())


def read_lines(path: Path, find: Callable[[str, int], E]) -> dict[str, E]:
    """Return by id the entries that the lines of a file of prompts are.

    `find` returns the entry of a suite's name and a number, or raises `RequestError`.

    Raises:
        RequestError: a line is not what its suite writes, an id comes twice, or there is none.
        OSError: the file cannot be read.
    """
    entries: dict[str, E] = {}
    for number, line in enumerate(_raw(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = _read_line(line, find)
            if entry.id in entries:
                raise RequestError(f"the id {entry.id!r} comes twice")
        except (RequestError, ValueError, RecursionError) as error:
            raise RequestError(f"{path}, line {number}: {error}") from None
        entries[entry.id] = entry
    if not entries:
        raise RequestError(f"{path} holds no prompt; {REMEDY}")
    return entries


def version_of(path: Path) -> int:
    """Return the version of the suites that a file of prompts is from: its first line's.

    1 where that says nothing: `read_prompts` will say what is wrong. Raises `OSError` if the
    file cannot be read, `RequestError` if it is too long.
    """
    first = next((line for line in _raw(path).splitlines() if line.strip()), b"")
    try:
        version = json.loads(first)["suites_version"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return SUITES_VERSION
    return version if type(version) is int else SUITES_VERSION


def _raw(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise RequestError(f"{path} is no file of prompts: longer than {MAX_BYTES} bytes")
    return raw


def _read_line(line: bytes, find: Callable[[str, int], E]) -> E:
    data = json.loads(line)
    if not isinstance(data, dict):
        raise RequestError(f"it must be an object of fields, not {shown(data)}")
    match = ID.fullmatch(str(data.get("id")))
    if match is None:
        raise RequestError(f"the id {shown(data.get('id'))} is none of a suite; {REMEDY}")
    entry = find(match[1], int(match[2]))
    wanted = entry.to_dict()
    for name in (*wanted, *data):
        if name not in data:
            raise RequestError(f"the field {name!r} is missing; {REMEDY}")
        if name not in wanted:
            raise RequestError(f"unknown field {shown(name)}; fields: {', '.join(wanted)}")
        if data[name] != wanted[name] or type(data[name]) is not type(wanted[name]):
            raise RequestError(
                f"{name} is {shown(data[name])}; the suite has {shown(wanted[name])}"
            )
    return entry


def _entry(name: str, index: int) -> Entry:
    suite = get_suite(name)
    if index >= suite.prompts:
        raise no_such_prompt(suite.name, suite.prompts, index)
    return _all_of(suite.name)[index]


def no_such_prompt(suite: str, prompts: int, index: int) -> RequestError:
    """Return the error for a number that a suite does not have."""
    return RequestError(f"suite {suite} has {prompts} prompts, and no '{suite}-{index:04d}'")


@cache
def _all_of(suite: str) -> list[Entry]:
    return suite_entries(SUITES[suite])
