"""Kill workers, generators and the API of a service at random under load; print what was lost.

    python benchmarks/serve_chaos.py [--kills 200] [--database sqlite|postgresql|URL] [--api]

Jobs of several accounts and tiers are kept in hand while processes are killed with SIGKILL at
random moments and started again. At the end every job must be completed, once, with one settled
price, and its video equal in bytes to an undisturbed run. A takeover is from the kill of a worker
to when the job that it had in hand is in the queue again, a claim to when a worker has it, be it
that others go before it; of a killed generator the worker itself tries again, after its usual
pause. With --remote, workers count as those of other machines: that they
are gone is told by their signs of life alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from databases import HELP, ROOT, database_at
from sqlalchemy import func, insert, select, update

from kineograph.errors import KineographError
from kineograph.serve import ledger, schema, store
from kineograph.serve.database import Database
from kineograph.serve.fake import FakeGenerator
from kineograph.serve.ids import new_id
from kineograph.serve.settings import Settings, Tier, load_settings
from kineograph.serve.storage import Storage
from kineograph.serve.tables import (
    COMPLETED,
    IN_HAND,
    OVER,
    QUEUED,
    RUNNING,
    accounts,
    deliveries,
    videos,
    workers,
)
from kineograph.serve.task import Task

SOURCE = ROOT / "src"
PLENTY = {"in_hand": 10**6, "seconds_per_day": 1e9, "per_minute": 10**6}
TIERS = {"free": Tier(**PLENTY), "member": Tier(rank=1, weight=4.0, boost=3600.0, **PLENTY)}
ACCOUNTS = {"ann": "free", "ben": "free", "cem": "free", "dia": "member", "eva": "member"}


@dataclass
class Service:
    """The database, the storage, and the processes that are killed and started again."""

    settings: Settings
    database: Database
    storage: Storage
    step: float
    port: int
    api: bool
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None

    def start(self, command: str, *flags: str) -> subprocess.Popen[bytes]:
        s = self.settings
        words = ["--generator", "fake", "--data", s.data, "--database", s.database_url()]
        for name in ("poll", "checkpoint", "heartbeat", "dead_after", "max_attempts", "max_losses"):
            words += [f"--{name.replace('_', '-')}", str(getattr(s, name))]
        env = os.environ | {"PYTHONPATH": str(SOURCE), "KINEO_FAKE_STEP": str(self.step)}
        return subprocess.Popen(
            [sys.executable, "-m", "kineograph", command, *words, "--log", "error", *flags],
            env=env, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker")

    def start_server(self) -> subprocess.Popen[bytes]:
        return self.start("serve", "--workers", "0", "--open", "yes", "--port", str(self.port))

    def rows(self, *columns: Any, where: Any = True) -> list[Any]:  # noqa: ANN401 - of SQLAlchemy
        with self.database.read() as connection:
            return list(connection.execute(select(*columns).where(where)))

    def close(self) -> None:
        for process in [*self.workers, *filter(None, [self.server])]:
            process.kill()
            process.wait()
        self.database.close()


@dataclass
class Tally:
    """What was seen."""

    kills: dict[str, int] = field(default_factory=lambda: {"worker": 0, "generator": 0, "api": 0})
    # Jobs whose worker or generator was killed: what, the fence that it had, and when.
    hit: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)  # of them, those that are in the queue again
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"takeover": [], "worker": [], "generator": []}
    )

    def look(self, service: Service) -> None:
        """See which jobs are in hand again."""
        if not self.hit:
            return
        found = service.rows(
            videos.c.id, videos.c.fence, videos.c.state, where=videos.c.id.in_(list(self.hit))
        )
        for row in found:
            what, fence, since = self.hit[row.id]
            seconds, again = time.monotonic() - since, row.fence > fence
            if what == "worker" and row.id not in self.taken and (again or row.state == QUEUED):
                self.seconds["takeover"].append(seconds)
                self.taken.add(row.id)
            if again:
                self.seconds[what].append(seconds)
            if again or row.state in OVER:  # or its end was written just before the kill
                del self.hit[row.id]
                self.taken.discard(row.id)


def submit_directly(service: Service, number: int, chance: random.Random) -> None:
    """Submit a job as the API does, without it."""
    request = {
        "prompt": f"job {number}", "seed": chance.randrange(10**6),
        "steps": chance.choice((10, 20, 40)),
    }  # fmt: skip
    new = store.NewVideo(
        id=new_id("video"), account_id=chance.choice(list(ACCOUNTS)), dialect="openai",
        kind="create", model="nano", request=request, seconds=1.0, steps=request["steps"],
        cost_seconds=1.0, callback_url="https://example.org/",
    )  # fmt: skip
    with service.database.write() as connection:
        store.submit(connection, new, service.settings, time.time())


def submit_to_api(service: Service, number: int, chance: random.Random) -> None:
    """Submit a job over HTTP, again with the same key until the service answers."""
    body = {
        "model": "nano", "prompt": f"job {number}", "seed": chance.randrange(10**6),
        "steps": chance.choice((10, 20, 40)),
    }  # fmt: skip
    headers = {"Idempotency-Key": f"job-{number}-{service.settings.data}"}
    until = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            answer = httpx.post(
                f"http://127.0.0.1:{service.port}/v1/videos", json=body, headers=headers, timeout=10
            )
            if answer.status_code < 300:
                return
            assert answer.status_code in (409, 429, 503), answer.text
        assert time.monotonic() < until, "the API does not answer"
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(service: Service, tally: Tally, chance: random.Random) -> None:
    """Kill one process, and start again what nobody else does."""
    if service.api and chance.random() < 0.2:
        assert service.server is not None
        service.server.kill()
        service.server.wait()
        service.server = service.start_server()
        tally.kills["api"] += 1
        return
    known = {row.pid for row in service.rows(workers.c.pid)}
    ready = [i for i, process in enumerate(service.workers) if process.pid in known]
    if not ready:  # one that has not begun yet would be an easy victim
        return
    index = chance.choice(ready)
    process = service.workers[index]
    had = service.rows(
        videos.c.id, videos.c.fence,
        where=(videos.c.state == RUNNING)
        & videos.c.worker_id.in_(select(workers.c.id).where(workers.c.pid == process.pid)),
    )  # fmt: skip
    generators = children(process.pid)
    what = "generator" if generators and chance.random() < 0.3 else "worker"
    now = time.monotonic()
    if what == "generator":
        with suppress(ProcessLookupError):
            os.kill(generators[0], signal.SIGKILL)
    else:
        process.kill()
        process.wait()
        service.workers[index] = service.start_worker()
    tally.kills[what] += 1
    for row in had:
        tally.hit[row.id] = (what, row.fence, now)
        tally.taken.discard(row.id)


def rage(service: Service, args: argparse.Namespace, tally: Tally, chance: random.Random) -> int:
    """Kill and submit until there were enough kills and all jobs are over; return the jobs."""
    submit: Callable[[Service, int, random.Random], None] = (
        submit_to_api if service.api else submit_directly
    )
    made, due = 0, time.monotonic() + 2.0
    until = time.monotonic() + args.minutes * 60
    while time.monotonic() < until:
        if args.remote:
            with service.database.write() as connection:
                connection.execute(update(workers).where(workers.c.boot != "").values(boot=""))
        raging = sum(tally.kills.values()) < args.kills
        in_hand = service.rows(func.count(videos.c.id), where=videos.c.state.in_(IN_HAND))[0][0]
        for _ in range(args.jobs - in_hand if raging else 0):
            submit(service, made, chance)
            made += 1
        tally.look(service)
        if raging and time.monotonic() > due:
            kill(service, tally, chance)
            due = time.monotonic() + chance.expovariate(1 / args.pause)
        if not raging and in_hand == 0:
            return made
        time.sleep(0.02)
    return made


def undisturbed(row: Any) -> bytes:  # noqa: ANN401 - a row
    """Return what a job's video is when nothing happens to it."""
    with tempfile.TemporaryDirectory() as folder:
        request = json.loads(row.request)
        task = Task(row.id, Path(folder), request)
        FakeGenerator(0.0).make(task, lambda *a, **k: None, lambda path: None, lambda text: None)
        return (Path(folder) / task.output).read_bytes()


