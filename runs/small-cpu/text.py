"""The text encoder of small: it learns to read captions before the transformer sees them."""

from kineograph.train.recipe import Schedule, TextRecipe

RECIPE = TextRecipe(
    model="small",
    batch=32,
    muon=True,
    schedule=Schedule(steps=3000, lr=1e-3, muon_lr=3e-3, weight_decay=0.0, ema=0.995,
                      decay_share=0.5, validate_every=250),
)  # fmt: skip
