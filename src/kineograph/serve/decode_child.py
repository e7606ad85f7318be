"""The program that opens what strangers send: one file in, one clean file out, one line said.

It is run by `probe.admit`, by its path and not as a part of the package, so that it loads the
decoders and nothing else. It gets the source as standard input, the clean file as an open
descriptor, whose number is its first argument, and its orders as JSON in the second; it answers
with one JSON line, `{"admitted": {...}}` or `{"refused": "..."}`. Once the decoders are loaded
it can open neither a file nor a socket.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer
    from av.filter import Graph
    from PIL import Image

DECODERS = ("h264", "hevc", "vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d")
ALLOWED_CODECS = "H.264, HEVC, VP8, VP9 or AV1"
ALL_STREAMS = 64  # with the tracks of measurements that phones write, which are never read
MAX_FPS = 120
NOBODY = 65534
DAMAGED = "is truncated, damaged or not what its first bytes say"
# H.273's numbers, and what untagged video is taken for (as `media.colour` has it).
BT709, LIMITED, FULL, HD_HEIGHT = 1, 1, 2, 720
MATRICES = {BT709: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
SCALER = "flags=bicubic+accurate_rnd+full_chroma_inp+full_chroma_int"
# The boxes on the way to `dref`, which says where an MP4's samples are.
HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"dinf")
MAX_BOXES = 100_000


class Refused(Exception):
    """The file is not let in; the message says of it why, for its sender."""


def main(orders: dict[str, Any], clean_file: int) -> dict[str, Any]:
    """Do with standard input what the orders say and return the answer.

    `clean_file` is the descriptor to write to.
    """
    try:
        _limit_resources(orders)
        decoder = _load_decoder(orders["kind"])
        os.dup2(clean_file, 3)
        _give_up_reach()
        clean = _clean_image if orders["kind"] == "image" else _clean_video
        with open(0, "rb", closefd=False) as source, open(3, "wb", closefd=False) as target:
            return {"admitted": clean(decoder, source, target, orders)}
    except Refused as refusal:
        return {"refused": str(refusal)}
    except MemoryError:
        pass
    except Exception as error:  # a decoder raises almost anything at a hostile file
        number = getattr(error, "errno", None)
        if number == errno.EFBIG:
            allowed = orders["max_clean_bytes"] / 1e6
            return {"refused": f"would be too large once decoded; allowed: up to {allowed:g} MB"}
        if number == errno.EMFILE:  # something of ours was not loaded in time, or an attack
            raise
        if number != errno.ENOMEM:
            return {"refused": DAMAGED}
    return {"refused": f"needs too much memory; allowed: {orders['memory_bytes'] >> 20} MiB"}


def _limit_resources(orders: dict[str, Any]) -> None:
    """Set what may be used before anything large is loaded; the parent's clock comes on top."""
    cpu = orders["cpu_seconds"]
    for what, most in (
        (resource.RLIMIT_AS, orders["memory_bytes"]),
        (resource.RLIMIT_FSIZE, orders["max_clean_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    signal.setitimer(signal.ITIMER_REAL, orders["wall_seconds"] + 1)  # should the parent be gone
    os.nice(5)


def _load_decoder(kind: str) -> ModuleType:
    if kind == "video":
        import logging  # that, and what else PyAV would load at its first use

        import av
        import av.filter
        import av.subtitles.codeccontext
        import av.subtitles.stream

        assert logging
        av.logging.set_level(None)
        return av
    from PIL import Image, ImageOps, JpegImagePlugin, TiffImagePlugin, WebPImagePlugin

    # What Pillow would load at its first use: EXIF is TIFF. The names are used below.
    assert ImageOps and JpegImagePlugin and TiffImagePlugin and WebPImagePlugin
    Image.preinit()
    return Image


def _give_up_reach() -> None:
    """Leave no way out: no file, socket, process or thread can be made from here on."""
    if os.geteuid() == 0:  # no one's account, where the system has one to give
        with suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))  # all four are in use


def _clean_image(
    pillow: ModuleType, source: IO[bytes], target: IO[bytes], orders: dict[str, Any]
) -> dict[str, Any]:
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    readers: dict[str, Callable[[IO[bytes]], Image.Image]] = {
        "jpeg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile,
    }  # fmt: skip
    image = readers[orders["format"]](source)
    _check_size(*image.size, orders["max_image_pixels"], orders["min_side"])
    if (frames := getattr(image, "n_frames", 1)) != 1:
        raise Refused(f"is an animation of {frames} pictures; allowed: a still picture")
    image = _to_rgb(pillow, image)
    _check_size(*image.size, orders["max_image_pixels"], orders["min_side"])
    image.info.clear()  # of the metadata, Pillow would keep the colour profile
    image.save(target, "PNG", compress_level=1)
    return {"width": image.width, "height": image.height, "num_frames": 1, "fps": None}


def _to_rgb(pillow: ModuleType, image: Image.Image) -> Image.Image:
    """Decode and turn upright; 16-bit grey is scaled to 8, transparency laid on white."""
    from PIL import ImageOps

    image.load()  # a truncated file raises here
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, (255, 255, 255, 255))
        image = pillow.alpha_composite(white, image)
    return image.convert("RGB")


