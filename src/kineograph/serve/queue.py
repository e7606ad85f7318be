"""What workers do to videos: claim, report, keep the state, give back, end.

Each claim counts up the video's fence, and every change names the fence that it was claimed with:
a worker that was taken for dead and is not changes nothing any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Update,
    case,
    or_,
    select,
    update,
)

from kineograph.serve import outbox, store
from kineograph.serve.refusals import LostLease
from kineograph.serve.settings import Settings
from kineograph.serve.tables import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSED,
    QUEUED,
    RUNNING,
    settings,
    videos,
    workers,
)

HELD = "queue_held"  # the name of the switch: while it is set nothing is claimed
BACKOFF = 2.0  # seconds before a job that failed is tried again, doubled each time
LONGEST_BACKOFF = 300.0


@dataclass(frozen=True)
class Job:
    """A video in a worker's hands."""

    row: RowMapping
    fence: int

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def request(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.row["request"])
        return value

    @property
    def inputs(self) -> dict[str, str]:
        value: dict[str, str] = json.loads(self.row["inputs"])
        return value


def waiting(connection: Connection, models: Sequence[str], now: float, than: Job | None) -> bool:
    """Whether a video waits that a worker should take, before the one it has where it has one."""
    return connection.execute(_next(models, now, than)).first() is not None


def idle(connection: Connection) -> bool:
    """Whether a worker has nothing in hand, and so will take what waits by itself."""
    free = select(workers.c.id).where(workers.c.video_id.is_(None), ~workers.c.draining)
    return connection.execute(free.limit(1)).first() is not None


def claim(
    connection: Connection, worker: str, models: Sequence[str], now: float, than: Job | None = None
) -> Job | None:
    """Take the first video of the queue; None where there is none.

    With `than` only one that may interrupt that job: of a higher rank, and earlier in the queue.

    Raises:
        LostLease: the worker was taken for dead.
    """
    query = _next(models, now, than).with_for_update(skip_locked=True)
    number = connection.scalar(query)
    if number is None:
        return None
    row = connection.execute(
        update(videos)
        .where(videos.c.number == number, videos.c.state == QUEUED)
        .values(
            state=RUNNING, worker_id=worker, fence=videos.c.fence + 1, stage="loading", wanted=None
        )
        .returning(videos)
    ).mappings().first()  # fmt: skip
    if row is None:
        return None
    if row["started_at"] is None:
        connection.execute(update(videos).where(videos.c.number == number).values(started_at=now))
        outbox.announce_start(connection, row, now)
    known = connection.execute(
        update(workers).where(workers.c.id == worker).values(video_id=row["id"])
    )
    if known.rowcount != 1:
        raise LostLease(f"worker {worker} was taken for dead")
    return Job(row, row["fence"])


def put_back(connection: Connection, worker: str, jobs: Sequence[Job]) -> list[str]:
    """Give back what is a worker's but is none of the jobs in its hands; return the ids.

    A claim whose answer was lost on the way is in nobody's hands, and its worker lives.
    """
    rows = connection.execute(
        select(videos)
        .where(videos.c.worker_id == worker, videos.c.state == RUNNING)
        .where(videos.c.id.not_in([job.id for job in jobs]))
        .with_for_update()
    ).mappings().all()  # fmt: skip
    for row in rows:
        release(connection, Job(row, row["fence"]), 0.0, 0.0)
    return [str(row["id"]) for row in rows]


def _next(models: Sequence[str], now: float, than: Job | None) -> Any:  # noqa: ANN401 - a Select
    held = select(settings.c.value).where(settings.c.name == HELD, settings.c.value == "1")
    query = select(videos.c.number).where(
        videos.c.state == QUEUED,
        # What is further off than anything is put off was put off by a clock that ran ahead.
        or_(videos.c.not_before <= now, videos.c.not_before > now + LONGEST_BACKOFF),
        videos.c.model.in_(models),
        ~held.exists(),
    )
    if than is not None:
        query = query.where(
            videos.c.rank > than.row["rank"], videos.c.priority < than.row["priority"]
        )
    return query.order_by(videos.c.priority, videos.c.number).limit(1)


def _of(job: Job) -> Update:
    """A change of a video that is made only while it is this worker's."""
    return update(videos).where(
        videos.c.id == job.id, videos.c.fence == job.fence, videos.c.state == RUNNING
    )


def report(connection: Connection, job: Job, **values: Any) -> str | None:  # noqa: ANN401 - columns
    """Write down how far a video is; return what is asked of it: cancel, pause or nothing.

    Raises:
        LostLease: it is not this worker's any more.
    """
    row = connection.execute(_of(job).values(**values).returning(videos.c.wanted)).first()
    if row is None:
        raise LostLease(f"video {job.id} was taken over")
    return None if row.wanted is None else str(row.wanted)


