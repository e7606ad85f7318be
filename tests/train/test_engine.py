"""A run that is stopped anywhere and resumed ends in the bits of one left alone."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import kineograph
from kineograph.errors import KineographError, RequestError
from kineograph.train.engine import Engine, step_generator, train
from kineograph.train.recipe import Schedule


@dataclass(frozen=True)
class ToyRecipe:
    schedule: Schedule
    width: int = 8


@dataclass
class ToyTask:
    """Fit a noisy line with a matrix for Muon and vectors for AdamW."""

    recipe: Any
    finished: list[Path] = field(default_factory=list)
    counted: int = 0
    hook: Any = None

    def __post_init__(self):
        self.schedule = self.recipe.schedule
        width = self.recipe.width
        self.module = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 1))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.module.parameters():
                p.normal_(generator=generator)

    def is_matrix(self, name, parameter):
        return name == "0.weight"

    def loss(self, step):
        if self.hook is not None:
            self.hook(step)
        self.counted += 1
        x = torch.randn(16, 4, generator=step_generator(self.schedule.seed, step))
        loss = (self.module(x)[:, 0] - x.sum(1)).square().mean()
        return loss, {"counted": float(self.counted)}

    def validate(self, folder, step):
        (folder / f"seen-{step}").touch()
        return {"score": float(self.module[1].bias)}

    def state_dict(self):
        return {"counted": self.counted}

    def load_state_dict(self, state):
        self.counted = state["counted"]

    def finish(self, folder):
        torch.save(self.module.state_dict(), folder / "weights.pt")


RECIPE = ToyRecipe(
    Schedule(6, warmup=2, muon_lr=0.05, lr=0.02, log_every=2, validate_every=2, ema=0.5)
)


def quiet(_: str) -> None:
    """Say nothing."""


def same(a: Any, b: Any) -> bool:
    """Compare nested states bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def checkpoint(folder: Path) -> dict[str, Any]:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    del state["seconds"]
    return state


@pytest.fixture
def straight(tmp_path):
    """A run that nobody disturbed."""
    folder = tmp_path / "straight"
    assert train(ToyTask(RECIPE), folder, resume=False)
    return folder


