"""A worker's folder for what is in its hands: nobody else's, and swept when its owner is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX, LOCK = "kineo-worker-", "lock"


class Scratch:
    """A new folder, held by a lock that ends with the process however it ends."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        new = self.path / f".{LOCK}"
        self._held = os.open(new, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        new.rename(self.path / LOCK)  # from here on it can be told whether somebody holds it

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def sweep() -> None:
    """Remove the folders of workers that were killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # another one's, held, or swept by another one
            number = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(number)
