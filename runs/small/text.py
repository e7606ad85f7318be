"""The text encoder of small: it learns to read captions before the transformer sees them."""

from kineograph.train.recipe import Schedule, TextRecipe

RECIPE = TextRecipe(
    model="small",
    batch=256,
    schedule=Schedule(steps=3000, lr=1e-3, ema=0.995, decay_share=0.5, validate_every=500),
)
