"""Videos out and in: a writer that leaves nothing half done, a reader that trusts nothing.

The encoder works on a thread of its own behind a short queue, so that a clip is encoded
while its next frames are still being decoded from the latent.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8
from numpy import ndarray

from kineograph.errors import RequestError
from kineograph.media.colour import FrameToRgb
from kineograph.media.encoders import ENCODERS, REPEATABLE_ENCODERS, Encoder
from kineograph.media.files import PendingFile, refuse_os_errors
from kineograph.media.output import check_output

QUEUE_FRAMES = 8  # two latent frames' worth: enough to overlap, 50 MB at 1080p
MAX_FRAME_PIXELS = 8192 * 4320  # of a video that is read
DECODERS = ("h264", "hevc", "mpeg4", "vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "gif")
READABLE = "allowed: MP4, MOV, WebM, MKV (H.264, HEVC, MPEG-4, VP8, VP9 or AV1) and GIF"


def open_writer(
    path: str | Path,
    fps: float | Fraction,
    width: int,
    height: int,
    format: str | None = None,
    *,
    repeatable: bool = False,
) -> VideoWriter:
    """Open a video to write frames to; a context manager.

    `format` is mp4 (H.264), webm (VP9), gif or png (a folder of pictures), by default what
    the path says. The file appears under its name when the block ends, complete, or not at
    all: on an exception or an interrupt nothing is left behind. `repeatable` makes the same
    bytes of the same frames in mp4 too, which costs size (encoders.py).

    Raises:
        RequestError: see `check_output`.
    """
    format = check_output(path, format, height=height, width=width, fps=fps)
    return VideoWriter(path, format, _exact(fps), width, height, repeatable=repeatable)


class VideoWriter:
    """Encodes frames on a thread of its own while the caller makes the next ones.

    An error of the encoder (a full disk) is raised by the next `write` or by `close`.
    """

    def __init__(
        self,
        path: str | Path,
        format: str,
        fps: Fraction,
        width: int,
        height: int,
        *,
        repeatable: bool = False,
    ) -> None:
        self.path, self.format = Path(path), format
        self.fps, self.width, self.height = fps, width, height
        self.num_frames = 0  # written so far
        self._pending = PendingFile(path)
        self._closed = self._stopping = False
        self._error: BaseException | None = None
        self._queue: queue.Queue[UInt8[ndarray, "h w 3"] | None] = queue.Queue(QUEUE_FRAMES)
        try:
            make = (REPEATABLE_ENCODERS if repeatable else ENCODERS)[format]
            self._encoder: Encoder = make(self._pending.temporary, fps, width, height)
        except BaseException as error:
            self._pending.discard()
            self._refuse(error)
        self._thread = threading.Thread(target=self._encode, name="encoder", daemon=True)
        self._thread.start()

    def write(self, frames: UInt8[ndarray, "t h w 3"]) -> None:
        """Take the next frames, RGB, of the size the writer was opened with.

        They are copied: the array may be used again at once. Waits while the encoder is
        more than a few frames behind.

        Raises:
            RequestError: the file cannot be written (the disk is full).
            ValueError: the frames are of another shape or type, or the writer is closed.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed")
        expected = (self.height, self.width, 3)
        if frames.ndim != 4 or frames.shape[1:] != expected or frames.dtype != "uint8":
            raise ValueError(
                f"frames are {frames.dtype} of shape {frames.shape}, expected uint8 (t, h, w, 3) "
                f"with (h, w, 3) = {expected}"
            )
        for frame in frames:
            self._raise_error()
            self._queue.put(frame.copy())
            self.num_frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; closing twice does nothing.

        Raises:
            RequestError: the file cannot be written (the disk is full).
            ValueError: no frame was written.
        """
        if self._closed:
            return
        try:
            if not self.num_frames:
                raise ValueError(f"no frame was written to {self.path}")
            self._stop_thread()
            self._raise_error()
            try:
                self._encoder.finish()
                self._pending.commit()
            except (OSError, FFmpegError) as error:
                self._refuse(error)
        except BaseException:
            self.abort()
            raise
        self._closed = True

    def abort(self) -> None:
        """Stop and remove what was written; does nothing after `close`."""
        if self._closed:
            return
        self._closed = self._stopping = True
        self._stop_thread()
        self._encoder.abandon()
        self._pending.discard()

    def _encode(self) -> None:
        """Run on the thread; after an error or `abort`, only empties the queue."""
        while (frame := self._queue.get()) is not None:
            if self._error is None and not self._stopping:
                try:
                    self._encoder.add(frame)
                except BaseException as error:  # carried over to the caller's thread
                    self._error = error

    def _stop_thread(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            self._refuse(self._error)

    def _refuse(self, error: BaseException) -> NoReturn:
        if isinstance(error, (OSError, FFmpegError)):
            reason = error.strerror or str(error)
            raise RequestError(f"cannot write {self.path}: {reason}") from error
        raise error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _exact(fps: float | Fraction) -> Fraction:
    """Return a rate as a fraction, 29.97 as 30000/1001."""
    nearest = Fraction(fps).limit_denominator(1001)
    for numerator in (24000, 30000, 60000, 120000):
        if abs(float(fps) - numerator / 1001) < 0.005:
            return Fraction(numerator, 1001)
    return nearest


def read_video(path: str | Path, max_pixels: int = MAX_FRAME_PIXELS) -> VideoReader:
    """Open a video file to iterate over its frames.

    The first frame is decoded here, so that most bad files are refused before any work.

    Raises:
        RequestError: the file is missing, truncated, damaged, of an unknown format, or its
            frames have more than `max_pixels`.
    """
    return VideoReader(Path(path), max_pixels)


class VideoReader(Iterator[UInt8[ndarray, "h w 3"]]):
    """Iterates once over the frames of a video, RGB and upright; a context manager.

    Only the containers and decoders named in `READABLE` are ever tried, chosen by the
    file's first bytes and not by its name.

    Raises:
        RequestError: while iterating, when the file turns out to be damaged.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self._max_pixels = max_pixels
        with refuse_os_errors(path, "read"):
            self._container, self._stream = self._open()
        try:
            self.fps = self._rate()
            stated = self._stream.frames
            self.num_frames: int | None = stated or None  # as the file says; webm does not
            self._frames = self._decode()
            first = next(self._frames, None)
            if first is None:
                raise RequestError(f"cannot read {path}: it holds no frame")
        except BaseException:
            self.close()
            raise
        self.height, self.width, _ = first.shape
        self._first: UInt8[ndarray, "h w 3"] | None = first

    def close(self) -> None:
        """Close the file; an iterator that ran to its end has done so."""
        self._container.close()

    def __next__(self) -> UInt8[ndarray, "h w 3"]:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._frames)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> tuple[InputContainer, av.VideoStream]:
        path = self.path
        if not path.exists():
            raise RequestError(f"cannot read {path}: there is no such file")
        if not path.is_file():  # a pipe or a device would block, or never end
            raise RequestError(f"cannot read {path}: it is not a file")
        demuxer = sniff(path)
        try:
            container = av.open(
                str(path.resolve()),
                format=demuxer,
                container_options={"protocol_whitelist": "file"},
            )
        except (FFmpegError, IndexError) as error:  # IndexError: PyAV, on some cut files
            raise self._damaged("the index of its frames is missing") from error
        try:
            return container, self._choose(container)
        except BaseException:
            container.close()
            raise

    def _choose(self, container: InputContainer) -> av.VideoStream:
        """Return the first video stream, if one of our decoders may be let near it."""
        if not container.streams.video:
            raise RequestError(f"cannot read {self.path}: it holds no video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.name not in DECODERS:
            raise RequestError(f"cannot read {self.path}: it is {context.name}; {READABLE}")
        self._check_size(context.width, context.height)
        context.options = {"max_pixels": str(self._max_pixels)}  # the header may understate
        stream.thread_type = "AUTO"
        ends = [entry.pos + entry.size for entry in stream.index_entries]
        if "mp4" in container.format.name and max(ends, default=0) > self.path.stat().st_size:
            raise self._damaged("its end is missing")
        return stream

    def _rate(self) -> Fraction:
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate or not 0 < rate <= 1000:
            raise RequestError(f"cannot read {self.path}: its frame rate is {rate}")
        return rate

    def _decode(self) -> Iterator[UInt8[ndarray, "h w 3"]]:
        to_rgb, count = None, 0
        try:
            for frame in self._container.decode(self._stream):
                self._check_size(frame.width, frame.height)
                if to_rgb is None:
                    to_rgb = FrameToRgb(frame)
                elif not to_rgb.fits(frame):
                    raise RequestError(f"cannot read {self.path}: frame {count} changes its size")
                # Phones film lying down and say in the file which way is up.
                yield np.ascontiguousarray(np.rot90(to_rgb.convert(frame), frame.rotation // 90))
                count += 1
        except FFmpegError as error:
            raise self._damaged(f"after {count} frames") from error
        finally:
            self._container.close()

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise RequestError(
                f"cannot read {self.path}: its frames are {width}x{height}; "
                f"at most {self._max_pixels / 1e6:.1f} million pixels are allowed"
            )

    def _damaged(self, where: str) -> RequestError:
        return RequestError(f"cannot read {self.path}: truncated or damaged ({where})")


def sniff(path: Path) -> str:
    """Return FFmpeg's name of the container, told by the file's first bytes."""
    size = path.stat().st_size
    if not size:
        raise RequestError(f"cannot read {path}: it is empty")
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(max(0, size - 1024))
        tail = file.read().rstrip(b"\0")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return "mp4"
    if head.startswith((b"GIF87a", b"GIF89a")):
        if not tail.endswith(b";"):
            raise RequestError(f"cannot read {path}: truncated or damaged (its end is missing)")
        return "gif"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        if (_matroska_end(head) or 0) > size:
            raise RequestError(f"cannot read {path}: truncated or damaged (its end is missing)")
        return "matroska"
    raise RequestError(f"cannot read {path}: not a video we know; {READABLE}")


def _matroska_end(head: bytes) -> int | None:
    """Return where a Matroska file says that it ends; None if it does not (a live stream)."""
    header, start = _matroska_size(head, 4)
    if header is None or head[start + header :][:4] != b"\x18\x53\x80\x67":
        return None
    segment, start = _matroska_size(head, start + header + 4)
    return None if segment is None else start + segment


def _matroska_size(head: bytes, at: int) -> tuple[int | None, int]:
    """Read a number whose length is told by its leading zero bits (RFC 8794); all ones: None."""
    length = 9 - head[at].bit_length() if at < len(head) else 9
    value = int.from_bytes(head[at : at + length], "big")
    if length > 8 or at + length > len(head):
        return None, at
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length
