"""The database of the service: one file of SQLite, or PostgreSQL for many machines.

Reading and writing are told apart: on SQLite a writing transaction takes the lock when it begins,
so that none fails half-way, and the threads of a process queue for it in their order.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    cast,
    create_engine,
    event,
    func,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from kineograph.errors import RequestError, shown

IDLE_SECONDS = 1.0  # after which a connection to PostgreSQL is tried before it is used
BUSY_SECONDS = 30.0  # that a writer of SQLite waits for writers of other processes


def total(column: ColumnElement[int]) -> ColumnElement[int]:
    """Return the sum of a column of whole numbers as one; PostgreSQL would say a decimal."""
    return func.coalesce(cast(func.sum(column), BigInteger), 0)


class Database:
    """An engine, with transactions that read or write.

    Raises:
        RequestError: the URL is none, or names a database that is not supported.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise RequestError(
                "the database's address is no URL; sqlite:///FILE or postgresql://... is"
            ) from None
        self.kind = parsed.get_backend_name()
        if self.kind == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine = create_engine(
                parsed, pool_size=20, max_overflow=20, pool_timeout=10,
                hide_parameters=True,  # prompts and hashes are not for the logs
                connect_args={"connect_timeout": 5},
            )  # fmt: skip
            _try_the_idle(self.engine)
        elif self.kind == "sqlite":
            if parsed.database in (None, "", ":memory:"):
                raise RequestError(f"database {shown(url)} names no file; sqlite:///FILE does")
            Path(str(parsed.database)).resolve().parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(
                parsed, pool_size=20, max_overflow=30, hide_parameters=True,
                connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            )  # fmt: skip
            _as_sqlite(self.engine)
        else:
            raise RequestError(
                f"the database is of {shown(self.kind)}; sqlite and postgresql are supported"
            )
        self._turn = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection within one transaction that changes nothing."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection within one transaction; it is committed at the end, or not at all."""
        if self.kind != "sqlite":
            with self.engine.begin() as connection:
                yield connection
            return
        with self._turn, self.engine.connect() as connection:
            connection = connection.execution_options(kineo_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self.engine.dispose()


def _try_the_idle(engine: Engine) -> None:
    """Let a connection that nobody used for a while be tried before it is used.

    One that was used just now is not: the question would cost as much as a statement.
    """

    @event.listens_for(engine, "checkin")
    def came_back(connection: Any, record: Any) -> None:  # noqa: ANN401 - of the driver and pool
        record.info["back_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def goes_out(connection: Any, record: Any, proxy: object) -> None:  # noqa: ANN401 - likewise
        if time.monotonic() - record.info.get("back_at", math.inf) < IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # and the pool makes another one


def _write_ahead(cursor: Any) -> None:  # noqa: ANN401 - of the driver
    """Let a file keep a write-ahead log, from the first process on that opens it.

    Where several open a new file at once, SQLite refuses all but one without waiting.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _as_sqlite(engine: Engine) -> None:
    """Let several processes read while one writes, and lose nothing that was committed."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:  # noqa: ANN401 - of the driver
        connection.isolation_level = None  # transactions begin where `began` says
        cursor = connection.cursor()
        _write_ahead(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        writes = connection.get_execution_options().get("kineo_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
