"""The tokenizer of our models: learnt from the captions of the world."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from kineograph.models.tokenizer import Tokenizer, train_tokenizer
from kineograph.presets import get_preset
from kineograph.train.clips import VALIDATION_SEED
from kineograph.train.recipe import TokenizerRecipe
from kineograph.train.worlds import Phrasing, world_of


def training_captions(recipe: TokenizerRecipe) -> Iterator[str]:
    """Yield captions as training words them, text-only synonyms among them, without typos."""
    world = world_of(get_preset(recipe.model))
    rng = random.Random(f"tokenizer {recipe.seed}")
    for i in range(recipe.captions // 4):
        scene = world.imagine(rng.randrange(VALIDATION_SEED))
        other: Phrasing = "text" if i % 3 == 0 else "trained"
        for share in (0.0, 1.0):
            yield world.caption(scene, rng, chinese_share=share, full=i % 8 == 0)[0]
            yield world.caption(scene, rng, chinese_share=share, phrasing=other)[0]


def learn_tokenizer(recipe: TokenizerRecipe, path: Path) -> Tokenizer:
    """Write `path` (tokenizer.json) and the word lists beside it."""
    spec = get_preset(recipe.model)
    return train_tokenizer(
        training_captions(recipe),
        path,
        vocab_size=spec.text.vocab_size,
        text_len=spec.dit.text_len,
        known_words=world_of(spec).known_words(),
    )
