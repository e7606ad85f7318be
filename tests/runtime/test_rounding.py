"""Weights in 8 bits: near, the same bits on every rung, and refused where they cannot be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kineograph.errors import RequestError, WeightsError
from kineograph.generate import generate
from kineograph.pipeline import load
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.runtime import rounding
from kineograph.runtime.options import RunOptions
from kineograph.runtime.residence import Residence
from kineograph.runtime.rounding import check_rounding, round_weights
from kineograph.weights.adapters import Adapter, Attached

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["int8", "fp8"])
def test_a_clip_of_rounded_weights_is_near_that_of_the_exact_ones(name):
    exact = load("tiny")
    request = resolve(GenerationRequest("a ball", seed=1, steps=2, num_frames=5), exact.spec)
    wanted = np.concatenate(list(generate(exact, request))).astype(float)
    rounded = load("tiny", options=RunOptions("cpu", weights=name))
    found = np.concatenate(list(generate(rounded, request))).astype(float)
    assert 0 < np.abs(found - wanted).mean() < 8
    assert rounded.options.told()["weights"] == name
    for strategy in ("stages", "stream"):
        parts = {kind: getattr(rounded, kind) for kind in ("vae", "dit", "text")}
        places = Residence(parts, CPU, strategy, always=True)
        home = {id(w) for w in rounded.dit.parameters()}
        object.__setattr__(rounded, "residence", places)
        moved = np.concatenate(list(generate(rounded, request)))
        assert np.array_equal(moved, found)
        places.close()
        assert {id(w) for w in rounded.dit.parameters()} == home


def test_an_adapter_cannot_be_added_to_what_is_rounded():
    part = nn.Module()
    part.blocks = nn.ModuleList([nn.Sequential(nn.Linear(32, 32))])
    part.requires_grad_(False)
    round_weights(part, "int8")
    change = Adapter(Path("a"), whole={"blocks.0.0.weight": torch.ones(32, 32)}, layers={})
    with pytest.raises(WeightsError, match=r"blocks\.0\.0\.weight is in 8 bits"):
        Attached(part, [(change, 1.0)])


def test_what_cannot_be_is_refused(monkeypatch):
    with pytest.raises(RequestError, match="weights 'int3' are not allowed; int8 or fp8 are"):
        check_rounding("int3")
    monkeypatch.setattr(rounding, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match="need torchao: pip install"):
        check_rounding("int8")
