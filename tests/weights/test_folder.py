import json
import math
import re
import shutil
from dataclasses import replace

import pytest
import torch

from kineograph.errors import RequestError, WeightsError
from kineograph.models.interpolator import FrameInterpolator
from kineograph.presets import NANO, PRESETS, TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.spec import InterpolatorConfig, UpsamplerConfig
from kineograph.weights.files import save_weights
from kineograph.weights.folder import (
    inventory,
    locate,
    open_parts,
    package_folder,
    random_parts,
    spec_of,
)
from kineograph.weights.header import sha256

FULL = ("vae", "dit", "text", "upsampler")


@pytest.fixture(scope="module")
def parts():
    return random_parts(TINY)


def fill(folder, parts, kinds=FULL):
    """Write the files of a model that is made like tiny."""
    folder.mkdir(parents=True)
    for kind in kinds:
        save_weights(folder / f"{kind}.safetensors", parts[kind], parts[kind].config)
    shutil.copy(package_folder() / "tiny" / "tokenizer.json", folder)
    (folder / "model.json").write_text('{"preset": "tiny"}')
    return folder


def test_a_preset_is_found_in_the_folders_of_the_variable_first(tmp_path, monkeypatch, parts):
    monkeypatch.setenv("KINEOGRAPH_MODELS", f"{tmp_path / 'none'}:{tmp_path / 'mine'}")
    folder = fill(tmp_path / "mine" / "nano", parts)
    assert locate("nano") == folder
    assert locate("tiny") == package_folder() / "tiny"


def test_a_preset_without_weights_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr("kineograph.weights.folder.package_folder", lambda: tmp_path / "a")
    monkeypatch.setenv("KINEOGRAPH_MODELS", str(tmp_path / "b"))
    with pytest.raises(WeightsError) as caught:
        locate("nano")
    assert str(tmp_path / "a" / "nano") in str(caught.value)
    assert str(tmp_path / "b" / "nano") in str(caught.value)


def test_a_folder_is_a_model_too(tmp_path, parts):
    folder = fill(tmp_path / "mine", parts)
    own = replace(TINY.vae, latents_std=(2.0,) * 8)
    save_weights(folder / "vae.safetensors", parts["vae"], own)
    opened = open_parts(str(folder))
    assert opened.spec == replace(TINY, name=str(folder), vae=own)  # the files' own config
    names = ["dit.safetensors", "text.safetensors", "tokenizer.json"]
    assert sorted(opened.hashes) == [*names, "upsampler.safetensors", "vae.safetensors"]
    assert opened.hashes["dit.safetensors"] == sha256(folder / "dit.safetensors")
    for kind in FULL:
        built, saved = opened.modules[kind].state_dict(), parts[kind].state_dict()
        assert all(torch.equal(built[name], saved[name]) for name in saved)


def test_a_folder_named_like_a_preset_needs_no_model_json(tmp_path, parts):
    folder = fill(tmp_path / "nano", parts)
    (folder / "model.json").unlink()
    assert spec_of(str(folder)) == replace(NANO, name=str(folder))


