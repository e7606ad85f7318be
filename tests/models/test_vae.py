from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

from kineograph.errors import RequestError
from kineograph.models.vae import VideoVAE
from kineograph.nn.causal import ConvCache
from kineograph.presets import NANO
from kineograph.spec import VaeConfig
from kineograph.weights.keymaps import VAE_TO_DIFFUSERS, rename, vae_to_wan

WAN21 = VaeConfig()
WAN22 = VaeConfig(z_dim=48, patch_size=2, encoder_dim=160, decoder_dim=256, residual=True)
SMALL = {
    "wan2.1": VaeConfig(z_dim=4, encoder_dim=4, decoder_dim=4),
    "wan2.2": replace(WAN22, z_dim=6, encoder_dim=4, decoder_dim=8),
    "nano": replace(NANO.vae, z_dim=6, encoder_dim=4, decoder_dim=8),
    # Averages over less than a 2x2 cell: the general form of the shortcuts.
    # Averages over half a 2x2 cell, copies to half of one: the general form of the shortcuts.
    "odd": VaeConfig(
        z_dim=4, encoder_dim=4, decoder_dim=4, dim_mult=(2, 2, 4, 4), num_res_blocks=1,
        residual=True,
    ),
}  # fmt: skip
every_config = pytest.mark.parametrize("name", list(SMALL))


def make_peer(config):
    pixels = config.in_channels * config.patch_size**2
    return AutoencoderKLWan(
        base_dim=config.encoder_dim,
        decoder_base_dim=config.decoder_dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=list(config.temporal_downsample),
        latents_mean=[0.0] * config.z_dim,
        latents_std=[1.0] * config.z_dim,
        is_residual=config.residual,
        in_channels=pixels,
        out_channels=pixels,
        patch_size=None if config.patch_size == 1 else config.patch_size,
        scale_factor_temporal=config.temporal_stride,
        scale_factor_spatial=config.spatial_stride,
    ).eval()


def make_model(name):
    model = VideoVAE(SMALL[name]).eval()
    model.init_weights(torch.Generator().manual_seed(0))
    return model


def size(config, rows=2, columns=3):
    return rows * config.spatial_stride, columns * config.spatial_stride


def clip(config, latent_frames=4, batch=1):
    frames = 1 + (latent_frames - 1) * config.temporal_stride
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, frames, *size(config), generator=generator) * 2 - 1


def latents(config, frames=4, h=2, w=3, batch=1):
    return torch.randn(
        batch, config.z_dim, frames, h, w, generator=torch.Generator().manual_seed(2)
    )


def relative_error(got, true):
    return ((got - true).norm() / true.norm()).item()


@every_config
def test_equals_diffusers_with_the_same_weights(name):
    config = SMALL[name]
    peer, model = make_peer(config), make_model(name)
    with torch.no_grad():
        for i, parameter in enumerate(peer.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
            parameter += 0.05 * noise
    model.load_state_dict(peer.state_dict(), strict=True)
    with torch.no_grad():
        video, z = clip(config, batch=2), 0.2 * latents(config, batch=2)
        theirs = peer.encode(video).latent_dist
        mean, logvar = model.encode(video)
        assert relative_error(mean, theirs.mean) < 1e-4
        assert relative_error(logvar, theirs.logvar) < 1e-4
        decoded = peer.decode(z).sample
        assert (decoded.abs() < 1).float().mean() > 0.5  # theirs is clamped: mostly it must not be
        assert relative_error(model.decode(z).clamp(-1, 1), decoded) < 1e-4
    whole = model.decode(z).detach()  # gradients on: the other form
    assert relative_error(whole.clamp(-1, 1), decoded) < 1e-4


@pytest.mark.parametrize("config", [WAN21, WAN22, NANO.vae], ids=["wan2.1", "wan2.2", "nano"])
def test_the_full_model_has_exactly_the_weights_that_diffusers_has(config):
    with torch.device("meta"):
        ours, theirs = VideoVAE(config).state_dict(), make_peer(config).state_dict()
    renamed = rename(ours, VAE_TO_DIFFUSERS)
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in theirs.items()}


