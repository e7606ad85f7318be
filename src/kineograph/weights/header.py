"""What a weights file says about itself: kind, config, metadata, shapes; read without torch.

A file is data from outside: nothing in it is trusted, and every trouble with it is a
`WeightsError` of one line that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

from kineograph.errors import WeightsError
from kineograph.media.files import atomic_write
from kineograph.spec import (
    AnyConfig,
    DiTConfig,
    ImageConfig,
    InterpolatorConfig,
    TextConfig,
    UpsamplerConfig,
    VaeConfig,
    config_from_dict,
)

Config = AnyConfig

CONFIGS: dict[str, type[Any]] = {
    "vae": VaeConfig,
    "dit": DiTConfig,
    "text": TextConfig,
    "image": ImageConfig,
    "upsampler": UpsamplerConfig,
    "interpolator": InterpolatorConfig,
}
MAX_HEADER_BYTES = 16 << 20  # the header of the largest open model is a few hundred KB
MAX_SIZE = 1 << 20  # of any number in a config: width, vocabulary, length
DEPTHS = ("num_layers", "num_blocks", "num_res_blocks")  # each layer holds a tensor at least
MAYBE_NONE = ("num_controls", "image_dim", "image_positions", "control_channels")  # 0 is allowed
SHOWN_CHARS = 160
CACHE_VARIABLE = "KINEOGRAPH_CACHE"
LARGE = 256 << 20  # bytes of a file whose hash is worth keeping
SCALE = ".row_scale"  # ends the name of the scales of a weight in 8 bits (`packing.py`)


@dataclass(frozen=True)
class Header:
    """What a weights file says about itself, read without its tensors."""

    kind: str
    config: Config
    metadata: dict[str, str]  # the whole of it, `kind` and `config` included
    shapes: dict[str, tuple[int, ...]]  # as stored, the scales of packed weights among them
    bytes: int  # of the file

    @property
    def parameters(self) -> int:
        """How many numbers the part learnt; the scales of packed rows are not counted."""
        return sum(
            prod(shape)
            for name, shape in self.shapes.items()
            if name.removesuffix(SCALE) == name or name.removesuffix(SCALE) not in self.shapes
        )


def read_header(path: str | Path, kind: str | None = None) -> Header:
    """Return what a file says about itself; raises `WeightsError`, also if it is not of `kind`."""
    path = Path(path)
    data, size = _read_json(path)
    try:
        metadata = {str(k): str(v) for k, v in data.pop("__metadata__", {}).items()}
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in data.items()}
        if any(n < 0 for shape in shapes.values() for n in shape):
            raise ValueError("a tensor has a negative size")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {shown(str(error))}") from None
    found = metadata.get("kind", "")
    if found not in CONFIGS:
        raise WeightsError(
            f"{path} holds no weights of kineograph: its kind is {shown(found) or 'not given'}"
        )
    if kind not in (None, found):
        raise WeightsError(f"{path} holds {found} weights where {kind} weights are wanted")
    config = _read_config(path, CONFIGS[found], metadata.get("config"), len(shapes))
    return Header(found, config, metadata, shapes, size)


@dataclass(frozen=True)
class TensorInfo:
    """A tensor in a file, as its header tells of it."""

    dtype: str  # safetensors' name of it, such as BF16
    shape: tuple[int, ...]


SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


def read_tensors(path: str | Path) -> dict[str, TensorInfo]:
    """Return what any safetensors file holds, after checking that it is as long as it says."""
    path = Path(path)
    data, size = _read_json(path)
    data.pop("__metadata__", None)
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    found, end = {}, 0
    try:
        for name, entry in data.items():
            first, last = (int(n) for n in entry["data_offsets"])
            shape = tuple(int(n) for n in entry["shape"])
            dtype = str(entry["dtype"])
            if not 0 <= first <= last or any(n < 0 for n in shape):
                raise ValueError(f"{name} lies nowhere")
            if dtype in SIZES and last - first != SIZES[dtype] * prod(shape):
                raise ValueError(f"{name} has {last - first} bytes for a shape of {shape}")
            found[name], end = TensorInfo(dtype, shape), max(end, last)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {shown(str(error))}") from None
    if start + end != size:
        raise WeightsError(
            f"{path} is truncated or damaged: it has {size} bytes, its header wants {start + end}"
        )
    return found


def _read_json(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and the size of the file in bytes."""
    try:
        if not path.is_file():
            trouble = "is not a file" if path.exists() else "is missing"
            raise WeightsError(f"weights file {path} {trouble}")
        with path.open("rb") as file:
            size, length = path.stat().st_size, int.from_bytes(file.read(8), "little")
            if size == 0:
                raise WeightsError(f"{path} is empty (0 bytes)")
            if size < 8 or length > size - 8:
                raise WeightsError(f"{path} is truncated or no safetensors file")
            if length > MAX_HEADER_BYTES:
                raise WeightsError(
                    f"{path} claims a header of {length} bytes; allowed: {MAX_HEADER_BYTES}"
                )
            data = json.loads(file.read(length))
        if not isinstance(data, dict):
            raise ValueError("its header is no object")
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        why = shown(str(error))
        raise WeightsError(f"{path} is damaged or no safetensors file: {why}") from None
    return data, size


