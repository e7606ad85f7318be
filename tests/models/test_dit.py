import math
from dataclasses import replace

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from einops import repeat

from kineograph.models.dit import VideoDiT, control_rows, gated_add, norm_modulate
from kineograph.presets import NANO, TINY
from kineograph.spec import DiTConfig
from kineograph.weights.keymaps import DIT_TO_DIFFUSERS, rename

# Three heads of 14 channels (an odd number of pairs on the frame axis), a patch of 1x2x2,
# other channels out than in, a short context.
ODD = DiTConfig(
    dim=42, ffn_dim=70, num_heads=3, num_layers=2, in_channels=5, out_channels=6,
    patch_size=(1, 2, 2), text_dim=10, text_len=9, freq_dim=32,
)  # fmt: skip
CONTROLLED = replace(ODD, num_controls=2)
# What diffusers takes for granted: 512 tokens of text behind those of the picture.
SEEING = replace(ODD, in_channels=11, image_dim=12, text_len=512)
VACE = replace(ODD, num_layers=4, control_layers=(0, 2), control_channels=7)
WAN14 = DiTConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40)
WAN = {
    "t2v-1.3b": DiTConfig(),
    "t2v-14b": WAN14,
    "i2v-14b": replace(WAN14, in_channels=36, image_dim=1280),
    "flf2v-14b": replace(WAN14, in_channels=36, image_dim=1280, image_positions=514),
    "i2v-a14b": replace(WAN14, in_channels=36),
    "ti2v-5b": DiTConfig(
        dim=3072, ffn_dim=14336, num_heads=24, num_layers=30, in_channels=48, out_channels=48
    ),
    "vace-1.3b": DiTConfig(control_layers=tuple(range(0, 30, 2)), control_channels=96),
    "vace-14b": replace(WAN14, control_layers=tuple(range(0, 40, 5)), control_channels=96),
}
PARAMETERS = {
    "t2v-1.3b": 1.419e9, "t2v-14b": 14.288e9, "i2v-14b": 16.395e9, "i2v-a14b": 14.289e9,
    "ti2v-5b": 5.000e9,
}  # fmt: skip


