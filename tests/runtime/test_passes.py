"""Inference in bfloat16 on a processor: settled weights and norms give what plain ones give."""

from __future__ import annotations

import copy
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kineograph.models.vae import VideoVAE
from kineograph.nn.channel_norm import ChannelNorm
from kineograph.pipeline import load
from kineograph.presets import get_preset
from kineograph.runtime import cpp, passes
from kineograph.runtime.cpp import available
from kineograph.runtime.passes import norms_of, settle

compiled = pytest.mark.skipif(not available(), reason="needs a C++ compiler and AVX2")


@pytest.fixture(scope="module")
def vae():
    vae = VideoVAE(get_preset("nano").vae)
    vae.init_weights(torch.Generator().manual_seed(0))
    return vae.eval()


def decoded(vae, latent, half=True):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return vae.decode(latent).float()


@compiled
@pytest.mark.parametrize("threads", [1, 2])
def test_norm_and_silu_in_one_pass_are_right_to_the_rounding(threads):
    norm = ChannelNorm(48)
    with torch.no_grad():
        norm.gamma.copy_(torch.linspace(0.5, 2, 48).view_as(norm.gamma))
    x = (3 * torch.randn(2, 3, 5, 7, 48)).bfloat16()
    x[0, 0, 0, 0] = 0  # no rms: nothing comes out, and nothing that is no number
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = passes._kernel()(x, norm.gamma.flatten(), norm.floor)
    finally:
        torch.set_num_threads(before)
    wide = x.float()
    unit = F.rms_norm(wide, (48,), norm.gamma.flatten(), norm.floor**2)
    wanted = F.silu(unit).bfloat16()
    assert found.dtype == torch.bfloat16 and not found[0, 0, 0, 0].any()
    step = wanted.float().abs() * 2**-7  # the distance of neighbours in bfloat16
    assert ((found.float() - wanted.float()).abs() <= step).all()


@compiled
def test_a_settled_vae_decodes_as_near_to_float32_as_a_plain_one(vae):
    latent = torch.randn(1, 16, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    settled = copy.deepcopy(vae)
    settle(settled)
    convs = [m for m in settled.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    assert all(c.weight.dtype == torch.bfloat16 for c in convs)
    assert sum(m.kernel is not None for m in settled.modules() if isinstance(m, ChannelNorm)) > 5
    exact, plain = decoded(vae, latent, half=False), decoded(vae, latent)
    found = decoded(settled, latent)
    assert (found - exact).norm() < 1.1 * (plain - exact).norm()
    assert torch.equal(found, decoded(settled, latent))


@compiled
def test_channels_that_fill_no_vector_and_gradients_go_the_plain_way(monkeypatch):
    odd, even = ChannelNorm(24), ChannelNorm(64)
    settle(nn.ModuleList((odd, even)))
    assert odd.kernel is None
    even.kernel = lambda *_: pytest.fail("the pass has no way back")
    x = torch.randn(3, 64).bfloat16()
    even.silu(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        even.silu(x.float())  # float32 has no pass either


def test_without_a_compiler_weights_are_settled_all_the_same(vae, monkeypatch):
    monkeypatch.setattr(cpp, "_compiler", lambda: None)
    cpp.functions_of.cache_clear()
    try:
        settled = copy.deepcopy(vae)
        settle(settled)
    finally:
        cpp.functions_of.cache_clear()
    norms = [m for m in settled.modules() if isinstance(m, ChannelNorm)]
    assert norms and all(n.kernel is None for n in norms)
    latent = torch.randn(1, 16, 2, 4, 4)
    assert torch.isfinite(decoded(settled, latent)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_pipeline_is_settled_where_it_computes_in_bfloat16(dtype):
    pipeline = load("tiny", dtype=dtype)
    for part in (pipeline.vae, pipeline.upsampler):
        convs = [m for m in part.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
        assert {c.weight.dtype for c in convs} == {dtype}
    half = dtype == torch.bfloat16 and available()
    assert norms_of(pipeline.vae) == ("c++" if half else "torch")


@compiled
def test_a_process_that_is_forked_has_threads_of_its_own(vae):
    settled = copy.deepcopy(vae)
    settle(settled)
    latent, before = torch.randn(1, 16, 1, 4, 4), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        wanted = passes._kernel()(latent.movedim(1, -1).bfloat16(), torch.ones(16), 1e-6)
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            found = pool.submit(_forked, latent.numpy()).result(60)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found, wanted.float().numpy())


def _forked(latent):
    x = torch.from_numpy(latent).movedim(1, -1).bfloat16()
    return passes._kernel()(x, torch.ones(16), 1e-6).float().numpy()
