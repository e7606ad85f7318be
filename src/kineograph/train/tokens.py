"""The tokenizer of our models: learnt from the captions of the world."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from kineograph.models.tokenizer import Tokenizer, train_tokenizer
from kineograph.presets import get_preset
from kineograph.train.clips import VALIDATION_SEED
from kineograph.train.recipe import TokenizerRecipe
from kineograph.world.captions import caption, known_words
from kineograph.world.draw import draw_scene


def training_captions(recipe: TokenizerRecipe) -> Iterator[str]:
    """Yield captions in training phrasings, without typos."""
    rng = random.Random(f"tokenizer {recipe.seed}")
    for i in range(recipe.captions // 4):
        scene = draw_scene(rng.randrange(VALIDATION_SEED))
        for language in ("en", "zh"):
            yield caption(scene, language, rng, full=i % 8 == 0)
            yield caption(scene, language, rng)


def learn_tokenizer(recipe: TokenizerRecipe, path: Path) -> Tokenizer:
    """Write `path` (tokenizer.json) and the word lists beside it."""
    spec = get_preset(recipe.model)
    return train_tokenizer(
        training_captions(recipe),
        path,
        vocab_size=spec.text.vocab_size,
        text_len=spec.dit.text_len,
        known_words=known_words(),
    )
