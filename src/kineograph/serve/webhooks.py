"""Webhooks: the endpoints of an account, and the sending of what waits in the outbox.

Everything is sent at least once, signed as Standard Webhooks has it (standardwebhooks.com): a
receiver knows a repetition by its webhook-id. A delivery is claimed by moving its time forward in
a transaction of its own, so that no second process sends it meanwhile, and so that a process that
dies in between has only put it off. Endpoints have secrets of their own; the callbacks of single
videos are signed with one of the account, which follows from the installation's.
"""

from __future__ import annotations

import base64
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, select, update
from standardwebhooks import Webhook

from kineograph.errors import RequestError, shown
from kineograph.serve.database import Database
from kineograph.serve.ids import new_id
from kineograph.serve.outbox import DELIVERED, GIVEN_UP, WAITING
from kineograph.serve.refusals import Conflict, Forbidden, NotFound
from kineograph.serve.sealing import derive, load_secret, load_secrets, seal, unseal
from kineograph.serve.settings import Settings
from kineograph.serve.tables import deliveries, endpoints

Post = Callable[[str, bytes, Mapping[str, str]], int]  # an HTTP status; raises what it cannot
Render = Callable[[RowMapping], str]

MOST_ENDPOINTS = 10  # of an account
BOTH_SIGN = 86_400.0  # seconds after a rotation for which the old secret signs too
LEASE = 120.0  # seconds that a claim holds: longer than any `post` may take
FIRST_WAIT, LONGEST_WAIT = 5.0, 6 * 3600.0  # seconds between two attempts
JITTER = 0.25  # of a wait, either way
THREADS = 4
GONE = 410  # the status by which a receiver says that it wants no more

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewEndpoint:
    """An endpoint that was made or rotated; its secret is shown now and never again."""

    id: str
    url: str
    secret: str = field(repr=False)  # whsec_...


class Untold(RequestError):
    """There is nothing left that a delivery could tell."""


def _new_secret() -> str:
    return _as_secret(os.urandom(32))


def _as_secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def account_secret(settings: Settings, account_id: str) -> str:
    """Return the secret that signs the callbacks of an account's videos; for its owner alone."""
    return account_secrets(settings, account_id)[0]


def account_secrets(settings: Settings, account_id: str) -> list[str]:
    """Return that secret and, while the installation names its secret before, that of before."""
    purpose = f"callbacks of {account_id}"
    return [_as_secret(derive(secret, purpose)) for secret in load_secrets(settings)]


def signed(secrets: list[str], id: str, body: str, now: float) -> dict[str, str]:
    """Return the headers of a webhook: its id, the time and a signature of each secret."""
    at = datetime.fromtimestamp(floor(now), UTC)
    return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": str(floor(now)),
        "webhook-signature": " ".join(Webhook(secret).sign(id, at, body) for secret in secrets),
    }


# Endpoints.


def create_endpoint(
    connection: Connection, account_id: str, url: str, settings: Settings, now: float,
    *, check: Callable[[str], None],
) -> NewEndpoint:  # fmt: skip
    """Let an account's events be sent to a URL; the answer holds the secret that signs them.

    `check` raises a `RequestError` where the URL may not be reached (`fetch.check_url`).

    Raises:
        Forbidden: this service sends no webhooks.
        Conflict: the account has as many endpoints as it may.
        RequestError: the URL is not allowed.
    """
    if not settings.callbacks:
        raise Forbidden("this service sends no webhooks: `callbacks` is off")
    check(url)
    mine = endpoints.c.account_id == account_id
    count = connection.scalar(select(func.count()).select_from(endpoints).where(mine))
    if (count or 0) >= MOST_ENDPOINTS:
        raise Conflict(f"the account has {count} endpoints, as many as it may; delete one first")
    new = NewEndpoint(new_id("whep"), url, _new_secret())
    connection.execute(
        insert(endpoints).values(
            id=new.id, account_id=account_id, url=url, created_at=now,
            sealed=seal(load_secret(settings), new.secret, f"endpoint {new.id}"),
        )
    )  # fmt: skip
    return new


def list_endpoints(connection: Connection, account_id: str) -> list[dict[str, Any]]:
    """Return an account's endpoints, the oldest first: all that may be shown of them."""
    shows = [c for c in endpoints.c if not c.name.startswith("sealed") and c.name != "account_id"]
    query = select(*shows).where(endpoints.c.account_id == account_id)
    order = (endpoints.c.created_at, endpoints.c.id)
    return [dict(row) for row in connection.execute(query.order_by(*order)).mappings()]


def delete_endpoint(connection: Connection, account_id: str | None, id: str) -> None:
    """Delete an endpoint, of any account where None is named; what waits for it is given up.

    Raises:
        NotFound: there is none, or it is another account's.
    """
    _endpoint(connection, account_id, id)
    connection.execute(delete(endpoints).where(endpoints.c.id == id))
    _give_up(connection, deliveries.c.endpoint_id == id, "the endpoint was deleted")


