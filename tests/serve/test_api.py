"""The API as a whole: what it answers, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from served import picture, served
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from kineograph.serve import ledger, settings
from kineograph.serve.tables import uploads, videos

PROMPT = {"prompt": "a red ball"}
ENDLESS = {"prompt": "a red ball [hang@2]"}


@pytest.fixture(scope="module")
def service(new_database, tmp_path_factory):
    """A service of one person, who needs no key."""
    folder = tmp_path_factory.mktemp("open")
    with served(new_database(folder), folder) as found:
        yield found


@pytest.fixture(scope="module")
def closed(new_database, tmp_path_factory):
    """A service that asks for keys, without a worker."""
    tiers = settings.TIERS | {
        "slow": settings.Tier(per_minute=2, polls_per_minute=2),
        "single": settings.Tier(in_hand=1, per_minute=1000),
        "short": settings.Tier(seconds_per_day=3.0, per_minute=1000),
    }
    folder = tmp_path_factory.mktemp("closed")
    with served(
        new_database(folder), folder, workers=0, open="no", tiers=tiers,
        max_queue=50, max_upload=50_000, max_body=100_000, admin_token="of the operator",
    ) as found:  # fmt: skip
        yield found


@pytest.fixture(scope="module")
def client(service):
    return service.client


@pytest.fixture(scope="module")
def video(service):
    return service.done(service.client.post("/v1/videos", json=PROMPT).json()["id"])


@pytest.fixture(scope="module")
def owner(closed):
    with closed.as_(closed.key("owner")) as found:
        yield found


def refused(answer, status, code=None, *words):
    """Check an error's envelope, and return its headers."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code in (None, error["code"]), error
    assert all(word in error["message"] for word in words), error
    return answer.headers


def held(service):
    """How much there is: videos, uploads, and files that came in."""
    with service.rig.database.read() as c:
        counts = [c.scalar(select(func.count()).select_from(t)) for t in (videos, uploads)]
    return [*counts, len(service.files())]


# Following a video.


def listen(client, id):
    """Return the events of a video until they end: names and data."""
    found = []
    with client.stream("GET", f"/v1/videos/{id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                found.append([line[7:]])
            elif line.startswith("data: "):
                found[-1].append(json.loads(line[6:]))
    return found


def test_events_come_in_order(client):
    made = client.post("/v1/videos", json={**PROMPT, "steps": 60}).json()
    events = listen(client, made["id"])
    names = [name for name, _ in events]
    assert names[0] == "status" and names[-1] == "completed" and names.count("completed") == 1
    assert "preview" in names
    progress = [data["progress"] for name, data in events if name == "status"]
    assert progress == sorted(progress) and events[-1][1]["progress"] == 100
    preview = next(data for name, data in events if name == "preview")
    answer = client.get(preview["preview_url"])
    assert answer.headers["content-type"] == "image/jpeg"


def test_who_listens_late_hears_the_end(client, video):
    assert [name for name, _ in listen(client, video["id"])] == ["preview", "completed"]


def test_events_of_a_failure_and_of_a_deletion(client):
    made = client.post("/v1/videos", json={"prompt": "[refuse@1]"}).json()
    events = listen(client, made["id"])
    assert events[-1][0] == "failed" and "refusal" in events[-1][1]["error"]["message"]
    made = client.post("/v1/videos", json={**PROMPT, "steps": 1000}).json()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(listen, client, made["id"]) for _ in range(2)]
        time.sleep(0.5)
        client.delete(f"/v1/videos/{made['id']}")
        for heard in both:
            name, data = heard.result(20)[-1]
            assert (name, data["error"]["code"]) == ("failed", "deleted")


def test_events_of_nothing(client):
    refused(client.get("/v1/videos/video_none/events"), 404, "not_found")


# Files.


