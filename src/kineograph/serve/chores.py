"""What has to be done again and again: announcements, takeovers, and what is kept too long.

Each process of the API does it; what two would do twice is guarded by the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kineograph.serve import life, retention
from kineograph.serve.announcing import deliver
from kineograph.serve.logs import logger
from kineograph.serve.refusals import Refusal
from kineograph.serve.service import Service

DELIVER_EVERY = 1.0  # seconds
SWEEP_EVERY = 60.0
LOOK_EVERY = 0.1  # at the clock: the board knows itself when a look is due


class Chores:
    """Threads, one a chore."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._end = threading.Event()
        watch = life.Watch(service.settings.dead_after)
        self._chores: list[tuple[str, float, Callable[[], object]]] = [
            ("take over", service.settings.heartbeat, lambda: life.take_over(
                service.database, watch, service.settings, time.time())),
            ("look", LOOK_EVERY, service.board.refresh),
            ("sweep", SWEEP_EVERY, lambda: retention.sweep(service, time.time())),
        ]  # fmt: skip
        if service.settings.callbacks:
            self._chores.append(("announce", DELIVER_EVERY, lambda: deliver(service)))
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for chore in self._chores:
            thread = threading.Thread(target=self._repeat, args=chore, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _repeat(self, name: str, seconds: float, do: Callable[[], object]) -> None:
        while not self._end.wait(seconds):
            try:
                do()
            except Refusal as error:
                logger().warning("a chore waits", chore=name, reason=str(error))
            except Exception as error:  # whatever it was, the next time may go well
                logger().error("a chore failed", chore=name, error=type(error).__name__,
                               reason=" ".join(str(error).split())[:200])  # fmt: skip

    def stop(self) -> None:
        """End the chores; what is in hand is done first."""
        self._end.set()
        for thread in self._threads:
            thread.join()
