"""C++ of our own, compiled once a machine and kept in the cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from contextlib import suppress

import torch

from kineograph.errors import RequestError
from kineograph.weights.header import cache_folder

FLAGS = {
    16: ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
    8: ("-mavx2", "-mfma"),
}
COMMON = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math",
          "-Wno-psabi")  # fmt: skip


def lanes() -> int:
    """Return how many floats this processor computes at once; 0 where it is not known how."""
    able = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": 16, "AVX2": 8}.get(able, 0)


def available() -> bool:
    """Return whether there are a compiler and a processor for it."""
    return lanes() > 0 and _compiler() is not None


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


def library(what: str, name: str, text: str, *more: str) -> ctypes.CDLL:
    """Return C++ text compiled for this processor with the flags `more`, too.

    `what` is told in errors, `name` begins the file's.

    Raises `RequestError` where there is no compiler, or it fails.
    """
    width, compiler = lanes(), _compiler()
    if not width or compiler is None:
        raise RequestError(f"{what} needs a C++ compiler and a processor with AVX2")
    flags = [*COMMON, *FLAGS[width], *more]
    mark = hashlib.sha256(repr((torch.__version__, compiler, flags, text)).encode()).hexdigest()
    path = cache_folder() / "native" / f"{name}-{mark[:16]}.so"
    made, given = (path.with_name(f".{path.name}.{os.getpid()}{end}") for end in ("", ".cpp"))
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            given.write_text(text, "utf-8")
            command = [compiler, str(given), "-o", str(made), *flags]
            subprocess.run(command, check=True, capture_output=True, text=True)
            made.replace(path)
        except subprocess.CalledProcessError as error:
            raise RequestError(f"{compiler} failed: {error.stderr[-800:]}") from error
        except OSError as error:
            raise RequestError(f"{what} cannot be kept in {path}: {error}") from error
        finally:
            with suppress(OSError):
                given.unlink(missing_ok=True)
                made.unlink(missing_ok=True)
    return ctypes.CDLL(str(path))
