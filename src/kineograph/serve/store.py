"""The store of videos: what comes in, what is asked of it, and what is shown.

All of it happens in transactions of the caller. A video is queued, then runs, any number of
times, until it is completed, failed or cancelled; paused ones wait until they are resumed. What
workers do to a video is in `queue`; both keep to one rule: whoever changes a running video must be
the worker that claimed it last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from kineograph.serve import ledger, outbox
from kineograph.serve.refusals import Conflict, NotFound, TooMany, Unavailable
from kineograph.serve.scheduler import Standing, priority, virtual_finish
from kineograph.serve.settings import Settings
from kineograph.serve.tables import (
    CANCELLED,
    COMPLETED,
    FAILED,
    IN_HAND,
    NEW_VIDEO,
    OVER,
    PAUSED,
    QUEUED,
    RUNNING,
    VideoRow,
    accounts,
    videos,
)

DAY = 86_400.0
CANCEL, PAUSE = "cancel", "pause"

# Statements of every submission: built once, since building takes longer than running them.
_ACCOUNT = select(accounts).where(accounts.c.id == bindparam("account")).with_for_update()
_FINISH = (
    update(accounts).where(accounts.c.id == bindparam("account")).values(finish=bindparam("at"))
)
_INSERT = insert(videos).returning(videos.c.number)
_IN_HAND = (
    select(func.count())
    .select_from(videos)
    .where(videos.c.account_id == bindparam("account"), videos.c.state.in_(IN_HAND))
)
_WAITING = select(func.count()).select_from(videos).where(videos.c.state == QUEUED)


@dataclass(frozen=True)
class NewVideo:
    """What is to be made, checked and priced, with its inputs in the storage."""

    id: str
    account_id: str
    dialect: str
    kind: str
    model: str
    request: Mapping[str, Any]  # a GenerationRequest's fields, the seed chosen
    seconds: float  # that the clip lasts
    steps: int
    cost_seconds: float  # of a worker, as estimated
    key_id: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)  # name in the request: storage key
    told: Mapping[str, Any] = field(default_factory=dict)
    remixed_from: str | None = None
    external_id: str | None = None
    callback_url: str | None = None


def submit(
    connection: Connection,
    new: NewVideo,
    settings: Settings,
    now: float,
    *,
    waiting: int | None = None,
    foretell: Callable[[str, float, float, int], Standing] | None = None,
) -> VideoRow:
    """Put a video into the queue: within the account's limits, its price reserved.

    Returns its row. `waiting` is how long the queue is, where that is known well enough;
    `foretell` says of an id, a priority, a cost in seconds and a rank where the video will stand,
    which is written down to be judged by.

    Raises:
        TooMany: the account has as many in hand, or as much a day, as its tier allows.
        NoCredits: the account cannot pay.
        Conflict: the account has another video of this external id.
        Unavailable: the queue is full.
    """
    # Taking the account's row first makes submissions of one account follow each other.
    account = connection.execute(_ACCOUNT, {"account": new.account_id}).mappings().one()
    tier = settings.tier(account["tier"])
    _check_limits(connection, new, settings, account["tier"], now, waiting)
    finish = virtual_finish(now, account["finish"], new.cost_seconds, tier)
    connection.execute(_FINISH, {"account": new.account_id, "at": finish})
    reserved = settings.price_of(new.model, new.cost_seconds) if tier.pays else 0
    if reserved:
        ledger.move(
            connection, new.account_id, ledger.RESERVE, -reserved, now=now, video_id=new.id,
            note=f"{new.cost_seconds:.2f} s of {new.model}",
        )  # fmt: skip
    values: dict[str, Any] = dict(
        id=new.id, account_id=new.account_id, key_id=new.key_id, dialect=new.dialect,
        kind=new.kind, model=new.model, prompt=new.request["prompt"],
        request=_json(new.request), inputs=_json(new.inputs),
        told=_json({
            **new.told, "share": new.cost_seconds / tier.weight,
            "keep_seconds": settings.keep_days * DAY,
        }),
        seconds=new.seconds, remixed_from=new.remixed_from, external_id=new.external_id,
        callback_url=new.callback_url, state=QUEUED, rank=tier.rank,
        priority=priority(finish, tier), steps=new.steps, created_at=now,
        cost_seconds=new.cost_seconds, reserved=reserved,
    )  # fmt: skip
    if foretell is not None:
        standing = foretell(new.id, values["priority"], new.cost_seconds, tier.rank)
        values["told_start_at"] = now + standing.starts_in
        values["told_end_at"] = now + standing.ends_in
    try:
        number = connection.scalar(_INSERT, values)
    except IntegrityError:
        raise Conflict(
            f"the account has a video of external_task_id {new.external_id!r} already",
            param="external_task_id",
        ) from None
    return NEW_VIDEO | values | {"number": number}


def _check_limits(
    connection: Connection, new: NewVideo, settings: Settings, tier_name: str, now: float,
    waiting: int | None,
) -> None:  # fmt: skip
    tier = settings.tier(tier_name)
    mine = videos.c.account_id == new.account_id
    in_hand = 0  # not counted where as many as the queue holds are allowed
    if tier.in_hand < settings.max_queue:
        in_hand = connection.scalar(_IN_HAND, {"account": new.account_id}) or 0
    if in_hand >= tier.in_hand:
        raise TooMany(
            f"{in_hand} videos of this account are waiting or running; the tier {tier_name!r} "
            f"allows {tier.in_hand} at a time"
        )
    if tier.seconds_per_day < 1e9:
        spent = connection.scalar(
            select(func.sum(videos.c.seconds))
            .where(mine, videos.c.created_at > now - DAY)
            .where(videos.c.state.not_in((FAILED, CANCELLED)))
        )  # fmt: skip
        if (spent or 0) + new.seconds > tier.seconds_per_day:
            raise TooMany(
                f"{spent or 0:.0f} s of video were asked for within a day; the tier "
                f"{tier_name!r} allows {tier.seconds_per_day:.0f}",
                retry_after=3600,
            )
    if waiting is None:
        waiting = connection.scalar(_WAITING) or 0
    if waiting >= settings.max_queue:
        raise Unavailable(f"{waiting} videos are waiting, as many as may", retry_after=60)


def get(connection: Connection, id: str, account_id: str | None) -> RowMapping:
    """Return a video's row; of any account where None is named.

    Raises:
        NotFound: there is none of this id, it is deleted, or it is another account's.
    """
    query = select(videos).where(videos.c.id == id, videos.c.deleted_at.is_(None))
    if account_id is not None:
        query = query.where(videos.c.account_id == account_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(f"there is no video {id!r}")
    return row


def page(
    connection: Connection,
    account_id: str | None,
    *,
    after: str | None = None,
    limit: int = 20,
    newest_first: bool = True,
    where: tuple[Any, ...] = (),
) -> tuple[list[RowMapping], bool]:
    """Return some videos of an account, and whether there are more behind them.

    Raises:
        NotFound: `after` is no video of the account.
    """
    query = select(videos).where(videos.c.deleted_at.is_(None), *where)
    if account_id is not None:
        query = query.where(videos.c.account_id == account_id)
    if after is not None:
        number = get(connection, after, account_id)["number"]
        query = query.where(
            videos.c.number < number if newest_first else videos.c.number > number
        )
    order = videos.c.number.desc() if newest_first else videos.c.number
    rows = connection.execute(query.order_by(order).limit(limit + 1)).mappings().all()
    return list(rows[:limit]), len(rows) > limit


def _mine(connection: Connection, id: str, account_id: str | None) -> RowMapping:
    """Return a video's row, which nobody else changes until the transaction ends."""
    get(connection, id, account_id)
    query = select(videos).where(videos.c.id == id).with_for_update()
    return connection.execute(query).mappings().one()


