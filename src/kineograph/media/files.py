"""Files that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from kineograph.errors import RequestError


class PendingFile:
    """A file or a folder that is being written beside the path it will have.

    Write to `temporary`, then call `commit()`, or `discard()` to leave no trace.
    A symbolic link is followed: what it points at is replaced, not the link.

    Raises:
        RequestError: the folder is missing, or the path is a device or a pipe.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.target = resolve_output(path)
        # A short name of our own: the final name may already be as long as names may be.
        self.temporary = self.target.parent / f".kineo-{secrets.token_hex(8)}.tmp"

    def commit(self) -> None:
        """Give the finished file its name, replacing what had it."""
        os.replace(self.temporary, self.target)  # noqa: PTH105 (Path.replace would do the same)

    def discard(self) -> None:
        """Remove what was written so far."""
        if self.temporary.is_dir():
            shutil.rmtree(self.temporary, ignore_errors=True)
        else:
            self.temporary.unlink(missing_ok=True)


def resolve_output(path: str | Path) -> Path:
    """Return the absolute path to write, with links followed.

    Raises:
        RequestError: the path is empty, its folder is missing, or it names something that
            is neither a file nor a folder (a device, a pipe), which a rename would destroy.
    """
    if not str(path) or "\0" in str(path):
        raise RequestError(f"cannot write {str(path)!r}: not a file name")
    with refuse_os_errors(path):
        try:
            target = Path(path).resolve()
        except RuntimeError as error:  # how Python 3.11 reports a loop of links
            raise RequestError(f"cannot write {path}: a loop of symbolic links") from error
        if not target.parent.exists():
            raise RequestError(f"cannot write {path}: there is no folder {target.parent}")
        if not target.parent.is_dir():
            raise RequestError(f"cannot write {path}: {target.parent} is not a folder")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise RequestError(f"cannot write {path}: it is neither a file nor a folder")
    return target


@contextmanager
def refuse_os_errors(path: str | Path, action: str = "write") -> Iterator[None]:
    """Turn the system's refusals (full disk, no permission) into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"cannot {action} {path}: {error.strerror or error}") from error


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces `path` when the block ends without an exception.

    Readers see the old content or the new one, never a part; on any exception, an
    interrupt included, `path` stays as it was and nothing is left beside it.

    Raises:
        RequestError: the folder is missing, `path` is a folder, or the system refuses.
    """
    pending = PendingFile(path)
    try:
        with refuse_os_errors(path):
            if pending.target.is_dir():
                raise RequestError(f"cannot write {path}: it is a folder")
            with pending.temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # after a power cut a renamed file must not be empty
            pending.commit()
    except BaseException:
        pending.discard()
        raise


def write_json(path: str | Path, obj: Any) -> None:  # noqa: ANN401 (whatever json accepts)
    """Write `obj` as readable JSON (UTF-8, not escaped, keys in the order given), atomically.

    Raises:
        RequestError: see `atomic_write`.
        ValueError: a number is NaN or infinite, which JSON has no word for.
        TypeError: `obj` holds something that JSON cannot.
    """
    text = json.dumps(obj, ensure_ascii=False, indent=2, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")
