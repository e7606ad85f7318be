"""The open Wan 2.1 and 2.2 models, as data.

Their facts are those of the original repositories, Wan-Video/Wan2.1 and Wan-Video/Wan2.2
(Apache-2.0): `wan/configs/*.py`, `generate.py`, and the statistics in `wan/modules/vae*.py`.
"""

from __future__ import annotations

from dataclasses import replace

from kineograph.spec import (
    ASPECT_RATIOS,
    DiTConfig,
    FrameSize,
    ImageConfig,
    ModelSpec,
    TextConfig,
    VaeConfig,
)

# Wan's own default; the models know it, and it is a parameter of theirs rather than a text.
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
SHAKE, CUT = "镜头晃动，", "镜头切换，"  # what 2.1's models of pictures put before it

# fmt: off
VAE_21 = VaeConfig(
    latents_mean=(
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ),
    latents_std=(
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    ),
)
VAE_22 = VaeConfig(
    z_dim=48, patch_size=2, encoder_dim=160, decoder_dim=256, residual=True,
    latents_mean=(
        -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
        -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
        -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
        -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
        -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
        0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
    ),
    latents_std=(
        0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
        0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
        0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
        0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
        0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
        0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
    ),
)
# fmt: on


def _sizes(by_ratio: dict[str, tuple[int, int]]) -> dict[str, FrameSize]:
    """Return frame sizes, nothing cut, from widths and heights; the upright ones are added."""
    sizes: dict[str, FrameSize] = {}
    for ratio, (width, height) in by_ratio.items():
        sizes[ratio] = FrameSize(height, width, height, width)
        upright = ":".join(reversed(ratio.split(":")))
        if upright in ASPECT_RATIOS:
            sizes[upright] = FrameSize(width, height, width, height)
    return sizes


# 16:9 and 9:16 are the originals' own; the others have as many pixels, as their models of
# pictures make them.
P480 = _sizes({"16:9": (832, 480), "1:1": (624, 624), "4:3": (720, 544), "21:9": (960, 416)})
P720 = _sizes({"16:9": (1280, 720), "1:1": (960, 960), "4:3": (1104, 832), "21:9": (1472, 624)})
P704 = _sizes({"16:9": (1280, 704), "1:1": (928, 928), "4:3": (1088, 832), "21:9": (1440, 608)})

DIT_14B = DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40)

