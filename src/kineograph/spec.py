"""What a model is, as data: configs of its parts and the arithmetic of its shapes.

Nothing here imports torch, so that the command line and the service can plan
and refuse before any weight is read.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from kineograph.ways import WAYS

if TYPE_CHECKING:
    from kineograph.request import ResolvedRequest

ASPECT_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")

ConfigT = TypeVar(
    "ConfigT", "VaeConfig", "DiTConfig", "TextConfig", "ImageConfig", "UpsamplerConfig",
    "InterpolatorConfig",
)  # fmt: skip


@dataclass(frozen=True)
class VaeConfig:
    """A causal 3D video VAE of the Wan family (arXiv 2503.20314).

    Wan 2.1 is `VaeConfig()`; Wan 2.2 adds `patch_size=2`, `residual=True`.
    """

    in_channels: int = 3
    z_dim: int = 16
    patch_size: int = 1  # pixels folded into channels before the first convolution
    encoder_dim: int = 96
    decoder_dim: int = 96
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)  # one per level but the last
    residual: bool = False  # Wan 2.2: averaged and duplicated shortcuts around each level
    latents_mean: tuple[float, ...] = ()  # per channel; empty means 0
    latents_std: tuple[float, ...] = ()  # per channel; empty means 1

    @property
    def temporal_stride(self) -> int:
        return 2 ** sum(self.temporal_downsample)

    @property
    def spatial_stride(self) -> int:
        return self.patch_size * 2 ** len(self.temporal_downsample)


@dataclass(frozen=True)
class DiTConfig:
    """A video diffusion transformer of the Wan family (arXiv 2503.20314)."""

    dim: int = 1536
    ffn_dim: int = 8960
    num_heads: int = 12
    num_layers: int = 30
    in_channels: int = 16
    out_channels: int = 16
    patch_size: tuple[int, int, int] = (1, 2, 2)
    text_dim: int = 4096
    text_len: int = 512  # context is always padded with zeros to this length, as Wan does
    freq_dim: int = 256
    eps: float = 1e-6
    num_controls: int = 0  # numbers that enter as context tokens of their own; Wan has none
    flow_map: bool = False  # told where a step ends, it predicts the mean velocity until there
    image_dim: int = 0  # width of the tokens of pictures that it attends to; 0: it has no place
    image_positions: int = 0  # that are learnt for those tokens; Wan 2.1's with a last frame
    control_layers: tuple[int, ...] = ()  # whose output is changed by a control video (VACE)
    control_channels: int = 0  # of a control video, in its latent

    def tokens(self, latent: tuple[int, int, int, int]) -> int:
        """Return how many tokens a latent (c, t, h, w) is."""
        return math.prod(n // p for n, p in zip(latent[1:], self.patch_size, strict=True))

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


@dataclass(frozen=True)
class TextConfig:
    """A text encoder of the UMT5 architecture (arXiv 2304.09151)."""

    vocab_size: int = 256384
    dim: int = 4096
    head_dim: int = 64
    num_heads: int = 64
    ffn_dim: int = 10240
    num_layers: int = 24
    num_buckets: int = 32  # of relative distance
    max_distance: int = 128
    eps: float = 1e-6


@dataclass(frozen=True)
class ImageConfig:
    """The image tower of CLIP (arXiv 2103.00020) as Wan 2.1 reads it: all tokens, no head.

    The defaults are ViT-H/14 without its last block, whose output Wan does not use.
    """

    image_size: int = 224  # pixels of a side
    patch_size: int = 14
    dim: int = 1280
    ffn_dim: int = 5120
    num_heads: int = 16
    num_layers: int = 31
    eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """How many tokens a picture becomes: one a patch and one of the whole."""
        return (self.image_size // self.patch_size) ** 2 + 1


@dataclass(frozen=True)
class UpsamplerConfig:
    """A causal learned spatial upsampler."""

    scale: int = 4
    dim: int = 48
    num_blocks: int = 6


@dataclass(frozen=True)
class InterpolatorConfig:
    """A learned interpolator that doubles the frame rate."""

    dim: int = 32


AnyConfig = (
    VaeConfig | DiTConfig | TextConfig | ImageConfig | UpsamplerConfig | InterpolatorConfig
)


def config_to_dict(config: AnyConfig) -> dict[str, Any]:
    """Return a JSON-ready dict of a config."""
    return asdict(config)


def config_from_dict(kind: type[ConfigT], data: dict[str, Any]) -> ConfigT:
    """Rebuild a config from JSON; lists become tuples, unknown keys are an error."""
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {unknown[0]!r}; fields: {sorted(known)}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return kind(**values)


@dataclass(frozen=True)
class FrameSize:
    """The base size the model works at and the size that it delivers, in pixels."""

    height: int  # base, a multiple of the latent grid
    width: int
    out_height: int  # delivered: enlarged by the upsampler, then centre-cropped to the exact ratio
    out_width: int

    @property
    def enlarged(self) -> int:
        """How many times as high and wide as the base what is delivered is cut out of."""
        most = max(self.out_height * self.width, self.out_width * self.height)
        return -(-most // (self.height * self.width))


@dataclass(frozen=True)
class ModelSpec:
    """A row of the model table: parts, sizes, defaults."""

    name: str
    summary: str
    vae: VaeConfig
    dit: DiTConfig
    text: TextConfig
    sizes: dict[str, FrameSize]
    fps: int
    num_frames: int  # default; allowed are min_frames..max_frames in steps of temporal_stride
    min_frames: int
    max_frames: int
    steps: int
    shift: float
    guidance_scale: float
    solver: str
    negative_prompt: str = ""
    upsampler: UpsamplerConfig | None = None
    interpolator: InterpolatorConfig | None = None  # delivers twice as many frames a second
    controls: dict[str, float] = field(default_factory=dict)  # name to unit, in their order
    resolution: str = ""  # what `sizes` is called where there are others
    other_sizes: dict[str, dict[str, FrameSize]] = field(default_factory=dict)  # by resolution
    image: ImageConfig | None = None  # the tower that pictures are seen with, besides the VAE
    boundary: float = 0.0  # sigma below which another expert takes over; 0: there is but one
    low_guidance_scale: float = 0.0  # of that expert
    sigma_max: float = 1.0  # from which noise levels are spaced before they are shifted
    whole_steps: bool = False  # the network is told thousandths of sigma, rounded down
    float_vae: bool = False  # its VAE is computed in float32 whatever the rest is
    ways: tuple[str, ...] = WAYS  # in which pictures and videos may enter
    needs: tuple[str, ...] = ()  # of them, those without which nothing can be made
    hub: tuple[str, ...] = ()  # ids under which its weights are published, each a layout
    guidance: Literal["cfg", "cfg-zero-star"] = "cfg"
    max_prompt_chars: int = 400
    half: bool = False  # computed in bfloat16 where the processor multiplies it faster
    licence: str = "Apache-2.0"
    source: str = "in the package"
    world_version: int | None = None
    languages: tuple[str, ...] = field(default=("en", "zh"))

    @property
    def out_fps(self) -> int:
        """The frames a second that are delivered unless fewer are asked for."""
        return self.fps if self.interpolator is None else 2 * self.fps

    @property
    def resolutions(self) -> dict[str, dict[str, FrameSize]]:
        """The frame sizes by resolution, the default's first."""
        return {self.resolution: self.sizes, **self.other_sizes}

    @property
    def concatenates(self) -> bool:
        """Whether pictures enter as channels beside the noisy latent, as in Wan's first models."""
        return self.dit.in_channels > self.dit.out_channels

    def latent_shape(self, size: FrameSize, num_frames: int) -> tuple[int, int, int, int]:
        """Return `(c, t, h, w)` of the latent of a clip."""
        stride = self.vae.spatial_stride
        t = (num_frames - 1) // self.vae.temporal_stride + 1
        return self.vae.z_dim, t, size.height // stride, size.width // stride

    def allowed_frames(self) -> list[int]:
        """Return every clip length that this model makes."""
        return list(range(self.min_frames, self.max_frames + 1, self.vae.temporal_stride))


def size_of(request: ResolvedRequest) -> FrameSize:
    """Return the sizes that a clip is made and delivered at."""
    return FrameSize(request.height, request.width, request.out_height, request.out_width)
