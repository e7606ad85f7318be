"""Files of videos as they are read: whole, in part, and by links that need no key."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from fastapi import APIRouter
from sqlalchemy import RowMapping
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from kineograph.errors import shown
from kineograph.serve import schemas, store
from kineograph.serve.http import Api, run
from kineograph.serve.rates import SUBMISSIONS
from kineograph.serve.reading import read_choice
from kineograph.serve.refusals import Conflict, Gone, NotFound, Refusal
from kineograph.serve.tables import COMPLETED

VARIANTS = {"video": "output", "thumbnail": "thumbnail", "spritesheet": "spritesheet",
            "preview": "preview"}  # fmt: skip
TYPES = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg"}
MAX_DIGITS = 18  # of a number in a range: no file is as long


def router(api: Api) -> APIRouter:
    """Return the routes of files: those of a video, signed links, and uploads."""
    routes, service = APIRouter(), api.service

    @routes.post("/v1/files", **schemas.filing())
    async def upload(request: Request) -> Response:
        who = await api.who(request, SUBMISSIONS)
        who.require("videos:write")
        body = await api.body(request)
        try:
            if len(body.files) != 1 or len(body.fields) != 1:
                raise Refusal(
                    f"{len(body.fields)} fields and {len(body.files)} files were sent; one file "
                    "is to be, as file", param="file",
                )  # fmt: skip
            upload = next(iter(body.files.values()))
            told = await api.run_slow(service.intake.upload, who, upload)
        finally:
            body.close()
        return JSONResponse(told)

    @routes.head("/v1/videos/{video_id}/content", include_in_schema=False)
    @routes.get("/v1/videos/{video_id}/content", **schemas.content())
    async def content(
        request: Request, video_id: schemas.VideoId, variant: schemas.Variant = "video"
    ) -> Response:
        who = await api.who(request)
        return await run(lambda: file_of(api, request, service.read(who, video_id), variant))

    @routes.head("/files/{video_id}/{variant}", include_in_schema=False)
    @routes.get("/files/{video_id}/{variant}", include_in_schema=False)
    async def linked(
        request: Request, video_id: str, variant: str, expires: int = 0, signature: str = ""
    ) -> Response:
        if not service.links.is_good(video_id, variant, expires, signature, time.time()):
            raise NotFound("this link is not good, or not any more")

        def look() -> Response:
            with service.database.read() as connection:
                row = store.get(connection, video_id, None)
            return file_of(api, request, row, variant)

        return await run(look)

    return routes


def file_of(api: Api, request: Request, row: RowMapping, variant: str) -> Response:
    """Return a file of a video, or the part of it that is asked for.

    Raises:
        Conflict: there is none yet.
        Gone: it is not kept any more.
        Refusal: the range lies beyond its end (416).
    """
    read_choice("variant", variant, tuple(VARIANTS))
    key = row[VARIANTS[variant]]
    if key is None and variant == "preview" and row["thumbnail"] is not None:
        key = row["thumbnail"]
    if key is None:
        if row["state"] == COMPLETED:
            raise Gone(f"the {variant} of video {row['id']!r} is no longer kept")
        raise Conflict(f"video {row['id']!r} is {row['state']} and has no {variant} yet")
    storage = api.service.storage
    try:
        size = storage.size(key)
    except NotFound:
        raise Gone(f"the {variant} of video {row['id']!r} is no longer kept") from None
    ending = "." + key.rpartition(".")[2]
    start, end, status = _range(request.headers.get("range"), size)
    headers = {
        "Accept-Ranges": "bytes", "Content-Length": str(end - start),
        "Cache-Control": "private, max-age=3600" if variant != "preview" else "no-store",
        "Content-Disposition": f'inline; filename="{row["id"]}{ending}"',
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    chunks: Iterator[bytes] = iter(())
    if request.method != "HEAD":
        chunks = storage.stream(key, start, end)
    return StreamingResponse(chunks, status, headers, TYPES.get(ending))


class BadRange(Refusal):
    """A part of a file is asked for that it has not."""

    status, code = 416, "range_not_satisfiable"

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.headers = {"Content-Range": f"bytes */{size}"}


def _range(text: str | None, size: int) -> tuple[int, int, int]:
    """Return start, end and status of what a Range header asks for; several parts are all of it."""
    parts = re.fullmatch(r"bytes= *([0-9]*)-([0-9]*) *", text or "")
    if parts is None or parts[1] == parts[2] == "":
        return 0, size, 200
    first, last = (None if digits == "" else int(digits[:MAX_DIGITS]) for digits in parts.groups())
    if first is None:
        start, end = max(size - (last or 0), 0), size
    else:
        start, end = first, size if last is None else min(last + 1, size)
    if last is not None and first is not None and last < first:
        return 0, size, 200  # it is no range, and to be overlooked
    if start >= size:
        raise BadRange(f"range {shown(text)} lies outside a file of {size} bytes", size)
    return start, end, 206
