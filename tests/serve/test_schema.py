import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from kineograph.errors import RequestError
from kineograph.serve import database as database_module
from kineograph.serve import schema
from kineograph.serve.database import Database
from kineograph.serve.tables import metadata

MIGRATE = """
import sys
from kineograph.serve.database import Database
from kineograph.serve.schema import migrate
print("ready", flush=True)
sys.stdin.readline()
database = Database(sys.argv[1])
migrate(database)
database.close()
"""


@pytest.fixture
def database(empty_url):
    database = Database(empty_url)
    yield database
    database.close()


def test_the_migrations_make_exactly_the_tables(database):
    schema.migrate(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert schema.version_of(connection) == schema.newest()


def test_migrating_again_changes_nothing(database):
    schema.migrate(database)
    before = set(inspect(database.engine).get_table_names())
    schema.migrate(database)
    assert set(inspect(database.engine).get_table_names()) == before == {
        *metadata.tables, "alembic_version"
    }  # fmt: skip


def test_a_schema_of_a_newer_version_is_refused(database):
    schema.migrate(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RequestError, match=r"schema '9999'.*newest is '0"):
        schema.migrate(database)


def test_a_migration_that_fails_leaves_nothing_behind(database, monkeypatch):
    def broken(config, revision):
        config.attributes["connection"].execute(text("CREATE TABLE half (id INTEGER)"))
        raise RuntimeError("half-way")

    monkeypatch.setattr(schema.command, "upgrade", broken)
    with pytest.raises(RuntimeError, match="half-way"):
        schema.migrate(database)
    assert inspect(database.engine).get_table_names() == []


def test_a_new_file_that_another_process_is_opening_is_waited_for(monkeypatch):
    asked = []

    class Locked:
        def execute(self, statement):
            asked.append(statement)
            if len(asked) < 3:
                raise sqlite3.OperationalError("database is locked")

    database_module._write_ahead(Locked())
    assert len(asked) == 3
    asked.clear()
    monkeypatch.setattr(database_module, "BUSY_SECONDS", -1)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        database_module._write_ahead(Locked())


def test_processes_that_start_at_once_migrate_one_after_the_other(empty_url):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    database = Database(empty_url)
    with database.read() as connection:
        assert schema.version_of(connection) == schema.newest()
    database.close()
