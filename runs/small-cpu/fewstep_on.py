"""Few steps again, after `dit_on.py`: what ways are is taken over from the flow map before."""

from kineograph.train.recipe import FewStepRecipe, Schedule

RECIPE = FewStepRecipe(
    model="small",
    ways_of="before",
    batch=3,
    image_share=0.3,
    image_batch=24,
    shift=2.5,
    schedule=Schedule(steps=250, lr=3e-4, muon_lr=8e-4, ema=0.985, decay_share=0.5),
)
