"""Pictures and videos from strangers: judged and made anew by a process that can do nothing else.

A decoder is a large program fed by whoever sends a file. It runs in a process of its own with
bounded memory and time, which can open neither files nor sockets (`decode_child`); what the
generator later reads is a file which that process wrote, and never the one that was sent.
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from kineograph.errors import RequestError, shown
from kineograph.media.files import PendingFile

Kind = Literal["image", "video"]

CHILD = Path(__file__).with_name("decode_child.py")
HEAD_BYTES = 64
ANSWER_BYTES = 4096  # of the child's one line; a longer one is not ours
IMAGES, VIDEOS = "JPEG, PNG or WebP", "MP4, MOV, WebM or Matroska"
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")
PNG_START = b"\x89PNG\r\n\x1a\n"


class MediaError(RequestError):
    """A file that was sent is none that may be read; the message is for its sender."""


@dataclass(frozen=True)
class Limits:
    """What a file may be, and what may be spent on finding out."""

    image_bytes: int = 20_000_000
    video_bytes: int = 200_000_000
    max_image_pixels: int = 36_000_000
    max_frame_pixels: int = 4096 * 2304
    min_side: int = 16  # pixels
    max_seconds: float = 60.0  # that a video may last
    max_frames: int = 3600
    max_streams: int = 4  # of pictures, sound and subtitles
    keep_seconds: float | None = None  # of a video's start that are decoded and kept; None: all
    max_clean_bytes: int = 1_000_000_000  # of the file that is made
    memory_bytes: int = 2 << 30  # address space of the process
    cpu_seconds: int = 120
    wall_seconds: float = 180.0


@dataclass(frozen=True)
class Media:
    """A clean file: an 8-bit RGB PNG, or an H.264 MP4 of a constant rate without sound.

    Sizes are in pixels, upright; `duration` is in seconds. A picture has one frame, no
    `fps` and no duration.
    """

    kind: Kind
    width: int
    height: int
    num_frames: int
    fps: Fraction | None
    duration: float
    path: Path


def admit(
    source: Path, target: Path, *, kind: str | None = None, limits: Limits | None = None
) -> Media:
    """Judge the file `source` and write what it shows to `target`, which is new or replaced.

    What a file is, is told by its first bytes; its name counts for nothing. Pictures (JPEG,
    PNG, WebP) become RGB, upright by EXIF, transparency laid on white. Videos (H.264, HEVC,
    VP8, VP9 or AV1 in MP4, MOV, WebM or Matroska) lose their sound, turn upright and get
    the average of their frame rates. All metadata is dropped. `kind`, "image" or "video",
    refuses the other. `source` is left as it is: the caller removes it.

    Raises:
        MediaError: the file is missing, empty, too large, of another format, truncated or
            damaged, or beyond a limit; then there is no new `target`.
    """
    limits = Limits() if limits is None else limits
    descriptor = _open(source)
    try:
        found, format = _sniff(descriptor, kind, limits)
        pending = PendingFile(target)
        try:
            with pending.temporary.open("xb") as clean:
                facts = _ask(descriptor, clean.fileno(), found, format, limits)
            media = _media(found, facts, target)
            pending.commit()
        except BaseException:
            pending.discard()
            raise
    finally:
        os.close(descriptor)
    return media


def _open(source: Path) -> int:
    """Return a descriptor of a plain file; links, devices and pipes are none."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "not a file name"
        raise MediaError(f"cannot read {shown(source.name)}: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError(f"cannot read {shown(source.name)}: it is not a plain file")
    return descriptor


def _sniff(source: int, kind: str | None, limits: Limits) -> tuple[Kind, str]:
    """Return the kind and the format of a file, told by its first bytes, within its size."""
    if kind not in (None, "image", "video"):
        raise MediaError(f"unknown kind {shown(kind)}; allowed: image, video")
    size, head = os.fstat(source).st_size, os.pread(source, HEAD_BYTES, 0)
    allowed = {"image": IMAGES, "video": VIDEOS, None: f"{IMAGES}; {VIDEOS}"}[kind]
    if not size:
        raise MediaError(f"the file is empty; allowed: {allowed}")
    found = _format(head)
    if found is None:
        raise MediaError(f"the file begins with {shown(head[:12])}; allowed: {allowed}")
    is_kind, format = found
    if kind not in (None, is_kind):
        raise MediaError(f"the file is {_a(is_kind)} ({format}); allowed: {allowed}")
    most = limits.image_bytes if is_kind == "image" else limits.video_bytes
    if size > most:
        raise MediaError(f"the {is_kind} has {size / 1e6:.1f} MB; allowed: up to {most / 1e6:g} MB")
    return is_kind, format


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "image" else f"a {kind}"


def _format(head: bytes) -> tuple[Kind, str] | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "image", "jpeg"
    if head.startswith(PNG_START):
        return "image", "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image", "webp"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video", "matroska"
    if head[4:8] in MP4_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in PICTURE_BRANDS):
        return "video", "mp4"
    return None


