"""A service without its API, for tests: accounts, submissions, workers, and what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

import kineograph
from kineograph.serve import ledger, life, queue, store
from kineograph.serve.database import Database
from kineograph.serve.logs import set_up
from kineograph.serve.queue import Job
from kineograph.serve.settings import Settings, load_settings
from kineograph.serve.storage import Storage
from kineograph.serve.tables import COMPLETED, OVER, accounts, videos
from kineograph.serve.worker import Worker

SOURCE = Path(kineograph.__file__).parents[1]
QUICK = {"generator": "fake", "poll": 0.02, "checkpoint": 0.0, "heartbeat": 0.1, "dead_after": 1.0,
         "drain": 5.0, "log": "error", "log_format": "json"}  # fmt: skip


@dataclass
class Rig:
    """One service's database and storage."""

    url: str
    data: Path
    step: float = 0.02  # seconds of the fake generator
    settings: Settings = field(init=False)
    database: Database = field(init=False)
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        given = {**QUICK, "data": str(self.data), "database": self.url}
        self.settings = load_settings(None, {}, given)
        self.database = Database(self.url)
        self.storage = Storage(self.settings.storage_url())

    def close(self) -> None:
        self.database.close()

    def set(self, **values: Any) -> None:
        """Change settings; what runs already keeps its own."""
        self.settings = replace(self.settings, **values)

    def account(self, id: str, tier: str = "free", credits: float = 1000.0) -> str:
        with self.database.write() as c:
            c.execute(insert(accounts).values(id=id, name=id, tier=tier, created_at=0.0))
            ledger.grant(c, id, credits, now=0.0)
        return id

    def submit(
        self,
        id: str,
        account: str = "free",
        *,
        prompt: str = "a ball",
        steps: int = 8,
        now: float | None = None,
        **values: Any,
    ) -> str:
        request = {"prompt": prompt, "seed": 1, "steps": steps}
        new = store.NewVideo(
            **{
                "id": id, "account_id": account, "dialect": "openai", "kind": "create",
                "model": "nano", "request": request, "seconds": 1.0, "steps": steps,
                "cost_seconds": 1.0, **values,
            }
        )  # fmt: skip
        with self.database.write() as c:
            store.submit(c, new, self.settings, time.time() if now is None else now)
        return id

    def enlist(self, id: str) -> str:
        """Write down a worker that this process stands for."""
        with self.database.write() as c:
            life.register(c, id, ["nano"], 0.0)
        return id

    def claim(self, worker: str, than: Job | None = None) -> Job | None:
        with self.database.write() as c:
            return queue.claim(c, worker, ["nano"], time.time(), than)

    def do(self, change: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a function of the service in a writing transaction."""
        with self.database.write() as c:
            return change(c, *arguments, **named)

    def row(self, id: str) -> Any:
        with self.database.read() as c:
            return c.execute(select(videos).where(videos.c.id == id)).one()

    def rows(self) -> dict[str, Any]:
        with self.database.read() as c:
            return {row.id: row for row in c.execute(select(videos))}

    def balance(self, account: str = "free") -> float:
        with self.database.read() as c:
            value = c.scalar(select(accounts.c.balance).where(accounts.c.id == account))
        return value / 1e6

    def entries(self, id: str) -> list[str]:
        """The kinds of the ledger's entries of a video, the oldest first."""
        with self.database.read() as c:
            found = c.execute(
                select(ledger.ledger.c.kind)
                .where(ledger.ledger.c.video_id == id)
                .order_by(ledger.ledger.c.id)
            )
            return [row.kind for row in found]

    def until(self, true: Callable[[], Any], seconds: float = 30.0) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, [
                (r.id, r.state, r.stage, r.steps_done, r.error) for r in self.rows().values()
            ]
            time.sleep(0.02)

    def wait(self, *ids: str, state: str | None = None, seconds: float = 30.0) -> Any:
        """Wait until videos are over, or in a state; return the first one's row."""
        states = OVER if state is None else (state,)

        def there() -> bool:
            rows = self.rows()
            return all(rows[id].state in states for id in ids)

        self.until(there, seconds)
        return self.row(ids[0])

    def result(self, id: str) -> bytes:
        row = self.row(id)
        assert row.state == COMPLETED, (row.state, row.error)
        return self.storage.get(row.output)

    @contextmanager
    def working(self, monkeypatch: Any, **settings: Any) -> Iterator[Worker]:
        """Run a worker in a thread."""
        monkeypatch.setenv("KINEO_FAKE_STEP", str(self.step))
        set_up("error", "json")  # a terminal's tracebacks take seconds
        worker = Worker(self.database, self.storage, replace(self.settings, **settings))
        failed: list[BaseException] = []

        def run() -> None:
            try:
                worker.run()
            except BaseException as error:  # a thread's errors are the test's
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield worker
        finally:
            worker.stopping.set()
            thread.join(30)
        assert not thread.is_alive()
        assert not failed, failed

    def process(self, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker as its command does."""
        words = [f for name, value in QUICK.items()
                 for f in (f"--{name.replace('_', '-')}", str(value))]  # fmt: skip
        command = [sys.executable, "-m", "kineograph", "worker", *words,
                   "--data", str(self.data), "--database", self.url, *flags]  # fmt: skip
        env = os.environ | {"PYTHONPATH": str(SOURCE), "KINEO_FAKE_STEP": str(self.step)}
        return subprocess.Popen(command, env=env | environment, stdin=subprocess.DEVNULL)

    @contextmanager
    def processes(self, count: int = 1, *flags: str, **environment: str) -> Iterator[list[Any]]:
        """Run workers as processes, killed at the end where they have not ended."""
        found = [self.process(*flags, **environment) for _ in range(count)]
        try:
            yield found
        finally:
            for process in found:
                process.send_signal(signal.SIGKILL)
                process.wait()
