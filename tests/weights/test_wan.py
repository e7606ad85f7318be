"""Scaled-down copies of the open Wan models with random weights, in both of their layouts.

diffusers' own pipelines are the reference: what they save, we read; what they make, we make.
"""

import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)
from safetensors.torch import load_file
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)
from wan_rows import IMAGE, PICKLES, ROWS, TEXT, TRUE, scaled, write_original

from kineograph.decoding import decode
from kineograph.errors import RequestError, WeightsError
from kineograph.flow.sigmas import make_sigmas
from kineograph.generate import generate, initial_noise, told_sigma
from kineograph.media.video import open_writer, read_video
from kineograph.pipeline import load
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.weights import folder as folders
from kineograph.weights import header
from kineograph.weights.files import save_tensors
from kineograph.weights.folder import open_parts, package_folder, spec_of


def _random(module, generator, std=0.2):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std, generator=generator)
    return module.eval()


def peers(spec):
    """diffusers' own pipeline of a scaled row, with random weights."""
    generator = torch.Generator().manual_seed(0)
    d, v = spec.dit, spec.vae

    kind, control = WanTransformer3DModel, {}
    if d.control_layers:
        kind = WanVACETransformer3DModel
        control = {"vace_layers": list(d.control_layers), "vace_in_channels": d.control_channels}

    def transformer():
        return _random(
            kind(
                **control,
                num_attention_heads=d.num_heads, attention_head_dim=d.head_dim,
                in_channels=d.in_channels, out_channels=d.out_channels, text_dim=d.text_dim,
                freq_dim=d.freq_dim, ffn_dim=d.ffn_dim, num_layers=d.num_layers,
                image_dim=d.image_dim or None, added_kv_proj_dim=d.dim if d.image_dim else None,
                pos_embed_seq_len=d.image_positions or None,
            ),
            generator,
        )  # fmt: skip

    pixels = 3 * v.patch_size**2
    vae = _random(
        AutoencoderKLWan(
            base_dim=v.encoder_dim, decoder_base_dim=v.decoder_dim, z_dim=v.z_dim,
            dim_mult=list(v.dim_mult), num_res_blocks=v.num_res_blocks,
            temperal_downsample=list(v.temporal_downsample), latents_mean=list(v.latents_mean),
            latents_std=list(v.latents_std), is_residual=v.residual, in_channels=pixels,
            out_channels=pixels, patch_size=v.patch_size if v.patch_size > 1 else None,
            scale_factor_temporal=v.temporal_stride, scale_factor_spatial=v.spatial_stride,
        ),
        generator, 0.1,
    )  # fmt: skip
    text = _random(
        UMT5EncoderModel(
            UMT5Config(
                vocab_size=TEXT.vocab_size, d_model=TEXT.dim, d_kv=TEXT.head_dim,
                d_ff=TEXT.ffn_dim, num_layers=TEXT.num_layers, num_heads=TEXT.num_heads,
                feed_forward_proj="gated-gelu", layer_norm_epsilon=TEXT.eps,
            )
        ),
        generator,
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(package_folder() / "tiny" / "tokenizer.json"), pad_token="<pad>",
        eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip
    parts = {
        "tokenizer": tokenizer, "text_encoder": text, "vae": vae, "transformer": transformer(),
        "scheduler": UniPCMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
    }  # fmt: skip
    if spec.boundary:
        parts |= {"transformer_2": transformer(), "boundary_ratio": spec.boundary}
    if d.control_layers:
        return WanVACEPipeline(**parts)
    if "image" not in spec.ways:
        return WanPipeline(**parts)
    if spec.image:
        clip = CLIPVisionConfig(
            hidden_size=IMAGE.dim, intermediate_size=IMAGE.ffn_dim, num_hidden_layers=3,
            num_attention_heads=IMAGE.num_heads, image_size=IMAGE.image_size,
            patch_size=IMAGE.patch_size, hidden_act="gelu", layer_norm_eps=IMAGE.eps,
        )  # fmt: skip
        parts["image_encoder"] = _random(CLIPVisionModel(clip), generator)
        side = {"height": 28, "width": 28}
        parts["image_processor"] = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=side)
    if not spec.concatenates:
        parts["expand_timesteps"] = True
    return WanImageToVideoPipeline(**parts)


