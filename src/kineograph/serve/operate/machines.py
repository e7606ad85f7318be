"""`kineo workers` and `kineo webhooks`: who works, and what was sent."""

from __future__ import annotations

import argparse
import json
import time

from sqlalchemy import select

from kineograph.serve import webhooks
from kineograph.serve.operate import show
from kineograph.serve.operate.place import changing, reading
from kineograph.serve.tables import workers as table


def workers(args: argparse.Namespace) -> None:
    """List the workers that are known."""
    now = time.time()
    with reading(args) as (connection, _):
        rows = connection.execute(select(table).order_by(table.c.started_at)).mappings().all()
    if args.json:
        show.as_json([dict(row) | {"models": json.loads(row["models"])} for row in rows])
        return
    show.table(
        ("id", "host", "#pid", "models", "#up", "#last sign", "state", "video"),
        ([r["id"], r["host"], r["pid"], ", ".join(json.loads(r["models"])) or "all",
          show.span(now - r["started_at"]), show.span(now - r["beaten_at"]),
          "draining" if r["draining"] else "busy" if r["video_id"] else "idle",
          r["video_id"]] for r in rows),
        empty="no worker is there: `kineo serve` starts some, `kineo worker` one more",
    )  # fmt: skip


def sent(args: argparse.Namespace) -> None:
    """List what is sent to webhooks and callbacks, the newest first."""
    with reading(args) as (connection, _):
        rows = webhooks.list_deliveries(
            connection, args.account, video_id=args.video, limit=args.limit
        )
    if args.json:
        show.as_json(rows)
        return
    show.table(
        ("id", "type", "state", "#attempts", "answer", "account", "video", "made (UTC)", "url"),
        ([r["id"], r["type"], r["state"], r["attempts"], r["answer"], r["account_id"],
          r["video_id"], show.when(r["created_at"]), r["url"]] for r in rows),
        empty="nothing was sent",
    )  # fmt: skip


def replay(args: argparse.Namespace) -> None:
    """Send a delivery again, or all those of a video."""
    with changing(args) as (connection, _):
        count = webhooks.replay(connection, None, args.id, time.time())
    show.line(f"{count} {'is' if count == 1 else 'are'} sent again by the service that runs")
