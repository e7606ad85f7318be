"""The transformer of nano, its captions read by the frozen text encoder."""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="nano",
    batch=16,
    schedule=Schedule(steps=4200, lr=1e-3, muon_lr=3e-3, ema=0.998, decay_share=0.45),
)