@pytest.fixture(scope="module", autouse=True)
def rows(tmp_path_factory):
    """The rows of the table scaled, and a cache of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINEOGRAPH_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ROWS:
            patch.setitem(folders.PRESETS, name, scaled(name))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "nowhere")
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return, for a row, diffusers' pipeline and its folder, written once."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("models") / name
            pipeline = peers(scaled(name))
            pipeline.save_pretrained(folder, max_shard_size="40KB")
            pipeline.set_progress_bar_config(disable=True)
            made[name] = (pipeline, folder)
        return made[name]

    return get


def picture(path, seed, size):
    noise = np.random.default_rng(seed).integers(0, 255, (size.height, size.width, 3), np.uint8)
    from PIL import Image

    image = Image.fromarray(noise)
    image.save(path)
    return image


def controlled(folder, size):
    """A control video, its mask and a picture of reference, as we and as diffusers take them."""
    from PIL import Image

    path, half = folder / "control.mp4", np.zeros((size.height, size.width, 3), np.uint8)
    half[:, size.width // 2 :] = 255
    noise = np.random.default_rng(5).integers(0, 255, (9, *half.shape), np.uint8)
    with open_writer(path, 16, size.width, size.height, "mp4") as writer:
        writer.write(noise)
    Image.fromarray(half).save(folder / "mask.png")
    with read_video(path) as frames:
        video = [Image.fromarray(frame) for frame in frames]
    reference = picture(folder / "reference.png", 6, size)
    shown = {"control": str(path), "control_mask": str(folder / "mask.png"), "control_scale": 0.8}
    shown["references"] = (str(folder / "reference.png"),)
    seen = {"video": video, "mask": [Image.fromarray(half)] * 9, "conditioning_scale": 0.8}
    return shown, seen | {"reference_images": [reference]}


@pytest.mark.parametrize("name", ROWS)
def test_both_layouts_are_told_apart_and_open_to_identical_bits(name, saved, tmp_path):
    _, folder = saved(name)
    assert list(folder.glob("transformer/*.index.json")), "the transformer is in several files"
    spec = folders.PRESETS[name]  # rows of one shape are told apart by the folder's name
    assert replace(spec_of(str(folder)), name="") == replace(spec, name="")
    theirs = open_parts(str(folder)).modules
    other = tmp_path / f"Wan-{name}"
    write_original(other, spec, theirs)
    ours = open_parts(str(other)).modules
    assert set(ours) == set(theirs)
    assert set(ours) == {"vae", "dit", "text"} | ({"low_dit"} if spec.boundary else set()) | (
        {"image"} if spec.image else set()
    )
    for kind, module in theirs.items():
        again = ours[kind].state_dict()
        for key, weight in module.state_dict().items():
            assert torch.equal(again[key], weight), (kind, key)


# Of one shape and one way one is enough; distilled models have no solver that diffusers has.
NOT_ALONE = ("wan2.1-t2v-14b", "wan2.1-vace-14b")
KINDS = [n for n in ROWS if n not in NOT_ALONE and "distill" not in n and "720p" not in n]


@pytest.mark.parametrize("name", KINDS)
def test_the_clip_is_that_of_diffusers(name, saved, tmp_path):
    pipe, folder = saved(name)
    ours = load(str(folder), dtype=torch.float32)
    spec = ours.spec
    size = next(iter(spec.sizes.values()))
    given = {
        way: picture(tmp_path / f"{way}.png", seed, size)
        for seed, way in enumerate(("image", "last_image"))
        if way in spec.ways
    }
    shown, seen = {}, {}
    if "control" in spec.ways:
        shown, seen = controlled(tmp_path, size)
    request = resolve(
        GenerationRequest(
            "a red ball  rolls", seed=3, **shown, negative_prompt="green", guidance_scale=3.0,
            low_guidance_scale=2.0 if spec.boundary else None,
            **{way: str(tmp_path / f"{way}.png") for way in given},
        ),
        spec,
    )  # fmt: skip
    states = []
    for _ in generate(ours, request, on_step=states.append):
        pass
    latent = states[-1].x[:, :, len(request.references or ()) :]
    mine = torch.cat(list(decode(ours, latent)), dim=2)
    mine = ((mine + 1) / 2).clamp(0, 1).transpose(1, 2)

    sigmas = make_sigmas(request.steps, request.shift, sigma_max=0.999)
    told = told_sigma(spec, sigmas)[:-1] * 1000
    original = type(pipe.scheduler).set_timesteps

    def set_timesteps(steps, device=None, **_):
        original(pipe.scheduler, steps, device)
        pipe.scheduler.sigmas, pipe.scheduler.timesteps = sigmas, told.round().long()

    pipe.scheduler.set_timesteps = set_timesteps
    more = given | seen
    if spec.image:
        from kineograph.inputs import still

        seen = torch.stack([still(str(tmp_path / f"{way}.png"), size) for way in given])
        tokens = ours.image(ours.image.prepare(seen))  # squeezed as Wan does; diffusers cuts
        pipe.encode_image = lambda image, device=None: tokens
    if spec.boundary:
        more["guidance_scale_2"] = 2.0
    theirs = pipe(
        prompt=request.prompt, negative_prompt="green", height=size.height, width=size.width,
        num_frames=request.num_frames, num_inference_steps=request.steps, guidance_scale=3.0,
        latents=initial_noise(ours, request), output_type="pt", **more,
    ).frames  # fmt: skip
    assert theirs.shape == mine.shape
    # Against the clip's own contrast, as random weights make little of it: harder than PSNR.
    snr = -10 * torch.log10((mine - theirs).var() / mine.var())
    assert snr >= 50, f"{snr:.1f} dB"


def test_noise_levels_are_told_in_whole_thousandths_rounded_down():
    spec = TRUE["wan2.2-t2v-a14b"]
    sigmas = make_sigmas(40, spec.shift, sigma_max=spec.sigma_max)
    even = np.linspace(0.999, 0, 41)[:-1]
    exact = 12 * even / (1 + 11 * even)
    told = (told_sigma(spec, sigmas)[:-1] * 1000).round().long()
    assert told.tolist() == (exact * 1000).astype(np.int64).tolist()
    assert told[0] == 999


def damaged(folder, tmp_path, change):
    import shutil

    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    change(copy)
    return str(copy)


def test_bad_files_are_named_before_anything_is_computed(saved, tmp_path):
    name = "wan2.1-t2v-1.3b"
    _, folder = saved(name)
    shard = sorted(p.name for p in (folder / "transformer").glob("*.safetensors"))[1]

    def cut(copy):
        path = copy / "transformer" / shard
        path.write_bytes(path.read_bytes()[:-7])

    def lose(copy):
        (copy / "transformer" / shard).unlink()

    def lose_vae(copy):
        for path in (copy / "vae").iterdir():
            path.unlink()

    def swap(copy):
        lose_vae(copy)
        save_tensors(copy / "vae" / "model.safetensors", {"a.weight": torch.ones(2)}, {})

    def index(copy):
        path = next((copy / "transformer").glob("*.index.json"))
        told = json.loads(path.read_text())
        told["weight_map"]["x"] = "../../secret.safetensors"
        path.write_text(json.dumps(told))

    for i, (change, message) in enumerate((
        (cut, f"{shard} is truncated"),
        (lose, f"{shard} is missing; .* names it"),
        (lose_vae, "holds no vae weights of"),
        (swap, "lacks encoder.conv_in.weight"),
        (index, "a file's name leads elsewhere"),
    )):  # fmt: skip
        with pytest.raises(WeightsError, match=message):
            open_parts(damaged(folder, tmp_path / str(i), change))


def test_a_weight_too_many_or_of_another_shape_is_refused(saved, tmp_path):
    name = "wan2.1-t2v-1.3b"
    modules = open_parts(str(saved(name)[1])).modules
    for label, change, message in (
        ("more", {"blocks.9.norm3.bias": torch.ones(3)}, "an unexpected weight"),
        ("other", {"token_embedding.weight": torch.ones(5, 16)}, r"has shape \(5, 16\)"),
        ("whole", {"norm.weight": torch.ones(16, dtype=torch.int64)}, "not floating point"),
    ):
        folder = tmp_path / label
        write_original(folder, folders.PRESETS[name], modules)
        torch.save({**modules["text"].state_dict(), **change}, folder / PICKLES["text"])
        with pytest.raises(WeightsError, match=message):
            open_parts(str(folder))
    with pytest.raises(WeightsError, match=r"holds weights of none of: .*wan2.1-t2v-1.3b"):
        (tmp_path / "none" / "transformer").mkdir(parents=True)
        (tmp_path / "none" / "model_index.json").write_text("{}")
        path = tmp_path / "none" / "transformer" / "model.safetensors"
        save_tensors(path, {"a": torch.ones(2)}, {})
        spec_of(str(tmp_path / "none"))


class Harm:
    """Pickled, it would write a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(saved, tmp_path):
    name = "wan2.1-t2v-1.3b"
    modules = open_parts(str(saved(name)[1])).modules
    folder = tmp_path / "harm"
    write_original(folder, folders.PRESETS[name], modules)
    path, mark = folder / PICKLES["vae"], tmp_path / "harmed"
    torch.save({"conv1.weight": Harm(mark)}, path)
    with pytest.raises(WeightsError, match="refused: it holds more than tensors"):
        open_parts(str(folder))
    assert not mark.exists()
    path.write_bytes(pickle.dumps(Harm(mark)))
    with pytest.raises(WeightsError, match="truncated or no file of torch"):
        open_parts(str(folder))
    assert not mark.exists()
    torch.save([torch.ones(2)], path)
    with pytest.raises(WeightsError, match="more than named tensors"):
        open_parts(str(folder))
    torch.save(modules["vae"].state_dict(), path)
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    with pytest.raises(WeightsError, match="truncated"):
        open_parts(str(folder))


