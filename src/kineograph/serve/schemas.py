"""The API's shapes, for its OpenAPI document: what each route takes, answers and refuses with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import Path as InPath
from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from kineograph.serve.kling_answers import MAX_PAGE, MAX_PAGE_SIZE
from kineograph.serve.schemas_bodies import Schema, kling_body, video_body, video_form
from kineograph.spec import ModelSpec

ID = "^[A-Za-z0-9_.:-]{1,200}$"
VideoId = Annotated[str, InPath(pattern=ID, description="id of a video")]
TaskId = Annotated[str, InPath(pattern=r"^[^\x00/]{1,200}$", description="id, or external_task_id")]
After = Annotated[
    str | None, Query(pattern=ID, description="id of the last video of the page before")
]
Limit = Annotated[int, Query(ge=1, le=100, description="videos on a page")]
PageNum = Annotated[int, Query(ge=1, le=MAX_PAGE, description="page; the first is 1")]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="tasks on a page")]
Order = Annotated[Literal["asc", "desc"], Query(description="by age; desc: the newest first")]
Variant = Annotated[
    Literal["video", "thumbnail", "spritesheet", "preview"], Query(description="which file")
]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str = Field(description="for people; names the value and what is allowed")
    type: str
    param: str | None = Field(description="the field at fault")
    code: str | None


class Error(BaseModel):
    """The answer where something went wrong."""

    error: ErrorDetail


class VideoError(BaseModel):
    """Why a video was not made."""

    model_config = ConfigDict(extra="allow")
    code: str
    message: str


class Video(BaseModel):
    """A video: OpenAI's object, and what else is known."""

    model_config = ConfigDict(extra="allow")
    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    state: str = Field(description="queued, running, paused, completed, failed or cancelled")
    progress: int = Field(ge=0, le=100)
    created_at: int
    completed_at: int | None = None
    expires_at: int | None = None
    seconds: str
    size: str
    prompt: str | None = None
    remixed_from_video_id: str | None = None
    error: VideoError | None = None


class VideoPage(BaseModel):
    """A page of videos."""

    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """A video that is no longer there."""

    id: str
    deleted: Literal[True]
    object: Literal["video.deleted"]


class Estimate(BaseModel):
    """What a video would take, cost, and when it would be done."""

    model_config = ConfigDict(extra="allow")
    object: Literal["video.estimate"]
    model: str
    size: str
    seconds: str
    worker_seconds: float
    memory_bytes: int
    cost: float
    queue_position: int
    eta_seconds: float


class ModelPage(BaseModel):
    """The models with their limits and prices."""

    object: Literal["list"]
    data: list[dict[str, Any]]


class Queue(BaseModel):
    """The queue as a whole."""

    object: Literal["queue"]
    waiting: int
    running: int
    workers: int
    seconds: float


class KlingRefused(BaseModel):
    """An error in Kling's envelope."""

    code: int = Field(ge=1000, le=5999)
    message: str
    request_id: str


class KlingData(BaseModel):
    """A task as Kling has it."""

    model_config = ConfigDict(extra="allow")
    task_id: str
    task_status: Literal["submitted", "processing", "succeed", "failed"]
    task_info: dict[str, Any]
    created_at: int = Field(description="milliseconds since 1970")
    updated_at: int = Field(description="milliseconds since 1970")


class KlingTask(BaseModel):
    """A task in Kling's envelope."""

    code: Literal[0]
    message: str
    request_id: str
    data: KlingData


class KlingTasks(BaseModel):
    """Tasks in Kling's envelope."""

    code: Literal[0]
    message: str
    request_id: str
    data: list[KlingData]


class Health(BaseModel):
    """That the process is there."""

    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    """Whether videos can be taken in, and what of it is there."""

    ready: bool
    database: Literal["ok", "away"]
    storage: Literal["ok", "away"]
    workers: Literal["ok", "none"]


class File(BaseModel):
    """A picture or a video that was sent for later."""

    model_config = ConfigDict(extra="allow")
    id: str
    object: Literal["file"]
    bytes: int


_REASONS = {
    400: "the request cannot be carried out; the message names the value and what is allowed",
    401: "no key, or one that is wrong, expired or revoked",
    402: "the account's credits are not enough",
    403: "the key or this service does not allow it",
    404: "there is none of this name",
    409: "it does not go with the state that it is in",
    410: "it is no longer kept",
    413: "the body is too large",
    415: "the body is of a kind that is not read",
    416: "the range lies outside the file",
    422: "the idempotency key was used for something else",
    429: "more than the account's tier allows; Retry-After says when to come back",
    500: "the service has failed; it is recorded",
    503: "the service cannot do it now; Retry-After says when to come back",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a route that refuses so, besides those that any route has."""
    every = sorted({*statuses, 400, 401, 403, 429, 503})
    return {s: {"model": Error, "description": _REASONS[s]} for s in every}


def _route(summary: str, model: type[BaseModel] | None, *statuses: int) -> dict[str, Any]:
    answers = refusals(*statuses)
    if model is not None:
        answers[200] = {"model": model, "description": "done"}
    return {"summary": summary, "response_model": None, "responses": answers}


def _sent(json: Schema, form: Schema | None = None, example: Any = None) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return what describes a body, in JSON and as a form."""
    content: dict[str, Any] = {"application/json": {"schema": json}}
    if example is not None:
        content["application/json"]["example"] = example
    if form is not None:
        content["multipart/form-data"] = {"schema": form}
    return {"requestBody": {"required": True, "content": content}}


_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "a request sent again with the same key makes nothing anew",
}  # fmt: skip
# What may be done with a video that was made: each operation takes its id.
_LINKS = {
    name: {"operationId": f"{name}_v1_videos__video_id__{path}",
           "parameters": {"video_id": "$response.body#/id"}}
    for name, path in {
        "retrieve": "get", "delete": "delete", "cancel": "cancel_post", "pause": "pause_post",
        "resume": "resume_post", "remix": "remix_post", "content": "content_get",
        "events": "events_get",
    }.items()
}  # fmt: skip
_EXAMPLE = {"prompt": "a red ball bounces on a wooden floor"}


