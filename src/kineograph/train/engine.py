"""The training loop, one for every part: steps, averages, logs, checkpoints, exact resume.

A task brings its modules, its loss at step k and its validation; the engine does the rest.
Weights and optimiser state are float32; the task decides where autocast applies.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TextIO, runtime_checkable

import torch
from torch import Tensor, nn

from kineograph.errors import KineographError, RequestError
from kineograph.media.files import atomic_write, write_json
from kineograph.train.muon import Muon
from kineograph.train.recipe import Recipe, Schedule


@runtime_checkable
class Task(Protocol):
    """What the engine needs of a part that is trained."""

    module: nn.Module
    schedule: Schedule

    @property
    def recipe(self) -> Recipe: ...

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether Muon, rather than AdamW, steps this parameter."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of batch `step` and figures to log."""
        ...

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return figures on the fixed validation set; may write pictures into the folder."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def finish(self, folder: Path) -> None:
        """Write the finished weights (the module holds the averaged ones)."""
        ...


def step_generator(seed: int, step: int, stream: int = 0) -> torch.Generator:
    """Return the generator of one step of one run: a pure function of its arguments."""
    mixed = (seed * 1_000_003 + step) * 1_009 + stream
    return torch.Generator().manual_seed(mixed & (2**63 - 1))


def check_beginning(now: str, then: str, stage: str) -> None:
    """Refuse, by hashes, to go on with a run that began with other weights of a stage."""
    if now != then:
        raise RequestError(
            f"the run began with other weights of stage {stage!r}; choose another --out"
        )


class Engine:
    """Drive one task through its schedule inside a run folder."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task, self.folder, self.schedule = task, folder, task.schedule
        named = [(n, p) for n, p in task.module.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        matrices = [p for n, p in named if task.is_matrix(n, p)]
        others = [p for n, p in named if not task.is_matrix(n, p)]
        s = self.schedule
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=s.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        ]
        if matrices:
            self.optimizers.append(Muon(matrices, lr=s.muon_lr, weight_decay=s.weight_decay))
        self.average = [p.detach().clone() for p in self.parameters]
        self.step = 0
        self.seconds = 0.0  # spent training, over all sessions of the run

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the whole state of the run under a temporary name, then rename it."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "module": self.task.module.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "task": self.task.state_dict(),
        }
        with atomic_write(self.checkpoint_path) as file:
            torch.save(state, file)

    def load(self) -> None:
        """Continue from the checkpoint of the run folder."""
        try:
            state = torch.load(self.checkpoint_path, weights_only=True)
        except OSError:
            raise
        except Exception as error:  # what a damaged pickle raises depends on where it is cut
            raise RequestError(f"{self.checkpoint_path} is no checkpoint of ours") from error
        try:
            self.task.module.load_state_dict(state["module"])
            for mine, saved in zip(self.average, state["average"], strict=True):
                mine.copy_(saved)
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.task.load_state_dict(state["task"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise RequestError(
                f"{self.checkpoint_path} is of another version of this part; choose another --out"
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]

    def advance(self) -> dict[str, float]:
        """Take one step and return its figures.

        Raises `KineographError`, with every weight as it was, if the loss is not finite.
        """
        rate = self.schedule.rate(self.step)
        for optimizer, lr in zip(
            self.optimizers, (self.schedule.lr, self.schedule.muon_lr), strict=False
        ):
            for group in optimizer.param_groups:
                group["lr"] = lr * rate
        loss, figures = self.task.loss(self.step)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip))
        value = float(loss.detach())
        for what, number in (("loss", value), ("gradient norm", norm)):
            if not math.isfinite(number):  # before a weight has seen it
                raise KineographError(
                    f"the {what} is {number} at step {self.step}; the last checkpoint is sound"
                )
        for optimizer in self.optimizers:
            optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        decay = min(self.schedule.ema, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.step += 1
        return {"loss": value, "grad_norm": norm, "rate": rate, **figures}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the averaged weights in for the time of the block."""
        kept = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for p, a in zip(self.parameters, self.average, strict=True):
                p.copy_(a)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, k in zip(self.parameters, kept, strict=True):
                    p.copy_(k)

    def run(
        self, say: Callable[[str], None], *, stop_after: int | None = None,
        seconds: float = math.inf,
    ) -> bool:  # fmt: skip
        """Train to the end of the schedule; return whether it was reached.

        Stops cleanly, with a checkpoint, on SIGINT and SIGTERM, at step `stop_after`, or after
        the first step that ends later than `seconds` from now.
        """
        stopped = _StopFlag()
        recent: list[dict[str, float]] = []
        saved = mark = time.monotonic()
        deadline = mark + seconds
        s = self.schedule
        last = s.steps if stop_after is None else min(s.steps, stop_after)
        with (self.folder / "log.jsonl").open("a") as log, stopped:
            while self.step < last and not stopped and mark < deadline:
                recent.append(self.advance())
                now = time.monotonic()
                self.seconds += now - mark
                mark = now
                if self.step % s.log_every == 0 or self.step == last:
                    row = self._log(log, _means(recent))
                    say(_line(row, s.steps, self.seconds))
                    recent = []
                if self.step % s.validate_every == 0 or self.step == s.steps:
                    with self.averaged(), torch.no_grad():
                        result = self.task.validate(self.folder, self.step)
                    self._log(log, result, "validation")
                    say("  validation " + " ".join(f"{k} {v:.4g}" for k, v in result.items()))
                    mark = time.monotonic()
                if now - saved > s.checkpoint_seconds:
                    self.save()
                    saved = mark = time.monotonic()
            self.save()
        if self.step < s.steps:
            return False
        with self.averaged(), torch.no_grad():
            self.task.finish(self.folder)
        return True

    def _log(self, log: TextIO, figures: dict[str, float], kind: str = "") -> dict[str, float]:
        """Append a row to the log and return it; one of another `kind` than training says so."""
        row = {"step": self.step, "seconds": round(self.seconds, 1), **figures}
        log.write(json.dumps({kind: row} if kind else row) + "\n")
        log.flush()
        return row


