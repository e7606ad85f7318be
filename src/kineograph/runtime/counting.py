"""What the parts of a model compute and hold, counted on tensors without contents.

torch computes shapes alone there. What is counted is kept: plans of one model mostly ask for the
same again.

Letters: n tokens, d channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from kineograph.models.dit import Block
from kineograph.models.image import ImageBlock
from kineograph.models.interpolator import CONTEXT, FrameInterpolator
from kineograph.models.text import TextBlock
from kineograph.models.upsampler import VideoUpsampler
from kineograph.models.vae import VideoVAE
from kineograph.nn.rope import rope_table
from kineograph.request import ResolvedRequest
from kineograph.spec import (
    AnyConfig,
    DiTConfig,
    ImageConfig,
    InterpolatorConfig,
    ModelSpec,
    TextConfig,
    UpsamplerConfig,
    VaeConfig,
)
from kineograph.weights.files import skeleton
from kineograph.weights.wan import WIDE

CPU = torch.device("cpu")
PROMPT_TOKENS = 64  # of a usual prompt


@cache
def held_bytes(kind: str, config: AnyConfig, width: int, narrow: int) -> tuple[int, int]:
    """Return the bytes of a part's weights, and those that are there if blocks come one by one.

    A number has `width` bytes where it may be rounded, `narrow` in the matrices of blocks. Of
    blocks that come one by one two are there at once.
    """
    part = skeleton(kind, config)  # takes no memory
    whole = blocks = 0
    for name, tensor in part.state_dict().items():
        inner = tensor.ndim == 2 and name.startswith("blocks.")
        each = 4 if WIDE.search(name) else narrow if inner else width
        whole += each * tensor.numel()
        blocks += each * tensor.numel() if name.startswith("blocks.") else 0
    count = len(getattr(part, "blocks", ()))
    return whole, whole - max(0, count - 2) * blocks // max(1, count)


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - torch's own
    return int(sdpa_flop_count(q, k, v))


# torch counts its attention on a GPU alone.
ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def _count(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        run()
    return float(counter.get_total_flops())


@cache
def text(config: TextConfig) -> float:
    """Count the encoding of a prompt: one block, as often as there are any."""
    with FakeTensorMode():
        block = TextBlock(config)
        x = torch.zeros(1, PROMPT_TOKENS, config.dim)
        places = torch.zeros(PROMPT_TOKENS, PROMPT_TOKENS, dtype=torch.long)
        mask = torch.ones(1, PROMPT_TOKENS, dtype=torch.bool)
        return config.num_layers * _count(lambda: block(x, places, mask))


@cache
def image(config: ImageConfig) -> float:
    """Count the encoding of a picture, likewise."""
    with FakeTensorMode():
        block = ImageBlock(config)
        once = _count(lambda: block(torch.zeros(1, config.tokens, config.dim)))
    return config.num_layers * once


@cache
def denoise(config: DiTConfig, latent: tuple[int, int, int, int]) -> float:
    """Return the operations of one evaluation: of its blocks, mostly."""
    grid = tuple(n // p for n, p in zip(latent[1:], config.patch_size, strict=True))
    n, d = config.tokens(latent), config.dim
    with FakeTensorMode():
        x, context = torch.zeros(1, n, d), torch.zeros(1, config.text_len, d)
        image = torch.zeros(1, config.image_positions or 257, d) if config.image_dim else None
        rope = rope_table((grid[0], grid[1], grid[2]), config.head_dim, CPU)
        block = Block(config)
        once = _count(lambda: block(x, torch.zeros(1, 1, 6, d), context, rope, None, image))
    return config.num_layers * once


def block_bytes(config: DiTConfig, latent: tuple[int, int, int, int], width: int) -> float:
    """Return the bytes of a block's tensors, where numbers have `width` bytes."""
    n, d = config.tokens(latent), config.dim
    # The sum of updates in float32, what is normed, q, k, v and their float32 copies, the
    # hidden layer before and behind its activation.
    return float(n * (4 * d + 6 * width * d + 8 * d + 2 * width * config.ffn_dim))


def _vae(config: VaeConfig) -> VideoVAE:
    part = skeleton("vae", config, "cpu").requires_grad_(False)
    assert isinstance(part, VideoVAE)
    return part


def decode(config: VaeConfig, latent: tuple[int, int, int, int]) -> float:
    """Count the first two chunks of a clip; every later one costs what the second does."""
    channels, frames, height, width = latent
    counted = _chunks(config, (channels, min(frames, 2), height, width))
    return counted[0] + (frames - 1) * counted[-1] if frames > 1 else counted[0]


@cache
def _chunks(config: VaeConfig, latent: tuple[int, int, int, int]) -> tuple[float, ...]:
    """Return the operations of each chunk of a clip."""
    with FakeTensorMode():
        chunks = _vae(config).decode_stream(torch.zeros(1, *latent))
        return tuple(_count(lambda: next(chunks)) for _ in range(latent[1]))


def encode(config: VaeConfig, request: ResolvedRequest) -> float:
    """Count the first frames of a video; the others cost as much each."""
    some = min(request.num_frames, 1 + config.temporal_stride)
    counted = _encoded(config, (some, request.height, request.width))
    return counted * request.num_frames / some


@cache
def _encoded(config: VaeConfig, size: tuple[int, int, int]) -> float:
    """Return the operations of encoding a video of so many frames, rows and columns."""
    with FakeTensorMode():
        part = _vae(config)
        return _count(lambda: part.encode(torch.zeros(1, 3, *size)))


def vae_bytes(spec: ModelSpec, request: ResolvedRequest, encode: bool) -> float:
    """Return about what the widest layers hold of one chunk, float32.

    Five tensors of the chunk at full size, and for each convolution there two frames of its past;
    a level below, of half the size and with twice the channels, half as much again.
    """
    vae = spec.vae
    width = vae.encoder_dim if encode else vae.decoder_dim * vae.dim_mult[0]
    convolutions = 2 * (vae.num_res_blocks + (0 if encode else 1)) + 1
    frames = 5 * vae.temporal_stride + 2 * convolutions
    cells = request.height * request.width / vae.patch_size**2
    return 1.5 * 4 * frames * cells * width


def interpolate(config: InterpolatorConfig, request: ResolvedRequest) -> float:
    """Return the operations of the frames between those that the model makes."""
    return _one_between(config, request.height, request.width) * (request.num_frames - 1)


@cache
def _one_between(config: InterpolatorConfig, height: int, width: int) -> float:
    with FakeTensorMode():
        four = torch.zeros(1, CONTEXT, 3, height, width)
        return _count(partial(FrameInterpolator(config), four))


def enlarge(config: UpsamplerConfig, request: ResolvedRequest) -> float:
    """Return the operations of all passes over all frames that the model makes."""
    height, width, total = request.height, request.width, 0.0
    while height < request.out_height or width < request.out_width:
        total += _one_enlarged(config, height, width) * request.num_frames
        height, width = height * config.scale, width * config.scale
    return total


@cache
def _one_enlarged(config: UpsamplerConfig, height: int, width: int) -> float:
    with FakeTensorMode():
        frame = torch.zeros(1, 3, 1, height, width)
        return _count(partial(VideoUpsampler(config), frame))
