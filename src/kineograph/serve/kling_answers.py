"""Answers in the dialect of Kling's API, version 1: envelopes, tasks, pages and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kineograph.errors import RequestError
from kineograph.serve.rates import TooFast
from kineograph.serve.reading import read_int, refuse
from kineograph.serve.refusals import Refusal
from kineograph.serve.submission import VideoView

# What each of Kling's codes means, and the HTTP status that goes with it.
CODES = {
    0: (200, "SUCCEED"),
    1000: (401, "authentication failed"),
    1001: (401, "no authorization is given"),
    1002: (401, "the authorization is not valid"),
    1003: (401, "the authorization is not valid yet"),
    1004: (401, "the authorization is expired"),
    1100: (429, "the account is disabled"),
    1101: (429, "the account is in arrears"),
    1102: (429, "the account's credits are not enough"),
    1103: (403, "the account has no access to this"),
    1200: (400, "the request is not valid"),
    1201: (400, "a parameter is not valid"),
    1202: (404, "there is no such method"),
    1203: (404, "there is no such resource"),
    1300: (400, "refused by the policy of the service"),
    1301: (400, "refused by the policy of the service, for its content"),
    1302: (429, "too many requests"),
    1303: (429, "too many tasks at a time"),
    1304: (429, "this address is not allowed"),
    5000: (500, "the service has failed"),
    5001: (503, "the service is away for now"),
    5002: (504, "the service took too long"),
}
_BY_STATUS = {401: 1002, 402: 1102, 403: 1103, 404: 1203, 405: 1202, 410: 1203, 429: 1303,
              500: 5000, 502: 5001, 503: 5001, 504: 5002}  # fmt: skip
_BY_CODE = {"missing_api_key": 1001, "token_not_yet_valid": 1003, "token_expired": 1004,
            "account_disabled": 1100, "content_policy_violation": 1301}  # fmt: skip
STATUSES = {
    "queued": "submitted", "paused": "submitted", "running": "processing", "completed": "succeed",
    "failed": "failed", "cancelled": "failed", "deleted": "failed",
}  # fmt: skip
MAX_PAGE, MAX_PAGE_SIZE, PAGE_SIZE = 1000, 500, 30


class KlingRefusal(Refusal):
    """A request that is refused with one of Kling's codes."""

    def __init__(self, kling: int, message: str | None = None, *, param: str | None = None) -> None:
        status, usual = CODES[kling]
        super().__init__(usual if message is None else message, param=param)
        self.kling, self.status = kling, status


def code_of(error: Exception) -> int:
    """Return Kling's code of an error; 5000 of one that was not meant."""
    if isinstance(error, KlingRefusal):
        return error.kling
    if not isinstance(error, RequestError):
        return 5000
    known = _BY_CODE.get(str(getattr(error, "code", "")))
    if known is not None:
        return known
    if isinstance(error, TooFast):
        return 1302
    status = error.status if isinstance(error, Refusal) else 400
    return _BY_STATUS.get(status, 1201 if status in (400, 409, 422) else 1200)


def error_answer(error: Exception, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the envelope of an error; what was not meant tells nothing."""
    code = code_of(error)
    message = CODES[5000][1] if code == 5000 else str(error)
    return CODES[code][0], envelope(request_id, code=code, message=message)


def envelope(
    request_id: str, data: object = None, *, code: int = 0, message: str | None = None
) -> dict[str, Any]:
    """Return the envelope of an answer; `data` is left out where there is none."""
    told = {
        "code": code,
        "message": CODES[code][1] if message is None else message,
        "request_id": request_id,
    }
    return told if data is None else told | {"data": data}


def task_of(view: VideoView) -> dict[str, Any]:
    """Return the `data` of a task, which is also what a callback is sent; times are in ms."""
    times = (view.created_at, view.started_at, view.completed_at)
    updated = max(t for t in times if t is not None) if view.updated_at is None else view.updated_at
    task: dict[str, Any] = {
        "task_id": view.id,
        "task_status": STATUSES[view.state],
        "task_status_msg": _message(view),
        "task_info": {},
        "created_at": round(view.created_at * 1000),
        "updated_at": round(updated * 1000),
    }
    if view.external_task_id is not None:
        task["task_info"]["external_task_id"] = view.external_task_id
    if view.remixed_from is not None:
        task["task_info"]["parent_video"] = {"id": view.remixed_from}
    if view.state == "completed":
        video = {"id": view.id, "url": view.video_url, "duration": f"{view.seconds:.6g}"}
        if view.watermark_url is not None:
            video["watermark_url"] = view.watermark_url
        task["task_result"] = {"videos": [video]}
        if view.cost is not None:
            task["final_unit_deduction"] = f"{view.cost:.6g}"
    return task


def submitted_of(view: VideoView) -> dict[str, Any]:
    """Return the `data` of the answer to a task that was just submitted."""
    return {key: value for key, value in task_of(view).items() if key != "task_status_msg"}


def _message(view: VideoView) -> str:
    if view.state in ("cancelled", "deleted"):
        return view.error or view.state
    return (view.error or view.error_code or "failed") if view.state == "failed" else ""


def tasks_of(views: Sequence[VideoView]) -> list[dict[str, Any]]:
    """Return the `data` of a page of tasks."""
    return [task_of(view) for view in views]


def page_of(query: Mapping[str, str]) -> tuple[int, int]:
    """Return how many tasks come before a page, and how many are on it at most.

    Raises:
        Refusal: pageNum is none of 1 to 1000, or pageSize none of 1 to 500.
    """
    number, size = (
        read_int(name, query.get(name) or usual)
        for name, usual in (("pageNum", 1), ("pageSize", PAGE_SIZE))
    )
    if not 1 <= number <= MAX_PAGE:
        raise refuse("pageNum", number, f"1 to {MAX_PAGE}")
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise refuse("pageSize", size, f"1 to {MAX_PAGE_SIZE}")
    return (number - 1) * size, size
