"""`kineo queue`: what waits and runs, and what an operator does about it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, case, select

from kineograph.errors import KineographError, RequestError
from kineograph.serve import again, store, webhooks
from kineograph.serve.board import Board
from kineograph.serve.metrics import eta_errors
from kineograph.serve.operate import show
from kineograph.serve.operate.place import changing, opened, reading
from kineograph.serve.overview import eta_summary
from kineograph.serve.settings import MICRO
from kineograph.serve.storage import Storage
from kineograph.serve.tables import (
    FAILED,
    IN_HAND,
    OVER,
    PAUSED,
    QUEUED,
    RUNNING,
    accounts,
    ledger,
    videos,
)

DRAIN_EVERY = 0.5  # seconds between two looks at what still runs
SAID_EVERY = 10.0  # seconds between two lines that say the same
TIMES = ("created_at", "started_at", "completed_at", "expires_at", "deleted_at", "told_start_at",
         "told_end_at")  # fmt: skip


def listing(args: argparse.Namespace) -> None:
    """List videos: what is in hand in the queue's order, or those of one state."""
    with opened(args) as place:
        board = Board(place.database)
        with place.database.read() as connection:
            rows = _rows(connection, args.state, args.account, args.limit)
            held = again.is_held(connection)
        found = [_told(row, board) for row in rows]
    if args.json:
        show.as_json(found)
        return
    show.table(
        ("#place", "id", "state", "account", "tier", "model", "#steps", "#age", "#done in",
         "prompt, or why it ended"),
        ([v["position"], v["id"], v["state"], v["account"], v["tier"], v["model"],
          f"{v['steps_done']}/{v['steps']}", show.span(v["age_seconds"]),
          show.span(v["eta_seconds"]), _text(v)] for v in found),
        empty="no video is " + (args.state or "waiting, running or paused"),
    )  # fmt: skip
    if held:
        show.note("the queue is held: nothing is begun until `kineo queue release`")


def _text(video: Mapping[str, Any]) -> str:
    """Return why a video failed, where it did, or what it shows."""
    if video["state"] == FAILED:
        return f"{video['error_code']}: {video['error']}"[:100]
    return str(video["prompt"])[:60]


def _rows(
    connection: Connection, state: str | None, account: str | None, limit: int
) -> list[RowMapping]:
    query = select(videos, accounts.c.tier.label("tier")).join(
        accounts, accounts.c.id == videos.c.account_id
    )
    query = query.where(videos.c.deleted_at.is_(None))
    if account is not None:
        query = query.where(videos.c.account_id == account)
    if state in OVER:
        query = query.where(videos.c.state == state).order_by(videos.c.completed_at.desc())
    else:
        states = IN_HAND if state is None else (state,)
        first = case({RUNNING: 0, QUEUED: 1, PAUSED: 2}, value=videos.c.state)
        query = query.where(videos.c.state.in_(states))
        query = query.order_by(first, videos.c.priority, videos.c.number)
    return list(connection.execute(query.limit(limit)).mappings())


def _told(row: RowMapping, board: Board) -> dict[str, Any]:
    standing = board.standing_of(row)
    names = ("id", "state", "tier", "model", "stage", "steps_done", "steps", "worker_id",
             "attempts", "error_code", "error", "prompt", "created_at")  # fmt: skip
    return {name: row[name] for name in names} | {
        "account": row["account_id"],
        "progress": round(row["progress"], 4),
        "position": None if standing is None else standing.position,
        "eta_seconds": None if standing is None else round(standing.ends_in, 1),
        "age_seconds": round(time.time() - row["created_at"], 1),
        "credits": (row["reserved"] if row["state"] in IN_HAND else row["charged"]) / MICRO,
    }


def one(args: argparse.Namespace) -> None:
    """Show all that is known of a video."""
    with reading(args) as (connection, _):
        query = select(videos).where(videos.c.id == args.id)
        row = connection.execute(query).mappings().first()
        if row is None:
            raise RequestError(f"there is no video {args.id!r}")
        money = select(ledger).where(ledger.c.video_id == args.id).order_by(ledger.c.id)
        entries = [dict(entry) for entry in connection.execute(money).mappings()]
        sent = webhooks.list_deliveries(connection, None, video_id=args.id)
    if args.json:
        show.as_json({"video": dict(row), "ledger": entries, "deliveries": sent})
        return
    show.pairs({name: _readable(name, row[name]) for name in row})
    show.table(
        ("#entry", "kind", "#credits", "#balance", "time (UTC)", "note"),
        ([e["id"], e["kind"], e["amount"] / MICRO, e["balance"] / MICRO,
          show.when(e["created_at"]), e["note"]] for e in entries),
        empty="no entries in the ledger",
    )  # fmt: skip
    show.table(
        ("delivery", "type", "state", "#attempts", "answer", "url"),
        ([d["id"], d["type"], d["state"], d["attempts"], d["answer"], d["url"]] for d in sent),
        empty="no webhooks",
    )  # fmt: skip


