"""Videos out and in: colours, streaming, and nothing half done."""

from __future__ import annotations

import gc
import os
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kineograph.errors import RequestError
from kineograph.media.colour import RgbToYuv
from kineograph.media.video import QUEUE_FRAMES, VideoWriter, open_writer, read_video

MEDIA = Path(__file__).parents[3] / "shared" / "media"
needs_media = pytest.mark.skipif(not MEDIA.is_dir(), reason="no folder of real media here")
SIZE = {"height": 48, "width": 80}


def gradient(height=48, width=80, frames=9):
    """Colours from corner to corner, moving a little."""
    t, y, x = np.mgrid[0:frames, 0:height, 0:width].astype(float)
    red = (x + t) * 255 / (width + frames)
    green = y * 255 / height
    return np.stack([red, green, 255 - (red + green) / 2], -1).astype(np.uint8)


def flat(colour, frames=5):
    return np.broadcast_to(np.array(colour, np.uint8), (frames, 48, 80, 3))


def blobs(frames=5):
    """Soft spots of random colour, where misplaced chroma shows."""
    small = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    still = np.asarray(Image.fromarray(small).resize((80, 48), Image.Resampling.BICUBIC))
    return np.repeat(still[None], frames, 0)


def noise(frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)


def write(path, frames, fps=10, chunk=4, **values):
    with open_writer(path, fps, frames.shape[2], frames.shape[1], **values) as writer:
        for start in range(0, len(frames), chunk):
            writer.write(frames[start : start + chunk])
    return writer


def read(path):
    with read_video(path) as reader:
        return np.stack(list(reader)), reader


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, ((a.astype(float) - b) ** 2).mean()))


