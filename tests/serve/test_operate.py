"""The operator's commands, on the database of a service that runs or does not."""

import json
import time

import pytest
from sqlalchemy import insert, update

from kineograph import cli
from kineograph.serve import again, invitations, ledger, queue, store
from kineograph.serve.outbox import GIVEN_UP, WAITING
from kineograph.serve.refusals import Conflict, NoCredits
from kineograph.serve.tables import COMPLETED, FAILED, QUEUED, RUNNING, accounts, deliveries


@pytest.fixture
def rig(rig):
    return rig


@pytest.fixture
def kineo(rig, capsys):
    """Run a command on the rig; return what it printed, or its refusal for a status above 0."""

    def run(*words, status=0):
        flags = ("--data", str(rig.data), "--database", rig.url)
        capsys.readouterr()
        assert cli.main([*words, *flags]) == status, capsys.readouterr()
        said = capsys.readouterr()
        if status:
            assert said.err.startswith("kineo: error: ") and said.err.count("\n") == 1
            return said.err
        return json.loads(said.out) if "--json" in words else said.out

    return run


def failed(rig, id="v", **values):
    rig.submit(id, **values)
    job = rig.claim(rig.enlist(f"w-{id}"))
    rig.do(queue.fail, job, "broken", "why", rig.settings, 5.0, seconds=1.0, retry=False)


def order(kineo):
    return [v["id"] for v in kineo("queue", "list", "--json", "--state", "queued")]


def test_the_list_shows_who_stands_where(rig, kineo):
    for id, account in (("a", "free"), ("b", "member"), ("c", "free")):
        rig.submit(id, account)
    rig.claim(rig.enlist("w"))
    found = kineo("queue", "list", "--json")
    assert [(v["id"], v["state"], v["position"]) for v in found] == [
        ("b", RUNNING, 0), ("a", QUEUED, 1), ("c", QUEUED, 2),
    ]  # fmt: skip
    assert found[0]["tier"] == "member" and found[1]["eta_seconds"] > 0
    assert [v["id"] for v in kineo("queue", "list", "--json", "--account", "member")] == ["b"]
    assert len(kineo("queue", "list", "--json", "--limit", "1")) == 1
    text = kineo("queue", "list")
    assert [line.split()[1] for line in text.splitlines()] == ["id", "b", "a", "c"]
    assert "a ball" in text and "member" in text
    assert "no video is failed" in kineo("queue", "list", "--state", "failed")


def test_one_video_is_shown_with_its_money_and_its_webhooks(rig, kineo):
    failed(rig, callback_url="https://example.com/hook")
    found = kineo("queue", "show", "v", "--json")
    assert found["video"]["error"] == "why" and found["video"]["attempts"] == 1
    assert [e["kind"] for e in found["ledger"]] == ["reserve", "refund"]
    assert [d["type"] for d in found["deliveries"]] == ["video.failed"]
    text = kineo("queue", "show", "v")
    assert "1.000000 credits" in text and "refund" in text and "example.com/hook" in text
    assert "no video 'u'" in kineo("queue", "show", "u", status=2)


def test_a_failed_video_is_tried_again_at_its_price_and_made(rig, kineo, monkeypatch):
    failed(rig)
    assert rig.balance() == 1000.0
    assert "waits again" in kineo("queue", "retry", "v")
    row = rig.row("v")
    assert (row.state, row.error, row.completed_at, row.attempts) == (QUEUED, None, None, 0)
    assert rig.balance() == 999.0
    with rig.working(monkeypatch):
        rig.wait("v", state=COMPLETED)
    assert rig.entries("v") == ["reserve", "refund", "reserve", "settle"]
    assert rig.balance() == 999.0
    assert "every balance" in kineo("accounts", "audit")


def test_only_a_failed_video_is_tried_again(rig, kineo):
    rig.submit("v")
    assert "'v' is queued; only a failed one" in kineo("queue", "retry", "v", status=2)
    assert rig.entries("v") == ["reserve"]
    assert "no video 'u'" in kineo("queue", "retry", "u", status=2)


def test_what_cannot_be_paid_for_again_stays_as_it_is(rig):
    failed(rig)
    rig.do(ledger.grant, "free", -999.5, now=6.0)
    with pytest.raises(NoCredits):
        rig.do(again.retry, "v", rig.storage, 7.0)
    assert rig.row("v").state == FAILED and rig.balance() == 0.5


def test_a_video_whose_inputs_are_gone_is_not_tried_again(rig):
    failed(rig, inputs={"input-image.png": "inputs/v/input-image.png"})
    with pytest.raises(Conflict, match="input-image"):
        rig.do(again.retry, "v", rig.storage, 7.0)
    rig.storage.put("inputs/v/input-image.png", b"x")
    assert rig.do(again.retry, "v", rig.storage, 7.0)["state"] == QUEUED


