"""The transformer and text encoder of nano."""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="nano",
    batch=16,
    schedule=Schedule(steps=3200, lr=5e-4, muon_lr=2.5e-3, ema=0.998, decay_share=0.45),
)