def left_behind(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
@pytest.mark.parametrize(
    ("frames", "least"),
    [
        (gradient(), 40),
        (blobs(), 35),
        (flat((255, 0, 0)), 45),
        (flat((0, 255, 0)), 45),
        (flat((0, 0, 255)), 45),
        (flat((200, 120, 40)), 45),
        (flat((255, 255, 255)), 60),
        (flat((0, 0, 0)), 60),
    ],
    ids=["gradient", "blobs", "red", "green", "blue", "skin", "white", "black"],
)
def test_colours_survive_the_round_trip(tmp_path, name, frames, least):
    write(tmp_path / name, frames)
    back, reader = read(tmp_path / name)
    assert back.shape == frames.shape
    assert reader.fps == 10
    assert psnr(back, frames) > least


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_files_say_bt709_limited_range(tmp_path, name):
    write(tmp_path / name, gradient())
    with av.open(tmp_path / name) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert tags == (1, 1, 1, 1)
        assert context.pix_fmt == "yuv420p"
        white = next(container.decode(video=0))
    assert white.to_ndarray().max() <= 240


def test_limited_range_white_is_235(tmp_path):
    write(tmp_path / "a.mp4", flat((255, 255, 255)))
    with av.open(tmp_path / "a.mp4") as container:
        luma = next(container.decode(video=0)).to_ndarray()[:48]
    assert abs(int(luma.mean()) - 235) <= 1


def test_mp4_is_h264_with_its_index_in_front_and_the_right_length(tmp_path):
    write(tmp_path / "a.mp4", gradient(frames=25))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    _, reader = read(tmp_path / "a.mp4")
    assert reader.num_frames == 25
    with av.open(tmp_path / "a.mp4") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.duration == 2_500_000  # microseconds


REPEAT = """
import sys
from pathlib import Path
import numpy as np
from kineograph.media.video import open_writer
path = Path(sys.argv[1])
t, y, x = np.mgrid[0:9, 0:48, 0:80].astype(float)
red, green = (x + t) * 255 / 89, y * 255 / 48
frames = np.stack([red, green, 255 - (red + green) / 2], -1).astype(np.uint8)
made = set()
for run in range(int(sys.argv[2])):
    with open_writer(path, 10, 80, 48) as writer:
        for part in np.split(frames, 9) if run % 2 else [frames]:
            writer.write(part)
    made.add(path.read_bytes())
print(len(made))
"""


@pytest.mark.parametrize(("name", "runs"), [("a.webm", 20), ("a.gif", 10)])
def test_the_same_frames_make_the_same_file(tmp_path, run_python, name, runs):
    # Not mp4: x264 does not repeat itself (docs/media.md).
    done = run_python("-c", REPEAT, str(tmp_path / name), str(runs))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize("fps", [10, 24, Fraction(30000, 1001), 29.97])
def test_frame_rates_are_exact(tmp_path, fps):
    write(tmp_path / "a.mp4", gradient(frames=3), fps=fps)
    assert read(tmp_path / "a.mp4")[1].fps == (Fraction(30000, 1001) if fps == 29.97 else fps)


def test_gif_repeats_for_ever_at_its_rate_with_a_palette_of_its_own(tmp_path):
    frames = np.concatenate([flat((201, 34, 90), 3), flat((10, 200, 30), 3)])[:, :47, :79]
    write(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["loop"], gif.info["duration"]) == (6, 0, 100)
    back, reader = read(tmp_path / "a.gif")
    assert np.array_equal(back, frames)
    assert reader.fps == 10


def test_gif_of_many_colours_stays_close(tmp_path):
    write(tmp_path / "a.gif", gradient())
    assert psnr(read(tmp_path / "a.gif")[0], gradient()) > 28


def test_gif_refuses_more_than_it_can_hold_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("kineograph.media.encoders.GIF_BYTES", 3 * 48 * 80 * 4)
    with pytest.raises(RequestError, match="at most 4 frames; write mp4 or webm"):
        write(tmp_path / "a.gif", gradient(), chunk=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", [False, True])
def test_png_folder_is_lossless_and_numbered(tmp_path, existing):
    if existing:
        (tmp_path / "frames").mkdir()
    frames = noise(3)[:, :47, :79]
    write(f"{tmp_path}/frames/", frames)
    files = sorted((tmp_path / "frames").iterdir())
    assert [f.name for f in files] == ["00000.png", "00001.png", "00002.png"]
    assert np.array_equal(np.stack([np.asarray(Image.open(f)) for f in files]), frames)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_picture_has_one_frame_and_a_second_is_refused(tmp_path, chunk):
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(RequestError, match="a picture has one frame; end the name in /"):
        write(tmp_path / "a.png", noise(2), chunk=chunk)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.png", b"old")]
    write(tmp_path / "a.png", noise(1))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), noise(1)[0])
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "frames/"])
def test_a_clip_of_one_frame_is_a_clip(tmp_path, name):
    write(f"{tmp_path}/{name}", gradient(frames=1))
    assert left_behind(tmp_path) == []
    if name != "frames/":
        assert len(read(tmp_path / name)[0]) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "frames/"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_leaves_no_file_and_the_old_one(tmp_path, name, error):
    if name == "a.mp4":
        (tmp_path / name).write_bytes(b"old")
    with pytest.raises(error), open_writer(f"{tmp_path}/{name}", 10, 80, 48) as writer:
        writer.write(noise(80))  # more than an encoder looks ahead
        assert len(left_behind(tmp_path)) == (name != "a.gif")
        raise error
    assert left_behind(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == (["a.mp4"] if name == "a.mp4" else [])
    assert not [t for t in threading.enumerate() if t.name == "encoder"]


def test_an_interrupt_while_closing_leaves_no_file(tmp_path, monkeypatch):
    writer = open_writer(tmp_path / "a.mp4", 10, 80, 48)
    writer.write(gradient())
    monkeypatch.setattr(VideoWriter, "_raise_error", lambda _: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "frames/"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(tmp_path, name):
    resource = pytest.importorskip("resource")
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.exists() else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))  # the system refuses any more
    try:
        with pytest.raises(RequestError, match=r"cannot write .*File too large") as caught:
            write(f"{tmp_path}/{name}", noise(60))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    if open_files.exists():
        gc.collect()
        assert len(list(open_files.iterdir())) <= before


