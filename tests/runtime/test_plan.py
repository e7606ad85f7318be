"""Plans against published figures, and against what is really computed."""

import json

import pytest
import torch

from kineograph import cli
from kineograph.presets import PRESETS, TINY
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.runtime.plan import as_dict, as_text, fitted, make_plan, measured_rate
from kineograph.weights.folder import random_parts


def planned(
    name, *, memory=None, fit=None, rate=1e15, dtype=torch.bfloat16, rounded=False,
    batch="off", device="cpu", **fields,
):  # fmt: skip
    spec = PRESETS[name]
    fields |= {way: "a.png" for way in spec.needs}
    request = resolve(GenerationRequest("a ball", **fields), spec)
    return make_plan(
        spec, request, dtype=dtype, rate=rate, memory=memory, fit=fit, rounded=rounded,
        guidance_batch=batch, device=torch.device(device),
    )  # fmt: skip


def operations(plan):
    return {stage.name: stage.operations / 1e12 for stage in plan.stages}


@pytest.mark.parametrize(
    ("name", "resolution", "forward", "decode"),
    [
        # Worked out by hand from the published configs; embeddings and head are left out here.
        ("wan2.1-t2v-1.3b", "480p", 283.0, 275),
        ("wan2.1-t2v-14b", "720p", 6523.4, 639),
        ("wan2.1-t2v-14b", "480p", 1678.4, 275),
        ("wan2.2-ti2v-5b", "720p", 517.0, 2011),
    ],
)
def test_operations_are_those_of_the_published_shapes(name, resolution, forward, decode):
    plan = planned(name, resolution=resolution)
    found = operations(plan)
    evaluations = 2 * PRESETS[name].steps
    assert found["denoise"] / evaluations == pytest.approx(forward, rel=2e-3)
    assert found["decode"] == pytest.approx(decode, rel=2e-3)
    assert set(found) == {"text", "denoise", "decode"}


def test_a_loop_is_planned_with_its_way_back():
    # 25 frames: 21 of a clip, which is decoded twice, and 25 that lead back.
    looped = operations(planned("nano", num_frames=25, loop=True))
    first, back = (operations(planned("nano", num_frames=n)) for n in (21, 25))
    assert looped["denoise"] == pytest.approx(first["denoise"] + back["denoise"])
    assert looped["decode"] == pytest.approx(2 * first["decode"] + back["decode"])
    assert looped["enlarge"] == pytest.approx(first["enlarge"] + back["enlarge"])


def test_weights_are_counted_as_they_are_held():
    plan = planned("wan2.1-t2v-1.3b")
    of = {stage.name: stage for stage in plan.stages}
    # 1.419e9 parameters in bfloat16, but for norms, modulation and the embedding of noise.
    assert of["denoise"].weight_bytes == pytest.approx(2 * 1.419e9, rel=0.03)
    assert of["decode"].weight_bytes == pytest.approx(4 * 126.9e6, rel=0.01)
    rounded = planned("wan2.1-t2v-1.3b", rounded=True)
    assert 0.5 < rounded.stages[1].weight_bytes / of["denoise"].weight_bytes < 0.6
    parts = random_parts(TINY)
    exact = sum(w.numel() * 4 for p in parts.values() for w in p.state_dict().values())
    assert planned("tiny", dtype=torch.float32).weight_bytes == exact


def test_the_first_rung_that_fits_is_taken_and_the_last_one_if_none_does():
    plan = planned("wan2.1-t2v-14b", memory=10**9, fit="stages")
    assert plan.fit == "stages"  # as it was asked
    sizes = as_dict(plan)["device_bytes_by_fit"]
    assert sizes["resident"] > sizes["stages"] > sizes["stream"] >= sizes["tiles"]
    for fit, size in sizes.items():
        assert fitted(plan, round(1.2 * size)).fit == fit
    assert fitted(plan, round(0.5 * sizes["tiles"])).fit == "tiles"
    assert fitted(plan, None).fit == "resident"  # a processor maps its weights


def test_time_falls_with_the_rate_and_rises_with_what_is_asked():
    base = planned("wan2.2-i2v-a14b", resolution="480p")
    assert [stage.name for stage in base.stages] == ["text", "encode", "denoise", "decode"]
    half = planned("wan2.2-i2v-a14b", resolution="480p", steps=20, rate=2e15)
    assert operations(half)["denoise"] == pytest.approx(operations(base)["denoise"] / 2)
    assert half.stages[2].seconds == pytest.approx(base.stages[2].seconds / 4)
    free = planned("wan2.2-i2v-a14b", resolution="480p", guidance_scale=1.0)
    assert operations(free)["denoise"] == pytest.approx(operations(base)["denoise"] / 2)
    seen = planned("wan2.1-flf2v-14b")
    assert [stage.name for stage in seen.stages][:3] == ["text", "image", "encode"]


