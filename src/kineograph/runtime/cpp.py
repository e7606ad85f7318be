"""C++ of our own, compiled once a machine and kept in the cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.weights.header import cache_folder

FLAGS = {
    16: ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
    8: ("-mavx2", "-mfma"),
}
COMMON = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math",
          "-Wno-psabi")  # fmt: skip
Given = Tensor | float | int | None


def lanes() -> int:
    """Return how many floats this processor computes at once; 0 where it is not known how."""
    able = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": 16, "AVX2": 8}.get(able, 0)


def available() -> bool:
    """Return whether there are a compiler and a processor for it."""
    return lanes() > 0 and _compiler() is not None


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "g++"))


@cache
def functions_of(package: str, name: str) -> ctypes.CDLL | None:
    """Return the functions of a package's C++ file, which may include `vectors.h`.

    None where they cannot be compiled: it is for who can do without.
    """
    vectors, text = (
        resources.files(where).joinpath(file).read_text("utf-8")
        for where, file in ((__package__, "vectors.h"), (package, f"{name}.cpp"))
    )
    given = text.replace('#include "vectors.h"\n', vectors)
    try:
        return library(name, name, f"#define LANES {lanes()}\n{given}")
    except RequestError:
        return None


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


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of a process: one that was forked has none of its parent's."""
    return ThreadPoolExecutor(threads)


def _raw(value: Given) -> Any:  # noqa: ANN401 - what ctypes takes
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if value is None:
        return ctypes.c_void_p(0)
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_long(value)


def _parts(count: int, unit: int) -> list[tuple[int, int]]:
    """Cut rows into a part a thread, each of whole units."""
    threads = torch.get_num_threads()
    each = max(unit, -(-count // (threads * unit)) * unit)
    return [(first, min(first + each, count)) for first in range(0, count, each)]


def run_rows(
    call: Callable[..., None], count: int, before: tuple[Given, ...], after: tuple[Given, ...],
    sums: Sequence[Tensor] = (), unit: int = 1,
) -> None:  # fmt: skip
    """Call a C++ function on `count` rows by torch's number of threads.

    Its arguments are `before`, the first and last row, `after`, and `sums`, which it adds to:
    each part by itself, since rows of two parts may share one.
    """
    parts = _parts(count, unit)
    own = [sums, *([torch.zeros_like(s) for s in sums] for _ in parts[1:])]
    jobs = [
        partial(call, *map(_raw, (*before, first, last, *after, *mine)))
        for (first, last), mine in zip(parts, own, strict=True)
    ]
    if len(jobs) == 1:
        jobs[0]()
    else:
        list(_pool(len(jobs), os.getpid()).map(lambda job: job(), jobs))
    for others in own[1:]:
        for mine, other in zip(sums, others, strict=True):
            mine.add_(other)
