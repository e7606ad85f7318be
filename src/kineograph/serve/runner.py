"""The process that makes videos: one job at a time, told and telling in lines of JSON.

It is a child of a worker, since what it runs may take the process down. Lines in: a job, or
"stop" for the one in hand; when the worker is gone, so is this process, at once. Lines out: what
happens. Run as `python -m kineograph.serve.runner real|fake`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, TextIO, runtime_checkable

from kineograph.serve.pictures import write_pictures
from kineograph.serve.reasons import may_pass, reason_of
from kineograph.serve.task import Task


class Stopped(Exception):
    """The job in hand was told to stop; its state is on disk."""


@runtime_checkable
class Tell(Protocol):
    """How a generator tells how far it is; raises `Stopped` where it is to stop."""

    def __call__(self, stage: str, done: int = 0, total: int = 0) -> None: ...


@runtime_checkable
class Generator(Protocol):
    """What makes videos: the models, or what stands in for them in tests."""

    def make(
        self, task: Task, tell: Tell, show: Callable[[Path], None], warn: Callable[[str], None]
    ) -> None:
        """Write the video into the folder; `show` is given a preview, a JPEG, now and then."""
        ...


class Runner:
    """The loop of the process."""

    def __init__(self, generator: Generator, out: TextIO) -> None:
        self.generator, self.out = generator, out
        self.tasks: SimpleQueue[Task] = SimpleQueue()
        self.stop = threading.Event()

    def say(self, event: str, **values: Any) -> None:  # noqa: ANN401 - JSON
        try:
            self.out.write(json.dumps({"event": event, **values}) + "\n")
            self.out.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody is there to make anything for

    def listen(self, lines: TextIO) -> None:
        """Take in what the worker says, until it is gone."""
        for line in lines:
            told = json.loads(line)
            if told["do"] == "stop":
                self.stop.set()
            else:
                self.stop.clear()
                self.tasks.put(Task(told["id"], Path(told["folder"]), told["request"]))
        os._exit(0)

    def run(self) -> None:
        self.say("ready")
        while True:
            self.work(self.tasks.get())

    def work(self, task: Task) -> None:
        """Make one video and say how it ended; what it raises is said, not raised."""
        kept: list[int] = [0]

        def tell(stage: str, done: int = 0, total: int = 0) -> None:
            self._keep(task, done, kept) if stage == "denoise" else None
            self.say("progress", stage=stage, done=done, total=total)
            if self.stop.is_set() and stage in ("denoise", "decode"):
                raise Stopped

        def show(path: Path) -> None:
            self.say("preview", file=str(path))

        try:
            os.chdir(task.folder)
            self.generator.make(task, tell, show, lambda text: self.say("warning", message=text))
            write_pictures(
                task.folder / task.output, task.folder / "thumbnail.jpg",
                task.folder / "spritesheet.jpg",
            )  # fmt: skip
            self.say("done", file=task.output)
        except Stopped:
            self._keep(task, None, kept)
            self.say("stopped")
        except Exception as error:
            code, message = reason_of(error)
            # What a disk or a request does to itself leaves the models as they were.
            suspect = may_pass(error) and not isinstance(error, OSError)
            self.say("failed", code=code, message=message, retry=may_pass(error), suspect=suspect)
        finally:
            self.stop.clear()

    def _keep(self, task: Task, step: int | None, kept: list[int]) -> None:
        """Say that there is a new state, under a name that nothing changes any more."""
        with suppress(FileNotFoundError):
            found = task.state.stat().st_ino
            if found != kept[0]:
                name = task.folder / f"state-{found}"
                with suppress(FileExistsError):
                    os.link(task.state, name)
                kept[0] = found
                self.say("kept", step=step, file=str(name))


def main() -> None:
    """Run until the worker is gone."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no word of ours
    generator: Generator
    if sys.argv[1] == "fake":
        from kineograph.serve.fake import FakeGenerator

        generator = FakeGenerator.from_environment()
    else:
        from kineograph.serve.real import ModelGenerator

        generator = ModelGenerator(device=sys.argv[2] or None, threads=int(sys.argv[3]))
    runner = Runner(generator, out)
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    threading.Thread(target=runner.listen, args=(lines,), daemon=True).start()
    runner.run()


if __name__ == "__main__":
    main()
