"""Recipes: everything that decides what a training run does, as frozen data.

A recipe file is Python that defines `RECIPE`. A run is a pure function of its recipe: batch k
depends on (seed, k) alone, so that a run stopped anywhere goes on exactly where it was.
"""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kineograph.errors import RequestError


@dataclass(frozen=True)
class Schedule:
    """How long to train and how fast to step."""

    steps: int
    warmup: int = 50
    decay_share: float = 0.4  # the last part of the run, in which the rate falls to zero
    lr: float = 1e-3  # AdamW: embeddings, norms, biases, first and last layers
    muon_lr: float = 2e-3  # Muon: the matrices of the blocks
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    ema: float = 0.997  # of the weights that are saved
    seed: int = 0
    validate_every: int = 500
    log_every: int = 20
    checkpoint_seconds: float = 120.0

    @property
    def plateau(self) -> int:
        """The last step at full rate."""
        return int(self.steps * (1 - self.decay_share))

    def rate(self, step: int) -> float:
        """Return the factor on both learning rates at a step: warm-up, plateau, linear decay."""
        up = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return up * min(1.0, left)


@dataclass(frozen=True)
class ClipRecipe:
    """Render clips once and keep their pixels: what a VAE trains on with `pool`."""

    model: str
    clips: int
    seed: int = 3
    square_share: float = 0.5
    shard: int = 50
    compiled: bool = True

    @property
    def shards(self) -> int:
        return -(-self.clips // self.shard)


@dataclass(frozen=True)
class VaeRecipe:
    """Train a model's VAE on clips that are rendered as they are needed, or kept."""

    model: str
    schedule: Schedule
    batch: int = 8
    num_frames: int = 13
    whole_share: float = 0.0  # the last part of the run, on whole clips in half the batch
    square_share: float = 0.5  # of the batches; the other ratios share the rest
    object_share: float = 0.0  # of the batches, squares around objects, four in place of a clip
    # The stage whose finished weights it starts from, or a model (`model:nano`) whose VAE has the
    # same structure; from nothing if empty.
    begin_with: str = ""
    pool: bool = False  # draw from the clips of the stage `clips` instead of rendering
    kl_weight: float = 1e-4
    mse_weight: float = 4.0
    gradient_weight: float = 0.5
    temporal_weight: float = 0.5
    validation_clips: int = 64
    compiled: bool = True


@dataclass(frozen=True)
class TokenizerRecipe:
    """Learn a model's vocabulary from this many captions, half of them Chinese."""

    model: str
    captions: int = 20_000
    seed: int = 2


@dataclass(frozen=True)
class TextRecipe:
    """Train a model's text encoder to read captions."""

    model: str
    schedule: Schedule
    batch: int = 64
    chinese_share: float = 0.45
    typo_rate: float = 0.05
    text_only_share: float = 0.33  # of the batches, in words that no clip is captioned with
    validation_captions: int = 400
    muon: bool = False  # steps the matrices of the blocks; else AdamW steps everything


@dataclass(frozen=True)
class LatentRecipe:
    """Render clips once and keep their latents and scenes: what a transformer trains on.

    `images` are the first frames of so many other scenes; without them, single frames to train
    on are the first ones of the clips.
    """

    model: str
    clips: int
    images: int = 0
    stills: int = 0  # frames of each clip that are single frames to train on, too
    statistics_clips: int = 512  # of which the channels' means and deviations are taken
    seed: int = 1
    square_share: float = 0.5
    shard: int = 1000
    validation_clips: int = 128
    compiled: bool = True


@dataclass(frozen=True)
class DiTRecipe:
    """Train a model's transformer on stored latents; its text encoder has learnt already."""

    model: str
    schedule: Schedule
    begin_with: str = ""  # the stage whose transformer it starts from; from nothing if empty
    batch: int = 32
    image_steps: int = 0  # the first of the run, on single frames
    image_share: float = 0.0  # of the steps after them, on single frames too
    image_batch: int = 128
    short_steps: int = 0  # those after the images, on the first latent frames of clips
    short_frames: int = 3
    short_batch: int = 64
    object_weight: float = 0.0  # added to the loss where an object is; less where noise hides it
    fact_weight: float = 0.0  # of naming, from the tokens of a block, what each latent cell shows
    fact_block: int = 3
    shift: float = 1.5
    uniform_share: float = 0.1
    per_frame_share: float = 0.15  # samples with an own noise level for each latent frame
    text_dropout: float = 0.1
    control_dropout: float = 0.3  # of each control, in half of the samples; the rest has none
    padding_hidden: float = 0.25  # of the run without the context's padding; let in as slowly
    known_share: float = 0.25  # samples with frames that are given: first, last, prefix, some
    chinese_share: float = 0.4
    typo_rate: float = 0.01
    validation_clips: int = 64


@dataclass(frozen=True)
class FewStepRecipe(DiTRecipe):
    """Teach a finished transformer to take long steps, with its guidance baked in.

    What a `DiTRecipe` says of batches, noise levels and captions holds here too.
    """

    begin_with: str = "dit"  # the stage whose weights it starts from and learns from
    guidance_scale: float = 4.0  # of the teacher
    slope_share: float = 0.3  # of the samples, on single points of the way as before
    padding_hidden: float = 0.0
    text_dropout: float = 0.0
    per_frame_share: float = 0.0


@dataclass(frozen=True)
class UpsamplerRecipe:
    """Train a model's upsampler on pairs of VAE output and high-resolution render."""

    model: str
    schedule: Schedule
    batch: int = 2
    num_frames: int = 9
    passes: int = 1  # one upon another: what it makes of the VAE's output it learns to enlarge too
    compiled: bool = True
    validation_clips: int = 12


@dataclass(frozen=True)
class InterpolatorRecipe:
    """Train a model's interpolator on renders at twice its rate, half of them through its VAE."""

    model: str
    schedule: Schedule
    batch: int = 2
    num_frames: int = 9  # of a clip, as the model makes them
    compiled: bool = True
    validation_clips: int = 12


Recipe = (
    ClipRecipe
    | VaeRecipe
    | TextRecipe
    | LatentRecipe
    | DiTRecipe
    | UpsamplerRecipe
    | InterpolatorRecipe
)


def load_recipe(path: Path, kind: type[Any]) -> Any:  # noqa: ANN401 - the caller names the type
    """Run a recipe file and return its RECIPE; a `RequestError` says what is wrong with it."""
    if not path.is_file():
        raise RequestError(f"recipe {str(path)!r} is not a file")
    try:
        recipe = runpy.run_path(str(path)).get("RECIPE")
    except Exception as error:
        raise RequestError(f"recipe {path} fails: {type(error).__name__}: {error}") from error
    if not isinstance(recipe, kind):
        raise RequestError(f"{path} must define RECIPE as a {kind.__name__}, not {recipe!r}")
    return recipe