T2V_1_3B = ModelSpec(
    name="wan2.1-t2v-1.3b",
    summary="open weights, 1.4 billion parameters; clips of 5 s at 832x480",
    vae=VAE_21,
    dit=DiTConfig(),
    text=TextConfig(),
    sizes=P480,
    resolution="480p",
    fps=16,
    num_frames=81,
    min_frames=1,
    max_frames=81,
    steps=50,
    shift=5.0,
    guidance_scale=5.0,
    solver="unipc",
    sigma_max=0.999,
    whole_steps=True,
    negative_prompt=NEGATIVE,
    max_prompt_chars=5000,
    half=True,
    float_vae=True,
    ways=("video",),
    source="open weights",
    hub=("Wan-AI/Wan2.1-T2V-1.3B", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
)

T2V_14B = replace(
    T2V_1_3B,
    name="wan2.1-t2v-14b",
    summary="open weights, 14 billion parameters; clips of 5 s at 1280x720 or 832x480",
    dit=DIT_14B,
    sizes=P720,
    resolution="720p",
    other_sizes={"480p": P480},
    hub=("Wan-AI/Wan2.1-T2V-14B", "Wan-AI/Wan2.1-T2V-14B-Diffusers"),
)

I2V_14B_480P = replace(
    T2V_1_3B,
    name="wan2.1-i2v-14b-480p",
    summary="open weights, 16 billion parameters; a picture becomes a clip of 5 s at 832x480",
    dit=replace(DIT_14B, in_channels=36, image_dim=1280),
    image=ImageConfig(),
    min_frames=5,
    steps=40,
    shift=3.0,
    negative_prompt=SHAKE + NEGATIVE,
    ways=("image",),
    needs=("image",),
    hub=("Wan-AI/Wan2.1-I2V-14B-480P", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"),
)

I2V_14B_720P = replace(
    I2V_14B_480P,
    name="wan2.1-i2v-14b-720p",
    summary="open weights, 16 billion parameters; a picture becomes a clip of 5 s at 1280x720",
    sizes=P720,
    resolution="720p",
    shift=5.0,
    hub=("Wan-AI/Wan2.1-I2V-14B-720P", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers"),
)

FLF2V_14B = replace(
    I2V_14B_720P,
    name="wan2.1-flf2v-14b",
    summary="open weights, 16 billion parameters; 5 s at 1280x720 between two pictures",
    dit=replace(DIT_14B, in_channels=36, image_dim=1280, image_positions=514),
    steps=50,
    shift=16.0,
    negative_prompt=CUT + SHAKE + NEGATIVE,
    ways=("image", "last_image"),
    needs=("image", "last_image"),
    hub=("Wan-AI/Wan2.1-FLF2V-14B-720P", "Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers"),
)

T2V_A14B = replace(
    T2V_14B,
    name="wan2.2-t2v-a14b",
    summary="open weights, two experts of 14 billion parameters; 5 s at 1280x720 or 832x480",
    steps=40,
    shift=12.0,
    guidance_scale=4.0,
    low_guidance_scale=3.0,
    boundary=0.875,
    hub=("Wan-AI/Wan2.2-T2V-A14B", "Wan-AI/Wan2.2-T2V-A14B-Diffusers"),
)

I2V_A14B = replace(
    T2V_A14B,
    name="wan2.2-i2v-a14b",
    summary="open weights, two experts of 14 billion parameters; a picture becomes a clip of 5 s",
    dit=replace(DIT_14B, in_channels=36),
    min_frames=5,
    shift=5.0,
    guidance_scale=3.5,
    low_guidance_scale=3.5,
    boundary=0.9,
    ways=("image",),
    needs=("image",),
    hub=("Wan-AI/Wan2.2-I2V-A14B", "Wan-AI/Wan2.2-I2V-A14B-Diffusers"),
)

# Of the layers of its transformer every second, or fifth, is changed by the control video.
VACE_1_3B = replace(
    T2V_1_3B,
    name="wan2.1-vace-1.3b",
    summary="open weights, 2 billion parameters; text, a control video, pictures of reference",
    dit=replace(DiTConfig(), control_layers=tuple(range(0, 30, 2)), control_channels=96),
    shift=16.0,
    ways=("control", "control_mask", "references"),
    hub=("Wan-AI/Wan2.1-VACE-1.3B", "Wan-AI/Wan2.1-VACE-1.3B-diffusers"),
)

VACE_14B = replace(
    VACE_1_3B,
    name="wan2.1-vace-14b",
    summary="open weights, 17 billion parameters; text, a control video, pictures of reference",
    dit=replace(DIT_14B, control_layers=tuple(range(0, 40, 5)), control_channels=96),
    sizes=P720,
    resolution="720p",
    other_sizes={"480p": P480},
    hub=("Wan-AI/Wan2.1-VACE-14B", "Wan-AI/Wan2.1-VACE-14B-diffusers"),
)

TI2V_5B = replace(
    T2V_1_3B,
    name="wan2.2-ti2v-5b",
    summary="open weights, 5 billion parameters; text or a picture to 5 s at 1280x704 and 24 fps",
    vae=VAE_22,
    dit=DiTConfig(
        dim=3072, ffn_dim=14336, num_heads=24, num_layers=30, in_channels=48, out_channels=48
    ),
    sizes=P704,
    resolution="720p",
    fps=24,
    num_frames=121,
    max_frames=121,
    ways=("image", "video"),
    hub=("Wan-AI/Wan2.2-TI2V-5B", "Wan-AI/Wan2.2-TI2V-5B-Diffusers"),
)


def _distilled(row: ModelSpec, resolution: str, hub: str) -> ModelSpec:
    """Return a model that was taught to take four steps without guidance, by ModelTC/LightX2V."""
    return replace(
        row,
        name=f"{row.name}-distill",
        summary=f"{row.summary}; in four steps",
        sizes=row.resolutions[resolution],
        resolution=resolution,
        other_sizes={},
        steps=4,
        shift=5.0,
        guidance_scale=1.0,
        solver="euler",
        sigma_max=1.0,
        whole_steps=False,
        hub=(hub,),
    )


T2V_14B_DISTILL = _distilled(
    T2V_14B, "480p", "lightx2v/Wan2.1-T2V-14B-StepDistill-CfgDistill"
)
I2V_14B_480P_DISTILL = _distilled(
    I2V_14B_480P, "480p", "lightx2v/Wan2.1-I2V-14B-480P-StepDistill-CfgDistill-Lightx2v"
)

WAN = (
    T2V_1_3B, T2V_14B, I2V_14B_480P, I2V_14B_720P, FLF2V_14B, T2V_A14B, I2V_A14B, TI2V_5B,
    VACE_1_3B, VACE_14B,
    T2V_14B_DISTILL, I2V_14B_480P_DISTILL,
)  # fmt: skip
