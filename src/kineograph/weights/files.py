"""Weights files: safetensors whose header says what is in them, read strictly.

One file holds one part of a model (a VAE, a transformer, a text encoder, an upsampler). Its
header carries the part's kind and config as JSON, the version that wrote it, and whatever the
training has to say. A file is data from outside: nothing in it is trusted, and every trouble
with it is a `WeightsError` of one line that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kineograph import __version__
from kineograph.errors import WeightsError
from kineograph.media.files import PendingFile, refuse_os_errors
from kineograph.spec import (
    DiTConfig,
    TextConfig,
    UpsamplerConfig,
    VaeConfig,
    config_from_dict,
    config_to_dict,
)

Config = VaeConfig | DiTConfig | TextConfig | UpsamplerConfig

CONFIGS: dict[str, type[VaeConfig] | type[DiTConfig] | type[TextConfig] | type[UpsamplerConfig]] = {
    "vae": VaeConfig,
    "dit": DiTConfig,
    "text": TextConfig,
    "upsampler": UpsamplerConfig,
}
RESERVED = ("format", "kind", "config", "kineograph")  # header fields that no caller may set
MAX_HEADER_BYTES = 16 << 20  # the header of the largest open model is a few hundred KB
SMALL = 1 << 14  # elements; a tensor up to this size is not worth rounding
MAX_SIZE = 1 << 20  # of any number in a config: width, vocabulary, length
DEPTHS = ("num_layers", "num_blocks", "num_res_blocks")  # each layer holds a tensor at least


@dataclass(frozen=True)
class Header:
    """What a weights file says about itself, read without its tensors."""

    kind: str
    config: Config
    metadata: dict[str, str]  # the whole of it, `kind` and `config` included
    shapes: dict[str, tuple[int, ...]]
    bytes: int  # of the file

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())


def module_class(kind: str) -> Callable[[Any], nn.Module]:
    """Return the class of a kind of part; called with its config it makes one."""
    if kind == "vae":
        from kineograph.models.vae import VideoVAE

        return VideoVAE
    if kind == "dit":
        from kineograph.models.dit import VideoDiT

        return VideoDiT
    if kind == "text":
        from kineograph.models.text import TextEncoder

        return TextEncoder
    assert kind == "upsampler", f"no kind {kind!r}"
    from kineograph.models.upsampler import VideoUpsampler

    return VideoUpsampler


def save_weights(
    path: str | Path,
    weights: nn.Module | Mapping[str, Tensor],
    config: Config,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a part's weights whole or not at all.

    With `dtype` (bfloat16, float16) its matrices and kernels are rounded to it; what is small
    or has one axis (norms, biases, modulation tables) stays float32, where rounding would cost
    most and save nothing.

    Raises:
        RequestError: the folder is missing or the system refuses.
        ValueError: `metadata` sets a field of the header that is ours.
    """
    extra = dict(metadata or {})
    for name in RESERVED:
        if name in extra:
            raise ValueError(f"metadata {name!r} is written by save_weights itself")
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    header = {
        "format": "pt",
        "kind": next(kind for kind, cls in CONFIGS.items() if type(config) is cls),
        "config": json.dumps(config_to_dict(config)),
        "kineograph": __version__,
    }
    save_tensors(path, {name: _packed(t, dtype) for name, t in state.items()}, header | extra)


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors of any names to a safetensors file, whole or not at all."""
    pending = PendingFile(path)
    # A copy each: tied tensors share memory, which the format refuses.
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        with refuse_os_errors(path):
            try:
                save_file(own, pending.temporary, metadata=dict(metadata))
            except SafetensorError as error:
                raise OSError(str(error)) from None
            with pending.temporary.open("rb") as file:
                os.fsync(file.fileno())
            pending.commit()
    except BaseException:
        pending.discard()
        raise


def _packed(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    keep = dtype is None or tensor.numel() <= SMALL or tensor.squeeze().ndim < 2
    return tensor.detach().to(torch.float32 if keep else dtype)


def read_header(path: str | Path, kind: str | None = None) -> Header:
    """Return what a file says about itself; raises `WeightsError`, also if it is not of `kind`."""
    path = Path(path)
    with _opened(path) as file:
        metadata = dict(file.metadata() or {})
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    found = metadata.get("kind")
    if found not in CONFIGS:
        raise WeightsError(f"{path} holds no weights of kineograph: its kind is {_shown(found)}")
    if kind not in (None, found):
        raise WeightsError(f"{path} holds {found} weights where {kind} weights are wanted")
    config = _read_config(path, CONFIGS[found], metadata.get("config"), len(shapes))
    return Header(found, config, metadata, shapes, path.stat().st_size)


def load_weights(path: str | Path, kind: str) -> tuple[Config, dict[str, Tensor], dict[str, str]]:
    """Return config, tensors as they are stored, and metadata; raises `WeightsError`."""
    header = read_header(path, kind)
    with _opened(Path(path)) as file:
        tensors = {name: file.get_tensor(name) for name in header.shapes}
    return header.config, tensors, header.metadata


def build(
    kind: str,
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    config: Config | None = None,
) -> nn.Module:
    """Return the part in a file, ready for inference, its floats in `dtype`.

    Built on the meta device: memory is touched once. Raises `WeightsError` where a weight is
    missing, unexpected or of the wrong shape, or where the file's config is not `config`.
    """
    path = Path(path)
    own, tensors, _ = load_weights(path, kind)
    if config is not None and own != config:
        raise WeightsError(f"{path} was made for another model: {_difference(own, config)}")
    try:
        with torch.device("meta"):
            module = module_class(kind)(own)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, IndexError) as error:
        raise WeightsError(f"{path} holds an impossible config: {_shown(str(error))}") from None
    _check_names(path, {k: tuple(t.shape) for k, t in module.state_dict().items()}, tensors)
    # Copied out of the file's own pages: aligned, so that the same kernels run, and safe from
    # whoever cuts the file short while we compute.
    cast = {name: tensor.to(dtype, copy=True) for name, tensor in tensors.items()}
    module.load_state_dict(cast, strict=True, assign=True)
    stranded = [n for n, b in module.named_buffers() if b.is_meta]
    assert not stranded, f"buffers of {kind} that no file holds: {stranded}"
    return module.eval().requires_grad_(False)


def _check_names(
    path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]
) -> None:
    for what, names in (
        ("lacks", sorted(wanted.keys() - found.keys())),
        ("has an unexpected weight", sorted(found.keys() - wanted.keys())),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"{path} {what} {_shown(names[0])}{more}")
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(found[name].shape)}; {shape} is wanted"
            )
        if not found[name].is_floating_point():
            raise WeightsError(f"{path}: {name} holds {found[name].dtype}, not floating point")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file after the checks that its own reader leaves to chance."""
    try:
        if not path.is_file():
            trouble = "is not a file" if path.exists() else "is missing"
            raise WeightsError(f"weights file {path} {trouble}")
        with path.open("rb") as raw:
            size, length = path.stat().st_size, int.from_bytes(raw.read(8), "little")
        if size == 0:
            raise WeightsError(f"{path} is empty (0 bytes)")
        if length > size - 8:
            raise WeightsError(f"{path} is truncated or no safetensors file")
        if length > MAX_HEADER_BYTES:
            raise WeightsError(f"{path} claims a header of {length} bytes; at most 16 MiB")
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise WeightsError(f"{path} is truncated or damaged: {_shown(str(error))}") from None
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None


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
        raise WeightsError(f"{path} has no usable config: {_shown(str(error))}") from None
    return config


