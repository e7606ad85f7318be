"""The VAE of nano: 4x8x8, 16 channels, on clips rendered as they are needed.

Crops of 13 frames first, whole clips of 25 at the end: a causal network that only saw short
clips is worse beyond their length.
"""

from kineograph.train.recipe import Schedule, VaeRecipe

RECIPE = VaeRecipe(
    model="nano",
    batch=4,
    whole_share=0.3,
    schedule=Schedule(steps=4800, lr=1e-3, muon_lr=2e-3, weight_decay=0.0, ema=0.997,
                      decay_share=0.55, validate_every=1000),
)  # fmt: skip
