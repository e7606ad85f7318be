"""The VAE of small, second part: whole clips, and squares around objects for as long.

A causal network that only saw thirteen frames at a time grows too bright beyond them.
"""

from kineograph.train.recipe import Schedule, VaeRecipe

RECIPE = VaeRecipe(
    model="small",
    begin_with="vae_first",
    pool=True,
    batch=2,
    whole_share=1.0,
    object_share=0.5,
    schedule=Schedule(steps=1400, lr=8e-4, muon_lr=1.6e-3, weight_decay=0.0, ema=0.997,
                      decay_share=0.7, validate_every=350, seed=10),
)  # fmt: skip
