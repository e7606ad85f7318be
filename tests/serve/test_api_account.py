"""The owner's API: credits, keys and webhooks; invitations and applications."""

import time

import pytest
from fastapi.testclient import TestClient
from serve_rig import Rig
from sqlalchemy import delete, insert, select, update

from kineograph.serve import access, invitations, ledger, queue, webhooks
from kineograph.serve.api_account import PER_MINUTE
from kineograph.serve.app import create_app
from kineograph.serve.outbox import DELIVERED
from kineograph.serve.rates import Rates
from kineograph.serve.tables import deliveries, endpoints, metadata

SECRETS = ("token", "secret_key", "secret", "hash", "sealed")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One service and its API for all tests of this file: each finds it empty."""
    data = tmp_path_factory.mktemp("account")
    rig = Rig(f"sqlite:///{data / 'kineo.sqlite'}", data)
    metadata.create_all(rig.database.engine)  # without the guard that lets no entry be deleted
    rig.set(open="no", signup=True)
    with TestClient(create_app(rig.settings, rig.database)) as client:
        yield rig, client
    rig.close()


@pytest.fixture
def rig(shared):
    rig, client = shared
    client.app.state.api.rates = Rates()
    with rig.database.write() as c:
        for table in reversed(metadata.sorted_tables):
            c.execute(delete(table))
    rig.account("free")
    rig.account("member", "member")
    return rig


@pytest.fixture
def client(shared):
    return shared[1]


def bearer(rig, account="free", **values):
    """The headers of a new key of an account."""
    key = rig.do(access.create_key, account, "test", rig.settings, time.time(), **values)
    return {"Authorization": f"Bearer {key.token}"}


def refused(answer, status, *words, code=None):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    for word in words:
        assert word in error["message"], error
    if code is not None:
        assert error["code"] == code
    return error


def test_an_account_shows_its_limits_its_credits_and_what_is_in_hand(rig, client):
    headers = bearer(rig)
    rig.submit("v", "free", seconds=3.0, cost_seconds=2.0)
    told = client.get("/v1/account", headers=headers).json()
    assert (told["id"], told["name"], told["in_hand"]) == ("free", "free", 1)
    assert told["tier"]["name"] == "free" and told["tier"]["in_hand"] == 5
    assert (told["balance"], told["reserved"], told["seconds_today"]) == (998.0, 2.0, 3.0)
    assert told["key"]["scopes"] == sorted(access.USUAL)


@pytest.mark.parametrize("method, path", [
    ("get", "/v1/account"), ("get", "/v1/account/ledger"), ("get", "/v1/keys"),
    ("post", "/v1/keys"), ("delete", "/v1/keys/x"), ("post", "/v1/keys/x/rotate"),
    ("get", "/v1/webhooks"), ("post", "/v1/webhooks"), ("delete", "/v1/webhooks/x"),
    ("post", "/v1/webhooks/x/rotate"), ("post", "/v1/webhooks/x/enable"),
    ("get", "/v1/webhooks/secret"), ("get", "/v1/webhooks/deliveries"),
    ("post", "/v1/webhooks/deliveries/x/replay"),
])  # fmt: skip
def test_a_key_without_the_scope_is_refused_everywhere(rig, client, method, path):
    headers = bearer(rig, scopes=["videos:read", "videos:write"])
    refused(client.request(method, path, headers=headers), 403, "'account'")
    refused(client.request(method, path), 401, "an API key is needed")


def test_the_ledger_of_a_charged_video_adds_up_page_by_page(rig, client):
    headers = bearer(rig)
    rig.submit("v", "free", cost_seconds=2.5)
    job = rig.claim(rig.enlist("w"))
    assert rig.do(queue.complete, job, {"output": "x"}, 1.0, 5.0)
    rig.submit("u", "free", cost_seconds=1.0)
    rig.do(queue.fail, rig.claim("w"), "x", "why", rig.settings, 5.0, seconds=1.0, retry=False)
    entries, after = [], None
    while True:
        params = {"limit": 2} | ({} if after is None else {"after": after})
        page = client.get("/v1/account/ledger", params=params, headers=headers).json()
        entries += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    told = [(e["kind"], e["amount"], e["balance"]) for e in reversed(entries)]
    assert told == [
        ("grant", 1000.0, 1000.0), ("reserve", -2.5, 997.5), ("settle", 0.0, 997.5),
        ("reserve", -1.0, 996.5), ("refund", 1.0, 997.5),
    ]  # fmt: skip
    balance = client.get("/v1/account", headers=headers).json()["balance"]
    assert sum(e["amount"] for e in entries) == balance == 997.5
    assert {e["video_id"] for e in entries} == {None, "v", "u"}


def test_nobody_sees_anothers_ledger(rig, client):
    page = client.get("/v1/account/ledger", headers=bearer(rig, "member")).json()
    assert [e["id"] for e in page["data"]] == [2]


def test_a_key_is_made_used_listed_and_revoked_and_its_token_shown_once(rig, client):
    headers = bearer(rig)
    answer = client.post("/v1/keys", json={"name": "laptop"}, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made["scopes"] == list(access.USUAL) and "secret_key" not in made
    mine = {"Authorization": f"Bearer {made['token']}"}
    listed = client.get("/v1/keys", headers=mine).json()["data"]
    assert [key["name"] for key in listed] == ["laptop", "test"]
    assert not any(name in key for key in listed for name in SECRETS)
    gone = client.delete(f"/v1/keys/{made['id']}", headers=headers)
    assert gone.json() == {"id": made["id"], "object": "key.deleted", "deleted": True}
    refused(client.get("/v1/keys", headers=mine), 401, "revoked")


def test_a_key_gives_no_more_than_it_has(rig, client):
    headers = bearer(rig, scopes=["account", "videos:read"])
    made = client.post("/v1/keys", json={"name": "k"}, headers=headers).json()
    assert made["scopes"] == ["videos:read", "account"]
    body = {"name": "k", "scopes": ["videos:write"]}
    refused(client.post("/v1/keys", json=body, headers=headers), 403, "videos:write")
    strong = rig.do(access.create_key, "free", "s", rig.settings, 1.0)
    answer = client.post(f"/v1/keys/{strong.id}/rotate", headers=headers)
    refused(answer, 403, "videos:write")
    assert rig.do(access.identify, strong.token, time.time()).account_id == "free"


def test_a_rotated_key_goes_on_under_another_token(rig, client):
    made = rig.do(access.create_key, "free", "k", rig.settings, time.time(), signing=True)
    headers = {"Authorization": f"Bearer {made.token}"}
    new = client.post(f"/v1/keys/{made.id}/rotate", json={"overlap": 60}, headers=headers).json()
    assert new["name"] == "k" and new["token"] != made.token
    assert new["signing"] and new["access_key"] == new["id"] and new["secret_key"]
    both = [headers, {"Authorization": f"Bearer {new['token']}"}]
    assert [client.get("/v1/keys", headers=h).status_code for h in both] == [200, 200]
    client.post(f"/v1/keys/{new['id']}/rotate", headers=headers)
    refused(client.get("/v1/keys", headers=both[1]), 401)


@pytest.mark.parametrize("body, status, words", [
    ({}, 400, ("name", "missing")),
    ({"name": ""}, 400, ("name",)),
    ({"name": 3}, 400, ("name 3", "text")),
    ({"name": "k", "scopes": "account"}, 400, ("'account'", "list")),
    ({"name": "k", "scopes": []}, 400, ("scopes []",)),
    ({"name": "k", "scopes": ["all"]}, 400, ("'all'", "videos:read")),
    ({"name": "k", "scope": ["account"]}, 400, ("scope", "did you mean scopes?")),
    ({"name": "k", "expires_at": 5}, 400, ("expires_at 5",)),
    ({"name": "k", "expires_at": "never"}, 400, ("expires_at 'never'", "number")),
    ({"name": "k", "expires_at": None}, 400, ("expires_at None",)),
    ({"name": "k", "signing": "yes"}, 400, ("signing 'yes'", "true or false")),
    (["name"], 400, ("object",)),
])  # fmt: skip
def test_a_key_that_is_asked_for_wrongly_is_refused_by_name(rig, client, body, status, words):
    refused(client.post("/v1/keys", json=body, headers=bearer(rig)), status, *words)


def test_ids_that_are_none_are_refused(rig, client):
    headers = bearer(rig)
    refused(client.delete("/v1/keys/nobody", headers=headers), 404, "'nobody'")
    refused(client.delete("/v1/keys/a%00b", headers=headers), 404, "key_id")
    other = rig.do(access.create_key, "member", "k", rig.settings, 1.0)
    refused(client.delete(f"/v1/keys/{other.id}", headers=headers), 404)
    refused(client.get("/v1/account/ledger?limit=0", headers=headers), 400, "limit")


def test_a_webhook_is_made_rotated_and_deleted(rig, client):
    headers, url = bearer(rig), "https://example.com/hook"
    answer = client.post("/v1/webhooks", json={"url": url}, headers=headers)
    assert answer.status_code == 201
    made = answer.json()
    assert made["secret"].startswith("whsec_") and made["url"] == url
    listed = client.get("/v1/webhooks", headers=headers).json()["data"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert not any(name in listed[0] for name in SECRETS)
    new = client.post(f"/v1/webhooks/{made['id']}/rotate", headers=headers).json()
    assert new["secret"] not in (None, made["secret"])
    with rig.database.write() as c:
        c.execute(update(endpoints).values(disabled_at=1.0))
    shown = client.post(f"/v1/webhooks/{made['id']}/enable", headers=headers).json()
    assert shown["disabled_at"] is None and shown["both_secrets_until"] > time.time()
    refused(client.delete(f"/v1/webhooks/{made['id']}", headers=bearer(rig, "member")), 404)
    assert client.delete(f"/v1/webhooks/{made['id']}", headers=headers).json()["deleted"]
    assert client.get("/v1/webhooks", headers=headers).json()["data"] == []


@pytest.mark.parametrize("url", ["http://example.com/", "https://127.0.0.1/", "ftp://x", "", 7])
def test_a_webhook_goes_to_public_https_alone(rig, client, url):
    refused(client.post("/v1/webhooks", json={"url": url}, headers=bearer(rig)), 400)


def test_the_secret_of_callbacks_is_told_to_their_owner(rig, client):
    told = client.get("/v1/webhooks/secret", headers=bearer(rig))
    assert told.json()["secret"] == webhooks.account_secret(rig.settings, "free")
    assert told.headers["cache-control"] == "no-store"


def test_deliveries_are_listed_and_sent_again(rig, client):
    for number, account in ((1, "free"), (2, "free"), (3, "member")):
        values = dict(
            id=f"evt_{number}", account_id=account, url="https://example.com", type="video.failed",
            video_id=f"v{number}", state=DELIVERED, attempts=2, next_at=1.0, created_at=number,
        )  # fmt: skip
        with rig.database.write() as c:
            c.execute(insert(deliveries).values(values))
    headers = bearer(rig)
    page = client.get("/v1/webhooks/deliveries?limit=1", headers=headers).json()
    assert [d["id"] for d in page["data"]] == ["evt_2"] and page["has_more"]
    page = client.get("/v1/webhooks/deliveries?video_id=v1", headers=headers).json()
    assert [d["id"] for d in page["data"]] == ["evt_1"] and not page["has_more"]
    again = client.post("/v1/webhooks/deliveries/evt_1/replay", headers=headers)
    assert again.json() == {"id": "evt_1", "object": "webhook.replay", "count": 1}
    refused(client.post("/v1/webhooks/deliveries/evt_3/replay", headers=headers), 404)


def test_an_invitation_opens_an_account_whose_key_works(rig, client):
    code = rig.do(invitations.create_invitation, rig.settings, time.time(), tier="member",
                  credits=7.5)  # fmt: skip
    body = {"code": code.upper(), "name": "Ada"}
    answer = client.post("/v1/invitations/redeem", json=body)
    assert answer.status_code == 201 and answer.headers["cache-control"] == "no-store"
    opened = answer.json()
    headers = {"Authorization": f"Bearer {opened['key']['token']}"}
    told = client.get("/v1/account", headers=headers).json()
    assert told["id"] == opened["account"]["id"]
    assert (told["name"], told["tier"]["name"], told["balance"]) == ("Ada", "member", 7.5)
    refused(client.post("/v1/invitations/redeem", json=body), 410, "used up")
    body["code"] = "aaaa-bbbb-cccc-dddd-eeee"
    refused(client.post("/v1/invitations/redeem", json=body), 404, "no such invitation")
    refused(client.post("/v1/invitations/redeem", json={"code": code}), 400, "name is missing")
    with rig.database.read() as c:
        assert ledger.audit(c) == []


def test_an_application_is_answered_the_same_whether_known_or_not(rig, client):
    body = {"contact": "Ada@example.com", "note": "films"}
    first, second = (client.post("/v1/applications", json=body) for _ in range(2))
    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    with rig.database.read() as c:
        assert [a["contact"] for a in invitations.list_applications(c)] == ["ada@example.com"]
    refused(client.post("/v1/applications", json={"contact": "a"}), 400, "contact 'a'")


def test_applications_are_refused_where_signup_is_off(rig):
    rig.set(signup=False)
    client = TestClient(create_app(rig.settings, rig.database))
    answer = client.post("/v1/applications", json={"contact": "ada@example.com"})
    refused(answer, 403, "`signup`", code="signup_off")


def test_one_address_is_slowed_down_and_not_another(rig, client):
    body = {"contact": "ada@example.com"}
    statuses = [client.post("/v1/applications", json=body).status_code for _ in range(7)]
    assert statuses == [202] * PER_MINUTE["applications"] + [429]
    other = TestClient(client.app, client=("2001:db8::1", 1))
    for _ in range(PER_MINUTE["applications"]):
        assert other.post("/v1/applications", json=body).status_code == 202
    neighbour = TestClient(client.app, client=("2001:db8::2", 1))
    error = refused(neighbour.post("/v1/applications", json=body), 429)
    assert error["code"] == "rate_limit_exceeded"


def test_every_route_is_in_the_document_with_its_refusals(client):
    paths = client.get("/openapi.json").json()["paths"]
    mine = {p: v for p, v in paths.items()
            if p.startswith(("/v1/account", "/v1/keys", "/v1/webhooks", "/v1/applications",
                             "/v1/invitations"))}  # fmt: skip
    assert sum(len(methods) for methods in mine.values()) == 16
    for path, methods in mine.items():
        for method, said in methods.items():
            assert said["summary"], path
            assert {"400", "401", "403", "429"} <= set(said["responses"]), (method, path)
            done = [s for s in said["responses"] if s.startswith("2")]
            assert len(done) == 1, (method, path, done)
    body = mine["/v1/keys"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["name"] and not body["additionalProperties"]


def test_answers_are_of_the_documented_shape(rig, client):
    from kineograph.serve import schemas_account as schemas

    headers = bearer(rig)
    client.post("/v1/keys", json={"name": "k", "signing": True}, headers=headers)
    client.post("/v1/webhooks", json={"url": "https://example.com"}, headers=headers)
    rig.submit("v", callback_url="https://example.com")
    for path, model in {
        "/v1/account": schemas.Account, "/v1/account/ledger": schemas.LedgerPage,
        "/v1/keys": schemas.KeyPage, "/v1/webhooks": schemas.WebhookPage,
        "/v1/webhooks/secret": schemas.Secret, "/v1/webhooks/deliveries": schemas.DeliveryPage,
    }.items():  # fmt: skip
        told = client.get(path, headers=headers).json()
        assert model.model_validate(told, extra="forbid").model_dump() == told
    with rig.database.read() as c:
        assert c.execute(select(endpoints.c.id)).first() is not None
