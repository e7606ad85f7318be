"""Sending what the outbox holds: each announcement in the dialect that its video was asked in."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import RowMapping

from kineograph.serve import store
from kineograph.serve.fetch import FetchLimits, post
from kineograph.serve.kling_answers import task_of
from kineograph.serve.outbox import STARTED
from kineograph.serve.refusals import NotFound
from kineograph.serve.submission import KLING
from kineograph.serve.tables import OVER, RUNNING
from kineograph.serve.views import view_of
from kineograph.serve.webhooks import deliver_due

if TYPE_CHECKING:
    from kineograph.serve.service import Service


def deliver(service: Service) -> int:
    """Send what is due; return how many announcements were tried."""
    limits = FetchLimits(total_seconds=15.0, allowed_networks=service.settings.networks())

    def send(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        return post(url, body, headers, limits=limits)

    return deliver_due(
        service.database, service.settings, post=send, render=lambda row: render(service, row),
        now=time.time(),
    )  # fmt: skip


def render(service: Service, delivery: RowMapping) -> str:
    """Return the body of an announcement: Kling's task to its callback, else OpenAI's event.

    Raises:
        NotFound: the video is deleted, or over before its start was told.
    """
    with service.database.read() as connection:
        row = store.get(connection, delivery["video_id"], None)
    if row["dialect"] == KLING and delivery["endpoint_id"] is None:
        # The address by which its sender knows the service, where none is set.
        base = service.settings.public_url or json.loads(row["told"]).get("base", "")
        view = view_of(row, None, base.rstrip("/"), service.links)
        if delivery["type"] == STARTED:
            if row["state"] in OVER:
                raise NotFound("the task is over, which is told for itself")
            view = replace(view, state=RUNNING)  # also where it waits again for another one
        return json.dumps(task_of(view), ensure_ascii=False)
    event = {
        "id": delivery["id"],
        "object": "event",
        "type": delivery["type"],
        "created_at": int(delivery["created_at"]),
        "data": {"id": row["id"]},
    }
    return json.dumps(event)
