"""What an operator may do to the queue besides its owners: try again, hold it, put one first."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from kineograph.serve import ledger, store
from kineograph.serve.queue import HELD
from kineograph.serve.refusals import Conflict, NotFound
from kineograph.serve.storage import Storage
from kineograph.serve.tables import FAILED, QUEUED, RUNNING, settings, videos


def retry(connection: Connection, id: str, storage: Storage, now: float) -> RowMapping:
    """Let a failed video wait again where it stood, its price reserved anew; return its row.

    What was kept of its work is gone on with. The limits of its account do not count: it was
    within them once.

    Raises:
        NotFound: there is none, or it is deleted.
        Conflict: it has not failed, or the files that it is made from are no longer kept.
        NoCredits: its account cannot pay for it any more.
    """
    store.get(connection, id, None)
    query = select(videos).where(videos.c.id == id).with_for_update()
    row = connection.execute(query).mappings().one()
    if row["state"] != FAILED:
        raise Conflict(f"video {id!r} is {row['state']}; only a failed one can be tried again")
    for name, key in json.loads(row["inputs"]).items():
        if not _there(storage, key):
            raise Conflict(f"the file {name} of video {id!r} is no longer kept; send it anew")
    if row["reserved"]:
        ledger.move(
            connection, row["account_id"], ledger.RESERVE, -row["reserved"], now=now, video_id=id,
            note=f"tried again: {row['cost_seconds']:.2f} s of {row['model']}",
        )  # fmt: skip
    store.count_time(connection, row, 1)
    values: dict[str, Any] = dict(
        state=QUEUED, stage=QUEUED, wanted=None, worker_id=None, attempts=0, losses=0,
        not_before=0.0, error=None, error_code=None, completed_at=None, charged=0,
        # What its sender was told is about the first time.
        told_start_at=None, told_end_at=None,
    )  # fmt: skip
    if row["checkpoint"] is None or not _there(storage, row["checkpoint"]):
        values |= dict(checkpoint=None, kept=-1, steps_done=0, progress=0.0)
    changed = update(videos).where(videos.c.id == id).values(values).returning(videos)
    return connection.execute(changed).mappings().one()


def _there(storage: Storage, key: str) -> bool:
    try:
        storage.size(key)
    except NotFound:
        return False
    return True


def move_first(connection: Connection, id: str) -> None:
    """Move a waiting video before all others.

    Raises:
        NotFound: there is none.
        Conflict: it does not wait.
    """
    first = connection.scalar(
        select(videos.c.id)
        .where(videos.c.state == QUEUED)
        .order_by(videos.c.priority, videos.c.number)
        .limit(1)
    )
    if first != id:
        store.move_to(connection, id, before=first)


def hold(connection: Connection) -> None:
    """Let no video be begun from now on; what runs goes on to its end."""
    release(connection)
    connection.execute(insert(settings).values(name=HELD, value="1"))


def release(connection: Connection) -> None:
    """Let videos be begun again."""
    connection.execute(delete(settings).where(settings.c.name == HELD))


def is_held(connection: Connection) -> bool:
    """Whether no video is begun now."""
    held = select(settings.c.value).where(settings.c.name == HELD)
    return connection.scalar(held) == "1"


def count(connection: Connection, state: str = RUNNING) -> int:
    """Return how many videos are in a state."""
    query = select(func.count()).select_from(videos).where(videos.c.state == state)
    return connection.scalar(query) or 0
