"""The Hugging Face hub: its ids as names of models, and its cache on disk.

A name such as `Wan-AI/Wan2.2-TI2V-5B@main` means files that lie in the hub's cache. Looking for
them never asks the network; `fetching.py` puts them there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kineograph.errors import RequestError, WeightsError, shown
from kineograph.presets import PRESETS
from kineograph.spec import ModelSpec
from kineograph.weights.layouts import choose, configs_of, read_index

LAYOUTS = ("original", "diffusers")  # in the order of a row's ids
MAIN = "main"  # the revision that is meant where none is named
_PART = r"[A-Za-z0-9][\w.-]*"
ID = re.compile(rf"({_PART}/{_PART})(?:@({_PART}(?:/{_PART})*))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubId:
    """A model on the hub at one of its revisions: a branch, a tag or a commit."""

    repo: str  # OWNER/NAME
    revision: str = MAIN

    def __str__(self) -> str:
        return self.repo if self.revision == MAIN else f"{self.repo}@{self.revision}"


def hub_id(name: str) -> HubId | None:
    """Return the id of the hub that a name is; None if it cannot be one."""
    found = ID.fullmatch(name)
    if found is None or ".." in name or "--" in found[1]:
        return None
    return HubId(found[1], found[2] or MAIN)


def row_of(repo: str) -> ModelSpec | None:
    """Return the row of the table whose weights are published under an id, if there is one."""
    return next((spec for spec in PRESETS.values() if repo in spec.hub), None)


def snapshot(hub: HubId) -> Path | None:
    """Return the folder of a revision in the hub's cache, None without one; it may lack files."""
    commit = hub.revision
    if not COMMIT.fullmatch(commit):
        try:
            commit = (home(hub) / "refs" / hub.revision).read_bytes().decode("ascii", "replace")
        except OSError:
            return None
    commit = commit.strip()
    folder = home(hub) / "snapshots" / commit
    return folder if COMMIT.fullmatch(commit) and folder.is_dir() else None


def lacks(folder: Path, spec: ModelSpec | None) -> tuple[str, ...]:
    """Return the files that a folder of open weights lacks of a model, of whichever it holds."""
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return choose(names, kinds(spec), lambda index: read_index(folder / index)).missing


def whole_snapshot(hub: HubId, spec: ModelSpec | None) -> Path | None:
    """Return a revision's folder in the hub's cache, None if there is none.

    Raises `WeightsError` where it is incomplete, with the names of what is missing.
    """
    folder = snapshot(hub)
    missing = () if folder is None else lacks(folder, spec)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise WeightsError(
            f"{folder} is incomplete, it lacks {', '.join(missing[:3])}{more}; fetch the rest "
            f"with: kineo download {hub}"
        )
    return folder


def cache_of_hub() -> Path:
    """Return the folder of the hub's cache, as its own library finds it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def home(hub: HubId) -> Path:
    """Return where a model's revisions lie in the hub's cache, or would."""
    return cache_of_hub() / f"models--{hub.repo.replace('/', '--')}"


def kinds(spec: ModelSpec | None) -> Collection[str] | None:
    """Return the kinds of parts of a row; None, which lets `choose` look, without one."""
    return None if spec is None else configs_of(spec).keys()


def which(model: str, layout: str | None, revision: str | None) -> HubId:
    """Return the id that a model, a layout and a revision mean; raises `RequestError`."""
    if layout not in (None, *LAYOUTS):
        raise RequestError(f"unknown layout {shown(layout)}; allowed: {', '.join(LAYOUTS)}")
    if model in PRESETS:
        ids = PRESETS[model].hub
        if not ids:
            published = ", ".join(name for name, spec in PRESETS.items() if spec.hub)
            raise RequestError(f"{model} is not on the hub; published there are: {published}")
        place = LAYOUTS.index(layout or LAYOUTS[0])
        if place >= len(ids):
            raise RequestError(f"{model} has no layout {layout!r}; published as {ids[0]}")
        model = ids[place]
    elif layout is not None:
        raise RequestError(f"layout {layout!r} goes with the name of a model, not with {model!r}")
    hub = hub_id(model)
    if hub is None:
        raise RequestError(
            f"unknown model {shown(model)}: neither a name that `kineo models` lists nor an id "
            "of the hub, OWNER/NAME or OWNER/NAME@REVISION"
        )
    if revision is None:
        return hub
    if hub.revision != MAIN or hub_id(f"{hub.repo}@{revision}") is None:
        raise RequestError(f"revision {shown(revision)} is not allowed with {str(hub)!r}")
    return HubId(hub.repo, revision)
