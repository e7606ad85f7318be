"""The clips that small's VAE trains on: a render is dearer than a step."""

from kineograph.train.recipe import ClipRecipe

RECIPE = ClipRecipe(model="small", clips=2000)
