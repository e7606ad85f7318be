import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from kineograph.models.image import ImageEncoder
from kineograph.spec import ImageConfig
from kineograph.weights.keymaps import (
    IMAGE_TO_TRANSFORMERS,
    IMAGE_TO_WAN,
    image_unused_in_transformers,
    image_unused_in_wan,
    rename,
    split_qkv,
    used,
)

SMALL = ImageConfig(
    image_size=28, patch_size=7, dim=24, ffn_dim=40, num_heads=3, num_layers=2, eps=1e-5
)


def reference(config, layers):
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=config.dim, intermediate_size=config.ffn_dim, num_hidden_layers=layers,
            num_attention_heads=config.num_heads, image_size=config.image_size,
            patch_size=config.patch_size, hidden_act="gelu", layer_norm_eps=config.eps,
            projection_dim=16,
        )
    ).eval()  # fmt: skip


def on_file(encoder):
    """Our weights as transformers has them: without axes of length one."""
    renamed = split_qkv(rename(encoder.state_dict(), IMAGE_TO_TRANSFORMERS))
    return {name: weight.squeeze() for name, weight in renamed.items()}


def random_encoder(config=SMALL):
    encoder = ImageEncoder(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return encoder.eval()


@torch.no_grad()
def test_equals_the_last_hidden_state_but_one_of_transformers():
    encoder, clip = random_encoder(), reference(SMALL, 3)
    renamed = on_file(encoder)
    missing = clip.load_state_dict(renamed, strict=False)
    assert missing.unexpected_keys == []
    unused = [k for k in missing.missing_keys if ".layers.2." not in k and "post_layer" not in k]
    assert unused == []
    pictures = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    wanted = clip(pictures, output_hidden_states=True).hidden_states[-2]
    found = encoder(pictures)
    assert found.shape == (2, SMALL.tokens, 24)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


def test_vit_h_has_our_weights_under_the_names_of_both_layouts():
    config = ImageConfig()
    with torch.device("meta"):
        ours = ImageEncoder(config).state_dict()
        renamed = on_file(ImageEncoder(config))
        theirs = reference(config, 32).state_dict()
    unused = image_unused_in_transformers(config)
    wanted = {k: v for k, v in theirs.items() if used(k, unused)}
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in wanted.items()}
    assert config.tokens == 257
    original, unused = rename(ours, IMAGE_TO_WAN), image_unused_in_wan(config)
    assert "visual.transformer.30.attn.to_qkv.weight" in original
    for name in ("textual.head.0.weight", "log_scale", "visual.head", "visual.post_norm.bias"):
        assert not used(name, unused)
    assert not used("visual.transformer.31.mlp.0.bias", unused)
    assert all(used(name, unused) for name in original)


def test_a_picture_is_squeezed_into_the_square_and_normalised():
    encoder = ImageEncoder(SMALL)
    wide = torch.full((1, 3, 20, 60), -1.0)
    wide[..., 30:] = 1.0
    found = encoder.prepare(wide)
    assert found.shape == (1, 3, 28, 28)
    black, white = found[0, :, 14, 2], found[0, :, 14, -3]
    assert (black * torch.tensor([0.2686, 0.2613, 0.2758])).tolist() == pytest.approx(
        [-0.4815, -0.4578, -0.4082], abs=1e-3
    )
    assert ((white - black) * torch.tensor([0.2686, 0.2613, 0.2758])).tolist() == pytest.approx(
        [1, 1, 1], abs=1e-3
    )


def test_every_weight_learns():
    encoder = random_encoder()
    encoder(torch.randn(2, 3, 28, 28)).square().mean().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []
