"""One job in a worker's hand: what its child says is written down, what is asked of it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from kineograph.serve import estimates, queue, store
from kineograph.serve.child import Child
from kineograph.serve.database import Database
from kineograph.serve.logs import logger
from kineograph.serve.queue import Job
from kineograph.serve.reasons import NO_SPACE, plain
from kineograph.serve.refusals import NotFound, Unavailable
from kineograph.serve.settings import Settings
from kineograph.serve.storage import Storage
from kineograph.serve.task import Task

T = TypeVar("T")
# The database or the storage is away, full or in another's hands: it may be there again.
AWAY = (OperationalError, InterfaceError, TimeoutError, Unavailable)
SPACE_WAIT = 10.0  # seconds until a job is tried again for which there was no room
SHARES = {"load": 0.0, "condition": 0.02, "denoise": 0.05, "decode": 0.85}  # where stages begin
DRAIN, YIELD = "drain", "yield"  # why a job is stopped, besides what its owner may ask
TRIES = 3  # to put a state into the storage before a job is given back without it


class Unwanted(Exception):
    """A job that waits for the storage is to be cancelled, or the worker is to end."""


@runtime_checkable
class Owner(Protocol):
    """What a hand needs of its worker; see `worker.Worker`."""

    id: str
    database: Database
    storage: Storage
    settings: Settings
    stopping: threading.Event
    urgent: Job | None

    def write(self, change: Callable[[Any], T]) -> T: ...
    def patiently(self, do: Callable[[], T], unless: Callable[[], None] = ...) -> T: ...
    def waits(self, than: Job) -> tuple[bool, bool]: ...
    def claim(self, than: Job | None) -> Job | None: ...
    def start_child(self) -> Child: ...
    def drop_child(self) -> None: ...


class Hand:
    """One job while the child works on it."""

    def __init__(self, worker: Owner, job: Job, folder: Path) -> None:
        self.worker, self.job, self.folder = worker, job, folder
        self.settings = worker.settings
        self.begun = self.heard = self.looked = time.monotonic()
        self.uploaded = -float("inf")
        self.state: tuple[int, Path] | None = None  # the newest that is not in the storage
        self.step = job.row["steps_done"]
        self.key = job.row["checkpoint"]
        self.told: dict[str, Any] = {}  # columns that changed since they were written
        self.previews = 0
        self.why: str | None = None  # why it was told to stop: cancel, pause, yield or drain
        self.stop_by = float("inf")
        self.passed = False  # whether another one waited before it at the last look

    @property
    def seconds(self) -> float:
        """How long it is in hand."""
        return time.monotonic() - self.begun

    def make(self) -> None:
        """See the job to its end, or give it back."""
        self.worker.patiently(self.lay_out, self.still_wanted)
        child = self.worker.start_child()
        child.begin(self.job.id, str(self.folder), self.job.request)
        self.heard = time.monotonic()
        self.follow(child)

    def lay_out(self) -> None:
        """Lay the inputs into the folder, and the state where it was begun before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        storage, job = self.worker.storage, self.job
        for name, key in job.inputs.items():
            storage.fetch(key, self.folder / name)
        if self.key is not None:
            with suppress(NotFound):  # gone: the job begins anew, which costs time alone
                storage.fetch(self.key, Task(job.id, self.folder, job.request).state)

    def still_wanted(self) -> None:
        """Raise where the job is to be cancelled, is another's, or the worker is to end."""
        with self.worker.database.read() as connection:
            wanted = queue.wanted(connection, self.job)
        if wanted == store.CANCEL or self.worker.stopping.is_set():
            raise Unwanted

    def follow(self, child: Child) -> None:
        """Follow the job until it is over or given back."""
        while True:
            event = child.next(self.settings.poll)
            if event is not None:
                self.heard = time.monotonic()
                if self.on_event(event):
                    return
            if event is None or time.monotonic() - self.looked >= self.settings.poll:
                self.look_up(child)
            if time.monotonic() > self.stop_by:
                self.worker.drop_child()
                self.give_back()
                return
            if time.monotonic() - self.heard > self.settings.job_timeout:
                self.worker.drop_child()
                message = f"nothing happened for {self.settings.job_timeout:g} s"
                self.end("stuck", message, retry=True)
                return

    def on_event(self, event: dict[str, Any]) -> bool:
        """Take in what the child says; return whether the job is out of its hands."""
        match event["event"]:
            case "progress":
                self.progress(event["stage"], event["done"], event["total"])
            case "kept":
                self.kept(event["step"], Path(event["file"]))
            case "preview":
                self.preview(Path(event["file"]))
            case "warning":
                logger().info("warning", video=self.job.id, message=event["message"])
            case "stopped":
                self.give_back()
                return True
            case "done":
                self.complete(event["file"])
                return True
            case "failed":
                if event["suspect"]:  # an accelerator that failed once fails all that follows
                    self.worker.drop_child()
                self.end(event["code"], event["message"], retry=event["retry"])
                return True
            case "ended":
                self.worker.drop_child()
                status = event["status"]
                how = f"signal {-status}" if status < 0 else f"status {status}"
                message = f"the generator's process ended with {how} after step {self.step}"
                self.end("generator_crashed", message, retry=True)
                return True
        return False

    def progress(self, stage: str, done: int, total: int) -> None:
        """Take note of how far it is."""
        begin = SHARES.get(stage)
        if begin is None:
            return  # a word to the people at a terminal
        share = (0.8 if stage == "denoise" else 0.14) * done / total if total else 0.0
        self.told |= {"stage": stage, "progress": begin + share}
        if stage == "denoise":
            self.step = done
            self.told |= {"steps_done": done, "steps": total}

    def kept(self, step: int | None, path: Path) -> None:
        """Take note of a new state; every few seconds one goes into the storage."""
        if self.state is not None:
            self.state[1].unlink(missing_ok=True)
        self.state = (self.step if step is None else step, path)
        if time.monotonic() - self.uploaded >= self.settings.checkpoint:
            try:
                self.upload()
            except AWAY as error:  # the next one will do
                logger().warning("no state kept", video=self.job.id, error=plain(f"{error}"))
                self.uploaded = time.monotonic()

    def upload(self) -> None:
        """Put the newest state into the storage, and then write down that it is there."""
        if self.state is None:
            return
        step, path = self.state
        key = f"states/{self.job.id}/{self.job.fence}-{step}"
        self.worker.storage.put(key, path)
        self.worker.write(lambda c: queue.keep(c, self.job, step, key))
        self.state = None
        path.unlink(missing_ok=True)
        before, self.key = self.key, key
        if before not in (None, key):
            with suppress(Unavailable):
                self.worker.storage.delete(before)
        self.uploaded = time.monotonic()

    def upload_last(self) -> None:
        """Put the newest state into the storage, where that works at all."""
        tries = 0

        def once() -> None:
            nonlocal tries
            try:
                self.upload()
            except Unavailable as error:
                tries += 1
                if tries < TRIES:
                    raise
                logger().error("no state kept", video=self.job.id, error=plain(f"{error}"))

        self.worker.patiently(once)

    def preview(self, path: Path) -> None:
        """Put a preview into the storage; one that fails is not missed."""
        key = f"videos/{self.job.id}/{self.job.fence}/preview-{self.previews + 1}.jpg"
        with suppress(Unavailable, OSError):
            self.worker.storage.put(key, path.read_bytes())
            self.previews += 1
            before = self.told.get("preview")
            self.told["preview"] = key
            if before is not None:  # nobody was told of it
                self.worker.storage.delete(before)

    def look_up(self, child: Child) -> None:
        """Write down how far it is, and see whether something else is wanted."""
        worker, job = self.worker, self.job
        try:
            if self.told:
                told = self.told
                wanted = worker.write(lambda c: queue.report(c, job, **told))
                self.told = {}
            else:
                with worker.database.read() as connection:
                    wanted = queue.wanted(connection, job)
            if wanted is not None:
                self.stop(child, wanted)
            elif worker.stopping.is_set():
                self.stop(child, DRAIN)
            elif self.why is None:
                self.make_way(child)
        except AWAY as error:
            logger().warning("the database is away", video=job.id, error=plain(f"{error}"))
            time.sleep(self.settings.poll)
        self.looked = time.monotonic()

    def make_way(self, child: Child) -> None:
        """Take a job of a higher rank; an idle worker has until the next look to take it."""
        waits, others = self.worker.waits(self.job)
        passed, self.passed = self.passed, waits
        if waits and (passed or not others):
            self.worker.urgent = self.worker.claim(self.job)
            if self.worker.urgent is not None:
                self.stop(child, YIELD)

    def stop(self, child: Child, why: str) -> None:
        """Tell the child to stop; a cancel, and the worker's end, wait no longer than `drain`."""
        if self.why is None:
            child.stop()
        if why in (store.CANCEL, DRAIN) and self.why not in (store.CANCEL, DRAIN):
            self.stop_by = time.monotonic() + self.settings.drain
        self.why = why

    def last(self, change: Callable[[Any], T]) -> T:
        """Make the last change of the job, with what was not written down before."""

        def both(connection: Any) -> T:  # noqa: ANN401 - a Connection
            if self.told:
                queue.report(connection, self.job, **self.told)
            return change(connection)

        return self.worker.patiently(lambda: self.worker.write(both))

    def give_back(self) -> None:
        """Give the job back, its state in the storage, and as it was asked of it."""
        if self.why != store.CANCEL:
            self.upload_last()
        worker = self.worker
        asked = self.last(lambda c: queue.release(c, self.job, self.seconds, time.time()))
        logger().info(
            "gave back", video=self.job.id, worker=worker.id, why=asked or self.why,
            step=self.step, seconds=self.seconds,
        )  # fmt: skip
        if asked == store.CANCEL:
            self.clean_up(None)

    def complete(self, file: str) -> None:
        """Put what was made into the storage, and bring the video to its end."""
        worker, prefix = self.worker, f"videos/{self.job.id}/{self.job.fence}"
        names = {
            "output": (file, f"video{Path(file).suffix}"),
            "thumbnail": ("thumbnail.jpg", "thumbnail.jpg"),
            "spritesheet": ("spritesheet.jpg", "spritesheet.jpg"),
        }
        if told := self.told:  # how far it is, should the storage take its time
            with suppress(*AWAY):
                worker.write(lambda c: queue.report(c, self.job, **told))
        keys = {}
        for column, (name, stored) in names.items():
            keys[column] = f"{prefix}/{stored}"
            put = partial(worker.storage.put, keys[column], self.folder / name)
            worker.patiently(put, self.still_wanted)
        seconds = self.seconds
        made = self.last(lambda c: queue.complete(c, self.job, keys, seconds, time.time()))
        logger().info(
            "completed" if made else "cancelled", video=self.job.id, worker=worker.id,
            seconds=seconds,
        )  # fmt: skip
        if made:
            used = self.job.row["used_seconds"] + seconds
            with suppress(*AWAY):  # one time less is no loss
                worker.write(lambda c: estimates.learn(c, self.job.row, used))
        self.clean_up(keys if made else None)

    def clean_up(self, keys: dict[str, str] | None) -> None:
        """Delete the states of a job that is over, and what its earlier tries left behind."""
        storage, mine = self.worker.storage, f"videos/{self.job.id}/{self.job.fence}/"
        with suppress(Unavailable):
            for key, _ in list(storage.names(f"states/{self.job.id}")):
                storage.delete(key)
            for key, _ in list(storage.names(f"videos/{self.job.id}")):
                kept = keys is not None and (key.startswith(mine) or key == self.job.row["preview"])
                if not kept:
                    storage.delete(key)

    def end(self, code: str, message: str, *, retry: bool) -> None:
        """Write down that the job failed; what is left of it stays for the next try."""
        worker, job = self.worker, self.job
        log = logger().bind(video=job.id, worker=worker.id, code=code, reason=message)
        if code == NO_SPACE:
            later = time.time() + SPACE_WAIT
            self.last(lambda c: queue.release(c, job, self.seconds, time.time(), not_before=later))
            log.error("no room; tried again later")
            return
        if retry:
            self.upload_last()
        again = self.last(
            lambda c: queue.fail(
                c, job, code, message, self.settings, time.time(), seconds=self.seconds,
                retry=retry,
            )
        )  # fmt: skip
        log.warning("failed; tried again" if again else "failed")
