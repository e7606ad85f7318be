"""What those who run the service ask: is it there, can it work, how is it doing."""

from __future__ import annotations

import hmac

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from kineograph import __version__
from kineograph.serve import schemas
from kineograph.serve.http import Api, run
from kineograph.serve.metrics import exposition
from kineograph.serve.refusals import Forbidden, Refusal
from kineograph.serve.tables import workers


def router(api: Api) -> APIRouter:
    """Return /health, /ready and /metrics."""
    routes, service = APIRouter(tags=["operation"]), api.service

    @routes.get("/health", **schemas.health())
    async def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @routes.get("/ready", **schemas.ready())
    async def ready() -> Response:
        def look() -> dict[str, str]:
            found = {"database": "ok", "storage": "ok", "workers": "ok"}
            try:
                with service.database.read() as connection:
                    if connection.execute(select(workers.c.id).limit(1)).first() is None:
                        found["workers"] = "none"
            except (DBAPIError, PoolTimeout):
                found["database"] = "away"
            try:
                service.storage.put("ready", b"")
            except Refusal:
                found["storage"] = "away"
            return found

        found = await run(look)
        able = found["database"] == found["storage"] == "ok"
        return JSONResponse({"ready": able, **found}, 200 if able else 503)

    @routes.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        require_operator(api, request)
        return PlainTextResponse(await run(exposition, service), media_type="text/plain")

    return routes


def require_operator(api: Api, request: Request) -> None:
    """Let in who is on this machine, or has the operator's token.

    Raises:
        Forbidden: it is neither.
    """
    token = api.service.settings.admin_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if token:
        if hmac.compare_digest(given.encode(), token.encode()):
            return
    elif (
        api.service.settings.is_open()
        and request.client is not None
        and request.client.host in ("127.0.0.1", "::1", "testclient")
    ):
        return
    raise Forbidden("this is for the operator of the service: set admin_token, and send it")
