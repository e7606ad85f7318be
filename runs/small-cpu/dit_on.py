"""The transformer of small goes on from the one in `before`: pictures, beginnings, clips."""

from kineograph.train.recipe import DiTRecipe, Schedule

RECIPE = DiTRecipe(
    model="small",
    begin_with="before",
    batch=4,
    image_steps=750,
    image_batch=64,
    image_share=0.15,
    short_steps=350,
    short_batch=12,
    object_weight=4.0,
    fact_weight=0.5,
    fact_block=4,
    shift=2.5,
    padding_hidden=0.0,
    validation_clips=32,
    schedule=Schedule(steps=1350, lr=6e-4, muon_lr=2e-3, ema=0.998, decay_share=0.4,
                      validate_every=1350),
)  # fmt: skip
