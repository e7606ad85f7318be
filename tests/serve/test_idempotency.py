import threading
import time

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from kineograph.serve import idempotency
from kineograph.serve.access import create_account
from kineograph.serve.refusals import BodyMismatch, Conflict, Refusal
from kineograph.serve.settings import Settings
from kineograph.serve.tables import idempotency as table

NOW = 1_800_000_000.0
BODY = "a" * 64


@pytest.fixture
def account(base):
    with base.write() as connection:
        return create_account(connection, "Ada", "free", Settings(), NOW)["id"]


def ask(base, account, key="k", body=BODY, now=NOW, video="video_1"):
    with base.write() as connection:
        made = idempotency.begin(connection, account, key, body, now)
        if made is None:
            idempotency.finish(connection, account, key, video)
        return made


def test_the_second_request_gets_the_first_ones_video(base, account):
    assert ask(base, account) is None
    assert ask(base, account, video="video_2") == "video_1"
    assert ask(base, account, key="other") is None


def test_keys_of_two_accounts_are_two(base, account):
    with base.write() as connection:
        other = create_account(connection, "Bob", "free", Settings(), NOW)["id"]
    assert ask(base, account) is None
    assert ask(base, other, body="c" * 64) is None


def test_another_body_is_refused(base, account):
    ask(base, account)
    with pytest.raises(BodyMismatch, match="'k' was used with another request") as caught:
        ask(base, account, body="b" * 64)
    assert caught.value.status == 422


def test_a_request_that_is_refused_leaves_its_key_free(base, account):
    with pytest.raises(RuntimeError), base.write() as connection:
        assert idempotency.begin(connection, account, "k", BODY, NOW) is None
        raise RuntimeError
    assert ask(base, account, body="c" * 64) is None


def test_a_key_in_hand_is_a_conflict(base, account):
    with base.write() as connection:
        assert idempotency.begin(connection, account, "k", BODY, NOW) is None
    with pytest.raises(Conflict, match="still in hand") as caught:
        ask(base, account)
    assert caught.value.status == 409
    assert caught.value.retry_after == 1


@pytest.mark.parametrize("key", ["", "a" * 256, "a b", "tab\t", "é", "nul\0", "line\n"])
def test_keys_are_1_to_255_visible_characters(base, account, key):
    with pytest.raises(Refusal, match="1 to 255 visible ASCII characters are") as caught:
        ask(base, account, key=key)
    assert caught.value.param == "Idempotency-Key"


@pytest.mark.parametrize("key", ["a", "~" * 255, "!{}'\";--"])
def test_any_visible_characters_will_do(base, account, key):
    assert ask(base, account, key=key) is None
    assert ask(base, account, key=key) == "video_1"


def test_a_key_is_known_for_a_day_swept_or_not(base, account):
    ask(base, account)
    assert ask(base, account, now=NOW + 86_399) == "video_1"
    assert ask(base, account, now=NOW + 86_400, body="c" * 64, video="video_2") is None
    assert ask(base, account, now=NOW + 86_401, body="c" * 64) == "video_2"


def test_the_sweep_takes_what_is_old(base, account):
    ask(base, account, key="old")
    ask(base, account, key="new", now=NOW + 10)
    with base.write() as connection:
        assert idempotency.sweep(connection, NOW + 86_405) == 1
        assert connection.scalars(select(table.c.key)).all() == ["new"]


def test_a_first_look_changes_nothing(base, account):
    with base.read() as connection:
        assert idempotency.find(connection, account, "k", BODY, NOW) is None
    ask(base, account)
    with base.read() as connection:
        assert idempotency.find(connection, account, "k", BODY, NOW) == "video_1"
        assert idempotency.find(connection, account, "k", "different", NOW + 86_400) is None
        with pytest.raises(BodyMismatch):
            idempotency.find(connection, account, "k", "different", NOW)
        with pytest.raises(Refusal):
            idempotency.find(connection, account, "", BODY, NOW)


def test_a_key_that_is_forgotten_is_free(base, account):
    ask(base, account)
    with base.write() as connection:
        idempotency.forget(connection, account, "k")
    assert ask(base, account, body="c" * 64) is None


def test_of_no_account_is_an_error_of_ours(base):
    with pytest.raises(IntegrityError):
        ask(base, "acct_none")


@pytest.mark.parametrize("processes", [1, 2])
def test_of_many_that_race_one_makes_the_video(base, another, account, processes):
    bases = [base, another]
    gate, answers = threading.Barrier(8), []

    def submit(i):
        gate.wait()
        with bases[i % processes].write() as connection:
            made = idempotency.begin(connection, account, "k", BODY, NOW)
            time.sleep(0.01)
            if made is None:
                made = f"video_{i}"
                idempotency.finish(connection, account, "k", made)
                answers.append(("made", made))
            else:
                answers.append(("found", made))

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert [how for how, _ in answers].count("made") == 1
    assert len({video for _, video in answers}) == 1
