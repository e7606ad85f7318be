"""The exported folder runs in diffusers' own pipeline and makes the same frames."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from kineograph.decoding import decode
from kineograph.errors import RequestError
from kineograph.flow.sigmas import make_sigmas
from kineograph.generate import generate, initial_noise
from kineograph.models.dit import control_rows
from kineograph.pipeline import load
from kineograph.presets import TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.spec import InterpolatorConfig
from kineograph.weights import folder as folders
from kineograph.weights.export import OURS, export_diffusers


@pytest.fixture(scope="module")
def statistics():
    """A tiny whose latents have a mean and a deviation, as those of trained models do."""
    mean, std = tuple(0.1 * i for i in range(8)), tuple(1 + 0.2 * i for i in range(8))
    return replace(TINY, vae=replace(TINY.vae, latents_mean=mean, latents_std=std))


@pytest.fixture(scope="module")
def exported(tmp_path_factory, statistics):
    folder = tmp_path_factory.mktemp("export") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(folders.PRESETS, "tiny", statistics)
        export_diffusers("tiny", folder)
        return folder, load("tiny")


def test_wan_pipeline_makes_the_same_frames(exported):
    from diffusers import WanPipeline

    folder, ours = exported
    request = resolve(
        GenerationRequest(
            "a red ball, 红色的球", model="tiny", seed=3, num_frames=9, aspect_ratio="4:3",
            negative_prompt="green", guidance_scale=3.0,
        ),
        ours.spec,
    )  # fmt: skip
    states = []
    for _ in generate(ours, request, on_step=states.append):
        pass
    mine = torch.cat(list(decode(ours, states[-1].x)), dim=2)
    mine = ((mine + 1) / 2).clamp(0, 1).transpose(1, 2)

    pipe = WanPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    even = np.linspace(1, 1 / request.steps, request.steps)  # the scheduler adds its shift
    pipe.scheduler.set_timesteps = partial(pipe.scheduler.set_timesteps, sigmas=even)
    theirs = pipe(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        height=request.height,
        width=request.width,
        num_frames=request.num_frames,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        latents=initial_noise(ours, request),
        max_sequence_length=ours.spec.dit.text_len,
        output_type="pt",
    ).frames
    assert torch.equal(pipe.scheduler.sigmas, make_sigmas(request.steps, request.shift))
    assert theirs.shape == mine.shape
    # Against the clip's own contrast, as random weights make little of it: harder than PSNR.
    snr = -10 * torch.log10((mine - theirs).var() / mine.var())
    assert snr >= 50, f"{snr:.1f} dB"


@torch.no_grad()
def test_what_diffusers_has_no_place_for_is_left_out_and_the_rest_computes_the_same(
    tmp_path, monkeypatch
):
    from diffusers import WanTransformer3DModel

    config = replace(TINY.dit, num_controls=2, flow_map=True)
    spec = replace(TINY, dit=config, controls={"pan": 7.0, "speed": 1.0})
    monkeypatch.setitem(folders.PRESETS, "tiny", replace(spec, interpolator=InterpolatorConfig(8)))
    export_diffusers("tiny", tmp_path / "tiny")
    ours = load("tiny").dit
    own = [name for name in ours.state_dict() if name.startswith(OURS)]
    assert len(own) == 8
    theirs, told = WanTransformer3DModel.from_pretrained(
        tmp_path / "tiny" / "transformer", output_loading_info=True
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert len(theirs.state_dict()) == len(ours.state_dict()) - len(own)

    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(1, 8, 3, 4, 6, generator=generator)
    text = torch.randn(1, config.text_len, config.text_dim, generator=generator)
    none = control_rows(torch.full((1, 2), math.nan), config.text_dim)
    sigma = torch.tensor([0.7])
    free = torch.cat((text, none), 1)
    wanted = ours(latent, sigma, free)
    found = theirs(latent, sigma * 1000, text, return_dict=False)[0]
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    # The parts that are left out were not silent.
    given = torch.cat((text, control_rows(torch.ones(1, 2), config.text_dim)), 1)
    for other in (ours(latent, sigma, given), ours(latent, sigma, free, to=sigma * 0)):
        assert float((other - wanted).abs().max() / wanted.abs().max()) > 1e-3


def test_no_field_of_the_configs_is_one_that_diffusers_does_not_know(exported):
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
    from transformers import UMT5Config

    folder, _ = exported
    for name, cls in (
        ("transformer/config.json", WanTransformer3DModel),
        ("vae/config.json", AutoencoderKLWan),
        ("scheduler/scheduler_config.json", FlowMatchEulerDiscreteScheduler),
    ):
        config = json.loads((folder / name).read_text())
        assert {k for k in config if k[0] != "_"} <= cls._get_init_keys(cls), name
        assert config["_class_name"] == cls.__name__
    text = json.loads((folder / "text_encoder/config.json").read_text())
    known = UMT5Config().to_dict().keys()
    assert text.keys() <= known | {"dtype"}


def test_every_weight_of_ours_is_in_the_folder_once(exported):
    from safetensors import safe_open

    folder, ours = exported
    for name, module in (("transformer", ours.dit), ("vae", ours.vae), ("text_encoder", ours.text)):
        (path,) = (folder / name).glob("*.safetensors")
        with safe_open(path, framework="pt") as file:
            assert len(file.keys()) == len(module.state_dict())


def test_the_tokenizer_makes_the_same_ids(exported):
    from transformers import AutoTokenizer

    folder, ours = exported
    theirs = AutoTokenizer.from_pretrained(folder / "tokenizer")
    texts = ["A red ball!", "", "红色的球，弹跳", "café 12 ½"]
    out = theirs(texts, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    ids, mask = ours.tokenizer.encode(texts)
    assert torch.equal(out.input_ids, ids)
    assert torch.equal(out.attention_mask.bool(), mask)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="not an empty folder"):
        export_diffusers("tiny", tmp_path)
    with pytest.raises(RequestError, match="not an empty folder"):
        export_diffusers("tiny", tmp_path / "mine.txt")
    with pytest.raises(RequestError, match="available"):
        export_diffusers("giant", tmp_path / "new")
    with pytest.raises(RequestError, match="no folder"):
        export_diffusers("tiny", tmp_path / "none" / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kineograph.weights.export.save_tensors", full)
    with pytest.raises(RequestError, match="No space"):
        export_diffusers("tiny", tmp_path / "new")
    assert not list(tmp_path.iterdir())
