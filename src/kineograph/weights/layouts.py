"""Folders of the open Wan weights: which files hold which part, in either layout; needs no torch.

The original layout (Wan-Video/Wan2.1 and 2.2):

    diffusion_pytorch_model*.safetensors       or high_noise_model/ and low_noise_model/
    Wan2.1_VAE.pth  models_t5_umt5-xxl-enc-bf16.pth  models_clip_open-clip-...-14.pth
    google/umt5-xxl/tokenizer.json

That of diffusers:

    model_index.json  transformer/  transformer_2/  vae/  text_encoder/  image_encoder/  tokenizer/
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from kineograph.errors import WeightsError
from kineograph.spec import AnyConfig, ModelSpec
from kineograph.weights.header import TensorInfo, read_tensors, shown

Layout = Literal["wan", "diffusers"]
PICKLES = {
    "vae": "Wan*_VAE.pth",
    "text": "models_t5_umt5-xxl-enc-*.pth",
    "image": "models_clip_open-clip-*.pth",
}
FOLDERS = {
    "dit": "transformer",
    "low_dit": "transformer_2",
    "vae": "vae",
    "text": "text_encoder",
    "image": "image_encoder",
}
EXPERTS = {"dit": "high_noise_model", "low_dit": "low_noise_model"}
TOKENIZERS = ("google/umt5-xxl/tokenizer.json", "tokenizer/tokenizer.json", "tokenizer.json")
INDEX = "model_index.json"  # of a folder of diffusers'
MAX_INDEX_BYTES = 16 << 20
SHARD = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")
MAX_SHARDS = 1000


@dataclass(frozen=True)
class WanFolder:
    """A folder of open weights: its layout and the files of each part, as far as they are there."""

    path: Path
    layout: Layout
    files: dict[str, tuple[Path, ...]]  # by kind of part; a pickle stands alone
    tokenizer: Path | None

    @property
    def experts(self) -> int:
        return 2 if "low_dit" in self.files else 1


def find_wan(folder: Path) -> WanFolder | None:
    """Return what a folder holds, or None where it is in neither layout.

    Raises `WeightsError` where an index names a file that is not there.
    """
    if (folder / INDEX).is_file():
        files = {
            kind: shards(folder / name)
            for kind, name in FOLDERS.items()
            if (folder / name).is_dir()
        }
        layout: Layout = "diffusers"
    else:
        layout, files = "wan", {}
        for kind, name in EXPERTS.items():
            if (folder / name).is_dir():
                files[kind] = shards(folder / name)
        if not files and folder.is_dir():
            files["dit"] = shards(folder)
        for kind, pattern in PICKLES.items():
            found = sorted(folder.glob(pattern))
            if found:
                files[kind] = (found[0],)
    files = {kind: paths for kind, paths in files.items() if paths}
    if "dit" not in files:
        return None
    tokenizer = next((folder / n for n in TOKENIZERS if (folder / n).is_file()), None)
    return WanFolder(folder, layout, files, tokenizer)


def shards(folder: Path) -> tuple[Path, ...]:
    """Return the safetensors files of a part: those that its index names, or the only one."""
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if not indexes:
        return tuple(sorted(folder.glob("*.safetensors")))
    names = _named_by(indexes[0], read_index)
    for name in names:
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name} is missing; {indexes[0].name} names it")
    return tuple(folder / name for name in names)


def read_index(path: Path) -> bytes:
    """Return an index file, or its beginning where it is too long to be one."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_INDEX_BYTES)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None


def _named_by(index: Path, read: Callable[[Path], bytes]) -> list[str]:
    """Return the names of the files that an index tells of, in order."""
    try:
        names = set(json.loads(read(index))["weight_map"].values())
        if not all(isinstance(n, str) and n == Path(n).name for n in names):
            raise ValueError("a file's name leads elsewhere")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index} is damaged: {shown(str(error))}") from None
    return sorted(names)


