"""Where the operator's commands work: the settings and the database of a service."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kineograph.errors import RequestError, shown
from kineograph.serve.commands import open_database, settings_of
from kineograph.serve.database import Database
from kineograph.serve.settings import Settings


@dataclass(frozen=True)
class Place:
    """A service as its operator finds it."""

    settings: Settings
    database: Database


@contextmanager
def opened(args: argparse.Namespace, *, make: bool = False) -> Iterator[Place]:
    """Open the database that a command's flags, the environment and the file name.

    `make` lets it be made where there is none yet.

    Raises:
        RequestError: there is none, or it cannot be reached.
    """
    given = argparse.Namespace(config=args.config, data=args.data, database=args.database)
    settings = settings_of(given)
    if not make:
        _check_there(settings)
    try:
        database = open_database(settings)
        try:
            yield Place(settings, database)
        finally:
            database.close()
    except DBAPIError as error:
        raise RequestError(f"{_name(settings)}: {error.orig}") from None
    except SQLAlchemyError as error:
        raise RequestError(f"{_name(settings)}: {error}") from None


@contextmanager
def reading(args: argparse.Namespace) -> Iterator[tuple[Connection, Settings]]:
    """Yield a connection that reads, and the settings; raises as `opened`."""
    with opened(args) as place, place.database.read() as connection:
        yield connection, place.settings


@contextmanager
def changing(
    args: argparse.Namespace, *, make: bool = False
) -> Iterator[tuple[Connection, Settings]]:
    """Yield a connection whose changes are made at the end or not at all; raises as `opened`."""
    with opened(args, make=make) as place, place.database.write() as connection:
        yield connection, place.settings


def _check_there(settings: Settings) -> None:
    url = settings.database_url()
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        raise RequestError(
            f"there is no database at {shown(path)}; name one with --data or --database, or let "
            "`kineo serve` make it"
        )


def _name(settings: Settings) -> str:
    """Return how a message names the database: without its password."""
    try:
        return "database " + make_url(settings.database_url()).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "the database"
