"""Fetching a model from the Hugging Face hub into its cache, or into a folder.

The hub's own library speaks to the hub; the bytes are kept as they come, so that what was
interrupted goes on where it was. A file gets its name when it is known to have the hash that the
hub tells of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from kineograph.errors import HubError, KineographError, RequestError, WeightsError
from kineograph.weights.header import know_sha256, sha256, shown
from kineograph.weights.hub import COMMIT, HubId, home, kinds, row_of, which
from kineograph.weights.layouts import MAX_INDEX_BYTES, choose

MB = 10**6
READ = 4 << 20  # bytes that are hashed at once
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Told:
    """What `download` tells while it works: megabytes, or a message to the user."""

    stage: str  # fetch (MB), or warning
    done: int = 0
    total: int = 0
    message: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub tells of it."""

    name: str  # its path in the model's folder
    size: int  # bytes
    sha256: str | None  # of a large file
    blob: str  # git's hash of a small one

    @property
    def digest(self) -> str:
        """What names the file's contents in the hub's cache."""
        return self.sha256 or self.blob

    def is_in(self, path: Path) -> bool:
        """Return whether a file on disk has these contents, every byte of them."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return sha256(path) == self.sha256
        return _git_hash(path, self.size) == self.blob


def download(
    model: str,
    *,
    layout: str | None = None,
    revision: str | None = None,
    to: Path | None = None,
    on_event: Callable[[Told], None] = lambda told: None,
) -> Path:
    """Fetch the files that a model is opened from, and no others; return their folder.

    Args:
        model: a row of the table that is published on the hub, or an id of the hub.
        layout: of LAYOUTS, for a row; by default the original one.
        revision: branch, tag or commit; by default `main`, or what the id names behind its @.
        to: a folder for the files; by default they go into the hub's cache.
        on_event: is told megabytes, and what a user must know.

    What is there already is checked and kept; a file that was begun goes on where it was.

    Raises:
        RequestError: the model is unknown, here or to the hub, or the disk has no room for it.
        WeightsError: the model lacks files, or what was fetched is not what the hub tells.
        HubError: the hub cannot be reached, or fails.
    """
    hub = which(model, layout, revision)
    with _explained(hub), _quiet():
        commit, there = _listing(hub)

        def read(index: Path) -> bytes:
            return _small(hub, commit, there[index.as_posix()])

        choice = choose(there.keys(), kinds(row_of(hub.repo)), read)
        if choice.missing:
            raise WeightsError(
                f"{hub} has no {' and no '.join(choice.missing)}: its layout is not known"
            )
        store = _Store(to, None) if to is not None else _Store(
            home(hub) / "snapshots" / commit, home(hub) / "blobs"
        )  # fmt: skip
        # Small ones first: they tell what is missing of the others.
        files = sorted((there[name] for name in choice.files), key=lambda file: file.size)
        with store.named(home(hub) / "refs" / hub.revision, commit):
            _fetch_all(hub, commit, files, store, on_event)
    return store.root


@dataclass(frozen=True)
class _Store:
    """Where fetched files go: a plain folder, or a snapshot whose links lead to `blobs`."""

    root: Path
    blobs: Path | None

    def path(self, file: RemoteFile) -> Path:
        return self.root / file.name

    def part(self, file: RemoteFile) -> Path:
        """Return where a file is kept until all of it is there."""
        path = self.path(file) if self.blobs is None else self.blobs / file.digest
        return path.with_name(path.name + ".part")

    def has(self, file: RemoteFile, on_event: Callable[[Told], None]) -> bool:
        """Return whether a file is there; what only seems to be it is removed from the cache."""
        path = self.path(file)
        blob = None if self.blobs is None else self.blobs / file.digest
        if blob is not None and not path.exists() and file.is_in(blob):
            self._link(blob, path)  # another revision has it
        if file.is_in(path):
            return True
        if path.exists():
            message = f"{path} is not what the hub tells of it and is fetched again"
            on_event(Told("warning", message=message))
            for bad in () if blob is None else (blob, path):
                bad.unlink(missing_ok=True)
        return False

    def put(self, file: RemoteFile) -> None:
        """Give a whole file its name."""
        path, part = self.path(file), self.part(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.blobs is None:
            part.replace(path)
        else:
            self._link(part.replace(self.blobs / file.digest), path)
        if file.sha256 is not None:
            know_sha256(path, file.sha256)

    def _link(self, blob: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a link that leads nowhere
        try:
            path.symlink_to(os.path.relpath(blob, path.parent))
        except OSError:  # a system without links: the hub's library does the same
            blob.replace(path)

    @contextmanager
    def named(self, ref: Path, commit: str) -> Iterator[None]:
        """Let a revision of the cache mean this snapshot once it is whole.

        Where it meant none before it does so at once, so that what is missing can be named.
        """
        if self.blobs is None or COMMIT.fullmatch(ref.name):
            yield
            return
        ref.parent.mkdir(parents=True, exist_ok=True)
        if not ref.exists():
            ref.write_text(commit)
        yield
        ref.write_text(commit)


def _listing(hub: HubId) -> tuple[str, dict[str, RemoteFile]]:
    """Return the commit that a revision means and its files, as the hub tells."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(hub.repo, revision=hub.revision, files_metadata=True, timeout=30)
    files = {}
    for each in info.siblings or []:
        path, lfs = PurePosixPath(each.rfilename), each.lfs
        file = RemoteFile(
            each.rfilename, int(each.size or 0), lfs.sha256 if lfs else None, each.blob_id or ""
        )
        # What decides where bytes are written is not taken on trust.
        form = COMMIT if file.sha256 is None else DIGEST
        if not path.is_absolute() and ".." not in path.parts and form.fullmatch(file.digest):
            files[file.name] = file
    if info.sha is None or not COMMIT.fullmatch(info.sha):
        raise HubError(f"the hub names no commit of {hub}, but {shown(info.sha)}")
    return info.sha, files


