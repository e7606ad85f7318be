from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kineograph.errors import RequestError
from kineograph.flow.solvers import SamplerState, load_state, save_state
from kineograph.presets import TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.sidecar import Sidecar, sidecar_path, write_sidecar
from kineograph.weights import partial as partials
from kineograph.weights.partial import (
    Keeper,
    Partial,
    differences,
    finished,
    load_partial,
    partial_path,
    save_partial,
    seed_before,
    take_up,
)


@pytest.fixture
def clip(tmp_path):
    request = GenerationRequest("a ball 球", model="tiny", seed=5, output=str(tmp_path / "x.mp4"))
    return resolve(request, TINY)


def state(index=1):
    x = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(index))
    return SamplerState("unipc", index, x, history=(x + 1, x / 3))


def same(one, other):
    tensors = zip((one.x, *one.history), (other.x, *other.history), strict=True)
    return all(torch.equal(a, b) for a, b in tensors) and one.index == other.index


def test_a_partial_comes_back_to_the_bit(clip):
    saved = Partial(state(), clip, {"a": "b"}, {"torch": "2"})
    save_partial(saved)
    back = load_partial(partial_path(clip))
    assert same(back.state, saved.state)
    assert (back.request, back.inputs, back.made_on) == (clip, saved.inputs, saved.made_on)
    assert same(load_state(partial_path(clip)), saved.state)  # a sampler state as well


def test_the_file_lies_beside_the_output_whatever_its_format(clip):
    assert partial_path(clip).name == "x.mp4.partial.safetensors"
    folder = replace(clip, format="png", output="a/clip.v2")
    assert partial_path(folder) == Path("a/clip.v2.partial.safetensors")


def test_what_is_no_partial_is_refused_by_name(clip):
    path = partial_path(clip)
    for content in (b"", b"abc", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=r"x\.mp4\.partial"):
            load_partial(path)
    save_state(state(), path)  # a state, but nobody's
    with pytest.raises(RequestError, match="not an interrupted run"):
        load_partial(path)


def test_taking_up_needs_the_same_request_and_inputs(clip):
    assert take_up(clip, {}) is None
    save_partial(Partial(state(), clip, {"dit": "1"}, {}))
    assert take_up(clip, {"dit": "1"}).request == clip
    with pytest.raises(RequestError, match="its seed is 5, not 6"):
        take_up(replace(clip, seed=6), {"dit": "1"})
    for inputs in ({"dit": "2"}, {}, {"dit": "1", "picture.png": "3"}):
        with pytest.raises(RequestError, match="has changed"):
            take_up(clip, inputs)


def test_the_seed_before_is_that_of_the_unfinished_clip(clip):
    clips = replace(clip, count=3).clips()
    assert seed_before(clips) is None
    write_sidecar(sidecar_path(clips[2]), Sidecar(clips[2], {}, {}, []))
    assert seed_before(clips) == 5
    save_partial(Partial(state(), replace(clips[1], seed=101), {}, {}))
    assert seed_before(clips) == 100


def test_only_a_whole_clip_of_the_same_request_is_finished(clip):
    assert finished(clip) is None
    write_sidecar(sidecar_path(clip), Sidecar(clip, {"denoise": 1.0}, {}, []))
    assert finished(clip) is None
    Path(clip.output).write_bytes(b"video")
    assert finished(clip).timings == {"denoise": 1.0}
    assert finished(replace(clip, steps=9)) is None
    save_partial(Partial(state(), clip, {}, {}))
    assert finished(clip) is None


def test_the_keeper_saves_the_first_and_the_last_at_once_and_others_by_the_clock(
    clip, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr(partials, "monotonic", lambda: now[0])
    keeper = Keeper(clip, {}, {})

    def on_disk():
        return load_state(partial_path(clip)).index

    keeper.save()
    assert not partial_path(clip).exists()
    keeper.keep(state(0))
    assert on_disk() == 0
    keeper.keep(state(1))
    assert on_disk() == 0
    now[0] += 1.1
    keeper.keep(state(2))
    assert on_disk() == 2
    keeper.keep(state(3))
    assert on_disk() == 2
    keeper.save()
    assert on_disk() == 3
    keeper.keep(state(clip.steps))
    assert on_disk() == clip.steps


def test_differences_name_what_changed():
    before = {"torch": "2.11", "threads": "2"}
    assert differences(before, before) == []
    (line,) = differences(before, before | {"threads": "4", "new": "1"})
    assert "threads 2" in line and "4" in line
