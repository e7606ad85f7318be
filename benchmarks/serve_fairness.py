"""Queue many free jobs, send a member's job, and print how long it waits and what it costs others.

    python benchmarks/serve_fairness.py [--free 500] [--workers 2] [--step 0.2] [--members 5]

The free jobs are of one account; members' jobs come one after the other, each from another
account, while the free ones run. Printed: seconds and steps from a submission until the job is
claimed, and until its first step is made; that all jobs end; and that those which yielded are
equal in bytes to undisturbed runs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

sys.path.insert(0, str(Path(__file__).parent))
from databases import HELP
from serve_chaos import ACCOUNTS, Service, opened, rounded, undisturbed

from kineograph.serve import ledger, store
from kineograph.serve.ids import new_id
from kineograph.serve.tables import COMPLETED, IN_HAND, RUNNING, accounts, videos


def submit(service: Service, account: str, steps: int, seed: int) -> str:
    """Put a job into the queue, and return its id."""
    request = {"prompt": f"{account} {seed}", "seed": seed, "steps": steps}
    new = store.NewVideo(
        id=new_id("video"), account_id=account, dialect="openai", kind="create", model="nano",
        request=request, seconds=1.0, steps=steps, cost_seconds=1.0,
    )  # fmt: skip
    with service.database.write() as connection:
        store.submit(connection, new, service.settings, time.time())
    return new.id


@dataclass
class Wait:
    """How long one member's job waited."""

    claimed: float  # seconds
    begun: float  # until its first step was made
    steps: int  # the most that a running job made meanwhile


def check(service: Service) -> None:
    """Raise where a worker has ended: whoever ended it, nothing would be measured any more."""
    for process in service.workers:
        if process.poll() is not None:
            raise SystemExit(f"a worker has ended with status {process.returncode}")


def steps_of(service: Service) -> dict[str, int]:
    """Return the steps done of what runs."""
    found = service.rows(videos.c.id, videos.c.steps_done, where=videos.c.state == RUNNING)
    return {row.id: row.steps_done for row in found}


def member_comes(service: Service, number: int) -> Wait:
    """Send a member's job while all workers are busy, and see how long it waits."""
    name = f"member{number}"
    with service.database.write() as connection:
        connection.execute(
            insert(accounts).values(id=name, name=name, tier="member", created_at=0.0)
        )
        ledger.grant(connection, name, 100.0, now=0.0)
    before = steps_of(service)
    since = time.monotonic()
    id = submit(service, name, 4, number)
    claimed = 0.0
    while True:
        check(service)
        row = service.rows(videos.c.state, videos.c.steps_done, where=videos.c.id == id)[0]
        now = time.monotonic() - since
        if not claimed and row.state == RUNNING:
            claimed = now
        if row.steps_done or row.state == COMPLETED:
            break
        time.sleep(0.01)
    done = {r.id: r.steps_done for r in service.rows(videos, where=videos.c.id.in_(list(before)))}
    made = [done[job] - steps for job, steps in before.items()]
    # One that goes on beside it has done more: the one that yielded is what counts.
    return Wait(claimed, now, min(made))


def rest(service: Service, minutes: float) -> None:
    """Wait until all is over."""
    until = time.monotonic() + 60 * minutes
    while service.rows(videos.c.id, where=videos.c.state.in_(IN_HAND)):
        assert time.monotonic() < until, "jobs are in hand yet"
        check(service)
        time.sleep(0.2)


def told_of(service: Service, waits: list[Wait], args: argparse.Namespace) -> dict[str, Any]:
    """Return what is printed."""
    rows = service.rows(videos)
    yielded = [row for row in rows if row.account_id in ACCOUNTS and row.fence > 1]
    with service.database.read() as connection:
        audit = ledger.audit(connection)
        most = connection.scalar(select(videos.c.fence).order_by(videos.c.fence.desc()).limit(1))
    return {
        "free": args.free, "workers": args.workers, "step": args.step, "members": len(waits),
        "claimed_seconds": rounded([wait.claimed for wait in waits]),
        "first_step_seconds": rounded([wait.begun for wait in waits]),
        "steps_until_yielded": max(wait.steps for wait in waits),
        "completed": sum(row.state == COMPLETED for row in rows), "jobs": len(rows),
        "yielded": len(yielded), "most_claims": most,
        "different": sum(service.storage.get(r.output) != undisturbed(r) for r in yielded),
        "ledger": audit,
    }  # fmt: skip


def main() -> None:
    """Print one line of JSON; the status is 1 where a job was lost or is different."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--free", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--step", type=float, default=0.2, help="seconds of a step")
    parser.add_argument("--steps", type=int, default=10, help="of the first free jobs")
    parser.add_argument("--database", default="sqlite", help=HELP)
    parser.add_argument("--minutes", type=float, default=20.0)
    args = parser.parse_args()
    args.heartbeat, args.dead_after, args.api, args.port = 2.0, 10.0, False, 0
    begun, chance = time.monotonic(), random.Random(0)
    with opened(args) as service:
        for i in range(args.free):  # those behind are short, so that the end is not long in coming
            submit(service, "ann", args.steps if i < 3 * args.members else 1, i)
        waits: list[Wait] = []
        while len(waits) < args.members:
            check(service)
            running = steps_of(service)
            if len(running) == args.workers and all(running.values()):
                waits.append(member_comes(service, len(waits)))
                time.sleep(chance.uniform(0.5, 1.5) * 5 * args.step)
            time.sleep(0.02)
        rest(service, args.minutes)
        told = told_of(service, waits, args)
        for process in service.workers:
            process.terminate()
        ends = [process.wait(60) for process in service.workers]
    print(json.dumps({**told, "ends": ends, "seconds": round(time.monotonic() - begun, 1)}))
    if told["completed"] != told["jobs"] or told["different"] or told["ledger"] or any(ends):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
