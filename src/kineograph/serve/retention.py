"""What is kept for how long: videos, uploads, states, keys of requests and announcements.

A sweep deletes files first and notes it afterwards: one that is interrupted is done again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, select, update

from kineograph.serve import idempotency, webhooks
from kineograph.serve.tables import FAILED, IN_HAND, OVER, uploads, videos

if TYPE_CHECKING:
    from kineograph.serve.service import Service

HOUR, DAY = 3600.0, 86_400.0
AT_ONCE = 200  # of each kind a sweep
FILES = ("output", "thumbnail", "spritesheet", "preview", "checkpoint")
SPARED = HOUR  # seconds for which a file that nothing names may be about to be named


def sweep(service: Service, now: float) -> dict[str, int]:
    """Delete what is to be kept no longer; return how many of each kind."""
    return {
        "videos": _expired(service, now),
        "deleted": _deleted(service),
        "inputs": _inputs(service),
        "uploads": _uploads(service, now),
        "rows": _rows(service, now),
    }


def _expired(service: Service, now: float) -> int:
    """Delete the files of videos whose time is over; their rows stay and say so."""
    due = (videos.c.state.in_(OVER), videos.c.output.is_not(None), videos.c.expires_at <= now)
    return _empty(service, due, {})


def _deleted(service: Service) -> int:
    """Delete the files of deleted videos that no worker has in hand any more, and what they say."""
    due = (
        videos.c.deleted_at.is_not(None), videos.c.state.not_in(IN_HAND),
        videos.c.stage != "deleted",
    )  # fmt: skip
    blank = {"stage": "deleted", "prompt": "", "request": "{}", "callback_url": None}
    return _empty(service, due, blank)


def _empty(
    service: Service, due: tuple[ColumnElement[bool], ...], values: Mapping[str, Any]
) -> int:
    """Delete all files of videos, the strays of workers that were lost too, and note it."""
    with service.database.read() as connection:
        query = select(videos.c.id).where(*due).limit(AT_ONCE)
        ids = connection.execute(query).scalars().all()
    for id in ids:
        for prefix in ("videos", "states", "inputs"):
            _drop(service, f"{prefix}/{id}/")
        changed = {**dict.fromkeys(FILES), **values}
        with service.database.write() as connection:
            connection.execute(update(videos).where(videos.c.id == id).values(changed))
    return len(ids)


def _drop(service: Service, prefix: str) -> int:
    """Delete the files under a prefix; return how many."""
    keys = [key for key, _ in service.storage.names(prefix)]
    for key in keys:
        service.storage.delete(key)
    return len(keys)


def _inputs(service: Service) -> int:
    """Delete the inputs and states of videos that are over, and of none at all, in time."""
    gone = 0
    for prefix in ("inputs", "states"):
        found: dict[str, float] = {}
        for key, changed in service.storage.names(f"{prefix}/"):
            id = key.split("/")[1]
            found[id] = max(changed, found.get(id, 0.0))
        for id, changed in found.items():
            with service.database.read() as connection:
                state = connection.scalar(select(videos.c.state).where(videos.c.id == id))
            spared = SPARED if state is None else 0.0
            if state == FAILED:  # it may be tried again by the operator
                spared = service.settings.keep_input_hours * HOUR
            if state not in IN_HAND and time.time() - changed > spared:
                gone += _drop(service, f"{prefix}/{id}/")
    return gone


def _uploads(service: Service, now: float) -> int:
    with service.database.read() as connection:
        rows = connection.execute(
            select(uploads.c.id, uploads.c.storage_key)
            .where(uploads.c.expires_at < now)
            .limit(AT_ONCE)
        ).all()
    for id, key in rows:
        service.storage.delete(key)
        with service.database.write() as connection:
            connection.execute(delete(uploads).where(uploads.c.id == id))
    return len(rows)


def _rows(service: Service, now: float) -> int:
    """Forget keys of requests after a day, and announcements a month after they were made."""
    with service.database.write() as connection:
        return idempotency.sweep(connection, now) + webhooks.sweep(connection, now - 30 * DAY)
