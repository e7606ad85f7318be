"""The video diffusion transformer of the Wan family (arXiv 2503.20314).

Letters: b batch, c latent channels, t h w the latent grid, n tokens (the grid after
patching, row-major), g groups of tokens that share a noise level (1, the frames, or n),
d model channels, l context tokens, k context channels, i tokens of pictures.

Parameter names are those of the original Wan files; `weights/keymaps.py` has the table
to diffusers. Where a config has controls, the last rows of a context are numbers
(`control_rows`) with an embedding of their own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.nn.activation import TanhGELU
from kineograph.nn.attention import Attention
from kineograph.nn.embed import sigma_embedding
from kineograph.nn.norm import RMSNorm, layer_norm, work_dtype
from kineograph.nn.rope import RopeCache
from kineograph.spec import DiTConfig

HIDDEN = -1e4  # the score of a control that is not given


def norm_modulate(
    x: Float[Tensor, "b n d"],
    shift: Float[Tensor, "b g d"],
    scale: Float[Tensor, "b g d"],
    eps: float,
) -> Float[Tensor, "b n d"]:
    """Return norm(x) * (1 + scale) + shift, each group of tokens with its own pair."""
    groups = layer_norm(x, eps).unflatten(1, (shift.shape[1], -1))
    y = torch.addcmul(shift[:, :, None], groups, 1 + scale[:, :, None])
    return y.flatten(1, 2).to(work_dtype(x))


def gated_add(
    x: Float[Tensor, "b n d"], update: Float[Tensor, "b n d"], gate: Float[Tensor, "b g d"]
) -> Float[Tensor, "b n d"]:
    """Return x + update * gate, each group of tokens with its own gate."""
    groups = update.to(gate.dtype).unflatten(1, (gate.shape[1], -1))
    return (x + (groups * gate[:, :, None]).flatten(1, 2)).to(x.dtype)


def control_rows(
    values: Float[Tensor, "b k"], dim: int
) -> Float[Tensor, "b k d"]:
    """Return numbers, in units of their controls, as rows of a context: which it is, how much.

    NaN stands for a number that is not given: its row is all zeros, and no token will see it.
    """
    k = values.shape[1]
    assert 3 * k <= dim, "a context row has no room for so many controls"
    value = values.nan_to_num()
    features = torch.stack([(~values.isnan()).to(value.dtype), value, value.abs()], 1)
    rows = features[:, :, :, None] * torch.eye(k, dtype=values.dtype, device=values.device)
    return F.pad(rearrange(rows, "b s k j -> b k (s j)"), (0, dim - 3 * k))


class Block(nn.Module):
    """Self-attention, cross-attention and a two-layer network, modulated by the noise level."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.self_attn = Attention(config.dim, config.num_heads, config.eps)
        image = config.image_dim > 0
        self.cross_attn = Attention(config.dim, config.num_heads, config.eps, image)
        self.norm3 = nn.LayerNorm(config.dim, config.eps)  # before cross-attention
        self.ffn = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim),
            TanhGELU(),
            nn.Linear(config.ffn_dim, config.dim),
        )
        self.modulation = nn.Parameter(torch.zeros(1, 6, config.dim))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        modulation: Float[Tensor, "b g 6 d"],
        context: Float[Tensor, "b l d"],
        rope: Float[Tensor, "n e 2"],
        context_bias: Float[Tensor, "b l"] | None,
        image: Float[Tensor, "b i d"] | None,
    ) -> Float[Tensor, "b n d"]:
        modulation = modulation + self.modulation
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(2)
        y = norm_modulate(x, shift1, scale1, self.eps)
        x = gated_add(x, self.self_attn(y, rope=rope), gate1)
        y = self.norm3(x).to(work_dtype(x))
        x = x + self.cross_attn(y, context, bias=context_bias, image=image).to(x.dtype)
        y = norm_modulate(x, shift2, scale2, self.eps)
        return gated_add(x, self.ffn(y), gate2)


