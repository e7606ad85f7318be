"""Idempotency keys: a request that is sent twice makes one video, and gets the same answer.

The key's row is written in the transaction that makes the video, so either both are there or
neither: a request that is refused leaves its key free. Two requests with one key at the same time
meet at the row's primary key. On SQLite the second one's writing transaction begins when the
first has ended; on PostgreSQL (read committed) its insert waits for the first to end, and then
fails or goes through. Both then see what became of the first. A key "in hand", for which the
answer is 409, is hence only seen where a row was committed without its video.
"""

from __future__ import annotations

import re

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from kineograph.errors import shown
from kineograph.serve.refusals import BodyMismatch, Conflict, Refusal
from kineograph.serve.tables import idempotency

KEPT = 86_400.0  # seconds for which a key is known
HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")


def find(
    connection: Connection, account_id: str, key: str, body_hash: str, now: float
) -> str | None:
    """Return the id of the video that a key has made; None where it has made none.

    It only reads: a first look, before there is anything to write.

    Raises:
        Refusal: the key is not 1 to 255 visible characters.
        BodyMismatch: the key came with another body before.
        Conflict: the first request with this key is still in hand.
    """
    _check_key(key)
    row = _row(connection, account_id, key)
    return None if row is None or row["created_at"] <= now - KEPT else _made(row, body_hash)


def begin(
    connection: Connection, account_id: str, key: str, body_hash: str, now: float
) -> str | None:
    """Return the id of the video that a key has made; None, and it is yours to be made.

    Then `finish` is to be called before the transaction ends.

    Raises:
        Refusal: the key is not 1 to 255 visible characters.
        BodyMismatch: the key came with another body before.
        Conflict: the first request with this key is still in hand.
    """
    _check_key(key)
    # An old row is gone before the new one is written: its key is free, whether swept or not.
    old = idempotency.c.created_at <= now - KEPT
    connection.execute(delete(idempotency).where(*_is(account_id, key), old))
    values = dict(account_id=account_id, key=key, body_hash=body_hash, created_at=now)
    try:
        with connection.begin_nested():
            connection.execute(insert(idempotency).values(values))
        return None
    except IntegrityError:
        row = _row(connection, account_id, key)
        if row is None:
            raise  # it was not for the key: there is no such account
    return _made(row, body_hash)


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise Refusal(
            f"{HEADER} {shown(key)} is not allowed; 1 to 255 visible ASCII characters are",
            param=HEADER,
        )


def _is(account_id: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return idempotency.c.account_id == account_id, idempotency.c.key == key


def _row(connection: Connection, account_id: str, key: str) -> RowMapping | None:
    query = select(idempotency).where(*_is(account_id, key))
    return connection.execute(query).mappings().first()


def _made(row: RowMapping, body_hash: str) -> str:
    """Return what the request of a row has made, if it was this one."""
    name = f"{HEADER} {shown(row['key'])}"
    if row["body_hash"] != body_hash:
        raise BodyMismatch(
            f"{name} was used with another request; a key is for one request, and the same one "
            "when it is sent again",
            param=HEADER,
        )
    if row["video_id"] is None:
        raise Conflict(
            f"the first request with {name} is still in hand", param=HEADER, retry_after=1.0
        )
    return str(row["video_id"])


def finish(connection: Connection, account_id: str, key: str, video_id: str) -> None:
    """Write down what a key that was begun in this transaction has made."""
    connection.execute(update(idempotency).where(*_is(account_id, key)).values(video_id=video_id))


def forget(connection: Connection, account_id: str, key: str) -> None:
    """Let a key be used anew."""
    connection.execute(delete(idempotency).where(*_is(account_id, key)))


def sweep(connection: Connection, now: float) -> int:
    """Forget the keys that are older than a day; return how many."""
    gone = connection.execute(delete(idempotency).where(idempotency.c.created_at <= now - KEPT))
    return gone.rowcount
