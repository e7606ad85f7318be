"""Opening the open Wan weights: recognised, checked, then mapped; from either layout the same bits.

Nothing is computed, and no weight read, before every file has been found whole and holding what
its part needs: names, shapes and kinds of numbers are in the heads of the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from kineograph.errors import WeightsError
from kineograph.spec import AnyConfig, DiTConfig, ImageConfig, ModelSpec, TextConfig, VaeConfig
from kineograph.weights.files import skeleton
from kineograph.weights.header import TensorInfo, shown
from kineograph.weights.keymaps import (
    DIT_TO_DIFFUSERS,
    IMAGE_TO_TRANSFORMERS,
    IMAGE_TO_WAN,
    OLD_PREFIX,
    TEXT_TO_TRANSFORMERS,
    TEXT_UNUSED_IN_TRANSFORMERS,
    Table,
    image_unused_in_transformers,
    image_unused_in_wan,
    new_name,
    used,
    vae_to_wan,
)
from kineograph.weights.layouts import Layout, WanFolder, configs_of, part_tensors
from kineograph.weights.pickles import converted

KINDS = {"low_dit": "dit"}  # parts that are of another's kind
# What stays float32 where the rest is rounded: norms, and what tells of noise levels, as in Wan.
WIDE = re.compile(r"norm|time_embedding|time_projection|modulation")
FLOATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
}  # fmt: skip
QKV = ("q", "k", "v")


def table_of(config: AnyConfig, layout: Layout) -> tuple[Table, str]:
    """Return the names of a part's weights in a layout, and the pattern of those not used."""
    if isinstance(config, DiTConfig):
        return (DIT_TO_DIFFUSERS if layout == "diffusers" else []), r"^$"
    if isinstance(config, TextConfig):
        if layout == "diffusers":
            return TEXT_TO_TRANSFORMERS, TEXT_UNUSED_IN_TRANSFORMERS
        return [], r"^$"
    if isinstance(config, ImageConfig):
        if layout == "diffusers":
            return IMAGE_TO_TRANSFORMERS, image_unused_in_transformers(config)
        return IMAGE_TO_WAN, image_unused_in_wan(config)
    assert isinstance(config, VaeConfig), f"no table for {config}"
    return ([] if layout == "diffusers" else vae_to_wan(config)), r"^$"


