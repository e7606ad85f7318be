"""A worker's child, the process that makes videos: told and telling in lines of JSON."""

from __future__ import annotations

import json
import os
import queue as queues
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from kineograph.serve.settings import Settings

LAST = ("stopped", "done", "failed", "ended")  # events after which nothing is in its hands


class Child:
    """The process that makes videos, and what it said that was not read yet."""

    def __init__(self, settings: Settings, threads: int) -> None:
        command = [sys.executable, "-m", "kineograph.serve.runner", settings.generator]
        environment = dict(os.environ)
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        self.process = subprocess.Popen(
            [*command, settings.device, str(threads)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment,
            start_new_session=True,  # Ctrl-C is the worker's; it says what the child is to do
        )  # fmt: skip
        self.busy = False  # with a job whose end was not read yet
        self.events: queues.SimpleQueue[dict[str, Any]] = queues.SimpleQueue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):  # a line that was cut off by the end
            for line in self.process.stdout:
                self.events.put(json.loads(line))
        self.events.put({"event": "ended", "status": self.process.wait()})

    def begin(self, id: str, folder: str, request: dict[str, Any]) -> None:
        """Tell it to make a video; what the folder holds is its own from here on."""
        self.busy = True
        self._say(do="job", id=id, folder=folder, request=request)

    def stop(self) -> None:
        """Tell it to stop at the next step."""
        self._say(do="stop")

    def _say(self, **words: Any) -> None:  # noqa: ANN401 - JSON
        assert self.process.stdin is not None
        with suppress(OSError):  # it has ended, and its last event says so
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()

    def next(self, seconds: float) -> dict[str, Any] | None:
        """Return the next event, or None where there was none in this time."""
        try:
            event = self.events.get(timeout=seconds)
        except queues.Empty:
            return None
        if event["event"] in LAST:
            self.busy = False
        return event

    def quiet(self, seconds: float) -> bool:
        """Have it stop what it does, unheard; return whether it did, and can be told more."""
        until = time.monotonic() + seconds
        if self.busy:
            self.stop()
        while self.busy and time.monotonic() < until:
            self.next(0.1)
        return not self.busy and self.process.poll() is None

    def kill(self) -> None:
        """End it at once, with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
