"""Bodies: what is read from JSON and forms, and everything that is refused."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect, Request

from kineograph.errors import RequestError
from kineograph.serve import bodies, forms
from kineograph.serve.bodies import BodyError, nested, parse_json, read_body

JSON = "application/json"
MULTIPART = "multipart/form-data; boundary=BB"
FORM = "application/x-www-form-urlencoded"


def request_of(data, kind, *, chunk=None, headers=(), path="/", cut=False):
    step = chunk or max(1, len(data))
    pieces = [data[i : i + step] for i in range(0, len(data), step)] or [b""]
    sent = []

    async def receive():
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        sent.append(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces) or cut}

    told = [(b"content-type", kind.encode())] if kind is not None else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": [*told, *headers]}
    request = Request(scope, receive)
    request.sent = sent
    return request


def read(data, kind=JSON, *, max_bytes=10**7, max_file_bytes=10**6, **more):
    request = request_of(data, kind, **more)
    return asyncio.run(read_body(request, max_bytes=max_bytes, max_file_bytes=max_file_bytes))


def part(name, value, *, filename=None, kind=None, more=b""):
    file = b"" if filename is None else b'; filename="%s"' % filename.encode()
    told = b"" if kind is None else b"\r\nContent-Type: %s" % kind.encode()
    value = value if isinstance(value, bytes) else value.encode()
    name = name if isinstance(name, bytes) else name.encode()
    head = b'Content-Disposition: form-data; name="%s"' % name
    return b"--BB\r\n" + head + file + told + more + b"\r\n\r\n" + value + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--BB--\r\n"


def refusal(data, kind=JSON, **more):
    with pytest.raises(BodyError) as refused:
        read(data, kind, **more)
    return refused.value


def test_json_is_read_as_it_is():
    body = read(b'{"prompt": "\xe7\x90\x83", "seed": 5, "a": {"b": [1, 2.5, null, true]}}')
    assert body.fields == {"prompt": "球", "seed": 5, "a": {"b": [1, 2.5, None, True]}}
    assert body.files == {}


@pytest.mark.parametrize("kind", [None, JSON])
def test_no_bytes_are_no_fields(kind):
    assert read(b"", kind).fields == {}
    assert read(b"", FORM).fields == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b'{"x": {"a": 1, "a": 2}}', "'a' is given twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": ' + b"1" * 50 + b"}", "40 digits"),
        (b'{"a": ', "is not JSON"),
        (b"[1]", "must be an object"),
        (b"null", "must be an object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": {"b": "x\\u0000"}}', "a.b is not plain"),
        (b'{"a": "\\ud800"}', "a is not plain"),
        (b'{"a\\u0000": 1}', "not plain"),
        (b'{"": 1}', "1 to 128"),
        (b'{"' + b"k" * 200 + b'": 1}', "1 to 128"),
        (b'{"a": ' + b"[" * 12 + b"]" * 12 + b"}", "deeper than 8"),
        (b'{"a": ' + b"[" * 19000 + b"]" * 19000 + b"}", "deeper than 8"),
        (b'{"a": [' + b"1," * 300 + b"1]}", "a has 301 items"),
        (b'{"a": [' + b"1," * 30000 + b"1]}", "more than 20000"),
        (json.dumps({"a": {str(i): list(range(200)) for i in range(20)}}).encode(), "2000 values"),
    ],
)  # fmt: skip
def test_wrong_json_is_refused(data, words):
    refused = refusal(data)
    assert words in str(refused) and refused.status == 400
    assert isinstance(refused, RequestError)


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("text/plain", ()),
        (None, ()),
        ("application/json; charset=latin-1", ()),
        (JSON, [(b"content-encoding", b"gzip")]),
        ("é", ()),
    ],
)
def test_other_kinds_are_refused_with_415(kind, headers):
    assert refusal(b'{"prompt": "x"}', kind, headers=headers).status == 415


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON",
                                  "application/vnd.api+json"])  # fmt: skip
def test_json_by_its_other_names(kind):
    assert read(b'{"prompt": "x"}', kind).fields == {"prompt": "x"}


def test_a_long_body_is_refused_before_it_is_read():
    data = b'{"prompt": "' + b"x" * 5000 + b'"}'
    request = request_of(data, JSON, chunk=100)
    with pytest.raises(BodyError) as refused:
        asyncio.run(read_body(request, max_bytes=1000, max_file_bytes=1000))
    assert refused.value.status == 413 and len(request.sent) == 11
    request = request_of(data, JSON, chunk=100, headers=[(b"content-length", b"5014")])
    with pytest.raises(BodyError, match="1000 bytes"):
        asyncio.run(read_body(request, max_bytes=1000, max_file_bytes=1000))
    assert not request.sent


def test_text_has_its_own_limit(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_TEXT_BYTES", 100)
    monkeypatch.setattr(forms, "MAX_TEXT_BYTES", 100)
    assert refusal(b'{"prompt": "' + b"x" * 200 + b'"}').status == 413
    refused = refusal(form(part("prompt", "x" * 200)), MULTIPART)
    assert refused.status == 413 and refused.param == "prompt"


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_a_form_with_a_file(chunk):
    data = b"\x89PNG\r\n\x00--BB\r\n" * 100
    sent = form(part("prompt", "球"), part("input_reference", data, filename="../a\\b.png",
                                          kind="image/png"))  # fmt: skip
    body = read(sent, MULTIPART, chunk=chunk)
    upload = body.files["input_reference"]
    assert body.fields == {"prompt": "球", "input_reference": upload}
    assert (upload.filename, upload.content_type) == ("b.png", "image/png")
    assert upload.size == len(data) and upload.file.read() == data
    body.close()
    assert upload.file.closed


def test_a_large_file_goes_to_the_disk(monkeypatch):
    monkeypatch.setattr(forms, "MEMORY_BYTES", 100)
    body = read(form(part("video", b"x" * 5000, filename="a.mp4")), MULTIPART, chunk=512)
    assert body.files["video"].file.read() == b"x" * 5000
    body.close()


@pytest.fixture
def opened(monkeypatch):
    files = []
    make = forms.SpooledTemporaryFile

    def opening(**options):
        files.append(make(**options))
        return files[-1]

    monkeypatch.setattr(forms, "SpooledTemporaryFile", opening)
    return files


FILE = part("video", b"x" * 300, filename="a.mp4")


@pytest.mark.parametrize(
    ("data", "words", "status"),
    [
        (form(FILE) + b"", "longer than 200 bytes", 413),
        (FILE[:100], "last boundary", 400),
        (part("video", b"x", filename="a") + b"rubbish", "last boundary", 400),
        (form(part("video", b"x", filename="a"), part("video", b"y", filename="b")), "twice", 400),
        (form(part("video", b"x", filename="a"), part("a[b", "")), "is not written as", 400),
        (form(part("video", b"x", filename="a"),
              part("p", b"\xff")), "p is not UTF-8", 400),
        (form(part("video", b"x", filename="a", more=b"\r\nContent-Transfer-Encoding: base64")),
         "is encoded as", 400),
        (form(part("video", b"x", filename="a"), b"--BB\r\nX: 1\r\n\r\nx\r\n"), "no name", 400),
        (form(part(b"\xff", b"x")), "name of a part is not UTF-8", 400),
        (form(*[part(f"f{i}", b"x", filename="a") for i in range(17)]), "more than 16 files", 400),
        (form(*[part(f"f{i}", "x") for i in range(257)]), "more than 256 parts", 400),
        (form(part("p", "a\0b")), "p is not plain", 400),
        (b"", "last boundary", 400),
        (part("video", b"x", filename="a") + b"--BB\r\nX Y: 1\r\n", "cannot be read", 400),
    ],
)  # fmt: skip
def test_wrong_forms_are_refused_and_leave_nothing_open(opened, data, words, status):
    refused = refusal(data, MULTIPART, max_file_bytes=200)
    assert words in str(refused) and refused.status == status
    assert all(file.closed for file in opened)


def test_a_client_that_leaves_leaves_nothing_open(opened):
    with pytest.raises(ClientDisconnect):
        read(FILE, MULTIPART, cut=True)
    assert len(opened) == 1 and opened[0].closed


@pytest.mark.parametrize("more", ["", "; boundary=" + "b" * 99])
def test_a_form_needs_a_boundary(more):
    assert "boundary" in str(refusal(b"x", "multipart/form-data" + more))


def test_an_empty_field_for_a_file_is_none():
    body = read(form(part("prompt", "x"), part("image", b"", filename="")), MULTIPART)
    assert body.fields == {"prompt": "x"}


def test_several_files_of_one_name_are_a_list():
    sent = form(*[part("references", c, filename=f"{c}.png") for c in "ab"])
    body = read(sent, MULTIPART)
    assert [u.name for u in body.fields["references"]] == ["references.0", "references.1"]
    assert list(body.files) == ["references.0", "references.1"]
    body.close()


def test_urlencoded_forms():
    body = read(b"prompt=a+b%20c&camera_control%5Bconfig%5D%5Bzoom%5D=5&empty=", FORM)
    assert body.fields == {"prompt": "a b c", "camera_control": {"config": {"zoom": "5"}},
                           "empty": ""}  # fmt: skip
    for wrong in (b"a", b"a=%ff", b"a=1&" * 300 + b"a=1", b"a=1&a=2", b"a=%00"):
        assert refusal(wrong, FORM).status == 400


def test_the_digest_is_of_what_is_said():
    def sent(boundary, data):
        raw = form(part("prompt", "x"), part("image", data, filename="a.png"))
        return raw.replace(b"BB", boundary), f"multipart/form-data; boundary={boundary.decode()}"

    digests = []
    for boundary, data in ((b"B1", b"1"), (b"B2", b"1"), (b"B1", b"2")):
        body = read(*sent(boundary, data))
        digests.append(body.digest)
        body.close()
    assert digests[0] == digests[1] != digests[2]
    assert read(b'{"a": 1, "b": 2}').digest == read(b'{"b": 2,  "a": 1}').digest
    assert read(b'{"prompt": "x"}').digest == read(b"prompt=x", FORM).digest
    elsewhere = read(b'{"a": 1, "b": 2}', path="/v1/videos/edits").digest
    assert elsewhere != read(b'{"a": 1, "b": 2}').digest


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("a[b][c]", "1"), ("a[b][d]", "2"), ("a[e]", "3")],
         {"a": {"b": {"c": "1", "d": "2"}, "e": "3"}}),
        ([("a[]", "1"), ("a[]", "2")], {"a": ["1", "2"]}),
        ([("a[1]", "y"), ("a[0]", "x")], {"a": ["x", "y"]}),
        ([("a[0][x]", "1"), ("a[1][x]", "2"), ("a[0][y]", "3")],
         {"a": [{"x": "1", "y": "3"}, {"x": "2"}]}),
        # By name, as openai-python sends them, and by item, as others do.
        ([("a[][x]", "1"), ("a[][x]", "2"), ("a[][y]", "3"), ("a[][y]", "4")],
         {"a": [{"x": "1", "y": "3"}, {"x": "2", "y": "4"}]}),
        ([("a[][x]", "1"), ("a[][y]", "3"), ("a[][x]", "2"), ("a[][y]", "4")],
         {"a": [{"x": "1", "y": "3"}, {"x": "2", "y": "4"}]}),
        ([("keyframes", "a"), ("keyframes", "b")], {"keyframes": ["a", "b"]}),
        ([("keyframes", "a")], {"keyframes": "a"}),
        ([("camera_control", '{"type": "simple"}')], {"camera_control": {"type": "simple"}}),
        ([("extra_params[metadata]", ' {"a": "b"}')], {"extra_params": {"metadata": {"a": "b"}}}),
        ([("keyframes", '["u@1"]')], {"keyframes": ["u@1"]}),
        ([("prompt", '{"a": 1}')], {"prompt": '{"a": 1}'}),
    ],
)  # fmt: skip
def test_brackets(pairs, expected):
    assert nested(pairs) == expected


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("a", "1"), ("a", "2")], "'a' is given twice"),
        ([("a", "1"), ("a[b]", "2")], "is a place in what is given as a value"),
        ([("a[b]", "1"), ("a", "2")], "as a value and as an object"),
        ([("camera_control", '{"type": "x"}'), ("camera_control[config]", "1")], "as a value"),
        ([("a[0]", "1"), ("a[2]", "2")], "a has no item 1, but 2"),
        ([("a[1]", "1")], "a has no item 0"),
        ([("a[0]", "1"), ("a[b]", "2")], "names and numbers"),
        ([("a[0]", "1"), ("a[]", "2")], "twice"),
        ([("a[00]", "1"), ("a[0]", "2")], "twice"),
        ([("a[256]", "1")], "item 256"),
        ([("a[99999999999999999999]", "1")], "item 9999"),
        ([("a[][]", "1")], "list of lists"),
        ([("a[][x]", "1"), ("a[][x]", "2"), ("a[][y]", "3")], "not all the same fields"),
        ([("a[]", str(i)) for i in range(257)], "more than 256"),
        ([("a" + "[b]" * 8, "1")], "deeper than 8"),
        ([("", "1")], "1 to 128"),
        ([("k" * 129, "1")], "1 to 128"),
        ([("[a]", "1")], "is not written as"),
        ([("a]b", "1")], "is not written as"),
        ([("a[b]c", "1")], "is not written as"),
        ([("a\0", "1")], "not plain"),
        ([("camera_control", '{"a": NaN}')], "NaN"),
        ([("camera_control", "{a}")], "camera_control is not JSON"),
        ([("camera_control", '{"a": {"b": "\\u0000"}}')], "camera_control.a.b is not plain"),
    ],
)  # fmt: skip
def test_wrong_brackets(pairs, words):
    with pytest.raises(BodyError) as refused:
        nested(pairs)
    assert words in str(refused.value)


def test_hostile_json_is_refused_fast():
    with pytest.raises(BodyError):
        parse_json('{"a":' * 5000, "the body")
    big = "x" * 5_000_000
    assert parse_json(json.dumps({"a": big}), "the body") == {"a": big}