def test_an_image_tower_saved_by_transformers_4_has_a_prefix_more(saved, tmp_path):
    name = "wan2.1-i2v-14b-480p"
    _, folder = saved(name)
    wanted = open_parts(str(folder)).modules["image"].state_dict()

    def prefix(copy):
        paths = sorted((copy / "image_encoder").glob("*.safetensors"))
        weights = {f"vision_model.{k}": w for path in paths for k, w in load_file(path).items()}
        for path in (copy / "image_encoder").iterdir():
            path.unlink()
        save_tensors(copy / "image_encoder" / "model.safetensors", weights, {})

    found = open_parts(damaged(folder, tmp_path, prefix)).modules["image"].state_dict()
    assert all(torch.equal(found[k], w) for k, w in wanted.items())


def test_a_pickle_is_converted_once(saved, tmp_path, monkeypatch):
    from kineograph.weights import pickles

    name = "wan2.1-t2v-1.3b"
    modules = open_parts(str(saved(name)[1])).modules
    folder = tmp_path / "once"
    write_original(folder, folders.PRESETS[name], modules)
    first = open_parts(str(folder)).modules["vae"].state_dict()
    monkeypatch.setattr(pickles, "read_pickle", lambda path: pytest.fail("read again"))
    second = open_parts(str(folder)).modules["vae"].state_dict()
    assert all(torch.equal(second[k], w) for k, w in first.items())


