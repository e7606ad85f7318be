"""The native API: OpenAI's Videos, and what it lacks for those who wait."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kineograph.serve import openai_answers as answers
from kineograph.serve import openai_dialect as openai
from kineograph.serve import schemas, store
from kineograph.serve.access import Identity
from kineograph.serve.bodies import Body
from kineograph.serve.http import Api, run
from kineograph.serve.listeners import Listeners, Told
from kineograph.serve.rates import SUBMISSIONS
from kineograph.serve.service import Service
from kineograph.serve.submission import Submission, VideoView
from kineograph.serve.tables import IN_HAND
from kineograph.serve.views import Links, view_of

POLL_FASTEST, POLL_SLOWEST = 0.25, 10.0  # seconds between two polls that clients are told


def router(api: Api, listeners: Listeners) -> APIRouter:
    """Return the routes under /v1/videos, and /v1/queue."""
    routes = APIRouter(tags=["videos"])
    routes.include_router(_making(api))
    routes.include_router(_asking(api))
    routes.include_router(_one(api, listeners))
    return routes


def _making(api: Api) -> APIRouter:
    """Return the routes that make videos."""
    routes, service = APIRouter(), api.service
    specs = list(service.specs.values())

    async def make(request: Request, kind: str, source: str | None = None) -> Response:
        who = await api.who(request, SUBMISSIONS)
        body = await api.body(request)
        base, key = api.base(request), request.headers.get("idempotency-key")

        def do(submission: Submission) -> VideoView:
            row = service.submit(
                who, submission, body.files, base=base, key=key, again=_again(request),
                digest=body.digest,
            )  # fmt: skip
            return service.view(row, base)

        try:
            submission = await run(_submission, service, who, body, kind, source)
            # Pictures and videos take their time to be judged.
            view = await (api.run_slow(do, submission) if submission.media else run(do, submission))
        finally:
            body.close()
        return _answer(request, view)

    @routes.post("/v1/videos", **schemas.making("Make a video", specs))
    async def create(request: Request) -> Response:
        return await make(request, "create")

    changing = schemas.making("Change a video", specs, "video", file="video")
    going_on = schemas.making("Go on from a video", specs, "video", file="video")

    @routes.post("/v1/videos/edits", **changing)
    async def edit(request: Request) -> Response:
        return await make(request, "edit")

    @routes.post("/v1/videos/extensions", **going_on)
    async def extend(request: Request) -> Response:
        return await make(request, "extend")

    @routes.post("/v1/videos/{video_id}/remix", **schemas.making("Make a video anew", specs))
    async def remix(request: Request, video_id: schemas.VideoId) -> Response:
        return await make(request, "remix", video_id)

    @routes.post("/v1/videos/estimate", **schemas.estimating(specs))
    async def estimate(request: Request) -> Response:
        who = await api.who(request)
        body = await api.body(request)
        try:
            submission = await run(_submission, service, who, body, "create", None)
            return JSONResponse(await run(service.estimate, who, submission))
        finally:
            body.close()

    return routes


def _asking(api: Api) -> APIRouter:
    """Return the routes that tell of all videos, of the models and of the queue."""
    routes, service = APIRouter(), api.service

    @routes.get("/v1/videos", **schemas.listing())
    async def listing(
        request: Request,
        after: schemas.After = None,
        limit: schemas.Limit = 20,
        order: schemas.Order = "desc",
    ) -> Response:
        who = await api.who(request)
        who.require("videos:read")

        def look() -> dict[str, Any]:
            with service.database.read() as connection:
                rows, more = store.page(
                    connection, who.account_id, after=after, limit=limit,
                    newest_first=order == "desc",
                )  # fmt: skip
            return answers.list_page([service.view(row, base) for row in rows], more)

        base = api.base(request)
        return JSONResponse(await run(look), headers=_rate(request))

    @routes.get("/v1/videos/models", **schemas.models())
    async def models(request: Request) -> Response:
        await api.who(request)
        return JSONResponse({"object": "list", "data": await run(service.models)})

    @routes.get("/v1/queue", **schemas.queue())
    async def queue(request: Request) -> Response:
        await api.who(request)
        return JSONResponse({"object": "queue", **await run(service.board.summary)})

    return routes


def _one(api: Api, listeners: Listeners) -> APIRouter:
    """Return the routes of one video."""
    routes, service = APIRouter(), api.service

    @routes.get("/v1/videos/{video_id}", **schemas.one("Read a video's state"))
    async def retrieve(request: Request, video_id: schemas.VideoId) -> Response:
        who = await api.who(request)
        base = api.base(request)
        view = await run(lambda: service.view(service.read(who, video_id), base))
        return _answer(request, view)

    @routes.delete("/v1/videos/{video_id}", **schemas.deleting())
    async def delete(request: Request, video_id: schemas.VideoId) -> Response:
        who = await api.who(request)
        who.require("videos:write")

        def remove() -> None:
            with service.database.write() as connection:
                store.delete(connection, video_id, who.account_id, time.time())

        await run(remove)
        return JSONResponse(answers.deleted_object(video_id), headers=_rate(request))

    async def change(request: Request, id: str, how: Callable[[Connection, str], Any]) -> Response:
        who = await api.who(request)
        base = api.base(request)

        def do() -> VideoView:
            row = service.change(who, id, lambda connection: how(connection, who.account_id))
            return service.view(row, base)

        return _answer(request, await run(do))

    @routes.post("/v1/videos/{video_id}/cancel", **schemas.acting("Cancel a video"))
    async def cancel(request: Request, video_id: schemas.VideoId) -> Response:
        now = time.time()
        return await change(request, video_id, lambda c, who: store.cancel(c, video_id, who, now))

    @routes.post("/v1/videos/{video_id}/pause", **schemas.acting("Let a video wait"))
    async def pause(request: Request, video_id: schemas.VideoId) -> Response:
        return await change(request, video_id, lambda c, who: store.pause(c, video_id, who))

    @routes.post("/v1/videos/{video_id}/resume", **schemas.acting("Go on with a paused video"))
    async def resume(request: Request, video_id: schemas.VideoId) -> Response:
        return await change(request, video_id, lambda c, who: store.resume(c, video_id, who))

    @routes.get("/v1/videos/{video_id}/events", **schemas.events())
    async def events(request: Request, video_id: schemas.VideoId) -> Response:
        who = await api.who(request)
        await run(service.read, who, video_id)
        happens = listeners.follow(video_id, lambda: service.peek(video_id))
        told = _events(happens, api.base(request), service.links)
        return EventSourceResponse(told, ping=15, headers=_rate(request))

    return routes


async def _events(
    happens: AsyncIterator[Told], base: str, links: Links
) -> AsyncIterator[ServerSentEvent]:
    """Yield what happens to a video: status, preview, and at the end completed or failed."""
    shown: str | None = None
    async for row, standing in happens:
        view = answers.video_object(view_of(row, standing, base, links))
        if row["preview"] not in (None, shown):
            data = {"id": row["id"], "preview_url": view["preview_url"]}
            yield ServerSentEvent(event="preview", data=json.dumps(data))
        shown = row["preview"]
        name = view["status"] if view["status"] in ("completed", "failed") else "status"
        yield ServerSentEvent(event=name, data=json.dumps(view, ensure_ascii=False))


def _submission(
    service: Service, who: Identity, body: Body, kind: str, source: str | None
) -> Submission:
    """Read a body as its kind of request."""
    return openai.submission_of(
        body.fields, kind=kind, spec_of=service.spec, source=source,
        base_of=lambda id: service.asked_with(who, id),
    )  # fmt: skip


def _again(request: Request) -> bool | None:
    """Whether a client sends again what it got no answer to; None where it never tells."""
    count = request.headers.get("x-stainless-retry-count", "")
    return None if count == "" else count != "0"


def _answer(request: Request, view: VideoView) -> Response:
    """Return a video; who is to wait for it is told when to ask again."""
    headers = _rate(request)
    if view.state in IN_HAND:
        wait = (view.eta_seconds or 1.0) / 4
        wait = min(max(wait, POLL_FASTEST), POLL_SLOWEST)
        headers["openai-poll-after-ms"] = str(round(1000 * wait))
    return JSONResponse(answers.video_object(view), headers=headers)


def _rate(request: Request) -> dict[str, str]:
    return dict(request.state.rate.headers())
