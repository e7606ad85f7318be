"""Model folders: where the files of a model lie, what is in them, and how they are opened.

    NAME/vae.safetensors dit.safetensors text.safetensors tokenizer.json
    NAME/words.json upsampler.safetensors   may be missing
    NAME/model.json                         names the row of presets.py: {"preset": "nano"}

A name is that of a preset, a path to a folder, or an id of the Hugging Face hub. A preset's folder
is looked for in the folders of the environment variable KINEOGRAPH_MODELS, then in the package,
then in the hub's cache; nothing is fetched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kineograph.errors import RequestError, WeightsError
from kineograph.presets import PRESETS, get_preset
from kineograph.request import GenerationRequest
from kineograph.resolving import check_ranges
from kineograph.spec import ModelSpec
from kineograph.weights.header import CONFIGS, Header, read_header, sha256, shown
from kineograph.weights.hub import MAIN, HubId, cache_of_hub, hub_id, row_of, whole_snapshot
from kineograph.weights.layouts import find_wan, part_tensors

if TYPE_CHECKING:
    import torch
    from torch import nn

MODELS_VARIABLE = "KINEOGRAPH_MODELS"
WEIGHTS = {kind: f"{kind}.safetensors" for kind in CONFIGS}
OPTIONAL = ("image", "upsampler", "interpolator")
TOKENIZER, MODEL = "tokenizer.json", "model.json"
DEFAULTS = ("steps", "guidance_scale", "shift", "solver")  # that a folder may set for itself
MAX_MODEL_BYTES = 1 << 16
RANDOM_SEED = 0


@dataclass(frozen=True)
class Parts:
    """A model's parts, opened: networks in evaluation mode on the CPU, and its tokenizer's file."""

    spec: ModelSpec  # with the configs that the files carry
    modules: Mapping[str, nn.Module]  # by kind; without an upsampler where there is none
    tokenizer: Path
    hashes: dict[str, str]  # sha256 of every file that decides the frames, by its name


def is_random(spec: ModelSpec) -> bool:
    """Return whether a model's weights are drawn rather than stored, as those of `tiny` are."""
    return spec.name in PRESETS and spec.source.startswith("none")


def spec_of(name: str) -> ModelSpec:
    """Return the row of a preset, or of the preset that a folder says it is a set of weights for.

    An id of the hub that no row has is told by its files, which must be here.

    Raises:
        RequestError: `name` is neither a preset nor a folder nor an id of the hub.
        WeightsError: the folder does not say what it is.
    """
    folder = Path(name)
    if name in PRESETS or not name or "\0" in name:
        return get_preset(name)
    if not folder.is_dir():
        hub = hub_id(name)
        if hub is None:
            return get_preset(name)
        row = row_of(hub.repo)
        return replace(spec_of(str(_of_hub(hub))) if row is None else row, name=name)
    wan = _wan_in(folder)
    if wan is not None:
        return replace(PRESETS[wan], name=name)
    preset, defaults = _told_by(folder)
    return replace(PRESETS[preset], name=name, **defaults)


def _wan_in(folder: Path) -> str | None:
    """Return the row that a folder of open weights is of; None if it is no such folder."""
    if (folder / MODEL).exists():
        return None
    found = find_wan(folder)
    if found is None or (found.layout == "wan" and "vae" not in found.files):
        return None
    from kineograph.weights.wan import recognise

    rows = {name: spec for name, spec in PRESETS.items() if spec.hub}
    return recognise(found, rows)


