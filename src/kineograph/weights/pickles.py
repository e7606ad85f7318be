"""The pickles among Wan's original files, read without running them, and kept as safetensors.

A pickle can run any program. These hold tensors alone, so that torch's restricted reader, which
knows nothing else, is enough; what it refuses is refused here. A file is converted once: the copy
lies in the cache, named by the file's own hash, and is mapped rather than read.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from kineograph.errors import WeightsError
from kineograph.weights.files import save_tensors
from kineograph.weights.header import cache_folder, sha256, shown


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pth` file, mapped.

    Raises `WeightsError` for a damaged file, and for one that holds anything but named tensors:
    nothing of it has been run then.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise WeightsError(f"{path} is truncated or no file of torch")
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        why = shown((str(error).strip().splitlines() or ["it is no pickle"])[0])
        raise WeightsError(f"{path} is refused: it holds more than tensors ({why})") from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is truncated or damaged: {shown(str(error))}") from None
    if not isinstance(data, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in data.items()
    ):
        raise WeightsError(f"{path} is refused: it holds more than named tensors")
    return data


def converted(path: Path) -> Path:
    """Return a safetensors file with the same tensors under the same names, made if need be."""
    folder, digest = cache_folder() / "converted", sha256(path)
    copy = folder / f"{path.stem}-{digest[:16]}.safetensors"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(copy, read_pickle(path), {"format": "pt", "source": digest})
    return copy
