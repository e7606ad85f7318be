"""Training of the interpolator: the frames between those that the VAE gives back.

Rendered at twice the model's rate; every other frame goes through the VAE, the rest is what has
to be found. A little noise on the latents makes it forgive latents that a transformer made.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.media.sheet import contact_sheet, save_png
from kineograph.models.interpolator import CONTEXT, FrameInterpolator
from kineograph.models.vae import VideoVAE
from kineograph.presets import get_preset
from kineograph.train.clips import (
    VALIDATION_SEED,
    choose_ratio,
    psnr,
    render_seen,
    to_float,
    to_uint8,
    validation_scenes,
)
from kineograph.train.engine import step_generator
from kineograph.train.recipe import InterpolatorRecipe
from kineograph.train.upsampler import SQUARE_SHARE, given_back
from kineograph.train.worlds import Scene, base_scale, world_of
from kineograph.weights.files import build, save_weights
from kineograph.world.render import CPU

MOVES = 0.08  # of [-1, 1]: a pixel that changes more between two frames moves
SHOWN = 8  # frames of a sheet


class InterpolatorTask:
    """Train one model's interpolator."""

    def __init__(
        self, recipe: InterpolatorRecipe, vae: Path, device: torch.device = CPU
    ) -> None:
        self.recipe, self.schedule, self.device = recipe, recipe.schedule, device
        spec = get_preset(recipe.model)
        assert spec.interpolator is not None
        self.config, self.scale, self.world = spec.interpolator, base_scale(spec), world_of(spec)
        self.interpolator = FrameInterpolator(self.config)
        self.interpolator.init_weights(torch.Generator().manual_seed(recipe.schedule.seed))
        self.interpolator.to(device)
        self.module: nn.Module = self.interpolator
        built = build("vae", vae)
        assert isinstance(built, VideoVAE)
        self.vae = built.eval().to(device)
        self.held: tuple[Tensor, Tensor] | None = None

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim >= 4 and min(parameter.shape[:2]) >= 16

    @torch.no_grad()
    def _fours(
        self, scenes: list[Scene], first: float, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "n k c h w"], Float[Tensor, "n c h w"]]:
        """Return neighbours as the VAE gives them back, four a frame, and the frames between."""
        count, fps = self.recipe.num_frames, self.world.fps
        times = first + np.arange(2 * count - 1) / (2 * fps)
        fine, _ = render_seen(
            self.world, scenes, scale=self.scale, times=times, compiled=self.recipe.compiled,
            device=self.device,
        )  # fmt: skip
        video = to_float(fine)
        given = given_back(self.vae, video[:, :, ::2], generator).float()
        at = torch.arange(count - 1)[:, None] + torch.arange(CONTEXT) - 1
        fours = given[:, :, at.clamp(0, count - 1)]  # b c t k h w
        return fours.permute(0, 2, 3, 1, 4, 5).flatten(0, 1), _by_frame(video[:, :, 1::2])

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        rng = random.Random(f"interpolator {self.schedule.seed} {step}")
        ratio = choose_ratio(rng, SQUARE_SHARE, self.world)
        scenes = [
            self.world.draw(rng.randrange(VALIDATION_SEED), aspect_ratio=ratio)
            for _ in range(r.batch)
        ]
        first = rng.uniform(0, (self.world.num_frames - r.num_frames) / self.world.fps)
        fours, truth = self._fours(scenes, first, step_generator(self.schedule.seed, step))
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.interpolator(fours)
        error = out - truth
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        # Most of a picture stands still, and the mean of its neighbours is right there.
        moving = 1 + 4 * (fours[:, 2] - fours[:, 1]).abs().gt(MOVES).float()
        loss = (error.abs() * moving).mean() + 2 * error.square().mean() + 0.5 * edges
        return loss, {"psnr": float(psnr(out.detach(), truth).mean())}

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return figures beside those of the mean of both neighbours; write a sheet.

        `moving` is of the pixels alone that change from one neighbour to the other.
        """
        if self.held is None:
            scenes = validation_scenes(self.world, self.recipe.validation_clips)
            self.held = self._fours(scenes, 0.5, None)
        fours, truth = self.held
        with torch.autocast(self.device.type, torch.bfloat16):
            out = torch.cat([self.interpolator(part) for part in fours.split(8)])
        mean = (fours[:, 1] + fours[:, 2]) / 2
        moving = (fours[:, 2] - fours[:, 1]).abs() > MOVES
        pick = torch.linspace(0, len(out) - 1, SHOWN).long()
        shown = [mean[pick], out[pick], truth[pick]]
        rows = [to_uint8(some.transpose(0, 1)[None])[0].cpu().numpy() for some in shown]
        sheet = contact_sheet(rows, ["mean of neighbours", "ours", "truth"])
        save_png(sheet, folder / f"interpolator-{step:06d}.png")
        figures = {}
        for name, some in (("psnr", out), ("mean", mean)):
            figures[name] = float(psnr(some, truth).mean())
            figures[f"{name}_moving"] = float(psnr(some[moving][None], truth[moving][None]))
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(self.world.version), "recipe": repr(self.recipe)}
        path = folder / "interpolator.safetensors"
        save_weights(path, self.interpolator, self.config, metadata, torch.bfloat16)


def _by_frame(video: Float[Tensor, "b c t h w"]) -> Float[Tensor, "n c h w"]:
    return video.transpose(1, 2).flatten(0, 1)