def making(
    summary: str, specs: Collection[ModelSpec], *also: str, file: str = "input_reference"
) -> dict[str, Any]:
    """Return what describes a route that makes videos; `also` is required besides the prompt."""
    required = ["prompt", *also]
    body = _sent(
        video_body(specs, required), video_form(specs, required, [file]),
        _EXAMPLE if not also else None,
    )  # fmt: skip
    route = _route(summary, Video, 402, 404, 409, 413, 415, 422)
    route["responses"][200]["links"] = _LINKS
    return {**route, "openapi_extra": {**body, "parameters": [_KEY]}}


def estimating(specs: Collection[ModelSpec]) -> dict[str, Any]:
    """Return what describes the route of estimates."""
    body = _sent(video_body(specs, ["prompt"]), video_form(specs, ["prompt"], []), _EXAMPLE)
    route = _route("Say what a video would take and cost", Estimate, 404, 409, 413, 415)
    return {**route, "openapi_extra": body}


def tasking(kind: str, specs: Collection[ModelSpec], models: Collection[str]) -> dict[str, Any]:
    """Return what describes the submission of a task of Kling's."""
    example = _EXAMPLE if kind == "text2video" else None
    body = _sent(kling_body(kind, specs, models), None, example)
    route = _kling(f"Submit a task of {kind}", KlingTask, 404, 409, 413, 415, 422)
    return {**route, "openapi_extra": {**body, "parameters": [_KEY]}}


def task() -> dict[str, Any]:
    """Return what describes the reading of a task of Kling's."""
    return _kling("Read a task by its id, or by its external_task_id", KlingTask, 404)


def tasks() -> dict[str, Any]:
    """Return what describes the list of tasks of Kling's."""
    return _kling("List tasks, the newest first", KlingTasks)


def _kling(summary: str, model: type[BaseModel], *statuses: int) -> dict[str, Any]:
    """Return a route of Kling's facade: its envelope tells errors too, with codes of its own."""
    # A body that is too large, of no kind or at odds is told by code 1200 or 1201 and status 400.
    told = sorted({*statuses, 400, 401, 403, 429, 500, 503} - {409, 413, 415, 422})
    answers: dict[int | str, dict[str, Any]] = {
        s: {"model": KlingRefused, "description": _REASONS[s]} for s in told
    }
    answers[200] = {"model": model, "description": "done"}
    return {"summary": summary, "response_model": None, "responses": answers}


def filing() -> dict[str, Any]:
    """Return what describes the route of uploads."""
    schema = {
        "type": "object", "required": ["file"],
        "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
    }  # fmt: skip
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    route = _route("Keep a picture or a video for later requests", File, 413, 415)
    return {**route, "openapi_extra": {"requestBody": body}}


def listing() -> dict[str, Any]:
    """Return what describes the list of videos."""
    return _route("List videos", VideoPage, 404)


def models() -> dict[str, Any]:
    """Return what describes the list of models."""
    return _route("List models with their limits and prices", ModelPage)


def queue() -> dict[str, Any]:
    """Return what describes the queue."""
    return _route("Say how long the queue is", Queue)


def one(summary: str) -> dict[str, Any]:
    """Return what describes a route that answers with one video."""
    return _route(summary, Video, 404)


def acting(summary: str) -> dict[str, Any]:
    """Return what describes cancelling, pausing or resuming."""
    return _route(summary, Video, 404, 409)


def deleting() -> dict[str, Any]:
    """Return what describes deleting."""
    return _route("Delete a video", Deleted, 404)


def content() -> dict[str, Any]:
    """Return what describes the files of a video."""
    route = _route("Read a file of a video", None, 404, 409, 410, 416)
    binary = {"schema": {"type": "string", "format": "binary"}}
    types = {t: binary for t in ("video/mp4", "image/png", "image/jpeg")}
    route["responses"][200] = {"description": "the file", "content": types}
    route["responses"][206] = {"description": "the part that was asked for", "content": types}
    return route


def events() -> dict[str, Any]:
    """Return what describes the stream of a video's events."""
    route = _route("Follow a video: status, preview, completed, failed", None, 404)
    told = {"event": {"enum": ["status", "preview", "completed", "failed"]},
            "data": {"type": "string", "contentMediaType": "application/json"}}  # fmt: skip
    event = {"type": "object", "required": ["event", "data"], "properties": told}
    stream = {"text/event-stream": {"schema": event}}
    route["responses"][200] = {"description": "server-sent events", "content": stream}
    return route


def health() -> dict[str, Any]:
    """Return what describes the sign of life."""
    answers = {200: {"model": Health, "description": "it is there"}}
    return {"summary": "Say that the process is there", "responses": answers}


def ready() -> dict[str, Any]:
    """Return what describes the readiness."""
    answers = {
        200: {"model": Ready, "description": "they can"},
        503: {"model": Ready, "description": "they cannot: the database or the storage is away"},
    }
    return {"summary": "Say whether videos can be taken in", "response_model": None,
            "responses": answers}  # fmt: skip