def test_parts_of_a_file(client, video):
    path = f"/v1/videos/{video['id']}/content"
    whole = client.get(path)
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == size
    cases = {"bytes=0-99": (0, 100), "bytes=100-": (100, size), "bytes=-50": (size - 50, size),
             f"bytes=10-{size * 2}": (10, size)}  # fmt: skip
    for asked, (start, end) in cases.items():
        part = client.get(path, headers={"Range": asked})
        assert part.status_code == 206 and part.content == whole.content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=-0", f"bytes={'9' * 5000}-"):
        headers = refused(client.get(path, headers={"Range": asked}), 416, "range_not_satisfiable")
        assert headers["content-range"] == f"bytes */{size}"
    for asked in ("bytes=0-1,3-4", "lines=1-2", "bytes=9-1", "bytes=-", b"bytes=\xb2-"):
        assert client.get(path, headers={"Range": asked}).status_code == 200
    head = client.head(path)
    assert head.status_code == 200 and head.content == b""
    assert int(head.headers["content-length"]) == size
    assert head.headers["x-content-type-options"] == "nosniff"


def test_links_that_need_no_key(client, video, monkeypatch):
    url = httpx.URL(video["content_url"])
    assert client.get(url).status_code == client.head(url).status_code == 200
    assert client.get(url, headers={"Range": "bytes=0-9"}).status_code == 206
    for wrong in ({"signature": "0" * 40}, {"signature": "é"}, {"expires": "9" * 99}):
        refused(client.get(url.copy_merge_params(wrong)), 404, "not_found")
    refused(client.get(f"/files/{video['id']}/video"), 404)
    refused(client.get(str(url).replace("/video?", "/thumbnail?")), 404)
    real = time.time
    monkeypatch.setattr("kineograph.serve.api_files.time.time", lambda: real() + 2 * 86_400)
    refused(client.get(url), 404, "not_found", "not any more")


def test_a_file_that_is_not_kept(service, client):
    made = service.done(client.post("/v1/videos", json=PROMPT).json()["id"])
    service.rig.storage.delete(service.rig.row(made["id"]).output)
    refused(client.get(f"/v1/videos/{made['id']}/content"), 410, "gone", "no longer kept")
    refused(client.get(f"/v1/videos/{made['id']}/content?variant=film"), 400, None, "'film'")


# Sending twice.


def test_a_key_makes_one_video(closed, owner):
    headers = {"Idempotency-Key": "one"}
    first = owner.post("/v1/videos", json=PROMPT, headers=headers).json()
    again = owner.post("/v1/videos", json=PROMPT, headers=headers)
    assert again.status_code == 200 and again.json()["id"] == first["id"]
    form = owner.post("/v1/videos", files={"prompt": (None, PROMPT["prompt"])}, headers=headers)
    assert form.json()["id"] == first["id"]
    other = owner.post("/v1/videos", json={"prompt": "a cube"}, headers=headers)
    refused(other, 422, "idempotency_key_reused")
    refused(owner.post("/v1/videos", json=PROMPT, headers={"Idempotency-Key": ""}), 400)
    with closed.as_(closed.key("someone")) as someone:
        assert someone.post("/v1/videos", json=PROMPT, headers=headers).json()["id"] != first["id"]


def test_a_key_of_many_at_once_makes_one_video(owner):
    def send(_):
        headers = {"Idempotency-Key": "many"}
        return owner.post("/v1/videos", json=PROMPT, headers=headers).json()["id"]

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(send, range(6)))) == 1


def test_the_same_words_at_once_make_as_many_videos(owner):
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(owner.post, "/v1/videos", json=PROMPT) for _ in range(4)]
    assert len({answer.result().json()["id"] for answer in made}) == 4


def test_what_a_client_sends_again_makes_nothing_anew(closed, owner, monkeypatch):
    def send(times):  # as OpenAI's clients tell how often they have sent it before
        headers = {"x-stainless-retry-count": str(times)}
        answer = owner.post("/v1/videos", json={"prompt": "a green ball"}, headers=headers)
        return answer.json()["id"]

    first = send(0)
    assert send(1) == send(2) == first
    second = send(0)
    assert second != first and send(1) == second
    # The answer to the one before is no answer to this one, which never came.
    monkeypatch.setattr("kineograph.serve.service.RESENT", -1.0)
    assert send(1) not in (first, second)


