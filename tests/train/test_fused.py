"""Fused blocks: the same results and gradients as plain ones, to what bfloat16 can tell."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from kineograph.models.dit import VideoDiT, control_rows
from kineograph.presets import TINY, get_preset
from kineograph.runtime.cpp import available
from kineograph.train import fused
from kineograph.train.fused import fuse

compiled = pytest.mark.skipif(not available(), reason="needs a C++ compiler and AVX2")
CONFIG = replace(
    get_preset("small").dit, dim=128, ffn_dim=256, num_heads=4, num_layers=2, text_dim=48
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def plain():
    dit = VideoDiT(CONFIG)
    dit.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for i, p in enumerate(dit.parameters()):  # no weight is 0, so that every one counts
            p.add_(0.05 * drawn(*p.shape, seed=i))
    return dit


def told(batch, words=21):
    rows = control_rows(drawn(batch, CONFIG.num_controls), CONFIG.text_dim)
    return torch.cat((drawn(batch, words, CONFIG.text_dim), rows), 1)


def run(dit, latent, sigma, context, bias=None, half=True):
    dit.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        velocity = dit(latent, sigma, context, bias)
    velocity.float().square().mean().backward()
    return velocity.detach().float(), {n: p.grad.clone() for n, p in dit.named_parameters()}


def off(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


CASES = {
    "levels a clip": (2, 3, (2,), False),
    "levels a frame": (2, 3, (2, 3), False),
    "hidden padding": (3, 2, (3,), True),
    "single frames": (5, 1, (5, 1), False),
}


@compiled
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_fused_blocks_are_as_near_to_float32_as_plain_ones(plain, case, threads):
    batch, frames, levels, hidden = CASES[case]
    latent = drawn(batch, CONFIG.in_channels, frames, 6, 10)
    sigma = torch.rand(levels, generator=torch.Generator().manual_seed(1))
    context = told(batch)
    bias = -10.0 * (drawn(*context.shape[:2]) > 0) if hidden else None
    other, before = copy.deepcopy(plain), torch.get_num_threads()
    assert fuse(other)
    exact = run(plain, latent, sigma, context, bias, half=False)
    rounded = run(plain, latent, sigma, context, bias)
    try:
        torch.set_num_threads(threads)
        found = run(other, latent, sigma, context, bias)
    finally:
        torch.set_num_threads(before)
    assert off(found[0], exact[0]) < 1.2 * off(rounded[0], exact[0])
    for name, wanted in exact[1].items():
        assert off(found[1][name], wanted) < 1.3 * off(rounded[1][name], wanted) + 1e-3, name


@compiled
def test_the_same_again_to_the_bit(plain):
    fuse(plain)
    given = drawn(2, CONFIG.in_channels, 2, 4, 4), torch.rand(2), told(2)
    once, again = run(plain, *given), run(plain, *given)
    assert torch.equal(once[0], again[0])
    assert all(torch.equal(once[1][n], g) for n, g in again[1].items())


@compiled
def test_without_autocast_blocks_are_plain(plain):
    other = copy.deepcopy(plain)
    fuse(other)
    given = drawn(1, CONFIG.in_channels, 2, 4, 4), torch.rand(1), told(1)
    with torch.no_grad():
        assert torch.equal(plain(*given), other(*given))


def test_what_cannot_be_fused_stays_as_it_is(plain, monkeypatch):
    assert not fuse(VideoDiT(TINY.dit))  # heads of 12 channels
    assert not fuse(copy.deepcopy(plain).bfloat16())
    assert not fuse(VideoDiT(replace(CONFIG, ffn_dim=250)))  # fills no vectors
    wide = replace(CONFIG, in_channels=4, image_dim=16)
    assert not fuse(VideoDiT(wide))
    monkeypatch.setattr(fused, "ready", lambda: False)
    assert not fuse(plain)
    assert "forward" not in vars(plain.blocks[0])