def test_the_upsampler_may_be_missing_and_the_rest_may_not(tmp_path, parts):
    folder = fill(tmp_path / "mine", parts, ("vae", "dit", "text"))
    assert sorted(open_parts(str(folder)).modules) == ["dit", "text", "vae"]
    (folder / "text.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"text\.safetensors is missing"):
        open_parts(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"tokenizer\.json is missing"):
        open_parts(str(folder))


def told(folder, **told):
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text(json.dumps({"preset": "tiny", **told}))
    return str(folder)


def test_a_folder_may_have_defaults_of_its_own(tmp_path, parts):
    defaults = {"steps": 6, "guidance_scale": 1, "shift": 3.0, "solver": "heun"}
    folder = fill(tmp_path / "mine", parts)
    name = told(folder, defaults=defaults)
    spec = spec_of(name)
    assert spec == replace(TINY, name=name, **defaults)
    assert type(spec.guidance_scale) is float  # as a request has it
    assert open_parts(name).spec == spec
    got = resolve(GenerationRequest("a ball"), spec)
    assert {field: getattr(got, field) for field in defaults} == defaults
    asked = resolve(GenerationRequest("a ball", steps=9, solver="euler"), spec)
    assert (asked.steps, asked.guidance_scale, asked.solver) == (9, 1, "euler")
    assert spec_of(told(folder, defaults={})) == spec_of(told(folder)) == replace(TINY, name=name)


@pytest.mark.parametrize(
    ("defaults", "says"),
    [
        ({"fps": 24}, "has a default fps; allowed: steps, guidance_scale, shift, solver"),
        ({"name": "x"}, "has a default name; allowed"),
        ({"steps": 0}, "has an unusable default: steps 0 is out of range; allowed: 1 to 1000"),
        ({"steps": "six"}, "has an unusable default: steps 'six' must be of type int"),
        ({"steps": True}, "has an unusable default: steps True must be of type int"),
        ({"steps": None}, "has an unusable default: steps is null"),
        ({"shift": math.nan}, "has an unusable default: shift nan is out of range"),
        ({"guidance_scale": 1e9}, "has an unusable default: guidance_scale 1000000000.0 is out"),
        ({"solver": "rk45"}, "has an unusable default: unknown solver 'rk45'; allowed: euler"),
        ([3], "must hold JSON such as"),
        (7, "must hold JSON such as"),
        (None, "must hold JSON such as"),
    ],
)
def test_defaults_that_cannot_be_used_are_refused_by_name(tmp_path, defaults, says):
    with pytest.raises(WeightsError, match=re.escape(says)) as caught:
        spec_of(told(tmp_path / "mine", defaults=defaults))
    assert str(tmp_path / "mine" / "model.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_interpolator_may_be_missing_and_has_its_own_config(tmp_path, monkeypatch):
    spec = replace(TINY, interpolator=InterpolatorConfig(8))
    monkeypatch.setitem(PRESETS, "tiny", spec)
    parts = random_parts(spec)
    assert set(parts) == {*FULL, "interpolator"}
    folder = fill(tmp_path / "mine", parts)
    opened = open_parts(str(folder))
    assert "interpolator" not in opened.modules and opened.spec.interpolator == spec.interpolator
    wider = FrameInterpolator(InterpolatorConfig(16))
    save_weights(folder / "interpolator.safetensors", wider, wider.config)
    opened = open_parts(str(folder))
    assert opened.spec.interpolator == opened.modules["interpolator"].config == wider.config
    assert len(opened.hashes["interpolator.safetensors"]) == 64


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"preset": 3}', '{"preset": "giant"}', "[" * 9999]
)
def test_a_folder_that_does_not_say_what_it_is_is_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(WeightsError, match=r"model\.json"):
        spec_of(str(tmp_path))


def test_a_name_that_is_neither_lists_the_models(tmp_path):
    with pytest.raises(WeightsError, match=r"lacks model\.json"):
        spec_of(str(tmp_path))
    for name in ("giant", "nano/none/more", "../none", "a\0b", ""):
        with pytest.raises(RequestError, match="available: nano"):
            locate(name)


@pytest.mark.parametrize(
    ("kind", "config", "says"),
    [
        ("vae", replace(TINY.vae, z_dim=4), "vae z_dim is 4, dit in_channels has 8"),
        ("vae", replace(TINY.vae, patch_size=16), "vae spatial stride is 64"),
        ("vae", replace(TINY.vae, temporal_downsample=(False, True)), "vae temporal stride is 2"),
        ("text", replace(TINY.text, dim=12), "text dim is 12, dit text_dim has 16"),
        ("upsampler", UpsamplerConfig(scale=2, dim=8, num_blocks=1), "scale is 2, .* has 4"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, parts, kind, config, says):
    folder = fill(tmp_path / "mine", parts)
    other = {f"a{i}": torch.zeros(1) for i in range(9)}
    save_weights(folder / f"{kind}.safetensors", other, config)
    with pytest.raises(WeightsError, match=says):
        open_parts(str(folder))


def test_random_weights_are_the_same_every_time_and_none_is_silent(parts):
    again = random_parts(TINY)
    for kind in FULL:
        first, second = parts[kind].state_dict(), again[kind].state_dict()
        for name in first:
            assert torch.equal(first[name], second[name])
            assert first[name].isfinite().all()
            assert first[name].any() or first[name].ndim == 1, name


def test_the_inventory_counts_what_is_here(tmp_path, monkeypatch, parts):
    monkeypatch.setenv("KINEOGRAPH_MODELS", str(tmp_path))
    folder = fill(tmp_path / "nano", parts)
    entries = {entry.spec.name: entry for entry in inventory()}
    assert list(entries) == list(PRESETS)
    nano = entries["nano"]
    assert nano.folder == folder
    assert nano.parameters == sum(p.numel() for m in parts.values() for p in m.parameters())
    assert nano.bytes == sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    assert (entries["tiny"].parameters, entries["tiny"].bytes) == (0, 0)


def test_the_inventory_needs_no_torch_and_loading_not_its_compiler(tmp_path, parts, run_python):
    folder = fill(tmp_path / "mine", parts)
    code = (
        "import sys; from kineograph.weights.folder import inventory, open_parts\n"
        "assert inventory()\n"
        "assert 'torch' not in sys.modules\n"
        "open_parts(sys.argv[1]); open_parts('tiny')\n"
        "slow = {'torch._dynamo', 'sympy', 'transformers'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    run = run_python("-c", code, str(folder))
    assert run.returncode == 0, run.stderr