def _read_config(path: Path, cls: type[Any], text: str | None, tensors: int) -> Config:
    """Return the config in a header, refusing what would hang or crash the building of it."""
    try:
        data = json.loads(text or "")
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        config: Config = config_from_dict(cls, data)
        for field in fields(cls):
            value = getattr(config, field.name)
            _check_value(field.name, value, getattr(cls(), field.name))
            if field.name in DEPTHS and value > tensors:
                raise ValueError(f"{field.name} is {value} in a file of {tensors} tensors")
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path} has no usable config: {shown(str(error))}") from None
    return config


def _check_value(name: str, value: object, like: object) -> None:
    if isinstance(like, tuple):
        if not isinstance(value, tuple) or len(value) > MAX_SIZE:
            raise ValueError(f"{name} is {shown(value)}, not a list")
        for item in value:
            _check_value(name, item, like[0] if like else 0.5)
        return
    number = isinstance(like, float) and type(value) is int
    if type(value) is not type(like) and not number:
        raise ValueError(f"{name} is {shown(value)}, not of type {type(like).__name__}")
    low = 0 if name in (*DEPTHS, *MAYBE_NONE) else 1
    if type(value) is int and not number and not low <= value <= MAX_SIZE:
        raise ValueError(f"{name} is {value}; allowed: {low} to {MAX_SIZE}")


def shown(value: object) -> str:
    """Return a value from a file as one short line for a message."""
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."


def cache_folder() -> Path:
    """Return the folder for what can be made again."""
    told = os.environ.get(CACHE_VARIABLE)
    if told:
        return Path(told)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kineograph"


_HASHES: dict[tuple[str, int, int], str] = {}


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hex; remembered while the file's time and size stay.

    That of a large file, which takes long, is remembered in the cache for other processes too.
    """
    path = Path(path).absolute()
    try:
        key, note = _remembered(path)
        if key not in _HASHES:
            if key[2] >= LARGE and note.exists():
                _HASHES[key] = note.read_text()
            else:
                with path.open("rb") as file:
                    know_sha256(path, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    return _HASHES[key]


def know_sha256(path: str | Path, digest: str) -> None:
    """Remember the SHA-256 of a file that somebody has worked out."""
    key, note = _remembered(Path(path).absolute())
    _HASHES[key] = digest
    if key[2] >= LARGE:
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(note) as file:
            file.write(digest.encode())


def _remembered(path: Path) -> tuple[tuple[str, int, int], Path]:
    """Return under what a file's hash is remembered, and in which note where it is large."""
    stat = path.stat()
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    return key, cache_folder() / "hashes" / hashlib.sha256(repr(key).encode()).hexdigest()