def test_an_error_of_the_encoder_reaches_the_writer_and_does_not_block_it(tmp_path):
    writer = open_writer(tmp_path / "a.mp4", 10, 80, 48)

    def fail(picture):
        raise OSError(28, "No space left on device")

    writer._encoder.add = fail
    with pytest.raises(RequestError, match=r"a\.mp4: No space left on device"), writer:
        for _ in range(100):
            writer.write(noise(1))
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_by_the_queue(tmp_path):
    writer = open_writer(tmp_path / "a.mp4", 10, 80, 48)
    gate, taken = threading.Event(), []
    add = writer._encoder.add

    def slow(picture):
        gate.wait(10)
        taken.append(1)
        add(picture)

    writer._encoder.add = slow
    feeder = threading.Thread(target=writer.write, args=(noise(QUEUE_FRAMES + 20),))
    feeder.start()
    feeder.join(0.3)
    assert feeder.is_alive()
    assert writer.num_frames <= QUEUE_FRAMES + 1
    gate.set()
    feeder.join(10)
    writer.close()
    assert len(taken) == QUEUE_FRAMES + 20 == len(read(tmp_path / "a.mp4")[0])


def test_an_array_may_be_reused_at_once(tmp_path):
    frames = gradient(frames=6)
    buffer = np.empty_like(frames[:1])
    with open_writer(f"{tmp_path}/f/", 10, 80, 48) as writer:
        for frame in frames:
            buffer[0] = frame
            writer.write(buffer)
            buffer[:] = 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "f" / "00005.png")), frames[5])


@pytest.mark.parametrize(
    "frames",
    [np.zeros((1, 48, 82, 3), np.uint8), np.zeros((48, 80, 3), np.uint8), np.zeros((1, 48, 80, 3))],
    ids=["size", "rank", "dtype"],
)
def test_frames_of_another_shape_are_a_bug_of_the_caller(tmp_path, frames):
    with (
        pytest.raises((ValueError, TypeError)),
        open_writer(tmp_path / "a.mp4", 10, 80, 48) as writer,
    ):
        writer.write(frames)
    assert list(tmp_path.iterdir()) == []


def test_no_frames_is_an_error_and_closing_twice_is_not(tmp_path):
    with pytest.raises(ValueError, match="no frame"), open_writer(tmp_path / "a.mp4", 10, 80, 48):
        pass
    writer = write(tmp_path / "b.mp4", gradient())
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(gradient())
    assert [p.name for p in tmp_path.iterdir()] == ["b.mp4"]


def test_odd_sizes_are_refused_for_420(tmp_path):
    with pytest.raises(RequestError, match="width is 81; mp4 needs it even"):
        open_writer(tmp_path / "a.mp4", 10, 81, 48)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
@pytest.mark.parametrize("share", [0.98, 0.5, 0.02])
def test_a_truncated_file_is_refused_before_its_first_frame(tmp_path, name, share):
    write(tmp_path / name, noise(12))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(RequestError, match="truncated or damaged") as caught:
        read_video(tmp_path / name)
    assert name in str(caught.value)


def test_damage_in_the_middle_is_told_while_reading(tmp_path):
    path = tmp_path / "a.mp4"
    write(path, noise(12))
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(bytes(data))
    with pytest.raises(RequestError, match=r"a\.mp4: truncated or damaged"):
        read(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a video\n" * 9, "not a video we know; allowed: MP4"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "not a video we know"),
        (b"\0\0\0\x20ftypisom" + bytes(200), "truncated or damaged|no video"),
        (b"\x1a\x45\xdf\xa3" + b"\xff" * 60, "truncated or damaged"),
        (b"\x1a\x45\xdf\xa3", "truncated or damaged"),
        (b"GIF89a" + bytes(20) + b";", "truncated or damaged|pixels|no video|no frame|rate"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "not a video we know"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=reason) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_missing_files_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "none.mp4", tmp_path, tmp_path / "pipe.mp4", "pipe:0", "/dev/zero"):
        with pytest.raises(RequestError, match=r"no such file|not a file"):
            read_video(path)


