"""What the service's tests share: a database of each kind, brought to the schema once."""

from __future__ import annotations

import logging
import os
import shutil
from itertools import count
from pathlib import Path

import httpx
import pytest
from postgres_server import Postgres, binaries
from serve_rig import Rig

from kineograph.serve import schema
from kineograph.serve.database import Database

NUMBERS = count()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of this run."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql")
    shm = Path("/dev/shm")  # where waiting for a disk takes no time
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > 1 << 30
    with Postgres(str(shm) if roomy else "/tmp") as server:
        yield server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A file of SQLite with the schema and nothing in it."""
    path = tmp_path_factory.mktemp("schema") / "new.sqlite"
    database = Database(f"sqlite:///{path}")
    schema.migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def s3_server():
    """The address of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The address of an empty bucket, with what the environment says of its server."""
    name = f"bucket-{os.getpid()}-{next(NUMBERS)}"
    httpx.put(f"{s3_server}/{name}").raise_for_status()
    for key, value in {
        "AWS_ENDPOINT_URL": s3_server, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "something",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    return f"s3://{name}/videos/of/ours"


@pytest.fixture(scope="session")
def migrated_postgres(postgres):
    """The name of a database of PostgreSQL with the schema and nothing in it."""
    database = Database(postgres.create("migrated"))
    schema.migrate(database)
    database.close()
    return "migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """The address of a database in which there is nothing, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite'}"
    return request.getfixturevalue("postgres").create(f"empty{next(NUMBERS)}")


@pytest.fixture
def base(new_database, tmp_path):
    """A database of each kind with the schema and nothing in it."""
    database = Database(new_database(tmp_path))
    yield database
    database.close()


@pytest.fixture
def another(base):
    """The same database as another process has it: nothing in memory is shared."""
    database = Database(base.engine.url.render_as_string(hide_password=False))
    yield database
    database.close()


@pytest.fixture(scope="module")
def shared(new_database, tmp_path_factory):
    """The same for the tests of a file, in which nothing stays."""
    database = Database(new_database(tmp_path_factory.mktemp("shared")))
    yield database
    database.close()


@pytest.fixture
def connection(shared):
    """A connection whose changes are taken back."""
    with shared.engine.connect() as connection:
        yield connection
        connection.rollback()


def _new_of(kind, request):
    """Return what makes databases of a kind: it takes a folder and returns a fresh one's address.

    Whatever writes to a database that the service has in production is tried on both kinds: one
    of them is strict about lengths, types and characters, the other one about who writes.
    """

    def make(folder):
        if kind == "sqlite":
            path = folder / "kineo.sqlite"
            shutil.copy(request.getfixturevalue("migrated"), path)
            return f"sqlite:///{path}"
        template = request.getfixturevalue("migrated_postgres")
        return request.getfixturevalue("postgres").create(f"rig{next(NUMBERS)}", template)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def rig(request, tmp_path):
    """A service on each kind of database, with a free account and a member's."""
    yield from _rig(_new_of(request.param, request)(tmp_path), tmp_path)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_database(request):
    """What makes the databases of a file of tests, which is run with each kind."""
    return _new_of(request.param, request)


@pytest.fixture
def sqlite_rig(request, tmp_path):
    """The same on SQLite alone, where the kind of database makes no difference."""
    yield from _rig(_new_of("sqlite", request)(tmp_path), tmp_path)


def _rig(url, tmp_path):
    rig = Rig(url, tmp_path / "data")
    rig.account("free")
    rig.account("member", "member")
    yield rig
    rig.close()
