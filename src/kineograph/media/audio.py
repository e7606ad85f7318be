"""Sound beside the pictures: an AAC track for a video that is already written."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import Float, Float32
from numpy import ndarray

from kineograph.errors import RequestError
from kineograph.media.files import PendingFile, refuse_os_errors
from kineograph.media.video import sniff

Sound = Float32[ndarray, "n 2"]

BIT_RATE = 128_000  # of both channels together
SOUND_DECODERS = ("aac", "mp3float", "mp3", "opus", "vorbis", "flac", "pcm_s16le")
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


def read_sound(path: str | Path, seconds: float | None = None) -> tuple[Sound, int] | None:
    """Return the first sound track of a video and its samples a second; None if it has none.

    A track that none of SOUND_DECODERS reads counts as none.

    Other numbers of channels are mixed to two; `seconds` reads no further.

    Raises:
        RequestError: the file cannot be read.
    """
    try:
        demuxer = sniff(Path(path))
        options = {"protocol_whitelist": "file"}
        with av.open(
            str(Path(path).resolve()), format=demuxer, container_options=options
        ) as container:
            tracks = container.streams.audio
            if not tracks or tracks[0].codec_context.name not in SOUND_DECODERS:
                return None
            rate, count = tracks[0].rate, 0
            parts: list[ndarray] = []
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
            for frame in container.decode(tracks[0]):
                for piece in resampler.resample(frame):
                    parts.append(piece.to_ndarray().T)
                    count += len(parts[-1])
                if seconds is not None and count >= seconds * rate:
                    break
    except (FFmpegError, OSError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot read the sound of {path}: {reason}") from error
    if not parts:
        return None
    sound = np.concatenate(parts).astype(np.float32)
    return (sound if seconds is None else sound[: round(seconds * rate)]), rate


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
