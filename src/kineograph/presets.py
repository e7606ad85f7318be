"""The table of models, as data. A new model is a new row."""

from __future__ import annotations

from dataclasses import replace

from kineograph.errors import RequestError
from kineograph.presets_wan import WAN
from kineograph.spec import (
    DiTConfig,
    FrameSize,
    InterpolatorConfig,
    ModelSpec,
    TextConfig,
    UpsamplerConfig,
    VaeConfig,
)

DEFAULT_MODEL = "nano"

# 64x64 pixels of area at every ratio. 80x48 is delivered as 320x180: cropped to exact 16:9.
NANO_SIZES = {
    "16:9": FrameSize(48, 80, 180, 320),
    "9:16": FrameSize(80, 48, 320, 180),
    "1:1": FrameSize(64, 64, 256, 256),
    "4:3": FrameSize(48, 64, 192, 256),
    "3:4": FrameSize(64, 48, 256, 192),
    "21:9": FrameSize(48, 112, 192, 448),
}

NANO = ModelSpec(
    name="nano",
    summary="trained on two CPU cores on the procedural world; clips of 2.5 s at 256x256 area",
    vae=VaeConfig(
        z_dim=16,
        patch_size=2,
        encoder_dim=24,
        decoder_dim=32,
        dim_mult=(1, 2, 4),
        num_res_blocks=1,
        temporal_downsample=(True, True),
    ),
    dit=DiTConfig(
        dim=256,
        ffn_dim=1024,
        num_heads=4,
        num_layers=6,
        in_channels=16,
        out_channels=16,
        patch_size=(1, 1, 1),  # a cell is 8 x 8 pixels, and an object two or three cells wide
        text_dim=128,
        text_len=64,
        freq_dim=128,
    ),
    text=TextConfig(vocab_size=1024, dim=128, head_dim=32, num_heads=4, ffn_dim=384, num_layers=3),
    sizes=NANO_SIZES,
    fps=10,
    num_frames=25,
    min_frames=1,
    max_frames=25,
    steps=24,
    shift=1.5,
    guidance_scale=4.0,
    solver="euler",
    upsampler=UpsamplerConfig(scale=4, dim=48, num_blocks=6),
    world_version=1,
)

# 128x128 pixels of area at every ratio, delivered at 2, 4 or 8 times the sides, cut to the ratio:
# height and width of the base, then of the three.
_SMALL = {
    "16:9": ((96, 176), (180, 320), (378, 672), (756, 1344)),
    "9:16": ((176, 96), (320, 180), (672, 378), (1344, 756)),
    "1:1": ((128, 128), (256, 256), (512, 512), (1024, 1024)),
    "4:3": ((112, 144), (216, 288), (432, 576), (864, 1152)),
    "3:4": ((144, 112), (288, 216), (576, 432), (1152, 864)),
    "21:9": ((80, 192), (156, 364), (318, 742), (636, 1484)),
}
SMALL_SIZES = {
    name: {ratio: FrameSize(*sides[0], *sides[i]) for ratio, sides in _SMALL.items()}
    for i, name in enumerate(("256", "512", "1024"), 1)
}

# What a control counts as 1: a camera's normal rates (m/s, deg/s, 1/s), and a normal speed.
SMALL_CONTROLS = {
    "horizontal": 0.5, "vertical": 0.36, "depth": 0.58, "pan": 7.0, "tilt": 4.4, "roll": 6.5,
    "zoom": 0.11, "orbit": 11.0, "speed": 1.0,
}  # fmt: skip

SMALL = replace(
    NANO,
    name="small",
    summary="to be trained on one GPU on the whole procedural world; 4 s at 512x512 area",
    dit=replace(
        NANO.dit, dim=384, ffn_dim=1536, num_heads=6, num_layers=8, patch_size=(1, 2, 2),
        text_dim=192, text_len=128, freq_dim=256, num_controls=len(SMALL_CONTROLS),
    ),
    text=TextConfig(vocab_size=2048, dim=192, head_dim=32, num_heads=6, ffn_dim=576, num_layers=4),
    sizes=SMALL_SIZES["512"],
    resolution="512",
    other_sizes={name: SMALL_SIZES[name] for name in ("256", "1024")},
    upsampler=UpsamplerConfig(scale=2, dim=32, num_blocks=4),
    controls=SMALL_CONTROLS,
    interpolator=InterpolatorConfig(),
    fps=12,
    num_frames=49,
    max_frames=49,
    shift=2.5,
    max_prompt_chars=800,
    half=True,
    world_version=2,
    source="not trained yet; its recipe is runs/small-gpu.sh",
)

# The real stack at the smallest size, with random weights: for tests.
TINY = replace(
    NANO,
    name="tiny",
    summary="the whole stack with random weights, for tests",
    vae=replace(NANO.vae, z_dim=8, encoder_dim=8, decoder_dim=8),
    dit=replace(
        NANO.dit, dim=24, ffn_dim=48, num_heads=2, num_layers=2, in_channels=8, out_channels=8,
        patch_size=(1, 2, 2), text_dim=16,
    ),
    text=TextConfig(vocab_size=1024, dim=16, head_dim=8, num_heads=2, ffn_dim=32, num_layers=1),
    steps=4,
    upsampler=UpsamplerConfig(scale=4, dim=8, num_blocks=1),
    source="none: random weights",
    world_version=None,
)

PRESETS: dict[str, ModelSpec] = {spec.name: spec for spec in (NANO, SMALL, TINY, *WAN)}


def get_preset(name: str) -> ModelSpec:
    """Return the row named `name`; a `RequestError` lists the names there are."""
    if name not in PRESETS:
        raise RequestError(f"unknown model {name!r}; available: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
