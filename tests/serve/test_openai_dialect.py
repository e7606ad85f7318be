"""OpenAI's dialect: what its client really sends, the names of others, answers and refusals."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import openai
import pytest
from starlette.requests import Request

from kineograph.errors import RequestError
from kineograph.presets import NANO, SMALL, get_preset
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.serve.bodies import read_body
from kineograph.serve.openai_answers import (
    deleted_object,
    error_object,
    list_page,
    video_object,
)
from kineograph.serve.openai_dialect import ALIASES, OWN, REFUSED, sizes_of, submission_of
from kineograph.serve.submission import MediaRef, VideoView, with_paths

PICTURE = "iVBORw0KGgo" * 10
WAN = "wan2.2-t2v-a14b"
VIEW = VideoView(
    id="video_1", state="queued", model="small", prompt="a ball", seconds=49 / 12, size="672x378",
    created_at=1000.7,
)  # fmt: skip


def spec_of(name):
    return get_preset("small" if name is None else name)


def asked(kind="create", source=None, base=None, **fields):
    fields = {"prompt": "a ball"} | fields
    def base_of(id):
        assert id == "video_1"
        return base

    base_of = None if base is None else base_of
    return submission_of(fields, kind=kind, spec_of=spec_of, source=source, base_of=base_of)


def refusal(**fields):
    with pytest.raises(RequestError) as refused:
        asked(**fields)
    return refused.value


def body_of(request):
    raw = request.read()

    async def receive():
        return {"type": "http.request", "body": raw, "more_body": False}

    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    return asyncio.run(read_body(Request(scope, receive), max_bytes=10**7, max_file_bytes=10**6))


@pytest.fixture
def client():
    sent = []

    def answer(request):
        sent.append(request)
        view = video_object(VIEW)
        return httpx.Response(200, json=view)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    with openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=http) as client:
        client.sent = sent
        yield client


def test_what_the_client_sends_without_a_file(client):
    with pytest.warns(DeprecationWarning):
        answer = client.videos.create(
            prompt="a ball", seconds="4", size="672x378", model="small",
            extra_body={
                "camera_control": {"type": "simple", "config": {"zoom": 5}},
                "seed": 7, "loop": True, "guidance_scale": 2.5, "negative_prompt": "",
                "references": ["https://a.b/1.png", "https://a.b/2.png"],
                "keyframes": [{"image_url": "https://a.b/3.png", "at": 1.5},
                              {"image_url": "https://a.b/4.png", "at": 2}],
            },
        )  # fmt: skip
    [request] = client.sent
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert b'name="camera_control[config][zoom]"\r\n\r\n5\r\n' in request.read()
    found = submission_of(body_of(request).fields, kind="create", spec_of=spec_of)
    assert found.request == GenerationRequest(
        "a ball", model="small", num_frames=49, resolution="512", aspect_ratio="16:9", seed=7,
        loop=True, guidance_scale=2.5, negative_prompt="", camera="zoom=-0.085",
    )  # fmt: skip
    assert [(k, m.value, m.at) for k, m in found.media.items()] == [
        ("references.0", "https://a.b/1.png", None), ("references.1", "https://a.b/2.png", None),
        ("keyframes.0", "https://a.b/3.png", 1.5), ("keyframes.1", "https://a.b/4.png", 2.0),
    ]  # fmt: skip
    assert answer.status == "queued" and answer.state == "queued" and answer.seconds == "4.08333"


def test_what_the_client_sends_with_a_file(client):
    with pytest.warns(DeprecationWarning):
        client.videos.create(prompt="a ball", input_reference=("a.png", b"\x89PNG", "image/png"))
    body = body_of(client.sent[0])
    found = submission_of(body.fields, kind="create", spec_of=spec_of)
    ref = MediaRef("image", "upload", "input_reference", "input_reference", "image/png")
    assert found.media == {"image": ref}
    assert body.files[ref.value].file.read() == b"\x89PNG"
    body.close()


def test_what_the_client_sends_as_json(client):
    with pytest.warns(DeprecationWarning):
        client.videos.create(
            prompt="a ball", extra_headers={"Content-Type": "application/json"},
            extra_body={"input_reference": {"image_url": f"data:image/png;base64,{PICTURE}"}},
        )  # fmt: skip
        client.videos.remix("video_1", prompt="a red ball")
    create, remix = (body_of(request).fields for request in client.sent)
    found = submission_of(create, kind="create", spec_of=spec_of)
    ref = MediaRef("image", "base64", PICTURE, "input_reference.image_url", "image/png")
    assert found.media == {"image": ref}
    found = submission_of(remix, kind="remix", spec_of=spec_of, source="video_1")
    assert found.media["video"].source == "video" and found.remixed_from == "video_1"


def test_what_the_client_sends_to_edit_and_extend(client):
    with pytest.warns(DeprecationWarning):
        client.videos.edit(prompt="red", video=("a.mp4", b"123"))
        client.videos.extend(prompt="on", video=("a.mp4", b"123"), seconds="3")
    edit, extend = (body_of(request) for request in client.sent)
    found = submission_of(edit.fields, kind="edit", spec_of=spec_of)
    assert found.media["video"].source == "upload" and found.remixed_from is None
    found = submission_of(extend.fields, kind="extend", spec_of=spec_of)
    assert list(found.media) == ["before"] and found.media["before"].field == "before"
    assert found.request.num_frames == 37
    edit.close()
    extend.close()


def test_names_of_other_servers():
    found = asked(
        width=672, height="378", num_frames=49, fps="12", num_inference_steps=8,
        guidance_scale=2, flow_shift="1.5", seed="3", negative_prompt="blur", aspect_ratio="16:9",
        n=1, lora=None, generate_sound=False, extra_params={"steps": 8, "motion_speed": 2},
    ).request  # fmt: skip
    assert found == GenerationRequest(
        "a ball", model="small", resolution="512", num_frames=49, fps=12, steps=8,
        guidance_scale=2.0, shift=1.5, seed=3, negative_prompt="blur", aspect_ratio="16:9",
        motion_speed=2.0,
    )  # fmt: skip
    assert asked(model=WAN, guidance_scale_2="3").request.low_guidance_scale == 3
    assert asked(image_reference={"file_id": "file_9"}).media["image"].source == "file"
    assert asked(video_reference={"video_url": "https://a.b/c"}).media["video"].source == "url"
    assert asked(enable_frame_interpolation="false").request.fps == 12
    assert asked(enable_frame_interpolation=True).request.fps == 24


def test_every_model_takes_every_size_that_it_tells():
    for spec in (NANO, SMALL, get_preset(WAN)):
        for size in sizes_of(spec):
            request = asked(model=spec.name, size=size).request
            known = resolve(request, spec, new_seed=lambda: 1)
            assert f"{known.out_width}x{known.out_height}" == size


@pytest.mark.parametrize(
    ("model", "seconds", "frames"),
    [("small", "4", 49), ("small", 4, 49), ("nano", 2.5, 25), ("nano", "2", 21), ("nano", "0.1", 1),
     (WAN, "5", 81), (WAN, "5.0625", 81)],
)  # fmt: skip
def test_seconds(model, seconds, frames):
    assert asked(model=model, seconds=seconds).request.num_frames == frames


def test_what_else_a_submission_holds():
    found = asked(
        callback_url="https://a.b/c", external_task_id="mine", watermark="true",
        metadata={"a": "b"}, expires_after={"anchor": "created_at", "seconds": 60},
    )  # fmt: skip
    assert (found.callback_url, found.external_task_id, found.watermark) == \
        ("https://a.b/c", "mine", True)  # fmt: skip
    assert found.metadata == {"a": "b"} and found.expires_after == 60
    assert (found.dialect, found.kind) == ("openai", "create")


@pytest.mark.parametrize(
    ("value", "source", "kept"),
    [
        ("https://a.b/c.png?d", "url", "https://a.b/c.png?d"),
        ({"image_url": {"url": "http://a.b"}}, "url", "http://a.b"),
        (PICTURE, "base64", PICTURE),
        (PICTURE[:50] + "\r\n" + PICTURE[50:], "base64", PICTURE),
        ({"b64_json": PICTURE}, "base64", PICTURE),
        ("video_abc", "video", "video_abc"),
        ({"id": "video_abc"}, "video", "video_abc"),
        ("file_abc", "file", "file_abc"),
        ({"file_id": "abc", "image_url": None}, "file", "abc"),
    ],
)  # fmt: skip
def test_how_a_picture_is_named(value, source, kept):
    ref = asked(image=value).media["image"]
    assert (ref.source, ref.value) == (source, kept)


@pytest.mark.parametrize(
    "value",
    ["/etc/passwd", "a.png", "file:///etc/passwd", "ftp://a.b/c", "s3://a/b", "https://", "http:///x",
     "https://a b", "data:image/png,abc", "data:;base64,!!", "video_../x", "", {"image_url": ""},
     {"image_url": "https://a.b", "file_id": "x"}, {"path": "a"}, {}, 5, True, ["https://a.b"],
     {"image_url": {"image_url": {"url": "https://a.b"}}}, {"b64_json": {"url": "x"}},
     "../" * 40, PICTURE + "\n\t", "https://a.b/" + "x" * 3000, {"file_id": "a/b"}],
)  # fmt: skip
def test_what_names_no_picture(value):
    if value == "":
        assert not asked(image=value).media
        return
    refused = refusal(image=value)
    assert refused.param and refused.param.startswith("image")


def test_cameras():
    assert asked(camera="pan=7").request.camera == "pan=7"
    assert asked(camera={"pan": "7", "zoom": -0.1}).request.camera == "pan=7.0,zoom=-0.1"
    control = {"type": "simple", "config": {"pan": 10}}
    assert asked(camera_control=control).request.camera == "tilt=7"
    assert refusal(camera="pan=7", camera_control=control).param == "camera_control"


def test_keyframes():
    media = asked(keyframes=["https://a@b.c/d@1.5"]).media
    assert media["keyframes.0"].value == "https://a@b.c/d" and media["keyframes.0"].at == 1.5
    media = asked(keyframes={"image_url": "https://a.b", "at": "2"}).media
    request = with_paths(GenerationRequest("x"), media, {"keyframes.0": "/x/1.png"})
    assert request.keyframes == ("/x/1.png@2.0",)
    for wrong in ("https://a.b/c", {"image_url": "https://a.b"}, ["x@"], ["@1"], [{"at": 1}], [5]):
        assert refusal(keyframes=wrong).param.startswith("keyframes.0")


def test_paths_are_filled_in_by_number():
    refs = {f"references.{i}": MediaRef("references", "url", "u", "r") for i in range(11)}
    image = {"image": MediaRef("image", "url", "u", "image")}
    paths = {f"references.{i}": str(i) for i in range(11)} | {"image": "i"}
    request = with_paths(GenerationRequest("x"), refs | image, paths)
    assert request.references == tuple(map(str, range(11))) and request.image == "i"


def test_a_remix_is_like_what_it_changes():
    base = GenerationRequest("x", model="small", resolution="256", aspect_ratio="1:1",
                             num_frames=25, fps=24, seed=3, camera="pan=7")  # fmt: skip
    found = asked("remix", source="video_1", base=base).request
    assert found == GenerationRequest("a ball", model="small", resolution="256",
                                      aspect_ratio="1:1", num_frames=25, fps=24)  # fmt: skip
    found = asked("remix", source="video_1", base=base, size="672x378", seconds="4").request
    assert (found.resolution, found.aspect_ratio, found.num_frames) == ("512", "16:9", 49)
    found = asked("extend", video={"id": "video_1"}, base=base).request
    assert (found.resolution, found.num_frames) == ("256", None)
    found = asked("remix", source="video_1", base=base, model="nano").request
    assert found == GenerationRequest("a ball", model="nano")
    base = GenerationRequest("x", duration=2.0)
    assert asked("edit", video={"id": "video_1"}, base=base).request.duration == 2.0
    assert asked("edit", video="video_1", base=base, num_frames=5).request.duration is None
    assert asked("edit", video_reference={"video_id": "video_1"}, base=base).request.duration == 2.0
    assert asked("create", video="video_1", base=base).request.duration is None


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": None}, "prompt", "prompt is missing"),
        ({"prompt": 5}, "prompt", "plain text"),
        ({"promt": "x"}, "promt", "did you mean prompt?"),
        ({"zzzzzz": "x"}, "zzzzzz", "allowed: "),
        ({"extra_params": {"sead": 1}}, "extra_params.sead", "did you mean seed?"),
        ({"extra_params": {"extra_params": {}}}, "extra_params.extra_params", "unknown"),
        ({"extra_params": "x"}, "extra_params", "an object"),
        ({"seed": 1, "extra_params": {"seed": 2}}, "seed", "give one of the two"),
        ({"seed": "1.0"}, "seed", "whole number"),
        ({"seed": 1.0}, "seed", "whole number"),
        ({"seed": True}, "seed", "whole number"),
        ({"seed": "1" * 30}, "seed", "whole number"),
        ({"guidance_scale": "nan"}, "guidance_scale", "a number"),
        ({"guidance_scale": "1_0"}, "guidance_scale", "a number"),
        ({"guidance_scale": " 1"}, "guidance_scale", "a number"),
        ({"guidance_scale": "1e999"}, "guidance_scale", "a number"),
        ({"guidance_scale": [1]}, "guidance_scale", "a number"),
        ({"loop": "yes"}, "loop", "true or false"),
        ({"loop": 1}, "loop", "true or false"),
        ({"format": "png"}, "format", "mp4, image"),
        ({"n": 2}, "n", "n must be 1"),
        ({"count": "3"}, "n", "n must be 1"),
        ({"size": "1280x720"}, "size", "672x378"),
        ({"size": "x"}, "size", "small makes"),
        ({"size": 5}, "size", "plain text"),
        ({"width": 672}, "height", "height is missing"),
        ({"width": 672, "height": 379}, "width", "672x379"),
        ({"size": "672x378", "width": 512, "height": 512}, "size", "is not width and height"),
        ({"size": "672x378", "aspect_ratio": "1:1"}, "aspect_ratio", "16:9"),
        ({"size": "672x378", "resolution": "256"}, "resolution", "512"),
        ({"seconds": "5"}, "seconds", "1 and 2 and 3 and 4 among them"),
        ({"seconds": "four"}, "seconds", "a number"),
        ({"seconds": "0"}, "seconds", "cannot be made"),
        ({"seconds": "4", "num_frames": 25}, "seconds", "give one of the two"),
        ({"seconds": "4", "duration": 4}, "seconds", "give one of the two"),
        ({"enable_frame_interpolation": "true", "model": "nano"}, "enable_frame_interpolation",
         "no frames in between"),
        ({"enable_frame_interpolation": True, "fps": 12}, "enable_frame_interpolation",
         "contradict"),
        ({"lora": ["a"]}, "lora", "files of the server"),
        ({"output": "/etc/x"}, "output", "names its files itself"),
        ({"generate_sound": "true"}, "generate_sound", "no model makes sound"),
        ({"true_cfg_scale": 4}, "true_cfg_scale", "give guidance_scale"),
        ({"callback_url": "ftp://a"}, "callback_url", "https://"),
        ({"metadata": {"a": 1}}, "metadata.a", "plain text"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "at most 16"),
        ({"metadata": {"a": "x" * 600}}, "metadata.a", "at most 512"),
        ({"external_task_id": "x" * 300}, "external_task_id", "at most 200"),
        ({"expires_after": 5}, "expires_after", "60 to"),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after", "anchor"),
        ({"camera": {"pan": "fast"}}, "camera.pan", "a number"),
        ({"kind": "edit"}, "video", "video is missing"),
        ({"kind": "remix", "source": "video_1", "video": "video_2"}, "video", "in the path"),
        ({"kind": "extend", "video": "video_1", "image": "file_1"}, "video", "video alone"),
    ],
)  # fmt: skip
def test_refusals(fields, param, words):
    refused = refusal(**fields)
    assert refused.param == param and words in str(refused), str(refused)
    assert refused.status == 400


def test_an_unknown_model_is_refused_by_its_row():
    assert "unknown model" in str(refusal(model="sora-2"))


def test_every_field_of_a_request_is_taken_or_refused():
    from dataclasses import fields

    names = {f.name for f in fields(GenerationRequest)}
    assert names == set(OWN) | (set(REFUSED) & names)
    assert set(ALIASES.values()) <= names


@pytest.mark.parametrize(
    ("state", "status"),
    [("queued", "queued"), ("paused", "queued"), ("running", "in_progress"),
     ("completed", "completed"), ("failed", "failed"), ("cancelled", "failed"),
     ("deleted", "failed")],
)  # fmt: skip
def test_a_video_is_what_the_client_reads(state, status):
    view = replace(VIEW, state=state, progress=0.999, completed_at=2000.5, error="no memory",
                   error_code="out_of_memory" if state == "failed" else None)  # fmt: skip
    told = json.loads(json.dumps(video_object(view)))
    assert told["size"] == "672x378"
    told["size"] = "1280x720"  # the client knows four sizes, and checks none unless it is told to
    video = openai.types.Video.model_validate(told, strict=True)
    assert video.status == status and video.state == state and video.created_at == 1000
    assert video.progress == (100 if state == "completed" else 99)
    assert video.completed_at == (2000 if state == "completed" else None)
    if status != "failed":
        assert video.error is None
    else:
        code = "out_of_memory" if state == "failed" else state
        assert (video.error.code, video.error.message) == (code, "no memory")


def test_a_failure_without_words_has_some():
    told = video_object(replace(VIEW, state="failed"))["error"]
    assert told == {"code": "generation_failed", "message": "the video could not be made"}
    assert video_object(replace(VIEW, state="cancelled"))["error"]["code"] == "cancelled"


def test_pages_and_deletions():
    assert list_page([], False) == {"object": "list", "data": [], "first_id": None,
                                    "last_id": None, "has_more": False}  # fmt: skip
    page = list_page([VIEW, replace(VIEW, id="video_2")], True)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("video_1", "video_2", True)
    told = deleted_object("video_1")
    assert openai.types.VideoDeleteResponse.model_validate(told, strict=True).deleted


def test_errors():
    assert error_object(404, "there is no video", param="id") == {"error": {
        "message": "there is no video", "type": "not_found_error", "param": "id",
        "code": "not_found",
    }}  # fmt: skip
    types = {status: error_object(status, "x")["error"]["type"] for status in (401, 413, 429, 503)}
    assert types == {401: "authentication_error", 413: "invalid_request_error",
                     429: "rate_limit_error", 503: "server_error"}  # fmt: skip
