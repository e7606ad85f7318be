"""The rungs of the ladder: the same bits on each, less on the device, and the way down."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from kineograph import generate as gen
from kineograph.pipeline import load
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.runtime.options import STRATEGIES
from kineograph.runtime.residence import Residence

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


def moved(tiny, strategy):
    """A pipeline whose weights are copied to where they work, as to a GPU."""
    names = ("vae", "dit", "text")
    parts = {name: getattr(tiny, name) for name in names}
    return replace(tiny, residence=Residence(parts, CPU, strategy, always=True))


def asked(**changes):
    fields = {"num_frames": 5, "seed": 1, "steps": 3} | changes
    return resolve(GenerationRequest("a red ball", model="tiny", **fields), load("tiny").spec)


def places(pipeline):
    parts = (pipeline.vae, pipeline.dit, pipeline.text)
    return [w.data_ptr() for p in parts for w in (*p.parameters(), *p.buffers())]


def frames(pipeline, **changes):
    return np.concatenate(list(gen.generate(pipeline, asked(**changes))))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_rung_makes_the_same_bits_and_leaves_nothing_behind(tiny, strategy):
    wanted, home = frames(tiny), places(tiny)
    pipeline = moved(tiny, strategy)
    assert np.array_equal(frames(pipeline), wanted)
    assert places(tiny) != home
    assert np.array_equal(frames(pipeline), wanted)  # a second run as the first
    pipeline.residence.close()
    assert places(tiny) == home
    assert not any(b._forward_pre_hooks or b._forward_hooks for b in tiny.dit.blocks)


def test_stages_keep_one_part_at_a_time(tiny):
    pipeline = moved(tiny, "stages")
    seen = set()

    def look(state):
        seen.add(tuple(sorted(pipeline.residence.here)))

    list(gen.generate(pipeline, asked(), on_step=look))
    assert seen == {("text",), ("dit",)}
    assert pipeline.residence.here == {"vae"}
    pipeline.residence.close()


def test_a_stream_keeps_one_block_at_a_time_and_the_next_on_its_way():
    layers = [nn.Linear(8, 8) for _ in range(4)]

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 8)
            self.blocks = nn.ModuleList(layers)

        def forward(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return x

    part, x = Part(), torch.ones(1, 8)
    wanted = part(x)
    home = {id(layer.weight): layer.weight.data_ptr() for layer in layers}
    there = []

    def look(module, *_):
        there.append([layer.weight.data_ptr() != home[id(layer.weight)] for layer in layers])

    residence = Residence({"part": part}, CPU, "stream", always=True)
    for layer in layers:
        layer.register_forward_hook(look, prepend=True)  # before it leaves
    residence.need("part")
    assert torch.equal(part(x), wanted)
    assert there == [[i == j for j in range(4)] for i in range(4)]
    assert list(residence.streams["part"].coming) == [0]  # ready for the next pass
    assert torch.equal(part(x), wanted)
    residence.close()
    assert torch.equal(part(x), wanted)


def failing(monkeypatch, module, name, times, error=torch.OutOfMemoryError):
    """Let calls of a method, by their number, run out of memory."""
    plain, calls = getattr(module, name), []

    def call(*args, **more):
        calls.append(args)
        if len(calls) in times:
            raise error("no memory is left")
        return plain(*args, **more)

    monkeypatch.setattr(module, name, call)
    return calls


def test_out_of_memory_goes_on_from_the_last_step_on_the_next_rung(tiny, monkeypatch):
    wanted = frames(tiny, guidance_scale=1.0)
    pipeline, told, steps = moved(tiny, "resident"), [], []
    pipeline.residence.tell = told.append
    calls = failing(monkeypatch, tiny.dit, "forward", {2, 4})
    made = gen.generate(
        pipeline, asked(guidance_scale=1.0), on_step=lambda state: steps.append(state.index)
    )
    assert np.array_equal(np.concatenate(list(made)), wanted)
    assert steps == [0, 1, 2, 3]  # none is taken twice
    assert len(calls) == 5
    assert pipeline.residence.strategy == "stream"
    assert [("out of memory" in m, m.split("going on with ")[1][:8]) for m in told] == [
        (True, "one part"), (True, "one bloc"),
    ]  # fmt: skip
    pipeline.residence.close()


def test_a_decode_that_runs_out_of_memory_begins_again_and_repeats_no_frame(tiny, monkeypatch):
    wanted = frames(tiny, num_frames=9)
    pipeline = moved(tiny, "resident")
    failing(monkeypatch, tiny.vae.decoder, "rise", {2})
    assert np.array_equal(frames(pipeline, num_frames=9), wanted)
    assert pipeline.residence.strategy == "stages"
    pipeline.residence.close()


def test_below_the_last_rung_there_is_none(tiny, monkeypatch):
    pipeline = moved(tiny, "tiles")
    failing(monkeypatch, tiny.dit, "forward", set(range(1, 9)))
    with pytest.raises(torch.OutOfMemoryError):
        frames(pipeline)
    pipeline.residence.close()
