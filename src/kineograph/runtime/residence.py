"""Where weights lie while a model works: on its device, or in host memory until they are needed.

A strategy is a rung of a ladder, each with less on the device and more on the way to it:

    resident   everything is on the device
    stages     one part at a time: the text encoder, then the transformer, then the VAE
    stream     of a part made of blocks one block at a time; the next is on its way meanwhile
    tiles      the same, and the VAE computes a quarter of a frame at a time (`tiles.py`)

Host memory holds what was opened, which is mapped from its files: to leave the device is to
forget the copy there, so that nothing is written back and a second run needs no more than the
first. The results are the same bits on every rung but the last, whose VAE rounds otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from kineograph.runtime.options import STRATEGIES, Strategy

Place = tuple[nn.Module, str]
"""A module and the name of a weight that it holds."""

STREAMS = ("stream", "tiles")  # rungs on which blocks come one by one
SAID: dict[Strategy, str] = {
    "resident": "all of the model there",
    "stages": "one part of it there at a time",
    "stream": "one block of it there at a time",
    "tiles": "one block of it there at a time, and frames in tiles",
}


class Weights:
    """The weights of some modules: where they are at home, and whether they are on the device."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.home = [(module, name, getattr(module, name)) for module, name in places]
        # A packed weight has its numbers inside, out of reach of `.data`: it moves as a whole.
        self.data = [w if is_traceable_wrapper_subclass(w) else w.data for *_, w in self.home]

    def copies(self, device: torch.device, always: bool) -> list[Tensor]:
        """Return copies on a device; with `always` also where that is where they are at home."""
        return [data.to(device, copy=always) for data in self.data]

    def put(self, copies: Iterable[Tensor]) -> None:
        for (module, name, tensor), copy in zip(self.home, copies, strict=True):
            if is_traceable_wrapper_subclass(tensor):
                setattr(module, name, nn.Parameter(copy, requires_grad=False))
            else:
                tensor.data = copy

    def leave(self) -> None:
        """Go home: the copies on the device are forgotten."""
        for (module, name, tensor), data in zip(self.home, self.data, strict=True):
            if is_traceable_wrapper_subclass(tensor):
                setattr(module, name, tensor)
            else:
                tensor.data = data


class Stream:
    """Brings the blocks of one part to the device one by one, the next one ahead of its turn."""

    def __init__(self, blocks: nn.ModuleList, device: torch.device, always: bool) -> None:
        self.device, self.always = device, always
        self.weights = [Weights(_places(block)) for block in blocks]
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="kineograph-weights")
        self.coming: dict[int, Future[Any]] = {}
        self.hooks = [
            handle
            for i, block in enumerate(blocks)
            for handle in (
                block.register_forward_pre_hook(partial(self._enter, i)),
                block.register_forward_hook(partial(self._leave, i)),
            )
        ]

    def _copy(self, i: int) -> tuple[list[Tensor], Any]:
        if self.side is None:
            return self.weights[i].copies(self.device, self.always), None
        with torch.cuda.stream(self.side):
            copies = self.weights[i].copies(self.device, self.always)
            return copies, self.side.record_event()

    def _order(self, i: int) -> Future[Any]:
        if i not in self.coming:
            self.coming[i] = self.pool.submit(self._copy, i)
        return self.coming[i]

    def _enter(self, i: int, *_: object) -> None:
        future = self._order(i)
        copies, event = future.result()
        del self.coming[i]
        self._order((i + 1) % len(self.weights))
        if event is not None:
            now = torch.cuda.current_stream(self.device)
            now.wait_event(event)
            for copy in copies:
                copy.record_stream(now)
        self.weights[i].put(copies)

    def _leave(self, i: int, *_: object) -> None:
        self.weights[i].leave()

    def rest(self) -> None:
        """Leave the device altogether until the next forward pass."""
        for future in self.coming.values():
            future.cancel()
        self.coming.clear()
        for weights in self.weights:
            weights.leave()

    def close(self) -> None:
        """Undo what was hung into the part."""
        self.rest()
        self.pool.shutdown(wait=True)
        for hook in self.hooks:
            hook.remove()


class Residence:
    """Keeps the parts of one model where its strategy wants them.

    `always` copies even from a device to itself: so a test on a CPU moves what a GPU would.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        device: torch.device,
        strategy: Strategy = "resident",
        always: bool = False,
        tell: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.parts, self.device, self.always, self.tell = dict(parts), device, always, tell
        self.strategy: Strategy = strategy
        self.here: set[str] = set()  # parts that are on the device
        self.streams: dict[str, Stream] = {}
        self.weights: dict[str, Weights] = {}
        self._settle()

    def _settle(self) -> None:
        """Take up a strategy: decide what of each part moves as a whole."""
        for kind, part in self.parts.items():
            blocks = getattr(part, "blocks", None)
            moving = _places(part)
            if self.strategy in STREAMS and isinstance(blocks, nn.ModuleList):
                self.streams[kind] = Stream(blocks, self.device, self.always)
                own = set(_places(blocks))
                moving = [place for place in moving if place not in own]
            self.weights[kind] = Weights(moving)

    def need(self, kind: str) -> None:
        """Bring a part to the device; what else is there may have to leave it."""
        if kind not in self.parts or kind in self.here:
            return
        if self.strategy != "resident":
            for other in list(self.here):
                self._send(other)
        weights = self.weights[kind]
        weights.put(weights.copies(self.device, self.always))
        self.here.add(kind)

    def _send(self, kind: str) -> None:
        self.weights[kind].leave()
        if kind in self.streams:
            self.streams[kind].rest()
        self.here.discard(kind)

    def release(self) -> None:
        """Take everything off the device."""
        for kind in list(self.here):
            self._send(kind)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def step_down(self) -> bool:
        """Take the next rung down after the device ran out of memory; False on the last one."""
        rung = STRATEGIES.index(self.strategy) + 1
        self.release()
        if rung == len(STRATEGIES):
            return False
        self.tell(
            f"the device ran out of memory with {SAID[self.strategy]}; "
            f"going on with {SAID[STRATEGIES[rung]]}"
        )
        self.strategy = STRATEGIES[rung]
        self._settle()
        return True

    def close(self) -> None:
        """Take everything off the device and undo what was hung into the parts."""
        self.release()
        for stream in self.streams.values():
            stream.close()
        self.streams.clear()


def _places(part: nn.Module) -> list[Place]:
    """Return where the weights of a part are held, each once."""
    found: dict[int, Place] = {}
    for module in part.modules():
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, tensor in own:
            found.setdefault(id(tensor), (module, name))
    return list(found.values())
