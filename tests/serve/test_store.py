"""What comes in, and what is asked of it: limits, money, and every change of state."""

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from kineograph.serve import ledger, queue, store
from kineograph.serve.refusals import Conflict, NoCredits, NotFound, TooMany, Unavailable
from kineograph.serve.scheduler import Standing
from kineograph.serve.tables import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSED,
    QUEUED,
    RUNNING,
    accounts,
    videos,
)
from kineograph.serve.tables import (
    ledger as entries,
)

FILES = {"output": "videos/v/1/video.mp4"}


def in_state(rig, state, id="v"):
    """Bring a new video into a state by what the service itself does."""
    rig.submit(id)
    if state == PAUSED:
        rig.do(store.pause, id, None)
    if state in (RUNNING, COMPLETED, FAILED):
        job = rig.claim(rig.enlist(f"w-{id}"))
        assert job.id == id
        if state == COMPLETED:
            assert rig.do(queue.complete, job, FILES, 1.0, 5.0)
        if state == FAILED:
            rig.do(queue.fail, job, "x", "why", rig.settings, 5.0, seconds=1.0, retry=False)
    if state == CANCELLED:
        rig.do(store.cancel, id, None, 5.0)
    assert rig.row(id).state == state


ALLOWED = {
    ("cancel", QUEUED): CANCELLED,
    ("cancel", PAUSED): CANCELLED,
    ("cancel", RUNNING): RUNNING,  # at the next step
    ("pause", QUEUED): PAUSED,
    ("pause", PAUSED): PAUSED,
    ("pause", RUNNING): RUNNING,
    ("resume", PAUSED): QUEUED,
}
WANTED = {"cancel": store.CANCEL, "pause": store.PAUSE}


@pytest.mark.parametrize("state", [QUEUED, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED])
@pytest.mark.parametrize("asked", ["cancel", "pause", "resume"])
def test_each_state_allows_what_the_table_says_and_refuses_the_rest(rig, asked, state):
    in_state(rig, state)
    before = rig.row("v")
    arguments = ("v", "free", 7.0) if asked == "cancel" else ("v", "free")
    if (asked, state) in ALLOWED:
        rig.do(getattr(store, asked), *arguments)
        after = rig.row("v")
        assert after.state == ALLOWED[asked, state]
        assert after.wanted == (WANTED[asked] if state == RUNNING else None)
    else:
        with pytest.raises(Conflict, match=f"'v' is {state}"):
            rig.do(getattr(store, asked), *arguments)
        assert rig.row("v") == before


def test_what_is_being_cancelled_is_not_paused(rig):
    in_state(rig, RUNNING)
    rig.do(store.cancel, "v", "free", 1.0)
    with pytest.raises(Conflict, match="being cancelled"):
        rig.do(store.pause, "v", "free")


def test_a_pause_that_was_not_reached_yet_is_taken_back(rig):
    in_state(rig, RUNNING)
    rig.do(store.pause, "v", "free")
    rig.do(store.resume, "v", "free")
    assert (rig.row("v").state, rig.row("v").wanted) == (RUNNING, None)


def test_a_cancel_goes_before_a_pause(rig):
    in_state(rig, RUNNING)
    rig.do(store.pause, "v", "free")
    rig.do(store.cancel, "v", "free", 1.0)
    assert rig.row("v").wanted == store.CANCEL


@pytest.mark.parametrize("state", [QUEUED, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED])
def test_deleting_hides_a_video_and_cancels_what_is_in_hand(rig, state):
    in_state(rig, state)
    rig.do(store.delete, "v", "free", 9.0)
    row = rig.row("v")
    assert row.deleted_at == 9.0
    waits = state in (QUEUED, PAUSED)
    assert row.state == (CANCELLED if waits else state)
    assert row.wanted == (store.CANCEL if state == RUNNING else None)
    with pytest.raises(NotFound, match="no video 'v'"):
        rig.do(store.get, "v", "free")
    assert rig.do(store.page, "free") == ([], False)


