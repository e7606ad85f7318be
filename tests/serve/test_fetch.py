"""URLs from strangers: what may not be reached is refused, each for its own reason."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kineograph.serve.fetch import FetchError, FetchLimits, check_url, fetch, post

NAMES = ["media.example", "other.example"]
PUBLIC = "93.184.215.14"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """A server's and a client's TLS context around one certificate of two names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in NAMES]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=path)


class Server:
    """Answers https requests with the bytes, or by the function, that their path has."""

    def __init__(self, context):
        self.context, self.answers, self.requests = context, {}, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.stopped = threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            with self.context.wrap_socket(connection, server_side=True) as tls:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += (part := tls.recv(9999))
                    if not part:
                        return
                head, _, body = request.partition(b"\r\n\r\n")
                if b"content-length:" in head.lower():
                    length = int(head.lower().split(b"content-length:")[1].split()[0])
                    while len(body) < length:
                        body += tls.recv(9999)
                self.requests.append((head.decode(), body))
                answer = self.answers[head.split()[1].decode()]
                if callable(answer):
                    answer(tls)
                else:
                    tls.sendall(answer)
        except OSError:  # the client hangs up, as it should
            pass


@pytest.fixture
def server(contexts):
    server = Server(contexts[0])
    yield server
    server.stopped.set()
    server.socket.close()


@pytest.fixture
def reach(server, contexts, tmp_path):
    """Fetch a path of the server, as if it were a public host that may be private."""

    def call(path, host="media.example", resolver=None, **limits):
        limits = {"ports": (server.port,), "allowed_networks": ("127.0.0.0/8",)} | limits
        return fetch(
            path if "://" in path else f"https://{host}:{server.port}{path}",
            tmp_path / "got",
            limits=FetchLimits(**limits),
            resolver=resolver or Names("127.0.0.1"),
            verify=contexts[1],
        )

    return call


class Names:
    """A resolver that answers with the given addresses, one list a call, and counts its calls."""

    def __init__(self, *answers):
        self.answers = [[a] if isinstance(a, str) else a for a in answers]
        self.asked = []

    def __call__(self, host, port, family=0, type=0, proto=0, flags=0):
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(host)
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, type, 6, "", (a, port))
            for a in answer
        ]


