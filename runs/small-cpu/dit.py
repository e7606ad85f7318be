"""The transformer of small on two cores: mostly single frames and the beginnings of clips.

A step on whole clips costs as much as one on thirteen times as many frames.
"""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="small",
    batch=4,
    image_steps=1500,
    image_batch=32,
    image_share=0.15,
    short_steps=2000,
    short_batch=12,
    object_weight=4.0,
    fact_weight=0.5,
    fact_block=4,
    shift=2.5,
    schedule=Schedule(steps=6500, lr=1e-3, muon_lr=3e-3, ema=0.998, decay_share=0.4),
)