class _StopFlag:
    """True once SIGINT or SIGTERM came; the step in flight is finished first.

    A second signal does not wait: it raises `KeyboardInterrupt`, and the last checkpoint counts.
    """

    def __init__(self) -> None:
        self.raised = False
        self.before: list[Any] = []

    def __bool__(self) -> bool:
        return self.raised

    def __enter__(self) -> _StopFlag:
        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self.raised:
                raise KeyboardInterrupt
            self.raised = True

        try:
            self.before = [(s, signal.signal(s, stop)) for s in (signal.SIGINT, signal.SIGTERM)]
        except ValueError:  # not the main thread: nobody sends us signals
            self.before = []
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before:
            signal.signal(number, handler)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the steps that have it: not all know the same."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in columns.items()}


def _line(row: dict[str, float], steps: int, seconds: float) -> str:
    left = seconds / row["step"] * (steps - row["step"])
    skip = {"step", "seconds"}
    figures = " ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in skip)
    return f"{row['step']:.0f}/{steps} {seconds:.0f}s eta {left:.0f}s {figures}"


def say_line(text: str) -> None:
    """Print a line of progress to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def train(
    task: Task, folder: Path, *, resume: bool, stop_after: int | None = None,
    seconds: float = math.inf,
) -> bool:  # fmt: skip
    """Run a task in a folder; with `resume` go on from its checkpoint, if there is one.

    A run may be made longer or shorter while its learning rate has not begun to fall. Raises
    `RequestError` where one would be overwritten, or continued under another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = json.loads(json.dumps(asdict(task.recipe)))
    engine = Engine(task, folder)
    if engine.checkpoint_path.exists():
        if not resume:
            raise RequestError(f"{folder} holds a run; add --resume or choose another --out")
        saved = json.loads((folder / "recipe.json").read_text())
        steps = recipe["schedule"]["steps"]
        if saved | {"schedule": saved["schedule"] | {"steps": steps}} != recipe:
            raise RequestError(f"{folder} was started with another recipe; choose another --out")
        engine.load()
        if saved != recipe:
            _check_plateau(engine.step, saved["schedule"], recipe["schedule"])
        say_line(f"resuming at step {engine.step}")
    write_json(folder / "recipe.json", recipe)
    return engine.run(say_line, stop_after=stop_after, seconds=seconds)


def _check_plateau(step: int, *schedules: dict[str, Any]) -> None:
    """Refuse to change the number of steps of a run whose learning rate has begun to fall."""
    for schedule in schedules:
        plateau = Schedule(**schedule).plateau
        if step > plateau:
            raise RequestError(
                f"the run is at step {step}; of {schedule['steps']} steps the rate falls from "
                f"step {plateau} on, and their number stays as it is; choose another --out"
            )