def _told_by(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the preset that a folder says it is of, and the defaults that it has of its own."""
    path = folder / MODEL
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_MODEL_BYTES)
    except FileNotFoundError:
        if folder.resolve().name in PRESETS:
            return folder.resolve().name, {}
        raise WeightsError(
            f'{folder} is no model: it lacks {MODEL}, such as {{"preset": "nano"}}'
        ) from None
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        told = json.loads(raw)
        name, defaults = told["preset"], dict(told.get("defaults", {}))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(f'{path} must hold JSON such as {{"preset": "nano"}}') from None
    if not isinstance(name, str) or name not in PRESETS:
        raise WeightsError(
            f"{path} names the preset {shown(name)}; available: {', '.join(sorted(PRESETS))}"
        )
    for field in defaults:
        if field not in DEFAULTS:
            allowed = ", ".join(DEFAULTS)
            raise WeightsError(f"{path} has a default {shown(field)}; allowed: {allowed}")
    try:
        request = GenerationRequest.from_dict({"prompt": "any", **defaults})
        check_ranges(request)
    except RequestError as error:
        raise WeightsError(f"{path} has an unusable default: {error}") from None
    values = {field: getattr(request, field) for field in defaults}
    for field, value in values.items():
        if value is None:
            raise WeightsError(f"{path} has an unusable default: {field} is null")
    return name, values


def package_folder() -> Path:
    """Return the folder of the models that are shipped."""
    return Path(str(files("kineograph"))) / "assets"


def locate(name: str) -> Path:
    """Return the folder of a model's files.

    Raises:
        RequestError: `name` is neither a preset nor a folder nor an id of the hub.
        WeightsError: no folder holds the preset's files, or the one in the hub's cache lacks some.
    """
    if name not in PRESETS:
        hub = None if Path(name).is_dir() else hub_id(name)
        if hub is not None:
            return _of_hub(hub)
        spec_of(name)
        return Path(name)
    spec = PRESETS[name]
    tried = _places()
    names = [name, *(hub.rsplit("/", 1)[-1] for hub in spec.hub)]
    wanted = TOKENIZER if is_random(spec) else WEIGHTS["dit"]
    for folder in (folder / name for folder in tried for name in names):
        if (folder / wanted).exists() or (spec.hub and find_wan(folder)):
            return folder
    found = _cached(spec)
    if found is not None:
        return found
    published = f"; published as {' and '.join(spec.hub)}" if spec.hub else ""
    how = f"; fetch them with: kineo download {name}" if spec.hub else ""
    raise WeightsError(
        f"the weights of {name} ({spec.source}) are not here; looked in "
        f"{', '.join(str(folder / name) for folder in tried)} (more folders: "
        f"{MODELS_VARIABLE}{published}){how}"
    )


def _cached(spec: ModelSpec) -> Path | None:
    """Return a row's folder in the hub's cache, in whichever layout is whole."""
    incomplete = []
    for hub in map(HubId, spec.hub):
        try:
            folder = whole_snapshot(hub, spec)
        except WeightsError as error:
            incomplete.append(error)
        else:
            if folder is not None:
                return folder
    if incomplete:
        raise incomplete[0]
    return None


def _places() -> list[Path]:
    """Return the folders that models are looked for in, before the hub's cache."""
    named = [Path(p) for p in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if p]
    return [*named, package_folder()]


def _of_hub(hub: HubId) -> Path:
    """Return the folder of an id of the hub; a `WeightsError` says how to fetch it."""
    if hub.revision == MAIN:
        for folder in (place / hub.repo.rsplit("/", 1)[-1] for place in _places()):
            if find_wan(folder):
                return folder
    found = whole_snapshot(hub, row_of(hub.repo))
    if found is None:
        raise WeightsError(
            f"{hub} is neither a folder nor in the hub's cache, {cache_of_hub()}; if it is an id "
            f"of the hub, fetch it with: kineo download {hub}"
        )
    return found


@dataclass(frozen=True)
class Entry:
    """A row of the inventory: a preset and what is here of it."""

    spec: ModelSpec
    folder: Path | None  # None where the weights are missing
    parameters: int  # of open weights those of the transformers
    bytes: int


def inventory() -> list[Entry]:
    """Return what is here of every preset, read from the heads of its files; needs no torch."""
    return [_entry(spec) for spec in PRESETS.values()]


def _entry(spec: ModelSpec) -> Entry:
    if is_random(spec):
        return Entry(spec, locate(spec.name), 0, 0)
    try:
        folder = locate(spec.name)
    except WeightsError:
        return Entry(spec, None, 0, 0)
    found = find_wan(folder) if spec.hub else None
    if found is not None:
        size = sum(path.stat().st_size for paths in found.files.values() for path in paths)
        told = (part_tensors(found.files.get(kind, ())) for kind in ("dit", "low_dit"))
        numbers = sum(prod(info.shape) for part in told for _, info in part.values())
        return Entry(spec, folder, numbers, size)
    headers = _headers(folder).values()
    return Entry(spec, folder, sum(h.parameters for h in headers), sum(h.bytes for h in headers))


def _headers(folder: Path) -> dict[str, Header]:
    return {
        kind: read_header(folder / name, kind)
        for kind, name in WEIGHTS.items()
        if kind not in OPTIONAL or (folder / name).exists()
    }


def open_parts(name: str, dtype: torch.dtype | None = None) -> Parts:
    """Build every part of a model, floats in `dtype` (float32).

    Raises:
        RequestError: `name` is neither a preset nor a folder.
        WeightsError: files are missing, damaged, or do not fit together.
    """
    import torch

    from kineograph.weights.files import build

    spec, folder = spec_of(name), locate(name)
    if spec.hub:
        return _open_wan(spec, folder, torch.float32 if dtype is None else dtype)
    tokenizer = folder / TOKENIZER
    if not tokenizer.is_file():
        raise WeightsError(f"{tokenizer} is missing")
    dtype = torch.float32 if dtype is None else dtype
    if is_random(spec):
        modules = random_parts(spec)
        modules = {kind: module.to(dtype) for kind, module in modules.items()}
        return Parts(spec, modules, tokenizer, {TOKENIZER: sha256(tokenizer)})
    headers = _headers(folder)
    spec = _fitted(spec, folder, {kind: header.config for kind, header in headers.items()})
    modules = {kind: build(kind, folder / WEIGHTS[kind], dtype) for kind in headers}
    paths = [tokenizer, *(folder / WEIGHTS[kind] for kind in headers)]
    return Parts(spec, modules, tokenizer, {path.name: sha256(path) for path in paths})


def _open_wan(spec: ModelSpec, folder: Path, dtype: torch.dtype) -> Parts:
    from kineograph.weights.wan import open_wan

    found = find_wan(folder)
    if found is None:
        raise WeightsError(f"{folder} holds no weights of {spec.name} in a layout that is known")
    if found.tokenizer is None:
        raise WeightsError(f"{folder} holds no tokenizer.json of UMT5")
    modules, files = open_wan(spec, found, dtype)
    hashes = {str(path.relative_to(folder)): sha256(path) for path in (found.tokenizer, *files)}
    return Parts(spec, modules, found.tokenizer, hashes)


def _fitted(spec: ModelSpec, folder: Path, configs: Mapping[str, Any]) -> ModelSpec:
    """Return the row with the configs of its files, after checking that these fit together."""
    fitted = replace(spec, **configs)
    vae, dit, text = fitted.vae, fitted.dit, fitted.text
    pairs: list[tuple[str, Any, str, Any]] = [
        ("vae z_dim", vae.z_dim, "dit in_channels", dit.in_channels),
        ("vae z_dim", vae.z_dim, "dit out_channels", dit.out_channels),
        ("text dim", text.dim, "dit text_dim", dit.text_dim),
        ("dit num_controls", dit.num_controls, spec.name, len(spec.controls)),
        # Requests are planned from the row before any file is read.
        ("vae temporal stride", vae.temporal_stride, spec.name, spec.vae.temporal_stride),
        ("vae spatial stride", vae.spatial_stride, spec.name, spec.vae.spatial_stride),
    ]
    if spec.upsampler is not None and fitted.upsampler is not None:
        scale = spec.upsampler.scale
        pairs.append(("upsampler scale", fitted.upsampler.scale, spec.name, scale))
    for name, value, other, wanted in pairs:
        if value != wanted:
            clash = f"{name} is {value}, {other} has {wanted}"
            raise WeightsError(f"the files in {folder} do not fit together: {clash}")
    return fitted


def random_parts(spec: ModelSpec, seed: int = RANDOM_SEED) -> dict[str, nn.Module]:
    """Return a model's parts with weights drawn from `seed`, the same wherever it is called.

    What training starts at zero is drawn too: in a test no part of the stack may be silent.
    """
    import torch

    from kineograph.weights.files import skeleton

    generator = torch.Generator().manual_seed(seed)
    modules: dict[str, nn.Module] = {}
    for kind, config in (
        ("vae", spec.vae), ("dit", spec.dit), ("text", spec.text), ("upsampler", spec.upsampler),
        ("interpolator", spec.interpolator),
    ):  # fmt: skip
        if config is None:
            continue
        module = skeleton(kind, config, "cpu")
        initialise: Any = module.init_weights
        initialise(generator)
        with torch.no_grad():
            for parameter in module.parameters():
                if not parameter.any() and parameter.ndim > 1:
                    parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        modules[kind] = module.eval().requires_grad_(False)
    return modules