def answer(body=b"picture", kind="image/png", status="200 OK", length=None, **headers):
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}"]
    if length is not False:
        lines.append(f"content-length: {len(body) if length is None else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location, status="302 Found"):
    return answer(b"", status=status, location=location)


def test_a_file_is_fetched_from_the_pinned_address_under_its_own_name(server, reach, tmp_path):
    server.answers["/a%20b?c=d"] = answer(b"x" * 100_000)
    names = Names("127.0.0.1")
    assert reach("/a%20b?c=d#part", resolver=names) == tmp_path / "got"
    assert (tmp_path / "got").read_bytes() == b"x" * 100_000
    assert names.asked == ["media.example"]
    head = server.requests[0][0].lower()
    assert f"host: media.example:{server.port}\r\n" in head
    assert "accept-encoding: identity" in head


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://media.example/a", "has the scheme 'http'; allowed: https"),
        ("file:///etc/passwd", "has the scheme 'file'; allowed: https"),
        ("ftp://media.example/a", "has the scheme 'ftp'"),
        ("data:image/png;base64,AAAA", "has the scheme 'data'"),
        ("gopher://127.0.0.1:6379/_a", "has the scheme 'gopher'"),
        ("//media.example/a", "has the scheme ''"),
        ("media.example/a", "has the scheme ''"),
        ("", "has the scheme ''"),
        ("https://", "is no host name"),
        ("https:///a", "is no host name"),
        ("https://me:secret@media.example/", "has a user or password; allowed: none"),
        ("https://me@media.example/", "has a user or password"),
        ("https://@media.example/", "has a user or password"),
        ("https://media.example:8080/", "has the port 8080; allowed: 443"),
        ("https://media.example:22/", "has the port 22; allowed: 443"),
        ("https://media.example:99999/", "is no URL|has the port"),
        ("https://127.0.0.1/", "has the address 127.0.0.1, which is not public"),
        ("https://0.0.0.0/", "has the address 0.0.0.0, which is not public"),
        ("https://10.1.2.3/", "which is not public"),
        ("https://100.64.0.1/", "which is not public"),
        ("https://169.254.169.254/latest/meta-data/", "169.254.169.254, which is not public"),
        ("https://224.0.0.1/", "which is not public"),
        ("https://255.255.255.255/", "which is not public"),
        ("https://[::1]/", "has the address ::1, which is not public"),
        ("https://[::]/", "which is not public"),
        ("https://[fe80::1]/", "which is not public"),
        ("https://[fd00:ec2::254]/", "which is not public"),
        ("https://[fec0::1]/", "which is not public"),
        ("https://[ff02::1]/", "which is not public"),
        ("https://[::ffff:127.0.0.1]/", "which is not public"),
        ("https://[::ffff:a9fe:a9fe]/", "which is not public"),
        ("https://[::127.0.0.1]/", "which is not public"),
        ("https://[2002:7f00:1::]/", "which is not public"),  # 6to4 of 127.0.0.1
        ("https://[64:ff9b::10.0.0.1]/", "which is not public"),  # NAT64
        ("https://[64:ff9b:1::8.8.8.8]/", "which is not public"),
        ("https://[2001:0:7f00:1::1]/", "which is not public"),  # Teredo
        ("https://[fe80::1%25eth0]/", "is no host name"),
        ("https://2130706433/", "is a number; allowed: a name"),
        ("https://0x7f000001/", "is a number"),
        ("https://0177.0.0.1/", "is no URL"),
        ("https://127.1/", "is a number"),
        ("https://0x7f.0.0.1/", "is a number"),
        ("https://127.0.0.1./", "which is not public"),
        ("https://%31%32%37.0.0.1/", "is no URL|is no host name"),
        ("https://①②⑦.⓪.⓪.①/", "is a number|is no URL|not public"),
        ("https://localhost/", "'localhost' is this machine"),
        ("https://LOCALHOST./", "'localhost' is this machine"),
        ("https://a.localhost/", "is this machine"),
        ("https://media.example/a b", "is no URL; allowed: https://host/path, escaped"),
        ("https://media.example\\@127.0.0.1/", "is no URL"),
        ("https://media.example/\r\nHost: a", "is no URL"),
        ("https://media.example/" + "a" * 2048, "has 2070 characters; allowed: up to 2048"),
    ],
)
def test_urls_that_can_never_be_right_are_refused_unresolved(tmp_path, url, message):
    names = Names(PUBLIC)
    with pytest.raises(FetchError, match=message):
        check_url(url)
    with pytest.raises(FetchError, match=message):
        fetch(url, tmp_path / "got", resolver=names)
    with pytest.raises(FetchError, match=message):
        post(url, b"{}", resolver=names)
    assert names.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://media.example",
        "https://media.example:443/a?b=c#d",
        "https://8.8.8.8/a",
        "https://[2001:4860:4860::8888]/",
        "https://bücher.example/ü",
        "https://a_b.example/",
        "https://1password.example.com/",
    ],
)
def test_usual_urls_pass(url):
    check_url(url)


@pytest.mark.parametrize(
    "addresses",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "2002:a00:1::",
        "64:ff9b::7f00:1",
        [PUBLIC, "192.168.1.1"],
        ["192.168.1.1", PUBLIC],
    ],
)
def test_names_of_private_addresses_are_refused_even_beside_public_ones(tmp_path, addresses):
    names = Names(addresses)
    with pytest.raises(
        FetchError, match=r"'media.example' has the address .*, which is not public"
    ):
        fetch("https://media.example/", tmp_path / "got", resolver=names)
    with pytest.raises(FetchError, match="which is not public"):
        post("https://media.example/", b"", resolver=names)


def test_a_rebound_name_is_asked_once_and_its_first_answer_kept(server, reach):
    server.answers["/"] = answer()
    names = Names("127.0.0.1", "10.0.0.1")
    reach("/", resolver=names)
    assert names.asked == ["media.example"]


def test_an_address_that_does_not_answer_is_followed_by_the_next(server, reach):
    server.answers["/"] = answer()
    reach("/", resolver=Names(["127.0.0.2", "127.0.0.1"]))
    assert len(server.requests) == 1


def test_the_certificate_must_be_that_of_the_name(server, reach):
    server.answers["/"] = answer()
    with pytest.raises(FetchError, match=r"'wrong.example' cannot be reached: .*CERTIFICATE"):
        reach("/", host="wrong.example")
    assert server.requests == []


def test_a_certificate_that_nobody_vouches_for_is_refused(server, tmp_path):
    limits = FetchLimits(ports=(server.port,), allowed_networks=("127.0.0.0/8",))
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        url = f"https://media.example:{server.port}/"
        fetch(url, tmp_path / "got", limits=limits, resolver=Names("127.0.0.1"))


def test_proxies_of_the_environment_are_not_used(server, reach, monkeypatch):
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answers["/"] = answer()
    reach("/")


