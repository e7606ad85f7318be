"""Few steps for small, with guidance baked in: a short run from the finished transformer."""

from kineograph.train.recipe import FewStepRecipe, Schedule

RECIPE = FewStepRecipe(
    model="small",
    batch=3,
    image_share=0.3,
    image_batch=24,
    shift=2.5,
    schedule=Schedule(steps=500, lr=3e-4, muon_lr=8e-4, ema=0.995, decay_share=0.5),
)
