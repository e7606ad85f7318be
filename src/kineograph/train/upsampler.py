"""Training of the upsampler on pairs: what the VAE gives back, and the same scene rendered large.

It learns to enlarge and to repair the VAE's softness in one. A little noise on the latents makes
it forgive latents that a transformer made. With several passes it also learns from its own output,
so that it can be applied again.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.media.sheet import contact_sheet, save_png
from kineograph.models.upsampler import VideoUpsampler
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
from kineograph.train.recipe import UpsamplerRecipe
from kineograph.train.worlds import Scene, base_scale, world_of
from kineograph.weights.files import build, save_weights
from kineograph.world.render import CPU

LATENT_NOISE = 0.1  # deviations of a channel
SQUARE_SHARE = 0.5


def enlarge(video: Float[Tensor, "b c t h w"], scale: int) -> Float[Tensor, "b c t h2 w2"]:
    """Return the bicubic enlargement that the upsampler has to beat."""
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    big = F.interpolate(frames, scale_factor=scale, mode="bicubic", align_corners=False)
    return rearrange(big, "(b t) c h w -> b c t h w", b=video.shape[0])


def _average(video: Float[Tensor, "b c t h w"], factor: int) -> Float[Tensor, "b c t h2 w2"]:
    if factor == 1:
        return video
    return F.avg_pool3d(video, (1, factor, factor))


def _window(
    small: Float[Tensor, "b c t h w"], large: Float[Tensor, "b c t h2 w2"], rng: random.Random,
    scale: int,
) -> tuple[Float[Tensor, "b c t h3 w3"], Float[Tensor, "b c t h4 w4"]]:  # fmt: skip
    """Cut a part of half the height and width, the same of both, out at random."""
    h, w = (n // 2 for n in small.shape[-2:])
    top, left = rng.randrange(h + 1), rng.randrange(w + 1)
    s = scale
    return (
        small[..., top : top + h, left : left + w],
        large[..., s * top : s * (top + h), s * left : s * (left + w)],
    )


def given_back(
    vae: VideoVAE, video: Float[Tensor, "b c t h w"], generator: torch.Generator | None
) -> Float[Tensor, "b c t h w"]:
    """Return what a VAE makes of a video, with a generator by way of latents that are noisy."""
    with torch.autocast(video.device.type, torch.bfloat16):
        mean, _ = vae.encode(video)
        if generator is not None:
            spread = mean.std((0, 2, 3, 4), keepdim=True) * LATENT_NOISE
            mean = mean + spread * torch.randn(mean.shape, generator=generator).to(video.device)
        return vae.decode(mean)


class UpsamplerTask:
    """Train one model's upsampler."""

    def __init__(self, recipe: UpsamplerRecipe, vae: Path, device: torch.device = CPU) -> None:
        self.recipe, self.schedule, self.device = recipe, recipe.schedule, device
        spec = get_preset(recipe.model)
        config, self.scale, self.world = spec.upsampler, base_scale(spec), world_of(spec)
        assert config is not None
        self.config = config
        self.upsampler = VideoUpsampler(config)
        self.upsampler.init_weights(torch.Generator().manual_seed(recipe.schedule.seed))
        self.upsampler.to(device)
        self.module: nn.Module = self.upsampler
        built = build("vae", vae)
        assert isinstance(built, VideoVAE)
        self.vae = built.eval().to(device)
        self.held: tuple[Tensor, list[Tensor]] | None = None

    def _half(self) -> torch.autocast:
        # oneDNN of torch 2.13 corrupts memory where convolutions of 32 channels go backward in
        # bfloat16 on a processor: there the gradient was not a number, or the process died.
        return torch.autocast(self.device.type, torch.bfloat16, self.device.type != "cpu")

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim >= 4 and "blocks." in name

    @torch.no_grad()
    def _sizes(
        self, scenes: list[Scene], times: np.ndarray, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "b c t h w"], list[Float[Tensor, "b c t _h _w"]]]:
        """Return what the VAE gives back of a render, and what each pass has to make of it.

        The largest is rendered; the others are its averages.
        """
        compiled, device = self.recipe.compiled, self.device
        passes, s = self.recipe.passes, self.config.scale

        def rendered(scale: int) -> Tensor:
            video, _ = render_seen(
                self.world, scenes, scale=scale, times=times, compiled=compiled, device=device
            )
            return to_float(video)

        small, large = rendered(self.scale), rendered(self.scale * s**passes)
        wanted = [_average(large, s**left) for left in reversed(range(passes))]
        return given_back(self.vae, small, generator), wanted

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        rng = random.Random(f"upsampler {self.schedule.seed} {step}")
        ratio, count = choose_ratio(rng, SQUARE_SHARE, self.world), rng.choice((1, 1, 2))
        scenes = [
            self.world.draw(rng.randrange(VALIDATION_SEED), aspect_ratio=ratio, count=count)
            for _ in range(r.batch)
        ]
        first = rng.uniform(0, (self.world.num_frames - r.num_frames) / self.world.fps)
        times = first + np.arange(r.num_frames) / self.world.fps
        x, wanted = self._sizes(scenes, times, step_generator(self.schedule.seed, step))
        losses, figures = [], {}
        for i, large in enumerate(wanted):
            if i:  # a part of it: a pass costs four times as much as the one before
                x, large = _window(x, large, rng, self.config.scale)
            with self._half():
                out = self.upsampler(x).float()
            error = out - large
            edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
            losses.append(error.abs().mean() + 2 * error.square().mean() + 0.5 * edges)
            x = out.detach()
            figures["psnr" if i == 0 else f"psnr{i + 1}"] = float(psnr(x, large).mean())
        return torch.stack(losses).mean(), figures

    def validate(self, folder: Path, step: int) -> dict[str, float]:
        """Return figures of each pass beside those of bicubic enlargement; write a sheet."""
        if self.held is None:
            scenes = validation_scenes(self.world, self.recipe.validation_clips)
            times = np.arange(0, self.world.num_frames, 2)[:9] / self.world.fps
            self.held = self._sizes(scenes, times, None)
        small, wanted = self.held
        figures: dict[str, float] = {}
        x = small
        for i, large in enumerate(wanted):
            with self._half():
                x = torch.cat([self.upsampler(part) for part in x.split(2)]).float()
            bicubic = enlarge(small, self.config.scale ** (i + 1))
            mine, plain = psnr(x, large).mean(), psnr(bicubic, large).mean()
            pass_ = "" if i == 0 else str(i + 1)
            figures |= {f"psnr{pass_}": float(mine), f"bicubic{pass_}": float(plain)}
            figures[f"gain{pass_}"] = float(mine - plain)
        rows = torch.stack([bicubic[:4], x[:4], wanted[-1][:4]], 1).flatten(0, 1)
        sheet = contact_sheet(list(to_uint8(rows).cpu().numpy()))
        save_png(sheet, folder / f"upsampler-{step:06d}.png")
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state

    def finish(self, folder: Path) -> None:
        metadata = {"world_version": str(self.world.version), "recipe": repr(self.recipe)}
        path = folder / "upsampler.safetensors"
        save_weights(path, self.upsampler, self.config, metadata, torch.bfloat16)
