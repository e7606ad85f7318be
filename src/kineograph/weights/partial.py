"""An interrupted generation as one file: where the solver stands, and of what request.

The tensors and the field `sampler_state` are those of `flow.solvers.save_state`; the header
says besides what the run was asked, by which weights and pictures, and on what.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from safetensors import safe_open

from kineograph.errors import RequestError
from kineograph.flow.solvers import SamplerState, load_state, state_numbers, state_tensors
from kineograph.request import ResolvedRequest
from kineograph.sidecar import Sidecar, read_sidecar, sidecar_path
from kineograph.weights.files import save_tensors

ENDING = ".partial.safetensors"
SAVE_EVERY = 1.0  # seconds between two saves of the state; an interrupt saves at once


@dataclass(frozen=True)
class Partial:
    """A run that has not ended yet: all that is needed to end it in the same bits."""

    state: SamplerState
    request: ResolvedRequest  # of this one clip
    inputs: Mapping[str, str]  # sha256 of each weights file and picture
    made_on: Mapping[str, str]  # versions, threads, dtype: what bits may depend on besides


def partial_path(request: ResolvedRequest) -> Path:
    """Return where the state of a clip lies while it is made: clip.mp4.partial.safetensors."""
    path = Path(request.output)
    return path.with_name(path.name + ENDING)


def save_partial(partial: Partial) -> None:
    """Write a run's state beside its output, whole or not at all."""
    header = {
        "sampler_state": state_numbers(partial.state),
        "request": partial.request.to_dict(),
        "inputs": dict(partial.inputs),
        "made_on": dict(partial.made_on),
    }
    metadata = {name: json.dumps(value, ensure_ascii=False) for name, value in header.items()}
    save_tensors(partial_path(partial.request), state_tensors(partial.state), metadata)


def load_partial(path: Path) -> Partial:
    """Read what `save_partial` wrote; a `RequestError` names the file if that cannot be done."""
    state = load_state(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        request = ResolvedRequest.from_dict(json.loads(metadata["request"]))
        inputs, made_on = (
            {str(k): str(v) for k, v in json.loads(metadata[name]).items()}
            for name in ("inputs", "made_on")
        )
    except (OSError, KeyError, ValueError, AttributeError, RecursionError, RequestError) as error:
        raise RequestError(f"{path} is not an interrupted run: {error}") from None
    # Copied: memory that the allocator aligned, not the file's, so that the same kernels run.
    history = tuple(past.clone() for past in state.history)
    memory = {name: tensor.clone() for name, tensor in state.memory.items()}
    state = replace(state, x=state.x.clone(), history=history, memory=memory)
    return Partial(state, request, inputs, made_on)


def seed_before(clips: Sequence[ResolvedRequest]) -> int | None:
    """Return the seed of the run that these clips' files are left from; None without any.

    Unfinished clips are asked first: a finished one may be left from an older run.
    """
    states = (partial_path(clip) for clip in clips)
    sidecars = (sidecar_path(clip) for clip in clips)
    left = [(i, load_partial(path).request) for i, path in enumerate(states) if path.exists()]
    left += [(i, read_sidecar(path).request) for i, path in enumerate(sidecars) if path.exists()]
    return next((request.seed - i for i, request in left if request.seed >= i), None)


def finished(clip: ResolvedRequest) -> Sidecar | None:
    """Return the sidecar of a clip that is complete and is the one that is asked for."""
    path = sidecar_path(clip)
    if partial_path(clip).exists() or not path.exists() or not Path(clip.output).exists():
        return None
    sidecar = read_sidecar(path)
    return sidecar if sidecar.request == clip else None


def take_up(clip: ResolvedRequest, inputs: Mapping[str, str]) -> Partial | None:
    """Return the state of a clip if there is one; a `RequestError` if it is of another run."""
    path = partial_path(clip)
    if not path.exists():
        return None
    partial = load_partial(path)
    theirs, ours = partial.request.to_dict(), clip.to_dict()
    for name in ours:
        if theirs[name] != ours[name]:
            raise RequestError(
                f"{path} is of another request: its {name} is {theirs[name]!r}, not "
                f"{ours[name]!r}; ask for the same, or leave out --resume to start anew"
            )
    if dict(partial.inputs) != dict(inputs):
        changed = sorted(set(partial.inputs.items()) ^ set(inputs.items()))[0][0]
        raise RequestError(
            f"{changed} has changed since {path} was written; leave out --resume to start anew"
        )
    return partial


class Keeper:
    """The newest state of a run, on disk at most a second later."""

    def __init__(
        self, clip: ResolvedRequest, inputs: Mapping[str, str], made_on: Mapping[str, str]
    ) -> None:
        self.clip, self.inputs, self.made_on = clip, inputs, made_on
        self.state: SamplerState | None = None
        self._saved: SamplerState | None = None
        self._due = 0.0

    def keep(self, state: SamplerState) -> None:
        """Take a new state; the first and the last are saved at once."""
        self.state = state
        if state.index == self.clip.steps or monotonic() >= self._due:
            self.save()

    def save(self) -> None:
        if self.state is None or self.state is self._saved:
            return
        save_partial(Partial(self.state, self.clip, self.inputs, self.made_on))
        self._saved, self._due = self.state, monotonic() + SAVE_EVERY


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return a warning for each thing that bits may depend on and that has changed."""
    return [
        f"the run was begun with {name} {before[name]} and goes on with {now[name]}: "
        "the frames may differ in a few bits"
        for name in now
        if before.get(name, now[name]) != now[name]
    ]
