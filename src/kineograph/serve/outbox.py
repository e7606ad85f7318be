"""What is to be announced: written in the transaction in which it comes true, sent afterwards.

So nothing is announced that did not happen, and nothing that happened is forgotten.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, delete, insert, select

from kineograph.serve.ids import new_id
from kineograph.serve.submission import KLING
from kineograph.serve.tables import COMPLETED, deliveries, endpoints

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"
STARTED, MADE, NOT_MADE = "video.in_progress", "video.completed", "video.failed"


def announce_start(connection: Connection, row: RowMapping, now: float) -> None:
    """Put the first start of a task of Kling's into the outbox: its callback is told of it."""
    if row["dialect"] == KLING and row["callback_url"] is not None:
        _put(connection, row, None, row["callback_url"], STARTED, now)


def announce(connection: Connection, row: RowMapping, state: str, now: float) -> None:
    """Put the end of a video into the outbox: for its callback and its account's endpoints."""
    # A start that was not told by now would be told after the end.
    connection.execute(
        delete(deliveries).where(
            deliveries.c.video_id == row["id"], deliveries.c.type == STARTED,
            deliveries.c.state == WAITING,
        )
    )  # fmt: skip
    targets = [] if row["callback_url"] is None else [(None, row["callback_url"])]
    found = connection.execute(
        select(endpoints.c.id, endpoints.c.url).where(
            endpoints.c.account_id == row["account_id"], endpoints.c.disabled_at.is_(None)
        )
    )
    targets += [(endpoint.id, endpoint.url) for endpoint in found]
    for endpoint_id, url in targets:
        _put(connection, row, endpoint_id, url, MADE if state == COMPLETED else NOT_MADE, now)


def _put(
    connection: Connection, row: RowMapping, endpoint_id: str | None, url: str, type: str,
    now: float,
) -> None:  # fmt: skip
    connection.execute(
        insert(deliveries).values(
            id=new_id("evt"), account_id=row["account_id"], endpoint_id=endpoint_id, url=url,
            video_id=row["id"], type=type, state=WAITING, next_at=now, created_at=now,
        )
    )  # fmt: skip
