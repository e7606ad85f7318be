"""Kling's dialect: its bodies, the true signs of its camera, its envelopes, codes and tokens."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kineograph.errors import RequestError
from kineograph.presets import SMALL, SMALL_CONTROLS, get_preset
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.serve import refusals
from kineograph.serve.bodies import BodyError
from kineograph.serve.kling_answers import (
    CODES,
    KlingRefusal,
    code_of,
    envelope,
    error_answer,
    page_of,
    submitted_of,
    task_of,
    tasks_of,
)
from kineograph.serve.kling_dialect import AXES, CANNOT, MOVES, camera_of, submission_of
from kineograph.serve.rates import Rate, TooFast
from kineograph.serve.submission import MediaRef, VideoView
from kineograph.ways import split_camera
from kineograph.world.v2.camera import SPEED_RATES

PICTURE = "iVBORw0KGgo" * 10
WAN = "wan2.2-t2v-a14b"
MODELS = {"kling-v1": "small", "kling-v1-6": WAN}
VIEW = VideoView(
    id="video_1", state="queued", model="small", prompt="a ball", seconds=81 / 16, size="832x480",
    created_at=1000.25, started_at=1001.5,
)  # fmt: skip


def spec_of(name):
    return get_preset("small" if name is None else name)


def asked(kind="text2video", **fields):
    fields = {"prompt": "a ball"} | fields
    return submission_of(fields, kind=kind, spec_of=spec_of, models=MODELS)


def refusal(kind="text2video", **fields):
    with pytest.raises(RequestError) as refused:
        asked(kind, **fields)
    return refused.value


def simple(**config):
    zeros = dict.fromkeys(AXES, 0)
    return {"type": "simple", "config": zeros | config}


def test_a_documented_body():
    found = asked(
        model_name="kling-v1", negative_prompt="blur", cfg_scale=0.5, mode="std",
        camera_control=simple(zoom=10), aspect_ratio="1:1", duration="4",
        callback_url="https://a.b/c", external_task_id="mine", sound="off", multi_shot=False,
        watermark_info={"enabled": True}, voice_list=[], static_mask="", dynamic_masks=None,
    )  # fmt: skip
    assert found.request == GenerationRequest(
        "a ball", model="small", negative_prompt="blur", aspect_ratio="1:1", num_frames=49,
        camera="zoom=-0.17",
    )  # fmt: skip
    assert (found.dialect, found.kind, found.media) == ("kling", "text2video", {})
    assert (found.callback_url, found.external_task_id) == ("https://a.b/c", "mine")
    assert found.watermark is True
    resolve(found.request, SMALL, new_seed=lambda: 1)


def test_what_is_left_out_is_the_models_own():
    assert asked().request == GenerationRequest("a ball", model="small", aspect_ratio="16:9")
    assert asked(model=WAN, duration="5", seed=4).request == GenerationRequest(
        "a ball", model=WAN, aspect_ratio="16:9", num_frames=81, seed=4
    )
    assert asked(mode="pro").request.resolution == "1024"
    assert asked(model_name="nano", mode="pro").request.resolution is None


def test_image2video():
    found = asked("image2video", image=PICTURE, image_tail="https://a.b/c.png")
    assert found.media == {
        "image": MediaRef("image", "base64", PICTURE, "image"),
        "last_image": MediaRef("last_image", "url", "https://a.b/c.png", "image_tail"),
    }
    assert found.request.aspect_ratio is None
    assert list(asked("image2video", image_tail=PICTURE).media) == ["last_image"]
    assert refusal("image2video").param == "image"


def test_video_extend():
    found = asked("video-extend", video_id="video_1", cfg_scale=0)
    assert found.media == {"before": MediaRef("before", "video", "video_1", "video_id")}
    assert found.request == GenerationRequest("a ball", model="small", guidance_scale=1.0)
    assert refusal("video-extend").param == "video_id"
    assert refusal("video-extend", video_id="../x").param == "video_id.id"


@pytest.mark.parametrize(("scale", "high", "low"), [(0, 1, 1), (0.25, 2.5, 2), (1, 7, 5)])
def test_guidance_is_even_about_the_models_own(scale, high, low):
    spec = replace(get_preset(WAN), guidance_scale=4.0, low_guidance_scale=3.0)
    fields = {"prompt": "x", "cfg_scale": scale}
    found = submission_of(fields, kind="text2video", spec_of=lambda _: spec).request
    assert (found.guidance_scale, found.low_guidance_scale) == (high, low)
    half = {"prompt": "x", "cfg_scale": "0.5"}
    found = submission_of(half, kind="text2video", spec_of=lambda _: spec).request
    assert (found.guidance_scale, found.low_guidance_scale) == (None, None)


# The signs, written out: what Kling's number does, and ours that does the same.
@pytest.mark.parametrize(
    ("kling", "number", "ours"),
    [
        ("horizontal", -10, "horizontal=-0.85"),  # to the left
        ("horizontal", 5, "horizontal=0.425"),  # to the right
        ("vertical", -10, "vertical=-0.6"),  # down
        ("vertical", 10, "vertical=0.6"),  # up
        ("pan", -10, "tilt=-7"),  # looks down
        ("pan", 10, "tilt=7"),  # looks up
        ("tilt", -10, "pan=-11"),  # looks left
        ("tilt", 10, "pan=11"),  # looks right
        ("roll", -10, "roll=-11"),  # counter-clockwise
        ("roll", 10, "roll=11"),  # clockwise
        ("zoom", -10, "zoom=0.17"),  # a narrower view: nearer
        ("zoom", 10, "zoom=-0.17"),  # a wider view: farther
        ("zoom", "0.5", "zoom=-0.0085"),
    ],
)
def test_the_true_signs_of_the_camera(kling, number, ours):
    assert camera_of(simple(**{kling: number})) == ours
    assert camera_of({"type": "simple", "config": {kling: number}}) == ours


def test_ten_is_the_fast_rate_of_the_world():
    for axis, most in AXES.values():
        assert abs(most) == SPEED_RATES[axis][2]
    for rates in MOVES.values():
        for axis, rate in rates.items():
            assert abs(rate) == SPEED_RATES[axis][1] == SMALL_CONTROLS[axis]


def test_the_moves_without_numbers():
    assert camera_of({"type": "down_back"}) == "vertical=-0.36,depth=-0.58"
    assert camera_of({"type": "forward_up", "config": None}) == "depth=0.58,tilt=4.4"
    assert camera_of({"type": "right_turn_forward", "config": {}}) == "pan=7,depth=0.58"
    assert camera_of({"type": "left_turn_forward"}) == "pan=-7,depth=0.58"
    for kind in MOVES:
        camera = camera_of({"type": kind})
        assert split_camera(camera) == MOVES[kind]
        resolve(GenerationRequest("x", model="small", camera=camera), SMALL)


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ("zoom", "must be an object"),
        ({}, "allowed: simple, down_back"),
        ({"type": "spin"}, "'spin' is unknown"),
        ({"type": "simple"}, "must be an object"),
        ({"type": "simple", "config": {}}, "it has 0"),
        ({"type": "simple", "config": dict.fromkeys(AXES, 0)}, "it has 0"),
        (simple(zoom=1, pan=1), "it has 2"),
        (simple(zoom=10.01), "-10 to 10"),
        (simple(zoom=-11), "-10 to 10"),
        (simple(zoom=float("nan")), "a number"),
        (simple(zoom=True), "a number"),
        (simple(depth=1), "unknown field"),
        (simple(panning=1), "did you mean"),
        ({"type": "simple", "config": {"zoom": 1}, "more": 1}, "unknown field"),
        ({"type": "down_back", "config": {"zoom": 1}}, "left out"),
    ],
)
def test_wrong_cameras(control, words):
    refused = refusal(camera_control=control)
    assert words in str(refused) and refused.param.startswith("camera_control")


@pytest.mark.parametrize(
    ("kind", "fields", "param", "words"),
    [
        ("text2video", {"prompt": None}, "prompt", "missing"),
        ("text2video", {"prompt": ""}, "prompt", "missing"),
        ("text2video", {"prompt": "x" * 2501}, "prompt", "at most 2500"),
        ("text2video", {"negative_prompt": "x" * 2501}, "negative_prompt", "at most 2500"),
        ("text2video", {"cfg_scale": 1.1}, "cfg_scale", "0 to 1"),
        ("text2video", {"cfg_scale": -0.1}, "cfg_scale", "0 to 1"),
        ("text2video", {"mode": "4k"}, "mode", "std, pro"),
        ("text2video", {"aspect_ratio": "2:1"}, "aspect_ratio", "16:9"),
        ("text2video", {"duration": "5"}, "duration", "1 and 2 and 3 and 4 among them"),
        ("text2video", {"duration": "ten"}, "duration", "a number"),
        ("text2video", {"sound": "on"}, "sound", "makes none"),
        ("text2video", {"sound": True}, "sound", "on, off"),
        ("text2video", {"image": PICTURE}, "image", "unknown field"),
        ("text2video", {"model_name": "a", "model": "b"}, "model", "contradict"),
        ("text2video", {"callback_url": "a.b"}, "callback_url", "https://"),
        ("text2video", {"external_task_id": 5}, "external_task_id", "plain text"),
        ("text2video", {"watermark_info": {"enable": True}}, "watermark_info.enable", "enabled"),
        ("text2video", {"watermark_info": True}, "watermark_info", "an object"),
        ("text2video", {"lora": "a"}, "lora", "unknown field"),
        ("image2video", {"image": "a.png"}, "image", "files of the server"),
        ("image2video", {"image": {"url": "https://a.b"}}, "image", "plain text"),
        ("video-extend", {"video_id": "v", "duration": "5"}, "duration", "unknown field"),
        *[("image2video", {"image": PICTURE, name: [{"mask": "x"}]}, name, "no model makes")
          for name in CANNOT],
        ("text2video", {"multi_shot": True}, "multi_shot", "several shots"),
    ],
)  # fmt: skip
def test_refusals(kind, fields, param, words):
    refused = refusal(kind, **fields)
    assert refused.param == param and words in str(refused), str(refused)
    assert code_of(refused) == 1201


def test_an_unknown_model_is_a_wrong_parameter():
    refused = refusal(model_name="kling-v9")
    assert "unknown model" in str(refused) and code_of(refused) == 1201


def test_a_waiting_task():
    assert submitted_of(VIEW) == {
        "task_id": "video_1", "task_status": "submitted", "task_info": {},
        "created_at": 1000250, "updated_at": 1001500,
    }  # fmt: skip
    task = task_of(replace(VIEW, external_task_id="mine", updated_at=1002.0))
    assert task["task_info"] == {"external_task_id": "mine"} and task["updated_at"] == 1002000
    assert task["task_status_msg"] == "" and "task_result" not in task


def test_a_finished_task():
    view = replace(VIEW, state="completed", completed_at=1010.0, cost=2.5, remixed_from="video_0",
                   video_url="https://a.b/c")  # fmt: skip
    task = json.loads(json.dumps(task_of(view)))
    assert task["task_status"] == "succeed" and task["updated_at"] == 1010000
    [video] = task["task_result"]["videos"]
    assert video == {"id": "video_1", "url": "https://a.b/c", "duration": "5.0625"}
    assert task["final_unit_deduction"] == "2.5"
    assert task["task_info"] == {"parent_video": {"id": "video_0"}}
    task = task_of(replace(view, watermark_url="https://a.b/w"))
    assert task["task_result"]["videos"][0]["watermark_url"] == "https://a.b/w"


@pytest.mark.parametrize(
    ("state", "error", "status", "message"),
    [
        ("paused", None, "submitted", ""),
        ("running", None, "processing", ""),
        ("failed", "no memory", "failed", "no memory"),
        ("failed", None, "failed", "failed"),
        ("cancelled", None, "failed", "cancelled"),
        ("deleted", None, "failed", "deleted"),
    ],
)
def test_states(state, error, status, message):
    [task] = tasks_of([replace(VIEW, state=state, error=error)])
    assert (task["task_status"], task["task_status_msg"]) == (status, message)


def test_envelopes():
    assert envelope("r1", {"a": 1}) == {"code": 0, "message": "SUCCEED", "request_id": "r1",
                                        "data": {"a": 1}}  # fmt: skip
    assert envelope("r1", []) == {"code": 0, "message": "SUCCEED", "request_id": "r1", "data": []}
    assert envelope("r1", code=1302)["message"] == "too many requests"


def test_pages():
    assert page_of({}) == (0, 30)
    assert page_of({"pageNum": "3", "pageSize": "10"}) == (20, 10)
    for query in ({"pageNum": "0"}, {"pageNum": "1001"}, {"pageSize": "501"}, {"pageSize": "x"}):
        with pytest.raises(refusals.Refusal) as refused:
            page_of(query)
        assert refused.value.param in query


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (RequestError("x"), 1201, 400),
        (refusals.Refusal("x"), 1201, 400),
        (refusals.NotFound("x"), 1203, 404),
        (refusals.Gone("x"), 1203, 404),
        (refusals.Conflict("x"), 1201, 400),
        (refusals.BodyMismatch("x"), 1201, 400),
        (refusals.NoAccess("x"), 1002, 401),
        (refusals.NoKey("x"), 1001, 401),
        (refusals.TooEarly("x"), 1003, 401),
        (refusals.TooLate("x"), 1004, 401),
        (refusals.Disabled("x"), 1100, 429),
        (refusals.Forbidden("x"), 1103, 403),
        (refusals.NoCredits("x"), 1102, 429),
        (refusals.TooMany("x"), 1303, 429),
        (TooFast("x", retry_after=1.0, rate=Rate(1, 0, 1.0)), 1302, 429),
        (refusals.Unavailable("x"), 5001, 503),
        (BodyError("x", status=413), 1200, 400),
        (BodyError("x", status=415), 1200, 400),
        (KlingRefusal(1202), 1202, 404),
        (ValueError("secret"), 5000, 500),
    ],
)
def test_every_error_has_a_code(error, code, status):
    assert code_of(error) == code
    told_status, told = error_answer(error, "r1")
    assert (told_status, told["code"], told["request_id"]) == (status, code, "r1")
    assert "secret" not in told["message"] and "data" not in told


def test_a_refusal_by_the_policy_has_its_code():
    class Policy(RequestError):
        code = "content_policy_violation"

    assert error_answer(Policy("no"), "r") == (400, {"code": 1301, "message": "no",
                                                     "request_id": "r"})  # fmt: skip
    assert all(status in (200, 400, 401, 403, 404, 429, 500, 503, 504)
               for status, _ in CODES.values())  # fmt: skip
