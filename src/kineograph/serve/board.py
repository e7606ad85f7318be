"""Where everybody stands: the queue as it is now, looked up at most twice a second.

Between two looks, what is submitted here is counted in by itself.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from kineograph.serve.database import Database
from kineograph.serve.scheduler import (
    Standing,
    priority,
    standings,
    stretch_of,
    stretches,
    virtual_finish,
)
from kineograph.serve.settings import Tier
from kineograph.serve.tables import QUEUED, RUNNING, VideoRow, videos, workers

FRESH = 0.5  # seconds for which a look is good, at least
LATE = 2.0  # seconds after which whoever asks looks for himself
SHARE = 0.05  # of the time that may go into looking: at a long queue it looks less often


LATELY = 300  # of the newest videos: so many tell who comes how often
WINDOW = (60.0, 3600.0)  # seconds that they are taken to have come in, at least and at most


@dataclass
class _Look:
    """The queue as it was at one moment; what came since is put in by hand."""

    waiting: list[tuple[float, str, float]]  # in order: priority, id, seconds needed
    running: int
    workers: int
    standings: dict[str, Standing]  # were nobody else to come
    end: float  # seconds until a worker would be free for one that came last
    ranks: dict[str, int]
    stretches: list[tuple[int, float]]  # by those that will come and go first

    def at(self, tag: float, cost: float) -> tuple[int, Standing]:
        """Return where in the list of those that wait a tag belongs, and what that means."""
        i = bisect_right(self.waiting, tag, key=lambda entry: entry[0])
        behind = self.waiting[i][1] if i < len(self.waiting) else None
        starts = self.end if behind is None else self.standings[behind].starts_in
        return i, Standing(i + 1, starts, starts + cost)

    def told(self, standing: Standing, rank: int) -> Standing:
        """Return what one of a rank is told of its standing."""
        return standing.stretched(stretch_of(rank, self.stretches))


@dataclass
class Board:
    """The standings of all videos in hand."""

    database: Database
    _seen: _Look = field(default_factory=lambda: _Look([], 0, 0, {}, 0.0, {}, []))
    _due: float = -1e9  # when to look again
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def standing(self, id: str) -> Standing | None:
        """Return where a video stood at the last look; None where it did not wait or run."""
        with self._lock:
            return self._standing(self._look(), id)

    def standing_of(self, row: VideoRow) -> Standing | None:
        """Return where a video stands; None where it does not wait or run."""
        if row["state"] not in (QUEUED, RUNNING):
            return None
        with self._lock:
            seen = self._look()
            known = self._standing(seen, row["id"])
            if known is None and row["state"] == QUEUED:  # younger than the look
                found = seen.at(row["priority"], row["cost_seconds"])[1]
                return seen.told(found, row["rank"])
            return known

    @staticmethod
    def _standing(seen: _Look, id: str) -> Standing | None:
        known = seen.standings.get(id)
        return None if known is None else seen.told(known, seen.ranks[id])

    def length(self) -> int:
        """Return how many videos wait."""
        with self._lock:
            return len(self._look().waiting)

    def take(self, id: str, tag: float, cost: float, rank: int) -> Standing:
        """Return where a video stands that is just being queued, and let later ones see it.

        One that is not queued after all is gone with the next look.
        """
        with self._lock:
            seen = self._look()
            i, found = seen.at(tag, cost)
            seen.waiting.insert(i, (tag, id, cost))
            seen.standings[id], seen.ranks[id] = found, rank
            seen.end += cost / max(seen.workers, 1)
            return seen.told(found, rank)

    def wait_for(self, account: RowMapping, tier: Tier, cost: float) -> Standing:
        """Return where a video would stand that an account sent now."""
        tag = priority(virtual_finish(time.time(), account["finish"], cost, tier), tier)
        with self._lock:
            seen = self._look()
            return seen.told(seen.at(tag, cost)[1], tier.rank)

    def summary(self) -> dict[str, Any]:
        """Return how long the queue is, and how many work on it."""
        with self._lock:
            seen = self._look()
            left = max((s.ends_in for s in seen.standings.values()), default=0.0)
            return {
                "waiting": len(seen.waiting), "running": seen.running,
                "workers": seen.workers, "seconds": round(left, 1),
            }  # fmt: skip

    def refresh(self) -> None:
        """Look at the queue where that is due; meanwhile the last look answers what is asked."""
        begun = time.monotonic()
        if begun < self._due:
            return
        found = self._read()
        with self._lock:
            self._put(found, begun)

    def _look(self) -> _Look:
        """Return the last look, or look now, where nobody has in time; the lock is held."""
        begun = time.monotonic()
        if begun >= self._due + LATE:
            self._put(self._read(), begun)
        return self._seen

    def _put(self, found: _Look, begun: float) -> None:
        """Take in a look; the lock is held."""
        self._seen = found
        done = time.monotonic()
        self._due = done + max(FRESH, (done - begun) / SHARE)

    def _read(self) -> _Look:
        with self.database.read() as connection:
            waiting, running = _left(connection, QUEUED), _left(connection, RUNNING)
            count = connection.scalar(
                select(func.count()).select_from(workers).where(~workers.c.draining)
            ) or 0  # fmt: skip
            lately = connection.execute(
                select(videos.c.rank, videos.c.cost_seconds, videos.c.created_at)
                .order_by(videos.c.number.desc())
                .limit(LATELY)
            ).all()
        ahead = [(row.id, row.left) for row in waiting]
        known = standings([(row.id, row.left) for row in running], [*ahead, ("", 0.0)], count)
        end = known.pop("").starts_in
        return _Look(
            [(row.priority, row.id, row.left) for row in waiting], len(running), count, known, end,
            {row.id: row.rank for row in (*waiting, *running)}, _stretches(lately, count),
        )  # fmt: skip


def _stretches(lately: Sequence[Any], workers: int) -> list[tuple[int, float]]:
    """Return what `stretches` makes of the newest videos: rank, cost and time of arrival."""
    now = time.time()
    known = [row for row in lately if row.created_at > now - WINDOW[1]]
    if not known:
        return []
    seconds = min(max(now - known[-1].created_at, WINDOW[0]), WINDOW[1])
    return stretches([(row.rank, row.cost_seconds) for row in known], seconds, workers)


def _left(connection: Connection, state: str) -> Sequence[Any]:
    """Return a state's videos in the queue's order, with the seconds that each needs yet."""
    left = videos.c.cost_seconds * (1 - videos.c.progress)
    return connection.execute(
        select(videos.c.priority, videos.c.id, videos.c.rank, left.label("left"))
        .where(videos.c.state == state)
        .order_by(videos.c.priority, videos.c.number)
    ).all()
