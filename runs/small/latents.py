"""The clips that small's transformer trains on, rendered and encoded once."""

from kineograph.train.recipe import LatentRecipe

RECIPE = LatentRecipe(model="small", clips=40_000, stills=3, shard=500, compiled=False)
