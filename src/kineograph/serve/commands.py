"""The commands of the service: `kineo serve` and `kineo worker`, and what they share."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import FrameType

from kineograph.serve.database import Database
from kineograph.serve.logs import logger, set_up
from kineograph.serve.schema import migrate
from kineograph.serve.sealing import reseal
from kineograph.serve.settings import Settings, as_environment, as_toml, load_settings
from kineograph.serve.storage import Storage

RESTART_AFTER = 1.0  # seconds until a worker that ended by itself is started again, at first
RESTART_AFTER_MOST = 30.0


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings of a command's file, the environment and its flags."""
    flags = {f.name: getattr(args, f.name, None) for f in fields(Settings)}
    path = args.config or (os.environ.get("KINEO_CONFIG") or None)
    return load_settings(None if path is None else Path(path), flags=flags)


def open_database(settings: Settings) -> Database:
    """Open the database of a service, brought up to date."""
    Path(settings.data).mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url())
    migrate(database)
    return database


def serve(args: argparse.Namespace) -> None:
    """Run the service: the API here, and workers beside it."""
    settings = settings_of(args)
    if args.print_config:
        print(as_toml(settings), end="")
        return
    set_up(settings.log, settings.log_format)
    import uvicorn

    from kineograph.serve.app import create_app

    database = open_database(settings)
    if settings.secret_before:
        with database.write() as connection:
            reseal(connection, settings)
    crew = Crew(settings)
    # A thread that looks through a long queue holds up the answers by no more than this.
    sys.setswitchinterval(0.0005)
    gc.freeze()  # what was imported is there for good: searching it for garbage is a pause
    gc.set_threshold(20_000, 50, 100)
    config = uvicorn.Config(
        create_app(settings, database),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    try:
        crew.start()
        with suppress(KeyboardInterrupt):  # uvicorn sends it on, after it has ended in order
            uvicorn.Server(config).run()
    finally:
        crew.stop()
        database.close()


def worker(args: argparse.Namespace) -> None:
    """Run one worker until it is told to end."""
    from kineograph.serve.worker import Worker

    settings = settings_of(args)
    set_up(settings.log, settings.log_format)
    database = open_database(settings)
    found = Worker(database, Storage(settings.storage_url()), settings)

    told, tell = os.pipe()

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(tell, b".")  # the event's lock may be held by what this interrupts

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=_stop_when_told, args=(told, found.stopping), daemon=True).start()
    if args.with_parent:
        threading.Thread(target=_until_parent_ends, args=(found.stopping,), daemon=True).start()
    try:
        found.run()
    finally:
        database.close()


def _stop_when_told(pipe: int, stopping: threading.Event) -> None:
    os.read(pipe, 1)
    stopping.set()


def _until_parent_ends(stopping: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stopping.set()


class Crew:
    """The workers that a service starts on its own machine, started again when they end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for i in range(self.settings.workers):
            thread = threading.Thread(target=self._keep, args=(i,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def _keep(self, number: int) -> None:
        """Keep one worker going."""
        wait = RESTART_AFTER
        while not self.stopping.is_set():
            begun = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "kineograph", "worker", "--with-parent"],
                env={**os.environ, **as_environment(self.settings)},
                stdin=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the service, which tells its workers
            )
            self.processes[number] = process
            status = process.wait()
            if self.stopping.is_set():
                return
            logger().error("a worker ended", status=status)
            wait = RESTART_AFTER if time.monotonic() - begun > 60 else min(
                2 * wait, RESTART_AFTER_MOST
            )  # fmt: skip
            self.stopping.wait(wait)

    def stop(self) -> None:
        """Tell the workers to end, and end those that take too long."""
        self.stopping.set()
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        until = time.monotonic() + self.settings.drain + 10
        for process in self.processes.values():
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
        for thread in self.threads:
            thread.join()
