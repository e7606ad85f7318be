"""Datasets of clips in shards, which many processes may write and a stopped one goes on with.

FOLDER/plan.json              what is to be made; a folder of another plan is refused
FOLDER/clips-000000.tar       KEY.mp4 and KEY.json (captions, truth) of every clip
FOLDER/truth-000000.parquet   a row a clip
FOLDER/shard-000000.json      size and hash of the two, written last: now the shard is whole
FOLDER/manifest.json          all of that in one, written when every shard is whole

Whatever interrupts it, the same command goes on and ends in the bytes that it would have ended
in, with the same versions of the libraries that encode. Shard k is worker k % n's to make.
"""

from __future__ import annotations

import json
import platform
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from kineograph import __version__
from kineograph.errors import RequestError
from kineograph.world.shard_files import (
    Clip,
    TarShard,
    digest,
    read_tar,
    whole_file,
    write_table,
)
from kineograph.world.shard_plan import (
    MANIFEST,
    PLAN,
    Generator,
    Plan,
    claim,
    json_text,
    make_plan,
    names,
    read_json,
    read_plan,
)

__all__ = [
    "Clip", "Fault", "Generator", "Plan", "Progress", "read_plan", "read_shards", "tools",
    "verify", "write_shards",
]  # fmt: skip

CLIPS_PER_SHARD = 256


