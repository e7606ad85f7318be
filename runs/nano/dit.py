"""The transformer of nano: single frames first, then clips; its text encoder is frozen."""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="nano",
    batch=16,
    image_steps=1000,
    object_weight=4.0,
    schedule=Schedule(steps=5400, lr=1e-3, muon_lr=3e-3, ema=0.998, decay_share=0.45),
)