# Stopping and going on.


def test_a_video_is_paused_resumed_and_cancelled(service, client):
    made = client.post("/v1/videos", json={**PROMPT, "steps": 1000}).json()
    path = f"/v1/videos/{made['id']}"
    refused(client.post(f"{path}/resume"), 409, "conflict", "only a paused one")
    assert client.post(f"{path}/pause").status_code == 200
    service.rig.wait(made["id"], state="paused")
    assert client.get(path).json()["state"] == "paused"
    assert client.post(f"{path}/resume").json()["state"] == "queued"
    assert client.post(f"{path}/cancel").status_code == 200
    assert service.done(made["id"])["error"]["code"] == "cancelled"
    for action in ("cancel", "pause", "resume"):
        headers = refused(client.post(f"{path}/{action}"), 409, "conflict")
        assert headers["x-should-retry"] == "false"
    refused(client.get(f"{path}/content"), 409)
    answer = client.post("/v1/videos/extensions", json={**PROMPT, "video": made["id"]})
    refused(answer, 409, "conflict", "only a completed one")


def test_what_an_earlier_video_passes_on(client, service):
    made = client.post("/v1/videos", json={**PROMPT, "size": "320x180", "seconds": 2}).json()
    service.done(made["id"])
    path = "/v1/videos/edits"
    for video in (made["id"], {"id": made["id"]}, {"video_id": made["id"]}):
        told = client.post(path, json={**PROMPT, "video": video}).json()
        assert (told["size"], told["seconds"]) == ("320x180", "2.1")
        assert told["remixed_from_video_id"] == made["id"]
    answer = client.post("/v1/videos", json={**PROMPT, "input_reference": {"id": made["id"]}})
    refused(answer, 400, None, "a picture is needed")


# Refusals.


def test_who_may_not(closed, owner):
    with httpx.Client(base_url=closed.url, trust_env=False) as nobody:
        headers = refused(nobody.get("/v1/videos"), 401, "missing_api_key")
        assert headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer x", "Basic x", "Bearer kineo_x", "Bearer é".encode("latin-1")):
            told = nobody.get("/v1/videos", headers={"Authorization": wrong})
            refused(told, 401, "invalid_api_key")
    with closed.as_(closed.key("reader", scopes=["videos:read"])) as reader:
        assert reader.get("/v1/videos").status_code == 200
        refused(reader.post("/v1/videos", json=PROMPT), 403, "insufficient_scope")
        refused(reader.delete("/v1/videos/video_x"), 403)
        refused(reader.post("/v1/files", files={"file": picture()}), 403)
    with closed.as_(closed.key("writer", scopes=["videos:write"])) as writer:
        id = writer.post("/v1/videos", json=PROMPT).json()["id"]
        for path in ("", f"/{id}", f"/{id}/content", f"/{id}/events"):
            refused(writer.get(f"/v1/videos{path}"), 403)
    with closed.as_(closed.key("poor", "free", 0)) as poor:
        refused(poor.post("/v1/videos", json=PROMPT), 402, "insufficient_credits")
    until = time.time() + 0.2
    with closed.as_(closed.key("brief", expires_at=until)) as brief:
        time.sleep(0.25)
        refused(brief.get("/v1/videos"), 401, "invalid_api_key", "expired")


def test_too_many(closed):
    with closed.as_(closed.key("slow", "slow")) as slow:
        for left in ("1", "0"):
            assert slow.get("/v1/videos").headers["ratelimit-remaining"] == left
        headers = refused(slow.get("/v1/videos"), 429, "rate_limit_exceeded", "2 requests a minute")
        assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("2", "0")
        assert 0 < int(headers["retry-after"]) <= 30
        assert slow.post("/v1/videos", json=PROMPT).status_code == 200  # has a budget of its own
    with closed.as_(closed.key("single", "single")) as single:
        single.post("/v1/videos", json=PROMPT)
        headers = refused(single.post("/v1/videos", json=PROMPT), 429, None, "allows 1 at a time")
        assert headers["retry-after"]
    with closed.as_(closed.key("short", "short")) as short:
        short.post("/v1/videos", json=PROMPT)
        refused(short.post("/v1/videos", json=PROMPT), 429, None, "within a day")


