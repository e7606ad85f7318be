"""The operator's page: who may see it, what it says, and that nothing foreign is in it."""

import re
import time

import pytest
from fastapi.testclient import TestClient

from kineograph.serve import again, queue
from kineograph.serve.app import create_app
from kineograph.serve.overview import eta_summary

AFAR = ("203.0.113.9", 5000)


@pytest.fixture
def rig(rig):
    return rig


def browser(rig, *, afar=False):
    app = create_app(rig.settings, rig.database)
    return TestClient(app, client=AFAR) if afar else TestClient(app)


def test_the_page_and_its_files_bring_all_they_need_and_nothing_from_elsewhere(rig):
    client = browser(rig)
    page = client.get("/admin")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert named == ["/admin/admin.css", "/admin/admin.js"]
    assert not re.search(r"<style|<script>|\sstyle=|\son[a-z]+=", page.text)
    for name in named:
        answer = client.get(name)
        assert answer.status_code == 200 and "http" not in answer.text
    assert client.get("/admin/admin.html").status_code == 404
    assert "/admin" not in client.get("/openapi.json").text


def test_every_word_of_the_page_is_there_in_both_languages(rig):
    client = browser(rig)
    script, page = client.get("/admin/admin.js").text, client.get("/admin").text
    english, chinese = script.split("  zh: {")[0], script.split("  zh: {")[1].split("\n};")[0]
    keys = [set(re.findall(r"(\w+): (?:\"|\()", text)) for text in (english, chinese)]
    assert keys[0] == keys[1]
    assert set(re.findall(r'data-word="(\w+)"', page)) <= keys[0]


def test_from_afar_it_is_refused_without_the_token_and_shown_with_it(rig):
    client = browser(rig, afar=True)
    for path in ("/admin", "/admin/data"):
        assert client.get(path).status_code == 403
    page = client.get("/admin", headers={"Accept": "text/html"})
    assert page.status_code == 403 and 'id="token"' in page.text
    rig.set(admin_token="a long token")
    client = browser(rig, afar=True)
    for token, status in (("another", 403), ("a long token", 200)):
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/admin/data", headers=headers).status_code == status
        assert client.get("/admin", headers=headers).status_code == status
    # With a token set, it is asked for on this machine too.
    assert browser(rig).get("/admin/data").status_code == 403


def test_the_data_say_how_the_service_stands(rig):
    now = time.time()
    rig.submit("made", "member", seconds=2.0)
    job = rig.claim(rig.enlist("w1"))
    rig.do(queue.report, job, told_end_at=now + 5)
    rig.do(queue.complete, job, {}, 3.0, now + 10)
    rig.submit("bad", "free")
    rig.do(
        queue.fail, rig.claim("w1"), "broken", "why", rig.settings, now, seconds=1.0, retry=False
    )
    rig.submit("runs", "member", steps=8)
    job = rig.claim(rig.enlist("w2"))
    rig.do(queue.report, job, steps_done=4, progress=0.5, stage="denoise")
    for n in range(4):
        rig.submit(f"f{n}", "free", prompt="x" * 500)
    rig.do(again.hold)
    told = browser(rig).get("/admin/data").json()
    assert told["held"] is True
    assert told["queue"]["states"] == {
        "queued": 4, "running": 1, "paused": 0, "completed": 1, "failed": 1, "cancelled": 0,
    }  # fmt: skip
    assert [t["tier"] for t in told["queue"]["tiers"]] == ["member", "free"]
    assert [v["position"] for v in told["waiting"]] == [1, 2, 3, 4]
    assert len(told["waiting"][0]["prompt"]) == 120 and told["waiting"][3]["ends_in"] > 0
    runs = told["running"][0]
    assert (runs["id"], runs["worker"], runs["progress"], runs["steps_done"]) == (
        "runs", "w2", 0.5, 4,
    )  # fmt: skip
    assert {w["id"] for w in told["workers"]} == {"w1", "w2"}
    assert told["failures"]["reasons"] == [{"code": "broken", "count": 1}]
    assert told["failures"]["newest"][0]["message"] == "why"
    assert told["eta"]["count"] == 1
    assert told["credits"]["charged_today"] == 1.0 and told["credits"]["reserved"] == 5.0
    model = told["models"][0]
    assert model["measured_worker_seconds"] == 1.5
    assert model["cost"] == pytest.approx(1.5 * told["worker_cost"])
    assert told["storage"]["state"] == "ok" and told["storage"]["free_bytes"] > 0
    assert told["database"]["schema"] == told["database"]["newest_schema"]


def test_at_most_fifty_waiting_videos_are_sent(rig):
    rig.account("op", "operator")
    for n in range(60):
        rig.submit(f"v{n}", "op")
    told = browser(rig).get("/admin/data").json()
    assert len(told["waiting"]) == 50 and told["queue"]["states"]["queued"] == 60


def test_nothing_is_changed_through_it(rig):
    client = browser(rig)
    for method in ("post", "put", "delete", "patch"):
        for path in ("/admin", "/admin/data"):
            assert client.request(method, path).status_code == 405


def test_errors_of_foretold_ends_are_medians_and_ninetieths():
    assert eta_summary([]) == {"count": 0}
    found = eta_summary([(10.0 + n, 10.0) for n in range(10)])
    assert found["median"] == pytest.approx(0.45) and found["p90"] == pytest.approx(0.9)
    assert found["bias_seconds"] == pytest.approx(4.5)
