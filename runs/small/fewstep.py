"""Few steps for small, with guidance baked in."""

from kineograph.train.recipe import FewStepRecipe, Schedule

RECIPE = FewStepRecipe(
    model="small",
    batch=64,
    image_share=0.1,
    image_batch=512,
    shift=2.5,
    schedule=Schedule(steps=3000, lr=3e-4, muon_lr=8e-4, ema=0.998, decay_share=0.5,
                      validate_every=500),
)  # fmt: skip
