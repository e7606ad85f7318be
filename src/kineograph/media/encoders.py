"""One encoder a file format: each takes pictures in order and writes at a temporary path."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol

import av
from av.error import FFmpegError
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from kineograph.errors import RequestError
from kineograph.media.colour import BT709, LIMITED, RgbToYuv, with_palette

KEYFRAME_SECONDS = 2  # how much a player may have to decode when one drags the slider
ONE_THREAD_PIXELS = 512 * 512  # a smaller frame is encoded faster than threads share it out
MANY_THREADS = 4
GIF_BYTES = 1 << 30  # of pictures held in memory until the palette is known


@dataclass(frozen=True)
class Codec:
    """A file format: FFmpeg's names of container and codec, and what they are told."""

    container: str
    name: str
    pix_fmt: str
    container_options: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


# Both look only a few frames ahead: by default they would wait for 40 and 25, and so begin
# to work on a short clip when its last frame is there. Costs 0.15 dB at the same size (mp4).
# x264 does not repeat itself, see REPEATABLE_MP4 before comparing the bytes of two mp4 files.
# The index goes to the front (faststart): a browser plays the file while it still loads.
MP4 = Codec(
    "mp4",
    "libx264",
    "yuv420p",
    container_options={"movflags": "+faststart"},
    options={
        "crf": "17",
        "preset": "fast",
        "x264-params": "rc-lookahead=8:sync-lookahead=0",
    },
)
# x264's macroblock tree, which moves bits to what later frames refer to, takes in memory past the
# end of a row that nobody wrote (at widths that are no multiple of 128). Without it the same
# frames make the same bytes. Costs 45 % in size at this CRF, and gives 0.45 dB.
REPEATABLE_MP4 = replace(
    MP4, options=MP4.options | {"x264-params": MP4.options["x264-params"] + ":mbtree=0"}
)
# Constant quality: b=0 takes the ceiling off the bit rate. Without bitexact the header has a
# random number, and the same frames would not make the same file.
WEBM = Codec(
    "webm",
    "libvpx-vp9",
    "yuv420p",
    container_options={"fflags": "+bitexact"},
    options={
        "crf": "22",
        "b": "0",
        "deadline": "good",
        "cpu-used": "4",
        "row-mt": "1",
        "lag-in-frames": "4",
    },
)
GIF = Codec("gif", "gif", "pal8", {"loop": "0"})  # 0: for ever


class Encoder(Protocol):
    """What a `VideoWriter` drives, from one thread at a time."""

    def add(self, picture: UInt8[ndarray, "h w 3"]) -> None:
        """Take the next picture, which is the encoder's to keep."""

    def finish(self) -> None:
        """Write what is left; the file is complete afterwards."""

    def abandon(self) -> None:
        """Let go of the unfinished file; never raises."""


class _Track:
    """One file with one video stream, frame after frame."""

    def __init__(self, codec: Codec, path: Path, fps: Fraction, width: int, height: int) -> None:
        self._output = av.open(
            str(path), "w", format=codec.container, container_options=codec.container_options
        )
        stream = self._output.add_stream(codec.name, rate=fps, options=codec.options)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{codec.name} does not encode video")
        stream.width, stream.height, stream.pix_fmt = width, height, codec.pix_fmt
        # By size alone, not by the machine's cores: one reason less for files to differ.
        threads = 1 if width * height <= ONE_THREAD_PIXELS else MANY_THREADS
        stream.codec_context.thread_count = threads
        self.context = stream.codec_context
        self._stream, self._frames, self._time_base = stream, 0, 1 / fps

    def put(self, frame: av.VideoFrame) -> None:
        frame.pts, frame.time_base = self._frames, self._time_base
        self._frames += 1
        self._output.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._output.mux(self._stream.encode(None))
        self._output.close()

    def abandon(self) -> None:
        with suppress(OSError, FFmpegError):  # a full disk refuses the file's end as well
            self._output.close()


class StreamEncoder:
    """H.264 or VP9, 4:2:0, BT.709: memory does not grow with the number of frames."""

    def __init__(self, codec: Codec, path: Path, fps: Fraction, width: int, height: int) -> None:
        self._track = _Track(codec, path, fps, width, height)
        context = self._track.context
        context.gop_size = max(1, round(KEYFRAME_SECONDS * fps))
        context.color_range = LIMITED
        context.colorspace = context.color_primaries = context.color_trc = BT709
        self._to_yuv = RgbToYuv(width, height)

    def add(self, picture: UInt8[ndarray, "h w 3"]) -> None:
        self._track.put(self._to_yuv.convert(picture))

    def finish(self) -> None:
        self._track.close()

    def abandon(self) -> None:
        self._track.abandon()


class GifEncoder:
    """An endless GIF; the clip is held in memory, for its palette is drawn from all frames.

    Raises:
        RequestError: the frames take more than `GIF_BYTES`.
    """

    def __init__(self, path: Path, fps: Fraction, width: int, height: int) -> None:
        self._track = _Track(GIF, path, fps, width, height)
        self._pictures: list[UInt8[ndarray, "h w 3"]] = []
        self._fps, self._limit = fps, GIF_BYTES // (3 * width * height)

    def add(self, picture: UInt8[ndarray, "h w 3"]) -> None:
        if len(self._pictures) >= self._limit:
            raise RequestError(
                f"a gif of this size holds at most {self._limit} frames; write mp4 or webm"
            )
        self._pictures.append(picture)

    def finish(self) -> None:
        for frame in with_palette(self._pictures, self._fps):
            self._track.put(frame)
        self._track.close()

    def abandon(self) -> None:
        self._track.abandon()


class PngEncoder:
    """A folder of pictures without loss: 00000.png, 00001.png and so on."""

    def __init__(self, path: Path, fps: Fraction, width: int, height: int) -> None:
        path.mkdir()
        self._folder, self._frames = path, 0

    def add(self, picture: UInt8[ndarray, "h w 3"]) -> None:
        Image.fromarray(picture).save(self._folder / f"{self._frames:05d}.png")
        self._frames += 1

    def finish(self) -> None:
        """Nothing is left to write."""

    def abandon(self) -> None:
        """Nothing is open."""


class ImageEncoder:
    """One picture without loss, PNG.

    Raises:
        RequestError: there is a second frame.
    """

    def __init__(self, path: Path, fps: Fraction, width: int, height: int) -> None:
        self._path, self._frames = path, 0

    def add(self, picture: UInt8[ndarray, "h w 3"]) -> None:
        if self._frames:
            raise RequestError("a picture has one frame; end the name in / for a folder of them")
        Image.fromarray(picture).save(self._path, format="PNG")
        self._frames += 1

    def finish(self) -> None:
        """Nothing is left to write."""

    def abandon(self) -> None:
        """Nothing is open."""


ENCODERS: dict[str, Callable[[Path, Fraction, int, int], Encoder]] = {
    "mp4": partial(StreamEncoder, MP4),
    "webm": partial(StreamEncoder, WEBM),
    "gif": GifEncoder,
    "png": PngEncoder,
    "image": ImageEncoder,
}
# Every other format repeats itself as it is.
REPEATABLE_ENCODERS = ENCODERS | {"mp4": partial(StreamEncoder, REPEATABLE_MP4)}
