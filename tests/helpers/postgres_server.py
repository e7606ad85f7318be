"""A PostgreSQL server of one's own, in a temporary folder: tests and benchmarks stop and start it.

    with Postgres() as server:
        url = server.create("name")
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

USER = "kineo"


def binaries() -> Path | None:
    """The folder of the server's binaries; None where there are none."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    initdb = shutil.which("initdb")
    found += [Path(initdb)] if initdb else []
    return found[-1].parent if found else None


class Postgres:
    """A server that only its socket leads to, run by a user who may nothing else."""

    def __init__(self, parent: str = "/tmp") -> None:
        found = binaries()
        assert found is not None, "PostgreSQL is not installed"
        self.binaries = found
        self.folder = Path(tempfile.mkdtemp(prefix="kineo-pg-", dir=parent))
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            names = [entry.pw_name for entry in pwd.getpwall()]
            entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = (self.folder / "log").open("wb")

    def __enter__(self) -> Postgres:
        data = self.folder / "data"
        command = [self.binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8",
                   "--locale=C", "--no-sync"]  # fmt: skip
        subprocess.run(
            [str(word) for word in command], check=True, stdout=self.log, stderr=self.log,
            cwd="/", **self.user,
        )  # fmt: skip
        self.start()
        return self

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = {
            "listen_addresses": "", "unix_socket_directories": self.folder, "fsync": "on",
            "max_connections": 200, "shared_buffers": "32MB", "timezone": "UTC",
            "recovery_init_sync_method": "syncfs",
        }  # fmt: skip
        words = [f"{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(
            [str(self.binaries / "postgres"), "-D", str(self.folder / "data"),
             *(part for word in words for part in ("-c", word))],
            stdout=self.log, stderr=self.log, cwd="/", start_new_session=True, **self.user,
        )  # fmt: skip
        for _ in range(600):
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def stop(self) -> None:
        """Stop the server at once: connections are cut, what was committed stays."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.folder), user=USER, dbname="postgres", autocommit=True
        )

    def url(self, name: str) -> str:
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def create(self, name: str, template: str = "template0") -> str:
        """Make a database, as a copy of another one, and return its address."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
