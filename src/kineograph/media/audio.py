"""Sound beside the pictures: an AAC track for a video that is already written."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float
from numpy import ndarray

from kineograph.errors import RequestError
from kineograph.media.files import PendingFile, refuse_os_errors

BIT_RATE = 128_000  # of both channels together
BLOCK = 1 << 16  # samples that are handed over at a time


def add_sound(path: str | Path, sound: Float[ndarray, "n 2"], rate: int) -> None:
    """Give an mp4 a stereo track, `rate` samples a second in [-1, 1]; the video is not touched.

    The file is replaced whole or stays as it was. The same video and sound make the same bytes.
    Samples beyond [-1, 1] are cut off.

    Raises:
        RequestError: the file cannot be read or written.
        ValueError: the sound is of another shape or type, empty, or not finite.
    """
    if sound.ndim != 2 or sound.shape[1] != 2 or sound.dtype != np.float32 or not len(sound):
        raise ValueError(f"sound is {sound.dtype} of shape {sound.shape}, expected float32 (n, 2)")
    if not np.isfinite(sound).all():
        raise ValueError("sound is not finite")
    pending = PendingFile(path)
    try:
        with refuse_os_errors(path):
            _mux(pending.target, pending.temporary, sound.clip(-1, 1), rate)
            pending.commit()
    except FFmpegError as error:
        pending.discard()
        raise RequestError(f"cannot add sound to {path}: {error.strerror or error}") from error
    except BaseException:
        pending.discard()
        raise


def _mux(source: Path, target: Path, sound: Float[ndarray, "n 2"], rate: int) -> None:
    # bitexact: no version of the library in the file, which says nothing of its content
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with (
        av.open(str(source), format="mp4") as given,
        av.open(str(target), "w", format="mp4", container_options=options) as made,
    ):
        pictures = given.streams.video[0]
        video = made.add_stream_from_template(pictures)
        audio = made.add_stream("aac", rate=rate, layout="stereo")
        assert isinstance(audio, av.AudioStream)
        audio.bit_rate = BIT_RATE
        audio.codec_context.thread_count = 1
        for packet in given.demux(pictures):
            if packet.dts is not None:  # the last one is empty: the end
                packet.stream = video
                made.mux(packet)
        for frame in _frames(sound, rate):
            made.mux(audio.encode(frame))
        made.mux(audio.encode(None))


def _frames(sound: Float[ndarray, "n 2"], rate: int) -> Iterator[av.AudioFrame]:
    for start in range(0, len(sound), BLOCK):
        part = np.ascontiguousarray(sound[start : start + BLOCK].T)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame
