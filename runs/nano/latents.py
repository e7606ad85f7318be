"""The clips and the single frames that nano's transformer trains on, rendered and encoded once."""

from kineograph.train.recipe import LatentRecipe

RECIPE = LatentRecipe(model="nano", clips=14_000, images=40_000)
