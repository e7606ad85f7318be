"""Weights files: safetensors whose header says what is in them, written whole, read strictly.

One file holds one part of a model (a VAE, a transformer, a text encoder, an upsampler). Its
header carries the part's kind and config as JSON, the version that wrote it, and whatever the
training has to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kineograph import __version__
from kineograph.errors import WeightsError
from kineograph.media.files import PendingFile, refuse_os_errors
from kineograph.spec import config_to_dict
from kineograph.weights.header import CONFIGS, SCALE, Config, read_header, shown
from kineograph.weights.packing import pack, unpacked

RESERVED = ("format", "kind", "config", "kineograph")  # header fields that no caller may set
SMALL = 1 << 14  # elements; a tensor up to this size is not worth rounding


def save_weights(
    path: str | Path,
    weights: nn.Module | Mapping[str, Tensor],
    config: Config,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a part's weights whole or not at all.

    With `dtype` (bfloat16, float16, int8) its matrices and kernels are rounded to it; what is
    small or has one axis (norms, biases, modulation tables) stays float32, where rounding would
    cost most and save nothing. int8 has a scale for each row (`packing.py`).

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
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensors |= _packed(name, tensor, dtype)
    save_tensors(path, tensors, header | extra)


def _sort_metadata(file: BinaryIO) -> None:
    """Put the metadata of a safetensors file in order.

    The library writes them in another one each time, and equal weights would have unequal hashes.
    """
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))
    told = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(told.items())), **header}
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    assert len(text) <= size
    file.seek(8)
    file.write(text.ljust(size))


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors of any names to a safetensors file, whole or not at all.

    Equal tensors and metadata make equal bytes.

    Raises `RequestError` if the folder is missing or the system refuses.
    """
    pending = PendingFile(path)
    # A copy each: tied tensors share memory, which the format refuses.
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        with refuse_os_errors(path):
            pending.temporary.touch()
            mode = pending.temporary.stat().st_mode
            try:
                save_file(own, pending.temporary, metadata=dict(metadata))
            except SafetensorError as error:
                raise OSError(str(error)) from None
            pending.temporary.chmod(mode)  # as any file of the user: save_file hides its own
            with pending.temporary.open("r+b") as file:
                _sort_metadata(file)
                os.fsync(file.fileno())
            pending.commit()
    except BaseException:
        pending.discard()
        raise


def _packed(name: str, tensor: Tensor, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Return what is stored of a weight, by name."""
    if not tensor.is_floating_point():
        return {name: tensor}
    if dtype is None or tensor.numel() <= SMALL or tensor.squeeze().ndim < 2:
        return {name: tensor.detach().to(torch.float32)}
    if dtype == torch.int8:
        numbers, scale = pack(tensor)
        return {name: numbers, name + SCALE: scale}
    return {name: tensor.detach().to(dtype)}


def load_weights(path: str | Path, kind: str) -> tuple[Config, dict[str, Tensor], dict[str, str]]:
    """Return config, tensors, and metadata; raises `WeightsError`.

    Tensors are as they are stored, but for those of 8 bits, which are unpacked to float32.
    """
    header = read_header(path, kind)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = unpacked({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise WeightsError(f"{path} is truncated or damaged: {shown(str(error))}") from None
    except ValueError as error:
        raise WeightsError(f"{path} is damaged: {shown(str(error))}") from None
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    return header.config, tensors, header.metadata


def module_class(kind: str) -> type[Any]:
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
    if kind == "image":
        from kineograph.models.image import ImageEncoder

        return ImageEncoder
    if kind == "interpolator":
        from kineograph.models.interpolator import FrameInterpolator

        return FrameInterpolator
    assert kind == "upsampler", f"no kind {kind!r}"
    from kineograph.models.upsampler import VideoUpsampler

    return VideoUpsampler


class _LeaveUnfilled(TorchFunctionMode):
    """The random numbers that torch's own layers start with are not drawn.

    On the meta device there is nothing to fill, and torch imports its compiler, which takes
    two seconds, to find that out; elsewhere they would be taken from the global generator.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - torch's own signature
        named = kwargs or {}
        if func.__name__ in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def skeleton(kind: str, config: Config, device: str = "meta") -> nn.Module:
    """Return a part that is not initialised; on the meta device it takes no memory."""
    whole = module_class(kind)
    bare = type(whole.__name__, (whole,), {"init_weights": lambda self: None})
    with torch.device(device), _LeaveUnfilled():
        module: nn.Module = bare(config)
    module.__class__ = whole
    return module


def build(kind: str, path: str | Path, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the part in a file, ready for inference, its floats in `dtype`.

    Its config is the file's own. Built on the meta device: memory is touched once. Raises
    `WeightsError` where a weight is missing, unexpected or of the wrong shape.
    """
    path = Path(path)
    config, tensors, _ = load_weights(path, kind)
    try:
        module = skeleton(kind, config)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, IndexError) as error:
        raise WeightsError(f"{path} holds an impossible config: {shown(str(error))}") from None
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
            raise WeightsError(f"{path} {what} {shown(names[0])}{more}")
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(found[name].shape)}; {shape} is wanted"
            )
        if not found[name].is_floating_point():
            raise WeightsError(f"{path}: {name} holds {found[name].dtype}, not floating point")
