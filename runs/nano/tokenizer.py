"""The tokenizer of nano: English words and Chinese characters of the world's captions."""

from kineograph.train.recipe import TokenizerRecipe

RECIPE = TokenizerRecipe(model="nano", captions=20_000)