def test_what_is_rounded_and_what_is_not(saved):
    modules = open_parts(str(saved("wan2.1-t2v-1.3b")[1]), torch.bfloat16).modules
    dit = {k: w.dtype for k, w in modules["dit"].state_dict().items()}
    assert dit["blocks.0.ffn.0.weight"] == dit["head.head.weight"] == torch.bfloat16
    for name in ("blocks.0.modulation", "blocks.1.norm3.bias", "time_projection.1.weight",
                 "blocks.0.self_attn.norm_q.weight"):  # fmt: skip
        assert dit[name] == torch.float32
    assert {w.dtype for w in modules["vae"].state_dict().values()} == {torch.float32}


def test_a_preset_is_found_under_its_hub_name(saved, tmp_path, monkeypatch):
    _, folder = saved("wan2.1-t2v-1.3b")
    (tmp_path / "Wan2.1-T2V-1.3B-Diffusers").symlink_to(folder)
    monkeypatch.setenv("KINEOGRAPH_MODELS", str(tmp_path))
    assert folders.locate("wan2.1-t2v-1.3b") == tmp_path / "Wan2.1-T2V-1.3B-Diffusers"
    with pytest.raises(WeightsError, match=r"weights of wan2.2-ti2v-5b \(open weights\) are not"):
        folders.locate("wan2.2-ti2v-5b")


def test_a_model_takes_the_ways_in_that_it_learnt():
    text, first, both = (
        TRUE[n] for n in ("wan2.1-t2v-1.3b", "wan2.2-i2v-a14b", "wan2.1-flf2v-14b")
    )
    for spec, fields, message in (
        (text, {"image": "a.png"}, "wan2.1-t2v-1.3b takes no image; allowed: video"),
        (first, {}, "wan2.2-i2v-a14b needs image; image is missing"),
        (both, {"image": "a.png"}, "needs image and last_image; last_image is missing"),
        (text, {"low_guidance_scale": 3.0}, "low_guidance_scale 3 is for models with two"),
        (text, {"resolution": "720p"}, "resolution '720p'"),
        (TRUE["nano"], {"resolution": "720p"}, "resolution '720p' is not allowed: nano has"),
    ):
        with pytest.raises(RequestError, match=message):
            resolve(GenerationRequest("a ball", **fields), spec)
    small = resolve(GenerationRequest("a ball", resolution="480p"), TRUE["wan2.2-t2v-a14b"])
    assert (small.width, small.height, small.resolution) == (832, 480, "480p")
    assert (small.guidance_scale, small.low_guidance_scale) == (4.0, 3.0)
    large = resolve(GenerationRequest("a ball", guidance_scale=2.0), TRUE["wan2.2-t2v-a14b"])
    assert (large.width, large.height, large.low_guidance_scale) == (1280, 720, 2.0)


def test_the_hash_of_a_large_file_is_kept_for_other_processes(tmp_path, monkeypatch):
    path = tmp_path / "large"
    path.write_bytes(b"weights")
    monkeypatch.setattr(header, "LARGE", 7)
    wanted = hashlib.sha256(b"weights").hexdigest()
    assert header.sha256(path) == wanted
    monkeypatch.setattr(header, "_HASHES", {})  # as another process has it
    monkeypatch.setattr(header.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert header.sha256(path) == wanted
    monkeypatch.undo()
    path.write_bytes(b"others")
    assert header.sha256(path) == hashlib.sha256(b"others").hexdigest()