def rotate_endpoint(
    connection: Connection, account_id: str | None, id: str, settings: Settings, now: float
) -> NewEndpoint:
    """Give an endpoint another secret; for a day the one before it signs as well.

    Raises:
        NotFound: there is no such endpoint, or it is another account's.
    """
    row = _endpoint(connection, account_id, id)
    new = NewEndpoint(id, row["url"], _new_secret())
    connection.execute(
        update(endpoints).where(endpoints.c.id == id).values(
            sealed=seal(load_secret(settings), new.secret, f"endpoint {id}"),
            sealed_before=row["sealed"], before_until=now + BOTH_SIGN,
        )
    )  # fmt: skip
    return new


def enable_endpoint(connection: Connection, account_id: str | None, id: str) -> None:
    """Send to an endpoint again that has answered 410; what was given up is not sent by itself.

    Raises:
        NotFound: there is no such endpoint, or it is another account's.
    """
    _endpoint(connection, account_id, id)
    connection.execute(update(endpoints).where(endpoints.c.id == id).values(disabled_at=None))


def _endpoint(connection: Connection, account_id: str | None, id: str) -> RowMapping:
    query = select(endpoints).where(endpoints.c.id == id).with_for_update()
    if account_id is not None:
        query = query.where(endpoints.c.account_id == account_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no endpoint {shown(id)}")
    return row


# The log of deliveries.


def list_deliveries(
    connection: Connection, account_id: str | None, *, video_id: str | None = None,
    endpoint_id: str | None = None, limit: int = 100,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return deliveries, the newest first, with the bodies of those that were sent."""
    wanted = {"account_id": account_id, "video_id": video_id, "endpoint_id": endpoint_id}
    query = select(deliveries).order_by(deliveries.c.created_at.desc(), deliveries.c.id)
    for name, value in wanted.items():
        if value is not None:
            query = query.where(deliveries.c[name] == value)
    return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]


def replay(connection: Connection, account_id: str | None, id: str, now: float) -> int:
    """Send a delivery again, or all those of a video, whatever became of them; return how many.

    The body and the webhook-id stay what they were.

    Raises:
        NotFound: there is no such delivery or video, or it is another account's.
        Conflict: their endpoints are all deleted or disabled.
    """
    which = (deliveries.c.id == id) | (deliveries.c.video_id == id)
    if account_id is not None:
        which &= deliveries.c.account_id == account_id
    if connection.scalar(select(func.count()).select_from(deliveries).where(which)) == 0:
        raise NotFound(f"there is no delivery {shown(id)}, nor one of a video of that id")
    alive = select(endpoints.c.id).where(endpoints.c.disabled_at.is_(None))
    which &= deliveries.c.endpoint_id.is_(None) | deliveries.c.endpoint_id.in_(alive)
    again = update(deliveries).where(which).values(state=WAITING, attempts=0, next_at=now)
    count = connection.execute(again).rowcount
    if count == 0:
        raise Conflict(f"the endpoint of {shown(id)} is deleted or disabled; enable it first")
    return count


def sweep(connection: Connection, before: float) -> int:
    """Forget the deliveries made before a time that wait no more; return how many."""
    over = (deliveries.c.state != WAITING, deliveries.c.created_at < before)
    return connection.execute(delete(deliveries).where(*over)).rowcount


def _give_up(connection: Connection, which: ColumnElement[bool], why: str) -> None:
    connection.execute(
        update(deliveries)
        .where(which, deliveries.c.state == WAITING)
        .values(state=GIVEN_UP, answer=why)
    )


# Sending.


def wait_after(attempts: int, chance: float = 0.5) -> float:
    """Return the seconds to wait after some failed attempts: twice as many each time, up to 6 h.

    `chance`, from 0 to 1, spreads them by a quarter to either side.
    """
    wait = min(FIRST_WAIT * 2.0 ** min(attempts - 1, 30), LONGEST_WAIT)
    return wait * (1 + JITTER * (2 * chance - 1))


def is_last(attempts: int, hours: float) -> bool:
    """Return whether the waits that follow some attempts would take longer than some hours."""
    return sum(wait_after(n) for n in range(1, attempts + 1)) > hours * 3600


@dataclass
class _Round:
    """One call of `deliver_due`, shared by its threads."""

    database: Database
    settings: Settings
    post: Post
    render: Render
    now: float
    chance: Callable[[], float]
    left: int
    started: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)  # of claims
    # URLs that are being sent to, or have failed: one try a round is enough.
    closed: set[str] = field(default_factory=set)

    def time(self) -> float:
        return self.now + time.monotonic() - self.started


def deliver_due(
    database: Database, settings: Settings, *, post: Post, render: Render, now: float,
    limit: int = 100, chance: Callable[[], float] = random.random,
) -> int:  # fmt: skip
    """Send what is due, at most `limit` deliveries, four at a time; return how many were tried.

    `render` makes the body of a delivery when it is sent for the first time, and raises a
    `RequestError` where there is nothing left to tell of. `post` sends it and returns the status.
    One URL gets one at a time, and none any more in this call once it fails: a receiver that is
    slow or away holds up no other.
    """
    with database.read() as connection:
        query = select(func.count()).select_from(deliveries).where(*_due(now, set()))
        due = min(connection.scalar(query) or 0, limit)
    if due == 0:
        return 0
    this = _Round(database, settings, post, render, now, chance, due)
    if due == 1:
        return _deliver_some(this)
    with ThreadPoolExecutor(min(due, THREADS), "webhooks") as pool:
        return sum(pool.map(_deliver_some, [this] * min(due, THREADS)))


def _deliver_some(this: _Round) -> int:
    count = 0
    while (claimed := _claim(this)) is not None:
        count += 1
        if _deliver(this, *claimed):
            with this.lock:
                this.closed.discard(claimed[0]["url"])
    return count


def _due(now: float, closed: set[str]) -> tuple[ColumnElement[bool], ...]:
    state, at = deliveries.c.state == WAITING, deliveries.c.next_at <= now
    return state, at, deliveries.c.url.not_in(sorted(closed))


def _claim(this: _Round) -> tuple[RowMapping, RowMapping | None] | None:
    """Take the delivery that is due longest, and its endpoint; None where there is none."""
    with this.lock, this.database.write() as connection:
        if this.left <= 0:
            return None
        at = this.time()
        query = select(deliveries.c.id).where(*_due(at, this.closed))
        query = query.order_by(deliveries.c.next_at).limit(1).with_for_update(skip_locked=True)
        id = connection.scalar(query)
        if id is None:
            return None
        row = connection.execute(
            update(deliveries)
            .where(deliveries.c.id == id)
            .values(next_at=at + LEASE, attempts=deliveries.c.attempts + 1)
            .returning(deliveries)
        ).mappings().one()  # fmt: skip
        this.left -= 1
        this.closed.add(row["url"])
        where = select(endpoints).where(endpoints.c.id == row["endpoint_id"])
        return row, connection.execute(where).mappings().first()


def _deliver(this: _Round, row: RowMapping, endpoint: RowMapping | None) -> bool:
    """Send one delivery, and write down what became of it; False where its URL failed."""
    if row["endpoint_id"] is not None and (endpoint is None or endpoint["disabled_at"] is not None):
        _settle(this, row, GIVEN_UP, "the endpoint is deleted or disabled")
        return True
    try:
        status = _send(this, row, endpoint)
        answer = f"status {status}"
    except Untold as error:
        _settle(this, row, GIVEN_UP, str(error))
        return True
    except Exception as error:  # whatever it is, the delivery is tried again
        if not isinstance(error, RequestError | OSError):
            log.exception("delivery %s failed", row["id"])
        status, answer = 0, f"{type(error).__name__}: {error}"[:300]
    if 200 <= status < 300:
        _settle(this, row, DELIVERED, answer)
        return True
    if status == GONE:
        _settle(this, row, GIVEN_UP, answer, disable=row["endpoint_id"])
        return True
    last = is_last(row["attempts"], this.settings.webhook_hours)
    _settle(this, row, GIVEN_UP if last else WAITING, answer)
    return False


def _send(this: _Round, row: RowMapping, endpoint: RowMapping | None) -> int:
    """Send a delivery and return the status; its body is made, and kept, the first time."""
    body = row["body"]
    if body is None:
        try:
            body = this.render(row)
        except RequestError as error:
            raise Untold(f"there is nothing to tell: {error}") from error
        # Kept before it is sent: who gets it twice gets it the same twice.
        _write(this, row, {"body": body})
    headers = signed(_secrets(this, row, endpoint), row["id"], body, this.time())
    return this.post(row["url"], body.encode(), headers)


def _secrets(this: _Round, row: RowMapping, endpoint: RowMapping | None) -> list[str]:
    """Return the secrets that sign a delivery, the newest first."""
    if endpoint is None:
        return account_secrets(this.settings, row["account_id"])
    sealed = [endpoint["sealed"]]
    if endpoint["before_until"] is not None and endpoint["before_until"] > this.time():
        sealed.append(endpoint["sealed_before"])
    secret = load_secret(this.settings)
    return [unseal(secret, one, f"endpoint {endpoint['id']}") for one in sealed]


def _settle(
    this: _Round, row: RowMapping, state: str, answer: str, *, disable: str | None = None
) -> None:
    """Write down what became of a delivery, and disable its endpoint where that is named."""
    at = this.time()
    next_at = at + wait_after(row["attempts"], this.chance())
    _write(this, row, {"state": state, "answer": answer, "next_at": next_at})
    if disable is not None:
        with this.database.write() as connection:
            change = update(endpoints).where(endpoints.c.id == disable).values(disabled_at=at)
            connection.execute(change)
            _give_up(connection, deliveries.c.endpoint_id == disable, "the endpoint answered 410")


def _write(this: _Round, row: RowMapping, values: dict[str, Any]) -> None:
    """Change a delivery, unless somebody else has claimed or replayed it since."""
    ours = (deliveries.c.id == row["id"], deliveries.c.next_at == row["next_at"])
    with this.database.write() as connection:
        connection.execute(update(deliveries).where(*ours).values(values))