def _fetch_all(
    hub: HubId,
    commit: str,
    files: list[RemoteFile],
    store: _Store,
    on_event: Callable[[Told], None],
) -> None:
    left = [file for file in files if not store.has(file, on_event)]
    begun = {file: _size(store.part(file)) for file in left}
    todo = sum(file.size for file in left) - sum(begun.values())
    folder = next(path for path in (store.root, *store.root.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    size = sum(file.size for file in files)
    on_event(Told("fetch", message=(
        f"{hub} ({commit[:12]}): {len(files)} files, {size / 1e9:.2f} GB, of which "
        f"{todo / 1e9:.2f} GB are to be fetched; {folder} has {free / 1e9:.2f} GB free"
    )))  # fmt: skip
    if todo > free:
        raise RequestError(
            f"{hub} needs {todo / 1e9:.2f} GB more and {folder} has {free / 1e9:.2f} GB free; "
            "--to names another folder, HF_HOME another cache"
        )
    done = 0

    def count(new: int) -> None:
        nonlocal done
        done += new
        on_event(Told("fetch", min(done, todo) // MB, todo // MB))

    for file in left:
        _fetch(hub, commit, file, store, count)


def _fetch(
    hub: HubId, commit: str, file: RemoteFile, store: _Store, count: Callable[[int], None]
) -> None:
    """Fetch a file, or the rest of it, and put it where it belongs once it is known to be it."""
    part = store.part(file)
    part.parent.mkdir(parents=True, exist_ok=True)
    have = _size(part)
    if have > file.size:
        part.unlink()
        have = 0
    with part.open("ab") as out, _alone(out, part):
        if have < file.size:
            _get(hub, commit, file, _Counted(out, count), have)
    if not file.is_in(part):
        part.unlink()
        raise WeightsError(
            f"{file.name} of {hub} is not what the hub tells of it (hash {file.digest[:12]}...): "
            "what came was deleted; fetch it again with the same command"
        )
    store.put(file)


@contextmanager
def _alone(out: BinaryIO, part: Path) -> Iterator[None]:
    """Hold a file that is being fetched against other processes, where the system can."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RequestError(f"{part} is being fetched by another process") from None
    yield


class _Counted:
    """A file that is written to, as the hub's library does it, and that tells how much."""

    def __init__(self, file: BinaryIO, count: Callable[[int], None]) -> None:
        self.file, self.count = file, count
        self.seek, self.tell = file.seek, file.tell

    def write(self, data: bytes) -> int:
        self.count(len(data))
        return self.file.write(data)

    def truncate(self) -> int:
        """Cut the file off here: the hub begins anew."""
        self.file.flush()
        end, here = self.file.seek(0, os.SEEK_END), self.file.seek(0)
        self.count(here - end)
        return self.file.truncate()


def _get(hub: HubId, commit: str, file: RemoteFile, out: Any, have: int) -> None:  # noqa: ANN401 - file-like
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(hub.repo, file.name, revision=commit)
    headers = build_hf_headers(library_name="kineograph")
    http_get(url, out, resume_size=have, headers=headers, expected_size=file.size)


def _small(hub: HubId, commit: str, file: RemoteFile) -> bytes:
    """Return the contents of an index."""
    from io import BytesIO

    if file.size > MAX_INDEX_BYTES:
        raise WeightsError(
            f"{file.name} of {hub} has {file.size} bytes; allowed: {MAX_INDEX_BYTES}"
        )
    out = BytesIO()
    _get(hub, commit, file, out, 0)
    return out.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's library from showing bars and warnings of its own."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    level = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    disable_progress_bars("huggingface_hub.http_get")
    try:
        yield
    finally:
        logging.set_verbosity(level)
        enable_progress_bars("huggingface_hub.http_get")


@contextmanager
def _explained(hub: HubId) -> Iterator[None]:
    """Say in one line what the hub's library raises."""
    from huggingface_hub import constants, errors

    try:
        yield
    except KineographError:
        raise
    except errors.GatedRepoError:
        raise RequestError(
            f"{hub} is for those who accepted its terms at {constants.ENDPOINT}/{hub.repo}; then "
            "give your token in HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise RequestError(f"{hub.repo} has no revision {hub.revision!r}") from None
    except errors.RepositoryNotFoundError:
        raise RequestError(
            f"the hub has no model {hub.repo}, or keeps it for those whose token (HF_TOKEN) says so"
        ) from None
    except errors.HFValidationError as error:
        raise RequestError(f"{hub} is no id of the hub: {shown(str(error))}") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise RequestError(f"the hub refuses {hub} to this token (HF_TOKEN)") from None
        raise HubError(f"the hub failed at {hub} with status {status}; try again later") from None
    except errors.OfflineModeIsEnabled:
        raise HubError(f"cannot fetch {hub}: HF_HUB_OFFLINE keeps from the network") from None
    except (errors.HTTPError, TimeoutError, ConnectionError) as error:  # type: ignore[attr-defined]
        why = shown(str(error) or type(error).__name__)
        raise HubError(f"the hub at {constants.ENDPOINT} cannot be reached: {why}") from None
    except OSError as error:
        if error.errno is not None:  # the disk's: it is named by who catches it
            raise
        raise HubError(f"{hub} was cut off: {shown(str(error))}") from None


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _git_hash(path: Path, size: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(READ):
            digest.update(data)
    return digest.hexdigest()