def test_a_full_queue(closed, owner, monkeypatch):
    monkeypatch.setattr(closed.service, "settings", closed.rig.settings.__class__(max_queue=0))
    headers = refused(owner.post("/v1/videos", json=PROMPT), 503, "unavailable", "as many as may")
    assert headers["retry-after"] == "60"


def test_nobody_sees_what_is_anothers(closed, owner):
    made = owner.post("/v1/videos", json=PROMPT).json()["id"]
    upload = owner.post("/v1/files", files={"file": ("a.png", picture(64, 64), "image/png")}).json()
    with closed.as_(closed.key("stranger")) as stranger:
        asked = [
            stranger.get(f"/v1/videos/{made}"),
            stranger.delete(f"/v1/videos/{made}"),
            stranger.get(f"/v1/videos/{made}/content"),
            stranger.get(f"/v1/videos/{made}/events"),
            *(stranger.post(f"/v1/videos/{made}/{act}") for act in ("cancel", "pause", "resume")),
            stranger.post(f"/v1/videos/{made}/remix", json=PROMPT),
            stranger.post("/v1/videos/edits", json={**PROMPT, "video": made}),
            stranger.post("/v1/videos/extensions", json={**PROMPT, "video": {"id": made}}),
            stranger.get("/v1/videos", params={"after": made}),
            stranger.post("/v1/videos", json={**PROMPT, "input_reference": upload["id"]}),
        ]
        for answer in asked:
            refused(answer, 404, "not_found")
        assert stranger.get("/v1/videos").json()["data"] == []
        for path in ("text2video", "image2video", "video-extend"):
            assert stranger.get(f"/v1/videos/{path}/{made}").status_code == 404
            assert stranger.get(f"/v1/videos/{path}").json()["data"] == []
    assert owner.get(f"/v1/videos/{made}").json()["state"] == "queued"


def test_what_is_not_there(client):
    refused(client.get("/v1/nothing"), 404, "not_found", "GET /v1/nothing")
    refused(client.get("/v1/videos/video_none"), 404, "not_found", "'video_none'")
    refused(client.get("/v1/videos/a%00b"), 404)
    refused(client.get("/v1/videos", params={"after": "video_none"}), 404)
    headers = refused(client.put("/v1/videos"), 405, "method_not_allowed")
    assert headers["allow"] == "GET, POST"
    assert refused(client.put("/v1/videos/edits"), 405)["allow"] == "POST"
    assert refused(client.put("/v1/videos/x"), 405)["allow"] == "DELETE, GET"
    assert client.put("/kling/v1/videos/text2video").headers["allow"] == "GET, POST"
    refused(client.get("/v1/videos", params={"limit": 0}), 400, None, "limit '0'")
    refused(client.get("/v1/videos", params={"after": "a\0"}), 400)


def test_bodies_that_are_wrong(client, closed, owner):
    def post(**more):
        return client.post("/v1/videos", **more)

    as_json = {"content-type": "application/json"}
    refused(post(content=b"{", headers=as_json), 400, None, "not JSON")
    refused(post(content=b"[1]", headers=as_json), 400)
    refused(post(json={}), 400, None, "prompt is missing")
    refused(post(json={"promt": 1}), 400, None, "did you mean prompt")
    refused(post(json={**PROMPT, "steps": "many"}), 400, None, "steps 'many'", "whole number")
    refused(post(json={**PROMPT, "steps": 5000}), 400, None, "5000", "1 to 1000")
    refused(post(json={**PROMPT, "generate_sound": 0}), 400, None, "no model makes sound")
    refused(post(content=b"x", headers={"content-type": "text/plain"}), 415)
    refused(post(json=PROMPT, headers={"content-encoding": "gzip"}), 415)
    with_boundary = {"content-type": "multipart/form-data; boundary=x"}
    refused(post(content=b"--x\r\n", headers=with_boundary), 400, None, "ends before")
    refused(owner.post("/v1/videos", json={"prompt": "x" * 100_001}), 413, "body_too_large")
    file = {"input_reference": ("a.png", b"x" * 60_000, "image/png")}
    refused(owner.post("/v1/videos", data=PROMPT, files=file), 413, None, "input_reference")


