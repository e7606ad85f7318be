"""The transformer of small."""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="small",
    batch=128,
    image_steps=4000,
    image_batch=1024,
    object_weight=4.0,
    fact_weight=0.5,
    fact_block=4,
    shift=2.5,
    schedule=Schedule(steps=20_000, lr=1e-3, muon_lr=3e-3, ema=0.999, decay_share=0.4,
                      validate_every=2000),
)  # fmt: skip
