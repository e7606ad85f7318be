"""Both sides of guidance in one call: the latent of one by one within float32's rounding."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.distributed.device_mesh import DeviceMesh
from wan_rows import ROWS, random_modules, scaled, write_diffusers

from kineograph.errors import RequestError
from kineograph.generate import generate
from kineograph.media.video import open_writer
from kineograph.pipeline import load
from kineograph.presets import NANO, PRESETS
from kineograph.produce import Event, run
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.runtime import batching
from kineograph.runtime.options import RunOptions
from kineograph.runtime.parallel import Team

BATCHED = RunOptions("cpu", guidance_batch="on")


@pytest.fixture
def wan(tmp_path, monkeypatch):
    """Write a scaled Wan row with random weights; return its folder."""
    monkeypatch.setenv("KINEOGRAPH_CACHE", str(tmp_path / "cache"))
    for name in ROWS:
        monkeypatch.setitem(PRESETS, name, scaled(name))

    def write(name):
        write_diffusers(tmp_path / name, PRESETS[name], random_modules(PRESETS[name]))
        return str(tmp_path / name)

    return write


def picture(path, shade):
    Image.linear_gradient("L").convert("RGB").point(lambda v: (v + shade) % 256).save(path)
    return str(path)


def ways(spec, folder):
    """What the model can be shown."""
    shown = {way: picture(folder / f"{way}.png", i * 80) for i, way in enumerate(spec.needs)}
    if "control" in spec.ways:
        with open_writer(folder / "control.mp4", 16, 48, 32, "mp4") as writer:
            writer.write(torch.arange(9 * 32 * 48 * 3).view(9, 32, 48, 3).byte().numpy())
        shown = {"control": str(folder / "control.mp4")}
        shown["references"] = (picture(folder / "reference.png", 40),)
    return shown


def last_state(pipeline, request):
    states = []
    next(generate(pipeline, request, on_step=states.append))
    return states[-1].x


@pytest.mark.parametrize(
    "name",
    ["tiny", "wan2.2-t2v-a14b", "wan2.2-ti2v-5b", "wan2.1-flf2v-14b", "wan2.1-vace-1.3b"],
)
def test_the_latent_is_that_of_one_by_one(name, wan, tmp_path):
    model = name if name == "tiny" else wan(name)
    one, both = (load(model, torch.float32, o) for o in (RunOptions("cpu"), BATCHED))
    asked = {"num_frames": 9, "seed": 2, "steps": 3} | ways(one.spec, tmp_path)
    if name == "wan2.2-ti2v-5b":
        asked["image"] = picture(tmp_path / "first.png", 0)  # frames with noise levels of their own
    request = resolve(GenerationRequest("a red ball rolls", **asked), one.spec)
    calls = []
    both.dit.register_forward_hook(lambda *given: calls.append(given[1][0].shape[0]))
    wanted, found = last_state(one, request), last_state(both, request)
    assert set(calls) == {2}
    assert not torch.equal(wanted, torch.zeros_like(wanted))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(RequestError, match="unknown guidance_batch 'maybe'; allowed: auto, on"):
        load("tiny", options=RunOptions("cpu", guidance_batch="maybe"))
    with pytest.raises(RequestError, match="not allowed where several processes work; auto and"):
        load("tiny", options=BATCHED, team=Team(object.__new__(DeviceMesh), torch.device("cpu")))
    pipeline = load("tiny", options=BATCHED)
    request = resolve(GenerationRequest("a ball", guidance_every=2, steps=8), pipeline.spec)
    with pytest.raises(RequestError, match="'on' does not go with guidance_every 2"):
        next(generate(pipeline, request))


def test_auto_is_off_where_nothing_was_planned():
    assert load("tiny").options.guidance_batch == "off"
    assert load("tiny").options.told()["guidance_batch"] == "off"
    assert load("tiny", options=BATCHED).options.told()["guidance_batch"] == "on"


def test_the_rule_asks_how_often_tiles_go_around(monkeypatch):
    monkeypatch.setattr(batching, "multiprocessors", lambda device: 132)
    gpu = torch.device("cuda")
    # nano is two tiles wide: 264 tiles are 132 rows of 128 tokens.
    assert batching.batch_pays(NANO.dit, 131 * 128, gpu)
    assert not batching.batch_pays(NANO.dit, 131 * 128 + 1, gpu)
    assert not batching.batch_pays(NANO.dit, 1, torch.device("cpu"))
    assert PRESETS["wan2.1-t2v-1.3b"].dit.tokens((16, 21, 60, 104)) == 32760


@pytest.mark.parametrize("resumed", ["on", "off"])
def test_a_record_says_so_and_a_run_that_goes_on_otherwise_warns(tmp_path, monkeypatch, resumed):
    monkeypatch.chdir(tmp_path)
    request = GenerationRequest("a ball", model="tiny", seed=1, num_frames=5, output="x.mp4")

    def stop(event):
        if event.stage == "denoise" and event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request, options=BATCHED, on_event=stop)
    events = []
    options = RunOptions("cpu", guidance_batch=resumed)
    (made,) = run(request, resume=True, options=options, on_event=events.append)
    record = json.loads(Path(made.sidecar).read_text())
    assert record["made_on"]["guidance_batch"] == resumed
    warning = (
        "the run was begun with guidance_batch on and goes on with off: "
        "the frames may differ in a few bits"
    )
    assert (Event("warning", message=warning) in events) == (resumed == "off")
    if resumed == "on":
        alone = run(GenerationRequest(
            "a ball", model="tiny", seed=1, num_frames=5, output="y.mp4"
        ), options=BATCHED)  # fmt: skip
        assert alone[0].path.read_bytes() == made.path.read_bytes()
