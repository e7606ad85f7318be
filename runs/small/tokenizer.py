"""The tokenizer of small: English words and Chinese characters of the world's captions."""

from kineograph.train.recipe import TokenizerRecipe

RECIPE = TokenizerRecipe(model="small", captions=40_000)
