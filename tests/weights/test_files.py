import json
import struct
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from kineograph.errors import RequestError, WeightsError
from kineograph.models.text import TextEncoder
from kineograph.models.vae import VideoVAE
from kineograph.presets import NANO, SMALL, TINY
from kineograph.spec import InterpolatorConfig, TextConfig, UpsamplerConfig
from kineograph.weights.files import build, load_weights, save_tensors, save_weights
from kineograph.weights.header import MAX_HEADER_BYTES, SCALE, read_header, sha256
from kineograph.weights.packing import pack, unpack

META = {"world_version": "1", "recipe": "none"}


@pytest.fixture
def encoder():
    module = TextEncoder(TINY.text)
    module.init_weights(torch.Generator().manual_seed(0))
    return module


@pytest.fixture
def path(tmp_path, encoder):
    path = tmp_path / "text.safetensors"
    save_weights(path, encoder, TINY.text, META)
    return path


def refused(path, kind="text"):
    with pytest.raises(WeightsError) as caught:
        build(kind, path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def rewritten(path, change):
    """Write the file again, its tensors and header changed by `change(tensors, metadata)`."""
    _, tensors, metadata = load_weights(path, "text")
    change(tensors, metadata)
    save_tensors(path, tensors, metadata)
    return path


def test_what_is_saved_comes_back_bit_for_bit(path, encoder):
    config, tensors, metadata = load_weights(path, "text")
    assert config == TINY.text
    assert metadata.items() >= META.items()
    assert metadata["kind"] == "text" and metadata["kineograph"]
    state = encoder.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_built_part_computes_what_the_saved_one_does(path, encoder):
    built = build("text", path)
    ids = torch.arange(12).reshape(2, 6)
    mask = torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(built(ids, mask), encoder(ids, mask))
    assert not built.training and not any(p.requires_grad for p in built.parameters())


def test_latent_statistics_of_the_config_survive(tmp_path):
    config = replace(TINY.vae, latents_mean=(0.1,) * 8, latents_std=(1.7,) * 8)
    save_weights(tmp_path / "vae.safetensors", VideoVAE(config), config)
    latent = torch.zeros(1, 8, 1, 2, 2)
    raw = build("vae", tmp_path / "vae.safetensors").denormalise(latent)
    assert torch.allclose(raw, torch.full_like(raw, 0.1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_matrices_are_rounded_and_norms_are_not(tmp_path, dtype):
    encoder = TextEncoder(NANO.text)
    encoder.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        encoder.norm.weight.add_(1e-4)
    path = tmp_path / "text.safetensors"
    save_weights(path, encoder, NANO.text, dtype=dtype)
    tensors = load_weights(path, "text")[1]
    assert tensors["token_embedding.weight"].dtype == dtype
    assert tensors["norm.weight"].dtype == torch.float32
    assert tensors["blocks.0.pos_embedding.embedding.weight"].dtype == torch.float32
    built = build("text", path)
    assert {p.dtype for p in built.parameters()} == {torch.float32}
    assert torch.equal(built.norm.weight, encoder.norm.weight)
    rounded = encoder.token_embedding.weight.to(dtype).float()
    assert torch.equal(built.token_embedding.weight, rounded)


@pytest.fixture
def large_encoder():
    """One whose matrices are large enough to be rounded."""
    module = TextEncoder(SMALL.text)
    module.init_weights(torch.Generator().manual_seed(0))
    return module


def test_a_file_of_8_bits_is_about_half_of_one_of_16(tmp_path, large_encoder):
    sizes = {}
    for dtype in (torch.int8, torch.bfloat16, None):
        path = tmp_path / "text.safetensors"
        save_weights(path, large_encoder, SMALL.text, dtype=dtype)
        sizes[dtype] = path.stat().st_size
    assert 0.5 < sizes[torch.int8] / sizes[torch.bfloat16] < 0.56
    assert 0.25 < sizes[torch.int8] / sizes[None] < 0.29


def test_weights_of_8_bits_are_the_same_floats_every_time(tmp_path, large_encoder):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_weights(first, large_encoder, SMALL.text, META, torch.int8)
    config, tensors, _ = load_weights(first, "text")
    weight = large_encoder.state_dict()["blocks.0.ffn.fc1.weight"]
    assert torch.equal(tensors["blocks.0.ffn.fc1.weight"], unpack(*pack(weight)))
    built = build("text", first).state_dict()
    assert built.keys() == large_encoder.state_dict().keys()
    assert all(torch.equal(built[name], tensors[name]) for name in built)
    # Packed again they are the same file: what assembles a model from parts of 8 bits loses none.
    save_weights(second, tensors, config, META, torch.int8)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_small_or_has_one_axis_is_never_in_8_bits(tmp_path, large_encoder):
    state = large_encoder.state_dict()
    path = tmp_path / "text.safetensors"
    one, row, edge = torch.ones(1 << 15), torch.ones(1, 1 << 15), torch.ones(2, 1 << 13)
    large = {"vector": one, "row": row, "edge": edge}
    save_weights(path, state | large, SMALL.text, dtype=torch.int8)
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    packed = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    assert packed == {n for n, t in state.items() if t.ndim > 1 and t.numel() > 1 << 14}
    assert packed | {name + SCALE for name in packed} | (state | large).keys() == stored.keys()
    for name in stored.keys() - packed:
        assert stored[name].dtype == torch.float32
        if not name.endswith(SCALE):
            assert torch.equal(stored[name], (state | large)[name])


def test_scales_that_are_missing_or_misshapen_are_refused_by_the_name_of_the_file(
    tmp_path, large_encoder
):
    path, name = tmp_path / "text.safetensors", "token_embedding.weight"
    save_weights(path, large_encoder, SMALL.text, dtype=torch.int8)
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        metadata = file.metadata()
    for scale in (None, torch.ones(3), torch.ones(SMALL.text.vocab_size, 1)):
        changed = {n: t for n, t in stored.items() if n != name + SCALE}
        save_tensors(path, changed if scale is None else changed | {name + SCALE: scale}, metadata)
        assert f"the scales of {name} are missing or do not fit" in refused(path)


def test_scales_are_no_parameters(tmp_path, large_encoder):
    count = sum(p.numel() for p in large_encoder.parameters())
    for dtype in (torch.int8, torch.bfloat16):
        save_weights(tmp_path / "text.safetensors", large_encoder, SMALL.text, dtype=dtype)
        header = read_header(tmp_path / "text.safetensors")
        assert header.parameters == count
    # A weight that is only called so is one.
    tensors = {f"a{i}": torch.ones(1) for i in range(9)} | {"a" + SCALE: torch.ones(3)}
    save_weights(tmp_path / "text.safetensors", tensors, SMALL.text)
    assert read_header(tmp_path / "text.safetensors").parameters == 12


def test_the_header_is_read_without_tensors(path, encoder):
    header = read_header(path)
    assert header.parameters == sum(p.numel() for p in encoder.parameters())
    assert header.bytes == path.stat().st_size
    assert header.shapes["norm.weight"] == (TINY.text.dim,)


def test_tied_tensors_are_saved_as_two(tmp_path):
    one = torch.ones(3)
    save_tensors(tmp_path / "x.safetensors", {"a": one, "b": one}, {})
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert set(file.keys()) == {"a", "b"}


def test_equal_weights_make_equal_bytes(tmp_path, encoder):
    told = {name: f"\u955c {name}" for name in "abcdefgh"}
    files = []
    for i in range(4):
        path = tmp_path / f"{i}.safetensors"
        save_weights(path, encoder, TINY.text, dict(reversed(told.items())) if i % 2 else told)
        files.append(path.read_bytes())
    assert files[1:] == files[:1] * 3
    metadata = load_weights(tmp_path / "0.safetensors", "text")[2]
    assert {k: metadata[k] for k in told} == told


def test_metadata_cannot_overwrite_the_header(tmp_path, encoder):
    with pytest.raises(ValueError, match="kind"):
        save_weights(tmp_path / "x.safetensors", encoder, TINY.text, {"kind": "vae"})


def test_a_failed_save_leaves_the_old_file_and_nothing_else(path, encoder, monkeypatch):
    before = path.read_bytes()

    def full(tensors, name, metadata):
        name.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kineograph.weights.files.save_file", full)
    with pytest.raises(RequestError, match="No space left"):
        save_weights(path, encoder, TINY.text)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_saving_into_no_folder_is_refused(tmp_path, encoder):
    with pytest.raises(RequestError, match="no folder"):
        save_weights(tmp_path / "none" / "x.safetensors", encoder, TINY.text)


def test_missing_empty_and_other_files_are_refused(tmp_path):
    path = tmp_path / "text.safetensors"
    assert "missing" in refused(path)
    path.mkdir()
    assert "not a file" in refused(path)
    path.rmdir()
    path.write_bytes(b"")
    assert "empty" in refused(path)
    path.write_bytes(b"abc")
    assert "no safetensors" in refused(path)
    path.write_bytes(b"\x80\x04pickle, and then quite some more of it" * 10)
    assert "no safetensors" in refused(path)


@pytest.mark.parametrize("keep", [7, 9, 200, 0.5, -1])
def test_truncated_files_are_refused(path, keep):
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep) if isinstance(keep, float) else keep])
    assert "truncated" in refused(path)


