"""Which workers live, and what happens to the videos of those that do not.

Whether a worker lives is told by a count that it moves on, watched for a time on the watcher's
own monotonic clock: no two clocks are compared, and a clock that jumps kills nobody. Of a process
of the same machine it is seen at once that it has ended.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, insert, select, update

from kineograph.serve.database import Database
from kineograph.serve.queue import lose
from kineograph.serve.settings import Settings
from kineograph.serve.tables import RUNNING, videos, workers


def boot_of(pid: int) -> str:
    """Return what tells a process from another of its number: where it counts, and its start.

    Where it counts is a boot of a machine and a space of process numbers, as a container has its
    own. Of a process that is not there, or has ended, there is no start.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    try:
        # The name, in brackets, may hold anything; what follows it are a letter and numbers.
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        start = "" if told[0] in "ZX" else told[19]
    except (OSError, IndexError):
        start = ""
    return f"{boot} {space} {start}"


def register(connection: Connection, id: str, models: Sequence[str], now: float) -> None:
    """Write down that a worker, this process, is there."""
    connection.execute(
        insert(workers).values(
            id=id, host=socket.gethostname(), boot=boot_of(os.getpid()), pid=os.getpid(),
            models=json.dumps(list(models)), started_at=now, beaten_at=now, draining=False,
        )
    )  # fmt: skip


def beat(connection: Connection, id: str, now: float, *, draining: bool = False) -> bool:
    """Move a worker's count on; False where it was taken for dead and is no longer known."""
    done = connection.execute(
        update(workers)
        .where(workers.c.id == id)
        .values(beat=workers.c.beat + 1, beaten_at=now, draining=draining)
    )
    return done.rowcount == 1


def unregister(connection: Connection, id: str) -> None:
    """Forget a worker that ends in order."""
    connection.execute(delete(workers).where(workers.c.id == id))


@dataclass
class Watch:
    """One process's watch over the workers: whose count stands still for how long."""

    dead_after: float  # seconds
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _looked: float = field(default_factory=monotonic)

    def dead(self, rows: Sequence[RowMapping]) -> list[str]:
        """Return the ids of workers that are dead, of all rows there are now."""
        now, found, seen = monotonic(), [], {}
        if now - self._looked > self.dead_after / 2:
            self._seen = {}  # it slept, or the database was away: it did not watch
        self._looked = now
        for row in rows:
            beat, since = self._seen.get(row["id"], (-1, now))
            since = now if beat != row["beat"] else since
            seen[row["id"]] = (row["beat"], since)
            if now - since >= self.dead_after or _gone(row):
                found.append(str(row["id"]))
        self._seen = seen
        return found


def _gone(row: RowMapping) -> bool:
    """Whether a worker of this machine has ended: its process is not there any more.

    Of other machines, other boots and other containers nothing is known.
    """
    there, here = str(row["boot"]).split(" "), boot_of(row["pid"]).split(" ")
    return len(there) == 3 and there[:2] == here[:2] and there[2] != here[2]


def take_over(database: Database, watch: Watch, config: Settings, now: float) -> list[str]:
    """Put the videos of dead workers back into the queue; return their ids."""
    with database.read() as connection:
        rows = connection.execute(select(workers)).mappings().all()
        dead = watch.dead(rows)
        orphans = connection.execute(select(videos.c.id).where(_orphan()).limit(1)).first()
    if not dead and orphans is None:
        return []
    with database.write() as connection:
        for row in rows:
            if row["id"] in dead:  # and has not moved since it was looked at
                connection.execute(
                    delete(workers).where(workers.c.id == row["id"], workers.c.beat == row["beat"])
                )
        query = select(videos).where(_orphan()).with_for_update()
        lost = connection.execute(query).mappings().all()
        for row in lost:
            lose(connection, row, config, now)
    return [str(row["id"]) for row in lost]


def _orphan() -> ColumnElement[bool]:
    """What is true of a video that runs with no worker that is known."""
    known = select(workers.c.id).where(workers.c.id == videos.c.worker_id)
    return and_(videos.c.state == RUNNING, ~known.exists())
