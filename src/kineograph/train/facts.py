"""What each latent cell shows, asked of the transformer while it learns to denoise.

A generative transformer has to find out by itself that "cone" is a thing at a place; most of
its loss is about floors and skies. Leading the features of a middle layer to those of an
encoder that knows what is seen shortens that search (REPA, arXiv 2410.06940). Our world knows
what it shows, so we need no such encoder: a small head on a middle block names, from the noisy
clip and the caption, the facts of the object in every cell. It is thrown away after training.

Letters: b clips, t h w the latent grid, n tokens, d channels, k camera moves, f facts, o objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from kineograph.spec import DiTConfig
from kineograph.train.worlds import UNASKED, Scene, World

OBJECT_SHARE = 0.5  # of the loss of a fact: the cells with objects, a few among many


class FactHead(nn.Module):
    """Reads facts of every latent cell, and the camera's move, from a block's tokens."""

    def __init__(self, config: DiTConfig, world: World, generator: torch.Generator) -> None:
        super().__init__()
        self.patch = config.patch_size
        self.widths = [1 + len(answers) for answers in world.seen.values()]
        self.net = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, config.dim),
            nn.SiLU(),
            nn.Linear(config.dim, math.prod(self.patch) * sum(self.widths)),
        )
        self.camera = nn.Linear(config.dim, len(world.moves))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)

    def forward(
        self, tokens: Float[Tensor, "b n d"], grid: tuple[int, int, int]
    ) -> tuple[list[Float[Tensor, "b _ t h w"]], Float[Tensor, "b k"]]:
        """Return the logits of each fact, for a latent grid, and of the camera's move."""
        (t, h, w), (pt, ph, pw) = grid, self.patch
        logits = rearrange(
            self.net(tokens),
            "b (t h w) (pt ph pw k) -> b k (t pt) (h ph) (w pw)",
            t=t // pt, h=h // ph, w=w // pw, pt=pt, ph=ph, pw=pw,
        )  # fmt: skip
        return list(logits.split(self.widths, 1)), self.camera(tokens.mean(1))


def answer_tables(world: World, scenes: Sequence[Scene]) -> Int64[Tensor, "f b o"]:
    """Return the answers to every fact of the background (column 0) and of each object.

    Answer 0 is "there is no object here".
    """
    things = [world.things(scene) for scene in scenes]
    tables = torch.zeros(len(world.seen), len(scenes), 1 + max(map(len, things)), dtype=torch.long)
    for fact, (name, answers) in enumerate(world.seen.items()):
        for clip, some in enumerate(things):
            for i, thing in enumerate(some, 1):
                value = thing[name]
                tables[fact, clip, i] = UNASKED if value is None else 1 + answers.index(value)
    return tables


def fact_loss(
    logits: list[Float[Tensor, "b _ t h w"]],
    camera: Float[Tensor, "b k"],
    cells: UInt8[Tensor, "b t h w"],
    scenes: Sequence[Scene],
    world: World,
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Return the mean cross-entropy over what is asked, and the shares named rightly.

    `cells` has the index of the object seen in each cell, from 1, and 0 where there is none.
    Of a single frame nothing is asked that takes time to be seen.
    """
    tables = answer_tables(world, scenes).to(cells.device)
    still = cells.shape[1] == 1
    losses, right = [], {}
    for (name, table), scores in zip(zip(world.seen, tables, strict=True), logits, strict=True):
        if still and name in world.moving:
            continue
        key = table.gather(1, cells.flatten(1).long()).view(cells.shape)
        error = F.cross_entropy(scores.float(), key, ignore_index=UNASKED, reduction="none")
        shown = (key > 0).float()
        empty = (key == 0).float()
        near = (error * shown).sum() / shown.sum().clamp_min(1)
        far = (error * empty).sum() / empty.sum().clamp_min(1)
        losses.append(OBJECT_SHARE * near + (1 - OBJECT_SHARE) * far)
        if name in ("shape", "motion"):
            hits = ((scores.detach().argmax(1) == key) * shown).sum() / shown.sum().clamp_min(1)
            right[f"{name}_named"] = float(hits)
    if not still:
        moves = [world.moves.index(world.move(scene)) for scene in scenes]
        losses.append(F.cross_entropy(camera.float(), torch.tensor(moves, device=cells.device)))
    return torch.stack(losses).mean(), right