def test_hostile_headers_are_refused(path):
    about = {"kind": "text", "config": json.dumps({"num_layers": 1, "dim": 16})}

    def header(data):
        data = data if isinstance(data, bytes) else {"__metadata__": about} | data
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(64))
        return refused(path)

    path.write_bytes(struct.pack("<Q", 2**63) + bytes(64))
    assert "truncated or no safetensors" in refused(path)
    with path.open("wb") as file:  # a sparse file: it does hold what it claims
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        file.truncate(MAX_HEADER_BYTES + 64)
    assert "header" in refused(path)
    assert "damaged" in header(b"not json at all")
    huge = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    assert "damaged" in header({"a": huge})
    assert "damaged" in header({"a": huge | {"shape": [2**62, 8], "data_offsets": [0, 8]}})
    assert "negative" in header({"a": huge | {"shape": [-1]}})
    assert "damaged" in header({"a": {}})
    assert "damaged" in header({"a": 3})
    assert "damaged" in header({"__metadata__": [1]})
    assert "damaged" in header(b"[" * 100_000)
    assert "damaged" in header(b"[]")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (None, "no usable config"),
        ("[]", "no object"),
        ("[" * 100_000, "no usable config"),
        ('{"colour": 1}', "colour"),
        ('{"dim": "wide"}', "dim"),
        ('{"dim": true}', "dim"),
        ('{"dim": -1}', "dim"),
        ('{"vocab_size": 1099511627776}', "vocab_size"),
        ('{"num_layers": 1000000}', "num_layers"),
        ('{"dim": [1, 2]}', "dim"),
    ],
)
def test_hostile_configs_are_refused(path, config, says):
    def change(tensors, metadata):
        del metadata["config"]
        if config is not None:
            metadata["config"] = config

    rewritten(path, change)
    assert says in refused(path)