def _ask(source: int, clean: int, kind: Kind, format: str, limits: Limits) -> dict[str, Any]:
    """Run the child on the two open files and return what it found, or refuse in its words."""
    orders = asdict(limits) | {"kind": kind, "format": format, "paths": _decoder_paths()}
    # Isolated, without the start-up files of an environment; the child limits itself before
    # it loads a decoder, as code between fork and exec is unsafe in a process with threads.
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(CHILD), str(clean), json.dumps(orders)],
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(clean,),
        env={},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdout is not None
    deadline = time.monotonic() + limits.wall_seconds
    try:
        answer = _read_line(process.stdout.fileno(), deadline)
        if answer is not None and len(answer) <= ANSWER_BYTES:  # else it is killed at once
            process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        answer = None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it may have started
        process.stdout.close()
        process.wait()
    if answer is None:
        raise MediaError(
            f"the {kind} takes more than {limits.wall_seconds:g} s to decode, "
            "the longest that is allowed"
        )
    if process.returncode == -signal.SIGXCPU:
        raise MediaError(
            f"the {kind} takes more than {limits.cpu_seconds} s of computing to decode, "
            "the most that is allowed"
        )
    return _understood(answer, process.returncode, kind)


def _read_line(pipe: int, deadline: float) -> bytes | None:
    """Read what the child says, at most `ANSWER_BYTES`; None if time runs out first."""
    said = b""
    while len(said) <= ANSWER_BYTES:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(pipe, ANSWER_BYTES + 1 - len(said))
        if not part:
            break
        said += part
    return said


def _understood(answer: bytes, status: int, kind: Kind) -> dict[str, Any]:
    """Read the child's answer as one that may itself be hostile."""
    with suppress(ValueError, RecursionError):
        told = json.loads(answer) if status == 0 and len(answer) <= ANSWER_BYTES else None
        if isinstance(told, dict):
            if isinstance(reason := told.get("refused"), str):
                raise MediaError(f"the {kind} {reason}")
            if isinstance(facts := told.get("admitted"), dict):
                return facts
    raise MediaError(f"the {kind} cannot be decoded: its decoder broke down")


def _decoder_paths() -> list[str]:
    """Return the folders that the child finds its decoders in."""
    folders: dict[str, None] = {}
    for name in ("av", "PIL"):
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None
        folders[str(Path(spec.origin).resolve().parents[1])] = None
    return list(folders)


def _media(kind: Kind, facts: dict[str, Any], path: Path) -> Media:
    try:
        width, height, count = (int(facts[name]) for name in ("width", "height", "num_frames"))
        fps = None if facts["fps"] is None else Fraction(*map(int, facts["fps"]))
        duration = 0.0 if fps is None else float(count / fps)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise MediaError(f"the {kind} cannot be decoded: its decoder broke down") from error
    return Media(kind, width, height, count, fps, duration, path)