def _readable(name: str, value: Any) -> object:  # noqa: ANN401 - a column's
    if value is None:
        return None
    if name in TIMES:
        return f"{show.when(value)} UTC"
    return f"{value / MICRO:.6f} credits" if name in ("reserved", "charged") else value


def retry(args: argparse.Namespace) -> None:
    """Let a failed video wait again, its price reserved anew."""
    with changing(args) as (connection, settings):
        storage = Storage(settings.storage_url())
        row = again.retry(connection, args.id, storage, time.time())
    show.line(f"{args.id} waits again from step {row['steps_done']} of {row['steps']} on; "
              f"{row['reserved'] / MICRO:.2f} credits are reserved")  # fmt: skip


def cancel(args: argparse.Namespace) -> None:
    """Cancel a video of anybody's."""
    with changing(args) as (connection, _):
        store.cancel(connection, args.id, None, time.time())
        state = store.get(connection, args.id, None)["state"]
    show.line(f"{args.id} is {'told to stop at its next step' if state == RUNNING else state}")


def move(args: argparse.Namespace) -> None:
    """Move a waiting video in the queue."""
    with opened(args) as place:
        with place.database.write() as connection:
            if args.first:
                again.move_first(connection, args.id)
            elif args.before == args.id:
                raise RequestError(f"--before {args.id} is the video itself; name another one")
            else:
                store.move_to(connection, args.id, before=args.before)
        with place.database.read() as connection:
            row = store.get(connection, args.id, None)
        standing = Board(place.database).standing_of(row)
    place_now = 0 if standing is None else standing.position
    where = f"number {place_now} of the queue" if place_now else "begun already"
    show.line(f"{args.id} is {where}")


def hold(args: argparse.Namespace) -> None:
    """Let no video be begun."""
    with changing(args) as (connection, _):
        again.hold(connection)
        running = again.count(connection)
    show.line(f"the queue is held; {running} running go on to their end")


def release(args: argparse.Namespace) -> None:
    """Let videos be begun again."""
    with changing(args) as (connection, _):
        again.release(connection)
        waiting = again.count(connection, QUEUED)
    show.line(f"the queue goes on; {waiting} wait")


def drain(args: argparse.Namespace) -> None:
    """Let no video be begun, and wait until none runs.

    Raises:
        KineographError: some still run when the time is over.
    """
    begun, said, before = time.monotonic(), -SAID_EVERY, ""
    with opened(args) as place:
        with place.database.write() as connection:
            again.hold(connection)
        while True:
            with place.database.read() as connection:
                rows = _rows(connection, RUNNING, None, 1000)
            now = time.monotonic()
            text = _running(rows)
            if rows and ((text != before and now - said >= 1) or now - said >= SAID_EVERY):
                show.note(text)
                said, before = now, text
            if not rows:
                break
            if args.timeout is not None and now - begun > args.timeout:
                raise KineographError(
                    f"{len(rows)} videos still run after {args.timeout:g} s; the queue stays held"
                )
            time.sleep(DRAIN_EVERY)
    show.line("nothing runs; the queue stays held until `kineo queue release`")


def _running(rows: list[RowMapping]) -> str:
    """Return how far the videos are that run."""
    each = [f"{row['id']} {row['stage']} {row['steps_done']}/{row['steps']}" for row in rows[:5]]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{len(rows)} running: {', '.join(each)}{more}"


def eta(args: argparse.Namespace) -> None:
    """Say how far off the foretold ends of finished videos were."""
    with reading(args) as (connection, _):
        found = eta_summary(eta_errors(connection, time.time() - 86_400 * args.days))
    if args.json:
        show.as_json(found)
        return
    if not found["count"]:
        show.line(f"no video of the last {args.days:g} days was foretold and finished")
        return
    show.pairs(_eta_pairs(found))


def _eta_pairs(found: Mapping[str, Any]) -> dict[str, object]:
    return {
        "finished videos": found["count"],
        "error, median": f"{100 * found['median']:.0f} % ({found['median_seconds']:.1f} s)",
        "error, 9 of 10 below": f"{100 * found['p90']:.0f} % ({found['p90_seconds']:.1f} s)",
        "told minus real, median": f"{found['bias_seconds']:+.1f} s",
    }
