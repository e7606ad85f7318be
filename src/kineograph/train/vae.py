"""Training of the VAE: reconstruct clips that nobody has rendered before."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.errors import RequestError
from kineograph.media.sheet import contact_sheet, save_png
from kineograph.models.vae import VideoVAE
from kineograph.presets import get_preset
from kineograph.train.clips import (
    draw_batch,
    object_crops,
    psnr,
    render_seen,
    to_float,
    to_uint8,
    validation_scenes,
)
from kineograph.train.engine import check_beginning, step_generator
from kineograph.train.pool import Pool
from kineograph.train.recipe import VaeRecipe
from kineograph.train.worlds import base_scale, world_of
from kineograph.weights.files import build, save_weights
from kineograph.weights.header import sha256
from kineograph.world.render import CPU


def reconstruction_loss(
    out: Float[Tensor, "b c t h w"], truth: Float[Tensor, "b c t h w"], recipe: VaeRecipe
) -> Tensor:
    """Return L1 and squared error, with terms for edges in space and for change in time.

    Change is weighted five times where the truth moves: a still background must not drown it.
    """
    error = out - truth
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    moving = 1 + 4 * (truth.diff(dim=2).abs() > 0.08)
    change = (error.diff(dim=2).abs() * moving).mean()
    return (
        error.abs().mean()
        + recipe.mse_weight * error.square().mean()
        + recipe.gradient_weight * edges
        + recipe.temporal_weight * change
    )


class VaeTask:
    """Train one model's VAE."""

    def __init__(
        self, recipe: VaeRecipe, device: torch.device = CPU, begin_with: Path | None = None,
        clips: Path | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.schedule, self.device = recipe, recipe.schedule, device
        self.spec = get_preset(recipe.model)
        self.world, self.scale = world_of(self.spec), base_scale(self.spec)
        self.pool = None if clips is None else Pool(clips)
        self.vae = VideoVAE(self.spec.vae)
        self.module: nn.Module = self.vae
        self.vae.init_weights(torch.Generator().manual_seed(recipe.schedule.seed))
        self.begun_with = ""  # the hash of the weights that the run began with
        if begin_with is not None:
            first = build("vae", begin_with)
            assert isinstance(first, VideoVAE)
            if replace(first.config, latents_mean=(), latents_std=()) != self.spec.vae:
                raise RequestError(
                    f"{begin_with} is a VAE of another structure than that of {self.spec.name}"
                )
            self.vae.load_state_dict(first.state_dict())
            self.begun_with = sha256(begin_with)
        self.vae.to(device)
        self.truth: Tensor | None = None
        self.objects = torch.empty(0)

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        inner = "conv_in" not in name and "conv_out" not in name
        return parameter.ndim >= 4 and inner and min(parameter.shape[:2]) >= 16

    def _video(self, step: int) -> Float[Tensor, "b 3 t h w"]:
        r, seed = self.recipe, self.schedule.seed
        batch, frames = r.batch, r.num_frames
        if step >= (1 - r.whole_share) * self.schedule.steps:
            batch, frames = max(1, batch // 2), self.world.num_frames
        rng = random.Random(f"vae {seed} {step}")
        around_objects = rng.random() < r.object_share
        crops = 4 * batch  # of half the side: as many pixels
        clips = crops // 2 if around_objects else batch
        if self.pool is not None:
            video, owners = self.pool.batch(rng, clips, frames)
            video = video.to(self.device)
        else:
            scenes, times = draw_batch(self.world, seed, step, clips, frames, r.square_share)
            video, owners = render_seen(
                self.world, scenes, scale=self.scale, compiled=r.compiled, times=times,
                device=self.device,
            )  # fmt: skip
        if around_objects:
            side = self.world.sizes["1:1"][0] * self.scale // 2
            video = object_crops(video, owners, crops, side, rng)
        return to_float(video)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r, video = self.recipe, self._video(step)
        generator = step_generator(self.schedule.seed, step)
        with torch.autocast(self.device.type, torch.bfloat16):
            mean, logvar = self.vae.encode(video)
            noise = torch.randn(mean.shape, generator=generator).to(self.device)
            out = self.vae.decode(mean + noise * (0.5 * logvar).exp())
        reconstruction = reconstruction_loss(out, video, r)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        quality = float(psnr(out.detach(), video).mean())
        return reconstruction + r.kl_weight * kl, {"psnr": quality, "kl": float(kl.detach())}

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return figures on fixed clips; write a sheet, truth over reconstruction.

        `psnr_objects` is of the pixels that show objects, and of their edges.
        """
        if self.truth is None:
            scenes = validation_scenes(self.world, self.recipe.validation_clips)
            self.truth, ids = render_seen(
                self.world, scenes, scale=self.scale, compiled=self.recipe.compiled,
                device=self.device,
            )  # fmt: skip
            reach = max(1, self.truth.shape[2] // 32)  # pixels around an object that are its edge
            seen = F.max_pool2d((ids > 0).float(), 2 * reach + 1, 1, reach)
            self.objects = seen[:, None].expand(-1, 3, -1, -1, -1) > 0
        parts = []
        for part in self.truth.split(8):
            with torch.autocast(self.device.type, torch.bfloat16):
                parts.append(self.vae.decode(self.vae.encode(to_float(part))[0]))
        out = torch.cat(parts)
        rows = torch.stack([self.truth[:8], to_uint8(out[:8])], 1).flatten(0, 1)
        save_png(contact_sheet(list(rows.cpu().numpy())), folder / f"vae-{step:06d}.png")
        truth = to_float(self.truth)
        scores = psnr(out, truth)
        near = [a[self.objects][None] for a in (out, truth)]
        return {
            "psnr": float(scores.mean()),
            "psnr_worst": float(scores.min()),
            "psnr_objects": float(psnr(near[0], near[1])),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"begun_with": self.begun_with}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_beginning(self.begun_with, state["begun_with"], self.recipe.begin_with)

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(self.world.version), "recipe": repr(self.recipe)}
        save_weights(folder / "vae.safetensors", self.vae, self.spec.vae, metadata)
