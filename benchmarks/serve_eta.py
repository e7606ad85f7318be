"""How far off what senders are told is: jobs come at random, and foretold times meet the real ones.

    python benchmarks/serve_eta.py [--jobs 300] [--busy 0.8] [--workers 2] [--generator fake|real]

Free accounts and members send jobs of several lengths, some in bursts, at moments that do not
depend on each other, so many that the workers are busy for the given share of the time. Each
answer tells when the video will begin and end; members that come later, and chance, make that
wrong. The first jobs, from which the service learns how long one takes, do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from statistics import mean, median
from typing import Any

import httpx
from databases import HELP, database_at, free_port
from serve_load import ready
from sqlalchemy import RowMapping, select

from kineograph.serve import access, ledger
from kineograph.serve.database import Database
from kineograph.serve.overview import eta_summary
from kineograph.serve.settings import Settings, Tier, as_environment, load_settings
from kineograph.serve.tables import COMPLETED, IN_HAND, accounts, videos

BURST = 5  # jobs
BURSTS = 0.1  # of the moments at which somebody sends
WARM = 12  # jobs
ACCOUNTS = {"ann": "free", "ben": "free", "cem": "free", "dia": "member"}
PLENTY = {"in_hand": 10**6, "seconds_per_day": 1e9, "per_minute": 10**6}
MEMBER = Tier(rank=1, weight=4.0, boost=3600.0, **PLENTY)


def send(client: httpx.Client, key: str, steps: int) -> None:
    """Submit a job."""
    client.post(
        "/v1/videos", json={"prompt": "a red ball bounces", "steps": steps},
        headers={"Authorization": f"Bearer {key}"},
    ).raise_for_status()  # fmt: skip


def rest(database: Database) -> None:
    """Wait until nothing is in hand."""
    while True:
        with database.read() as connection:
            if connection.scalar(select(videos.c.id).where(videos.c.state.in_(IN_HAND))) is None:
                return
        time.sleep(0.2)


def arrivals(
    jobs: int, gap: float, lengths: int, chance: random.Random
) -> list[tuple[float, str, int]]:
    """Return when jobs come, in seconds, whose they are, and which of the lengths they have."""
    found: list[tuple[float, str, int]] = []
    at = 0.0
    while len(found) < jobs:
        count = BURST if chance.random() < BURSTS else 1
        account = chance.choice(list(ACCOUNTS))
        found += [(at, account, chance.randrange(lengths)) for _ in range(count)]
        at += chance.expovariate(1 / gap)
    return found[:jobs]


def key_of(database: Database, settings: Settings, name: str, tier: str) -> str:
    """Make an account with plenty of credits, and return a key of it."""
    now = time.time()
    with database.write() as connection:
        account = access.create_account(connection, name, tier, settings, now)
        ledger.grant(connection, account["id"], 1e6, now=now)
        return access.create_key(connection, account["id"], name, settings, now).token


def done(database: Database, since: float) -> list[RowMapping]:
    """Return the completed videos that were submitted since, each with its account's name."""
    query = select(videos, accounts.c.name).join(accounts).where(
        videos.c.state == COMPLETED, videos.c.created_at > since
    )  # fmt: skip
    with database.read() as connection:
        return list(connection.execute(query).mappings())


def told_of(rows: list[RowMapping]) -> dict[str, Any]:
    """Return how far off starts and ends were, and how long they took."""
    starts = [(r["told_start_at"] - r["created_at"], r["started_at"] - r["created_at"])
              for r in rows]  # fmt: skip
    ends = [(r["told_end_at"] - r["created_at"], r["completed_at"] - r["created_at"]) for r in rows]
    return {
        "waited_seconds": round(median(real for _, real in starts), 2),
        "took_seconds": round(median(real for _, real in ends), 2),
        "end": {k: round(v, 3) for k, v in eta_summary(ends).items()},
        "start_seconds": {k: round(v, 3) for k, v in eta_summary(starts).items() if "sec" in k},
    }


def main() -> None:
    """Print one JSON object: of all jobs, and of each tier."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--busy", type=float, default=0.8, help="share of the workers' time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--generator", choices=("fake", "real"), default="fake")
    parser.add_argument("--step", type=float, default=0.1, help="seconds of the fake one's step")
    parser.add_argument("--steps", default="5,10,30", help="the lengths of jobs")
    parser.add_argument("--database", default="sqlite", help=HELP)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lengths = [int(word) for word in args.steps.split(",")]
    chance = random.Random(args.seed)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kineo-eta-"))
        given = {
            "data": folder, "database": stack.enter_context(database_at(args.database)),
            "generator": args.generator, "workers": args.workers, "open": "no", "log": "error",
            "port": free_port(), "tiers": {"free": Tier(**PLENTY), "member": MEMBER},
        }  # fmt: skip
        settings = replace(load_settings(None, {}, {}), **given)
        environment = os.environ | as_environment(settings) | {"KINEO_FAKE_STEP": str(args.step)}
        service = subprocess.Popen(
            [sys.executable, "-m", "kineograph", "serve"], env=environment, stdin=subprocess.DEVNULL
        )
        stack.callback(service.wait, 60)
        stack.callback(service.terminate)
        asyncio.run(ready(settings.port))
        database = Database(settings.database_url())
        stack.callback(database.close)
        keys = {name: key_of(database, settings, name, tier) for name, tier in ACCOUNTS.items()}
        address = f"http://127.0.0.1:{settings.port}"
        client = stack.enter_context(httpx.Client(base_url=address, timeout=60))
        for i in range(WARM):  # from which the service learns how long one takes
            send(client, keys["ann"], lengths[i % len(lengths)])
        rest(database)
        known = done(database, 0.0)
        gap = mean(row["used_seconds"] for row in known) / args.workers / args.busy
        gap *= 1 + BURSTS * (BURST - 1)
        begun = time.time()
        plan = arrivals(args.jobs, gap, len(lengths), chance)
        for i, (at, account, length) in enumerate(plan):
            time.sleep(max(begun + at - time.time(), 0.0))
            send(client, keys[account], lengths[length])
            told = f"\r{i + 1} of {len(plan)} sent, {plan[-1][0] - at:.0f} s to go "
            print(told, end="", file=sys.stderr)
        rest(database)
        print(file=sys.stderr)
        rows = done(database, begun)
    found = {"generator": args.generator, "database": args.database, "workers": args.workers,
             "busy": args.busy, "seconds": round(time.time() - begun, 1)}  # fmt: skip
    for tier in sorted({*ACCOUNTS.values()}):
        found[tier] = told_of([row for row in rows if ACCOUNTS[row["name"]] == tier])
    print(json.dumps({**found, "all": told_of(rows)}))
    if len(rows) != args.jobs:
        raise SystemExit(f"{args.jobs - len(rows)} jobs were not completed")


if __name__ == "__main__":
    main()
