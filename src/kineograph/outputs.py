"""Files that clips are written to: their formats and their names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kineograph.errors import RequestError, choice
from kineograph.ways import check_path

# png is a folder of numbered pictures, image one picture: a clip of one frame
FORMATS = ("mp4", "webm", "gif", "png", "image")
ENDINGS = {".mp4": "mp4", ".webm": "webm", ".gif": "gif", ".png": "image"}  # a folder has none
SLUG_CHARS = 60


def infer_format(path: str, format: str | None = None) -> str:
    """Return the format that a path asks for: by its ending, png for one that ends in a slash.

    Raises `RequestError` for an unknown ending, or one that says other than `format`.
    """
    if format is not None:
        choice("output format", format, "", FORMATS)
    asked = ENDINGS.get(Path(path).suffix.lower())
    if path.endswith(("/", os.sep)):
        asked = "png"
    elif asked is None and format == "png":
        return format
    elif asked is None:
        raise RequestError(
            f"unknown output format of {path!r}; a name ends in .mp4, .webm, .gif, in .png for one "
            "picture, or in / for a folder of PNG frames"
        )
    if format not in (None, asked):
        raise RequestError(f"output {path!r} is {asked}, but the format is {format}")
    return asked


def resolve_output(
    prompt: str, asked: str | None, format: str | None, num_frames: int
) -> tuple[str, str]:
    """Return the format and the path; a folder of pictures has no ending of its own."""
    if asked is None:
        usual = "image" if num_frames == 1 else "mp4"
        format = choice("output format", format, usual, FORMATS)
        ending = next((e for e, name in ENDINGS.items() if name == format), "")
        path = slug(prompt) + ending
    else:
        path = check_path("output", asked)
        format = infer_format(path, format)
    if format == "image" and num_frames != 1:
        raise RequestError(
            f"output {path!r} is one picture, but the clip has {num_frames} frames; ask for "
            "num_frames 1, or end the name in / for a folder of pictures"
        )
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
