"""The facade of Kling's API, version 1: its paths, bodies, answers and codes over our store."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from sqlalchemy import RowMapping, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kineograph.serve import kling_answers as answers
from kineograph.serve import schemas
from kineograph.serve.access import Identity
from kineograph.serve.http import Api, invalid_message, problem_of, run
from kineograph.serve.ids import new_id
from kineograph.serve.kling_answers import PAGE_SIZE
from kineograph.serve.kling_dialect import submission_of
from kineograph.serve.rates import SUBMISSIONS
from kineograph.serve.refusals import NotFound, Refusal
from kineograph.serve.submission import KLING, KLING_KINDS, Submission, VideoView
from kineograph.serve.tables import videos

# Where it is found: as Kling has it, as ComfyUI's nodes ask for it, and out of the way.
PREFIXES = ("/v1/videos", "/kling/v1/videos", "/proxy/kling/v1/videos")


def router(api: Api, *, shown: bool = False) -> APIRouter:
    """Return the routes of each kind of task: submit, read, list."""
    routes = APIRouter(tags=["kling"], include_in_schema=shown)
    for kind in KLING_KINDS:
        _add(routes, api, kind)
    return routes


def _add(routes: APIRouter, api: Api, kind: str) -> None:
    service = api.service

    specs, models = list(service.specs.values()), service.settings.kling_models

    @routes.post(f"/{kind}", name=f"kling_{kind}", **schemas.tasking(kind, specs, models))
    async def submit(request: Request) -> Response:
        who = await api.who(request, SUBMISSIONS)
        body = await api.body(request)
        base, key = api.base(request), request.headers.get("idempotency-key")

        def read() -> Submission:
            return submission_of(
                body.fields, kind=kind, spec_of=service.spec, models=models,
                base_of=lambda id: service.asked_with(who, id),
            )  # fmt: skip

        def do(submission: Submission) -> VideoView:
            row = service.submit(
                who, submission, body.files, base=base, key=key,
                digest=body.digest,
            )  # fmt: skip
            return service.view(row, base)

        try:
            submission = await run(read)
            view = await (api.run_slow(do, submission) if submission.media else run(do, submission))
        finally:
            body.close()
        return _answer(answers.submitted_of(view))

    @routes.get(f"/{kind}/{{task_id}}", name=f"kling_{kind}_task", **schemas.task())
    async def read(request: Request, task_id: schemas.TaskId) -> Response:
        who = await api.who(request)
        base = api.base(request)
        view = await run(lambda: service.view(_find(api, who, kind, task_id), base))
        return _answer(answers.task_of(view))

    @routes.get(f"/{kind}", name=f"kling_{kind}_tasks", **schemas.tasks())
    async def listing(
        request: Request,
        pageNum: schemas.PageNum = 1,
        pageSize: schemas.PageSize = PAGE_SIZE,
    ) -> Response:
        who = await api.who(request)
        who.require("videos:read")
        base = api.base(request)

        def look() -> list[dict[str, Any]]:
            rows = _page(api, who, kind, (pageNum - 1) * pageSize, pageSize)
            return [answers.task_of(service.view(row, base)) for row in rows]

        return _answer(await run(look))


def _find(api: Api, who: Identity, kind: str, name: str) -> RowMapping:
    """Return a task's row by its id, or by the name that its sender has given it."""
    who.require("videos:read")
    with api.service.database.read() as connection:
        row = connection.execute(
            select(videos).where(
                videos.c.account_id == who.account_id, videos.c.deleted_at.is_(None),
                (videos.c.id == name) | (videos.c.external_id == name),
                videos.c.dialect == KLING, videos.c.kind == kind,
            )
        ).mappings().first()  # fmt: skip
    if row is None:
        raise NotFound(f"there is no task {name!r}")
    return row


def _page(api: Api, who: Identity, kind: str, skipped: int, size: int) -> list[RowMapping]:
    with api.service.database.read() as connection:
        rows = connection.execute(
            select(videos)
            .where(videos.c.account_id == who.account_id, videos.c.deleted_at.is_(None))
            .where(videos.c.dialect == KLING, videos.c.kind == kind)
            .order_by(videos.c.number.desc())
            .offset(skipped)
            .limit(size)
        )
        return list(rows.mappings().all())


def _answer(data: Any) -> Response:  # noqa: ANN401 - JSON
    return JSONResponse(answers.envelope(new_id("req"), data))


def speaks(request: Request) -> bool:
    """Whether a request is one of this dialect."""
    for prefix in PREFIXES:
        rest = request.url.path.removeprefix(prefix + "/")
        if rest != request.url.path and rest.split("/")[0] in KLING_KINDS:
            return True
    return "/kling/" in request.url.path


def problem_answer(request: Request, error: Exception) -> Response:
    """Return an error in Kling's envelope."""
    if isinstance(error, HTTPException):
        missing = error.status_code in (404, 405)
        told = answers.envelope(
            new_id("req"), code=1202 if missing else 1200,
            message=f"{request.method} {request.url.path}: {error.detail}",
        )  # fmt: skip
        return JSONResponse(told, error.status_code, headers=error.headers)
    if isinstance(error, RequestValidationError):
        error = Refusal(invalid_message(error))
    problem = problem_of(error)
    if problem.status == 503:
        data = answers.envelope(new_id("req"), code=5001, message=problem.message)
        return JSONResponse(data, 503, headers=dict(problem.headers))
    status, data = answers.error_answer(error, new_id("req"))
    return JSONResponse(data, status, headers=dict(problem.headers))
