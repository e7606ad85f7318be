"""Adapters in every format that is shared, against PEFT as diffusers applies it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders import WanLoraLoaderMixin

from kineograph import generate as gen
from kineograph.errors import RequestError, WeightsError
from kineograph.models.dit import VideoDiT
from kineograph.pipeline import adapt, load
from kineograph.presets import PRESETS, TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.weights.adapters import Attached, read_adapter
from kineograph.weights.files import save_tensors
from kineograph.weights.keymaps import DIT_TO_DIFFUSERS, new_name, rename

CONFIG = replace(TINY.dit, text_len=9)
LAYERS = [
    f"blocks.{i}.{name}"
    for i in range(CONFIG.num_layers)
    for name in (*(f"{a}_attn.{p}" for a in ("self", "cross") for p in "qkvo"), "ffn.0", "ffn.2")
]
RANK = 3


def random_dit():
    model = VideoDiT(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return model.eval().requires_grad_(False)


def halves(model, seed=1):
    """A random change of every usual layer: down and up."""
    generator = torch.Generator().manual_seed(seed)
    weights = dict(model.named_parameters())
    return {
        layer: (
            0.3 * torch.randn(RANK, weights[f"{layer}.weight"].shape[1], generator=generator),
            0.3 * torch.randn(weights[f"{layer}.weight"].shape[0], RANK, generator=generator),
        )
        for layer in LAYERS
    }


def theirs(layer):
    return new_name(f"{layer}.", DIT_TO_DIFFUSERS).removesuffix(".")


def written(path, pairs, how, alpha=None):
    """Write a LoRA as one of the tools does."""
    ends, name = (".lora_A.weight", ".lora_B.weight"), lambda layer: layer
    if how == "diffusers":
        name = lambda layer: f"transformer.{theirs(layer)}"  # noqa: E731
    elif how == "peft":
        name = lambda layer: f"base_model.model.{layer}"  # noqa: E731
    elif how == "comfyui":
        name = lambda layer: f"diffusion_model.{layer}"  # noqa: E731
    elif how == "distilled":
        ends = (".lora_down.weight", ".lora_up.weight")
        name = lambda layer: f"diffusion_model.{layer}"  # noqa: E731
    elif how == "kohya":
        ends = (".lora_down.weight", ".lora_up.weight")
        name = lambda layer: "lora_unet_" + layer.replace(".", "_")  # noqa: E731
    tensors = {}
    for layer, parts in pairs.items():
        tensors |= {name(layer) + end: part for end, part in zip(ends, parts, strict=True)}
        if alpha is not None:
            tensors[f"{name(layer)}.alpha"] = torch.tensor(alpha)
    save_tensors(path, tensors, {})
    return path


def inputs():
    generator = torch.Generator().manual_seed(2)
    latent = torch.randn(1, CONFIG.in_channels, 3, 4, 6, generator=generator)
    context = torch.randn(1, CONFIG.text_len, CONFIG.text_dim, generator=generator)
    return latent, torch.tensor([0.6]), context


def peer(model):
    wan = WanTransformer3DModel(
        patch_size=CONFIG.patch_size, num_attention_heads=CONFIG.num_heads,
        attention_head_dim=CONFIG.head_dim, in_channels=CONFIG.in_channels,
        out_channels=CONFIG.out_channels, text_dim=CONFIG.text_dim, freq_dim=CONFIG.freq_dim,
        ffn_dim=CONFIG.ffn_dim, num_layers=CONFIG.num_layers, eps=CONFIG.eps,
    ).eval()  # fmt: skip
    wan.load_state_dict(rename(model.state_dict(), DIT_TO_DIFFUSERS))
    return wan


def off(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("merge", [False, True], ids=["live", "merged"])
@pytest.mark.parametrize(
    ("how", "alpha"),
    [("diffusers", None), ("comfyui", 1.5), ("distilled", 6.0), ("kohya", 1.5)],
)
@torch.no_grad()
def test_what_a_file_does_is_what_diffusers_does_with_it(tmp_path, how, alpha, merge):
    model, (latent, sigma, context) = random_dit(), inputs()
    path = written(tmp_path / "lora.safetensors", halves(model), how, alpha)
    wan = peer(model)
    state = WanLoraLoaderMixin.lora_state_dict(path)
    wan.load_lora_adapter(state, prefix="transformer")
    wanted = wan(latent, sigma * 1000, context, return_dict=False)[0]
    plain = model(latent, sigma, context)
    attached = Attached(model, [(read_adapter(path, model), 1.0)], merge)
    found = model(latent, sigma, context)
    assert off(found, wanted) < 1e-5
    assert off(plain, wanted) > 1e-2
    attached.detach()
    assert torch.equal(model(latent, sigma, context), plain)


@torch.no_grad()
def test_every_format_says_the_same_and_scales_add_up(tmp_path):
    model, given = random_dit(), inputs()
    pairs, more = halves(model), halves(model, seed=5)
    results = []
    for how in ("plain", "peft", "diffusers", "comfyui", "distilled", "kohya"):
        path = written(tmp_path / f"{how}.safetensors", pairs, how)
        attached = Attached(model, [(read_adapter(path, model), 0.7)])
        results.append(model(*given))
        attached.detach()
    assert all(torch.equal(results[0], result) for result in results)

    first = read_adapter(written(tmp_path / "a.safetensors", pairs, "kohya", 1.5), model)
    second = read_adapter(written(tmp_path / "b.safetensors", more, "comfyui"), model)
    expected = {k: w.clone() for k, w in model.state_dict().items()}
    for layer in LAYERS:
        (down, up), (down2, up2) = pairs[layer], more[layer]
        expected[f"{layer}.weight"] += 0.5 * (1.5 / RANK) * up @ down - 0.2 * up2 @ down2
    changed = random_dit()
    changed.load_state_dict(expected)
    wanted = changed(*given)
    for merge in (False, True):
        attached = Attached(model, [(first, 0.5), (second, -0.2)], merge)
        assert off(model(*given), wanted) < 1e-5
        attached.detach()


@torch.no_grad()
def test_whole_differences_of_weights_and_biases_are_added(tmp_path):
    model, given = random_dit(), inputs()
    changes = {
        "diffusion_model.blocks.0.norm3.diff": torch.full((CONFIG.dim,), 0.3),
        "diffusion_model.blocks.1.ffn.0.diff_b": torch.full((CONFIG.ffn_dim,), -0.2),
        "diffusion_model.patch_embedding.diff_b": torch.full((CONFIG.dim,), 0.1),
    }
    save_tensors(tmp_path / "d.safetensors", changes, {})
    plain = model(*given)
    kept = {name: p.data_ptr() for name, p in model.named_parameters()}
    attached = Attached(model, [(read_adapter(tmp_path / "d.safetensors", model), 2.0)])
    state = random_dit().state_dict()
    state["blocks.0.norm3.weight"] += 0.6
    state["blocks.1.ffn.0.bias"] -= 0.4
    state["patch_embedding.bias"] += 0.2
    other = random_dit()
    other.load_state_dict(state)
    assert off(model(*given), other(*given)) < 1e-6
    attached.detach()
    assert torch.equal(model(*given), plain)
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == kept


def test_what_is_for_the_second_expert_is_told_by_its_prefix(tmp_path):
    model = random_dit()
    (down, up), (down2, up2) = (halves(model, seed)["blocks.0.ffn.0"] for seed in (1, 2))
    name = theirs("blocks.0.ffn.0")
    save_tensors(
        tmp_path / "both.safetensors",
        {
            f"transformer.{name}.lora_A.weight": down,
            f"transformer.{name}.lora_B.weight": up,
            f"transformer_2.{name}.lora_A.weight": down2,
            f"transformer_2.{name}.lora_B.weight": up2,
        },
        {},
    )  # fmt: skip
    for second, wanted in ((False, down), (True, down2)):
        adapter = read_adapter(tmp_path / "both.safetensors", model, second)
        assert torch.equal(adapter.layers["blocks.0.ffn.0"][0], wanted)


def test_bad_adapters_are_refused(tmp_path):
    model = random_dit()
    down, up = halves(model)["blocks.0.ffn.0"]
    path = tmp_path / "bad.safetensors"
    for tensors, message in (
        ({"blocks.9.ffn.0.lora_A.weight": down}, "changes 'blocks.9.ffn.0', which the model has"),
        ({"blocks.0.ffn.0.lora_A.weight": down}, r"lacks half of its change .* \(up\)"),
        ({"blocks.0.ffn.0.lokr_w1": down}, "no adapter that is known: it holds"),
        (
            {"blocks.0.ffn.0.lora_A.weight": down[:, :3], "blocks.0.ffn.0.lora_B.weight": up},
            r"by \(48, 3\) times \(3, 3\); it is \(48, 24\)",
        ),
        ({"blocks.0.norm3.diff": torch.ones(3)}, r"has shape \(3,\); \(24,\) is wanted"),
        ({"blocks.0.ffn.0.alpha": torch.ones(())}, "changes no layer"),
    ):
        save_tensors(path, tensors, {})
        with pytest.raises(WeightsError, match=message.replace("'", "")):
            read_adapter(path, model)
    save_tensors(path, {"blocks.0.ffn.0.lora_A.weight": down}, {})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="truncated"):
        read_adapter(path, model)


def test_a_clip_is_made_with_adapters_and_without_them_again(tmp_path):
    tiny = load("tiny")
    path = written(tmp_path / "a.safetensors", halves(tiny.dit), "kohya")
    plain = resolve(GenerationRequest("a ball", model="tiny", seed=1, num_frames=5), tiny.spec)
    asked = resolve(replace(plain.as_request(), lora=(f"{path}@0.5",)), tiny.spec)
    assert asked.inputs() == [str(path)]

    def frames(pipeline, request):
        return np.concatenate(list(gen.generate(pipeline, request)))

    before = frames(tiny, plain)
    changed = adapt(tiny, asked.lora)
    assert not np.array_equal(frames(changed, asked), before)
    again = adapt(changed, ())
    assert np.array_equal(frames(again, plain), before)
    assert not any(m._forward_hooks for m in tiny.dit.modules())


def test_entries_name_a_file_a_scale_and_an_expert():
    two, one = PRESETS["wan2.2-t2v-a14b"], PRESETS["wan2.1-t2v-1.3b"]
    given = GenerationRequest("a ball", lora=("a.safetensors", "b@-0.5#low", "c@d@2"))
    assert resolve(given, two).inputs() == ["a.safetensors", "b", "c@d"]
    for entry, spec in (("a#low", one), ("a@x", two), ("a@11", two), ("@1", two), ("a#mid", two)):
        with pytest.raises(RequestError, match="lora"):
            resolve(GenerationRequest("a ball", lora=(entry,)), spec)
