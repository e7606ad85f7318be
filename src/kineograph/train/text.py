"""Training of the text encoder alone: read back from a caption what it states of its scene.

A transformer that learns together with its text encoder from nothing pulls the encoder down
before either is of use: noise through cross-attention costs more than the text yet gives, and
a silent encoder is the nearest way out (docs/log.md). So ours learns to read first and is
frozen afterwards, as UMT5 is in Wan (arXiv 2503.20314). Both languages answer the same
questions, so a word and its translation come out alike.

Letters: b captions, l tokens, d encoder channels, q questions, a answers.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kineograph.models.text import TextEncoder
from kineograph.models.tokenizer import Tokenizer
from kineograph.presets import get_preset
from kineograph.train.clips import VALIDATION_SEED
from kineograph.train.recipe import TextRecipe
from kineograph.train.worlds import UNASKED, Phrasing, Questions, world_of
from kineograph.weights.files import save_weights
from kineograph.world.render import CPU


class Reader(nn.Module):
    """Answers questions about encoded text; used in training alone.

    "What does the red one do?" attends to the tokens once, so that every token must know whose
    it is. Questions are those of objects, colour by colour, then those of scenes.
    """

    def __init__(self, dim: int, questions: Questions, num_heads: int = 4) -> None:
        super().__init__()
        of_objects, of_scenes = questions.of_objects, questions.of_scenes
        widths = [1 + len(v) for v in (*of_objects.values(), *of_scenes.values())]
        self.colours = nn.Parameter(torch.randn(len(questions.colours), 1, dim) * dim**-0.5)
        self.facts = nn.Parameter(torch.randn(len(widths), dim) * dim**-0.5)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.answers = nn.Parameter(torch.randn(len(widths), dim, max(widths)) * dim**-0.5)
        self.each, count = len(of_objects), len(widths)
        kinds = list(range(self.each)) * len(questions.colours)
        self.kinds = kinds + list(range(self.each, count))
        self.widths = [widths[kind] for kind in self.kinds]

    def forward(
        self, encoded: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b q a"]:
        """Return logits; those of answers that a question does not have are -inf."""
        each = self.each
        questions = torch.cat([(self.colours + self.facts[:each]).flatten(0, 1), self.facts[each:]])
        found, _ = self.attention(
            questions.expand(len(encoded), -1, -1), encoded, encoded,
            key_padding_mask=~mask, need_weights=False,
        )  # fmt: skip
        logits = torch.einsum("bqd,qda->bqa", found, self.answers[self.kinds])
        allowed = torch.arange(logits.shape[2]) < torch.tensor(self.widths)[:, None]
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)


def reading_loss(
    logits: Float[Tensor, "b q a"], key: Int[Tensor, "b q"]
) -> tuple[Float[Tensor, ""], Bool[Tensor, "b q"]]:
    """Return the cross-entropy over what is asked, and which answers are right or unasked."""
    loss = F.cross_entropy(logits.flatten(0, 1), key.flatten(), ignore_index=UNASKED)
    return loss, (logits.argmax(2) == key) | (key == UNASKED)


class TextTask:
    """Train one model's text encoder."""

    def __init__(self, recipe: TextRecipe, tokenizer: Path, device: torch.device = CPU) -> None:
        self.recipe, self.schedule, self.device = recipe, recipe.schedule, device
        self.spec = get_preset(recipe.model)
        self.world = world_of(self.spec)
        self.tokenizer = Tokenizer.load(tokenizer, self.spec.dit.text_len)
        self.text = TextEncoder(self.spec.text)
        self.text.init_weights(torch.Generator().manual_seed(recipe.schedule.seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.schedule.seed)
            self.reader = Reader(self.spec.text.dim, self.world.questions)
        self.module: nn.Module = nn.ModuleDict({"text": self.text, "reader": self.reader})
        self.module.to(device)

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        return self.recipe.muon and parameter.ndim == 2 and name.startswith("text.blocks.")

    def _captions(
        self, rng: random.Random, seeds: range, *, phrasing: Phrasing, typo_rate: float = 0.0
    ) -> tuple[list[str], Int[Tensor, "b q"]]:
        texts, keys = [], []
        for seed in seeds:
            scene = self.world.imagine(seed)
            text, said = self.world.caption(
                scene, rng, chinese_share=self.recipe.chinese_share, typo_rate=typo_rate,
                phrasing=phrasing,
            )  # fmt: skip
            texts.append(text)
            keys.append(self.world.answers(scene, said))
        return texts, torch.tensor(keys, device=self.device)

    def _read(self, texts: list[str]) -> Float[Tensor, "b q a"]:
        ids, mask = self.tokenizer.encode(texts)
        longest = int(mask.sum(1).max())
        ids, mask = (a[:, :longest].to(self.device) for a in (ids, mask))
        with torch.autocast(self.device.type, torch.bfloat16):
            logits: Tensor = self.reader(self.text(ids, mask), mask)
        return logits.float()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        rng = random.Random(f"text {self.schedule.seed} {step}")
        first = rng.randrange(VALIDATION_SEED - r.batch)
        # Some synonyms are seen in text alone; a third of the batches has them.
        phrasing: Phrasing = "text" if rng.random() < r.text_only_share else "trained"
        texts, key = self._captions(
            rng, range(first, first + r.batch), phrasing=phrasing, typo_rate=r.typo_rate
        )
        loss, right = reading_loss(self._read(texts), key)
        return loss, {"captions_right": float(right.all(1).float().mean())}

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return the share of stated facts, and of whole captions, read rightly.

        `heldout_*` is of clause orders and synonyms that training never shows.
        """
        result = {}
        named: tuple[tuple[str, Phrasing], ...] = (("", "trained"), ("heldout_", "held"))
        for name, phrasing in named:
            rng = random.Random(0)
            seeds = range(VALIDATION_SEED, VALIDATION_SEED + self.recipe.validation_captions)
            texts, key = self._captions(rng, seeds, phrasing=phrasing)
            loss, right = reading_loss(self._read(texts), key)
            stated = key > 0
            result[f"{name}loss"] = float(loss)
            result[f"{name}facts_right"] = float(right[stated].float().mean())
            result[f"{name}captions_right"] = float(right.all(1).float().mean())
        return result

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(self.world.version), "recipe": repr(self.recipe)}
        save_weights(
            folder / "text.safetensors", self.text, self.spec.text, metadata, torch.bfloat16
        )
