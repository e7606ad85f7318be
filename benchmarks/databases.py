"""What benchmarks of the service begin with: a database, SQLite or a new PostgreSQL, and a port."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
HELP = "sqlite, postgresql (a server is started, and its data deleted at the end) or a URL"


@contextmanager
def database_at(name: str) -> Iterator[str]:
    """Yield the address of a database; none, which is the service's own file, for sqlite."""
    if name != "postgresql":
        yield "" if name == "sqlite" else name
        return
    sys.path.insert(0, str(ROOT / "tests/helpers"))
    from postgres_server import Postgres

    with Postgres() as server:
        yield server.create("benchmark")


def free_port() -> int:
    """Return the number of a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