def cancel(connection: Connection, id: str, account_id: str | None, now: float) -> None:
    """Cancel a video: at once where it waits, at the next step where it runs.

    Raises:
        NotFound: there is none.
        Conflict: it is over.
    """
    row = _mine(connection, id, account_id)
    if row["state"] in OVER:
        raise Conflict(f"video {id!r} is {row['state']} already and cannot be cancelled")
    if row["state"] == RUNNING:
        connection.execute(update(videos).where(videos.c.id == id).values(wanted=CANCEL))
    else:
        end(connection, row, CANCELLED, now, code="cancelled", message="cancelled by its owner")


def pause(connection: Connection, id: str, account_id: str | None) -> None:
    """Pause a video: at once where it waits, at the next step where it runs.

    Raises:
        NotFound: there is none.
        Conflict: it is over, or is being cancelled.
    """
    row = _mine(connection, id, account_id)
    if row["state"] in OVER or row["wanted"] == CANCEL:
        how = "being cancelled" if row["state"] == RUNNING else row["state"]
        raise Conflict(f"video {id!r} is {how} and cannot be paused")
    change: dict[str, Any] = {"wanted": PAUSE} if row["state"] == RUNNING else {"state": PAUSED}
    connection.execute(update(videos).where(videos.c.id == id).values(change))