def test_an_upsampler_counts_for_every_frame_that_is_delivered():
    small = operations(planned("small", resolution="256"))["enlarge"]
    large = operations(planned("small"))["enlarge"]
    assert large == pytest.approx(5 * small, rel=0.01)  # a second pass of four times the pixels
    slow = operations(planned("small", fps=12))["enlarge"]
    assert "interpolate" not in operations(planned("small", fps=12))
    assert large == pytest.approx(2 * slow)


def test_a_plan_is_one_line_and_json():
    plan = planned("wan2.1-t2v-1.3b", memory=10_000_000_000)
    text = as_text(plan)
    assert text.startswith("about 57 s (denoise 57 s") and text.endswith("device, by blocks")
    assert json.loads(json.dumps(as_dict(plan)))["stages"][1]["name"] == "denoise"


def test_the_rate_is_that_of_matrix_products():
    assert 1e9 < measured_rate(torch.device("cpu"), torch.float32, 0.05) < 1e14


def test_the_command_prints_a_table_and_refuses(capsys):
    words = ["plan", "--model", "wan2.1-i2v-14b-480p", "--memory", "24", "--rate", "165"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "denoise" in out and "by blocks" in out
    assert cli.main(["plan", "--model", "nano", "--json", "--rate", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["fit"] == "resident"
    for words, message in (
        (["--memory", "0"], "'0' is not allowed; a number above 0"),
        (["--model", "giant"], "unknown model 'giant'"),
        (["--device", "tpu"], "device 'tpu'"),
        (["--resolution", "8k"], "resolution '8k'"),
    ):
        assert cli.main(["plan", *words]) == 2
        assert message in capsys.readouterr().err


def test_both_sides_of_guidance_at_once_need_twice_the_tensors_and_no_more_operations():
    one, both = (planned("wan2.1-t2v-1.3b", num_frames=5, batch=b) for b in ("off", "on"))
    assert (one.batched, both.batched) == (False, True)
    assert as_dict(both)["guidance_batch"] == "on"
    assert operations(both) == operations(one)
    of = {stage.name: stage.other_bytes for stage in one.stages}
    for stage in both.stages:
        assert stage.other_bytes == of[stage.name] * (2 if stage.name == "denoise" else 1)


def test_guidance_is_one_call_by_itself_where_one_side_leaves_a_gpu_idle(monkeypatch):
    monkeypatch.setattr("kineograph.runtime.batching.multiprocessors", lambda device: 100)
    # 30 x 52 tokens a latent frame: 13 by 12 tiles of 128, and two rounds are 200 of them.
    for device, frames, batched in (("cuda", 1, True), ("cuda", 5, False), ("cpu", 1, False)):
        plan = planned("wan2.1-t2v-1.3b", num_frames=frames, batch="auto", device=device)
        assert plan.batched is batched, (device, frames)
    auto = {"num_frames": 1, "batch": "auto", "device": "cuda"}
    for fields in ({"guidance_scale": 1.0}, {"guidance_every": 2}):
        assert not planned("wan2.1-t2v-1.3b", **auto, **fields).batched
        assert not planned("wan2.1-t2v-1.3b", **auto | {"batch": "on"}, **fields).batched


def test_guidance_is_one_call_only_where_memory_allows(monkeypatch):
    monkeypatch.setattr("kineograph.runtime.batching.multiprocessors", lambda device: 10**6)
    auto = {"batch": "auto", "device": "cuda", "num_frames": 5, "fit": "stages"}
    one = planned("wan2.1-t2v-14b", **auto | {"batch": "off"})
    stage = next(stage for stage in one.stages if stage.name == "denoise")
    need = stage.on_device("stages", one.weight_bytes)
    for memory, batched in ((need + stage.other_bytes // 2, False), (2 * need, True)):
        assert planned("wan2.1-t2v-14b", **auto, memory=round(memory / 0.9)).batched is batched
    # One rung lower for it would cost more than it gains.
    auto.pop("fit")
    sizes = as_dict(one)["device_bytes_by_fit"]
    plan = planned("wan2.1-t2v-14b", **auto, memory=round(1.0001 * sizes["stages"] / 0.9))
    assert (plan.fit, plan.batched) == ("stages", False)
