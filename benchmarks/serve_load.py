"""The API under load: submissions at a fixed rate, many listeners, and a backlog, on one machine.

    python benchmarks/serve_load.py [--rate 200] [--jobs 5000] [--listeners 1000]

Starts `kineo serve` (fake generator, no worker while it is loaded), sends submissions at a fixed
rate whether or not the answers keep up, and measures each from when it was due: a service that
stalls is not let off the requests that waited. Listeners follow one video all the while. Then a
worker makes the whole backlog, and every video that was accepted must be completed.
The client runs on the same cores and takes its share of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

from databases import HELP, database_at, free_port
from sqlalchemy import func, select

from kineograph.serve.database import Database
from kineograph.serve.settings import Settings, load_settings
from kineograph.serve.tables import COMPLETED, videos

CONNECTIONS = 64  # that submit


def main() -> None:
    """Run it and print one JSON object."""
    parser = argparse.ArgumentParser(description="Measure the API under load.")
    parser.add_argument("--rate", type=float, default=200.0, help="submissions a second")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--database", default="sqlite", help=HELP)
    parser.add_argument("--drain", type=float, default=600.0, help="seconds for the backlog; 0: no")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data, database_at(args.database) as url:
        port = free_port()
        environment = {**os.environ, "KINEO_FAKE_STEP": "0"}
        command = [sys.executable, "-m", "kineograph"]
        flags = ["--data", data, "--generator", "fake", "--log", "error", "--threads", "1"]
        settings = load_settings(None, {}, {"data": data, "database": url})
        flags += ["--database", settings.database_url()]
        service = subprocess.Popen(
            [*command, "serve", "--port", str(port), "--workers", "0", *flags], env=environment
        )
        try:
            found = asyncio.run(load(port, args.rate, args.jobs, args.listeners))
            if args.drain:
                worker = [*command, "worker", *flags]
                found |= drain(worker, environment, settings, port, args.drain)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(30)
        print(json.dumps({"database": args.database, **found}))


async def load(port: int, rate: float, jobs: int, listeners: int) -> dict[str, float]:
    """Submit at a rate, with listeners beside; return what came of it."""
    await ready(port)
    body = json.dumps({"prompt": "a red ball bounces", "steps": 1, "num_frames": 5}).encode()
    first = json.loads((await Client(port).ask("POST", "/v1/videos", body))[1])["id"]
    heard = [0] * listeners
    tasks = [asyncio.create_task(listen(port, first, heard, i)) for i in range(listeners)]
    until = time.monotonic() + 60
    while sum(map(bool, heard)) < listeners and time.monotonic() < until:
        await asyncio.sleep(0.1)
    listening = sum(map(bool, heard))
    late: list[float] = []
    statuses: dict[int, int] = {}
    due: asyncio.Queue[float] = asyncio.Queue()
    senders = [asyncio.create_task(send(port, body, due, late, statuses))
               for _ in range(CONNECTIONS)]  # fmt: skip
    begun = time.monotonic()
    for i in range(jobs - 1):
        at = begun + i / rate
        await asyncio.sleep(max(at - time.monotonic(), 0))
        due.put_nowait(at)
    await due.join()
    seconds = time.monotonic() - begun
    for task in (*senders, *tasks):
        task.cancel()
    await asyncio.gather(*senders, *tasks, return_exceptions=True)
    late.sort()
    return {
        "listeners": listening,
        "asked_per_second": rate,
        "submissions_per_second": round(len(late) / seconds, 1),
        "accepted": statuses.get(200, 0) + 1,
        "refused": sum(n for status, n in statuses.items() if status != 200),
        "p50_ms": round(1000 * late[len(late) // 2], 1),
        "p99_ms": round(1000 * late[int(len(late) * 0.99)], 1),
        "max_ms": round(1000 * late[-1], 1),
    }


class Client:
    """One connection of HTTP 1.1, with as little around it as will do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        head = (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
        writer.write(head.encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in told.lower().split(b"\r\n")
                      if line.startswith(b"content-length"))  # fmt: skip
        return int(told.split(b" ", 2)[1]), await reader.readexactly(length)


async def send(
    port: int, body: bytes, due: asyncio.Queue[float], late: list[float], statuses: dict[int, int]
) -> None:
    """Submit whenever one is due, on one connection."""
    client = Client(port)
    while True:
        at = await due.get()
        status, _ = await client.ask("POST", "/v1/videos", body)
        late.append(time.monotonic() - at)
        statuses[status] = statuses.get(status, 0) + 1
        due.task_done()


async def listen(port: int, id: str, heard: list[int], number: int) -> None:
    """Follow a video and count what is heard."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v1/videos/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while line := await reader.readline():
        heard[number] += line.startswith(b"event: ")


async def ready(port: int) -> None:
    """Wait until the service answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError, asyncio.IncompleteReadError):
            await Client(port).ask("GET", "/health")
            return
        await asyncio.sleep(0.1)
    raise SystemExit("the service did not start")


def drain(
    command: list[str], environment: dict[str, str], settings: Settings, port: int, seconds: float
) -> dict[str, float]:
    """Let one worker make the backlog; return how fast, and what was not completed."""
    worker = subprocess.Popen(command, env=environment)
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < seconds:
            waiting = asyncio.run(Client(port).ask("GET", "/v1/queue"))[1]
            told = json.loads(waiting)
            if told["waiting"] == told["running"] == 0:
                break
            time.sleep(1)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    taken = time.monotonic() - begun
    found: dict[str, float] = {"drain_seconds": round(taken, 1)}
    database = Database(settings.database_url())
    with database.read() as connection:
        query = select(videos.c.state, func.count()).group_by(videos.c.state)
        counts = {state: count for state, count in connection.execute(query)}
    database.close()
    found |= {f"state_{state}": count for state, count in counts.items()}
    return found | {"made_per_second": round(counts.get(COMPLETED, 0) / taken, 1)}


if __name__ == "__main__":
    main()