@every_config
@pytest.mark.parametrize("threads", [1, 2])
def test_a_streamed_decode_is_the_whole_decode_bit_for_bit(name, threads):
    model, config = make_model(name), SMALL[name]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for h, w in ((2, 3), (3, 5)):
            z = latents(config, 4, h, w)
            with torch.no_grad():
                whole = model.decode(z)
                cache = ConvCache()
                in_parts = [model.decode(part, cache) for part in z.split([1, 3], dim=2)]
            chunks = list(model.decode_stream(z))
            stride = config.temporal_stride
            assert [c.shape[2] for c in chunks] == [1, stride, stride, stride]
            assert torch.equal(torch.cat(chunks, 2), whole)
            assert torch.equal(torch.cat(in_parts, 2), whole)
    finally:
        torch.set_num_threads(before)


@every_config
def test_the_form_for_training_agrees_with_the_streamed_one(name):
    model, config = make_model(name), SMALL[name]
    z, video = latents(config), clip(config)
    streamed = torch.cat(list(model.decode_stream(z)), 2)
    assert relative_error(model.decode(z).detach(), streamed) < 1e-5
    stride = config.temporal_stride
    chunks = list(model.encode_stream(video.split([1, stride, 2 * stride], dim=2)))
    assert [mean.shape[2] for mean, _ in chunks] == [1, 1, 2]
    for part, whole in zip(zip(*chunks, strict=True), model.encode(video), strict=True):
        assert relative_error(torch.cat(part, 2).detach(), whole.detach()) < 1e-5


@every_config
def test_gradients_are_those_of_the_streamed_form(name):
    model, config = make_model(name), SMALL[name]
    z, cache = latents(config), ConvCache()

    def gradient(video):
        loss = (video * torch.linspace(-1, 1, video.shape[2]).view(-1, 1, 1)).square().mean()
        model.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.decoder.parameters()])

    whole = gradient(model.decode(z))
    pieces = gradient(torch.cat([model.decode(part, cache) for part in z.split(1, dim=2)], dim=2))
    assert relative_error(pieces, whole) < 1e-4


@every_config
def test_what_comes_later_changes_nothing_before_it(name):
    model, config = make_model(name), SMALL[name]
    stride = config.temporal_stride
    video, z = clip(config), latents(config)
    later_video, later_z = video.clone(), z.clone()
    later_video[:, :, 1 + stride :] *= -1  # from the third latent frame on
    later_z[:, :, 2:] *= -1
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            one, two = model.encode(video)[0], model.encode(later_video)[0]
            assert torch.equal(one[:, :, :2], two[:, :, :2])
            assert all((one[:, :, t] - two[:, :, t]).abs().max() > 1e-3 for t in (2, 3))
            one, two = model.decode(z), model.decode(later_z)
            assert torch.equal(one[:, :, : 1 + stride], two[:, :, : 1 + stride])
            assert (one[:, :, 1 + stride :] - two[:, :, 1 + stride :]).abs().max() > 1e-3


def test_one_frame_is_a_clip():
    model, config = make_model("nano"), SMALL["nano"]
    mean, logvar = model.encode(clip(config, 1))
    assert mean.shape == logvar.shape == (1, 6, 1, 2, 3)
    assert model.decode(mean).shape == (1, 3, 1, *size(config))