def test_training_lowers_the_loss(tmp_path):
    recipe = ToyRecipe(replace(RECIPE.schedule, steps=60, lr=0.1, log_every=5, validate_every=1000))
    train(ToyTask(recipe), tmp_path, resume=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("stops", [[3], [1, 2, 5], [2, 4]])
def test_stopped_and_resumed_is_left_alone_bit_for_bit(tmp_path, straight, stops):
    folder = tmp_path / "stopped"
    for stop in stops:
        assert not train(ToyTask(RECIPE), folder, resume=True, stop_after=stop)
        assert checkpoint(folder)["step"] == stop
        assert not (folder / "weights.pt").exists()
    assert train(ToyTask(RECIPE), folder, resume=True)
    assert same(checkpoint(folder), checkpoint(straight))
    finished = [torch.load(f / "weights.pt", weights_only=True) for f in (folder, straight)]
    assert same(*finished)


PROCESS = """
import importlib.util, pathlib, sys, torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("toy", sys.argv[1])
toy = importlib.util.module_from_spec(spec)
sys.modules["toy"] = toy
spec.loader.exec_module(toy)
assert toy.train(toy.ToyTask(toy.RECIPE), pathlib.Path(sys.argv[2]), resume=True)
"""


def test_another_process_goes_on_to_the_same_bits(tmp_path, straight):
    folder = tmp_path / "stopped"
    train(ToyTask(RECIPE), folder, resume=False, stop_after=3)
    source = str(Path(kineograph.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROCESS, __file__, str(folder)],
        env=os.environ | {"PYTHONPATH": source}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("resuming at step 3\n")
    assert same(checkpoint(folder), checkpoint(straight))


def test_a_finished_run_stays_as_it_is(straight):
    before = checkpoint(straight)
    assert train(ToyTask(RECIPE), straight, resume=True)
    assert same(checkpoint(straight), before)


def test_a_run_is_not_overwritten(straight):
    before = (straight / "checkpoint.pt").read_bytes()
    with pytest.raises(RequestError, match="--resume"):
        train(ToyTask(RECIPE), straight, resume=False)
    assert (straight / "checkpoint.pt").read_bytes() == before


def test_a_run_does_not_go_on_under_another_recipe(straight):
    for other in (ToyRecipe(RECIPE.schedule, width=10), ToyRecipe(replace(RECIPE.schedule, lr=1))):
        with pytest.raises(RequestError, match="another recipe"):
            train(ToyTask(other), straight, resume=True)
    assert json.loads((straight / "recipe.json").read_text())["width"] == 8


def test_a_run_is_made_longer_until_its_rate_falls(tmp_path):
    short, long = (replace(RECIPE.schedule, steps=n, decay_share=0.5) for n in (6, 12))
    folder, straight = tmp_path / "longer", tmp_path / "long"
    train(ToyTask(ToyRecipe(short)), folder, resume=False, stop_after=3)
    train(ToyTask(ToyRecipe(long)), folder, resume=True)
    train(ToyTask(ToyRecipe(long)), straight, resume=False)
    assert same(checkpoint(folder), checkpoint(straight))
    assert json.loads((folder / "recipe.json").read_text())["schedule"]["steps"] == 12
    with pytest.raises(RequestError, match="at step 12; of 12 steps the rate falls from step 6"):
        train(ToyTask(ToyRecipe(short)), folder, resume=True)


def test_a_checkpoint_of_other_modules_is_refused(straight):
    path = straight / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    renamed = {f"old.{name}": tensor for name, tensor in state["module"].items()}
    for change in ({"module": renamed}, {"average": state["average"][1:]}):
        torch.save(state | change, path)
        with pytest.raises(RequestError, match="of another version of this part"):
            train(ToyTask(RECIPE), straight, resume=True)


def test_a_damaged_checkpoint_is_refused(straight):
    path = straight / "checkpoint.pt"
    for broken in (path.read_bytes()[:100], b"", b"hello"):
        path.write_bytes(broken)
        with pytest.raises(RequestError, match=r"checkpoint\.pt is no checkpoint"):
            train(ToyTask(RECIPE), straight, resume=True)


def test_a_stopped_run_leaves_whole_files_and_no_others(tmp_path):
    train(ToyTask(RECIPE), tmp_path, resume=False, stop_after=3)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint.pt", "recipe.json", "log.jsonl", "seen-2"}
    Engine(ToyTask(RECIPE), tmp_path).load()


def test_an_interrupted_save_keeps_the_last_one(tmp_path, monkeypatch):
    train(ToyTask(RECIPE), tmp_path, resume=False, stop_after=2)

    def interrupted(_: object, file: Any) -> None:
        file.write(b"half of a chec")
        raise KeyboardInterrupt

    engine = Engine(ToyTask(RECIPE), tmp_path)
    engine.load()
    engine.advance()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.save()
    assert checkpoint(tmp_path)["step"] == 2
    assert not list(tmp_path.glob(".kineo*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves(tmp_path, straight, number):
    def kill(step):
        if step == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    folder = tmp_path / "killed"
    assert not train(ToyTask(RECIPE, hook=kill), folder, resume=False)
    assert signal.getsignal(number) is before
    assert checkpoint(folder)["step"] == 3
    assert train(ToyTask(RECIPE), folder, resume=True)
    assert same(checkpoint(folder), checkpoint(straight))


def test_a_second_signal_does_not_wait(tmp_path):
    def kill(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    task = ToyTask(RECIPE, hook=kill)
    with pytest.raises(KeyboardInterrupt):
        train(task, tmp_path, resume=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert task.counted == 2
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_a_weight_sees_it(tmp_path, value):
    task = ToyTask(RECIPE)
    train(task, tmp_path, resume=False, stop_after=2)
    engine = Engine(task, tmp_path)
    engine.load()
    kept = {k: v.clone() for k, v in task.module.state_dict().items()}
    honest = task.loss
    task.loss = lambda step: (honest(step)[0] * value, {})
    with pytest.raises(KineographError, match=f"loss is {value} at step 2"):
        engine.run(quiet)
    assert same(kept, task.module.state_dict())
    assert checkpoint(tmp_path)["step"] == 2


def test_a_gradient_that_is_no_number_stops_as_well(tmp_path):
    task = ToyTask(RECIPE)
    # The root of 0 has value 0 and an infinite slope.
    task.loss = lambda step: (task.module[0].weight.mul(0).sum().sqrt(), {})
    kept = {k: v.clone() for k, v in task.module.state_dict().items()}
    with pytest.raises(KineographError, match="gradient norm is nan at step 0"):
        Engine(task, tmp_path).run(quiet)
    assert same(kept, task.module.state_dict())


def test_averaged_weights_are_swapped_in_and_out_again(tmp_path):
    task = ToyTask(RECIPE)
    engine = Engine(task, tmp_path)
    for _ in range(3):
        engine.advance()
    kept = {k: v.clone() for k, v in task.module.state_dict().items()}
    with engine.averaged():
        assert all(map(torch.equal, task.module.parameters(), engine.average))
        assert not same(kept, task.module.state_dict())
    assert same(kept, task.module.state_dict())
    with pytest.raises(ZeroDivisionError), engine.averaged():
        raise ZeroDivisionError
    assert same(kept, task.module.state_dict())


def test_the_average_follows_and_what_is_finished_is_the_average(tmp_path):
    task = ToyTask(RECIPE)
    engine = Engine(task, tmp_path)
    engine.advance()
    first = [p.detach().clone() for p in engine.parameters]
    average = [a.clone() for a in engine.average]
    engine.advance()
    decay = min(0.5, 2 / 11)
    for a, before, p in zip(engine.average, average, engine.parameters, strict=True):
        assert torch.allclose(a, decay * before + (1 - decay) * p)
    assert not same(first, engine.average)
    engine.run(quiet)
    finished = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert same(list(finished.values()), engine.average)


def test_rates_reach_both_optimisers(tmp_path):
    engine = Engine(ToyTask(RECIPE), tmp_path)
    for step in range(6):
        engine.advance()
        rate = RECIPE.schedule.rate(step)
        lrs = [group["lr"] for o in engine.optimizers for group in o.param_groups]
        assert lrs == [0.02 * rate, 0.05 * rate]
    assert [type(o).__name__ for o in engine.optimizers] == ["AdamW", "Muon"]


def test_the_log_has_every_mean_and_every_validation(straight):
    rows = [json.loads(line) for line in (straight / "log.jsonl").read_text().splitlines()]
    training = [row for row in rows if "loss" in row]
    assert [row["step"] for row in training] == [2, 4, 6]
    assert [row["counted"] for row in training] == [1.5, 3.5, 5.5]
    assert [row["validation"]["step"] for row in rows if "validation" in row] == [2, 4, 6]
    assert all(row["rate"] > 0 and row["grad_norm"] > 0 for row in training)


def test_a_figure_is_the_mean_over_the_steps_that_have_it(tmp_path):
    class Sometimes(ToyTask):
        def loss(self, step):
            loss, figures = super().loss(step)
            return loss, figures | ({"odd": float(step)} if step % 2 else {})

    train(Sometimes(RECIPE), tmp_path, resume=False, stop_after=4)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["odd"] for row in rows if "odd" in row] == [1.0, 3.0]


def test_step_generators_are_functions_of_seed_step_and_stream():
    def draw(*of: int) -> tuple[float, ...]:
        return tuple(torch.rand(3, generator=step_generator(*of)).tolist())

    assert draw(1, 2, 3) == draw(1, 2, 3)
    drawn = {draw(*of) for of in product(range(3), range(20), range(2))}
    assert len(drawn) == 120


def test_another_thread_can_train(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, ToyTask(RECIPE), tmp_path, resume=False).result()
