"""The clips that small's transformer trains on, rendered and encoded once.

Scenes are dear to draw, so single frames are taken from the same clips.
"""

from kineograph.train.recipe import LatentRecipe

RECIPE = LatentRecipe(
    model="small", clips=4000, stills=4, shard=100, statistics_clips=100, validation_clips=64
)
