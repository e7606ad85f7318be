"""Answers in the dialect of OpenAI's Videos API: videos, pages, deletions and errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kineograph.serve.submission import VideoView

STATUSES = {
    "queued": "queued", "paused": "queued", "running": "in_progress", "completed": "completed",
    "failed": "failed", "cancelled": "failed", "deleted": "failed",
}  # fmt: skip
_ENDED = {"cancelled": "the video was cancelled", "deleted": "the video was deleted"}
_TYPES = {
    401: "authentication_error", 402: "insufficient_quota", 403: "permission_error",
    404: "not_found_error", 409: "conflict_error", 429: "rate_limit_error",
}  # fmt: skip
_USUAL = {
    400: "invalid_request", 401: "invalid_api_key", 402: "insufficient_credits",
    403: "insufficient_scope", 404: "not_found", 405: "method_not_allowed", 409: "conflict",
    410: "gone", 413: "body_too_large", 415: "unsupported_media_type", 429: "rate_limit_exceeded",
    500: "internal_error", 503: "unavailable",
}  # fmt: skip


def video_object(view: VideoView) -> dict[str, Any]:
    """Return a video as OpenAI's schema has it, with what more there is to tell.

    Whoever was cancelled has `status` failed, `error.code` cancelled and `state` cancelled, since
    clients go on polling at any status but four. Times are whole seconds since 1970.
    """
    status = STATUSES[view.state]
    return {
        "id": view.id,
        "object": "video",
        "model": view.model,
        "status": status,
        "progress": _percent(view),
        "created_at": int(view.created_at),
        "completed_at": _whole(view.completed_at if status == "completed" else None),
        "expires_at": _whole(view.expires_at),
        "prompt": view.prompt,
        "seconds": f"{view.seconds:.6g}",
        "size": view.size,
        "remixed_from_video_id": view.remixed_from,
        "error": _error(view) if status == "failed" else None,
        # What OpenAI's schema has not.
        "state": view.state,
        "stage": view.stage,
        "kind": view.kind,
        "started_at": _whole(view.started_at),
        "ended_at": _whole(view.completed_at),
        "fps": view.fps,
        "seed": view.seed,
        "queue_position": view.queue_position,
        "eta_seconds": None if view.eta_seconds is None else round(view.eta_seconds, 1),
        "cost": view.cost,
        "estimated_cost": view.estimated_cost,
        "preview_url": view.preview_url,
        "thumbnail_url": view.thumbnail_url,
        "content_url": view.video_url,
        "external_task_id": view.external_task_id,
        "callback_url": view.callback_url,
        "inputs": list(view.media),
        "request": dict(view.request),
        "metadata": dict(view.metadata),
    }


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def _percent(view: VideoView) -> int:
    """Return a progress of 0 to 100; 100 only where it is completed."""
    if view.state == "completed":
        return 100
    return min(99, max(0, math.floor(100 * view.progress + 1e-9)))


def _error(view: VideoView) -> dict[str, str]:
    if view.state in _ENDED:
        return {"code": view.state, "message": view.error or _ENDED[view.state]}
    code = view.error_code or "generation_failed"
    return {"code": code, "message": view.error or "the video could not be made"}


def deleted_object(id: str) -> dict[str, Any]:
    """Return the answer to a deletion."""
    return {"id": id, "object": "video.deleted", "deleted": True}


def list_page(views: Sequence[VideoView], has_more: bool) -> dict[str, Any]:
    """Return a page of videos, in the order that they are given."""
    data = [video_object(view) for view in views]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def error_object(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the body of an answer that is an error, of an HTTP status of 400 to 599."""
    usual = "server_error" if status >= 500 else "invalid_request_error"
    error = {
        "message": message,
        "type": _TYPES.get(status, usual),
        "param": param,
        "code": code or _USUAL.get(status, usual),
    }
    return {"error": error}
