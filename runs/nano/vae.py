"""The VAE of nano: 4x8x8, 16 channels, on clips rendered as they are needed."""

from kineograph.train.recipe import Schedule, VaeRecipe

RECIPE = VaeRecipe(
    model="nano",
    batch=4,
    schedule=Schedule(steps=2200, lr=1e-3, muon_lr=2e-3, weight_decay=0.0, ema=0.995,
                      decay_share=0.45),
)  # fmt: skip