def test_formats_that_cannot_be_made(client):
    refused(client.post("/v1/videos", json={**PROMPT, "format": "gif"}), 400, None, "mp4, image")
    refused(client.post("/v1/videos", json={**PROMPT, "format": "image"}), 400, None, "25 frames")
    one = {**PROMPT, "num_frames": 1}
    refused(client.post("/v1/videos", json={**one, "format": "mp4"}), 400, None, "image is what")
    assert client.post("/v1/videos", json={**one, "format": "image"}).status_code == 200


def test_the_policy(client):
    answer = client.post("/v1/videos", json={"prompt": "nude children"})
    refused(answer, 400, "content_policy_violation", "refused by the content policy")


def test_urls_are_not_fetched_unless_it_is_allowed(service, client, monkeypatch):
    before = held(service)
    body = {**PROMPT, "input_reference": {"image_url": "https://a.example/b.png"}}
    refused(client.post("/v1/videos", json=body), 403, None, "not fetched from URLs")
    open_ = service.rig.settings.__class__(fetch_urls=True)
    monkeypatch.setattr(service.service.intake, "settings", open_)
    for url in ("http://a.example/x.png", "https://127.0.0.1/x", "https://[::1]/", "https://0x7f.1/",
                "https://169.254.169.254/latest", "https://a.example:8080/"):  # fmt: skip
        answer = client.post("/v1/videos", json={**PROMPT, "input_reference": url})
        refused(answer, 400, None, "input_reference: ")
    assert held(service) == before