def judge(service: Service, made: int) -> dict[str, Any]:
    """Compare what there is with what there must be."""
    rows = service.rows(videos)
    lost = made - sum(row.state == COMPLETED for row in rows)
    with service.database.read() as connection:
        settled = dict(
            connection.execute(
                select(ledger.ledger.c.video_id, func.count())
                .where(ledger.ledger.c.kind == ledger.SETTLE)
                .group_by(ledger.ledger.c.video_id)
            ).all()
        )
        told = dict(
            connection.execute(
                select(deliveries.c.video_id, func.count()).group_by(deliveries.c.video_id)
            ).all()
        )
        audit = ledger.audit(connection)
    paying = [row for row in rows if row.reserved]
    doubled = len(rows) - len({row.prompt for row in rows})
    doubled += sum(settled.get(row.id, 0) != 1 for row in paying)
    doubled += sum(told.get(row.id, 0) != (row.callback_url is not None) for row in rows)
    different = strays = 0
    for row in rows:
        if row.state == COMPLETED:
            different += service.storage.get(row.output) != undisturbed(row)
            files = [key for key, _ in service.storage.names(f"videos/{row.id}")]
            strays += sum(key.endswith("video.mp4") and key != row.output for key in files)
    states = len(list(service.storage.names("states")))
    return {
        "jobs": made, "lost": lost, "doubled": doubled, "different": different,
        "ledger": audit, "stray_videos": strays, "stray_states": states,
        "claims": sum(row.fence for row in rows),
    }  # fmt: skip


