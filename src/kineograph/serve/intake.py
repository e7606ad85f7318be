"""Files that come in: each is judged in a process of its own, and laid into the storage."""

from __future__ import annotations

import base64
import binascii
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import insert, select

from kineograph.errors import RequestError
from kineograph.serve import probe, store
from kineograph.serve.access import Identity
from kineograph.serve.database import Database
from kineograph.serve.fetch import FetchError, FetchLimits, fetch
from kineograph.serve.forms import Upload
from kineograph.serve.ids import new_id
from kineograph.serve.refusals import Conflict, Forbidden, NotFound, Refusal
from kineograph.serve.settings import Settings
from kineograph.serve.storage import Storage
from kineograph.serve.submission import MediaRef
from kineograph.serve.tables import COMPLETED, uploads


class Intake:
    """Where the pictures and videos of requests come in."""

    def __init__(
        self, settings: Settings, database: Database, storage: Storage, limits: FetchLimits
    ) -> None:
        self.settings, self.database, self.storage = settings, database, storage
        self.fetch_limits = limits

    def take_in(
        self, who: Identity, id: str, media: Mapping[str, MediaRef], files: Mapping[str, Upload],
        judge: Callable[[Sequence[Path]], None],
    ) -> dict[str, str]:  # fmt: skip
        """Judge the files of a video to be and lay them into the storage; return name to key.

        `judge` raises a `RequestError` where one of its pictures is not allowed.
        """
        taken: dict[str, str] = {}
        try:
            with TemporaryDirectory(prefix="kineo-in-") as folder:
                for key, ref in media.items():
                    name = name_of(key, ref)
                    taken[name] = f"inputs/{id}/{name}"
                    self._lay(who, ref, files, Path(folder), name, taken[name])
                pictures = [name_of(key, ref) for key, ref in media.items() if ref.is_picture]
                for name in pictures:
                    if not (Path(folder) / name).exists():
                        self.storage.fetch(taken[name], Path(folder) / name)
                if pictures:
                    judge([Path(folder) / name for name in pictures])
        except BaseException:
            self.drop(taken)
            raise
        return taken

    def _lay(
        self, who: Identity, ref: MediaRef, files: Mapping[str, Upload], folder: Path,
        name: str, key: str,
    ) -> None:  # fmt: skip
        if ref.source in ("video", "file"):
            try:
                self.storage.copy(self._known(who, ref), key)
            except NotFound as error:
                raise NotFound(f"{ref.name}: {error}", param=ref.name) from None
            return
        raw, clean = folder / f"raw-{name}", folder / name
        if ref.source == "url":
            if not self.settings.fetch_urls:
                raise Forbidden(
                    f"{ref.name}: files are not fetched from URLs here; send the file itself"
                )
            try:
                fetch(ref.value, raw, limits=self.fetch_limits)
            except FetchError as error:
                raise Refusal(f"{ref.name}: {error}", param=ref.name) from None
        elif ref.source == "base64":
            raw.write_bytes(_decoded(ref))
        else:
            with raw.open("wb") as file:
                shutil.copyfileobj(files[ref.value].file, file)
        self.admit(ref, raw, clean)
        self.storage.put(key, clean)

    def admit(self, ref: MediaRef, raw: Path, clean: Path) -> probe.Media:
        """Judge a file in a process of its own and write the clean one."""
        limits = probe.Limits(video_bytes=self.settings.max_upload)
        try:
            return probe.admit(raw, clean, kind="image" if ref.is_picture else "video",
                               limits=limits)  # fmt: skip
        except RequestError as error:
            raise Refusal(f"{ref.name}: {error}", param=ref.name) from None
        finally:
            raw.unlink(missing_ok=True)

    def _known(self, who: Identity, ref: MediaRef) -> str:
        """Return the storage key of an earlier video or upload of the same account."""
        with self.database.read() as connection:
            if ref.source == "video":
                row = store.get(connection, ref.value, who.account_id)
                if row["state"] != COMPLETED or row["output"] is None:
                    raise Conflict(
                        f"video {ref.value!r} is {row['state']}; only a completed one can be used",
                        param=ref.name,
                    )
                key = str(row["output"])
            else:
                found = connection.scalar(
                    select(uploads.c.storage_key).where(
                        uploads.c.id == ref.value, uploads.c.account_id == who.account_id
                    )
                )
                if found is None:
                    raise NotFound(f"there is no upload {ref.value!r}", param=ref.name)
                key = str(found)
        if key.endswith(".png") != ref.is_picture:
            is_, must = ("video", "picture") if ref.is_picture else ("picture", "video")
            raise Refusal(f"{ref.name}: {ref.value!r} is a {is_}; a {must} is needed",
                          param=ref.name)  # fmt: skip
        return key

    def drop(self, inputs: Mapping[str, str]) -> None:
        """Delete files that were laid down for a video that is not to be."""
        for key in inputs.values():
            with suppress(Refusal):
                self.storage.delete(key)

    def upload(self, who: Identity, upload: Upload) -> dict[str, Any]:
        """Keep a picture or a video for later requests; return what is told of it."""
        who.require("videos:write")
        id, now = new_id("file"), time.time()
        picture = (upload.content_type or "").startswith("image/")
        ref = MediaRef("image" if picture else "video", "upload", upload.name, upload.name)
        with TemporaryDirectory(prefix="kineo-in-") as folder:
            raw, clean = Path(folder) / "raw", Path(folder) / "clean"
            with raw.open("wb") as file:
                shutil.copyfileobj(upload.file, file)
            media = self.admit(ref, raw, clean)
            key = f"uploads/{id}.{'png' if media.kind == 'image' else 'mp4'}"
            size = self.storage.put(key, clean)
        told: dict[str, Any] = {
            "id": id, "object": "file", "bytes": size, "created_at": int(now),
            "filename": upload.filename, "kind": media.kind, "width": media.width,
            "height": media.height, "seconds": media.duration,
            "expires_at": int(now + 3600 * self.settings.keep_input_hours),
        }  # fmt: skip
        with self.database.write() as connection:
            connection.execute(
                insert(uploads).values(
                    id=id, account_id=who.account_id, storage_key=key, kind=media.kind,
                    told=json.dumps(told), created_at=now, expires_at=float(told["expires_at"]),
                )
            )  # fmt: skip
        return told


def name_of(key: str, ref: MediaRef) -> str:
    """Return the name by which a request calls a file that came with it, in a job's folder."""
    ending = ".png" if ref.is_picture else ".mp4"
    return f"input-{key.replace('.', '-')}{ending}"


def _decoded(ref: MediaRef) -> bytes:
    try:
        return base64.b64decode(ref.value, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(f"{ref.name} is not base64", param=ref.name) from None
