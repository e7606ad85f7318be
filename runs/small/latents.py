"""The clips that small's transformer trains on, rendered and encoded once."""

from kineograph.train.recipe import LatentRecipe

RECIPE = LatentRecipe(model="small", clips=60_000, images=120_000, shard=2000)
