import json
import threading
import time
from datetime import UTC, datetime

import pytest
import standardwebhooks.webhooks
from sqlalchemy import insert, select, update
from standardwebhooks import Webhook, WebhookVerificationError

from kineograph.errors import RequestError
from kineograph.serve import outbox, webhooks
from kineograph.serve.access import create_account
from kineograph.serve.ids import new_id
from kineograph.serve.refusals import Conflict, Forbidden, NotFound
from kineograph.serve.settings import Settings
from kineograph.serve.tables import deliveries, endpoints

NOW = 1_800_000_000.0
SETTINGS = Settings(secret="the secret of the installation")
URL = "https://example.org/hook"


class Clock(datetime):
    """The verifier's clock, at which it is the time of these tests."""

    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(NOW, tz or UTC)


@pytest.fixture(autouse=True)
def the_verifiers_clock(monkeypatch):
    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Clock)


@pytest.fixture
def account(base):
    with base.write() as connection:
        return create_account(connection, "Ada", "free", SETTINGS, NOW)["id"]


def create(base, account, url=URL, settings=SETTINGS):
    with base.write() as connection:
        return webhooks.create_endpoint(
            connection, account, url, settings, NOW, check=lambda url: None
        )


def announce(base, account, video="video_1", callback=None):
    with base.write() as connection:
        row = {"id": video, "account_id": account, "callback_url": callback}
        outbox.announce(connection, _Row(row), "completed", NOW)


class _Row(dict):
    """A row of `videos`, as far as the outbox looks at it."""


def waiting(base, account, count, url=URL, at=NOW):
    """Put some deliveries of callbacks into the outbox; return their ids."""
    ids = [new_id("evt") for _ in range(count)]
    with base.write() as connection:
        for i, id in enumerate(ids):
            connection.execute(
                insert(deliveries).values(
                    id=id, account_id=account, url=url, video_id=f"video_{i}",
                    type="video.completed", state="waiting", next_at=at + i / 1e3, created_at=at,
                )
            )  # fmt: skip
    return ids


class Receiver:
    """What stands at the other end, and what it got."""

    def __init__(self, *answers):
        self.answers, self.got, self.lock = list(answers), [], threading.Lock()

    def __call__(self, url, body, headers):
        with self.lock:
            self.got.append((url, body, dict(headers)))
            answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ids(self):
        return [headers["webhook-id"] for _, _, headers in self.got]


def render(row):
    return json.dumps({"type": row["type"], "video": row["video_id"], "name": "Ünï"})


def deliver(base, receiver, now=NOW, render=render, settings=SETTINGS, **options):
    return webhooks.deliver_due(
        base, settings, post=receiver, render=render, now=now, chance=lambda: 0.5, **options
    )


def rows(base):
    with base.read() as connection:
        order = (deliveries.c.next_at, deliveries.c.id)
        return connection.execute(select(deliveries).order_by(*order)).mappings().all()


# Endpoints and secrets.


def test_a_secret_is_shown_once_and_stored_sealed(base, account):
    new = create(base, account)
    assert new.secret.startswith("whsec_")
    assert new.secret not in repr(new)
    with base.read() as connection:
        row = connection.execute(select(endpoints)).mappings().one()
        listed = webhooks.list_endpoints(connection, account)
    assert new.secret.encode() not in row["sealed"]
    assert set(listed[0]) == {"id", "url", "before_until", "created_at", "disabled_at"}
    assert listed[0]["url"] == URL


def test_what_may_not_be_reached_or_sent_is_refused(base, account, monkeypatch):
    def check(url):
        raise RequestError("not there")

    with pytest.raises(RequestError, match="not there"), base.write() as connection:
        webhooks.create_endpoint(connection, account, URL, SETTINGS, NOW, check=check)
    with pytest.raises(Forbidden, match="`callbacks` is off"):
        create(base, account, settings=Settings(callbacks=False))
    monkeypatch.setattr(webhooks, "MOST_ENDPOINTS", 1)
    create(base, account)
    with pytest.raises(Conflict, match="1 endpoints"):
        create(base, account)


def test_anothers_endpoint_is_not_there(base, account):
    new = create(base, account)
    with base.write() as connection:
        other = create_account(connection, "Bob", "free", SETTINGS, NOW)["id"]
        assert webhooks.list_endpoints(connection, other) == []
        for call in (
            lambda: webhooks.delete_endpoint(connection, other, new.id),
            lambda: webhooks.enable_endpoint(connection, other, new.id),
            lambda: webhooks.rotate_endpoint(connection, other, new.id, SETTINGS, NOW),
        ):
            with pytest.raises(NotFound):
                call()


