"""The transformer of nano: single frames, then the beginnings of clips, then whole clips.

Its text encoder is frozen.
"""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="nano",
    batch=8,
    image_steps=1000,
    image_batch=48,
    image_share=0.1,
    short_steps=1300,
    short_batch=18,
    object_weight=4.0,
    fact_weight=0.5,
    schedule=Schedule(steps=4100, lr=1e-3, muon_lr=3e-3, ema=0.998, decay_share=0.45),
)
