"""Training for few steps: a flow map that begins as the finished transformer.

The slope that it learns from is the teacher's guided velocity, so guidance is baked in: one
evaluation a step instead of two.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.flow.flowmap import draw_ends, map_target
from kineograph.flow.guidance import GUIDANCE
from kineograph.flow.loss import frame_loss, sample_sigmas
from kineograph.flow.path import add_noise, hold_known
from kineograph.flow.sigmas import make_sigmas
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.models.dit import VideoDiT
from kineograph.models.vae import VideoVAE
from kineograph.train.clips import to_uint8
from kineograph.train.dit import DiTTask, draw_known, open_dit
from kineograph.train.engine import step_generator
from kineograph.train.fused import fuse
from kineograph.train.recipe import FewStepRecipe
from kineograph.weights.files import save_weights
from kineograph.weights.header import sha256
from kineograph.world.render import CPU

STEPS = (1, 2, 4, 8)  # that are validated
SHEET_STEPS = 4
TEACHER_STEPS = 32
SHOWN = 12  # clips of a sheet
SOFTEN = 1e-2  # of the squared error of a sample, below which it weighs no more


class FewStepTask(DiTTask):
    """Teach one model's transformer to take long steps."""

    recipe: FewStepRecipe

    def __init__(
        self, recipe: FewStepRecipe, latents: Path, vae: Path, tokenizer: Path, text: Path,
        teacher: Path, device: torch.device = CPU,
    ) -> None:  # fmt: skip
        super().__init__(replace(recipe, fact_weight=0.0), latents, vae, tokenizer, text, device)
        self.recipe = recipe
        self.teacher = open_dit(teacher, self.spec).to(device)
        self.dit = VideoDiT(replace(self.spec.dit, flow_map=True))
        self.dit.init_weights(torch.Generator().manual_seed(recipe.schedule.seed))
        self.begun_with = sha256(teacher)
        _, unexpected = self.dit.load_state_dict(self.teacher.state_dict(), strict=False)
        assert not unexpected
        self.dit.to(device)
        fuse(self.teacher)
        fuse(self.dit)
        self.module = nn.ModuleDict({"dit": self.dit})

    def _teacher_velocity(
        self, x: Tensor, sigma: Tensor, context: Tensor, negative: Tensor
    ) -> Float[Tensor, "b c t h w"]:
        """Return the guided slope at x; 0 in frames that are known."""
        with torch.no_grad():
            both = [self.teacher(x, sigma, c).float() for c in (context, negative)]
        held = [hold_known(v, sigma) for v in both]
        guide = GUIDANCE[self.spec.guidance]
        return guide(held[0], held[1], self.recipe.guidance_scale)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        x0, _, numbers, _, captions = self._batch(step)
        generator = step_generator(self.schedule.seed, step)
        b, t = x0.shape[0], x0.shape[2]
        sigma = sample_sigmas(b, t, generator, r.shift, r.uniform_share)
        known = draw_known(b, t, r.known_share, generator)
        sigma = sigma.masked_fill(known, 0.0)
        to = draw_ends(sigma, generator, r.slope_share)
        noise = torch.randn(x0.shape, generator=generator)
        x0, noise, sigma, to, known = (a.to(self.device) for a in (x0, noise, sigma, to, known))
        x = add_noise(x0, noise, sigma)
        with torch.autocast(self.device.type, torch.bfloat16):
            context, _ = self._context(captions, self.schedule.steps, numbers)
            negative, _ = self._context([""] * b, self.schedule.steps)
            slope = self._teacher_velocity(x, sigma, context, negative)

            def mean_velocity(x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
                sigma, to = sigma.masked_fill(known, 0.0), to.masked_fill(known, 0.0)
                out: Tensor = self.dit(x, sigma, context, to=to).float()
                return hold_known(out, sigma)

            target = map_target(mean_velocity, x, slope, sigma, to)
            found = mean_velocity(x, sigma, to)
        weight = (~known).float()
        error = (frame_loss(found, target, torch.zeros_like(target)) * weight).sum(1)
        error = error / weight.sum(1)
        # The target leans on the network itself and is at times far off: such samples weigh less.
        loss = (error / (error.detach() + SOFTEN)).mean()
        return loss, {"error": float(error.detach().mean())}

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return how far few steps end from the teacher's many, from the same noise.

        `off@4` is the squared distance after four steps over that of the clips' own spread.
        """
        count = min(SHOWN, len(self.held.scenes))
        x0 = self.held.latent[:count].float().to(self.device)
        captions = self._told(count)
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            context, _ = self._context(captions, self.schedule.steps)
            negative, _ = self._context([""] * count, self.schedule.steps)
            wanted = noise
            for here, there in self._ways(TEACHER_STEPS):
                sigma = torch.full((count,), here, device=self.device)
                velocity = self._teacher_velocity(wanted, sigma, context, negative)
                wanted = wanted + (there - here) * velocity
            result = {}
            for steps in STEPS:
                x = noise
                for here, there in self._ways(steps):
                    sigma, to = (torch.full((count,), s, device=self.device) for s in (here, there))
                    x = x + (there - here) * self.dit(x, sigma, context, to=to).float()
                off = (x - wanted).square().mean() / wanted.var()
                result[f"off@{steps}"] = float(off)
                if steps == SHEET_STEPS:
                    self._show(folder / f"fewstep-{step:06d}.png", captions, wanted, x)
        return result

    def _ways(self, steps: int) -> list[tuple[float, float]]:
        sigmas = make_sigmas(steps, self.spec.shift).tolist()
        return list(pairwise(sigmas))

    def _show(self, path: Path, captions: list[str], wanted: Tensor, found: Tensor) -> None:
        """Write a sheet: the teacher's clips over those of few steps."""
        assert isinstance(self.vae, VideoVAE)
        both = rearrange(torch.stack((wanted, found), 1), "b k c t h w -> (b k) c t h w")
        made = torch.cat(
            [self.vae.decode(self.vae.denormalise(part)) for part in both.split(4)]
        )
        texts = [text for caption in captions for text in (caption, f"{SHEET_STEPS} steps")]
        save_png(contact_sheet(list(to_uint8(made).cpu().numpy()), texts), path)

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(self.world.version), "recipe": repr(self.recipe)}
        path = folder / "dit.safetensors"
        save_weights(path, self.dit, self.dit.config, metadata, torch.bfloat16)
