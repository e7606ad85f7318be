"""The decoder of nano's VAE on whole clips of 25 frames; the encoder stays as it is."""

from kineograph.train.recipe import Schedule, VaeRecipe

RECIPE = VaeRecipe(
    model="nano",
    batch=2,
    num_frames=25,
    schedule=Schedule(steps=500, warmup=20, lr=5e-4, muon_lr=8e-4, weight_decay=0.0, ema=0.99,
                      decay_share=0.8, validate_every=250),
)  # fmt: skip