@pytest.mark.parametrize("asked", [store.pause, store.resume, store.get])
def test_another_accounts_video_is_not_found(rig, asked):
    rig.submit("v")
    with pytest.raises(NotFound, match="no video 'v'"):
        rig.do(asked, "v", "member")


def test_pages_go_from_the_newest_or_the_oldest(rig):
    for id in "abcde":
        rig.submit(id)
    names = lambda **how: [r["id"] for r in rig.do(store.page, "free", limit=2, **how)[0]]  # noqa: E731
    assert names() == ["e", "d"]
    assert names(after="d") == ["c", "b"]
    assert names(newest_first=False) == ["a", "b"]
    assert rig.do(store.page, "free", limit=2, after="c") [1] is False
    with pytest.raises(NotFound):
        names(after="nothing")


# Limits.


def test_as_many_as_the_tier_allows_are_in_hand(rig):
    for i in range(5):
        rig.submit(f"v{i}")
    rig.do(store.pause, "v0", None)
    with pytest.raises(TooMany, match=r"5 videos.*'free' allows 5 at a time") as refused:
        rig.submit("v5")
    assert refused.value.retry_after > 0
    rig.do(store.cancel, "v1", None, 1.0)
    rig.submit("v5")


def test_a_day_holds_so_many_seconds_of_video(rig):
    rig.submit("a", seconds=500.0, now=1e6)
    with pytest.raises(TooMany, match=r"500 s of video.*allows 600"):
        rig.submit("b", seconds=101.0, now=1e6 + 86_000)
    rig.submit("b", seconds=100.0, now=1e6 + 86_000)
    rig.submit("c", seconds=101.0, now=1e6 + 86_401)
    rig.do(store.cancel, "b", None, 1.0)  # what was not made does not count
    rig.submit("d", seconds=499.0, now=1e6 + 86_402)


def test_a_full_queue_is_unavailable(rig):
    rig.set(max_queue=2)
    rig.submit("a")
    rig.submit("b")
    with pytest.raises(Unavailable, match="2 videos are waiting"):
        rig.submit("c", "member")


def test_an_external_id_is_used_once_an_account(rig):
    rig.submit("a", external_id="mine")
    rig.submit("b", "member", external_id="mine")
    with pytest.raises(Conflict, match="'mine' already"):
        rig.submit("c", external_id="mine")
    assert rig.balance() == 999.0


# Money.


def test_the_row_that_is_told_is_the_one_that_was_written(rig):
    new = store.NewVideo(
        id="v", account_id="member", dialect="openai", kind="create", model="nano",
        request={"prompt": "a ball"}, seconds=1.0, steps=8, cost_seconds=2.0, external_id="x",
    )  # fmt: skip
    standing = Standing(1, 3.0, 5.0)
    told = rig.do(store.submit, new, rig.settings, 100.0, foretell=lambda *given: standing)
    assert told == dict(rig.row("v")._mapping)
    assert (told["told_start_at"], told["told_end_at"], told["stage"]) == (103.0, 105.0, "queued")


def test_where_the_length_of_the_queue_is_known_it_is_not_counted(rig):
    rig.set(max_queue=2)
    new = store.NewVideo(
        id="v", account_id="member", dialect="openai", kind="create", model="nano",
        request={"prompt": "a ball"}, seconds=1.0, steps=8, cost_seconds=2.0,
    )  # fmt: skip
    with pytest.raises(Unavailable, match="2 videos are waiting"):
        rig.do(store.submit, new, rig.settings, 100.0, waiting=2)
    assert rig.do(store.submit, new, rig.settings, 100.0, waiting=1)["id"] == "v"


def test_a_price_is_reserved_and_settled_once(rig):
    rig.submit("v", cost_seconds=3.0)
    assert rig.balance() == 997.0
    job = rig.claim(rig.enlist("w"))
    rig.do(queue.complete, job, FILES, 1.0, 5.0)
    assert rig.balance() == 997.0
    assert rig.row("v").charged == 3_000_000
    assert rig.entries("v") == [ledger.RESERVE, ledger.SETTLE]


