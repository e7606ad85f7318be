"""The 24 styles of the world's second version: pictures made anew from a G-buffer.

Each is a function of one frame alone and of fixed patterns on the screen. Nothing is random and
nothing depends on time, so a model can learn all of it, and frames can be made in any order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from kineograph.world import style_drawn as drawn
from kineograph.world import style_filmed as filmed
from kineograph.world.gbuffer import GBuffer
from kineograph.world.style_filters import Picture, Planes

# How many pixels are drawn at once: what a core's cache holds, what fills a GPU.
CHUNK_PIXELS = {"cpu": 1 << 15, "cuda": 1 << 22}

_DRAW: dict[str, Callable[[Picture], Planes]] = {
    "photoreal": filmed.photoreal,
    "toon": drawn.toon,
    "pencil": drawn.pencil,
    "watercolor": drawn.watercolor,
    "oil": drawn.oil,
    "pixel art": filmed.pixel_art,
    "neon": filmed.neon,
    "noir": filmed.noir,
    "thermal": filmed.thermal,
    "blueprint": drawn.blueprint,
    "ink wash": drawn.ink_wash,
    "sepia": filmed.sepia,
    "comic": drawn.comic,
    "vhs": filmed.vhs,
    "clay": drawn.clay,
    "x-ray": filmed.x_ray,
    "hologram": filmed.hologram,
    "chalkboard": drawn.chalkboard,
    "stained glass": drawn.stained_glass,
    "mosaic": drawn.mosaic,
    "night vision": filmed.night_vision,
    "vaporwave": filmed.vaporwave,
    "paper cut": drawn.paper_cut,
    "ukiyo-e": drawn.ukiyo_e,
}
STYLES: tuple[str, ...] = tuple(_DRAW)
# Those in which nobody can tell which colour an object has.
COLOURLESS = frozenset((
    "pencil", "noir", "thermal", "blueprint", "ink wash", "sepia", "x-ray", "hologram",
    "chalkboard", "night vision", "vaporwave",
))  # fmt: skip


@torch.no_grad()
def stylise(buffer: GBuffer, style: str) -> Float[Tensor, "f h w 3"]:
    """Return frames in a style, in [0, 1]; each depends on its own frame alone, to the last bit.

    Raises:
        ValueError: there is no such style.
    """
    if style not in _DRAW:
        raise ValueError(f"unknown style {style!r}; allowed: {', '.join(STYLES)}")
    frames, height, width = buffer.owner.shape
    device = buffer.owner.device
    out = torch.empty((frames, height, width, 3), dtype=torch.float32, device=device)
    size = max(1, CHUNK_PIXELS[device.type] // (height * width))
    for first in range(0, frames, size):
        part = slice(first, first + size)
        out[part] = _DRAW[style](Picture(buffer, part)).permute(0, 2, 3, 1)
    return out
