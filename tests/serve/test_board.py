"""Where everybody stands, and what they are told of it."""

import time

import pytest
from sqlalchemy import update

from kineograph.serve import board as board_module
from kineograph.serve.board import Board
from kineograph.serve.settings import TIERS
from kineograph.serve.tables import COMPLETED, videos


@pytest.fixture
def board(rig):
    """The board of a queue of two free jobs and a worker."""
    rig.enlist("worker")
    now = time.time()
    for id, cost in (("a", 10.0), ("b", 20.0)):
        rig.submit(id, cost_seconds=cost, now=now - 600)
    return Board(rig.database)


def test_one_that_comes_stands_behind_those_before_it(rig, board):
    assert board.length() == 2
    assert board.standing("b")[:2] == (2, pytest.approx(10.0))
    assert board.summary() == {"waiting": 2, "running": 0, "workers": 1, "seconds": 30.0}
    told = board.take("c", time.time(), 5.0, 0)
    assert told == (3, pytest.approx(30.0), pytest.approx(35.0))
    assert board.standing("c") == told
    assert board.take("d", time.time() + 1, 5.0, 0).starts_in == pytest.approx(35.0)
    first = board.take("e", 0.0, 1.0, 1)
    assert (first.position, first.starts_in) == (1, 0.0)
    assert board.length() == 5
    assert board.standing("nobody") is None


def test_what_is_put_in_and_never_queued_is_gone_with_the_next_look(board, monkeypatch):
    monkeypatch.setattr(board_module, "LATE", -1e9)
    board.take("c", time.time(), 5.0, 0)
    assert board.standing("c") is None


def test_free_jobs_are_told_that_members_will_come_and_members_are_not(rig, board):
    now = time.time()
    for i in range(3):  # in ten minutes, 240 s of the one worker's 600
        rig.submit(f"m{i}", "member", cost_seconds=80.0, now=now - 590 + i)
        with rig.database.write() as c:
            change = {"state": COMPLETED, "completed_at": now, "progress": 1.0}
            c.execute(update(videos).where(videos.c.id == f"m{i}").values(change))
    by = 1 / (1 - 240 / 600)
    assert board.standing("b").starts_in == pytest.approx(10 * by, rel=0.01)
    account = {"finish": 0.0}
    assert board.wait_for(account, TIERS["member"], 5.0).ends_in == pytest.approx(5.0)
    told = board.wait_for(account, TIERS["free"], 5.0)
    assert told.ends_in == pytest.approx(35 * by, rel=0.01)
