"""A client of Kling's API as its documentation has it: signed tokens, bodies, codes, callbacks."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from served import picture, served
from standardwebhooks import Webhook

from kineograph.serve import access, announcing, settings
from kineograph.serve.webhooks import account_secret

LOCALHOST = ipaddress.ip_address("127.0.0.1")
TEXT = "/v1/videos/text2video"
BODY = {"model_name": "nano", "prompt": "a red ball", "duration": "2", "mode": "std",
        "aspect_ratio": "16:9", "cfg_scale": 0.5}  # fmt: skip


@pytest.fixture(scope="module")
def service(new_database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kling")
    tiers = settings.TIERS | {
        "poor": settings.Tier(per_minute=1000), "slow": settings.Tier(per_minute=1),
        "single": settings.Tier(in_hand=1, per_minute=1000),
    }  # fmt: skip
    with served(
        new_database(folder), folder, open="no", tiers=tiers, kling_models={"kling-v1": "nano"},
        private_networks="127.0.0.0/8",
    ) as found:  # fmt: skip
        yield found


@pytest.fixture(scope="module")
def signing(service):
    return service.key("signer", signing=True)


def token(key, secret=None, **changes):
    """Sign a token as Kling's documentation does."""
    now = int(time.time())
    claims = {"iss": key.id, "exp": now + 1800, "nbf": now - 5} | changes
    return jwt.encode(claims, secret or key.secret, headers={"alg": "HS256", "typ": "JWT"})


@pytest.fixture(scope="module")
def client(service, signing):
    with service.as_(token(signing)) as found:
        yield found


def submit(client, path=TEXT, **changes):
    answer = client.post(path, json={k: v for k, v in (BODY | changes).items() if v is not None})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["code"], told["message"]) == (0, "SUCCEED") and told["request_id"]
    assert told["data"]["task_status"] == "submitted"
    return told["data"]


def wait(client, id, kind="text2video"):
    end = time.monotonic() + 30
    while True:
        told = client.get(f"/v1/videos/{kind}/{id}").json()["data"]
        if told["task_status"] in ("succeed", "failed"):
            return told
        assert time.monotonic() < end, told
        time.sleep(0.02)


def refused(answer, status, code, *words):
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code), answer.text
    assert all(word in told["message"] for word in words), told
    assert told["request_id"] and "data" not in told


@pytest.fixture(scope="module")
def clip(client):
    return wait(client, submit(client, external_task_id="first")["task_id"])


def test_a_video_of_words(client, clip):
    assert clip["task_status"] == "succeed" and clip["task_info"] == {"external_task_id": "first"}
    assert clip["created_at"] > 1e12 and clip["updated_at"] >= clip["created_at"]
    [video] = clip["task_result"]["videos"]
    assert video["id"] == clip["task_id"] and float(video["duration"]) == 2.1


def test_the_result_is_read_without_a_key(client, clip):
    [video] = clip["task_result"]["videos"]
    with httpx.Client(trust_env=False) as anybody:
        answer = anybody.get(video["url"])
    assert answer.status_code == 200 and answer.content[4:8] == b"ftyp"


def test_a_key_that_is_not_signed_with(service):
    with service.as_(service.key("plain")) as client:
        assert wait(client, submit(client)["task_id"])["task_status"] == "succeed"


@pytest.mark.parametrize("prefix", ["/kling", "/proxy/kling"])
def test_the_other_paths(client, prefix):
    task = submit(client, f"{prefix}{TEXT}", model_name="kling-v1")
    assert client.get(f"{prefix}{TEXT}/{task['task_id']}").json()["code"] == 0


def test_a_video_of_a_picture(service, client):
    image = base64.b64encode(picture()).decode()
    fields = {"image": image, "image_tail": image, "aspect_ratio": None}
    task = submit(client, "/v1/videos/image2video", **fields)
    told = wait(client, task["task_id"], "image2video")
    assert told["task_status"] == "succeed"
    answer = client.post("/v1/videos/image2video", json=BODY)
    refused(answer, 400, 1201, "image is missing")
    answer = client.post("/v1/videos/image2video", json=BODY | {"image": "AAAA" * 40})
    refused(answer, 400, 1201, "image: the file begins with")
    refused(client.post("/v1/videos/image2video", json=BODY | {"image": "https://a.example/b.png"}),
            403, 1103, "not fetched from URLs")  # fmt: skip