class ControlBlock(Block):
    """A block that a control video passes beside the main ones (VACE, arXiv 2503.07598)."""

    def __init__(self, config: DiTConfig, first: bool) -> None:
        super().__init__(config)
        self.before_proj = nn.Linear(config.dim, config.dim) if first else None
        self.after_proj = nn.Linear(config.dim, config.dim)

    def enter(
        self, control: Float[Tensor, "b n d"], x: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n d"]:
        """Return what the first block works on: the control beside the noisy latent."""
        return control if self.before_proj is None else self.before_proj(control) + x

    def hint(self, control: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return what is added to the output of a main block."""
        out: Tensor = self.after_proj(control)
        return out


class ImageEmbedding(nn.Module):
    """Brings the tokens of pictures to the width of the transformer."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.image_dim
        self.proj = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, config.dim), nn.LayerNorm(config.dim),
        )  # fmt: skip
        if config.image_positions:
            self.emb_pos = nn.Parameter(torch.zeros(1, config.image_positions, width))

    def forward(self, tokens: Float[Tensor, "b i k"]) -> Float[Tensor, "b i d"]:
        """Return the tokens; those of two pictures stand one behind the other."""
        if hasattr(self, "emb_pos"):
            tokens = tokens + self.emb_pos
        out: Tensor = self.proj(tokens)
        return out


class Head(nn.Module):
    """The last norm, modulation and projection to latent patches."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.head = nn.Linear(config.dim, config.out_channels * math.prod(config.patch_size))
        self.modulation = nn.Parameter(torch.zeros(1, 2, config.dim))

    def forward(
        self, x: Float[Tensor, "b n d"], embedding: Float[Tensor, "b g d"]
    ) -> Float[Tensor, "b n p"]:
        shift, scale = (embedding[:, :, None] + self.modulation).unbind(2)
        return self.head(norm_modulate(x, shift, scale, self.eps))


def _tokens(patches: nn.Module, latent: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
    """Return the patches of a latent in a row, in the latent's dtype."""
    return rearrange(patches(latent).to(latent.dtype), "b d t h w -> b (t h w) d")


