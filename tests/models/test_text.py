import pytest
import torch
from transformers import UMT5Config, UMT5EncoderModel

from kineograph.models.text import TextEncoder, distance_buckets, encode_context
from kineograph.spec import TextConfig
from kineograph.weights.keymaps import TEXT_TO_TRANSFORMERS, rename

SMALL = TextConfig(
    vocab_size=50, dim=24, head_dim=8, num_heads=2, ffn_dim=40, num_layers=2, max_distance=20
)


def reference(config):
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=config.vocab_size,
            d_model=config.dim,
            d_kv=config.head_dim,
            d_ff=config.ffn_dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            relative_attention_num_buckets=config.num_buckets,
            relative_attention_max_distance=config.max_distance,
            layer_norm_epsilon=config.eps,
        )
    ).eval()


def random_encoder(config=SMALL):
    encoder = TextEncoder(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return encoder.eval()


def random_texts():
    ids = torch.randint(0, 50, (3, 40), generator=torch.Generator().manual_seed(1))
    return ids, torch.arange(40) < torch.tensor([[40], [7], [1]])


@torch.no_grad()
def test_equals_transformers_where_the_mask_is_true():
    encoder, umt5 = random_encoder(), reference(SMALL)
    renamed = rename(encoder.state_dict(), TEXT_TO_TRANSFORMERS)
    missing = umt5.load_state_dict(renamed, strict=False)
    assert missing.unexpected_keys == []
    assert missing.missing_keys in ([], ["encoder.embed_tokens.weight"])  # tied to `shared`
    ids, mask = random_texts()
    wanted = umt5(ids, mask.long()).last_hidden_state
    found = encoder(ids, mask)
    error = (found - wanted)[mask].abs().max() / wanted.abs().max()
    assert float(error) < 1e-5


def test_umt5_xxl_has_our_weights_under_the_tables_names():
    config = TextConfig()
    with torch.device("meta"):
        ours = rename(TextEncoder(config).state_dict(), TEXT_TO_TRANSFORMERS)
        theirs = reference(config).state_dict()
    theirs.pop("encoder.embed_tokens.weight", None)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (32, 20), (8, 16)])
def test_distance_buckets_equal_transformers(buckets, farthest):
    config = TextConfig(
        vocab_size=4, dim=4, head_dim=2, num_heads=1, ffn_dim=4, num_layers=1,
        num_buckets=buckets, max_distance=farthest,
    )  # fmt: skip
    attention = reference(config).encoder.block[0].layer[0].SelfAttention
    place = torch.arange(200)
    wanted = attention._relative_position_bucket(place[None, :] - place[:, None])
    assert torch.equal(distance_buckets(200, buckets, farthest), wanted)


@torch.no_grad()
def test_padding_is_never_seen():
    encoder = random_encoder()
    ids, mask = random_texts()
    other = torch.where(mask, ids, (ids + 1) % 50)
    torch.testing.assert_close(encoder(ids, mask)[mask], encoder(other, mask)[mask])
    alone = encoder(ids[1:2, :7], mask[1:2, :7])
    torch.testing.assert_close(encoder(ids, mask)[1:2, :7], alone)


@torch.no_grad()
def test_context_is_zero_beyond_each_text_and_as_long_as_asked():
    encoder = random_encoder()
    ids, mask = random_texts()
    context = encode_context(encoder, ids, mask, 64)
    assert context.shape == (3, 64, SMALL.dim)
    torch.testing.assert_close(context[:, :40][mask], encoder(ids, mask)[mask])
    assert not context[1, 7:].any() and not context[2, 1:].any()


@torch.no_grad()
def test_bfloat16_stays_finite_and_close():
    encoder = random_encoder()
    ids, mask = random_texts()
    exact = encoder(ids, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(ids, mask)
    assert bool(torch.isfinite(found).all())
    assert float((found.float() - exact)[mask].abs().max() / exact.abs().max()) < 0.1


def test_init_weights_starts_attention_unscaled_as_t5_does():
    config = TextConfig(
        vocab_size=512, dim=128, head_dim=32, num_heads=4, ffn_dim=384, num_layers=1
    )
    encoder = TextEncoder(config)
    encoder.init_weights(torch.Generator().manual_seed(0))
    block = encoder.blocks[0]
    deviations = {
        encoder.token_embedding: 1.0,
        block.attn.q: (128 * 32) ** -0.5,
        block.attn.k: 128**-0.5,
        block.attn.o: 128**-0.5,
        block.ffn.fc2: 384**-0.5,
    }
    for layer, deviation in deviations.items():
        assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.05)
    again = TextEncoder(config)
    again.init_weights(torch.Generator().manual_seed(0))
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, encoder.state_dict()[name]), name
