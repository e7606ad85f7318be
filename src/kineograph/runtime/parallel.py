"""Several processes make one clip together, each on its own device; torchrun starts them.

Two axes of a mesh: along `guidance` one half computes the velocity under the prompt, the other
one under the negative prompt; along `context` the tokens of a clip are shared out, and each
process attends with some of the heads (Ulysses, arXiv 2309.14509). Everything is hung into the
model from outside. All processes have the same noise, state and results; the first one writes.

Letters: b batch, n tokens (n2: those of one process), h heads (h2: likewise), d channels of a head,
g groups of tokens that share a noise level.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from kineograph.errors import RequestError
from kineograph.flow.guidance import ModelFn, PairFn, one_by_one
from kineograph.models.dit import VideoDiT
from kineograph.nn.attention import Kernel

ValueT = TypeVar("ValueT")
AXES = ("guidance", "context")


@dataclass(frozen=True)
class Team:
    """The processes that make one clip, as each of them sees them."""

    mesh: DeviceMesh  # its axes are AXES
    device: torch.device  # of this process

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return dist.get_rank() == 0

    def share(self, value: ValueT) -> ValueT:
        """Return the value that the first process has."""
        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0)
        shared: ValueT = values[0]
        return shared

    @property
    def pair(self) -> PairFn:
        """How both velocities of a guided step are evaluated."""
        if self.mesh.size(0) == 1:
            return one_by_one
        return guidance_pair(self.mesh.get_group("guidance"))


def asked_for() -> int:
    """Return how many processes torchrun has started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join_team(device_type: str, *, guided: bool, heads: int) -> Team:
    """Meet the other processes that torchrun has started, on processors or GPUs.

    Where guidance is on and their number is even half of them take each of its sides.

    Raises:
        RequestError: `heads` cannot be shared out evenly.
    """
    world = asked_for()
    sides = 2 if guided and world % 2 == 0 else 1
    if heads % (world // sides):
        raise RequestError(
            f"{heads} heads cannot be shared out among {world // sides} processes; start as many "
            f"as divide {heads}{' (twice that with guidance)' if guided else ''}"
        )
    device = torch.device(device_type)
    if device_type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    mesh = init_device_mesh(device_type, (sides, world // sides), mesh_dim_names=AXES)
    return Team(mesh, device)


def leave_team() -> None:
    """Part from the other processes."""
    dist.destroy_process_group()


def guidance_pair(group: dist.ProcessGroup) -> PairFn:
    """Return how two processes evaluate a guided step: each one side, then both know both."""

    def pair(
        model: ModelFn, x: Tensor, sigma: Tensor, context: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        mine = model(x, sigma, context if dist.get_rank(group) == 0 else negative).contiguous()
        cond, uncond = torch.empty_like(mine), torch.empty_like(mine)
        dist.all_gather([cond, uncond], mine, group=group)
        return cond, uncond

    return pair


class ContextParallel:
    """Shares the tokens of a transformer's clip out among the processes of a group."""

    def __init__(self, dit: VideoDiT, group: dist.ProcessGroup) -> None:
        self.group, self.rank, self.size = group, dist.get_rank(group), dist.get_world_size(group)
        self.sizes: list[int] = []  # tokens of each process, of the clip in hand
        blocks = [*dit.blocks, *getattr(dit, "vace_blocks", ())]
        for block in blocks:
            block.self_attn.kernel = self.attend_by(block.self_attn.kernel)
            block.register_forward_pre_hook(self._enter)
        dit.head.register_forward_pre_hook(self._gather)

    def _enter(self, block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Leave a block only this process' tokens, with their angles and modulations."""
        x, modulation, context, rope, *more = given
        n, g = rope.shape[0], modulation.shape[1]
        # Where frames have noise levels of their own no frame is cut in two.
        unit = n // g if 1 < g < n else 1
        self.sizes = [unit * len(part) for part in torch.arange(n // unit).tensor_split(self.size)]
        first = sum(self.sizes[: self.rank])
        mine = slice(first, first + self.sizes[self.rank])
        if x.shape[1] == n:
            x = x[:, mine]
        if g > 1:
            modulation = modulation[:, mine.start // unit : mine.stop // unit]
        return (x, modulation, context, rope[mine], *more)

    def _gather(self, head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Give the head all tokens."""
        x, *more = given
        longest = max(self.sizes)
        mine = x.new_zeros(x.shape[0], longest, x.shape[2])
        mine[:, : x.shape[1]] = x
        parts = [torch.empty_like(mine) for _ in self.sizes]
        dist.all_gather(parts, mine, group=self.group)
        cut = [part[:, :size] for part, size in zip(parts, self.sizes, strict=True)]
        return (torch.cat(cut, 1), *more)

    def attend_by(self, kernel: Kernel) -> Kernel:
        """Return self-attention over all tokens, of which each process has but some."""

        def attend(
            q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None
        ) -> Tensor:
            assert bias is None, "self-attention has no bias"
            heads = self._to_heads(torch.stack((q, k, v)))
            return self._to_tokens(kernel(*heads.unbind(0), scale=scale), q.shape[2])

        return attend

    def _to_heads(self, x: Tensor) -> Tensor:
        """Return s b n h2 d, some heads of all tokens, of s b n2 h d, all heads of some."""
        s, b, n, _, d = x.shape
        sent = rearrange(x, "s b n (p h) d -> p (s b n h d)", p=self.size)
        each = sent.shape[1] // n
        got = self._exchange(sent.flatten(), [each * n] * self.size, [each * m for m in self.sizes])
        parts = [part.view(s, b, m, -1, d) for part, m in zip(got, self.sizes, strict=True)]
        return torch.cat(parts, 2)

    def _to_tokens(self, out: Tensor, heads: int) -> Tensor:
        """Return b n2 h*d of b n h2*d: the way back."""
        b, mine = out.shape[0], self.sizes[self.rank]
        each = b * out.shape[2]
        sent = torch.cat([part.flatten() for part in out.split(self.sizes, 1)])
        got = self._exchange(sent, [each * m for m in self.sizes], [each * mine] * self.size)
        return torch.cat([part.view(b, mine, -1) for part in got], 2)

    def _exchange(self, sent: Tensor, sizes: list[int], coming: list[int]) -> list[Tensor]:
        got = sent.new_empty(sum(coming))
        dist.all_to_all_single(got, sent, coming, sizes, group=self.group)
        return list(got.split(coming))


def share_work(dit: VideoDiT, team: Team) -> None:
    """Let a transformer share its tokens out along the context axis, for good."""
    if team.mesh.size(1) > 1:
        ContextParallel(dit, team.mesh.get_group("context"))


def share_weights(dit: VideoDiT, team: Team) -> None:
    """Leave each process a part of every block's weights; they are brought together in turn.

    By torch's FSDP2: for models that no single device holds.
    """
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(team.mesh.device_type, (dist.get_world_size(),))
    for block in [*dit.blocks, *getattr(dit, "vace_blocks", ())]:
        fully_shard(block, mesh=mesh)
    fully_shard(dit, mesh=mesh)