def _check_size(width: int, height: int, max_pixels: int, min_side: int) -> None:
    if width * height > max_pixels:
        most = f"{max_pixels / 1e6:.1f} million"
        raise Refused(f"has {width}x{height} pixels; allowed: up to {most} in all")
    if min(width, height) < min_side:
        raise Refused(f"has {width}x{height} pixels; allowed: {min_side} or more a side")


def _clean_video(
    pyav: ModuleType, source: IO[bytes], target: IO[bytes], orders: dict[str, Any]
) -> dict[str, Any]:
    if orders["format"] == "mp4":
        _refuse_references(source)
    source.seek(0)
    with pyav.open(
        source,
        format=orders["format"],
        options={"max_pixels": str(orders["max_frame_pixels"]), "threads": "1"},
        container_options={
            "protocol_whitelist": "none",
            "codec_whitelist": ",".join(DECODERS),
            "max_streams": str(ALL_STREAMS),
        },
        metadata_errors="ignore",
        io_open=_refuse_open,
    ) as container:
        stream = _choose(container, source, orders)
        fps = _rate(stream)
        stated = max(_seconds(stream.duration, stream.time_base), stream.frames / fps)
        if orders["format"] == "matroska":
            stated = max(stated, _seconds(container.duration, Fraction(1, pyav.time_base)))
        _check_length(stream.frames, float(stated), orders)
        return _copy(pyav, container, stream, fps, target, orders)


def _refuse_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(errno.EACCES, "a video may not open another file")


def _choose(container: InputContainer, source: IO[bytes], orders: dict[str, Any]) -> av.VideoStream:
    """Return the video stream, if one of our decoders may be let near it."""
    streams = [s for s in container.streams if s.type in ("video", "audio", "subtitle")]
    if not 0 < len(streams) <= orders["max_streams"]:
        raise Refused(f"has {len(streams)} streams; allowed: 1 to {orders['max_streams']}")
    if not container.streams.video:
        raise Refused("holds no video stream; allowed: one that is pictures, with or without sound")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None or context.name not in DECODERS:
        name = "unknown" if context is None else context.name
        raise Refused(f"has the codec {name!r}; allowed: {ALLOWED_CODECS}")
    _check_size(context.width, context.height, orders["max_frame_pixels"], orders["min_side"])
    ends = [entry.pos + entry.size for entry in stream.index_entries]
    if orders["format"] == "mp4" and max(ends, default=0) > os.fstat(source.fileno()).st_size:
        raise Refused("is truncated: its end is missing")
    context.options = {"max_pixels": str(orders["max_frame_pixels"])}  # headers may understate
    context.thread_count = 1
    return stream


