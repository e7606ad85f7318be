"""The VAE of small on two cores: nano's, which knows the first world at 64x64, goes on."""

from kineograph.train.recipe import Schedule, VaeRecipe

RECIPE = VaeRecipe(
    model="small",
    begin_with="model:nano",
    pool=True,
    batch=2,
    object_share=0.5,
    schedule=Schedule(steps=1300, lr=1e-3, muon_lr=2e-3, weight_decay=0.0, ema=0.997,
                      decay_share=0.01, validate_every=500),
)  # fmt: skip
