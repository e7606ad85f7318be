"""A worker: takes videos from the queue, has them made by a child process, and says how it goes.

It never imports torch: a crash of the generator is an event here, told from the death of the
worker, which others notice. One loop, one job at a time; a thread gives the signs of life, and
watches those of the others.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from kineograph.serve import life, queue
from kineograph.serve.child import Child
from kineograph.serve.database import Database
from kineograph.serve.hand import AWAY, Hand, Unwanted
from kineograph.serve.ids import new_id
from kineograph.serve.logs import logger
from kineograph.serve.queue import Job
from kineograph.serve.reasons import may_pass, plain, reason_of
from kineograph.serve.refusals import LostLease
from kineograph.serve.scratch import Scratch
from kineograph.serve.settings import Settings
from kineograph.serve.storage import Storage

T = TypeVar("T")
LOOK = 0.5  # seconds between two looks at the other workers, at most
LONGEST_WAIT = 5.0  # seconds between two tries
STOPPING_WAIT = 2.0  # where it is this long and the worker is to end, it tries no more


class Worker:
    """Make the videos of a queue until told to stop."""

    def __init__(self, database: Database, storage: Storage, settings: Settings) -> None:
        self.database, self.storage, self.settings = database, storage, settings
        self.models = settings.offered()
        self.stopping = threading.Event()
        self.ended = threading.Event()
        self.lost = threading.Event()  # this worker was taken for dead
        self.id = ""
        self.child: Child | None = None
        self.urgent: Job | None = None  # claimed while another one was still in hand
        self.unsure = False  # whether a claim's answer was lost, and a job may be this worker's

    def run(self) -> None:
        """Work until `stopping` is set; the job in hand is given back at its next step."""
        self.scratch = Scratch()
        living = threading.Thread(target=self._live, daemon=True)
        try:
            self.enlist()
            living.start()
            while not self.stopping.is_set():
                if self.lost.is_set():
                    self.enlist()
                job, self.urgent = self.urgent or self.claim(None), None
                if job is None:
                    self.stopping.wait(self.settings.poll)
                else:
                    self.work(job)
        except AWAY as error:
            if not self.stopping.is_set():
                raise
            logger().warning("ended without the database", worker=self.id, error=plain(f"{error}"))
        finally:
            self.ended.set()
            if living.is_alive():
                living.join()
            self.drop_child()
            self._leave()
            self.scratch.close()

    def _leave(self) -> None:
        """Give back what was not begun, and say that this worker is gone."""
        with suppress(*AWAY):  # then others see it
            self.write(lambda c: queue.put_back(c, self.id, []))
            self.write(lambda c: life.unregister(c, self.id))

    def enlist(self) -> None:
        """Write down that this worker is there, under a new name."""
        id = new_id("worker")
        self.patiently(lambda: self.write(lambda c: life.register(c, id, self.models, _now())))
        self.id, self.unsure = id, False
        self.lost.clear()
        logger().info("worker started", worker=self.id, models=self.models)

    def _live(self) -> None:
        """Give signs of life and watch for those of others, whatever the worker does."""
        watch = life.Watch(self.settings.dead_after)
        # A watch must look twice as often as it may miss a look; processes that ended here are
        # seen at the first one.
        every = min(self.settings.heartbeat, self.settings.dead_after / 4)
        beaten, unknown = -every, ""
        while True:
            try:
                # First its own sign: what keeps all from giving theirs keeps it from judging.
                if time.monotonic() - beaten >= every:
                    unknown = "" if self._beat(id := self.id) else id
                    beaten = time.monotonic()
                if unknown == self.id:
                    self.lost.set()
                for video in life.take_over(self.database, watch, self.settings, _now()):
                    logger().warning("took over from a dead worker", video=video, worker=self.id)
            except AWAY as error:
                logger().warning("no sign of life", worker=self.id, error=plain(f"{error}"))
            except Exception:
                logger().exception("no sign of life", worker=self.id)
            if self.ended.wait(min(every, LOOK)):
                return

    def _beat(self, id: str) -> bool:
        return self.write(lambda c: life.beat(c, id, _now(), draining=self.stopping.is_set()))

    def waits(self, than: Job) -> tuple[bool, bool]:
        """Whether a video waits that may interrupt the one in hand, and a worker is idle."""
        with self.database.read() as connection:
            found = queue.waiting(connection, self.models, _now(), than)
            return found, found and queue.idle(connection)

    def claim(self, than: Job | None) -> Job | None:
        """Take a video; the lock for writing is asked for only where there is one."""
        try:
            if self.unsure:
                hands = [] if than is None else [than]
                self.write(lambda c: queue.put_back(c, self.id, hands))
                self.unsure = False
            with self.database.read() as connection:
                if not queue.waiting(connection, self.models, _now(), than):
                    return None
            self.unsure = True
            job = self.write(lambda c: queue.claim(c, self.id, self.models, _now(), than))
            self.unsure = False
            return job
        except LostLease:
            self.unsure = False
            self.lost.set()
        except AWAY as error:
            logger().warning("the database is away", error=plain(f"{error}"))
            self.stopping.wait(min(1.0, 10 * self.settings.poll))
        return None

    def write(self, change: Callable[[Any], T]) -> T:
        """Return what a change in a transaction of its own returns."""
        with self.database.write() as connection:
            return change(connection)

    def patiently(self, do: Callable[[], T], unless: Callable[[], None] = lambda: None) -> T:
        """Do what needs the database or the storage, again and again while they are away.

        `unless` is called before each new try, and raises where there is to be none.
        """
        wait = 0.1
        while True:
            try:
                return do()
            except AWAY as error:
                if self.ended.is_set() or (self.stopping.is_set() and wait > STOPPING_WAIT):
                    raise
                logger().warning("it is away; tried again", error=plain(f"{error}"), seconds=wait)
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            with suppress(*AWAY):
                unless()

    def work(self, job: Job) -> None:
        """Have one video made, or give it back; whatever goes wrong is the video's alone."""
        log = logger().bind(video=job.id, worker=self.id, fence=job.fence)
        log.info("began", model=job.row["model"], step=job.row["steps_done"])
        hand = Hand(self, job, self.scratch.path / f"{job.id}-{job.fence}")
        try:
            try:
                hand.make()
            except Unwanted:
                hand.give_back()
            except (LostLease, *AWAY):
                raise
            except Exception as error:
                if not isinstance(error, OSError | LookupError) and may_pass(error):
                    log.exception("a fault of the worker's own")
                self._quiet()
                hand.end(*reason_of(error), retry=may_pass(error))
        except LostLease as error:
            log.warning("lost", reason=str(error))
            self._quiet()
        except AWAY as error:
            log.warning("left to others", reason=plain(f"{error}"))
            self._quiet()
        finally:
            shutil.rmtree(hand.folder, ignore_errors=True)

    def start_child(self) -> Child:
        """Return the child, started where there is none."""
        if self.child is None:
            threads = self.settings.threads or max(
                (os.cpu_count() or 1) // max(self.settings.workers, 1), 1
            )
            self.child = Child(self.settings, threads)
        return self.child

    def _quiet(self) -> None:
        """Have the child stop what it does; one that does not is killed."""
        if self.child is None or not self.child.quiet(self.settings.drain):
            self.drop_child()

    def drop_child(self) -> None:
        """End the child; the next job gets another one."""
        if self.child is not None:
            self.child.kill()
            self.child = None


def _now() -> float:
    return time.time()
