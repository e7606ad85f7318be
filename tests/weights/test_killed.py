"""kill -9 in the middle of a clip of open weights: it goes on from there to the same bytes."""

import os
import signal
import subprocess
import sys

import pytest
from PIL import Image
from wan_rows import PRESETS, ROWS, random_modules, scaled, write_diffusers, write_original

from kineograph.produce import run
from kineograph.request import GenerationRequest
from kineograph.runtime.options import RunOptions
from kineograph.weights.partial import load_partial

T2V, TI2V = "wan2.2-t2v-a14b", "wan2.2-ti2v-5b"
PROGRAM = """
import os, signal, sys
sys.path.insert(0, {helpers!r})
import wan_rows
wan_rows.scale_table()
from kineograph.produce import run
from kineograph.request import GenerationRequest
from kineograph.runtime.options import RunOptions
from kineograph.weights import partial
partial.SAVE_EVERY = 0.0  # every step is kept, however fast

def killed(event):
    if (event.stage, event.done) == ("denoise", {number}):
        os.kill(os.getpid(), signal.SIGKILL)

run(GenerationRequest(**{asked!r}), options=RunOptions("cpu"), on_event=killed)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of both models with random weights, in a cache that the processes share."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINEOGRAPH_CACHE", str(folder / "cache"))
        for name in ROWS:
            patch.setitem(PRESETS, name, scaled(name))
        write_original(folder / T2V, PRESETS[T2V], random_modules(PRESETS[T2V]))
        write_diffusers(folder / TI2V, PRESETS[TI2V], random_modules(PRESETS[TI2V]))
        yield folder


CASES = [
    # Of 8 steps the expert for low noise makes the last two.
    pytest.param(T2V, {}, 3, id="first expert"),
    pytest.param(T2V, {"guidance_every": 2, "step_cache": 0.05}, 7, id="second expert"),
    pytest.param(TI2V, {"image": "first.png"}, 5, id="picture"),
]


@pytest.mark.parametrize(("name", "fields", "number"), CASES)
def test_a_clip_that_was_killed_goes_on_to_the_same_bytes(
    name, fields, number, models, tmp_path, monkeypatch, root
):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").save("first.png")
    asked = {"model": str(models / name), "prompt": "a red ball rolls", "seed": 5, "steps": 8}
    asked |= fields | {"output": "x", "format": "png"}
    (alone,) = run(GenerationRequest(**asked | {"output": "y"}), options=RunOptions("cpu"))

    helpers = root / "tests" / "helpers"
    env = os.environ | {"PYTHONPATH": str(root / "src")}
    program = PROGRAM.format(helpers=str(helpers), asked=asked, number=number)
    words = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "x").exists()
    kept = load_partial(tmp_path / "x.partial.safetensors").state
    assert kept.index == number
    assert bool(kept.memory) == ("step_cache" in fields)

    events = []
    (made,) = run(
        GenerationRequest(**asked), resume=True, options=RunOptions("cpu"), on_event=events.append
    )
    told = {event.message for event in events if event.stage in ("resume", "warning")}
    assert told == {f"going on after step {kept.index} of 8"}
    steps = [event.done for event in events if event.stage == "denoise"]
    assert steps == list(range(kept.index, 9))
    names = sorted(path.name for path in alone.path.iterdir())
    assert len(names) == 9 and sorted(path.name for path in made.path.iterdir()) == names
    for frame in names:
        assert (made.path / frame).read_bytes() == (alone.path / frame).read_bytes(), frame
    assert not (tmp_path / "x.partial.safetensors").exists()
