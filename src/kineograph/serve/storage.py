"""Where files of the service lie: a folder, or S3 and its like, through obstore.

Keys are paths such as videos/2026/11/video_x/3/video.mp4. A file is there whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from kineograph.errors import RequestError, shown
from kineograph.serve.refusals import NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 1 << 20  # bytes of a stream at a time
# Of S3. A request that waits is better told soon than served late: clients and workers try again.
PATIENCE: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
LIMITS: ClientConfig = {"connect_timeout": "5s", "timeout": "60s"}
YES = ("1", "true", "yes", "on")


class Storage:
    """Files by key.

    Of S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY come from the
    environment; AWS_ALLOW_HTTP is for a server without TLS.

    Raises:
        RequestError: the address is no folder and no s3:// URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.store: ObjectStore
        if url.startswith("s3://"):
            plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in YES
            limits: ClientConfig = {**LIMITS, "allow_http": plain}  # given ones replace all others
            self.store = S3Store.from_url(url, client_options=limits, retry_config=PATIENCE)
        elif "://" in url:
            raise RequestError(f"storage {shown(url)} is not supported; a folder or s3:// is")
        else:
            self.store = LocalStore(url, mkdir=True)

    def put(self, key: str, source: bytes | Path) -> int:
        """Store a file and return its size in bytes; it outlives a fall of the machine.

        Raises:
            Unavailable: the storage is full or away.
        """
        try:
            obstore.put(self.store, key, source)
            if isinstance(self.store, LocalStore):
                _harden(Path(self.url), key)
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not take {key!r}: {_line(error)}") from error
        return source.stat().st_size if isinstance(source, Path) else len(source)

    def get(self, key: str) -> bytes:
        """Return a file whole.

        Raises:
            NotFound: there is none.
            Unavailable: the storage is away.
        """
        try:
            return obstore.get(self.store, key).bytes().to_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no file {key!r}") from None
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not give {key!r}: {_line(error)}") from error

    def copy(self, source: str, target: str) -> None:
        """Store a file under another key as well; raises as `get`."""
        try:
            obstore.copy(self.store, source, target)
        except FileNotFoundError:
            raise NotFound(f"there is no file {source!r}") from None
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not copy {source!r}: {_line(error)}") from error

    def fetch(self, key: str, target: Path) -> None:
        """Write a file to a path, whole or not at all; raises as `get`."""
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as file:
                for chunk in self.stream(key):
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def size(self, key: str) -> int:
        """Return a file's size in bytes; raises as `get`."""
        try:
            return int(obstore.head(self.store, key)["size"])
        except FileNotFoundError:
            raise NotFound(f"there is no file {key!r}") from None
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not give {key!r}: {_line(error)}") from error

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield a file's bytes from `start` up to and without `end`; raises as `get`."""
        end = self.size(key) if end is None else end
        try:
            while start < end:
                stop = min(start + CHUNK, end)
                yield obstore.get_range(self.store, key, start=start, end=stop).to_bytes()
                start = stop
        except FileNotFoundError:
            raise NotFound(f"there is no file {key!r}") from None
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not give {key!r}: {_line(error)}") from error

    def names(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield each key under a prefix with the time of its last change.

        Raises:
            Unavailable: the storage is away.
        """
        try:
            for batch in obstore.list(self.store, prefix=prefix):
                for found in batch:
                    yield str(found["path"]), found["last_modified"].timestamp()
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not list {prefix!r}: {_line(error)}") from error

    def delete(self, key: str) -> None:
        """Delete a file; one that is not there is not missed."""
        try:
            obstore.delete(self.store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise Unavailable(f"the storage did not delete {key!r}: {_line(error)}") from error


def _harden(root: Path, key: str) -> None:
    """Have the disk hold a file, and the folders that name it, before anything refers to it."""
    path = root / key
    for place in (path, *path.parents):
        number = os.open(place, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
        if place == root:
            return


def _line(error: Exception) -> str:
    return " ".join(str(error).partition("\n\nDebug source")[0].split())[:200]
