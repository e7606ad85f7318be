"""The API process: routes over the store. It never imports torch, and computes nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from kineograph import __version__
from kineograph.errors import KineographError
from kineograph.serve import (
    access,
    api_account,
    api_admin,
    api_files,
    api_kling,
    api_ops,
    api_videos,
)
from kineograph.serve.chores import Chores
from kineograph.serve.database import Database
from kineograph.serve.document import document_of
from kineograph.serve.http import Api, Problem, invalid_message, problem_of
from kineograph.serve.listeners import Listeners
from kineograph.serve.local import LocalOnly
from kineograph.serve.noting import Noted
from kineograph.serve.service import Service
from kineograph.serve.settings import Settings

# Threads that wait for the database and for files. Submissions of one account follow each other
# anyway, and each thread more takes the interpreter's lock from the rest: 4 served the most, on
# either database (`benchmarks/serve_load.py`). Who needs more starts another API process.
THREADS = 4

Answer = Callable[[Request, Exception], Awaitable[Response]]


def create_app(settings: Settings, database: Database) -> FastAPI:
    """Return the application of a service whose database is open and up to date."""
    service = Service(settings, database)
    api, listeners = Api(service), Listeners(database, service.board)
    chores = Chores(service)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        if settings.is_open():
            with database.write() as connection:
                access.ensure_local_account(connection, time.time())
        chores.start()
        yield
        await listeners.close()
        await anyio.to_thread.run_sync(chores.stop)

    app = FastAPI(
        title="Kineograph", version=__version__, lifespan=life, docs_url="/docs", redoc_url=None,
        summary="Text in, video out: a queue that is fair, jobs that are never lost.",
    )  # fmt: skip
    app.state.api = api
    for prefix in api_kling.PREFIXES:  # first: it has /v1/videos/text2video
        app.include_router(api_kling.router(api, shown=prefix == "/v1/videos"), prefix=prefix)
    app.include_router(api_videos.router(api, listeners))
    app.include_router(api_files.router(api), tags=["videos"])
    app.include_router(api_account.router(api))
    app.include_router(api_ops.router(api))
    app.include_router(api_admin.router(api))
    app.add_middleware(Noted, answer=_answer_errors(app))
    app.openapi = document_of(app, settings, service.specs.values())  # type: ignore[method-assign]
    if settings.is_open() and settings.open == "auto":
        app.add_middleware(LocalOnly)
    return app


def _answer_errors(app: FastAPI) -> Answer:
    """Let every error be answered in the envelope of its dialect; return how any is answered."""

    def answer(request: Request, error: Exception, problem: Problem) -> Response:
        if api_kling.speaks(request):
            return api_kling.problem_answer(request, error)
        return problem.answer()

    async def refused(request: Request, error: Exception) -> Response:
        return answer(request, error, problem_of(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        where, name = error.errors()[0]["loc"][0], str(error.errors()[0]["loc"][-1])
        problem = Problem(400, "invalid_request", invalid_message(error), name)
        if where == "path":
            problem = Problem(404, "not_found", invalid_message(error), name)
        return answer(request, error, problem)

    async def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        codes = {404: "not_found", 405: "method_not_allowed"}
        message = f"{request.method} {request.url.path}: {error.detail}"
        code = codes.get(error.status_code, "http_error")
        if error.status_code == 405:  # one route knows of no others of its path
            error.headers = {"Allow": ", ".join(_methods(app, request.scope))}
        problem = Problem(error.status_code, code, message, headers=error.headers or {})
        return answer(request, error, problem)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, missing)
    for kind in (KineographError, DBAPIError, PoolTimeout, ClientDisconnect):
        app.add_exception_handler(kind, refused)
    return refused


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that the path of a request is served with.

    A path of a name of its own, such as /v1/videos/edits, is that of no video of this id.
    """
    told = app.openapi()["paths"].get(scope["path"])
    if told is not None:
        return sorted(method.upper() for method in told)
    known = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
    asked = [{**scope, "method": method} for method in known]
    return [
        one["method"] for one in asked
        if any(route.matches(one)[0] == Match.FULL for route in app.routes)
    ]  # fmt: skip
