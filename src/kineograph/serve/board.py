"""Where everybody stands: the queue as it is now, looked up at most twice a second.

Between two looks, what is submitted here is counted in by itself.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from kineograph.serve.database import Database
from kineograph.serve.scheduler import Standing, priority, standings, virtual_finish
from kineograph.serve.settings import Tier
from kineograph.serve.tables import QUEUED, RUNNING, VideoRow, videos, workers

FRESH = 0.5  # seconds for which a look is good, at least
LATE = 2.0  # seconds after which whoever asks looks for himself
SHARE = 0.05  # of the time that may go into looking: at a long queue it looks less often


# Of one look: who waits, who runs, how many work, where everybody stands, when all is done.
_Found = tuple[
    list[tuple[float, str, float]], list[tuple[str, float]], int, dict[str, Standing], float
]


@dataclass
class Board:
    """The standings of all videos in hand."""

    database: Database
    _standings: dict[str, Standing] = field(default_factory=dict)
    _waiting: list[tuple[float, str, float]] = field(default_factory=list)
    _running: list[tuple[str, float]] = field(default_factory=list)
    _workers: int = 0
    _end: float = 0.0  # seconds until a worker would be free for one that came last
    _due: float = -1e9  # when to look again
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def standing(self, id: str) -> Standing | None:
        """Return where a video stood at the last look; None where it did not wait or run."""
        with self._lock:
            self._look()
            return self._standings.get(id)

    def standing_of(self, row: VideoRow) -> Standing | None:
        """Return where a video stands; None where it does not wait or run."""
        if row["state"] not in (QUEUED, RUNNING):
            return None
        with self._lock:
            self._look()
            known = self._standings.get(row["id"])
            if known is None and row["state"] == QUEUED:  # younger than the look
                return self._at(row["priority"], row["cost_seconds"])[1]
            return known

    def length(self) -> int:
        """Return how many videos wait."""
        with self._lock:
            self._look()
            return len(self._waiting)

    def take(self, id: str, tag: float, cost: float) -> Standing:
        """Return where a video stands that is just being queued, and let later ones see it.

        One that is not queued after all is gone with the next look.
        """
        with self._lock:
            self._look()
            i, found = self._at(tag, cost)
            self._waiting.insert(i, (tag, id, cost))
            self._standings[id] = found
            self._end += cost / max(self._workers, 1)
            return found

    def wait_for(self, account: RowMapping, tier: Tier, cost: float) -> Standing:
        """Return where a video would stand that an account sent now."""
        tag = priority(virtual_finish(time.time(), account["finish"], cost, tier), tier)
        with self._lock:
            self._look()
            return self._at(tag, cost)[1]

    def _at(self, tag: float, cost: float) -> tuple[int, Standing]:
        """Return where in the list of those that wait a tag belongs, and what that means."""
        i = bisect_right(self._waiting, tag, key=lambda entry: entry[0])
        behind = self._waiting[i][1] if i < len(self._waiting) else None
        starts = self._end if behind is None else self._standings[behind].starts_in
        return i, Standing(i + 1, starts, starts + cost)

    def summary(self) -> dict[str, Any]:
        """Return how long the queue is, and how many work on it."""
        with self._lock:
            self._look()
            left = max((s.ends_in for s in self._standings.values()), default=0.0)
            return {
                "waiting": len(self._waiting), "running": len(self._running),
                "workers": self._workers, "seconds": round(left, 1),
            }  # fmt: skip

    def refresh(self) -> None:
        """Look at the queue where that is due; meanwhile the last look answers what is asked."""
        begun = time.monotonic()
        if begun < self._due:
            return
        found = self._read()
        with self._lock:
            self._put(found, begun)

    def _look(self) -> None:
        """Look now, where nobody has refreshed the board in time; the lock is held."""
        begun = time.monotonic()
        if begun >= self._due + LATE:
            self._put(self._read(), begun)

    def _put(self, found: _Found, begun: float) -> None:
        """Take in a look; the lock is held."""
        self._waiting, self._running, self._workers, self._standings, self._end = found
        done = time.monotonic()
        self._due = done + max(FRESH, (done - begun) / SHARE)

    def _read(self) -> _Found:
        with self.database.read() as connection:
            waiting = _left(connection, QUEUED)
            running = [(id, left) for _, id, left in _left(connection, RUNNING)]
            count = connection.scalar(
                select(func.count()).select_from(workers).where(~workers.c.draining)
            ) or 0  # fmt: skip
        ahead = [(id, left) for _, id, left in waiting]
        known = standings(running, [*ahead, ("", 0.0)], count)
        end = known.pop("").starts_in
        return waiting, running, count, known, end


def _left(connection: Connection, state: str) -> list[tuple[float, str, float]]:
    """Return a state's videos in the queue's order: priority, id, seconds needed yet."""
    left = videos.c.cost_seconds * (1 - videos.c.progress)
    rows = connection.execute(
        select(videos.c.priority, videos.c.id, left)
        .where(videos.c.state == state)
        .order_by(videos.c.priority, videos.c.number)
    )
    return [tuple(row) for row in rows]