@pytest.mark.parametrize(
    ("frames", "h", "w", "message"),
    [
        (12, 32, 48, "12 frames cannot be encoded; allowed: 1 + a multiple of 4"),
        (4, 32, 48, "4 frames cannot be encoded; allowed: 1 + a multiple of 4"),
        (5, 36, 48, "36x48 pixels cannot be encoded; height and width must be multiples of 8"),
        (5, 32, 50, "32x50 pixels cannot be encoded; height and width must be multiples of 8"),
    ],
)
def test_refuses_sizes_that_the_strides_do_not_divide(frames, h, w, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        make_model("nano").encode(torch.zeros(1, 3, frames, h, w))


def test_refuses_a_later_chunk_of_a_wrong_length():
    model, cache = make_model("nano"), ConvCache()
    model.encode(torch.zeros(1, 3, 1, 16, 16), cache)
    with pytest.raises(RequestError, match="5 frames cannot be encoded; allowed: a multiple of 4"):
        model.encode(torch.zeros(1, 3, 5, 16, 16), cache)


@every_config
def test_every_weight_gets_a_finite_gradient(name):
    model, config = make_model(name), SMALL[name]
    mean, logvar = model.encode(clip(config))
    video = model.decode(mean + (0.5 * logvar).exp())
    video.square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


def test_bfloat16_autocast_stays_near_float32_and_returns_float32():
    model, config = make_model("nano"), SMALL["nano"]
    with torch.no_grad():
        true_mean, _ = model.encode(clip(config))
        true_video = model.decode(latents(config))
        with torch.autocast("cpu", torch.bfloat16):
            mean, logvar = model.encode(clip(config))
            video = model.decode(latents(config))
    assert mean.dtype == logvar.dtype == video.dtype == torch.float32
    assert relative_error(mean, true_mean) < 0.03
    assert relative_error(video, true_video) < 0.03


def test_fresh_weights_are_fit_to_train():
    model = VideoVAE(NANO.vae)
    model.init_weights(torch.Generator().manual_seed(0))
    mean, logvar = model.encode(clip(NANO.vae))
    assert 0.1 < mean.std() < 2
    assert logvar.mean() < -3  # little noise in the latents at first
    assert 0.01 < model.decode(mean).std() < 0.3  # the picture starts at a tenth
    grey, _ = model.encode(torch.zeros(1, 3, 1, 16, 16))
    grey.square().mean().backward()
    assert all(p.grad.abs().max() < 100 for p in model.encoder.parameters() if p.grad is not None)


def test_normalised_latents_undo_the_channel_statistics():
    config = replace(SMALL["nano"], latents_mean=(1.0,) * 6, latents_std=(2.0, 1, 1, 1, 1, 4.0))
    model, raw = VideoVAE(config), latents(config)
    normal = model.normalise(raw)
    torch.testing.assert_close(normal[:, 5], (raw[:, 5] - 1) / 4)
    torch.testing.assert_close(model.denormalise(normal), raw)
    plain = make_model("nano")
    assert torch.equal(plain.normalise(raw), raw)


def test_memory_of_a_streamed_decode_does_not_grow_with_time(run_python):
    script = """
import resource
import torch
from dataclasses import replace
from kineograph.models.vae import VideoVAE
from kineograph.presets import NANO

torch.set_num_threads(1)
model = VideoVAE(replace(NANO.vae, z_dim=8, encoder_dim=8, decoder_dim=8))

def peak(frames):
    seen = sum(c.shape[2] for c in model.decode_stream(torch.zeros(1, 8, 1 + frames // 4, 4, 4)))
    assert seen == 1 + frames
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

short, long = peak(120), peak(1200)
print(short, long)
assert long < 1.1 * short
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_names_of_wan_2_1s_own_file_are_read_by_diffusers_as_ours():
    with torch.device("meta"):
        ours = VideoVAE(WAN21).state_dict()
    theirs = rename(ours, vae_to_wan(WAN21))
    assert {"conv1.weight", "encoder.downsamples.10.residual.6.bias"} <= set(theirs)
    assert "decoder.upsamples.11.resample.1.weight" in theirs
    again = convert_wan_vae_to_diffusers(dict(theirs))
    assert {k: v.shape for k, v in again.items()} == {k: v.shape for k, v in ours.items()}
    for name, weight in ours.items():
        assert again[name] is weight, name


def test_the_names_of_wan_2_2s_own_file_have_a_level_more():
    with torch.device("meta"):
        ours = VideoVAE(WAN22).state_dict()
    theirs = rename(ours, vae_to_wan(WAN22))
    assert len(theirs) == len(ours)
    for name in (
        "conv2.bias", "encoder.conv1.weight", "encoder.middle.1.to_qkv.weight",
        "encoder.downsamples.0.downsamples.1.residual.0.gamma",
        "encoder.downsamples.1.downsamples.2.time_conv.weight",
        "decoder.upsamples.2.upsamples.0.shortcut.weight",
        "decoder.upsamples.0.upsamples.3.resample.1.bias", "decoder.head.2.weight",
    ):  # fmt: skip
        assert name in theirs
