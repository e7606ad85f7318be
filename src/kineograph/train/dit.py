"""Training of the transformer: rectified flow on stored latents; the text encoder is frozen."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from kineograph.errors import RequestError
from kineograph.flow.guidance import guided
from kineograph.flow.loss import SigmaBins, flow_loss, frame_loss, sample_sigmas
from kineograph.flow.path import add_noise
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import sample, start
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.models.dit import VideoDiT, control_rows
from kineograph.models.text import TextEncoder, encode_context
from kineograph.models.tokenizer import Tokenizer
from kineograph.models.vae import VideoVAE
from kineograph.presets import get_preset
from kineograph.spec import ModelSpec
from kineograph.train.clips import to_uint8
from kineograph.train.engine import check_beginning, step_generator
from kineograph.train.facts import FactHead, fact_loss
from kineograph.train.fused import fuse
from kineograph.train.latents import read_latents
from kineograph.train.recipe import DiTRecipe
from kineograph.train.worlds import Scene, world_of
from kineograph.weights.files import build, save_weights
from kineograph.weights.header import sha256
from kineograph.world.render import CPU

VALIDATION_SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.9)
WAYS = "way_embedding."  # begins the names of what a flow map alone has
PADDING_BIAS = 10.0  # what hidden padding loses of its score: all but exp(-10) of its weight


def draw_known(
    batch: int, frames: int, share: float, generator: torch.Generator
) -> Bool[Tensor, "b t"]:
    """Draw which latent frames are given to the model, in a share of the samples.

    The first, the last, both (an image or two), a beginning, an end, both (extension either way,
    what is between two clips, a loop) or any. One frame at least is left to generate.
    """
    known = torch.zeros(batch, frames, dtype=torch.bool)
    if frames < 2:
        return known
    draws = torch.rand(batch, 4, generator=generator)
    scattered = torch.rand(batch, frames, generator=generator)
    for i, (given, kind, size, split) in enumerate(draws.tolist()):
        if given >= share:
            continue
        length = 1 + int(size * (frames - 1))  # of what is given; less than all of it
        if kind < 0.40:
            known[i, 0] = True
        elif kind < 0.48:
            known[i, -1] = True
        elif kind < 0.58:
            known[i, 0] = known[i, -1] = True
        elif kind < 0.70:
            known[i, :length] = True
        elif kind < 0.80:
            known[i, frames - length :] = True
        elif kind < 0.90:
            start = round(split * length)
            known[i, :start] = known[i, frames - (length - start) :] = True
        else:
            known[i] = scattered[i] < 0.4
        if bool(known[i].all()):
            known[i, 1:] = False
    return known


def open_dit(path: Path, spec: ModelSpec) -> VideoDiT:
    """Return a transformer with the structure of `spec`, a flow map or not."""
    found = build("dit", path)
    assert isinstance(found, VideoDiT)
    if replace(found.config, flow_map=False) != spec.dit:
        raise RequestError(f"{path} is a transformer of another structure than that of {spec.name}")
    return found


def plain_weights(path: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """Return the weights of a transformer; a flow map's without what tells it of ways.

    Where a way has no length a flow map is the rectified flow of its teacher's guided velocity.
    """
    weights = open_dit(path, spec).state_dict()
    return {name: w for name, w in weights.items() if not name.startswith(WAYS)}


class DiTTask:
    """Train one model's transformer."""

    def __init__(
        self, recipe: DiTRecipe, latents: Path, vae: Path, tokenizer: Path, text: Path,
        device: torch.device = CPU, begin_with: Path | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.schedule, self.device = recipe, recipe.schedule, device
        self.spec = get_preset(recipe.model)
        self.tokenizer = Tokenizer.load(tokenizer, self.spec.dit.text_len)
        self.world = world_of(self.spec)
        buckets, self.held, self.statistics = read_latents(latents, self.world)
        self.clips = [b for b in buckets if b.latent.shape[2] > 1]
        # The first latent frame of a clip is a frame by itself, too.
        self.images = [b for b in buckets if b.latent.shape[2] == 1] or self.clips
        self._check(latents)
        generator = torch.Generator().manual_seed(recipe.schedule.seed)
        self.dit = VideoDiT(self.spec.dit)
        self.dit.init_weights(generator)
        self.begun_with = ""  # the hash of the weights that the run began with
        if begin_with is not None:
            self.dit.load_state_dict(plain_weights(begin_with, self.spec))
            self.begun_with = sha256(begin_with)
        parts: dict[str, nn.Module] = {"dit": self.dit}
        self.tokens = torch.empty(0)  # of the block from which facts are named
        if recipe.fact_weight:
            parts["facts"] = self.facts = FactHead(self.spec.dit, self.world, generator)
            self.dit.blocks[recipe.fact_block].register_forward_hook(self._keep_tokens)
        self.module: nn.Module = nn.ModuleDict(parts).to(device)
        fuse(self.dit)
        self.text = build("text", text).requires_grad_(False).to(device)
        self.vae = build("vae", vae).to(device)
        assert isinstance(self.vae, VideoVAE)
        self.vae.config = replace(
            self.vae.config,
            latents_mean=tuple(self.statistics["mean"]),
            latents_std=tuple(self.statistics["std"]),
        )
        self.bins = SigmaBins()

    def _check(self, latents: Path) -> None:
        """Refuse a recipe that asks for more than a store holds, or for what a model has not."""
        r = self.recipe
        wanted, found = self.spec.dit.num_controls, self.held.numbers.shape[1]
        if wanted != found:
            raise RequestError(f"{latents} holds {found} numbers a clip; the model has {wanted}")
        asked = [("batch", r.batch, self.clips)]
        if r.short_steps:
            asked.append(("short_batch", r.short_batch, self.clips))
            if r.short_frames < 1:
                raise RequestError(f"short_frames {r.short_frames} is not allowed; 1 or more is")
        if r.image_steps or r.image_share:
            asked.append(("image_batch", r.image_batch, self.images))
        for name, batch, buckets in asked:
            most = min((len(b.scenes) for b in buckets), default=0)
            if not 1 <= batch <= most:
                raise RequestError(
                    f"{name} {batch} is not between 1 and {most}, the number of clips or images "
                    f"of the rarest aspect ratio in {latents}"
                )
        last = self.spec.dit.num_layers - 1
        if r.fact_weight and not 0 <= r.fact_block <= last:
            raise RequestError(f"fact_block {r.fact_block} is not between 0 and {last}")

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim == 2 and name.startswith("dit.blocks.")

    def _keep_tokens(self, _block: nn.Module, _inputs: Any, tokens: Tensor) -> None:  # noqa: ANN401
        self.tokens = tokens

    def _context(
        self, captions: list[str], step: int, numbers: Float[Tensor, "b k"] | None = None
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b l"] | None]:
        """Encode captions and controls; return the context, and the bias of its tokens at a step.

        Zero padding is the easiest thing to attend to while the text is mere noise, and a model
        that has fled there never comes back (docs/log.md). So it is hidden at first, then let
        in by and by: what is generated has it in full, as in Wan.
        """
        ids, mask = (a.to(self.device) for a in self.tokenizer.encode(captions))
        assert isinstance(self.text, TextEncoder)
        with torch.no_grad():
            context = encode_context(self.text, ids, mask, self.spec.dit.text_len)
        hidden = self.recipe.padding_hidden * self.schedule.steps
        strength = min(1.0, max(0.0, 2 - step / hidden)) if hidden else 0.0
        bias = None
        if strength == 1:  # what nobody sees need not be there
            longest = int(mask.sum(1).max())
            context, bias = context[:, :longest], ~mask[:, :longest] * -PADDING_BIAS
        elif strength > 0:
            padding = F.pad(~mask, (0, context.shape[1] - mask.shape[1]), value=True)
            bias = padding * (-PADDING_BIAS * strength)
        return self._with_controls(context, bias, numbers)

    def _with_controls(
        self, context: Tensor, bias: Tensor | None, numbers: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Put the rows of the controls, none of them given unless `numbers` says so, behind."""
        count = self.spec.dit.num_controls
        if count:
            if numbers is None:
                numbers = torch.full((len(context), count), math.nan)
            rows = control_rows(numbers.to(self.device), context.shape[2])
            context = torch.cat((context, rows.to(context.dtype)), 1)
            bias = None if bias is None else F.pad(bias, (0, count))
        return context, bias

    def _captions(self, scenes: list[Scene], rng: random.Random) -> list[str]:
        r = self.recipe
        texts = []
        for scene in scenes:
            text, _ = self.world.caption(
                scene, rng, chinese_share=r.chinese_share, typo_rate=r.typo_rate
            )
            texts.append("" if rng.random() < r.text_dropout else text)
        return texts

    def _controls(self, numbers: Tensor, rng: random.Random) -> Float[Tensor, "b k"]:
        """Leave controls out: all of a sample, or some of them."""
        kept = numbers.clone()
        for row in kept:
            share = self.recipe.control_dropout if rng.random() < 0.5 else 1.0
            for k in range(len(row)):
                if rng.random() < share:
                    row[k] = math.nan
        return kept

    def _batch(
        self, step: int
    ) -> tuple[
        Float[Tensor, "b c t h w"], UInt8[Tensor, "b t h w"], Float[Tensor, "b k"], list[Scene],
        list[str],
    ]:  # fmt: skip
        """Return latents of one aspect ratio, none twice, their objects, controls and captions.

        The first part of the run sees single frames, the next one the beginnings of clips: what
        things look like, and how they begin to move, is learnt from many of them in the time of
        a few whole clips.
        """
        r, rng = self.recipe, random.Random(f"dit {self.schedule.seed} {step}")
        buckets, batch, frames = self.clips, r.batch, None
        if step < r.image_steps or rng.random() < r.image_share:
            buckets, batch, frames = self.images, r.image_batch, 1
        elif step < r.image_steps + r.short_steps:
            batch, frames = r.short_batch, r.short_frames
        bucket = rng.choices(buckets, [len(b.scenes) for b in buckets])[0]
        where = rng.sample(range(len(bucket.scenes)), batch)
        scenes = [bucket.scenes[i] for i in where]
        captions = self._captions(scenes, rng)
        numbers = self._controls(bucket.numbers[where], rng)
        latent, objects = bucket.latent[where, :, :frames], bucket.objects[where, :frames]
        return latent.float(), objects, numbers, scenes, captions

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        x0, objects, numbers, scenes, captions = self._batch(step)
        generator = step_generator(self.schedule.seed, step)
        b, t = x0.shape[0], x0.shape[2]
        sigma = sample_sigmas(b, t, generator, r.shift, r.uniform_share, r.per_frame_share)
        known = draw_known(b, t, r.known_share, generator)
        sigma = sigma.masked_fill(known, 0.0)
        noise = torch.randn(x0.shape, generator=generator)
        x0, objects, noise, sigma, known = (
            a.to(self.device) for a in (x0, objects, noise, sigma, known)
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            context, bias = self._context(captions, step, numbers)
            velocity = self.dit(add_noise(x0, noise, sigma), sigma, context, bias)
        weight = (~known).float()
        # Small things cost little and matter most. In noise that hides where they are, a weight
        # would pull the mean towards having one everywhere: it fades with the noise.
        cells = 1 + r.object_weight * (objects > 0) * (1 - sigma)[:, :, None, None]
        loss, _ = flow_loss(velocity, noise, x0, weight, cells)
        with torch.no_grad():
            self.bins.add(sigma, frame_loss(velocity, noise, x0), weight)
        if not r.fact_weight:
            return loss, {}
        grid = (x0.shape[2], x0.shape[3], x0.shape[4])
        logits, camera = self.facts(self.tokens.float(), grid)
        named, figures = fact_loss(logits, camera, objects, scenes, self.world)
        return loss + r.fact_weight * named, {"flow_loss": float(loss.detach()), **figures}

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return the loss at fixed noise levels; write a sheet of generated clips.

        `text_gain` is how much larger the loss is, at the last level, under the captions of
        other clips: 0 for a model that ignores its text.
        """
        count = self.recipe.validation_clips
        x0 = self.held.latent[:count].float().to(self.device)
        captions = self._told(count)
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
        noise = noise.to(self.device)
        result = {}
        with torch.autocast(self.device.type, torch.bfloat16):
            context, bias = self._context(captions, step)

            def loss_at(level: float, context: Tensor, bias: Tensor | None) -> float:
                sigma = torch.full((len(x0),), level, device=self.device)
                velocity = self.dit(add_noise(x0, noise, sigma), sigma, context, bias)
                return float(flow_loss(velocity, noise, x0)[0])

            for level in VALIDATION_SIGMAS:
                result[f"loss@{level}"] = loss_at(level, context, bias)
            # By two places: the language stays, the clip is another.
            wrong = loss_at(level, context.roll(2, 0), None if bias is None else bias.roll(2, 0))
        result["loss"] = sum(result.values()) / len(result)
        result["text_gain"] = wrong - result[f"loss@{level}"]
        bins = self.bins.means()
        result |= {f"bin{i}": value for i, value in enumerate(bins) if value is not None}
        self.bins = SigmaBins()
        self._sheet(folder / f"dit-{step:06d}.png", captions[:12], x0[:12], noise[:12])
        return result

    def _told(self, count: int) -> list[str]:
        """Return captions of the first clips for validation, every other one Chinese."""
        rng = random.Random(0)
        return [
            self.world.caption(scene, rng, chinese_share=i % 2)[0]
            for i, scene in enumerate(self.held.scenes[:count])
        ]

    def _sheet(self, path: Path, captions: list[str], x0: Tensor, noise: Tensor) -> None:
        spec, dit = self.spec, self.dit

        def velocity(x: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16):
                return dit(x, sigma, context).float()

        end = self.schedule.steps * 2  # with all padding in sight, as when it is used
        context, negative = (
            self._context(texts, end)[0] for texts in (captions, [""] * len(captions))
        )
        fn = guided(velocity, context, negative, spec.guidance_scale)
        sigmas = make_sigmas(spec.steps, spec.shift)
        *_, state = sample(fn, start(noise, spec.solver), sigmas)
        assert isinstance(self.vae, VideoVAE)
        with torch.autocast(self.device.type, torch.bfloat16):
            made = self.vae.decode(self.vae.denormalise(state.x))
        save_png(contact_sheet(list(to_uint8(made).cpu().numpy()), captions), path)

    def state_dict(self) -> dict[str, Any]:
        return {"bins": self.bins.to_dict(), "begun_with": self.begun_with}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_beginning(self.begun_with, state["begun_with"], self.recipe.begin_with)
        self.bins = SigmaBins.from_dict(state["bins"])

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(self.world.version), "recipe": repr(self.recipe)}
        dtype = torch.bfloat16
        save_weights(folder / "dit.safetensors", self.dit, self.spec.dit, metadata, dtype)