def wanted(connection: Connection, job: Job) -> str | None:
    """Return what is asked of a running video; raises as `report`."""
    row = connection.execute(
        select(videos.c.wanted).where(
            videos.c.id == job.id, videos.c.fence == job.fence, videos.c.state == RUNNING
        )
    ).first()
    if row is None:
        raise LostLease(f"video {job.id} was taken over")
    return None if row.wanted is None else str(row.wanted)


def keep(connection: Connection, job: Job, step: int, key: str) -> None:
    """Write down that a video's state after a step lies in the storage; raises as `report`.

    What moved on is not to blame for what failed before.
    """
    moved = videos.c.kept < step
    report(
        connection, job, checkpoint=key, kept=step,
        attempts=case((moved, 0), else_=videos.c.attempts),
        losses=case((moved, 0), else_=videos.c.losses),
    )  # fmt: skip


def release(
    connection: Connection,
    job: Job,
    seconds: float,
    now: float,
    *,
    not_before: float = 0.0,
) -> str | None:
    """Give a video back: to the queue, or paused or cancelled where that was asked of it.

    `seconds` are those of the worker that went into it; `not_before` is when it may go on.
    Return what was asked; raises as `report`.
    """
    row = _locked(connection, job)
    used = row["used_seconds"] + seconds
    if row["wanted"] == store.CANCEL:
        _cancelled(connection, row, now, used)
        return store.CANCEL
    _put(connection, row, used_seconds=used, not_before=not_before)
    return None if row["wanted"] is None else str(row["wanted"])


def complete(
    connection: Connection, job: Job, files: dict[str, str], seconds: float, now: float
) -> bool:
    """Bring a video to its good end, once; raises as `report`.

    One that was to be cancelled is cancelled, though it is made: its owner was told that it
    costs nothing. Return whether it was completed.
    """
    row = _locked(connection, job)
    used = row["used_seconds"] + seconds
    if row["wanted"] == store.CANCEL:
        _cancelled(connection, row, now, used)
        return False
    values = {**files, "used_seconds": used, "progress": 1.0}
    store.end(connection, row, COMPLETED, now, values=values)
    _let_go(connection, row)
    return True


def fail(
    connection: Connection,
    job: Job,
    code: str,
    message: str,
    config: Settings,
    now: float,
    *,
    seconds: float,
    retry: bool,
) -> bool:
    """Let a video be tried again later, or fail for good; return whether it is tried again.

    Raises as `report`.
    """
    row = _locked(connection, job)
    attempts = row["attempts"] + 1
    used = row["used_seconds"] + seconds
    if row["wanted"] == store.CANCEL:
        _cancelled(connection, row, now, used)
        return False
    if retry and attempts < config.max_attempts:
        wait = min(BACKOFF * 2 ** (attempts - 1), LONGEST_BACKOFF)
        _put(
            connection, row, used_seconds=used, not_before=now + wait, attempts=attempts,
            error_code=code, error=message,
        )  # fmt: skip
        return True
    values = {"used_seconds": used, "attempts": attempts}
    store.end(connection, row, FAILED, now, code=code, message=message, values=values)
    _let_go(connection, row)
    return False


def _cancelled(connection: Connection, row: RowMapping, now: float, used: float) -> None:
    store.end(connection, row, CANCELLED, now, code="cancelled",
              message="cancelled by its owner", values={"used_seconds": used})  # fmt: skip
    _let_go(connection, row)


def _put(connection: Connection, row: RowMapping, **values: Any) -> None:  # noqa: ANN401 - columns
    """Put a video that runs, and that nobody else changes now, back to where it waits."""
    state = PAUSED if row["wanted"] == store.PAUSE else QUEUED
    connection.execute(
        update(videos)
        .where(videos.c.id == row["id"])
        .values(state=state, wanted=None, worker_id=None, stage=state, **values)
    )
    _let_go(connection, row)


def _let_go(connection: Connection, row: RowMapping) -> None:
    """Write down that a worker has a video no more, unless it has another one already."""
    connection.execute(
        update(workers)
        .where(workers.c.id == row["worker_id"], workers.c.video_id == row["id"])
        .values(video_id=None)
    )


def _locked(connection: Connection, job: Job) -> RowMapping:
    row = connection.execute(
        select(videos)
        .where(videos.c.id == job.id, videos.c.fence == job.fence, videos.c.state == RUNNING)
        .with_for_update()
    ).mappings().first()  # fmt: skip
    if row is None:
        raise LostLease(f"video {job.id} was taken over")
    return row


def lose(connection: Connection, row: RowMapping, config: Settings, now: float) -> None:
    """Take a video, whose row is locked, from a worker that is dead."""
    losses = row["losses"] + 1
    if row["wanted"] == store.CANCEL:
        _cancelled(connection, row, now, row["used_seconds"])
    elif losses >= config.max_losses:
        message = f"{losses} workers were lost on it at step {row['steps_done']}"
        store.end(connection, row, FAILED, now, code="worker_lost", message=message,
                  values={"losses": losses})  # fmt: skip
    else:
        _put(connection, row, losses=losses)
