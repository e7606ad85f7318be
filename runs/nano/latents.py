"""The clips that nano's transformer trains on, rendered and encoded once."""

from kineograph.train.recipe import LatentRecipe

RECIPE = LatentRecipe(model="nano", clips=12_000)