HOSTILE = {
    "empty": (b"", "is empty"),
    "text": (b"#!/bin/sh\necho", "begins with"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "begins with"),
    "cut": (picture()[:300], "cannot be decoded"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "begins with"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_leave_nothing(service, client, name):
    content, _words = HOSTILE[name]
    before = held(service)
    file = ("../../x.png", content, "image/png")
    refused(client.post("/v1/videos", data=PROMPT, files={"input_reference": file}), 400)
    refused(client.post("/v1/files", files={"file": file}), 400)
    assert held(service) == before


def test_a_second_file_that_is_wrong_takes_the_first_with_it(service, client):
    before = held(service)
    files = {"input_reference": ("a.png", picture(), "image/png"), "last_image": b"no picture"}
    refused(client.post("/v1/videos", data=PROMPT, files=files), 400, None, "last_image")
    assert held(service) == before


def test_an_upload_is_used(service, client):
    told = client.post("/v1/files", files={"file": ("a.png", picture(), "image/png")}).json()
    assert told["kind"] == "image" and told["width"] == 320
    made = client.post("/v1/videos", json={**PROMPT, "input_reference": {"file_id": told["id"]}})
    assert made.json()["inputs"] == ["image"]
    refused(client.post("/v1/files", data={"a": "b"}), 400, None, "one file")
    refused(client.post("/v1/videos/edits", json={**PROMPT, "video": told["id"]}), 400, None,
            "a video is needed")  # fmt: skip


# Without a key.


def test_any_key_will_do_where_none_is_needed(client, service):
    answer = client.get("/v1/queue", headers={"Authorization": "Bearer whatever"})
    assert answer.status_code == 200
    told = client.get("/v1/queue", headers={"Authorization": "Bearer kineo_mistyped"})
    refused(told, 401, "invalid_api_key")


# Running it.


def test_health_readiness_and_figures(client, video, closed, owner):
    assert client.get("/health").json()["status"] == "ok"
    ready = client.get("/ready")
    assert ready.status_code == 200 and ready.json()["ready"] and ready.json()["workers"] == "ok"
    client.get("/v1/videos")
    figures = client.get("/metrics").text
    line = 'kineo_http_requests_total{method="GET",route="/v1/videos",status="200"}'
    assert line in figures and "kineo_videos{" in figures
    refused(owner.get("/metrics"), 403)
    token = {"Authorization": "Bearer of the operator"}
    assert closed.client.get("/metrics", headers=token).status_code == 200


def test_without_the_database(service, client, monkeypatch):
    def away(*_, **__):
        raise OperationalError("select", {}, Exception("gone"))

    for way in ("begin", "connect"):  # of those who read, and of those who write
        monkeypatch.setattr(service.rig.database.engine, way, away)
    for answer in (client.get("/v1/videos"), client.post("/v1/videos", json=PROMPT)):
        headers = refused(answer, 503, "unavailable", "try again")
        assert headers["retry-after"] == "5"
    ready = client.get("/ready")
    assert ready.status_code == 503 and ready.json()["database"] == "away"
    assert client.get("/health").status_code == 200
    monkeypatch.undo()
    assert client.get("/v1/videos").status_code == 200


def test_what_nobody_foresaw_is_told_as_such(client, service, monkeypatch):
    def wrong(*_):
        raise ValueError("a secret")

    monkeypatch.setattr(service.service.board, "summary", wrong)
    answer = client.get("/v1/queue")
    refused(answer, 500, "internal_error")
    assert "secret" not in answer.text


def test_slow_files_hold_up_nobody(service, client, monkeypatch):
    """Twice as many uploads as may be judged at once, each for a second, beside polls."""
    going, judged = threading.Event(), []

    def slow(*_, **__):
        judged.append(1)
        going.wait(10)
        raise ValueError("enough")

    monkeypatch.setattr("kineograph.serve.probe.admit", slow)
    with ThreadPoolExecutor(30) as pool:
        files = {"input_reference": ("a.png", picture(), "image/png")}
        sent = [
            pool.submit(client.post, "/v1/videos", data=PROMPT, files=files) for _ in range(28)
        ]
        while len(judged) < 8:
            time.sleep(0.01)
        time.sleep(0.2)
        try:
            assert len(judged) == 8
            begun = time.monotonic()
            with httpx.Client(base_url=service.url, trust_env=False) as other:
                for _ in range(10):
                    assert other.get("/v1/videos").status_code == 200
            assert time.monotonic() - begun < 5
        finally:
            going.set()
        assert {answer.result().status_code for answer in sent} == {500}


def test_the_document_names_every_route(service, client, closed):
    document = client.get("/openapi.json").json()
    told = {(m.upper(), path) for path, o in document["paths"].items() for m in o}
    hidden = ("/kling/", "/proxy/", "/files/", "/admin", "/metrics", "/docs", "/openapi", "/studio")
    for path in ("/v1/videos", "/v1/videos/{video_id}/content", "/v1/videos/text2video", "/health"):
        assert any(path == known for _, known in told)
    for route in _routes(service.app.routes):
        for method in route.methods - {"HEAD"}:
            if not route.path.startswith(hidden):
                assert (method, route.path) in told
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            statuses = set(operation["responses"])
            assert "HTTPValidationError" not in json.dumps(operation)
            if path not in ("/health", "/ready"):
                assert {"400", "429", "503"} <= statuses, (method, path, statuses)
    keyless = closed.client.get("/openapi.json").json()["security"]
    assert keyless == [{"key": []}] and document["security"] == [{"key": []}, {}]


def _routes(routes):
    for route in routes:
        if hasattr(route, "methods") and hasattr(route, "path"):
            yield route
        else:
            yield from _routes(getattr(route, "routes", []))


def test_a_video_that_failed_costs_nothing(closed):
    with closed.as_(closed.key("payer", "free", 5.0)) as payer:
        made = payer.post("/v1/videos", json=PROMPT).json()
        assert made["estimated_cost"] > 0
        payer.post(f"/v1/videos/{made['id']}/cancel")
        with closed.rig.database.read() as c:
            kinds = c.scalars(
                select(ledger.ledger.c.kind).where(ledger.ledger.c.video_id == made["id"])
            ).all()
        assert kinds == ["reserve", "refund"]