class VideoDiT(nn.Module):
    """Predicts the velocity (noise - x0) of a noisy latent from its noise level and a context."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.patch_embedding = nn.Conv3d(
            config.in_channels, dim, config.patch_size, config.patch_size
        )
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), TanhGELU(), nn.Linear(dim, dim)
        )
        if config.num_controls:
            self.control_embedding = nn.Sequential(
                nn.Linear(3 * config.num_controls, dim), nn.SiLU(), nn.Linear(dim, dim)
            )
        if config.image_dim:
            self.img_emb = ImageEmbedding(config)
        self.time_embedding = nn.Sequential(
            nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim)
        )
        if config.flow_map:
            self.way_embedding = nn.Sequential(
                nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim)
            )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        if config.control_layers:
            self.vace_patch_embedding = nn.Conv3d(
                config.control_channels, dim, config.patch_size, config.patch_size
            )
            self.vace_blocks = nn.ModuleList(
                ControlBlock(config, first=i == 0) for i in range(len(config.control_layers))
            )
        self.head = Head(config)
        self.rope = RopeCache(config.head_dim)
        self.init_weights()

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b *g"],
        context: Float[Tensor, "b l k"],
        context_bias: Float[Tensor, "b l"] | None = None,
        to: Float[Tensor, "b *g"] | None = None,
        image: Float[Tensor, "b i j"] | None = None,
        control: Float[Tensor, "b v t h w"] | None = None,
        control_scale: float = 1.0,
    ) -> Float[Tensor, "b o t h w"]:
        """Return the velocity at `latent`, in its dtype.

        `sigma` in [0, 1] is one number a clip (b,), a latent frame (b, t) or a token (b, n).
        `context` is zero-padded to `config.text_len` by the caller and not masked, as in Wan;
        `control_rows` follow it where the config has controls. `context_bias` is added to the
        scores of its tokens in every cross-attention (training keeps the padding away at
        first). A flow map returns the mean velocity of the way down to the noise levels `to`,
        given as `sigma` is; without them, and in any other model, it is the velocity at
        `sigma` itself. `image` are the tokens of pictures where the config has a place for
        them, and `control` is the latent of a control video, which counts `control_scale` times.
        """
        assert to is None or self.config.flow_map, "only a flow map is told where a step ends"
        sizes = list(zip(latent.shape[2:], self.config.patch_size, strict=True))
        assert all(size % patch == 0 for size, patch in sizes), "the grid is no multiple of a patch"
        assert (image is None) == (self.config.image_dim == 0), "tokens of pictures are needed"
        t, h, w = (n // patch for n, patch in sizes)
        # The sum of all updates keeps the latent's dtype: float32 under autocast.
        x = _tokens(self.patch_embedding, latent)
        embedding = self._embed_sigma(sigma if sigma.ndim == 2 else sigma[:, None])
        if self.config.flow_map:
            way = torch.zeros_like(sigma) if to is None else sigma - to
            embedding = embedding + self._embed_way(way if way.ndim == 2 else way[:, None])
        modulation = rearrange(self._project_time(embedding), "b g (s d) -> b g s d", s=6)
        context, context_bias = self._embed_context(context, context_bias)
        pictures = None if image is None else self.img_emb(image)
        rope = self.rope((t, h, w), x.device)
        given = (modulation, context, rope, context_bias, pictures)
        hints = {} if control is None else self._hints(control, x, *given)
        for i, block in enumerate(self.blocks):
            x = block(x, *given)
            if i in hints:
                x = x + control_scale * hints[i].to(x.dtype)
        pt, ph, pw = self.config.patch_size
        return rearrange(
            self.head(x, embedding).to(latent.dtype),
            "b (t h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)",
            t=t, h=h, w=w, pt=pt, ph=ph, pw=pw,
        )  # fmt: skip

    def _hints(
        self, control: Tensor, x: Float[Tensor, "b n d"], *given: Tensor | None
    ) -> dict[int, Float[Tensor, "b n d"]]:
        """Return what a control video adds to the output of each main block that it changes."""
        c, hints = _tokens(self.vace_patch_embedding, control), {}
        for layer, block in zip(self.config.control_layers, self.vace_blocks, strict=True):
            assert isinstance(block, ControlBlock)
            c = block(block.enter(c, x), *given)
            hints[layer] = block.hint(c)
        return hints

    def _embed_context(
        self, context: Float[Tensor, "b l k"], bias: Float[Tensor, "b l"] | None
    ) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b m"] | None]:
        """Embed text and controls; those that are not given are hidden, or not there at all."""
        number = self.config.num_controls
        if not number:
            return self.text_embedding(context), bias
        text, rows = context[:, :-number], context[:, -number:, : 3 * number]
        given = rows[..., :number].any(2)
        if not bool(given.any()):
            return self.text_embedding(text), None if bias is None else bias[:, :-number]
        hidden = torch.where(given, 0.0, HIDDEN)
        if bias is None:
            bias = F.pad(hidden, (text.shape[1], 0))
        else:
            bias = torch.cat((bias[:, :-number], hidden.to(bias.dtype)), 1)
        return torch.cat((self.text_embedding(text), self.control_embedding(rows)), 1), bias

    def _embed_sigma(self, sigma: Tensor) -> Tensor:
        """Embed noise levels (b, g) as (b, g, d), in float32 even under autocast."""
        with torch.autocast(sigma.device.type, enabled=False):
            dtype = next(self.time_embedding.parameters()).dtype
            wave = sigma_embedding(sigma, self.config.freq_dim)
            embedding: Tensor = self.time_embedding(wave.to(dtype))
        return embedding

    def _embed_way(self, way: Tensor) -> Tensor:
        """Embed how far steps go, as `_embed_sigma` does; no way at all adds nothing."""
        with torch.autocast(way.device.type, enabled=False):
            dtype = next(self.way_embedding.parameters()).dtype
            wave = sigma_embedding(torch.stack((way, torch.zeros_like(way))), self.config.freq_dim)
            far, none = self.way_embedding(wave.to(dtype))
            embedding: Tensor = far - none
        return embedding

    def _project_time(self, embedding: Tensor) -> Tensor:
        with torch.autocast(embedding.device.type, enabled=False):
            projected: Tensor = self.time_projection(embedding)
        return projected

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise for training from nothing.

        Projections are Xavier-uniform. The head and the cross-attention outputs start at
        zero: the first velocity is 0. The gates start half open (0.5) through the bias of
        the shared time projection, whose weights start at zero: fewer dead steps than with
        closed gates (arXiv 2212.09748), and every block sees the same modulation at first.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.flatten(1), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)
        projection = self.time_projection[1]
        assert isinstance(projection, nn.Linear)
        nn.init.zeros_(projection.weight)
        projection.bias.view(6, -1)[2::3] = 0.5
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.zeros_(module.cross_attn.o.weight)
                nn.init.zeros_(module.modulation)
        if self.config.image_positions:
            nn.init.zeros_(self.img_emb.emb_pos)
        if self.config.flow_map:
            last = self.way_embedding[2]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)  # before it has learnt of ways it is plain rectified flow
        nn.init.zeros_(self.head.head.weight)
        nn.init.zeros_(self.head.modulation)