def test_the_wrong_kind_is_refused(path, tmp_path):
    assert "text weights where dit weights are wanted" in refused(path, "dit")
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.ones(2)}, other)
    assert "no weights of kineograph" in refused(other)


def test_missing_unexpected_and_misshapen_weights_are_refused(path):
    rewritten(path, lambda tensors, _: tensors.pop("norm.weight"))
    assert "lacks norm.weight" in refused(path)
    rewritten(path, lambda tensors, _: tensors.update({"norm.weight": torch.ones(3)}))
    assert "norm.weight has shape (3,); (16,) is wanted" in refused(path)
    rewritten(path, lambda t, _: t.update({"norm.weight": torch.ones(16, dtype=torch.int64)}))
    assert "torch.int64" in refused(path)
    rewritten(path, lambda t, _: t.update({"norm.weight": torch.ones(16), "more": torch.ones(1)}))
    assert "unexpected weight more" in refused(path)


def test_a_config_beside_its_tensors_is_refused(path):
    def change(_, metadata):
        metadata["config"] = json.dumps({"dim": 32, "num_heads": 3, "num_layers": 1})

    rewritten(path, change)
    refused(path)


def test_sha256_follows_the_file(path):
    import hashlib

    first = sha256(path)
    assert first == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"something else")
    assert sha256(path) == hashlib.sha256(b"something else").hexdigest() != first
    with pytest.raises(WeightsError, match="none"):
        sha256(path.with_name("none"))


def test_every_config_type_has_a_kind(tmp_path):
    for config, kind in (
        (TINY.vae, "vae"), (TINY.dit, "dit"), (UpsamplerConfig(), "upsampler"),
        (InterpolatorConfig(8), "interpolator"), (replace(TINY.dit, flow_map=True), "dit"),
    ):  # fmt: skip
        tensors = {f"a{i}": torch.ones(2) for i in range(9)}
        save_weights(tmp_path / "x.safetensors", tensors, config)
        read = read_header(tmp_path / "x.safetensors")
        assert (read.kind, read.config) == (kind, config)
    assert isinstance(TINY.text, TextConfig)
