"""The upsampler of small: x2, applied twice or more; it repairs the VAE's softness."""

from kineograph.train.recipe import Schedule, UpsamplerRecipe

RECIPE = UpsamplerRecipe(
    model="small",
    passes=2,
    batch=4,
    schedule=Schedule(steps=4000, lr=1e-3, muon_lr=2e-3, weight_decay=0.0, ema=0.995,
                      decay_share=0.5, validate_every=1000),
)  # fmt: skip
