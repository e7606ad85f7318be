"""What a folder of shards is to hold: the plan that all workers share, and its files' names."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kineograph.errors import RequestError
from kineograph.world.shard_files import KINDS, OWN_COLUMNS, Clip

PLAN, MANIFEST = "plan.json", "manifest.json"
FORMAT = 1  # of the folder


@dataclass(frozen=True)
class Generator:
    """Makes the clips of a dataset: `make(seed)` gives the same clip whenever it is called.

    `columns` announces the facts of the table and their kinds (bool, int, float or str), so
    that every shard has the same. Raise `version` when `make` changes.
    """

    name: str
    version: str
    make: Callable[[int], Clip]
    columns: Mapping[str, type]


@dataclass(frozen=True)
class Plan:
    """What a folder holds; clip i is made of seed + i."""

    generator: str
    version: str
    seed: int
    clips: int
    clips_per_shard: int
    columns: dict[str, str]
    format: int = FORMAT

    @property
    def shards(self) -> int:
        return -(-self.clips // self.clips_per_shard)

    def indices(self, shard: int) -> range:
        """Return the numbers of a shard's clips."""
        first = shard * self.clips_per_shard
        return range(first, min(first + self.clips_per_shard, self.clips))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict, the same every time."""
        return {
            "format": self.format,
            "generator": {"name": self.generator, "version": self.version},
            "seed": self.seed,
            "clips": self.clips,
            "clips_per_shard": self.clips_per_shard,
            "columns": self.columns,
        }


def names(shard: int) -> tuple[str, str, str]:
    """Return the names of a shard's tar, table and entry."""
    return f"clips-{shard:06d}.tar", f"truth-{shard:06d}.parquet", f"shard-{shard:06d}.json"


def make_plan(generator: Generator, clips: int, seed: int, clips_per_shard: int) -> Plan:
    """Return the plan of a dataset.

    Raises:
        RequestError: a number is out of range.
        ValueError: a column's name is taken, or its kind is none of bool, int, float, str.
    """
    for name, value, low in (
        ("clips", clips, 1), ("seed", seed, 0), ("clips_per_shard", clips_per_shard, 1)
    ):  # fmt: skip
        if value < low:
            raise RequestError(f"{name} {value} is not allowed; {low} or more is")
    kinds = {kind: name for name, kind in KINDS.items()}
    columns = {}
    for name, kind in sorted(generator.columns.items()):  # in one order in every table
        if name in OWN_COLUMNS or kind not in kinds:
            raise ValueError(f"column {name} is taken or its kind is not of {', '.join(KINDS)}")
        columns[name] = kinds[kind]
    return Plan(generator.name, generator.version, seed, clips, clips_per_shard, columns)


def claim(folder: Path, plan: Plan) -> None:
    """Write the plan into an empty folder; refuse a folder of another one."""
    path, wanted = folder / PLAN, plan.to_dict()
    if not path.exists():
        part = folder / f".{PLAN}.{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                file.write(json_text(wanted))
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(part)  # fails, unlike a rename, if another worker was first
        except FileExistsError:
            pass
        finally:
            part.unlink(missing_ok=True)
    found = read_json(path)
    if found is None:
        raise RequestError(f"{path} is damaged; choose another folder")
    for name, value in wanted.items():
        if found.get(name) != value:
            old, new = (json.dumps(v, ensure_ascii=False) for v in (found.get(name), value))
            raise RequestError(
                f"{folder} holds clips of {name} {old}, not {new}; choose another folder"
            )


def read_plan(folder: Path) -> Plan:
    """Return what a folder is to hold; raises `RequestError` where it holds no dataset."""
    data = read_json(folder / PLAN) or {}
    try:
        made = data["generator"]
        parts = {k: data[k] for k in ("seed", "clips", "clips_per_shard", "columns", "format")}
        plan = Plan(made["name"], made["version"], **parts)
    except (KeyError, TypeError):
        raise RequestError(f"{folder} holds no dataset: {PLAN} is missing or damaged") from None
    if plan.format != FORMAT:
        raise RequestError(f"{folder} is of format {plan.format}, not {FORMAT}")
    return plan


def json_text(value: object) -> bytes:
    """Return readable JSON, in the order given."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return an object from a JSON file; None where it is missing or damaged."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
