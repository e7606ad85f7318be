"""What is to be announced: written in the transaction in which it comes true, sent afterwards.

So nothing is announced that did not happen, and nothing that happened is forgotten.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, insert, select

from kineograph.serve.ids import new_id
from kineograph.serve.tables import COMPLETED, deliveries, endpoints

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"


def announce(connection: Connection, row: RowMapping, state: str, now: float) -> None:
    """Put the end of a video into the outbox: for its callback and its account's endpoints."""
    targets = [] if row["callback_url"] is None else [(None, row["callback_url"])]
    found = connection.execute(
        select(endpoints.c.id, endpoints.c.url).where(
            endpoints.c.account_id == row["account_id"], endpoints.c.disabled_at.is_(None)
        )
    )
    targets += [(endpoint.id, endpoint.url) for endpoint in found]
    kind = "video.completed" if state == COMPLETED else "video.failed"
    for endpoint_id, url in targets:
        connection.execute(
            insert(deliveries).values(
                id=new_id("evt"), account_id=row["account_id"], endpoint_id=endpoint_id, url=url,
                video_id=row["id"], type=kind, state=WAITING, next_at=now, created_at=now,
            )
        )  # fmt: skip