def _rate(stream: av.VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not 0 < rate <= MAX_FPS:
        raise Refused(f"has {_plain(rate)} frames a second; allowed: more than 0, up to {MAX_FPS}")
    return Fraction(rate).limit_denominator(100_000)


def _plain(number: Fraction | float | None) -> str:
    return "no" if number is None else f"{float(number):g}"


def _seconds(duration: int | None, unit: Fraction | None) -> Fraction:
    return Fraction(0) if duration is None or unit is None else max(Fraction(0), duration * unit)


def _check_length(frames: int, seconds: float, orders: dict[str, Any]) -> None:
    if frames > orders["max_frames"]:
        raise Refused(f"has more than {orders['max_frames']} frames, the most that is allowed")
    if seconds > orders["max_seconds"] + 0.05:
        raise Refused(f"lasts {seconds:.4g} s or more; allowed: up to {orders['max_seconds']:g} s")


def _copy(
    pyav: ModuleType,
    container: InputContainer,
    stream: av.VideoStream,
    fps: Fraction,
    target: IO[bytes],
    orders: dict[str, Any],
) -> dict[str, Any]:
    """Decode every frame and encode it again, upright and in plain colours, no metadata kept."""
    keep = orders["keep_seconds"]
    most = orders["max_frames"] if keep is None else max(1, round(keep * fps))
    count, graph, kind, sink = 0, None, None, None
    with pyav.open(target, "w", format="mp4", container_options={"fflags": "+bitexact"}) as output:
        for frame in container.decode(stream):
            if keep is not None and count == most:
                break
            _check_length(count + 1, (count + 1) / float(fps), orders)
            if kind is None:
                kind = (frame.width, frame.height, frame.format.name)
                _check_size(
                    frame.width, frame.height, orders["max_frame_pixels"], orders["min_side"]
                )
                graph = _graph(pyav, frame)
            if graph is None or kind != (frame.width, frame.height, frame.format.name):
                raise Refused(f"changes its size at frame {count}; allowed: one size throughout")
            graph.vpush(frame)
            clean = graph.vpull()
            if sink is None:
                sink = _encoder(output, clean, fps)
            clean.pts, clean.time_base = count, 1 / fps
            output.mux(sink.encode(clean))
            count += 1
        if sink is None:
            raise Refused("holds no picture that can be decoded; allowed: one or more")
        output.mux(sink.encode(None))
        return {
            "width": sink.width,
            "height": sink.height,
            "num_frames": count,
            "fps": [fps.numerator, fps.denominator],
        }


def _graph(pyav: ModuleType, like: av.VideoFrame) -> Graph:
    """Turn frames like this one upright, into BT.709 of limited range, chroma at the left."""
    default = "bt709" if like.height >= HD_HEIGHT else "bt601"
    matrix = MATRICES.get(like.colorspace, default)
    full = like.color_range == FULL or like.format.name.startswith("yuvj")
    colours = f"in_color_matrix={matrix}:in_range={'pc' if full else 'tv'}:in_chroma_loc=left"
    if like.format.is_rgb or like.format.has_palette:
        colours = "in_range=pc"
    # Half as many columns and rows of colour need even sizes; an odd one keeps all its colour.
    format = "yuv444p" if like.width % 2 or like.height % 2 else "yuv420p"
    graph: Graph = pyav.filter.Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=Fraction(1, 1000)
        )
    ]
    if like.format.name != format or matrix != "bt709" or full:  # else it is what it shall be
        target = "out_color_matrix=bt709:out_range=tv:out_chroma_loc=left"
        nodes.append(graph.add("scale", f"{SCALER}:{colours}:{target}"))
        nodes.append(graph.add("format", f"pix_fmts={format}"))
    nodes += [graph.add("transpose", "dir=cclock") for _ in range(like.rotation // 90 % 4)]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    return graph


def _encoder(output: OutputContainer, like: av.VideoFrame, fps: Fraction) -> av.VideoStream:
    stream = output.add_stream("libx264", rate=fps)
    stream.width, stream.height, stream.pix_fmt = like.width, like.height, like.format.name
    stream.options = {"crf": "12", "preset": "ultrafast"}
    context = stream.codec_context
    context.thread_count = 1
    context.time_base = 1 / fps
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return stream


def _refuse_references(source: IO[bytes]) -> None:
    """Refuse an MP4 whose samples are said to be in another file, or whose index is packed."""
    boxes = _boxes(source, 0, source.seek(0, os.SEEK_END), 0)
    for count, (kind, start, end) in enumerate(boxes):
        if count >= MAX_BOXES:
            raise Refused(f"has more than {MAX_BOXES} boxes, the most that is allowed")
        if kind in (b"cmov", b"rmra"):
            raise Refused(f"has a {kind.decode()!r} box; allowed: a plain index in the file itself")
        if kind == b"dref":
            source.seek(start)
            body = source.read(min(end - start, 4096))
            entries = int.from_bytes(body[4:8], "big")
            at = 8
            for _ in range(min(entries, 64)):
                size, own = int.from_bytes(body[at : at + 4], "big"), body[at + 11 : at + 12]
                if not own or not own[0] & 1 or size < 12:
                    raise Refused("refers to another file; allowed: all samples in the file itself")
                at += size


def _boxes(source: IO[bytes], start: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk the boxes of an MP4 and those on the way to `dref`: kind, start and end of the body."""
    while start + 8 <= end:
        source.seek(start)
        head = source.read(16)
        size, kind = struct.unpack(">I4s", head[:8])
        body = start + 8
        if size == 1 and len(head) == 16:
            size, body = int.from_bytes(head[8:], "big"), start + 16
        stop = end if size == 0 else min(start + size, end)
        if stop < body:
            raise Refused(DAMAGED)
        yield kind, body, stop
        if kind in HOLDERS and depth < len(HOLDERS):
            yield from _boxes(source, body, stop, depth + 1)
        start = stop


if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    sys.path.extend(told["paths"])
    os.write(1, json.dumps(main(told, int(sys.argv[1]))).encode() + b"\n")
    os._exit(0)  # nothing that a decoder left behind runs at exit