def test_a_state_that_is_kept_is_gone_on_with_and_one_that_is_not_is_forgotten(rig):
    for id, there in (("v", True), ("u", False)):
        rig.submit(id)
        job = rig.claim(rig.enlist(f"w-{id}"))
        rig.do(queue.report, job, steps_done=4, progress=0.5)
        rig.do(queue.keep, job, 4, f"states/{id}/1-4")
        if there:
            rig.storage.put(f"states/{id}/1-4", b"x")
        rig.do(queue.fail, job, "x", "y", rig.settings, 5.0, seconds=1.0, retry=False)
        row = rig.do(again.retry, id, rig.storage, 7.0)
        assert (row["kept"], row["steps_done"]) == ((4, 4) if there else (-1, 0))
        rig.do(store.cancel, id, None, 8.0)


def test_a_waiting_video_is_moved(rig, kineo):
    for n, id in enumerate("abcd"):
        rig.submit(id, now=1000.0 + n)
    assert "number 1 " in kineo("queue", "move", "c", "--first")
    assert order(kineo) == ["c", "a", "b", "d"]
    kineo("queue", "move", "c", "--first")
    kineo("queue", "move", "a", "--last")
    kineo("queue", "move", "d", "--before", "b")
    assert order(kineo) == ["c", "d", "b", "a"]
    assert "the video itself" in kineo("queue", "move", "a", "--before", "a", status=2)
    assert "no video 'x'" in kineo("queue", "move", "a", "--before", "x", status=2)
    job = rig.claim(rig.enlist("w"))
    assert job.id == "c"
    assert "'c' is running" in kineo("queue", "move", "c", "--last", status=2)
    assert cli.main(["queue", "move", "a"]) == 2


def test_a_video_is_cancelled_where_it_waits_and_told_to_stop_where_it_runs(rig, kineo):
    rig.submit("a")
    rig.submit("b")
    rig.claim(rig.enlist("w"))
    assert "told to stop" in kineo("queue", "cancel", "a")
    assert "b is cancelled" in kineo("queue", "cancel", "b")
    assert rig.entries("b") == ["reserve", "refund"]
    assert "'b' is cancelled already" in kineo("queue", "cancel", "b", status=2)


def test_a_held_queue_begins_nothing_until_it_is_released(rig, kineo, monkeypatch):
    assert "held; 0 running" in kineo("queue", "hold")
    kineo("queue", "hold")
    rig.submit("v")
    with rig.working(monkeypatch):
        time.sleep(0.3)
        assert rig.row("v").state == QUEUED
        assert "goes on; 1 wait" in kineo("queue", "release")
        rig.wait("v", state=COMPLETED)


def test_a_drain_waits_for_what_runs_and_lets_nothing_begin(rig, kineo, monkeypatch):
    rig.submit("a", steps=30)
    rig.submit("b")
    with rig.working(monkeypatch):
        rig.until(lambda: rig.row("a").state == RUNNING)
        assert "nothing runs" in kineo("queue", "drain")
        assert (rig.row("a").state, rig.row("b").state) == (COMPLETED, QUEUED)


def test_a_drain_that_takes_too_long_says_so(rig, kineo):
    rig.submit("a")
    rig.claim(rig.enlist("w"))
    flags = ["--data", str(rig.data), "--database", rig.url]
    assert cli.main(["queue", "drain", "--timeout", "0.1", *flags]) == 1
    with rig.database.read() as c:
        assert again.is_held(c)


def test_the_error_of_foretold_ends_is_told(rig, kineo):
    assert "was foretold" in kineo("queue", "eta")
    now = time.time()
    for n, (told, real) in enumerate([(10.0, 20.0), (20.0, 20.0), (24.0, 20.0)]):
        rig.submit(f"v{n}")
        job = rig.claim(rig.enlist(f"w{n}"))
        rig.do(queue.report, job, created_at=now - 20, told_end_at=now - 20 + told)
        rig.do(queue.complete, job, {}, 1.0, now - 20 + real)
    found = kineo("queue", "eta", "--json")
    assert found["count"] == 3
    assert found["median"] == pytest.approx(0.2) and found["p90"] == pytest.approx(0.5)
    assert found["bias_seconds"] == pytest.approx(0.0, abs=1e-3)
    assert "50 %" in kineo("queue", "eta")


def test_workers_are_listed(rig, kineo):
    assert "no worker" in kineo("workers")
    rig.enlist("w")
    assert kineo("workers", "--json")[0]["models"] == ["nano"]
    assert "idle" in kineo("workers")