@lru_cache(maxsize=32)
def shapes_of(kind: str, config: AnyConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a part, by our names."""
    return {k: tuple(w.shape) for k, w in skeleton(kind, config).state_dict().items()}


def open_wan(
    spec: ModelSpec, folder: WanFolder, dtype: torch.dtype
) -> tuple[dict[str, nn.Module], list[Path]]:
    """Build every part of a model, its matrices in `dtype`; return the files as well.

    What is stored in the wanted type is mapped from its file and takes no memory until it is
    used. Raises `WeightsError` where anything is missing, damaged or of another model.
    """
    configs = configs_of(spec)
    for kind in configs:
        if kind not in folder.files:
            raise WeightsError(f"{folder.path} holds no {kind} weights of {spec.name}")
    plans = {kind: _plan(kind, config, folder) for kind, config in configs.items()}
    modules = {}
    for kind, config in configs.items():
        wide = torch.float32 if kind == "vae" and spec.float_vae else dtype
        modules[kind] = _build(kind, config, plans[kind], wide)
    files = [path for kind in configs for path in folder.files[kind]]
    return modules, files


def open_part(
    kind: str, config: AnyConfig, folder: WanFolder, dtype: torch.dtype
) -> nn.Module:
    """Build one part, as `open_wan` builds all of them."""
    return _build(kind, config, _plan(kind, config, folder), dtype)


@dataclass(frozen=True)
class _Plan:
    """Of a part: which weight comes from where."""

    pieces: dict[str, tuple[str, ...]]  # by our name: one elsewhere, or three
    places: dict[str, tuple[Path, str]]  # by a weight's name elsewhere: its file and name there


def _plan(kind: str, config: AnyConfig, folder: WanFolder) -> _Plan:
    """Check a part against its files' heads."""
    paths = folder.files[kind]
    if paths[0].suffix == ".pth":
        paths = (converted(paths[0]),)
    table, unused = table_of(config, folder.layout)
    all_there = {n.removeprefix(OLD_PREFIX): (p, n, x) for n, (p, x) in part_tensors(paths).items()}
    found = {n: where for n, where in all_there.items() if used(n, unused)}
    pieces, taken = {}, set()
    for name, shape in shapes_of(KINDS.get(kind, kind), config).items():
        piece = _piece(new_name(name, table))
        pieces[name] = piece
        for part in piece:
            if part not in found:
                more = "" if part == name else f" (our {name})"
                raise WeightsError(f"{folder.files[kind][0]} lacks {shown(part)}{more}")
            taken.add(part)
        _check_shape(folder.files[kind][0], piece, shape, found)
    extra = sorted(found.keys() - taken)
    if extra:
        more = f" and {len(extra) - 1} more" if len(extra) > 1 else ""
        raise WeightsError(f"{found[extra[0]][0]} has an unexpected weight {shown(extra[0])}{more}")
    return _Plan(pieces, {name: (path, there) for name, (path, there, _) in found.items()})


def _piece(name: str) -> tuple[str, ...]:
    if ".qkv_proj." not in name:
        return (name,)
    return tuple(name.replace(".qkv_proj.", f".{letter}_proj.") for letter in QKV)


def _check_shape(
    path: Path, piece: tuple[str, ...], shape: tuple[int, ...],
    found: Mapping[str, tuple[Path, str, TensorInfo]],
) -> None:  # fmt: skip
    wanted = [n for n in shape if n != 1]
    if len(piece) > 1:
        wanted[0] //= len(piece)
    for name in piece:
        info = found[name][2]
        if [n for n in info.shape if n != 1] != wanted:
            raise WeightsError(
                f"{path}: {shown(name)} has shape {info.shape}; {tuple(wanted)} is wanted"
            )
        if info.dtype not in FLOATS:
            raise WeightsError(f"{path}: {shown(name)} holds {info.dtype}, not floating point")


def _build(kind: str, config: AnyConfig, plan: _Plan, dtype: torch.dtype) -> nn.Module:
    module = skeleton(KINDS.get(kind, kind), config)
    files: dict[Path, Any] = {
        path: safe_open(path, framework="pt") for path, _ in sorted(set(plan.places.values()))
    }
    state = {}
    for name, weight in module.state_dict().items():
        parts = []
        for part in plan.pieces[name]:
            path, there = plan.places[part]
            try:
                parts.append(files[path].get_tensor(there))
            except SafetensorError as error:
                raise WeightsError(f"{path} is truncated or damaged: {shown(str(error))}") from None
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        wanted = torch.float32 if WIDE.search(name) else dtype
        state[name] = whole.to(wanted).view(weight.shape)
    module.load_state_dict(state, strict=True, assign=True)
    stranded = [n for n, b in module.named_buffers() if b.is_meta]
    assert not stranded, f"buffers of {kind} that no file holds: {stranded}"
    return module.eval().requires_grad_(False)


def recognise(folder: WanFolder, rows: Mapping[str, ModelSpec]) -> str:
    """Return which of the models `rows` a folder's weights are of, told by their shapes.

    Where several have the same shapes it is the one whose name shares most words with the
    folder's, the first of them if that says nothing. Raises `WeightsError` where it is none.
    """
    found = {n: info.shape for n, (_, info) in part_tensors(folder.files["dit"]).items()}
    same = []
    for name, spec in rows.items():
        if folder.experts != (2 if spec.boundary else 1):
            continue
        table, _ = table_of(spec.dit, folder.layout)
        wanted = {
            new_name(name, table): shape for name, shape in shapes_of("dit", spec.dit).items()
        }
        if wanted == found:
            same.append(name)
    if not same:
        raise WeightsError(f"{folder.path} holds weights of none of: {', '.join(rows)}")
    path = folder.path.resolve()
    # In the hub's cache a folder is named by its commit, and two above it by the model.
    told = (path.parent.parent if path.parent.name == "snapshots" else path).name.lower()
    return max(same, key=lambda name: sum(word in told for word in name.split("-")))