def test_the_secret_of_an_account_is_its_own(tmp_path):
    one = webhooks.account_secret(SETTINGS, "acct_1")
    assert one == webhooks.account_secret(SETTINGS, "acct_1")
    assert one != webhooks.account_secret(SETTINGS, "acct_2")
    assert one != webhooks.account_secret(Settings(data=str(tmp_path)), "acct_1")
    Webhook(one)


# What is sent.


def test_the_verifier_takes_what_is_sent_and_nothing_else(base, account):
    new, receiver = create(base, account), Receiver()
    announce(base, account)
    assert deliver(base, receiver) == 1
    ((url, body, headers),) = receiver.got
    assert url == URL
    assert headers["content-type"] == "application/json"
    told = Webhook(new.secret).verify(body, headers)
    assert told == {"type": "video.completed", "video": "video_1", "name": "Ünï"}
    for wrong, secret, changes in (
        (body.replace(b"1", b"2"), new.secret, {}),
        (body, webhooks._new_secret(), {}),
        (body, new.secret, {"webhook-id": "evt_other"}),
        (body, new.secret, {"webhook-timestamp": str(int(NOW) - 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(wrong, headers | changes)
    assert (rows(base)[0]["state"], rows(base)[0]["answer"]) == ("delivered", "status 200")
    assert deliver(base, receiver, NOW + 1e6) == 0


def test_a_callback_is_signed_with_the_accounts_secret(base, account):
    receiver = Receiver()
    announce(base, account, callback="https://example.org/callback")
    assert deliver(base, receiver) == 1
    ((url, body, headers),) = receiver.got
    assert url == "https://example.org/callback"
    Webhook(webhooks.account_secret(SETTINGS, account)).verify(body, headers)


def test_both_secrets_sign_for_a_day(base, account):
    old, receiver = create(base, account), Receiver(500)
    with base.write() as connection:
        new = webhooks.rotate_endpoint(connection, account, old.id, SETTINGS, NOW - 86_390)
    assert new.secret != old.secret
    announce(base, account)
    deliver(base, receiver)
    deliver(base, receiver, NOW + 20)
    (_, body, first), (_, _, second) = receiver.got
    for secret in (old.secret, new.secret):
        Webhook(secret).verify(body, first)
    Webhook(new.secret).verify(body, second)
    with pytest.raises(WebhookVerificationError):
        Webhook(old.secret).verify(body, second)


def test_a_repetition_has_the_same_id_and_body(base, account):
    receiver, made = Receiver(500, OSError("away"), 200), []

    def render(row):
        made.append(row["id"])
        return f"body {len(made)}"

    (id,) = waiting(base, account, 1)
    for now in (NOW, NOW + 10, NOW + 100):
        deliver(base, receiver, now, render=render)
    assert receiver.ids() == [id] * 3
    assert {body for _, body, _ in receiver.got} == {b"body 1"}
    assert made == [id]


def test_nothing_secret_is_in_the_log(base, account, caplog):
    new = create(base, account)
    announce(base, account, callback="https://example.org/callback")
    deliver(base, Receiver(ValueError("a fault"), OSError("away")))
    text = caplog.text + repr(rows(base))
    assert "a fault" in text
    for secret in (new.secret, webhooks.account_secret(SETTINGS, account), SETTINGS.secret):
        assert secret not in text


# What becomes of it.


def test_failures_are_tried_again_ever_more_seldom(base, account):
    receiver = Receiver(500, 302, OSError("away"), RequestError("refused"), 200)
    waiting(base, account, 1)
    now, waits = NOW, []
    for answer in ("status 500", "status 302", "OSError: away", "RequestError: refused"):
        assert deliver(base, receiver, now) == 1
        (row,) = rows(base)
        assert (row["state"], row["answer"]) == ("waiting", answer)
        waits.append(row["next_at"] - now)
        assert deliver(base, receiver, row["next_at"] - 1) == 0
        now = row["next_at"]
    assert waits == pytest.approx([5, 10, 20, 40], abs=1)
    assert deliver(base, receiver, now) == 1
    assert rows(base)[0]["state"] == "delivered"
    assert rows(base)[0]["attempts"] == 5


def test_waits_double_up_to_six_hours_and_are_spread():
    assert [webhooks.wait_after(n) for n in (1, 2, 3, 50)] == [5, 10, 20, 21_600]
    assert [webhooks.wait_after(1, chance) for chance in (0, 1)] == [3.75, 6.25]


def test_it_is_given_up_after_the_hours_that_are_set(base, account):
    assert not webhooks.is_last(22, 72)
    assert webhooks.is_last(24, 72)
    total = sum(webhooks.wait_after(n) for n in range(1, 24)) / 3600
    assert 66 < total < 80
    receiver = Receiver(*[500] * 9)
    waiting(base, account, 1)
    now = NOW
    for _ in range(4):
        deliver(base, receiver, now, settings=Settings(webhook_hours=0.01))  # 36 s
        now += 100
        states = rows(base)[0]["state"], len(receiver.got)
        assert states == ("waiting" if now < NOW + 350 else "given_up", round((now - NOW) / 100))
    assert deliver(base, receiver, NOW + 1e6) == 0


def test_410_disables_the_endpoint_and_what_waits_for_it(base, account):
    new, receiver = create(base, account), Receiver(410)
    for video in ("video_1", "video_2"):
        announce(base, account, video)
    assert deliver(base, receiver) == 1
    assert {row["state"] for row in rows(base)} == {"given_up"}
    assert {row["answer"] for row in rows(base)} == {"status 410", "the endpoint answered 410"}
    announce(base, account, "video_3")
    assert len(rows(base)) == 2
    with base.write() as connection:
        webhooks.enable_endpoint(connection, account, new.id)
    announce(base, account, "video_3")
    assert deliver(base, receiver) == 1
    assert len(receiver.got) == 2


def test_a_callback_that_answers_410_is_given_up(base, account):
    waiting(base, account, 1)
    deliver(base, Receiver(410))
    assert rows(base)[0]["state"] == "given_up"


def test_what_waits_for_a_deleted_endpoint_is_given_up(base, account):
    new, receiver = create(base, account), Receiver()
    announce(base, account)
    with base.write() as connection:
        webhooks.delete_endpoint(connection, account, new.id)
    assert deliver(base, receiver) == 0
    assert rows(base)[0]["answer"] == "the endpoint was deleted"


def test_an_endpoint_that_goes_between_is_not_sent_to(base, account):
    new, receiver = create(base, account), Receiver()
    announce(base, account)
    with base.write() as connection:
        connection.execute(endpoints.delete().where(endpoints.c.id == new.id))
    assert deliver(base, receiver) == 1
    assert receiver.got == []
    assert rows(base)[0]["state"] == "given_up"


def test_what_has_nothing_to_tell_is_given_up(base, account):
    def render(row):
        raise NotFound(f"there is no video {row['video_id']!r}")

    waiting(base, account, 1)
    receiver = Receiver()
    assert deliver(base, receiver, render=render) == 1
    assert receiver.got == []
    assert rows(base)[0]["state"] == "given_up"
    assert "there is no video 'video_0'" in rows(base)[0]["answer"]


def test_a_fault_in_rendering_holds_up_nothing_else(base, account, caplog):
    def faulty(row):
        return render(row) if row["url"] == URL else {}["nothing"]

    waiting(base, account, 1, url="https://a.example")
    waiting(base, account, 2)
    receiver = Receiver()
    assert deliver(base, receiver, NOW + 1, render=faulty) == 3
    assert len(receiver.got) == 2
    assert [row["state"] for row in rows(base)].count("waiting") == 1
    assert "KeyError" in caplog.text


# Crashes and races.


class Crash(BaseException):
    """The end of a process: nothing is caught, and nothing is written any more."""


def test_a_crash_between_the_claim_and_the_answer_is_retried(base, account):
    (id,) = waiting(base, account, 1)
    receiver = Receiver(Crash())
    with pytest.raises(Crash):
        deliver(base, receiver)
    assert deliver(base, receiver, NOW + webhooks.LEASE - 1) == 0
    assert deliver(base, receiver, NOW + webhooks.LEASE + 1) == 1
    assert receiver.ids() == [id, id]
    assert receiver.got[0][1] == receiver.got[1][1]
    assert (rows(base)[0]["state"], rows(base)[0]["attempts"]) == ("delivered", 2)


def test_who_was_overtaken_has_nothing_more_to_say(base, account):
    (id,) = waiting(base, account, 1)

    def post(url, body, headers):
        with base.write() as connection:  # another process claims it after the lease
            change = update(deliveries).where(deliveries.c.id == id)
            connection.execute(change.values(next_at=NOW + 500, attempts=2))
        return 500

    deliver(base, post)
    assert (rows(base)[0]["next_at"], rows(base)[0]["answer"]) == (NOW + 500, None)


def test_two_processes_send_everything_once(base, another, account):
    ids = [id for i in range(6) for id in waiting(base, account, 5, f"https://{i}.example")]
    receiver, tried = Receiver(), []

    def run(database):
        tried.append(deliver(database, receiver, NOW + 1))

    threads = [threading.Thread(target=run, args=(one,)) for one in (base, another)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receiver.ids()) == sorted(ids)
    assert sum(tried) == 30
    assert {row["state"] for row in rows(base)} == {"delivered"}


def test_no_more_are_tried_than_asked_for(base, account):
    for i in range(4):
        waiting(base, account, 5, f"https://{i}.example")
    receiver = Receiver()
    assert deliver(base, receiver, NOW + 1, limit=7) == 7
    assert len(receiver.got) == 7


def test_a_receiver_that_is_away_holds_up_no_other(base, account):
    waiting(base, account, 20, "https://away.example", NOW - 10)
    waiting(base, account, 3)
    got, at_once = [], []

    def post(url, body, headers):
        got.append(url)
        at_once.append(url)
        assert at_once.count(url) == 1
        time.sleep(0.02)
        at_once.remove(url)
        if "away" in url:
            raise TimeoutError("away")
        return 204

    assert deliver(base, post, NOW + 1) == 4
    assert sorted(got) == ["https://away.example", URL, URL, URL]


# The log and its replay.


def test_a_delivery_is_replayed_as_it_was(base, account):
    receiver = Receiver(*[500] * 3)
    (id,) = waiting(base, account, 1)
    hasty = Settings(webhook_hours=0.001)
    deliver(base, receiver, settings=hasty)
    assert rows(base)[0]["state"] == "given_up"
    with base.write() as connection:
        assert webhooks.replay(connection, account, id, NOW) == 1
    deliver(base, receiver)
    assert (rows(base)[0]["state"], rows(base)[0]["attempts"]) == ("waiting", 1)
    with base.write() as connection:
        assert webhooks.replay(connection, account, "video_0", NOW) == 1
    deliver(base, Receiver())
    assert rows(base)[0]["state"] == "delivered"
    assert receiver.got[0][1] == receiver.got[1][1]


def test_a_video_is_replayed_to_everybody_who_is_there(base, account):
    one, _ = create(base, account), create(base, account, "https://two.example")
    announce(base, account, callback="https://three.example")
    assert deliver(base, Receiver()) == 3
    with base.write() as connection:
        webhooks.delete_endpoint(connection, account, one.id)
        assert webhooks.replay(connection, account, "video_1", NOW) == 2
    with base.read() as connection:
        (gone,) = webhooks.list_deliveries(connection, account, endpoint_id=one.id)
    with pytest.raises(Conflict, match="deleted or disabled"), base.write() as connection:
        webhooks.replay(connection, account, gone["id"], NOW)


def test_anothers_delivery_is_not_there(base, account):
    (id,) = waiting(base, account, 1)
    with base.write() as connection:
        other = create_account(connection, "Bob", "free", SETTINGS, NOW)["id"]
        assert webhooks.list_deliveries(connection, other) == []
        for name in (id, "video_0", "evt_none"):
            with pytest.raises(NotFound):
                webhooks.replay(connection, other, name, NOW)
        assert webhooks.replay(connection, None, id, NOW) == 1


def test_the_log_is_listed_and_swept(base, account):
    waiting(base, account, 2)
    deliver(base, Receiver(200, 500), NOW + 1)
    with base.write() as connection:
        assert len(webhooks.list_deliveries(connection, account)) == 2
        (one,) = webhooks.list_deliveries(connection, None, video_id="video_1", limit=5)
        assert json.loads(one["body"])["video"] == "video_1"
        assert webhooks.sweep(connection, NOW) == 0
        assert webhooks.sweep(connection, NOW + 1) == 1
        assert [row["state"] for row in webhooks.list_deliveries(connection, account)] == [
            "waiting"
        ]