def _check_value(name: str, value: object, like: object) -> None:
    if isinstance(like, tuple):
        if not isinstance(value, tuple) or len(value) > MAX_SIZE:
            raise ValueError(f"{name} is {value!r}, not a list")
        for item in value:
            _check_value(name, item, like[0] if like else 0.5)
        return
    number = isinstance(like, float) and type(value) is int
    if type(value) is not type(like) and not number:
        raise ValueError(f"{name} is {value!r}, not of type {type(like).__name__}")
    low = 0 if name in DEPTHS else 1
    if type(value) is int and not low <= value <= MAX_SIZE:
        raise ValueError(f"{name} is {value}; allowed: {low} to {MAX_SIZE}")


def _difference(own: Config, wanted: Config) -> str:
    ours, theirs = config_to_dict(own), config_to_dict(wanted)
    name = next(name for name in theirs if ours.get(name) != theirs[name])
    return f"its {name} is {_shown(ours.get(name))}, the model's is {_shown(theirs[name])}"


def _shown(value: object) -> str:
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= 160 else text[:157] + "..."


_HASHES: dict[tuple[str, int, int], str] = {}


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hex; remembered while the file's time and size stay."""
    path = Path(path).absolute()
    try:
        stat = path.stat()
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if key not in _HASHES:
            with path.open("rb") as file:
                _HASHES[key] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    return _HASHES[key]