@pytest.mark.parametrize("state", [FAILED, CANCELLED])
def test_what_was_not_made_costs_nothing(rig, state):
    in_state(rig, state)
    assert rig.balance() == 1000.0
    assert rig.row("v").charged == 0
    assert rig.entries("v") == [ledger.RESERVE, ledger.REFUND]


def test_what_was_cancelled_does_not_hold_the_account_back(rig):
    rig.submit("a", now=1e6, cost_seconds=50.0)
    rig.submit("b", now=1e6, cost_seconds=50.0)
    rig.do(store.cancel, "b", None, 1e6)
    rig.submit("c", now=1e6, cost_seconds=10.0)
    assert rig.row("c").priority - rig.row("a").priority == pytest.approx(10.0)


def test_who_cannot_pay_leaves_no_trace(rig):
    rig.account("poor", credits=1.5)
    with pytest.raises(NoCredits, match=r"costs 2\.00 credits and the account has 1\.50"):
        rig.submit("v", "poor", cost_seconds=2.0)
    assert rig.rows() == {}
    assert rig.balance("poor") == 1.5
    with rig.database.read() as c:
        assert c.scalar(select(accounts.c.finish).where(accounts.c.id == "poor")) == 0


def test_a_tier_that_does_not_pay_reserves_nothing(rig):
    rig.account("op", "operator", credits=0.0)
    rig.submit("v", "op")
    assert rig.entries("v") == []


def test_the_ledger_is_audited(rig):
    rig.submit("v")
    with rig.database.read() as c:
        assert ledger.audit(c) == []
    rig.do(lambda c: c.execute(update(accounts).where(accounts.c.id == "free").values(balance=5)))
    with rig.database.read() as c:
        assert ledger.audit(c) == ["free: balance 5, entries sum up to 999000000"]


@pytest.mark.parametrize("change", [update(entries).values(amount=0), delete(entries)])
def test_the_database_itself_keeps_the_ledger(rig, change):
    with pytest.raises(DBAPIError, match="append-only"):
        rig.do(lambda c: c.execute(change))
    with rig.database.read() as c:
        assert ledger.audit(c) == []


def test_no_balance_falls_below_nothing_even_by_hand(rig):
    with pytest.raises(DBAPIError, match="balance_not_negative"):
        rig.do(lambda c: c.execute(update(accounts).values(balance=-1)))


# Order.


def test_moving_changes_the_order_of_the_queue(rig):
    for id in "abc":
        rig.submit(id, now=100.0)

    def order():
        query = select(videos.c.id).order_by(videos.c.priority, videos.c.number)
        return [row.id for row in rig.do(lambda c: c.execute(query).all())]

    assert order() == ["a", "b", "c"]
    rig.do(store.move_to, "c", before="b")
    assert order() == ["a", "c", "b"]
    rig.do(store.move_to, "b", before="a")
    assert order() == ["b", "a", "c"]
    rig.do(store.move_to, "b", before=None)
    assert order() == ["a", "c", "b"]
    rig.do(store.pause, "a", None)
    with pytest.raises(Conflict, match="'a' is paused and not in the queue"):
        rig.do(store.move_to, "b", before="a")


def test_an_end_is_announced_with_it_or_not_at_all(rig):
    rig.submit("v", callback_url="https://example.org/done")
    count = lambda: rig.do(lambda c: len(c.execute(select(store.outbox.deliveries)).all()))  # noqa: E731

    def broken(c):
        store.cancel(c, "v", None, 1.0)
        raise RuntimeError("before the commit")

    with pytest.raises(RuntimeError):
        rig.do(broken)
    assert count() == 0
    assert rig.row("v").state == QUEUED
    rig.do(store.cancel, "v", None, 1.0)
    assert count() == 1
