import pytest
import torch
from diffusers import WanTransformer3DModel
from einops import repeat

from kineograph.models.dit import VideoDiT, gated_add, norm_modulate
from kineograph.presets import NANO, TINY
from kineograph.spec import DiTConfig
from kineograph.weights.keymaps import DIT_TO_DIFFUSERS, rename

# Three heads of 14 channels (an odd number of pairs on the frame axis), a patch of 1x2x2,
# other channels out than in, a short context.
ODD = DiTConfig(
    dim=42, ffn_dim=70, num_heads=3, num_layers=2, in_channels=5, out_channels=6,
    patch_size=(1, 2, 2), text_dim=10, text_len=9, freq_dim=32,
)  # fmt: skip
WAN = {
    "t2v-1.3b": DiTConfig(),
    "t2v-14b": DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40),
    "ti2v-5b": DiTConfig(
        dim=3072, ffn_dim=14336, num_heads=24, num_layers=30, in_channels=48, out_channels=48
    ),
}
PARAMETERS = {"t2v-1.3b": 1.419e9, "t2v-14b": 14.288e9, "ti2v-5b": 5.000e9}


def reference(config):
    return WanTransformer3DModel(
        patch_size=config.patch_size,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
        eps=config.eps,
    )


def random_model(config):
    model = VideoDiT(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return model.eval()


def random_inputs(config, batch=2, frames=3, grid=(2, 3)):
    generator = torch.Generator().manual_seed(1)
    _, ph, pw = config.patch_size
    size = (batch, config.in_channels, frames, grid[0] * ph, grid[1] * pw)
    latent = torch.randn(size, generator=generator)
    context = torch.randn(batch, config.text_len, config.text_dim, generator=generator)
    context[:, config.text_len // 2 :] = 0  # padding, which is read and not masked
    return latent, context


def relative_error(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("config", [TINY.dit, ODD], ids=["tiny", "odd"])
@pytest.mark.parametrize("shape", [(2,), (2, 18)], ids=["one sigma a clip", "one a token"])
@torch.no_grad()
def test_equals_diffusers(config, shape):
    model, wan = random_model(config), reference(config).eval()
    wan.load_state_dict(rename(model.state_dict(), DIT_TO_DIFFUSERS))
    latent, context = random_inputs(config)
    sigma = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    wanted = wan(latent, sigma * 1000, context, return_dict=False)[0]
    found = model(latent, sigma, context)
    assert found.shape == (2, config.out_channels, *latent.shape[2:])
    assert relative_error(found, wanted) < 1e-5


@pytest.mark.parametrize("name", WAN)
def test_open_wan_models_have_our_weights_under_the_tables_names(name):
    with torch.device("meta"):
        ours = VideoDiT(WAN[name]).state_dict()
        theirs = reference(WAN[name]).state_dict()
    renamed = rename(ours, DIT_TO_DIFFUSERS)
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in theirs.items()}
    assert sum(v.numel() for v in ours.values()) == pytest.approx(PARAMETERS[name], rel=1e-3)


@torch.no_grad()
def test_sigma_a_clip_a_frame_and_a_token_agree():
    model = random_model(ODD)
    latent, context = random_inputs(ODD)
    sigma = torch.tensor([0.3, 0.8])
    clip = model(latent, sigma, context)
    torch.testing.assert_close(model(latent, sigma[:, None].expand(2, 3), context), clip)
    frames = torch.tensor([[0.0, 0.3, 0.9], [0.7, 0.1, 0.5]])
    a_frame = model(latent, frames, context)
    a_token = model(latent, repeat(frames, "b t -> b (t hw)", hw=6), context)
    torch.testing.assert_close(a_frame, a_token)
    assert relative_error(a_frame, clip) > 1e-2


@torch.no_grad()
def test_zero_padding_of_the_context_is_read():
    model = random_model(ODD)
    latent, context = random_inputs(ODD)
    sigma = torch.tensor([0.3, 0.8])
    trimmed = model(latent, sigma, context[:, : ODD.text_len // 2])
    assert relative_error(trimmed, model(latent, sigma, context)) > 1e-3


def test_a_grid_that_is_no_multiple_of_a_patch_is_never_floored():
    model = random_model(ODD)
    latent, context = random_inputs(ODD)
    with pytest.raises(AssertionError, match="no multiple of a patch"):
        model(latent[..., :-1], torch.rand(2), context)


def test_training_starts_from_zero_velocity_with_half_open_gates():
    model = VideoDiT(TINY.dit)
    latent, context = random_inputs(TINY.dit)
    assert not model(latent, torch.tensor([0.2, 0.9]), context).any()
    modulation = model._project_time(model._embed_sigma(torch.rand(1, 3)))
    shift1, scale1, gate1, shift2, scale2, gate2 = modulation.detach().chunk(6, dim=-1)
    assert all(bool((gate == 0.5).all()) for gate in (gate1, gate2))
    assert not any(part.any() for part in (shift1, scale1, shift2, scale2))
    assert all(not block.cross_attn.o.weight.any() for block in model.blocks)


def test_init_weights_depends_on_its_generator_alone_and_fills_everything():
    first, second = VideoDiT(TINY.dit), VideoDiT(TINY.dit)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.fill_(float("nan"))
    for model in (first, second):
        model.init_weights(torch.Generator().manual_seed(3))
    for name, weight in second.state_dict().items():
        torch.testing.assert_close(weight, first.state_dict()[name], rtol=0, atol=0, msg=name)


def test_every_weight_learns_once_the_zeros_have_moved():
    model = random_model(TINY.dit)
    latent, context = random_inputs(TINY.dit)
    model(latent, torch.rand(2, 3), context).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_autocast_keeps_the_sum_of_updates_and_the_time_path_in_float32():
    model = random_model(TINY.dit)
    latent, context = random_inputs(TINY.dit)
    seen = {}
    model.time_projection.register_forward_hook(lambda m, i, o: seen.update(time=o.dtype))
    model.blocks[0].register_forward_hook(lambda m, i, o: seen.update(block=o.dtype))
    model.blocks[0].ffn.register_forward_hook(lambda m, i, o: seen.update(ffn=o.dtype))
    sigma = torch.tensor([0.3, 0.8])
    with torch.autocast("cpu", torch.bfloat16):
        found = model(latent, sigma, context)
    assert seen == {"time": torch.float32, "block": torch.float32, "ffn": torch.bfloat16}
    assert found.dtype is torch.float32
    assert 0 < relative_error(found, model(latent, sigma, context)) < 0.1


@torch.no_grad()
def test_bfloat16_weights_run_without_autocast():
    model = random_model(TINY.dit)
    latent, context = random_inputs(TINY.dit)
    sigma = torch.tensor([0.3, 0.8])
    exact = model(latent, sigma, context)
    found = model.bfloat16()(latent.bfloat16(), sigma, context.bfloat16())
    assert found.dtype is torch.bfloat16
    assert relative_error(found.float(), exact) < 0.1


def test_modulation_is_broadcast_over_the_tokens_of_a_group():
    generator = torch.Generator().manual_seed(0)
    x, update = torch.randn(2, 1, 6, 4, generator=generator)
    shift, scale, gate = torch.randn(3, 1, 2, 4, generator=generator)
    found = norm_modulate(x, shift, scale, 1e-6), gated_add(x, update, gate)
    shift, scale, gate = (y.repeat_interleave(3, dim=1) for y in (shift, scale, gate))
    normed = torch.nn.functional.layer_norm(x, (4,), eps=1e-6)
    torch.testing.assert_close(found[0], normed * (1 + scale) + shift)
    torch.testing.assert_close(found[1], x + update * gate)


def test_the_nano_model_keeps_its_size():
    with torch.device("meta"):
        model = VideoDiT(NANO.dit)
    assert 6e6 < sum(p.numel() for p in model.parameters()) < 15e6