def test_redirects_are_followed_and_each_host_is_judged(server, reach):
    server.answers["/1"] = redirect("/2?x")
    server.answers["/2?x"] = redirect(f"https://other.example:{server.port}/3", "308 Moved")
    server.answers["/3"] = answer()
    names = Names("127.0.0.1")
    reach("/1", resolver=names)
    assert names.asked == ["media.example", "media.example", "other.example"]


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://media.example/a", "has the scheme 'http'; allowed: https"),
        ("file:///etc/passwd", "has the scheme 'file'"),
        ("https://10.0.0.1:{port}/", "'10.0.0.1' has the address 10.0.0.1, which is not public"),
        ("https://[::ffff:10.0.0.1]:{port}/", "which is not public"),
        ("https://media.example:22/", "has the port 22"),
        ("//me@other.example:{port}/", "has a user or password"),
        ("https://other.example:x/", "redirects to 'https://other.example:x/', no URL"),
    ],
)
def test_redirects_to_what_is_not_allowed_are_refused(server, reach, location, message):
    server.answers["/"] = redirect(location.format(port=server.port))
    with pytest.raises(FetchError, match=message):
        reach("/")
    assert len(server.requests) == 1


def test_a_redirect_to_a_name_that_is_private_is_refused(server, reach):
    server.answers["/"] = redirect(f"https://other.example:{server.port}/")
    with pytest.raises(FetchError, match=r"'other\.example' has the address 10\.0\.0\.1"):
        reach("/", resolver=Names("127.0.0.1", "10.0.0.1"))
    assert len(server.requests) == 1


def test_redirects_in_a_circle_end(server, reach):
    server.answers["/"] = redirect("/")
    with pytest.raises(FetchError, match="redirects more than 3 times"):
        reach("/")
    assert len(server.requests) == 4


def endless(part, pause=0.0, head=None):
    """Return an answer that sends a part again and again until nobody listens."""

    def send(tls):
        tls.sendall(answer(b"", length=False) if head is None else head)
        while True:
            tls.sendall(part)
            time.sleep(pause)

    return send


CHUNKED = answer(b"", length=False, transfer_encoding="chunked")
SOME = {"max_bytes": 100_000}
SHORT = {"total_seconds": 0.5}


@pytest.mark.parametrize(
    ("answer", "limits", "message"),
    [
        (endless(b"x" * 10_000), SOME, "the answer is too large; allowed: up to 0.1 MB"),
        (endless(b"2710\r\n" + b"x" * 10_000 + b"\r\n", head=CHUNKED), SOME, "too large"),
        (answer(b"x", length=100_001), SOME, "too large; allowed: up to 0.1 MB"),
        (answer(b"x" * 100_001, length=False), SOME, "too large"),
        (answer(b"xx", length=10), {}, "cannot be reached: .*closed connection"),
        (answer(b"x", length="-1"), {}, "cannot be reached: "),
        (answer(b"x", length="9" * 5000), {}, "cannot be reached: |too large"),
        (endless(b"x", 0.05), SHORT, "takes more than 0.5 s, the most allowed"),
        (endless(b"x", 0.05, head=b"HTTP/1.1 200 OK\r\nx: "), SHORT, "takes more than 0.5 s"),
        (endless(b"", 0.05, head=b"HTTP"), {"wait_seconds": 0.3}, "says nothing for 0.3 s"),
        (endless(b"x: y\r\n" * 900, head=b"HTTP/1.1 200 OK\r\n"), {}, "cannot be reached"),
        (
            answer(gzip.compress(bytes(10_000_000)), content_encoding="gzip"),
            {},
            "answers in 'gzip' encoding; allowed: none",
        ),
        (answer(b"x", content_encoding="br, gzip"), {}, "answers in 'br, gzip' encoding"),
        (answer(kind="text/html"), {}, "answers with 'text/html'; allowed: image/jpeg, image/png"),
        (answer(kind="image/svg+xml; a=b"), {}, r"answers with 'image/svg\+xml'"),
        (answer(kind=""), {}, "answers with ''; allowed"),
        (answer(status="404 Not Found"), {}, "answers with status 404, not 200"),
        (answer(status="206 Partial"), {}, "answers with status 206, not 200"),
        (b"SSH-2.0-OpenSSH\r\n", {}, "cannot be reached"),
    ],
)
def test_answers_too_large_too_slow_or_of_another_kind_are_refused(
    server, reach, tmp_path, answer, limits, message
):
    server.answers["/"] = answer
    start = time.monotonic()
    with pytest.raises(FetchError, match=message):
        reach("/", **limits)
    assert time.monotonic() - start < 3
    assert list(tmp_path.iterdir()) == []


