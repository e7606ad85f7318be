"""Frames by C++ against the same frames eagerly, and how formulas are written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kineograph.errors import RequestError
from kineograph.runtime import cpp
from kineograph.runtime.cpp import available
from kineograph.world.v2 import native
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.emit import loop
from kineograph.world.v2.pack import Frames, pack
from kineograph.world.v2.render import render_frames
from kineograph.world.v2.scene import FLOORS, SHAPES, Scene, SceneObject
from kineograph.world.v2.simulate import simulate

compiled = pytest.mark.skipif(not available(), reason="needs a C++ compiler and AVX2")
THINGS = [SceneObject(s, "red", "glass" if i % 2 else "striped", "large") for i, s in
          enumerate(s for s in SHAPES if s != "domino")]  # fmt: skip


def still(*things, floor="checkered", sky="noon", weather="clear"):
    scene = Scene(5, things, floor, sky, weather=weather)
    return simulate(scene, [(1.7 * i - 2.4, 0.0, -0.3 * i) for i in range(len(things))])


def both(play, size=(56, 72), times=(0.0, 1.7)):
    frames = pack([play], [np.array(times)])
    return render_frames(frames, *size), render_frames(frames, *size, compiled=True)


def levels(a):
    return (a * 255 + 0.5).int()


def assert_alike(eager, fused):
    off = (levels(eager.colour) - levels(fused.colour)).abs()
    assert (off > 1).double().mean() < 5e-4
    assert (eager.owner != fused.owner).double().mean() < 5e-4
    same = eager.owner == fused.owner
    assert torch.allclose(eager.depth[same], fused.depth[same], rtol=1e-4)
    assert (eager.normal - fused.normal)[same].abs().max() < 1e-3
    assert (eager.facing - fused.facing)[same].abs().max() < 1e-3


@compiled
@pytest.mark.parametrize("i", range(0, len(THINGS), 4))
def test_shapes_and_materials_are_the_same_compiled(i):
    assert_alike(*both(still(*THINGS[i : i + 4])))


@compiled
@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("weather", ["clear", "rain"])
def test_floors_and_what_they_mirror_are_the_same_compiled(floor, weather):
    sky = "night" if weather == "clear" else "dawn"
    things = [replace(THINGS[0], material="metal"), replace(THINGS[1], material="wood")]
    assert_alike(*both(still(*things, floor=floor, sky=sky, weather=weather), (48, 64), (0.5,)))


@compiled
def test_without_buffers_compiled_colours_are_the_same():
    frames = pack([draw_scene(40, more="shot")[1]], [np.array([0.0, 1.0])])
    full, bare = (render_frames(frames, 40, 40, compiled=True, buffers=b) for b in (True, False))
    assert torch.equal(full.colour, bare.colour) and torch.equal(full.owner, bare.owner)
    assert full.normal.any() and not bare.normal.any()


@compiled
def test_any_number_of_threads_makes_the_same_frames():
    frames = pack([draw_scene(41, more="shot")[1]], [np.linspace(0, 3, 5)])
    threads, found = torch.get_num_threads(), []
    try:
        for n in (1, 3, 8):
            torch.set_num_threads(n)
            found.append(native.render(frames, 40, 24, buffers=True))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
    none = [getattr(frames, name)[:0] for name in frames.__annotations__]
    assert native.render(Frames(*none), 40, 24, buffers=True)[0].shape == (0, 3, 40, 24)


@compiled
def test_too_many_primitives_are_refused():
    frames = pack([still(THINGS[0])], [np.array([0.0])])
    wide = {n: torch.cat([getattr(frames, n)] * 300, 1) for n in ("parts", "kind", "bound", "soft")}
    with pytest.raises(RequestError, match="300 primitives in a frame; at most 256"):
        native.render(replace(frames, **wide), 16, 16, buffers=False)


@pytest.fixture
def nothing_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("KINEOGRAPH_CACHE", str(tmp_path))
    for module in (native, cpp):
        monkeypatch.setattr(module, "lanes", lambda: 16)
    for cached in (native._library, native.ready):
        cached.cache_clear()
    yield tmp_path
    for cached in (native._library, native.ready):
        cached.cache_clear()


def test_without_a_compiler_it_says_what_is_missing(nothing_compiled, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not available() and not native.ready()
    frames = pack([still(THINGS[0])], [np.array([0.0])])
    with pytest.raises(RequestError, match=r"needs a C\+\+ compiler"):
        native.render(frames, 16, 16, buffers=False)


def test_a_compiler_that_fails_leaves_nothing_behind(nothing_compiled, monkeypatch):
    fails = nothing_compiled / "fails"
    fails.write_text("#!/bin/sh\necho out of ideas >&2\nexit 1\n")
    fails.chmod(0o755)
    monkeypatch.setenv("CXX", str(fails))
    with pytest.raises(RequestError, match="fails failed: out of ideas"):
        native._library()
    assert list((nothing_compiled / "native").iterdir()) == []
    assert available() and not native.ready()


def test_a_cache_that_takes_nothing_is_named(nothing_compiled, monkeypatch):
    monkeypatch.setattr(cpp, "_compiler", lambda: "g++")
    (nothing_compiled / "native").write_text("no folder")
    with pytest.raises(RequestError, match=r"cannot be kept in .*native"):
        native._library()
    assert not native.ready()


def test_a_formula_is_written_out_once_and_in_order():
    def formula(g):
        twice = g["a"] * 2 + g["row"][:, 1:2]
        g["b"].copy_(torch.where(g["a"] > 1, twice, twice * twice))
        return {"c": torch.sin(g["a"] * 2 + g["row"][:, 1:2]) + g["k"]}

    text = loop("f", formula, ("a", "b"), ("row",), ("k",))
    assert text.startswith(
        "static void f(const int n, float *__restrict a, float *__restrict b, "
        "float *__restrict c, const float *row, const float k) {"
    )
    assert text.count("all(row[1])") == text.count("sin(") == text.count("read(a + i)") == 1
    assert "?" in text and text.count("write(") == 2


def test_what_cannot_be_written_out_is_named():
    with pytest.raises(AttributeError, match="cumsum cannot be written out"):
        loop("f", lambda g: {"b": g["a"].cumsum(0)}, ("a",))