def reference(config):
    more = {}
    if config.image_dim:
        more = {"image_dim": config.image_dim, "added_kv_proj_dim": config.dim}
        more["pos_embed_seq_len"] = config.image_positions or None
    cls = WanTransformer3DModel
    if config.control_layers:
        cls = WanVACETransformer3DModel
        more = {"vace_layers": list(config.control_layers)}
        more["vace_in_channels"] = config.control_channels
    return cls(
        **more,
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
    if name in PARAMETERS:
        assert sum(v.numel() for v in ours.values()) == pytest.approx(PARAMETERS[name], rel=1e-3)
    # Ours are the names of the original files: diffusers reads those as its own.
    read = convert_wan_transformer_to_diffusers(dict(ours))
    lost = {"condition_embedder.image_embedder.pos_embed"}  # which it overlooks
    assert set(theirs) - set(read) <= lost


@pytest.mark.parametrize("pictures", [1, 2])
@torch.no_grad()
def test_pictures_are_attended_to_as_in_diffusers(pictures):
    config = replace(SEEING, image_positions=20 if pictures == 2 else 0)
    model, wan = random_model(config), reference(config).eval()
    wan.load_state_dict(rename(model.state_dict(), DIT_TO_DIFFUSERS))
    latent, context = random_inputs(config)
    sigma = torch.rand(2, generator=torch.Generator().manual_seed(2))
    seen = torch.randn(2 * pictures, 10, 12, generator=torch.Generator().manual_seed(3))
    wanted = wan(latent, sigma * 1000, context, seen, return_dict=False)[0]
    found = model(latent, sigma, context, image=seen.view(2, 10 * pictures, 12))
    assert relative_error(found, wanted) < 1e-5
    other = model(latent, sigma, context, image=-seen.view(2, 10 * pictures, 12))
    assert relative_error(other, wanted) > 1e-3
    with pytest.raises(AssertionError, match="tokens of pictures"):
        model(latent, sigma, context)


@torch.no_grad()
def test_a_control_video_changes_what_diffusers_lets_it_change():
    model, wan = random_model(VACE), reference(VACE).eval()
    wan.load_state_dict(rename(model.state_dict(), DIT_TO_DIFFUSERS))
    latent, context = random_inputs(VACE)
    sigma = torch.rand(2, generator=torch.Generator().manual_seed(2))
    control = torch.randn(2, 7, *latent.shape[2:], generator=torch.Generator().manual_seed(3))
    wanted = wan(
        latent, sigma * 1000, context, control_hidden_states=control,
        control_hidden_states_scale=torch.full((2,), 0.7), return_dict=False,
    )[0]  # fmt: skip
    found = model(latent, sigma, context, control=control, control_scale=0.7)
    assert relative_error(found, wanted) < 1e-5
    assert relative_error(model(latent, sigma, context), wanted) > 1e-3


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


def test_a_row_of_a_control_says_which_it_is_and_how_much():
    values = torch.tensor([[0.5, -2.0], [math.nan, 0.0]])
    rows = control_rows(values, 10)
    which, value, size = (rows[:, :, 2 * k : 2 * k + 2].tolist() for k in range(3))
    assert which == [[[1, 0], [0, 1]], [[0, 0], [0, 1]]]
    assert value == [[[0.5, 0], [0, -2]], [[0, 0], [0, 0]]]
    assert size == [[[0.5, 0], [0, 2]], [[0, 0], [0, 0]]]
    assert rows.shape == (2, 2, 10) and not rows[:, :, 6:].any()
    assert not rows[1, 0].any()  # not given: not the same as 0
    assert control_rows(values.bfloat16(), 6).dtype is torch.bfloat16


def test_controls_for_which_a_context_row_has_no_room_are_refused():
    assert control_rows(torch.zeros(1, 2), 6).shape == (1, 2, 6)
    with pytest.raises(AssertionError, match="no room"):
        control_rows(torch.zeros(1, 2), 5)


def test_controls_add_an_embedding_of_their_own_to_the_weights_of_wan():
    plain, model = VideoDiT(ODD).state_dict(), VideoDiT(CONTROLLED).state_dict()
    added = {name: tuple(model[name].shape) for name in model.keys() - plain.keys()}
    assert added == {
        "control_embedding.0.weight": (ODD.dim, 6), "control_embedding.0.bias": (ODD.dim,),
        "control_embedding.2.weight": (ODD.dim, ODD.dim), "control_embedding.2.bias": (ODD.dim,),
    }  # fmt: skip
    assert plain.keys() <= model.keys()
    assert all(plain[name].shape == model[name].shape for name in plain)


def controlled_inputs(*values):
    """Latents and contexts of a sample each, with these controls."""
    latent, context = random_inputs(ODD, batch=1)
    rows = control_rows(torch.tensor(values), ODD.text_dim)
    contexts = torch.cat((context.expand(len(values), -1, -1), rows), 1)
    return latent.expand(len(values), -1, -1, -1, -1), contexts


@torch.no_grad()
def test_each_control_and_whether_it_is_given_is_read():
    model = random_model(CONTROLLED)
    settings = [
        (0.5, 1.0), (0.6, 1.0), (0.5, 1.1), (-0.5, 1.0), (1.0, 0.5), (0.0, 0.0),
        (0.5, math.nan), (math.nan, 1.0), (math.nan, math.nan),
    ]  # fmt: skip
    made = [model(x[:1], torch.tensor([0.3]), c) for x, c in map(controlled_inputs, settings)]
    for i, one in enumerate(made):
        assert all(relative_error(one, other) > 1e-3 for other in made[:i])
    x, c = controlled_inputs(settings[0])
    assert torch.equal(model(x, torch.tensor([0.3]), c), made[0])


@torch.no_grad()
@pytest.mark.parametrize("biased", [False, True])
def test_controls_that_are_not_given_are_as_if_there_were_none(biased):
    model = random_model(CONTROLLED)
    plain = VideoDiT(ODD).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    latent, context = controlled_inputs((math.nan, math.nan), (math.nan, 0.7))
    sigma = torch.tensor([0.3, 0.8])
    bias = torch.randn(2, context.shape[1], generator=torch.Generator().manual_seed(5))
    given = [bias if biased else None, bias[:1] if biased else None]
    mixed = model(latent, sigma, context, given[0])
    alone = model(latent[:1], sigma[:1], context[:1], given[1])
    without = plain(
        latent[:1], sigma[:1], context[:1, :-2], bias[:1, :-2] if biased else None
    )
    torch.testing.assert_close(alone, without)
    # Beside a sample that has some, too.
    torch.testing.assert_close(mixed[:1], without)
    if biased:  # the bias of the text alone counts
        bias[:, -2:] += 3.0
        torch.testing.assert_close(model(latent, sigma, context, bias), mixed)


def test_every_weight_of_a_model_with_controls_learns():
    model = random_model(CONTROLLED)
    latent, context = controlled_inputs((0.5, math.nan), (math.nan, -1.0))
    model(latent, torch.rand(2), context).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


MAPPED = replace(ODD, flow_map=True)


def mapped_pair():
    """A transformer, and a flow map that begins as it."""
    plain, model = random_model(ODD), VideoDiT(MAPPED).eval()
    model.init_weights(torch.Generator().manual_seed(3))
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {name.partition(".")[0] for name in missing} == {"way_embedding"}
    return plain, model


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 18)], ids=["a clip", "a frame", "a token"])
def test_a_flow_map_begins_as_the_plain_transformer_wherever_a_step_ends(shape):
    plain, model = mapped_pair()
    latent, context = random_inputs(ODD)
    sigma = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    wanted = plain(latent, sigma, context)
    for to in (None, sigma, torch.zeros_like(sigma), sigma * 0.3):
        assert torch.equal(model(latent, sigma, context, to=to), wanted)


