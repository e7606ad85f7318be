"""The operator's page, which only reads: three files that show what GET /admin/data says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kineograph.serve.api_ops import require_operator
from kineograph.serve.http import Api, run
from kineograph.serve.overview import overview
from kineograph.serve.refusals import Forbidden, NotFound

FOLDER = Path(__file__).parent / "static"
TYPES = {"admin.html": "text/html", "admin.css": "text/css", "admin.js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def router(api: Api) -> APIRouter:
    """Return /admin, its files and its data."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/admin")
    async def page(request: Request) -> Response:
        try:
            require_operator(api, request)
        except Forbidden:
            # A browser sends no token with an address: the page, which tells nothing itself,
            # asks for it.
            if "text/html" not in request.headers.get("accept", ""):
                raise
            return _file("admin.html", 403)
        return _file("admin.html", 200)

    @routes.get("/admin/data")
    async def data(request: Request) -> Response:
        require_operator(api, request)
        found = await run(overview, api.service)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    @routes.get("/admin/{name}")
    async def file(name: str) -> Response:
        if name not in ("admin.css", "admin.js"):
            raise NotFound(f"there is no /admin/{name}")
        return _file(name, 200)

    return routes


def _file(name: str, status: int) -> Response:
    return Response(_content(name), status, HEADERS, f"{TYPES[name]}; charset=utf-8")


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
