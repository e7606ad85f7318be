"""Files from strangers: good ones come out clean, hostile ones are refused, cheaply, and why."""

from __future__ import annotations

import io
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kineograph.media.video import read_video
from kineograph.serve import probe
from kineograph.serve.probe import Limits, MediaError, admit


def picture(height=40, width=60):
    y, x = np.mgrid[0:height, 0:width]
    grey = [x * 255 // (width - 1), y * 255 // (height - 1), 0 * x + 90]
    return np.stack(grey, -1).astype(np.uint8)


def encoded(format, image=None, **options):
    file = io.BytesIO()
    (Image.fromarray(picture()) if image is None else image).save(file, format, **options)
    return file.getvalue()


def video(
    codec="libx264",
    format="mp4",
    frames=6,
    size=(64, 48),
    fps=24,
    others=(),
    pix_fmt="yuv420p",
    **options,
):
    """Return a small video whose frames get brighter, with further streams beside it."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as output:
        streams = [output.add_stream(codec, rate=fps) for _ in range(1 if codec else 0)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
            stream.codec_context.thread_count = 1
            stream.options = options
        sounds = [output.add_stream(name, rate=48000) for name in others]
        for i in range(frames):
            for stream in streams:
                frame = av.VideoFrame(*size, pix_fmt)
                for plane, value in zip(
                    frame.planes, (80 + i * 130 // frames, 120, 140), strict=False
                ):
                    plane.update(bytes([value]) * plane.buffer_size)
                frame.pts, frame.time_base = i, Fraction(1, fps)
                output.mux(stream.encode(frame))
        for stream in sounds:
            frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts = 48000, 0
            output.mux(stream.encode(frame))
        for stream in [*streams, *sounds]:
            output.mux(stream.encode(None))
    return file.getvalue()


def png(width, height, data=b"", depth=8, colour=2, extra=b""):
    """Return the bytes of a PNG with any header one likes."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb():
    """Return a true PNG of 1.6 billion pixels in 200 kB."""
    packer = zlib.compressobj(9)
    row = bytes(5001)  # of one bit a pixel
    parts = [packer.compress(row * 100) for _ in range(400)] + [packer.flush()]
    head = struct.pack(">IIBBBBB", 40000, 40000, 1, 0, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", b"".join(parts)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def animation(format):
    pictures = [Image.fromarray(picture() // n) for n in (1, 2, 3)]
    return encoded(format, pictures[0], save_all=True, append_images=pictures[1:])


def claims_size(width, height):
    """Return an MP4 whose header tells another size than its frames have."""
    data = video()
    at = data.index(b"avc1") + 28  # width and height in the sample entry
    return data[:at] + struct.pack(">HH", width, height) + data[at + 4 :]


def elsewhere():
    """Return an MP4 whose samples are said to be in another file."""
    data = video()
    at = data.index(b"dref") + 12  # the only entry: size, "url ", flags
    assert data[at + 4 : at + 8] == b"url "
    return data[: at + 11] + b"\0" + data[at + 12 :]


def index_first(data):
    """Return an MP4 that ends with its samples, so that a cut one still has an index."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mp4")
        with (
            av.open(io.BytesIO(data)) as source,
            av.open(path, "w", options={"movflags": "faststart"}) as output,
        ):
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        return path.read_bytes()


def huge_frames():
    """Return a WebM whose container says 64x48 and whose every key frame 16383x16383."""
    true, huge = (b"\x9d\x01\x2a" + struct.pack("<HH", *size) for size in ((64, 48), (16383,) * 2))
    data = video("libvpx", "webm")
    assert true in data
    return data.replace(true, huge)


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as output:
        output.writestr("index.html", "<script>alert(1)</script>")
    return file.getvalue()


def box(kind, body):
    return struct.pack(">I4s", len(body) + 8, kind) + body


HOSTILE = {
    "nothing": (lambda: b"", "the file is empty; allowed: JPEG, PNG or WebP; MP4"),
    "noise": (lambda: np.random.default_rng(0).bytes(5000), "the file begins with"),
    "pixel bomb": (bomb, "has 40000x40000 pixels; allowed: up to 36.0 million"),
    "claimed size": (lambda: png(100_000, 100_000), "has 100000x100000 pixels"),
    "small picture": (
        lambda: encoded("PNG", Image.new("RGB", (15, 90))),
        "has 15x90 pixels; allowed: 16 or more a side",
    ),
    "gif named png": (lambda: encoded("GIF"), "begins with b'GIF87a"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "begins with b.<svg"),
    "html before jpeg": (lambda: b"<html>" + encoded("JPEG"), "begins with b'<html>"),
    "zip before jpeg": (lambda: archive() + encoded("JPEG"), r"begins with b'PK\\x03\\x04"),
    "jpeg cut": (lambda: encoded("JPEG")[:600], "is truncated, damaged"),
    "jpeg start": (lambda: b"\xff\xd8\xff" + bytes(500), "is truncated, damaged"),
    "png cut": (lambda: encoded("PNG")[:-60], "is truncated, damaged"),
    "webp cut": (lambda: encoded("WEBP")[:-60], "is truncated, damaged"),
    "png text bomb": (
        lambda: png(64, 64, bytes(64 * 193), extra=b"".join(
            chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(4 << 20))) for _ in range(40)
        )),
        "is truncated, damaged",
    ),
    "apng": (lambda: animation("PNG"), "is an animation of 3 pictures"),
    "moving webp": (lambda: animation("WEBP"), "is an animation of 3 pictures"),
    "m3u8": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "begins with b'#EXTM3U"),
    "ffconcat": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", "begins with b'ffconcat"),
    "heic": (lambda: box(b"ftyp", b"heic\0\0\0\0mif1heic") + bytes(99), "the file begins with"),
    "mp4 noise": (
        lambda: box(b"ftyp", b"isom\0\0\0\0isom") + np.random.default_rng(1).bytes(5000),
        "is truncated, damaged",
    ),
    "mp4 cut": (lambda: video()[:-300], "is truncated, damaged"),
    "mp4 cut, index first": (
        lambda: index_first(video(frames=24))[:-50],
        "is truncated: its end is missing",
    ),
    "huge frames": (
        lambda: video(frames=1, size=(4112, 2304), preset="ultrafast"),
        "has 4112x2304 pixels; allowed: up to 9.4 million",
    ),
    "frames that are larger than told": (
        huge_frames, "is truncated, damaged",
    ),
    "mp4 of small frames": (
        lambda: video("libvpx", "webm", size=(14, 48)),
        "has 14x48 pixels; allowed: 16 or more a side",
    ),
    "samples elsewhere": (elsewhere, "refers to another file; allowed: all samples in the file"),
    "packed index": (
        lambda: box(b"ftyp", b"qt  \0\0\0\0") + box(b"moov", box(b"cmov", bytes(40))),
        "has a 'cmov' box; allowed: a plain index",
    ),
    "boxes without end": (
        lambda: box(b"ftyp", b"isom\0\0\0\0") + box(b"free", b"") * 100_001,
        "has more than 100000 boxes",
    ),
    "frames in little space": (
        lambda: video(frames=3700, fps=100, size=(16, 16), preset="ultrafast"),
        "has more than 3600 frames",
    ),
    "frames that no header counts": (
        lambda: video("libvpx", "webm", frames=3700, fps=100, size=(16, 16)),
        "has more than 3600 frames",
    ),
    "a long one": (
        lambda: video(frames=70, fps=1),
        "lasts 70 s or more; allowed: up to 60 s",
    ),
    "a fast one": (lambda: video(fps=240), "has 240 frames a second; allowed: more than 0"),
    "many streams": (lambda: video(others=["aac"] * 4), "has 5 streams; allowed: 1 to 4"),
    "very many streams": (lambda: video(others=["aac"] * 20), "has 21 streams; allowed: 1 to 4"),
    "streams beyond counting": (
        lambda: video(others=["aac"] * 70), "needs too much memory; allowed: 2048 MiB",
    ),
    "sound alone": (lambda: video(None, others=["aac"]), "holds no video stream"),
    "mpeg-4 part 2": (lambda: video("mpeg4"), "has the codec 'mpeg4'; allowed: H.264, HEVC"),
    "ffv1 in matroska": (lambda: video("ffv1", "matroska"), "has the codec 'ffv1'"),
    "mkv noise": (
        lambda: b"\x1a\x45\xdf\xa3" + np.random.default_rng(2).bytes(3000),
        "is truncated, damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_little_time_and_memory(tmp_path, name):
    make, message = HOSTILE[name]
    (tmp_path / "upload.png").write_bytes(make())
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(MediaError, match=message):
        admit(tmp_path / "upload.png", tmp_path / "clean")
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert [path.name for path in tmp_path.iterdir()] == ["upload.png"]  # nothing half done


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_pictures_become_png_of_the_same_pixels(tmp_path, format):
    data = encoded(format, **({"lossless": True} if format == "WEBP" else {}))
    (tmp_path / "a").write_bytes(data)
    media = admit(tmp_path / "a", tmp_path / "b.png", kind="image")
    assert (media.kind, media.width, media.height, media.num_frames) == ("image", 60, 40, 1)
    assert (media.fps, media.duration, media.path) == (None, 0.0, tmp_path / "b.png")
    with Image.open(media.path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        worst = np.abs(np.asarray(image).astype(int) - picture()).max()
    assert worst <= (12 if format == "JPEG" else 0)


def test_a_picture_comes_out_upright_without_its_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    comment = b"<script>alert(1)</script>"
    data = encoded("PNG", exif=exif, icc_profile=b"a secret profile", dpi=(300, 300))
    (tmp_path / "a").write_bytes(data + archive() + comment)
    admit(tmp_path / "a", tmp_path / "b.png")
    clean = (tmp_path / "b.png").read_bytes()
    for trace in (b"home", b"profile", b"iCCP", b"eXIf", b"pHYs", b"PK\3\4", b"script"):
        assert trace in data + archive() + comment or trace == b"profile"
        assert trace not in clean
    with Image.open(tmp_path / "b.png") as image:
        assert (np.asarray(image) == np.rot90(picture(), -1)).all()


def grey16():
    return Image.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: encoded("PNG", grey16()), np.arange(4096).reshape(64, 64) * 16 / 257),
        (lambda: encoded("PNG", Image.new("RGBA", (32, 32), (0, 0, 0, 0))), 255),
        (lambda: encoded("PNG", Image.new("P", (32, 32), 0)), 0),
        (lambda: encoded("JPEG", Image.new("CMYK", (32, 32), (0, 0, 0, 55))), 200),
        (lambda: encoded("JPEG", Image.new("L", (32, 32), 77)), 77),
    ],
    ids=["16-bit grey", "transparent", "palette", "cmyk", "grey"],
)
def test_odd_kinds_of_colour_become_rgb(tmp_path, make, expected):
    (tmp_path / "a").write_bytes(make())
    admit(tmp_path / "a", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        grey = np.asarray(image).astype(float).mean(-1)
    assert np.abs(grey - expected).max() <= 1


def colours(path):
    """Return the colour of each frame as the generator will read it."""
    with read_video(path) as reader:
        return [frame.mean((0, 1)) for frame in reader]


@pytest.mark.parametrize(
    ("codec", "format"),
    [
        ("libx264", "mp4"),
        ("libx264", "mov"),
        ("libx264", "matroska"),
        ("libx265", "mp4"),
        ("libvpx", "webm"),
        ("libvpx-vp9", "webm"),
        ("libaom-av1", "mp4"),
    ],
)
def test_videos_become_h264_with_the_same_frames(tmp_path, codec, format):
    options = {"libx265": {"x265-params": "log-level=none"}, "libaom-av1": {"cpu-used": "8"}}
    if codec == "libaom-av1" and codec not in av.codecs_available:
        codec = "libsvtav1"
    (tmp_path / "a").write_bytes(video(codec, format, **options.get(codec, {})))
    media = admit(tmp_path / "a", tmp_path / "b.mp4", kind="video")
    assert (media.kind, media.width, media.height, media.num_frames) == ("video", 64, 48, 6)
    assert (media.fps, media.duration) == (24, 0.25)
    given, clean = colours(tmp_path / "a"), colours(tmp_path / "b.mp4")
    assert len(clean) == 6
    assert np.abs(np.subtract(given, clean)).max() < 2.5
    assert np.ptp(given, axis=0).min() > 90  # they do differ
    with av.open(tmp_path / "b.mp4") as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264"]
        assert container.streams.video[0].average_rate == 24


def test_a_video_loses_its_sound_and_metadata_and_keeps_its_odd_size(tmp_path):
    data = video("libvpx", "webm", size=(65, 49), fps=Fraction(30000, 1001), others=["libopus"])
    (tmp_path / "a").write_bytes(data)
    media = admit(tmp_path / "a", tmp_path / "b.mp4")
    assert (media.width, media.height) == (65, 49)
    assert float(media.fps) == pytest.approx(29.97, abs=0.05)
    with av.open(tmp_path / "b.mp4") as container:
        assert [stream.type for stream in container.streams] == ["video"]
    assert b"Lavf" not in (tmp_path / "b.mp4").read_bytes()


def test_a_phone_video_comes_out_upright(tmp_path):
    data = video(size=(64, 48))
    unit, zero = struct.pack(">i", 1 << 16), bytes(4)
    end = struct.pack(">i", 1 << 30)
    plain = unit + zero * 3 + unit + zero * 3 + end
    turned = zero + unit + zero + struct.pack(">i", -(1 << 16)) + zero * 4 + end
    track = data.index(b"tkhd")
    at = data.index(plain, track)
    (tmp_path / "a").write_bytes(data[:at] + turned + data[at + 36 :])
    media = admit(tmp_path / "a", tmp_path / "b.mp4")
    assert (media.width, media.height) == (48, 64)


def test_a_size_that_only_the_container_claims_does_not_count(tmp_path):
    (tmp_path / "a").write_bytes(claims_size(40000, 40000))
    assert admit(tmp_path / "a", tmp_path / "b.mp4").width == 64


def test_the_start_of_a_video_is_kept_where_no_more_is_wanted(tmp_path):
    (tmp_path / "a").write_bytes(video(frames=24))
    media = admit(tmp_path / "a", tmp_path / "b.mp4", limits=Limits(keep_seconds=0.5))
    assert (media.num_frames, media.duration) == (12, 0.5)
    assert len(colours(tmp_path / "b.mp4")) == 12


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(image_bytes=100), r"the image has 0.0 MB; allowed: up to 0.0001 MB"),
        (Limits(max_image_pixels=2399), "has 60x40 pixels; allowed: up to 0.0 million"),
        (Limits(wall_seconds=0.001), "takes more than 0.001 s to decode"),
        (Limits(max_clean_bytes=100), "would be too large once decoded"),
        (Limits(memory_bytes=1 << 20), "its decoder broke down|needs too much memory"),
    ],
)
def test_every_limit_holds(tmp_path, limits, message):
    (tmp_path / "a").write_bytes(encoded("PNG"))
    (tmp_path / "b.png").write_bytes(b"before")
    with pytest.raises(MediaError, match=message):
        admit(tmp_path / "a", tmp_path / "b.png", limits=limits)
    assert (tmp_path / "b.png").read_bytes() == b"before"


@pytest.mark.parametrize(("kind", "other"), [("image", "video"), ("video", "image")])
def test_the_kind_that_is_wanted_is_told(tmp_path, kind, other):
    (tmp_path / "a").write_bytes(encoded("PNG") if other == "image" else video(frames=1))
    with pytest.raises(MediaError, match=rf"the file is an? {other} .*; allowed: "):
        admit(tmp_path / "a", tmp_path / "b", kind=kind)
    with pytest.raises(MediaError, match="unknown kind 'sound'; allowed: image, video"):
        admit(tmp_path / "a", tmp_path / "b", kind="sound")


def test_only_plain_files_are_read(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    (tmp_path / "link").symlink_to(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "link", "symbolic link"),
        (tmp_path / "pipe", "not a plain file"),
        (tmp_path, "not a plain file"),
        (tmp_path / "none", "No such file"),
        (Path("/dev/zero"), "not a plain file"),
        (tmp_path / "a\0b", "not a file name"),
    ):
        with pytest.raises(MediaError, match=message):
            admit(path, tmp_path / "b.png")
    for name in ("concat:a|b", "-i", "%03d.png", "http://a"):  # to us, names like any other
        (tmp_path / name.replace("/", "")).write_bytes(video(frames=1))
        assert admit(tmp_path / name.replace("/", ""), tmp_path / "c.mp4").num_frames == 1


def stand_in(monkeypatch, tmp_path, code):
    """Put another program in the child's place, and give it a picture to read."""
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(probe, "CHILD", tmp_path / "child.py")
    (tmp_path / "a").write_bytes(encoded("PNG"))
    return tmp_path / "a", tmp_path / "b.png"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", "its decoder broke down"),
        ("import os; os.kill(os.getpid(), 9)", "its decoder broke down"),
        ("import os; os.kill(os.getpid(), 24)", "takes more than 120 s of computing"),
        ("raise SystemExit(3)", "its decoder broke down"),
        ("", "its decoder broke down"),
        ("print('nonsense')", "its decoder broke down"),
        ("print('[' * 4000)", "its decoder broke down"),
        ('print(\'{"admitted": {"width": 3}}\')', "its decoder broke down"),
        (
            "import os; os.write(1, bytes(10000)); os.read(0, 1); __import__('time').sleep(60)",
            "its decoder broke down",
        ),
    ],
)
def test_a_child_that_breaks_down_or_lies_is_a_refusal(monkeypatch, tmp_path, code, message):
    source, target = stand_in(monkeypatch, tmp_path, code)
    start = time.monotonic()
    with pytest.raises(MediaError, match=message):
        admit(source, target)
    assert time.monotonic() - start < 10
    assert not target.exists()


def test_a_child_that_hangs_dies_with_its_children(monkeypatch, tmp_path):
    pids = tmp_path / "pids"
    source, target = stand_in(
        monkeypatch,
        tmp_path,
        "import os, time\n"
        "other = os.fork()\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n"
        "time.sleep(60)\n",
    )
    start = time.monotonic()
    with pytest.raises(MediaError, match="takes more than 1 s to decode"):
        admit(source, target, limits=Limits(wall_seconds=1.0))
    assert time.monotonic() - start < 5
    time.sleep(0.1)
    both = pids.read_text().split()
    assert len(both) == 2
    for pid in both:
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z"


def in_child(tmp_path, code):
    """Run code where the decoders are loaded and everything else is given up."""
    program = (
        f"import sys; sys.path[:0] = [{str(probe.CHILD.parent)!r}, *{probe._decoder_paths()!r}]\n"
        "import decode_child as c, os\n"
        f"c._limit_resources({asdict(replace(Limits(), cpu_seconds=5))!r})\n"
        "c._load_decoder('video'); c._load_decoder('image')\n"
        "null = os.open('/dev/null', 2); os.dup2(null, 3)\n"
        f"c._give_up_reach()\n{code}"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env={}, check=False, timeout=30)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("open('/etc/passwd')", "OSError"),
        ("import _socket; _socket.socket()", "OSError|ImportError"),
        ("os.pipe()", "OSError"),
        ("bytearray(3 << 30)", "MemoryError"),
        ("import torch", "OSError|ModuleNotFoundError"),
    ],
)
def test_the_child_can_reach_nothing(tmp_path, code, failure):
    done = in_child(tmp_path, code)
    assert done.returncode == 1
    assert re.search(failure, done.stderr.splitlines()[-1])


def test_the_child_loads_decoders_and_no_more(tmp_path):
    done = in_child(tmp_path, "print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"av", "PIL"} <= loaded
    assert not loaded & {"torch", "numpy", "kineograph", "httpx", "socket", "ssl", "ctypes"}
