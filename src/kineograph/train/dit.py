"""Training of the transformer together with its text encoder: rectified flow on stored latents."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kineograph.flow.guidance import guided
from kineograph.flow.loss import SigmaBins, flow_loss, frame_loss, sample_sigmas
from kineograph.flow.path import add_noise
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import sample, start
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.models.dit import VideoDiT
from kineograph.models.text import TextEncoder, encode_context
from kineograph.models.tokenizer import Tokenizer
from kineograph.models.vae import VideoVAE
from kineograph.presets import get_preset
from kineograph.train.clips import to_uint8
from kineograph.train.engine import step_generator
from kineograph.train.latents import read_latents
from kineograph.train.recipe import DiTRecipe
from kineograph.weights.files import build, save_weights
from kineograph.world.captions import Language, caption
from kineograph.world.scene import WORLD_VERSION, Scene

VALIDATION_SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)


class TextToVideo(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, dit: VideoDiT, text: TextEncoder) -> None:
        super().__init__()
        self.dit, self.text = dit, text

    def context(self, tokenizer: Tokenizer, captions: list[str]) -> Float[Tensor, "b l d"]:
        ids, mask = tokenizer.encode(captions)
        return encode_context(self.text, ids, mask, self.dit.config.text_len)


def draw_known(
    batch: int, frames: int, share: float, generator: torch.Generator
) -> Bool[Tensor, "b t"]:
    """Draw which latent frames are given to the model: first, last, both, a prefix, any.

    One frame at least is left to generate.
    """
    known = torch.zeros(batch, frames, dtype=torch.bool)
    if frames < 2:
        return known
    draws = torch.rand(batch, 3, generator=generator)
    scattered = torch.rand(batch, frames, generator=generator)
    for i, (given, kind, size) in enumerate(draws.tolist()):
        if given >= share:
            continue
        if kind < 0.45:
            known[i, 0] = True
        elif kind < 0.55:
            known[i, -1] = True
        elif kind < 0.70:
            known[i, 0] = known[i, -1] = True
        elif kind < 0.85:
            known[i, : 1 + int(size * (frames - 1))] = True
        else:
            known[i] = scattered[i] < 0.4
        if bool(known[i].all()):
            known[i, 1:] = False
    return known


class DiTTask:
    """Train one model's transformer and text encoder."""

    def __init__(self, recipe: DiTRecipe, latents: Path, vae: Path, tokenizer: Path) -> None:
        self.recipe, self.schedule = recipe, recipe.schedule
        self.spec = get_preset(recipe.model)
        self.tokenizer = Tokenizer.load(tokenizer, self.spec.dit.text_len)
        self.buckets, self.held, self.statistics = read_latents(latents)
        self.model = TextToVideo(VideoDiT(self.spec.dit), TextEncoder(self.spec.text))
        self.module: nn.Module = self.model
        generator = torch.Generator().manual_seed(recipe.schedule.seed)
        self.model.dit.init_weights(generator)
        self.model.text.init_weights(generator)
        self.vae = build("vae", vae)
        assert isinstance(self.vae, VideoVAE)
        self.vae.config = replace(
            self.vae.config,
            latents_mean=tuple(self.statistics["mean"]),
            latents_std=tuple(self.statistics["std"]),
        )
        self.bins = SigmaBins()

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        # Under Muon the text tower's residual stream swelled and the model ignored its text; under
        # AdamW a gap between right and wrong captions opened early (docs/log.md).
        inside = name.startswith("dit.blocks.") and "embedding" not in name
        return parameter.ndim == 2 and inside

    def splits(self) -> dict[str, int]:
        return {}

    def _captions(self, scenes: list[Scene], rng: random.Random) -> list[str]:
        r = self.recipe
        texts = []
        for scene in scenes:
            language: Language = "zh" if rng.random() < r.chinese_share else "en"
            text = caption(scene, language, rng, typo_rate=r.typo_rate)
            texts.append("" if rng.random() < r.text_dropout else text)
        return texts

    def _batch(self, step: int) -> tuple[Float[Tensor, "b c t h w"], list[str]]:
        """Return latents of one aspect ratio, none of them twice, and their captions."""
        rng = random.Random(f"dit {self.schedule.seed} {step}")
        sizes = [len(b.scenes) for b in self.buckets]
        bucket = rng.choices(self.buckets, sizes)[0]
        where = rng.sample(range(len(bucket.scenes)), self.recipe.batch)
        return bucket.latent[where].float(), self._captions([bucket.scenes[i] for i in where], rng)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        x0, captions = self._batch(step)
        generator = step_generator(self.schedule.seed, step)
        b, t = x0.shape[0], x0.shape[2]
        sigma = sample_sigmas(b, t, generator, r.shift, r.uniform_share, r.per_frame_share)
        known = draw_known(b, t, r.known_share, generator)
        sigma = sigma.masked_fill(known, 0.0)
        noise = torch.randn(x0.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            context = self.model.context(self.tokenizer, captions)
            velocity = self.model.dit(add_noise(x0, noise, sigma), sigma, context)
        weight = (~known).float()
        loss, _ = flow_loss(velocity, noise, x0, weight)
        with torch.no_grad():
            self.bins.add(sigma, frame_loss(velocity, noise, x0), weight)
        return loss, {}

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return the loss at fixed noise levels; write a sheet of generated clips."""
        count = self.recipe.validation_clips
        x0 = self.held.latent[:count].float()
        rng = random.Random(0)
        languages: tuple[Language, Language] = ("en", "zh")
        captions = [
            caption(s, languages[i % 2], rng) for i, s in enumerate(self.held.scenes[:count])
        ]
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
        result = {}
        with torch.autocast("cpu", torch.bfloat16):
            context = self.model.context(self.tokenizer, captions)
            for level in VALIDATION_SIGMAS:
                sigma = torch.full((len(x0),), level)
                velocity = self.model.dit(add_noise(x0, noise, sigma), sigma, context)
                result[f"loss@{level}"] = float(flow_loss(velocity, noise, x0)[0])
        result["loss"] = sum(result.values()) / len(result)
        bins = self.bins.means()
        result |= {f"bin{i}": value for i, value in enumerate(bins) if value is not None}
        self.bins = SigmaBins()
        self._sheet(folder / f"dit-{step:06d}.png", captions[:12], x0[:12], noise[:12])
        return result

    def _sheet(self, path: Path, captions: list[str], x0: Tensor, noise: Tensor) -> None:
        model = self.model

        def velocity(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return model.dit(x, sigma, context).float()

        with torch.autocast("cpu", torch.bfloat16):
            context = model.context(self.tokenizer, captions).float()
            negative = model.context(self.tokenizer, [""] * len(captions)).float()
        spec = self.spec
        fn = guided(velocity, context, negative, spec.guidance_scale)
        sigmas = make_sigmas(spec.steps, spec.shift)
        *_, state = sample(fn, start(noise, spec.solver), sigmas)
        assert isinstance(self.vae, VideoVAE)
        with torch.autocast("cpu", torch.bfloat16):
            made = self.vae.decode(self.vae.denormalise(state.x))
        save_png(contact_sheet(list(to_uint8(made).numpy()), captions), path)

    def state_dict(self) -> dict[str, Any]:
        return {"bins": self.bins.to_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bins = SigmaBins.from_dict(state["bins"])

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(WORLD_VERSION), "recipe": repr(self.recipe)}
        dtype = torch.bfloat16
        save_weights(folder / "dit.safetensors", self.model.dit, self.spec.dit, metadata, dtype)
        save_weights(folder / "text.safetensors", self.model.text, self.spec.text, metadata, dtype)