@torch.no_grad()
def test_a_flow_map_that_has_learnt_depends_on_where_a_step_ends():
    latent, context = random_inputs(MAPPED)
    model, sigma = random_model(MAPPED), torch.tensor([0.7, 0.9])
    ends = [None, torch.tensor([0.0, 0.0]), torch.tensor([0.3, 0.3]), torch.tensor([0.6, 0.8])]
    made = [model(latent, sigma, context, to=to) for to in ends]
    for i, one in enumerate(made):
        assert all(relative_error(one, other) > 1e-3 for other in made[:i])
    # With no way to go it is the plain transformer still, which knows nothing of ways.
    assert torch.equal(model(latent, sigma, context, to=sigma), made[0])
    plain = VideoDiT(ODD).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(made[0], plain(latent, sigma, context))


@torch.no_grad()
def test_ends_of_steps_a_clip_a_frame_and_a_token_agree():
    model = random_model(MAPPED)
    latent, context = random_inputs(MAPPED)
    sigma, to = torch.tensor([0.7, 0.9]), torch.tensor([0.2, 0.0])
    clip = model(latent, sigma, context, to=to)
    frames = [level[:, None].expand(2, 3) for level in (sigma, to)]
    torch.testing.assert_close(model(latent, frames[0], context, to=frames[1]), clip)
    ends = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.1, 0.9]])
    a_frame = model(latent, frames[0], context, to=ends)
    tokens = [repeat(level, "b t -> b (t hw)", hw=6) for level in (frames[0], ends)]
    torch.testing.assert_close(a_frame, model(latent, tokens[0], context, to=tokens[1]))
    assert relative_error(a_frame, clip) > 1e-2


def test_a_model_that_is_no_flow_map_is_never_told_where_a_step_ends():
    latent, context = random_inputs(ODD)
    with pytest.raises(AssertionError, match="only a flow map"):
        random_model(ODD)(latent, torch.rand(2), context, to=torch.zeros(2))


def test_a_flow_map_adds_an_embedding_of_its_own_to_the_weights_of_wan():
    plain, model = VideoDiT(ODD).state_dict(), VideoDiT(MAPPED).state_dict()
    added = {name: tuple(model[name].shape) for name in model.keys() - plain.keys()}
    assert added == {
        "way_embedding.0.weight": (ODD.dim, 32), "way_embedding.0.bias": (ODD.dim,),
        "way_embedding.2.weight": (ODD.dim, ODD.dim), "way_embedding.2.bias": (ODD.dim,),
    }  # fmt: skip
    assert plain.keys() <= model.keys()


def test_every_weight_of_a_flow_map_learns_but_the_bias_that_falls_out():
    model = random_model(MAPPED)
    latent, context = random_inputs(MAPPED)
    model(latent, torch.rand(2), context, to=torch.zeros(2)).square().mean().backward()
    sizes = {n: float(p.grad.abs().max()) for n, p in model.named_parameters()}
    bias = sizes.pop("way_embedding.2.bias")  # that of no way at all is taken away again
    assert bias < 1e-4 * sizes["way_embedding.2.weight"]
    assert [name for name, size in sizes.items() if not size] == []
