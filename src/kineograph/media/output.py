"""What can be refused about an output before anything is computed."""

from __future__ import annotations

import math
import secrets
import shutil
from fractions import Fraction
from pathlib import Path

from kineograph.errors import RequestError
from kineograph.media.files import refuse_os_errors, resolve_output
from kineograph.outputs import infer_format

# Viewers slow a faster gif down.
MAX_FPS = {"mp4": 240, "webm": 240, "gif": 50, "png": 240, "image": 240}
MAX_SIDE = 8192
EVEN_FORMATS = ("mp4", "webm")  # 4:2:0 keeps one chroma sample for two by two pixels
# Generous, to refuse a hopeless disk and not a tight one. Measured at 320x180: 0.13 bytes a
# pixel for a hand-held camera in mp4, 0.6 in gif; PNG can always need all 3.
BYTES_PER_PIXEL = {"mp4": 0.25, "webm": 0.25, "gif": 1.0, "png": 3.0, "image": 3.0}
LEAST_FREE_BYTES = 1 << 20


def check_output(
    path: str | Path,
    format: str | None = None,
    *,
    num_frames: int = 1,
    height: int | None = None,
    width: int | None = None,
    fps: float | Fraction | None = None,
) -> str:
    """Refuse, before anything is computed, an output that could not be written; return its format.

    What is known of the clip (`height` and `width` in pixels, `fps` in frames a second) is
    checked against the format, and its estimated size against the free disk space.

    Raises:
        RequestError: the format is unknown, the folder is missing or cannot be written to, a
            folder or a device has the name, the disk is full, or the format cannot hold the clip.
    """
    format = infer_format(str(path), format)
    if fps is not None and not 1 <= fps <= MAX_FPS[format]:  # NaN compares false as well
        raise RequestError(f"fps is {fps}; allowed for {format}: 1 to {MAX_FPS[format]}")
    for name, side in (("height", height), ("width", width)):
        if side is not None and not 1 <= side <= MAX_SIDE:
            raise RequestError(f"{name} is {side}; allowed: 1 to {MAX_SIDE} pixels")
        if side is not None and side % 2 and format in EVEN_FORMATS:
            raise RequestError(f"{name} is {side}; {format} needs it even (gif and png do not)")
    target = resolve_output(path)
    with refuse_os_errors(path):
        if format == "png" and target.exists():
            if not target.is_dir():
                raise RequestError(f"cannot write {path}: a file has the name of the folder")
            if any(target.iterdir()):
                raise RequestError(f"cannot write {path}: the folder is not empty")
        elif target.is_dir():
            raise RequestError(f"cannot write {path}: it is a folder")
        elif target.exists():
            target.open("ab").close()  # a write-protected file is meant to stay
        _probe_folder(target.parent)
        free = shutil.disk_usage(target.parent).free
    pixels = num_frames * (height or 0) * (width or 0)
    needed = max(LEAST_FREE_BYTES, math.ceil(pixels * BYTES_PER_PIXEL[format]))
    if free < needed:
        raise RequestError(
            f"cannot write {path}: about {needed / 1e6:.0f} MB are needed, "
            f"{free / 1e6:.0f} MB are free"
        )
    return format


def _probe_folder(folder: Path) -> None:
    """Make a file and remove it: permissions, read-only disks and quotas all show."""
    probe = folder / f".kineo-{secrets.token_hex(8)}.tmp"
    try:
        with probe.open("xb") as file:
            file.write(b"\0")
    finally:
        probe.unlink(missing_ok=True)