def resume(connection: Connection, id: str, account_id: str | None) -> None:
    """Let a paused video wait in the queue again, where it stood.

    Raises:
        NotFound: there is none.
        Conflict: it is not paused, nor about to be.
    """
    row = _mine(connection, id, account_id)
    if row["state"] == PAUSED:
        change: dict[str, Any] = {"state": QUEUED, "not_before": 0.0}
    elif row["state"] == RUNNING and row["wanted"] == PAUSE:
        change = {"wanted": None}
    else:
        raise Conflict(f"video {id!r} is {row['state']}; only a paused one can be resumed")
    connection.execute(update(videos).where(videos.c.id == id).values(change))


def delete(connection: Connection, id: str, account_id: str | None, now: float) -> RowMapping:
    """Delete a video; one that is in hand is cancelled. Its files go with the next sweep.

    Raises:
        NotFound: there is none.
    """
    row = _mine(connection, id, account_id)
    if row["state"] in IN_HAND:
        cancel(connection, id, account_id, now)
    connection.execute(update(videos).where(videos.c.id == id).values(deleted_at=now))
    return row


def end(
    connection: Connection,
    row: RowMapping,
    state: str,
    now: float,
    *,
    code: str | None = None,
    message: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> None:
    """Bring a video to its end: the state, the money, the account's debt and the announcement.

    The caller has made sure that nobody else ends it at the same time.
    """
    made = state == COMPLETED
    charged = row["reserved"] if made else 0
    if made:
        ledger.settle(
            connection, row["account_id"], row["id"], row["reserved"], charged, now
        )
    else:
        why = f"{state}: {message or code}"
        ledger.refund(connection, row["account_id"], row["id"], row["reserved"], now, why)
        count_time(connection, row, -1)
    connection.execute(
        update(videos)
        .where(videos.c.id == row["id"])
        .values(
            state=state, wanted=None, worker_id=None, stage=state, completed_at=now,
            charged=charged, error_code=code, error=message,
            expires_at=_expiry(row, now) if made else None, **dict(values or {}),
        )
    )  # fmt: skip
    outbox.announce(connection, row, state, now)


def _expiry(row: RowMapping, now: float) -> float:
    """Return when a finished video's files go: as its sender asked, or the service keeps them."""
    told = json.loads(row["told"])
    kept: float = now + told.get("keep_seconds", DAY)
    after = told.get("expires_after")
    return kept if after is None else min(kept, max(row["created_at"] + after, now))


def count_time(connection: Connection, row: RowMapping, sign: int) -> None:
    """Put a video's share on its account's virtual time (1), or take it off again (-1)."""
    share = sign * json.loads(row["told"]).get("share", 0.0)
    connection.execute(
        update(accounts)
        .where(accounts.c.id == row["account_id"])
        .values(finish=accounts.c.finish + share)
    )


def move_to(connection: Connection, id: str, *, before: str | None) -> None:
    """Move a waiting video before another one, or to the end of the queue.

    Raises:
        NotFound: there is no such video.
        Conflict: one of them does not wait.
    """
    row = _mine(connection, id, None)
    other = None if before is None else get(connection, before, None)
    for video in (row, other):
        if video is not None and video["state"] != QUEUED:
            raise Conflict(f"video {video['id']!r} is {video['state']} and not in the queue")
    waiting = videos.c.state == QUEUED
    if other is None:
        last = connection.scalar(select(func.max(videos.c.priority)).where(waiting))
        wanted = float(last or 0) + 1.0
    else:
        ahead = connection.scalar(
            select(func.max(videos.c.priority))
            .where(waiting, videos.c.priority < other["priority"], videos.c.id != id)
        )  # fmt: skip
        wanted = (other["priority"] + (ahead if ahead is not None else other["priority"] - 2)) / 2
    connection.execute(update(videos).where(videos.c.id == id).values(priority=wanted))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False)
