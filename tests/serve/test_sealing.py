import stat
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from kineograph.errors import RequestError
from kineograph.serve import access, webhooks
from kineograph.serve.sealing import (
    SealBroken,
    derive,
    load_secret,
    load_secrets,
    reseal,
    seal,
    unseal,
)
from kineograph.serve.settings import Settings, as_toml
from kineograph.serve.tables import endpoints, keys
from kineograph.serve.views import Links

SECRET = b"a secret of an installation"


def test_a_sealed_text_opens_again_and_differs_each_time():
    one, two = (seal(SECRET, "hidden Wörter", "key 1") for _ in range(2))
    assert one != two
    assert b"hidden" not in one
    assert unseal(SECRET, one, "key 1") == unseal(SECRET, two, "key 1") == "hidden Wörter"


@pytest.mark.parametrize("at", [0, 1, 12, 13, -1])
def test_a_changed_seal_does_not_open(at):
    sealed = bytearray(seal(SECRET, "hidden", "key 1"))
    sealed[at] ^= 1
    with pytest.raises(SealBroken, match="key 1"):
        unseal(SECRET, bytes(sealed), "key 1")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + bytes(12), b"\x01" + bytes(27)])
def test_what_is_no_seal_does_not_open(sealed):
    with pytest.raises(SealBroken):
        unseal(SECRET, sealed, "key 1")


def test_a_seal_opens_neither_elsewhere_nor_with_another_secret():
    sealed = seal(SECRET, "hidden", "key 1")
    for secret, place in ((SECRET, "key 2"), (b"that of somewhere else", "key 1")):
        with pytest.raises(SealBroken) as caught:
            unseal(secret, sealed, place)
        assert "hidden" not in str(caught.value)
        assert secret.decode() not in str(caught.value)


def test_each_purpose_has_bytes_of_its_own():
    assert derive(SECRET, "one") == derive(SECRET, "one")
    assert len({derive(SECRET, "one"), derive(SECRET, "two"), derive(b"other", "one")}) == 3
    assert len(derive(SECRET, "one", 64)) == 64


def test_the_secret_is_the_setting_or_a_file_made_once(tmp_path):
    settings = Settings(data=str(tmp_path / "new" / "folder"))
    made = load_secret(settings)
    file = tmp_path / "new" / "folder" / "secret"
    assert load_secret(settings) == made == file.read_bytes().strip()
    assert len(made) == 52
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["secret"]
    given = Settings(data=str(tmp_path / "other"), secret="sixteen letters.")
    assert load_secret(given) == b"sixteen letters."
    assert not (tmp_path / "other").exists()


def test_many_that_start_at_once_have_one_secret(tmp_path):
    for round in range(10):
        settings, found = Settings(data=str(tmp_path / str(round))), []
        gate = threading.Barrier(8)

        def start(settings=settings, found=found, gate=gate):
            gate.wait()
            found.append(load_secret(settings))

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
        assert len(list((tmp_path / str(round)).iterdir())) == 1


def test_a_short_secret_is_refused_and_not_shown(tmp_path):
    with pytest.raises(RequestError, match="6 characters; 16 or more") as caught:
        load_secret(Settings(data=str(tmp_path), secret="sesame"))
    assert "sesame" not in str(caught.value)
    (tmp_path / "secret").write_text("")
    with pytest.raises(RequestError, match="0 characters"):
        load_secret(Settings(data=str(tmp_path)))
    (tmp_path / "secret").write_bytes(b"\xff" * 20)
    with pytest.raises(RequestError, match="not ASCII"):
        load_secret(Settings(data=str(tmp_path)))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(RequestError, match="Permission denied; set `secret`"):
        load_secret(Settings(data=str(tmp_path)))
    assert list(Path(tmp_path).iterdir()) == []


NEW, OLD = "the secret of from now on", "the secret of until now"


def test_the_secret_before_is_known_beside_the_new_one():
    settings = Settings(secret=NEW, secret_before=OLD)
    assert load_secrets(settings) == [NEW.encode(), OLD.encode()]
    assert load_secrets(Settings(secret=NEW)) == [NEW.encode()]
    with pytest.raises(RequestError, match="secret_before has 5 characters"):
        load_secrets(Settings(secret=NEW, secret_before="short"))
    assert "secret_before = \"\"" in as_toml(settings)


def test_what_the_secret_before_has_sealed_is_sealed_anew_once(connection):
    before, both = Settings(secret=OLD), Settings(secret=NEW, secret_before=OLD)
    account = access.create_account(connection, "Ada", "free", before, 0.0)["id"]
    key = access.create_key(connection, account, "signs", before, 0.0, signing=True)
    made = webhooks.create_endpoint(
        connection, account, "https://example.org", before, 0.0, check=lambda url: None
    )
    turned = webhooks.rotate_endpoint(connection, account, made.id, before, 1.0)
    assert reseal(connection, before) == 0
    assert reseal(connection, both) == 3
    assert reseal(connection, both) == 0
    after = NEW.encode()
    row = connection.execute(select(keys)).mappings().one()
    assert unseal(after, row["sealed"], f"key {key.id}") == key.secret
    row = connection.execute(select(endpoints)).mappings().one()
    assert unseal(after, row["sealed"], f"endpoint {made.id}") == turned.secret
    assert unseal(after, row["sealed_before"], f"endpoint {made.id}") == made.secret


def test_what_neither_secret_opens_stays_as_it_is(connection):
    other = Settings(secret="a third one of somebody")
    account = access.create_account(connection, "Ada", "free", other, 0.0)["id"]
    access.create_key(connection, account, "signs", other, 0.0, signing=True)
    sealed = connection.scalar(select(keys.c.sealed))
    assert reseal(connection, Settings(secret=NEW, secret_before=OLD)) == 0
    assert connection.scalar(select(keys.c.sealed)) == sealed


def test_links_and_callbacks_of_the_secret_before_hold_while_it_is_named():
    both, after = Settings(secret=NEW, secret_before=OLD), Settings(secret=NEW)
    old = Links(derive(OLD.encode(), "links")).signature("v", "video", 100)
    for settings, good in ((both, True), (after, False)):
        links = Links(*(derive(secret, "links") for secret in load_secrets(settings)))
        assert links.is_good("v", "video", 100, old, 50.0) == good
        assert links.is_good("v", "video", 100, links.signature("v", "video", 100), 50.0)
        assert not links.is_good("v", "video", 100, old, 101.0)
    known = webhooks.account_secrets(both, "acct")
    each = (after, Settings(secret=OLD))
    assert known == [webhooks.account_secret(settings, "acct") for settings in each]
