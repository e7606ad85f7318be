"""How judges' networks are trained: one after the other, each kept as it is done."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor, nn

from kineograph.media.files import atomic_write

SAY_EVERY = 250  # steps between lines of progress, and copies to go on from


def draw_weights(net: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of linear maps and convolutions anew, scaled to keep variances."""
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            std = module.weight[0].numel() ** -0.5
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Fitter:
    """Trains networks by AdamW; those whose file is in the folder are read instead.

    One that was interrupted goes on from its last copy, to the same bits. Losses draw from `rng`
    and `generator`, which begin anew for each network.
    """

    def __init__(
        self, folder: Path, seed: int, lr: float, weight_decay: float, say: Callable[[str], None]
    ) -> None:
        self.folder, self.seed, self.say = folder, seed, say
        self.lr, self.weight_decay = lr, weight_decay
        self.begin("start")

    def begin(self, purpose: str) -> None:
        """Seed what losses draw from, by a name."""
        self.rng = random.Random(f"judges {self.seed} {purpose}")
        self.generator = torch.Generator().manual_seed(self.rng.randrange(1 << 62))

    def has(self, name: str) -> bool:
        """Return whether a network has been trained."""
        return (self.folder / f"{name}.pt").exists()

    def take(self, name: str, net: nn.Module) -> None:
        """Give a network the weights of its file."""
        net.load_state_dict(torch.load(self.folder / f"{name}.pt", weights_only=True))
        net.eval()

    def give(self, name: str, net: nn.Module) -> None:
        """Write a network's file: it is trained."""
        with atomic_write(self.folder / f"{name}.pt") as file:
            torch.save(net.state_dict(), file)

    def fit(self, name: str, net: nn.Module, steps: int, loss_of: Callable[[], Tensor]) -> None:
        """Train a network for some steps and keep it."""
        if self.has(name):
            self.take(name, net)
            return
        self.begin(name)
        torch.manual_seed(self.seed)  # dropout knows no other generator
        optimizer = torch.optim.AdamW(net.parameters(), self.lr, weight_decay=self.weight_decay)
        first, mean = self._resume(name, net, optimizer)
        begun = monotonic()
        net.train()
        for step in range(first, steps):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * min(1, (step + 1) / 50) * (1 - step / steps)
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            now = float(loss.detach())
            mean = now if step == 0 else mean + (now - mean) / min(step + 1, 100)
            if (step + 1) % SAY_EVERY == 0 or step + 1 == steps:
                left = (monotonic() - begun) / (step + 1 - first) * (steps - step - 1)
                self.say(f"{name} {step + 1}/{steps}: loss {mean:.3f}, {left:.0f} s left")
                self._save(name, net, optimizer, step + 1, mean)
        net.eval()
        self.give(name, net)
        self._part(name).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self.folder / f"{name}.part"

    def _save(
        self, name: str, net: nn.Module, optimizer: torch.optim.Optimizer, step: int, mean: float
    ) -> None:
        """Keep a training that is not done, with all that its next steps draw from."""
        state = {
            "net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
            "mean": mean, "rng": self.rng.getstate(), "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
        }  # fmt: skip
        with atomic_write(self._part(name)) as file:
            torch.save(state, file)

    def _resume(
        self, name: str, net: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[int, float]:
        """Take up a training that is not done; return its steps so far and its mean loss."""
        if not self._part(name).exists():
            return 0, math.nan
        state = torch.load(self._part(name), weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        self.rng.setstate(state["rng"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        return int(state["step"]), float(state["mean"])

    def draw(self, low: int, count: int) -> Tensor:
        """Return `count` whole numbers below `low`."""
        return torch.randint(low, (count,), generator=self.generator)
