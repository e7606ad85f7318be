"""The causal 3D video VAE of the Wan family: Wan 2.1, Wan 2.2 and our own small ones.

The architecture is Wan's (arXiv 2503.20314); parameter names are those of diffusers'
`AutoencoderKLWan`, so weights pass both ways without a rename. Inside, features are
channels-last, `b t h w c`; only `VideoVAE` itself speaks `b c t h w`.

Letters: b batch, c channels, t frames, h height, w width, z latent channels, q pixels folded
down a column, r pixels folded along a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kineograph.errors import RequestError
from kineograph.nn.causal import CausalConv3d, ConvCache, begins, per_frame
from kineograph.nn.channel_norm import ChannelNorm
from kineograph.spec import VaeConfig


class ResidualBlock(nn.Module):
    """Norm, SiLU and causal convolution, twice, around a shortcut."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim)
        self.conv1 = CausalConv3d(dim, out_dim, (3, 3, 3))
        self.norm2 = ChannelNorm(out_dim)
        self.conv2 = CausalConv3d(out_dim, out_dim, (3, 3, 3))
        self.conv_shortcut = CausalConv3d(dim, out_dim, (1, 1, 1)) if dim != out_dim else None

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        h = self.conv1(self.norm1.silu(x), cache)
        h = self.conv2(self.norm2.silu(h), cache)
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Enlarge(nn.Module):
    """Repeat every pixel of channels-first frames `factor` times down and across."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        # Autocast would copy to float32 first, and leave what follows in it; nothing is added up.
        with torch.autocast(x.device.type, enabled=False):
            return F.interpolate(x, scale_factor=self.factor, mode="nearest")


class FrameAttention(nn.Module):
    """Single-head self-attention over the pixels of each frame by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim, trailing_dims=2)
        self.to_qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, _, _ = x.shape
        tokens = rearrange(self.norm(x), "b t h w c -> (b t) 1 (h w) c")
        # 1x1 convolutions by name, linear layers by nature.
        qkv = F.linear(tokens, self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        q, k, v = qkv.chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out = F.linear(mixed, self.proj.weight.flatten(1), self.proj.bias)
        return x + rearrange(out, "(b t) 1 (h w) c -> b t h w c", b=b, h=h)


class MidBlock(nn.Module):
    """Attention between two residual blocks at the lowest resolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([FrameAttention(dim)])
        self.resnets = nn.ModuleList([ResidualBlock(dim, dim), ResidualBlock(dim, dim)])

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        x = self.resnets[0](x, cache)
        return self.resnets[1](self.attentions[0](x), cache)


class Downsample(nn.Module):
    """Halve height and width, and with `temporal` the frames after the first."""

    def __init__(self, dim: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), time_stride=2) if temporal else None

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        x = per_frame(self.resample, x)
        if self.time_conv is None:
            return x
        if not begins(cache, self):
            return self.time_conv(x, cache)
        # The first frame stands alone: it passes by, and is the history of what follows.
        first, rest = x[:, :1], x[:, 1:]
        if rest.shape[1] == 0:
            if cache is not None:
                cache.keep(self.time_conv, first)
            return first
        return torch.cat([first, self.time_conv(rest, cache, before=first)], dim=1)


class Upsample(nn.Module):
    """Double height and width, and with `temporal` the frames after the first."""

    def __init__(self, dim: int, out_dim: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(Enlarge(2), nn.Conv2d(dim, out_dim, 3, padding=1))
        self.time_conv = CausalConv3d(dim, 2 * dim, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        if self.time_conv is not None:
            if not begins(cache, self):
                x = self._double(x, cache)
            elif x.shape[1] > 1:
                # Wan keeps the first frame out of this layer altogether: it is not doubled,
                # and the frames after it see zeros in its place.
                x = torch.cat([x[:, :1], self._double(x[:, 1:], cache)], dim=1)
        return per_frame(self.resample, x)

    def _double(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        assert self.time_conv is not None
        return rearrange(self.time_conv(x, cache), "b t h w (k c) -> b (t k) h w c", k=2)


class AverageDown(nn.Module):
    """The parameter-free shortcut down: space and time folded into channels, then averaged."""

    def __init__(self, out_dim: int, time_factor: int, space_factor: int) -> None:
        super().__init__()
        self.out_dim, self.time_factor, self.space_factor = out_dim, time_factor, space_factor

    def forward(self, x: Tensor) -> Tensor:
        i, q = self.time_factor, self.space_factor
        x = F.pad(x, (0, 0, 0, 0, 0, 0, -x.shape[1] % i, 0))
        if x.shape[-1] * i * q * q == self.out_dim:
            return x
        if x.shape[-1] * i % self.out_dim == 0:
            # Each average covers whole q x q cells: pool them first, a quarter is left to fold.
            x = per_frame(lambda frame: F.avg_pool2d(frame, q), x) if q > 1 else x
            q = 1
        folded = rearrange(x, "b (t i) (h q) (w r) c -> b t h w (c i q r)", i=i, q=q, r=q)
        return folded.unflatten(-1, (self.out_dim, -1)).mean(-1)


class DuplicateUp(nn.Module):
    """The parameter-free shortcut up: channels repeated, then unfolded into space and time."""

    def __init__(self, out_dim: int, time_factor: int, space_factor: int) -> None:
        super().__init__()
        self.out_dim, self.time_factor, self.space_factor = out_dim, time_factor, space_factor
        self.enlarge = Enlarge(space_factor)

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        i, q = self.time_factor, self.space_factor
        plain = self.out_dim == x.shape[-1]  # every channel just repeats in space and time
        if plain:
            x = torch.stack([x] * i, dim=2).flatten(1, 2)
        else:
            x = x.repeat_interleave(self.out_dim * i * q * q // x.shape[-1], dim=-1)
            x = rearrange(x, "b t h w (c i q r) -> b (t i) (h q) (w r) c", i=i, q=q, r=q)
        if begins(cache, self):
            x = x[:, i - 1 :]
        return per_frame(self.enlarge, x) if plain else x


class ResidualDown(nn.Module):
    """A level of Wan 2.2's encoder: residual blocks and downsampling around `AverageDown`."""

    def __init__(self, dim: int, out_dim: int, num_blocks: int, down: bool, temporal: bool) -> None:
        super().__init__()
        self.avg_shortcut = AverageDown(out_dim, 1 + (down and temporal), 1 + down)
        dims = [dim] + [out_dim] * num_blocks
        self.resnets = nn.ModuleList(ResidualBlock(dims[i], dims[i + 1]) for i in range(num_blocks))
        self.downsampler = Downsample(out_dim, temporal) if down else None

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        shortcut = self.avg_shortcut(x)
        for block in self.resnets:
            x = block(x, cache)
        if self.downsampler is not None:
            x = self.downsampler(x, cache)
        return x + shortcut


class UpLevel(nn.Module):
    """A level of the decoder: residual blocks, then upsampling; Wan 2.2 adds `DuplicateUp`."""

    def __init__(
        self, dim: int, out_dim: int, num_blocks: int, up: bool, temporal: bool, residual: bool
    ) -> None:
        super().__init__()
        dims = [dim] + [out_dim] * (num_blocks + 1)
        self.resnets = nn.ModuleList(
            ResidualBlock(dims[i], dims[i + 1]) for i in range(num_blocks + 1)
        )
        self.avg_shortcut = DuplicateUp(out_dim, 1 + temporal, 2) if up and residual else None
        # Two names for one thing, so that weights keep the names they have in diffusers.
        self.upsampler = Upsample(out_dim, out_dim, temporal) if up and residual else None
        self.upsamplers = (
            nn.ModuleList([Upsample(out_dim, out_dim // 2, temporal)])
            if up and not residual
            else None
        )

    def forward(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        entered = x
        for block in self.resnets:
            x = block(x, cache)
        if self.upsampler is not None:
            x = self.upsampler(x, cache)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, cache)
        return x if self.avg_shortcut is None else x + self.avg_shortcut(entered, cache)


class Encoder(nn.Module):
    """Frames (folded pixels) to the mean and log-variance of the latent."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        dims = [config.encoder_dim * m for m in (1, *config.dim_mult)]
        last = len(config.dim_mult) - 1
        self.conv_in = CausalConv3d(config.in_channels * config.patch_size**2, dims[0], (3, 3, 3))
        self.down_blocks = nn.ModuleList()
        for i, (dim, out_dim) in enumerate(pairwise(dims)):
            temporal = i < last and config.temporal_downsample[i]
            if config.residual:
                self.down_blocks.append(
                    ResidualDown(dim, out_dim, config.num_res_blocks, i < last, temporal)
                )
                continue
            for j in range(config.num_res_blocks):
                self.down_blocks.append(ResidualBlock(out_dim if j else dim, out_dim))
            if i < last:
                self.down_blocks.append(Downsample(out_dim, temporal))
        self.mid_block = MidBlock(dims[-1])
        self.norm_out = ChannelNorm(dims[-1])
        self.conv_out = CausalConv3d(dims[-1], 2 * config.z_dim, (3, 3, 3))

    def descend(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        """Return features at the smallest size: convolutions alone, which see but so far."""
        x = self.conv_in(x, cache)
        for block in self.down_blocks:
            x = block(x, cache)
        return x

    def settle(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        """Return the moments of features at the smallest size, over whole frames."""
        x = self.mid_block(x, cache)
        return self.conv_out(self.norm_out.silu(x), cache)


class Decoder(nn.Module):
    """Latent frames to frames (folded pixels)."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        mults = config.dim_mult[::-1]
        dims = [config.decoder_dim * m for m in (mults[0], *mults)]
        temporal = (*config.temporal_downsample[::-1], False)
        last = len(mults) - 1
        self.conv_in = CausalConv3d(config.z_dim, dims[0], (3, 3, 3))
        self.mid_block = MidBlock(dims[0])
        self.up_blocks = nn.ModuleList()
        for i, (dim, out_dim) in enumerate(pairwise(dims)):
            entering = dim // 2 if i > 0 and not config.residual else dim
            self.up_blocks.append(
                UpLevel(
                    entering, out_dim, config.num_res_blocks, i < last, temporal[i], config.residual
                )
            )
        self.norm_out = ChannelNorm(dims[-1])
        self.conv_out = CausalConv3d(dims[-1], config.in_channels * config.patch_size**2, (3, 3, 3))

    def settle(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        """Return features at the smallest size, over whole frames."""
        return self.mid_block(self.conv_in(x, cache), cache)

    def rise(self, x: Tensor, cache: ConvCache | None) -> Tensor:
        """Return pixels of features: convolutions alone, which see but so far."""
        for block in self.up_blocks:
            x = block(x, cache)
        return self.conv_out(self.norm_out.silu(x), cache)


class VideoVAE(nn.Module):
    """Compress video to latents and back, causally in time, as a whole or as a stream.

    Sizes: `t = 1 + temporal_stride * k` frames, height and width multiples of
    `spatial_stride`; the latent has `1 + k` frames. Source: arXiv 2503.20314.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = CausalConv3d(2 * config.z_dim, 2 * config.z_dim, (1, 1, 1))
        self.post_quant_conv = CausalConv3d(config.z_dim, config.z_dim, (1, 1, 1))
        self.decoder = Decoder(config)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Initialise for training from scratch.

        Every convolution keeps variance; each residual branch starts at half its size and the
        picture at a tenth (both measured: a faster start); convolutions over time alone start
        near the identity on the current frame; latents start with little noise (log-variance -4).
        """
        for name, module in self.named_modules():
            if isinstance(module, ChannelNorm):
                nn.init.ones_(module.gamma)
            if not isinstance(module, nn.Conv2d | nn.Conv3d):
                continue
            std = module.weight[0].numel() ** -0.5
            if name.endswith((".conv2", ".proj")):
                std *= 0.5
            elif name.endswith((".time_conv", "decoder.conv_out")):
                std *= 0.1
            nn.init.normal_(module.weight, std=std, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
            if name.endswith(".conv_in"):
                # Grey is 0 in [-1, 1]: without a bias its features would have no norm at all.
                nn.init.normal_(module.bias, std=std, generator=generator)
            if name.endswith(".time_conv"):
                copies = module.out_channels // module.in_channels
                eye = torch.eye(module.in_channels, device=module.weight.device)
                module.weight[:, :, -1, 0, 0] += eye.repeat(copies, 1)
        assert self.quant_conv.bias is not None
        self.quant_conv.weight[self.config.z_dim :] *= 0.1
        self.quant_conv.bias[self.config.z_dim :] = -4.0

    def encode(
        self, video: Float[Tensor, "b 3 t h w"], cache: ConvCache | None = None
    ) -> tuple[Float[Tensor, "b z t2 h2 w2"], Float[Tensor, "b z t2 h2 w2"]]:
        """Return the mean and log-variance (raw, float32) of the latent of a video in [-1, 1].

        With a `cache` the video is the next chunk of a clip: 1 + stride * k frames at first,
        then stride * k. Raises `RequestError` for a size the strides do not divide.
        """
        self._check_video(video, opening=cache is None or cache.tail(self.encoder.conv_in) is None)
        return self.moments(self.descended(video, cache), cache)

    def descended(self, video: Tensor, cache: ConvCache | None) -> Float[Tensor, "b t h w c"]:
        """Return the features of a video at the smallest size: the first half of `encode`."""
        p = self.config.patch_size
        x = rearrange(video, "b c t (h q) (w r) -> b t h w (c r q)", q=p, r=p)
        return self.encoder.descend(x, cache)

    def moments(
        self, features: Float[Tensor, "b t h w c"], cache: ConvCache | None
    ) -> tuple[Float[Tensor, "b z t h w"], Float[Tensor, "b z t h w"]]:
        """Return what `encode` does, of `descended`."""
        moments = self.quant_conv(self.encoder.settle(features, cache)).float()
        mean, logvar = rearrange(moments, "b t h w (k z) -> k b z t h w", k=2)
        return mean, logvar.clamp(-30.0, 20.0)

    def decode(
        self, latent: Float[Tensor, "b z t h w"], cache: ConvCache | None = None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Return the video (float32, about [-1, 1], not clamped) of a raw latent.

        With a `cache` the latent is the next chunk of a clip, of any number of frames. Where
        gradients are recorded the chunk is one pass, the fast form. Otherwise it goes latent
        frame by latent frame, so that a clip has the same bits however it is cut, all at once
        included: CPU kernels round differently for different numbers of frames, by about 1e-6.
        """
        if torch.is_grad_enabled():
            return self._decode_chunk(latent, cache)
        cache = ConvCache() if cache is None else cache
        return torch.cat([self._decode_chunk(z, cache) for z in latent.split(1, dim=2)], dim=2)

    def decode_stream(
        self, latent: Float[Tensor, "b z t h w"]
    ) -> Iterator[Float[Tensor, "b 3 _ h2 w2"]]:
        """Yield the video of a raw latent, one latent frame at a time, in bounded memory.

        The first chunk is one frame, the others `temporal_stride`. No gradients. Together the
        chunks are `decode(latent)` bit for bit.
        """
        cache = ConvCache()
        for frame in latent.split(1, dim=2):
            with torch.no_grad():
                chunk = self._decode_chunk(frame, cache)
            yield chunk

    def _decode_chunk(self, latent: Tensor, cache: ConvCache | None) -> Tensor:
        return self.risen(self.settled(latent, cache), cache)

    def settled(self, latent: Tensor, cache: ConvCache | None) -> Float[Tensor, "b t h w c"]:
        """Return the features of a latent at the smallest size: the first half of `decode`."""
        x = self.post_quant_conv(rearrange(latent, "b z t h w -> b t h w z"))
        return self.decoder.settle(x, cache)

    def risen(
        self, features: Float[Tensor, "b t h w c"], cache: ConvCache | None
    ) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """Return what `decode` does, of `settled`."""
        p = self.config.patch_size
        x = self.decoder.rise(features, cache).float()
        return rearrange(x, "b t h w (c r q) -> b c t (h q) (w r)", q=p, r=p)

    def chunks(self, video: Float[Tensor, "b 3 t h w"]) -> list[Float[Tensor, "b 3 _ h w"]]:
        """Return a clip in the chunks that `encode_stream` takes, as small as they may be."""
        rest = video[:, :, 1:].split(self.config.temporal_stride, dim=2)
        return [video[:, :, :1], *(chunk for chunk in rest if chunk.shape[2])]

    def encode_stream(
        self, chunks: Iterable[Float[Tensor, "b 3 _ h w"]]
    ) -> Iterator[tuple[Float[Tensor, "b z _ h2 w2"], Float[Tensor, "b z _ h2 w2"]]]:
        """Yield mean and log-variance of a clip that comes in chunks (see `encode`)."""
        cache = ConvCache()
        for chunk in chunks:
            yield self.encode(chunk, cache)

    def normalise(self, mean: Float[Tensor, "b z t h w"]) -> Float[Tensor, "b z t h w"]:
        """Return the latent the transformer sees: about zero mean and unit variance a channel."""
        shift, scale = self._statistics(mean)
        return (mean - shift) / scale

    def denormalise(self, latent: Float[Tensor, "b z t h w"]) -> Float[Tensor, "b z t h w"]:
        """Undo `normalise`: return the raw latent that `decode` takes."""
        shift, scale = self._statistics(latent)
        return latent * scale + shift

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        z = self.config.z_dim
        shift = like.new_tensor(self.config.latents_mean or (0.0,) * z)
        scale = like.new_tensor(self.config.latents_std or (1.0,) * z)
        return shift.view(1, z, 1, 1, 1), scale.view(1, z, 1, 1, 1)

    def _check_video(self, video: Tensor, opening: bool) -> None:
        _, _, t, h, w = video.shape
        time, space = self.config.temporal_stride, self.config.spatial_stride
        if (t - opening) % time or t < 1:
            kind = f"1 + a multiple of {time}" if opening else f"a multiple of {time}"
            raise RequestError(f"{t} frames cannot be encoded; allowed: {kind}")
        if h % space or w % space:
            raise RequestError(
                f"{h}x{w} pixels cannot be encoded; height and width must be multiples of {space}"
            )
