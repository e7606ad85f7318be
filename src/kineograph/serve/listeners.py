"""Who listens to which video: one task looks at all of them and wakes those whose video changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping, select
from starlette.concurrency import run_in_threadpool

from kineograph.serve.board import Board
from kineograph.serve.database import Database
from kineograph.serve.logs import logger
from kineograph.serve.scheduler import Standing
from kineograph.serve.tables import IN_HAND, videos

LOOK_EVERY = 0.25  # seconds
AT_ONCE = 500  # ids of one query
# What a listener is told the change of.
TOLD = ("state", "stage", "progress", "steps_done", "preview", "wanted", "attempts", "deleted_at")
Told = tuple[RowMapping, Standing | None]


@dataclass
class Listeners:
    """The listeners of one process."""

    database: Database
    board: Board
    _queues: dict[str, set[asyncio.Queue[Told]]] = field(default_factory=dict)
    _seen: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    async def follow(self, id: str, read: Callable[[], RowMapping]) -> AsyncIterator[Told]:
        """Yield a video's row and standing now, and whenever they have changed, until it is over.

        `read` returns the row as it is when it is called.
        """
        queue: asyncio.Queue[Told] = asyncio.Queue(maxsize=1)
        self._queues.setdefault(id, set()).add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            # Read after it is listened to: what changes in between is heard.
            row = await run_in_threadpool(read)
            yield row, await run_in_threadpool(self.board.standing_of, row)
            while row["state"] in IN_HAND and row["deleted_at"] is None:
                row, standing = await queue.get()
                yield row, standing
        finally:
            self._queues[id].discard(queue)
            if not self._queues[id]:
                del self._queues[id]
                self._seen.pop(id, None)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while self._queues:
            await asyncio.sleep(LOOK_EVERY)
            try:
                found = await run_in_threadpool(self._changes, list(self._queues))
            except Exception as error:  # away: what changes meanwhile is told afterwards
                logger().warning("listeners hear nothing", error=type(error).__name__)
                continue
            for told, seen in found:
                id = told[0]["id"]
                if id not in self._queues:
                    continue
                self._seen[id] = seen
                for queue in self._queues[id]:
                    if queue.full():  # a slow listener hears the newest alone
                        queue.get_nowait()
                    queue.put_nowait(told)

    def _changes(self, ids: list[str]) -> list[tuple[Told, tuple[Any, ...]]]:
        found = []
        for i in range(0, len(ids), AT_ONCE):
            part = ids[i : i + AT_ONCE]
            with self.database.read() as connection:
                rows = connection.execute(select(videos).where(videos.c.id.in_(part))).mappings()
                for row in rows.all():
                    standing = self.board.standing_of(row)
                    position = None if standing is None else standing.position
                    seen = (*(row[name] for name in TOLD), position)
                    if self._seen.get(row["id"]) != seen:
                        found.append(((row, standing), seen))
        return found