def test_codecs_outside_the_list_and_too_many_pixels_are_refused(tmp_path):
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(80, 48, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(RequestError, match="it is mpeg2video; allowed"):
        read_video(tmp_path / "a.mp4")
    write(tmp_path / "b.mp4", gradient())
    with pytest.raises(RequestError, match="80x48"):
        read_video(tmp_path / "b.mp4", max_pixels=1000)


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_video_filmed_lying_down_is_turned_upright(tmp_path, degrees):
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.set_display_rotation(degrees)
        stream.codec_context.colorspace = 1
        to_yuv = RgbToYuv(80, 48)
        for picture in gradient()[:2]:
            container.mux(stream.encode(to_yuv.convert(picture)))
        container.mux(stream.encode(None))
    with read_video(tmp_path / "a.mp4") as reader:
        assert (reader.height, reader.width) == ((48, 80) if degrees % 180 == 0 else (80, 48))
        assert psnr(next(reader), np.rot90(gradient()[0], degrees // 90)) > 38


MEMORY = """
import hashlib
import numpy as np
from kineograph.media.video import open_writer
t, y, x = np.mgrid[:25, :48, :80]
waves = np.stack([np.sin((x + 3 * t) / 9), np.cos((y - 2 * t) / 7), np.sin((x + y + t) / 11)], -1)
frames = 127 + 100 * waves + np.random.default_rng(0).normal(0, 4, waves.shape)
with open_writer("a.mp4", 10, 80, 48, repeatable=True) as writer:
    writer.write(frames.clip(0, 255).astype(np.uint8))
print(hashlib.sha256(open("a.mp4", "rb").read()).hexdigest())
"""


def test_a_repeatable_mp4_does_not_depend_on_what_is_left_in_memory(run_python, tmp_path):
    # glibc fills what it hands out with this byte; the limit keeps it from handing out zeros
    code = "import os, sys\nos.environ.update(MALLOC_MMAP_THRESHOLD_='1000000000')\n"
    code += "os.environ['MALLOC_PERTURB_'] = sys.argv[1]\n"
    code += f"os.execv(sys.executable, [sys.executable, '-c', {MEMORY!r}])"

    done = [run_python("-c", code, byte, cwd=tmp_path) for byte in ("85", "170", "17")]
    assert [d.returncode for d in done] == [0, 0, 0], done[0].stderr
    assert len({d.stdout for d in done}) == 1


@pytest.mark.parametrize("matrix", [1, 5])
def test_the_matrix_in_the_file_is_obeyed(tmp_path, matrix):
    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.codec_context.colorspace = matrix
        frame = av.VideoFrame.from_ndarray(flat((30, 200, 60))[0], format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=matrix)))
        container.mux(stream.encode(None))
    with read_video(tmp_path / "a.mp4") as reader:
        assert psnr(next(reader), flat((30, 200, 60))[0]) > 38


@needs_media
@pytest.mark.parametrize(
    ("name", "size", "fps", "count"),
    [("motorcycle.mp4", (2160, 3840), 30, 120), ("pose-skeleton.mp4", (540, 960), 50, 350)],
)
def test_real_clips_are_read(name, size, fps, count):
    with read_video(MEDIA / name) as reader:
        assert (reader.height, reader.width) == size
        assert abs(reader.fps - fps) < 0.1
        assert reader.num_frames == count
        first = next(reader)
    assert first.shape == (*size, 3)
    assert first.min() < 10 and first.max() > 245  # black and white, neither of them clipped grey