def test_a_video_goes_on(service, client, clip):
    fields = {"video_id": clip["task_id"], "prompt": "it rolls away"}
    answer = client.post("/v1/videos/video-extend", json=fields)
    assert answer.status_code == 200, answer.text
    told = wait(client, answer.json()["data"]["task_id"], "video-extend")
    assert told["task_status"] == "succeed"
    assert told["task_info"]["parent_video"] == {"id": clip["task_id"]}
    # In the size of the video that it goes on from.
    assert client.get(f"/v1/videos/{told['task_id']}").json()["size"] == "320x180"
    refused(client.post("/v1/videos/video-extend", json=fields | {"video_id": "video_none"}),
            404, 1203, "no video 'video_none'")  # fmt: skip


def test_what_no_model_here_does(client):
    config = {"type": "simple", "config": {"zoom": 5}}
    answer = client.post(TEXT, json=BODY | {"camera_control": config})
    refused(answer, 400, 1201, "nano takes no camera")
    config["config"]["pan"] = 1
    refused(client.post(TEXT, json=BODY | {"camera_control": config}), 400, 1201, "exactly one")
    refused(client.post(TEXT, json=BODY | {"sound": "on"}), 400, 1201, "sound 'on'")
    refused(client.post(TEXT, json=BODY | {"multi_shot": True}), 400, 1201, "several shots")
    refused(client.post(TEXT, json=BODY | {"duration": "5"}), 400, 1201, "'5' cannot be made")
    refused(client.post(TEXT, json=BODY | {"model_name": "kling-v3"}), 400, 1201, "kling-v3")


def test_a_name_of_the_clients_own(client, service):
    task = submit(client, external_task_id="order-7/Ω".replace("/", "."))
    path = f"{TEXT}/order-7.Ω"
    assert client.get(path).json()["data"]["task_id"] == task["task_id"]
    answer = client.post(TEXT, json=BODY | {"external_task_id": "order-7.Ω"})
    refused(answer, 400, 1201, "order-7.Ω")
    refused(client.get("/v1/videos/image2video/order-7.Ω"), 404, 1203)
    with service.as_(service.key("another")) as other:
        refused(other.get(path), 404, 1203)
        submit(other, external_task_id="order-7.Ω")


def test_a_list_of_tasks(service):
    with service.as_(service.key("lister", signing=True)) as client:
        made = [submit(client)["task_id"] for _ in range(3)][::-1]
        told = client.get(TEXT, params={"pageNum": 1, "pageSize": 2}).json()
        assert [t["task_id"] for t in told["data"]] == made[:2]
        told = client.get(TEXT, params={"pageNum": 2, "pageSize": 2}).json()
        assert [t["task_id"] for t in told["data"]] == made[2:]
        assert client.get("/v1/videos/image2video").json()["data"] == []
        for wrong in ({"pageNum": 0}, {"pageSize": 501}, {"pageNum": "x"}):
            refused(client.get(TEXT, params=wrong), 400, 1201, *wrong, repr(str(*wrong.values())))


def test_codes_of_tokens(service, signing):
    now, plain = int(time.time()), service.key("unsigned")
    with httpx.Client(base_url=service.url, trust_env=False) as client:
        def ask(text):
            return client.get(TEXT, headers={"Authorization": text} if text else {})

        refused(ask(None), 401, 1001)
        for wrong in ("Bearer nonsense", "Basic abc", "Bearer a.b.c", f"Bearer {token(plain)}",
                      f"Bearer {token(signing, secret='x' * 40)}",
                      f"Bearer {token(signing, exp=now + 90_000)}"):  # fmt: skip
            refused(ask(wrong), 401, 1002)
        refused(ask(f"Bearer {token(signing, nbf=now + 60)}"), 401, 1003)
        refused(ask(f"Bearer {token(signing, exp=now - 60)}"), 401, 1004)
        gone = service.key("gone")
        with service.rig.database.write() as c:
            account = access.identify(c, gone.token, time.time()).account_id
            access.disable_account(c, account, time.time())
        refused(ask(f"Bearer {gone.token}"), 429, 1100)


