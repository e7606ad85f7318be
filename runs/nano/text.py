"""The text encoder of nano: it learns to read captions before the transformer sees them."""

from kineograph.train.recipe import Schedule, TextRecipe

RECIPE = TextRecipe(
    model="nano",
    schedule=Schedule(steps=2400, lr=1e-3, ema=0.995, decay_share=0.5, validate_every=500),
)
