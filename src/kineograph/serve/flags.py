"""The flags of the service's commands, from the settings' own descriptions."""

from __future__ import annotations

import argparse
from dataclasses import fields

from kineograph.serve.settings import SECRET, Settings, kind_of


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting that is one value; tables are set in the file."""
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file of settings; also KINEO_CONFIG"
    )
    for f in fields(Settings):
        kind, flag = kind_of(f), "--" + f.name.replace("_", "-")
        note = f.metadata["help"].replace("%", "%%")
        if kind is dict:
            continue
        if kind is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None, help=note
            )
            continue
        default = "" if f.name in SECRET or f.default in ("", None) else f" (default: {f.default})"
        parser.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=note + default)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name a service's database: the operator's commands need no more."""
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file of settings; also KINEO_CONFIG"
    )
    parser.add_argument("--data", metavar="FOLDER", help="folder of the service")
    parser.add_argument(
        "--database", metavar="URL", help="its database, where it is not in that folder"
    )


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo serve`."""
    add_settings(parser)
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings as TOML and end"
    )


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo worker`."""
    add_settings(parser)
    parser.add_argument(
        "--with-parent", action="store_true", help="end when the other end of stdin is closed"
    )