def test_codes_of_accounts(service):
    with service.as_(service.key("poor", "poor", 0)) as client:
        refused(client.post(TEXT, json=BODY), 429, 1102, "credits")
    with service.as_(service.key("slow", "slow")) as client:
        submit(client)
        answer = client.post(TEXT, json=BODY)
        refused(answer, 429, 1302)
        assert int(answer.headers["retry-after"]) > 0 and answer.headers["ratelimit-limit"] == "1"
    with service.as_(service.key("reader", scopes=["videos:read"])) as client:
        refused(client.post(TEXT, json=BODY), 403, 1103, "videos:write")
    with service.as_(service.key("single", "single")) as client:
        task = submit(client, prompt="[hang@0]")
        refused(client.post(TEXT, json=BODY), 429, 1303, "at a time")
        client.delete(f"/v1/videos/{task['task_id']}")


def test_codes_of_requests(client):
    refused(client.post(TEXT, json={}), 400, 1201, "prompt is missing")
    refused(client.post(TEXT, json=BODY | {"promt": 1}), 400, 1201, "did you mean prompt")
    as_json = {"content-type": "application/json"}
    refused(client.post(TEXT, content=b"{", headers=as_json), 400, 1201)
    refused(client.post(TEXT, content=b"x", headers={"content-type": "text/plain"}), 400, 1200)
    refused(client.put(TEXT), 405, 1202)
    refused(client.get("/kling/v1/nothing"), 404, 1202)
    refused(client.get(f"{TEXT}/none"), 404, 1203, "no task 'none'")
    refused(client.post(TEXT, json=BODY | {"prompt": "child porn"}), 400, 1301)
    refused(client.post(TEXT, json=BODY | {"callback_url": "http://a.example/"}), 400, 1201)


def test_codes_of_faults(service, client, monkeypatch):
    from sqlalchemy.exc import OperationalError

    def away(*_):
        raise OperationalError("select", {}, Exception("gone"))

    monkeypatch.setattr(service.rig.database.engine, "begin", away)
    answer = client.get(TEXT)
    refused(answer, 503, 5001)
    assert answer.headers["retry-after"]
    monkeypatch.undo()

    def wrong(*_):
        raise ValueError("a secret")

    monkeypatch.setattr(service.service, "price", wrong)
    answer = client.post(TEXT, json=BODY)
    refused(answer, 500, 5000)
    assert "secret" not in answer.text


def test_a_failed_task_says_why(client):
    told = wait(client, submit(client, prompt="a ball [refuse@2]")["task_id"])
    assert told["task_status"] == "failed" and "refusal" in told["task_status_msg"]
    assert "task_result" not in told


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((dict(self.headers.items()), body.decode()))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver(tmp_path):
    """An https server of this machine, and the context of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.IPAddress(LOCALHOST)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(names, False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, SHA256())
    )
    path = tmp_path / "both.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server, ssl.create_default_context(cafile=path)
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_task_calls_back(service, client, signing, receiver, monkeypatch):
    server, trusted = receiver
    port = server.server_address[1]
    post = announcing.post

    def send(url, body, headers, limits):
        return post(url, body, headers, limits=replace(limits, ports=(port,)), verify=trusted)

    monkeypatch.setattr(announcing, "post", send)
    here = replace(service.service.fetch_limits, ports=(port,))
    monkeypatch.setattr(service.service, "fetch_limits", here)
    url = f"https://127.0.0.1:{port}/told"
    task = submit(client, callback_url=url, external_task_id="called")
    done = wait(client, task["task_id"])
    end = time.monotonic() + 20
    while not any('"succeed"' in body for _, body in server.got):
        assert time.monotonic() < end, server.got
        time.sleep(0.05)
    headers, body = next(found for found in server.got if '"succeed"' in found[1])
    told = json.loads(body)
    assert told["task_id"] == task["task_id"] and told["task_status"] == "succeed"
    assert told["task_info"]["external_task_id"] == "called"
    [video], [known] = told["task_result"]["videos"], done["task_result"]["videos"]
    assert (video["id"], video["duration"]) == (known["id"], known["duration"])
    # The link in it is whole, though nobody has set the service's address.
    with httpx.Client(trust_env=False) as anybody:
        assert anybody.get(video["url"]).status_code == 200
    with service.rig.database.read() as c:
        account = access.identify(c, signing.token, time.time()).account_id
    secret = account_secret(service.rig.settings, account)
    lower = {name.lower(): value for name, value in headers.items()}
    assert Webhook(secret).verify(body, lower) == told
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(lower)


def test_no_callbacks_into_private_networks(client):
    for url in ("https://10.0.0.1/x", "https://localhost:22/", "https://169.254.169.254/"):
        refused(client.post(TEXT, json=BODY | {"callback_url": url}), 400, 1201)
