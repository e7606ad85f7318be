"""The transformer and text encoder of nano."""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="nano",
    schedule=Schedule(steps=5000, lr=1.5e-3, muon_lr=3e-3, ema=0.998, decay_share=0.4),
)
