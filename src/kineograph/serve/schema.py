"""Bringing a database to the schema of this version, by its migrations in order."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from kineograph.errors import RequestError
from kineograph.serve.database import Database

FOLDER = Path(__file__).parent / "migrations"
LOCK = 725_510_110  # of PostgreSQL: two processes that start at once migrate one after the other


def migrate(database: Database) -> None:
    """Bring the schema up to date; a no-op where it is.

    Raises:
        RequestError: the database was made by a newer version.
    """
    with database.read() as connection:
        if version_of(connection) == newest():
            return
    with database.write() as connection:
        if database.kind == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        known = {script.revision for script in _scripts().walk_revisions()}
        here = version_of(connection)
        if here is not None and here not in known:
            raise RequestError(
                f"the database has schema {here!r}, which this version does not know; "
                f"its newest is {newest()!r}: update kineograph on this machine"
            )
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def newest() -> str:
    """Return the name of the newest schema."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def version_of(connection: Connection) -> str | None:
    """Return the name of a database's schema; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