def rounded(seconds: list[float]) -> dict[str, Any]:
    """Return how many, the median and the longest."""
    return {
        "count": len(seconds),
        "median": round(median(seconds), 2) if seconds else None,
        "max": round(max(seconds), 2) if seconds else None,
    }


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[Service]:
    """Yield a new service with its workers and accounts."""
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="kineo-chaos-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        url = stack.enter_context(database_at(args.database))
        given = {
            "data": folder, "database": url, "generator": "fake", "poll": 0.05, "checkpoint": 0.0,
            "heartbeat": args.heartbeat, "dead_after": args.dead_after, "max_attempts": 10,
        }  # fmt: skip
        settings = replace(load_settings(None, {}, given), tiers=TIERS)
        database = Database(settings.database_url())
        schema.migrate(database)
        with database.write() as connection:
            for name, tier in ACCOUNTS.items():
                connection.execute(
                    insert(accounts).values(id=name, name=name, tier=tier, created_at=0.0)
                )
                ledger.grant(connection, name, 1e6, now=0.0)
        service = Service(
            settings, database, Storage(settings.storage_url()), args.step, args.port, args.api
        )
        stack.callback(service.close)
        service.workers = [service.start_worker() for _ in range(args.workers)]
        if args.api:
            service.server = service.start_server()
        yield service


def main() -> None:
    """Print one line of JSON; the status is 1 where anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", default="sqlite", help=HELP)
    parser.add_argument("--jobs", type=int, default=12, help="kept in hand")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--step", type=float, default=0.03, help="seconds of a step")
    parser.add_argument("--pause", type=float, default=0.7, help="seconds between kills, mean")
    parser.add_argument("--heartbeat", type=float, default=2.0)
    parser.add_argument("--dead-after", type=float, default=10.0)
    parser.add_argument("--remote", action="store_true")
    parser.add_argument("--api", action="store_true", help="submit over HTTP; kill the API too")
    parser.add_argument("--port", type=int, default=8791)
    parser.add_argument("--minutes", type=float, default=20.0, help="the longest that it may take")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tally, chance, begun = Tally(), random.Random(args.seed), time.monotonic()
    with opened(args) as service:
        made = rage(service, args, tally, chance)
        seconds = time.monotonic() - begun
        for process in service.workers:
            process.terminate()
        ends = [process.wait(60) for process in service.workers]
        told = judge(service, made)
    print(json.dumps({
        "database": args.database.partition(":")[0], "remote": args.remote,
        "workers": args.workers, "step": args.step, "kills": tally.kills, **told,
        "takeover_seconds": rounded(tally.seconds["takeover"]),
        "claim_seconds": rounded(tally.seconds["worker"]),
        "retry_seconds": rounded(tally.seconds["generator"]),
        "ends": ends, "seconds": round(seconds, 1),
    }))  # fmt: skip
    if told["lost"] or told["doubled"] or told["different"] or told["ledger"] or any(ends):
        raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except KineographError as error:
        raise SystemExit(f"{error}") from None
