"""The two files of a shard: a tar of clips and a table of their truth, the same bytes every time.

The tar follows WebDataset: the files of one clip lie side by side, and a clip's key is the
name up to the first dot. The table is Parquet, one row a clip.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from kineograph.media.audio import add_sound
from kineograph.media.video import open_writer

SOUND_RATE = 24_000  # samples a second
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")  # a dot would end it, a slash make a folder
# Columns that every table has; samples is 0 where a clip is silent.
OWN_COLUMNS = (
    "key", "index", "num_frames", "fps", "height", "width", "samples", "captions", "truth"
)  # fmt: skip
KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}


@dataclass(frozen=True)
class Clip:
    """One clip and what is known of it.

    `fps` is frames a second; `audio` has `SOUND_RATE` samples a second. `truth` is whatever
    JSON takes, `columns` plain facts for the table, None where a clip has none.
    """

    key: str  # letters, digits, - and _; no other clip of the folder has it
    video: UInt8[ndarray, "t h w 3"]
    fps: float
    audio: Float[ndarray, "n 2"] | None
    captions: Mapping[str, Sequence[str]]  # by language
    truth: Mapping[str, Any]
    columns: Mapping[str, bool | int | float | str | None]


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name when the block ends without an exception.

    Its temporary name is always the same: what a killed process left is overwritten. So no two
    processes may write one path at a time.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def digest(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file; raises `OSError`."""
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


class TarShard:
    """Writes the clips of a shard to an open tar file and collects the rows of its table."""

    def __init__(self, file: IO[bytes], columns: Mapping[str, str]) -> None:
        self.rows: list[dict[str, Any]] = []
        self._columns, self._keys = columns, set[str]()
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, clip: Clip, index: int) -> None:
        """Add a clip; raises `ValueError` where it is not what `Clip` says."""
        if not KEY.fullmatch(clip.key) or clip.key in self._keys:
            raise ValueError(f"key {clip.key!r} is taken, or not of letters, digits, - and _")
        self._keys.add(clip.key)
        facts = _facts(clip, self._columns)
        frames, height, width, _ = clip.video.shape
        captions = {language: list(texts) for language, texts in clip.captions.items()}
        record = {"index": index, "fps": clip.fps, "captions": captions, "truth": clip.truth}
        self._put(f"{clip.key}.mp4", _mp4(clip))
        self._put(f"{clip.key}.json", _json(record, clip.key))
        own = (
            clip.key, index, frames, float(clip.fps), height, width,
            0 if clip.audio is None else len(clip.audio),
            list(captions.items()), _json(clip.truth, clip.key).decode(),
        )  # fmt: skip
        self.rows.append(dict(zip(OWN_COLUMNS, own, strict=True)) | facts)

    def close(self) -> None:
        """Write the end of the tar; the file stays open."""
        self._tar.close()

    def _put(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)  # its time, owner and group are 0 unless one says otherwise
        info.size, info.mode = len(content), 0o644
        self._tar.addfile(info, io.BytesIO(content))


def _json(value: object, key: str) -> bytes:
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"the truth of clip {key!r} is no JSON: {error}") from error


def _facts(clip: Clip, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts of a clip as plain values of the kinds that the columns have."""
    if clip.columns.keys() != columns.keys():
        odd = sorted(clip.columns.keys() ^ columns.keys())
        raise ValueError(f"clip {clip.key!r}: columns {odd} are missing or were not announced")
    facts: dict[str, Any] = {}
    for name, kind in columns.items():
        value: Any = clip.columns[name]
        value = value.item() if isinstance(value, np.generic) else value
        if kind == "float" and type(value) is int:
            value = float(value)
        if value is not None and type(value) is not KINDS[kind]:
            raise ValueError(f"clip {clip.key!r}: column {name} is {value!r}, not of kind {kind}")
        facts[name] = value
    return facts


def _mp4(clip: Clip) -> bytes:
    _, height, width, _ = clip.video.shape
    with tempfile.TemporaryDirectory(prefix="kineo-") as folder:
        path = Path(folder) / "clip.mp4"
        with open_writer(path, clip.fps, width, height, repeatable=True) as writer:
            writer.write(clip.video)
        if clip.audio is not None:
            add_sound(path, clip.audio, SOUND_RATE)
        return path.read_bytes()


def write_table(
    file: IO[bytes], rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]
) -> None:
    """Write the rows of a shard as Parquet: the same columns in every shard, whatever is None."""
    import pyarrow as pa
    from pyarrow import parquet

    texts = pa.map_(pa.string(), pa.list_(pa.string()))
    own = (
        pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.int32(), pa.int32(), pa.int64(),
        texts, pa.string(),
    )  # fmt: skip
    of_kind = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}
    fields = list(zip(OWN_COLUMNS, own, strict=True))
    fields += [(name, of_kind[kind]) for name, kind in kinds.items()]
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields))
    parquet.write_table(table, file, compression="zstd")


def read_tar(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and files, by ending, of every clip of a tar, as WebDataset reads it.

    Raises `tarfile.TarError` or `OSError` where the file is missing, cut short or damaged.
    """
    key, files = "", dict[str, bytes]()
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is None:  # a folder or a link; we write none
                continue
            name, _, ending = member.name.partition(".")
            if name != key and files:
                yield key, files
                files = {}
            key = name
            files[ending] = content.read()
    if files:
        yield key, files
