"""The clips that small's VAE trains on, rendered by all cores of the machine beside its GPU."""

from kineograph.train.recipe import ClipRecipe

RECIPE = ClipRecipe(model="small", clips=4000, compiled=False)