def test_an_account_is_made_paid_raised_disabled_and_shown(rig, kineo):
    id = kineo("accounts", "create", "Ada", "--credits", "5", "--note", "gift").strip()
    assert "has 2.500000 credits" in kineo("accounts", "credits", id, "-2.5", "--note", "fee")
    kineo("accounts", "tier", id, "member")
    kineo("accounts", "disable", id)
    row = next(a for a in kineo("accounts", "list", "--json") if a["id"] == id)
    assert (row["name"], row["tier"], row["balance"]) == ("Ada", "member", 2.5)
    assert row["disabled_at"] is not None and "Ada" in kineo("accounts", "list")
    kineo("accounts", "enable", id)
    entries = kineo("accounts", "ledger", id, "--json")
    assert [(e["amount"], e["note"]) for e in entries] == [(-2_500_000, "fee"), (5_000_000, "gift")]
    assert "fee" in kineo("accounts", "ledger", id)
    assert "unknown tier 'gold'" in kineo("accounts", "tier", id, "gold", status=2)
    assert "no account 'x'" in kineo("accounts", "ledger", "x", status=2)
    kineo("accounts", "credits", id, "-3", status=2)


def test_an_audit_finds_what_does_not_add_up(rig, kineo, capsys):
    with rig.database.write() as c:
        c.execute(update(accounts).where(accounts.c.id == "free").values(balance=1))
    assert "1 balances" in kineo("accounts", "audit", status=1)


def test_keys_are_made_listed_and_revoked(rig, kineo):
    made = kineo("keys", "create", "free", "--scopes", "account", "--days", "2", "--signing",
                 "--json")  # fmt: skip
    assert made["token"].startswith("kineo_") and made["secret_key"] in made["token"]
    assert made["expires_at"] == pytest.approx(time.time() + 2 * 86_400, abs=60)
    kineo("keys", "revoke", made["id"])
    listed = kineo("keys", "list", "free", "--json")
    assert listed[0]["revoked_at"] is not None and made["token"] not in json.dumps(listed)
    assert made["id"] in kineo("keys", "list", "free")
    assert "['x']" in kineo("keys", "create", "free", "--scopes", "x", status=2)


def test_people_come_in_by_codes_and_from_the_waiting_list(rig, kineo):
    code = kineo("invite", "create", "--tier", "member", "--uses", "2", "--note", "fair").strip()
    listed = kineo("invite", "list", "--json")
    assert (listed[0]["left"], listed[0]["note"]) == (2, "fair") and code not in json.dumps(listed)
    kineo("invite", "revoke", listed[0]["id"])
    assert "invite" not in kineo("invite", "list")
    for n in range(3):
        rig.do(invitations.apply, f"p{n}@example.com", "please", float(n))
    waiting = kineo("applications", "list", "--json")
    assert [a["contact"] for a in waiting] == [f"p{n}@example.com" for n in range(3)]
    kineo("applications", "decline", waiting[2]["id"])
    first = kineo("applications", "admit", "--next", "1", "--json")
    assert [one["contact"] for one in first] == ["p0@example.com"]
    opened = rig.do(invitations.redeem, first[0]["code"], "P", rig.settings, time.time())
    assert rig.balance(opened.account["id"]) == 100
    assert "p1@example.com" in kineo("applications", "admit", waiting[1]["id"])
    states = {a["state"] for a in kineo("applications", "list", "--state", "all", "--json")}
    assert states == {"admitted", "declined"}
    assert "one of them" in kineo("applications", "admit", status=2)


def test_webhooks_are_listed_and_sent_again(rig, kineo):
    values = dict(
        id="evt_1", account_id="free", url="https://example.com", type="video.failed",
        video_id="v", state=GIVEN_UP, attempts=9, next_at=1.0, created_at=1.0,
    )  # fmt: skip
    with rig.database.write() as c:
        c.execute(insert(deliveries).values(values))
    assert "given_up" in kineo("webhooks", "list", "--video", "v")
    assert "1 is sent again" in kineo("webhooks", "replay", "evt_1")
    assert kineo("webhooks", "list", "--json")[0]["state"] == WAITING
    assert "no delivery 'x'" in kineo("webhooks", "replay", "x", status=2)


def test_a_folder_without_a_service_is_refused_and_not_made(tmp_path, capsys):
    assert cli.main(["queue", "list", "--data", str(tmp_path / "none")]) == 2
    assert "there is no database" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert cli.main(["queue", "list", "--database", "postgresql://u:secret@127.0.0.1:1/x"]) == 2
    said = capsys.readouterr().err
    assert "u:***@127.0.0.1:1/x" in said and "secret" not in said and said.count("\n") == 1


def test_signs_that_move_the_cursor_are_not_printed(rig, kineo):
    rig.submit("v", prompt="red \x1b[2J\x07 [bold]ball")
    text = kineo("queue", "list")
    assert "\x1b" not in text and "\x07" not in text and "[bold]ball" in text