def test_a_chunked_answer_is_whole(server, reach, tmp_path):
    server.answers["/"] = CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    reach("/")
    assert (tmp_path / "got").read_bytes() == b"abcde"


def test_the_deadline_covers_names_and_handshakes_too(server, contexts, reach):
    with pytest.raises(FetchError, match=r"'media.example' is not found by name"):
        reach("/", total_seconds=0.3, resolver=lambda *_: time.sleep(2))
    mute = socket.create_server(("127.0.0.1", 0))
    try:
        limits = FetchLimits(
            ports=(mute.getsockname()[1],), allowed_networks=("127.0.0.0/8",), total_seconds=0.3
        )
        with pytest.raises(FetchError, match=r"takes more than 0.3 s"):
            post(
                f"https://media.example:{limits.ports[0]}/",
                b"",
                limits=limits,
                resolver=Names("127.0.0.1"),
                verify=contexts[1],
            )
    finally:
        mute.close()


def test_a_name_that_is_not_there_is_refused(tmp_path):
    def missing(*_):
        raise socket.gaierror(-2, "Name or service not known")

    for resolver in (missing, lambda *_: []):
        with pytest.raises(FetchError, match=r"'media.example' is not found by name"):
            fetch("https://media.example/", tmp_path / "got", resolver=resolver)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("media.example", True),
        ("a.media.example", True),
        ("MEDIA.example", True),
        ("notmedia.example", False),
        ("media.example.evil.example", False),
        ("8.8.8.8", False),
    ],
)
def test_domains_may_be_listed(host, allowed):
    limits = FetchLimits(allowed_domains=("media.example",))
    if allowed:
        return check_url(f"https://{host}/", limits)
    with pytest.raises(FetchError, match=r"host '.*' is not allowed; allowed: media.example"):
        check_url(f"https://{host}/", limits)


def test_allowed_networks_open_no_others(tmp_path):
    limits = FetchLimits(allowed_networks=("10.0.0.0/8", "fd00::/8"))
    for address in ("10.1.2.3", "[::ffff:10.1.2.3]", "[fd00::1]"):
        check_url(f"https://{address}/", limits)
    for address in ("192.168.0.1", "[fe80::1]", "127.0.0.1"):
        with pytest.raises(FetchError, match="which is not public"):
            check_url(f"https://{address}/", limits)
    assert ipaddress.ip_address("10.1.2.3") in ipaddress.ip_network(limits.allowed_networks[0])


@pytest.fixture
def send(server, contexts):
    limits = FetchLimits(ports=(server.port,), allowed_networks=("127.0.0.1/32",), total_seconds=2)

    def call(path, body, headers=None, **changes):
        return post(
            f"https://media.example:{server.port}{path}",
            body,
            headers,
            limits=replace(limits, **changes),
            resolver=Names("127.0.0.1"),
            verify=contexts[1],
        )

    return call


def test_a_webhook_is_sent_as_it_is(server, send):
    server.answers["/hook"] = answer(b"", status="204 No Content", length=False)
    body = b'{"a": 1}' * 10_000
    headers = {"Content-Type": "application/json", "webhook-id": "evt_1", "Host": "10.0.0.1"}
    assert send("/hook", body, headers | {"Content-Length": "3"}) == 204
    head, received = server.requests[0]
    assert received == body
    assert head.lower().count("host:") == 1
    assert f"host: media.example:{server.port}" in head.lower()
    assert "webhook-id: evt_1" in head


@pytest.mark.parametrize("status", [200, 302, 307, 410, 500])
def test_a_webhook_returns_any_status_and_follows_no_redirect(server, send, status):
    location = "https://10.0.0.1/"
    server.answers["/"] = answer(
        b"no", status=f"{status} Some", kind="text/plain", location=location
    )
    assert send("/", b"{}") == status
    assert len(server.requests) == 1


def test_a_webhook_does_not_wait_for_the_end_of_an_answer(server, send):
    server.answers["/"] = endless(b"x" * 10_000)
    start = time.monotonic()
    assert send("/", b"{}") == 200
    assert time.monotonic() - start < 1


def test_a_webhook_that_nobody_hears_is_an_error(server, send):
    server.answers["/"] = endless(b"", 0.05, head=b"")
    with pytest.raises(FetchError, match=r"says nothing for 0\.2 s"):
        send("/", b"{}", wait_seconds=0.2)
    with pytest.raises(FetchError, match="cannot be reached"):
        send("/", b"{}", {"x": "a\r\nb: c"})