@dataclass(frozen=True)
class Choice:
    """Of a list of files those that a model is opened from, and what the list lacks of them."""

    files: tuple[str, ...]
    missing: tuple[str, ...]  # names, or patterns of names where nothing like them is there


def choose(
    names: Collection[str], kinds: Collection[str] | None, read: Callable[[Path], bytes]
) -> Choice:
    """Choose the files of a model from those of a folder, here or elsewhere.

    Args:
        names: paths in the folder, with slashes.
        kinds: of its parts (`configs_of`); None: those that seem to be there.
        read: what returns an index file among them.

    Raises:
        WeightsError: an index is damaged.
    """
    diffusers = INDEX in names or any(n.startswith("transformer/") for n in names)
    kinds = _kinds_in(names, diffusers) if kinds is None else kinds
    files: list[str] = []
    missing: list[str] = []

    def want(name: str) -> None:
        (files if name in names else missing).append(name)

    def want_part(folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        here = sorted(n for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :])
        indexes = [n for n in here if n.endswith(".safetensors.index.json")]
        if indexes:
            files.append(indexes[0])
            for name in _named_by(Path(indexes[0]), read):
                want(prefix + name)
            return
        found = [n for n in here if n.endswith(".safetensors")]
        for name in found or [f"{prefix}*.safetensors"]:
            for shard in _all_shards(name):
                want(shard)

    if diffusers:
        want(INDEX)
        for kind in kinds:
            want_part(FOLDERS[kind])
    else:
        for kind in set(kinds) - PICKLES.keys():
            want_part(EXPERTS[kind] if "low_dit" in kinds else "")
        for kind in set(kinds) & PICKLES.keys():
            found = sorted(n for n in names if "/" not in n and fnmatchcase(n, PICKLES[kind]))
            (files if found else missing).append(found[0] if found else PICKLES[kind])
    want(next((n for n in TOKENIZERS if n in names), TOKENIZERS[1 if diffusers else 0]))
    return Choice(tuple(sorted(set(files))), tuple(sorted(set(missing))))


def _all_shards(name: str) -> list[str]:
    """Return the names of all shards that one's name tells of, or the name if it is none."""
    found = SHARD.search(name)
    if found is None or int(found[1]) > MAX_SHARDS:
        return [name]
    start, end = name[: found.start()], name[found.end() - len(".safetensors") :]
    return [f"{start}-{i:05}-of-{found[1]}{end}" for i in range(1, int(found[1]) + 1)]


def _kinds_in(names: Collection[str], diffusers: bool) -> set[str]:
    """Return the kinds of parts that a list of files seems to hold, at least those all have."""
    kinds = {"vae", "dit", "text"}
    folders = FOLDERS if diffusers else EXPERTS
    kinds |= {k for k, f in folders.items() if any(n.startswith(f"{f}/") for n in names)}
    if not diffusers and any(fnmatchcase(n, PICKLES["image"]) for n in names):
        kinds.add("image")
    return kinds


def configs_of(spec: ModelSpec) -> dict[str, AnyConfig]:
    """Return the config of every part that a model of open weights has, by its kind."""
    parts: dict[str, AnyConfig | None] = {
        "vae": spec.vae, "dit": spec.dit, "low_dit": spec.dit if spec.boundary else None,
        "text": spec.text, "image": spec.image,
    }  # fmt: skip
    return {kind: config for kind, config in parts.items() if config is not None}


def part_tensors(paths: tuple[Path, ...]) -> dict[str, tuple[Path, TensorInfo]]:
    """Return every tensor of a part: its file, dtype and shape, read from the heads of files.

    Raises `WeightsError` for a file that is damaged or cut short, and for a name given twice.
    """
    found: dict[str, tuple[Path, TensorInfo]] = {}
    for path in paths:
        for name, tensor in read_tensors(path).items():
            if name in found:
                raise WeightsError(f"{path} holds {shown(name)}, which {found[name][0]} holds too")
            found[name] = (path, tensor)
    return found
