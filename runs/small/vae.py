"""The VAE of small: nano's structure, twice as wide, on clips of 128x128 area."""

from kineograph.train.recipe import Schedule, VaeRecipe

RECIPE = VaeRecipe(
    model="small",
    batch=16,
    whole_share=0.3,
    object_share=0.5,  # what nano's second part taught
    schedule=Schedule(steps=6000, lr=1e-3, muon_lr=2e-3, weight_decay=0.0, ema=0.998,
                      decay_share=0.5, validate_every=1000),
)  # fmt: skip