@dataclass(frozen=True)
class Progress:
    """How far a worker is with its clips, those found whole included."""

    done: int
    total: int
    rate: float | None  # clips a second that this run makes; None until it has made one
    seconds_left: float | None

    @property
    def line(self) -> str:
        """Return it as words, such as `12/256 clips, 3.1 a second, about 79 s left`."""
        text = f"{self.done}/{self.total} clips"
        if self.rate is None or self.seconds_left is None:
            return text
        return f"{text}, {self.rate:.3g} a second, about {self.seconds_left:.0f} s left"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file of a dataset."""

    shard: int | None  # None for the manifest, which is no shard's
    file: str
    reason: str


def write_shards(
    folder: Path,
    generator: Generator,
    *,
    clips: int,
    seed: int = 0,
    clips_per_shard: int = CLIPS_PER_SHARD,
    worker: int = 0,
    workers: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> None:
    """Make the shards of a dataset that are this worker's and are not there whole.

    Shards that are there are hashed first; damaged ones are made again. Give every worker the
    same arguments but its own `worker`, 0 to `workers` - 1; the last to end writes the
    manifest. Needs pyarrow (`kineograph[data]`).

    Raises:
        RequestError: an argument is out of range, the folder holds another plan, or another
            process is making the same shard.
        OSError: the system refuses.
        ValueError: the generator's columns or a clip are not what they must be.
    """
    import pyarrow  # noqa: F401 - or the lack of it would show after the first tar

    plan = make_plan(generator, clips, seed, clips_per_shard)
    if not 0 <= worker < workers:
        raise RequestError(f"worker {worker} of {workers} is not allowed; 0 to {workers - 1} are")
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, plan)
    mine = range(worker, plan.shards, workers)
    left = [k for k in mine if _faults(folder, plan, k)]
    total = sum(len(plan.indices(k)) for k in mine)
    clock = _Clock(total, sum(len(plan.indices(k)) for k in left), on_progress)
    for shard in left:
        with _locked(folder, shard):
            _make(folder, generator, plan, shard, clock)
    _merge(folder, plan)


def verify(folder: Path) -> list[Fault]:
    """Return what is missing from a dataset or has other bytes than were written; reads it all.

    `write_shards` with the arguments that made the folder mends every fault.

    Raises:
        RequestError: the folder holds no dataset.
    """
    plan = read_plan(folder)
    faults = [fault for k in range(plan.shards) for fault in _faults(folder, plan, k)]
    if not faults and read_json(folder / MANIFEST) != _manifest(folder, plan):
        faults.append(Fault(None, MANIFEST, "missing, damaged or not that of the shards"))
    return faults


def read_shards(
    folder: Path, shards: Sequence[int] | None = None
) -> Iterator[tuple[str, dict[str, Any], dict[str, list[str]], bytes]]:
    """Yield key, truth, captions by language and mp4 of every clip, in order, one at a time.

    `shards` are the numbers of those to read, by default all. Hashes are `verify`'s to check.

    Raises:
        RequestError: the folder holds no dataset or an unfinished one, or a file is damaged.
    """
    plan = read_plan(folder)
    manifest = read_json(folder / MANIFEST)
    if manifest is None:
        raise RequestError(f"{folder} is not finished: give the command that writes it again")
    chosen = range(plan.shards) if shards is None else shards
    for shard in chosen:
        if not 0 <= shard < plan.shards:
            raise RequestError(f"{folder} has no shard {shard}; 0 to {plan.shards - 1} are there")
        path = folder / names(shard)[0]
        found = 0
        try:
            for key, files in read_tar(path):
                record = json.loads(files["json"])
                yield key, record["truth"], record["captions"], files["mp4"]
                found += 1
        except (tarfile.TarError, OSError, KeyError, ValueError, TypeError) as error:
            raise RequestError(f"cannot read {path}: missing or damaged ({error})") from error
        if found != len(plan.indices(shard)):
            raise RequestError(f"{path} is cut short: {found} clips are there")


class _Clock:
    """Counts clips and reckons how long the rest will take."""

    def __init__(
        self, total: int, left: int, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self._total, self._left, self._made = total, left, 0
        self._begin, self._tell = monotonic(), on_progress
        self._say()

    def step(self) -> None:
        self._left, self._made = self._left - 1, self._made + 1
        self._say()

    def _say(self) -> None:
        if self._tell is None:
            return
        spent = monotonic() - self._begin
        rate = self._made / spent if self._made and spent > 0 else None
        left = self._left / rate if rate else None
        self._tell(Progress(self._total - self._left, self._total, rate, left))


def _make(folder: Path, generator: Generator, plan: Plan, shard: int, clock: _Clock) -> None:
    """Write a shard: its tar, then its table, then its entry."""
    tar, table, entry = names(shard)
    frames = 0
    with whole_file(folder / tar) as file:
        writer = TarShard(file, plan.columns)
        for index in plan.indices(shard):
            clip = generator.make(plan.seed + index)
            writer.add(clip, plan.seed + index)
            frames += len(clip.video)
            clock.step()
        writer.close()
    with whole_file(folder / table) as file:
        write_table(file, writer.rows, plan.columns)
    written = {
        "shard": shard,
        "clips": len(writer.rows),
        "frames": frames,
        "files": {name: digest(folder / name) for name in (tar, table)},
        "tools": tools(),
    }
    with whole_file(folder / entry) as file:
        file.write(json_text(written))


def tools() -> dict[str, str]:
    """Return the versions of all that decides the bytes of a shard, besides the generator."""
    import av

    libraries = {name: version(name) for name in ("av", "numpy", "pyarrow")}
    codecs = ".".join(str(n) for n in av.library_versions["libavcodec"])
    return {
        "kineograph": __version__,
        "python": platform.python_version(),
        **libraries,
        "libavcodec": codecs,
    }


def _merge(folder: Path, plan: Plan) -> None:
    """Write the manifest where every shard has its entry; the last worker to end finds so."""
    with _locked(folder, plan.shards, wait=True):
        manifest = _manifest(folder, plan)
        if manifest is not None and read_json(folder / MANIFEST) != manifest:
            with whole_file(folder / MANIFEST) as file:
                file.write(json_text(manifest))


def _manifest(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """Return what the entries say together; None while one is missing."""
    entries = [_entry(folder, plan, k) for k in range(plan.shards)]
    whole = [entry for entry in entries if entry is not None]
    if len(whole) < len(entries):
        return None
    files = {name: stat for entry in whole for name, stat in entry["files"].items()}
    used = {name for entry in whole for name in entry["tools"]}
    return {
        **plan.to_dict(),
        "seeds": [plan.seed, plan.seed + plan.clips - 1],
        "shards": plan.shards,
        "frames": sum(entry["frames"] for entry in whole),
        "bytes": sum(stat["bytes"] for stat in files.values()),
        "tools": {name: sorted({e["tools"].get(name, "") for e in whole}) for name in sorted(used)},
        "files": files,
    }


def _entry(folder: Path, plan: Plan, shard: int) -> dict[str, Any] | None:
    """Return what was written down of a whole shard; None where it is missing or damaged."""
    tar, table, name = names(shard)
    entry = read_json(folder / name) or {}
    try:
        whole = (
            entry["clips"] == len(plan.indices(shard))
            and isinstance(entry["frames"], int)
            and isinstance(entry["tools"], dict)
            and list(entry["files"]) == [tar, table]
            and all(isinstance(stat["bytes"], int) for stat in entry["files"].values())
        )
    except (AttributeError, KeyError, TypeError):
        return None
    return entry if whole else None


def _faults(folder: Path, plan: Plan, shard: int) -> list[Fault]:
    """Return what is missing or damaged of a shard."""
    entry = _entry(folder, plan, shard)
    if entry is None:
        return [Fault(shard, names(shard)[2], "missing or damaged")]
    faults = []
    for name, stat in entry["files"].items():
        if not (folder / name).is_file():
            faults.append(Fault(shard, name, "missing"))
        elif digest(folder / name) != stat:
            faults.append(Fault(shard, name, "its bytes are not those that were written"))
    return faults


@contextmanager
def _locked(folder: Path, number: int, *, wait: bool = False) -> Iterator[None]:
    """Hold one byte of the plan against other processes; the system frees it if we are killed."""
    import fcntl

    with (folder / PLAN).open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
        except (BlockingIOError, PermissionError):
            what = f"shard {number} of {folder}"
            raise RequestError(f"{what} is being made by another process") from None
        yield
