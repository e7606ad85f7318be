"""The interpolator of small: 24 frames a second of 12."""

from kineograph.train.recipe import InterpolatorRecipe, Schedule

RECIPE = InterpolatorRecipe(
    model="small",
    batch=1,
    schedule=Schedule(steps=1500, lr=1e-3, muon_lr=2e-3, weight_decay=0.0, ema=0.995,
                      decay_share=0.5),
)  # fmt: skip
