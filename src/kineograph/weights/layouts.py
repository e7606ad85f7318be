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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kineograph.errors import WeightsError
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
MAX_INDEX_BYTES = 16 << 20


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
    if (folder / "model_index.json").is_file():
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
    try:
        with indexes[0].open("rb") as file:
            names = set(json.loads(file.read(MAX_INDEX_BYTES))["weight_map"].values())
        if not all(isinstance(n, str) and n == Path(n).name for n in names):
            raise ValueError("a file's name leads elsewhere")
    except OSError as error:
        raise WeightsError(f"cannot read {indexes[0]}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{indexes[0]} is damaged: {shown(str(error))}") from None
    for name in sorted(names):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name} is missing; {indexes[0].name} names it")
    return tuple(folder / name for name in sorted(names))


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
