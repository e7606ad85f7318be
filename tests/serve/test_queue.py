"""What workers do to videos, without workers: order, exclusivity, fences and takeovers."""

import os
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import insert, select, update

from kineograph.serve import life, queue, store
from kineograph.serve.database import Database
from kineograph.serve.refusals import LostLease
from kineograph.serve.tables import (
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSED,
    QUEUED,
    RUNNING,
    settings,
    videos,
    workers,
)

FILES = {"output": "videos/v/1/video.mp4"}


def known(rig):
    with rig.database.read() as c:
        return {row.id: row.video_id for row in c.execute(select(workers))}


# Claims.


def test_the_lowest_priority_goes_first_and_of_equals_the_first_that_came(rig):
    rig.submit("a", now=100.0)
    rig.submit("b", "member", now=200.0)
    rig.submit("c", now=100.0, cost_seconds=0.0)
    rig.do(lambda c: c.execute(update(videos).where(videos.c.id != "b").values(priority=5.0)))
    rig.enlist("w")
    assert [rig.claim("w").id for _ in range(3)] == ["b", "a", "c"]
    assert rig.claim("w") is None


def test_a_claim_says_all_that_it_changes(rig):
    rig.submit("v")
    job = rig.claim(rig.enlist("w"))
    row = rig.row("v")
    assert (row.state, row.worker_id, row.fence, job.fence) == (RUNNING, "w", 1, 1)
    assert row.started_at is not None
    assert known(rig) == {"w": "v"}
    rig.do(queue.release, job, 1.0, 2.0)
    assert known(rig) == {"w": None}
    again = rig.claim("w")
    assert again.fence == 2
    assert rig.row("v").started_at == row.started_at


def test_threads_that_race_never_get_the_same_video(rig):
    rig.set(tiers={**rig.settings.tiers, "free": rig.settings.tiers["operator"]})
    for i in range(40):
        rig.submit(f"v{i}")
    got, barrier = [], threading.Barrier(8)

    def race(number):
        rig.enlist(f"w{number}")
        barrier.wait()
        while (job := rig.claim(f"w{number}")) is not None:
            got.append(job.id)

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(f"v{i}" for i in range(40))


def test_what_is_put_off_waits_and_a_clock_that_ran_ahead_puts_off_nothing(rig):
    rig.submit("v")
    rig.enlist("w")
    now = time.time()
    soon = {"not_before": now + 100}
    rig.do(lambda c: c.execute(update(videos).values(soon)))
    assert rig.claim("w") is None
    rig.do(lambda c: c.execute(update(videos).values(not_before=now + 86_400)))
    assert rig.claim("w").id == "v"


def test_a_worker_takes_only_models_that_it_has(rig):
    rig.submit("v")
    with rig.database.read() as c:
        assert not queue.waiting(c, ["small"], time.time(), None)
        assert queue.waiting(c, ["small", "nano"], time.time(), None)


def test_nothing_is_claimed_while_the_queue_is_held(rig):
    rig.submit("v")
    rig.enlist("w")
    rig.do(lambda c: c.execute(insert(settings).values(name=queue.HELD, value="1")))
    assert rig.claim("w") is None
    rig.do(lambda c: c.execute(update(settings).values(value="0")))
    assert rig.claim("w").id == "v"


def test_a_worker_that_was_taken_for_dead_claims_nothing(rig):
    rig.submit("v")
    with pytest.raises(LostLease, match="worker w was taken for dead"):
        rig.claim("w")
    assert rig.row("v").state == QUEUED
    assert rig.row("v").fence == 0


# One that goes before another.


def test_a_running_job_yields_to_a_higher_rank_that_is_earlier_in_the_queue(rig):
    rig.submit("free", now=1e9)
    rig.enlist("w")
    job = rig.claim("w")
    assert rig.claim("w", job) is None
    rig.submit("other", now=1e9 - 7200)  # earlier, of the same rank
    assert rig.claim("w", job) is None
    rig.submit("late", "member", now=1e9 + 7200)  # of a higher rank, and later
    assert rig.claim("w", job) is None
    rig.account("member2", "member")
    rig.submit("urgent", "member2", now=1e9 + 10)
    assert rig.claim("w", job).id == "urgent"


def test_a_member_interrupts_no_other(rig):
    rig.account("member2", "member")
    rig.submit("a", "member", now=1e9)
    rig.enlist("w")
    job = rig.claim("w")
    rig.submit("b", "member2", now=1e9 - 100)
    assert rig.claim("w", job) is None


def test_a_job_that_yielded_goes_on_where_it_stood(rig):
    for id in ("a", "b"):
        rig.submit(id, now=1e9)
    rig.enlist("w")
    job = rig.claim("w")
    rig.do(queue.release, job, 1.0, 0.0)
    assert rig.claim("w").id == "a"


# The fence.


CHANGES = {
    "report": lambda rig, job: rig.do(queue.report, job, progress=0.9),
    "wanted": lambda rig, job: rig.do(queue.wanted, job),
    "keep": lambda rig, job: rig.do(queue.keep, job, 7, "states/v/1-7"),
    "release": lambda rig, job: rig.do(queue.release, job, 1.0, 2.0),
    "complete": lambda rig, job: rig.do(queue.complete, job, FILES, 1.0, 2.0),
    "fail": lambda rig, job: rig.do(
        queue.fail, job, "x", "y", rig.settings, 2.0, seconds=1.0, retry=False
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("since", ["taken over", "claimed again", "cancelled", "completed"])
def test_a_worker_that_was_taken_for_dead_changes_nothing(rig, change, since):
    rig.submit("v")
    job = rig.claim(rig.enlist("w"))
    rig.do(life.unregister, "w")
    life.take_over(rig.database, life.Watch(10.0), rig.settings, 1.0)
    if since == "claimed again":
        rig.claim(rig.enlist("w2"))
    if since == "cancelled":
        rig.do(store.cancel, "v", None, 1.0)
    if since == "completed":
        rig.do(queue.complete, rig.claim(rig.enlist("w2")), FILES, 1.0, 2.0)
    before, entries = rig.row("v"), rig.entries("v")
    with pytest.raises(LostLease, match="v was taken over"):
        CHANGES[change](rig, job)
    assert rig.row("v") == before
    assert rig.entries("v") == entries


def test_of_two_that_finish_at_once_one_does(rig):
    """The second waits for the first one's lock, and then finds that there is nothing to do."""
    rig.submit("v")
    job = rig.claim(rig.enlist("w"))
    barrier, told = threading.Barrier(4), []

    def finish():
        barrier.wait()
        try:
            told.append(rig.do(queue.complete, job, FILES, 1.0, 2.0))
        except LostLease:
            told.append("lost")

    threads = [threading.Thread(target=finish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, told)) == ["True", "lost", "lost", "lost"]
    assert rig.entries("v") == ["reserve", "settle"]


# How a job ends, by what was asked of it meanwhile.


GIVEN_BACK = {None: QUEUED, "pause": PAUSED, "cancel": CANCELLED}
FAILED_ONCE = {None: QUEUED, "pause": PAUSED, "cancel": CANCELLED}
MADE = {None: COMPLETED, "pause": COMPLETED, "cancel": CANCELLED}


@pytest.mark.parametrize("asked", [None, "pause", "cancel"])
@pytest.mark.parametrize("how", ["release", "fail", "complete", "lose", "put back"])
def test_what_was_asked_of_a_running_video_is_done_however_it_ends(rig, how, asked):
    rig.submit("v")
    job = rig.claim(rig.enlist("w"))
    if asked == "pause":
        rig.do(store.pause, "v", None)
    if asked == "cancel":
        rig.do(store.cancel, "v", None, 1.0)
    if how == "release":
        assert rig.do(queue.release, job, 1.0, 2.0) == asked
    elif how == "fail":
        rig.do(queue.fail, job, "x", "y", rig.settings, 2.0, seconds=1.0, retry=True)
    elif how == "complete":
        assert rig.do(queue.complete, job, FILES, 1.0, 2.0) == (asked != "cancel")
    elif how == "put back":
        assert rig.do(queue.put_back, "w", []) == ["v"]
    else:
        rig.do(life.unregister, "w")
        life.take_over(rig.database, life.Watch(10.0), rig.settings, 1.0)
    row = rig.row("v")
    wanted = {"fail": FAILED_ONCE, "complete": MADE}.get(how, GIVEN_BACK)[asked]
    assert (row.state, row.wanted, row.worker_id) == (wanted, None, None)
    assert rig.balance() == (1000.0 if wanted == CANCELLED else 999.0)


def test_a_job_is_tried_again_later_each_time_and_then_fails_with_its_reason(rig):
    rig.submit("v")
    rig.enlist("w")
    now = time.time()
    for attempt, wait in ((1, 2.0), (2, 4.0)):
        job = rig.claim("w")
        assert rig.do(queue.fail, job, "x", "why", rig.settings, now, seconds=1.0, retry=True)
        row = rig.row("v")
        assert (row.state, row.attempts, row.not_before) == (QUEUED, attempt, now + wait)
        rig.do(lambda c: c.execute(update(videos).values(not_before=0.0)))
    job = rig.claim("w")
    assert not rig.do(queue.fail, job, "x", "why", rig.settings, now, seconds=1.0, retry=True)
    row = rig.row("v")
    assert (row.state, row.error_code, row.error) == (FAILED, "x", "why")
    assert row.used_seconds == 3.0


def test_what_moved_on_is_not_to_blame_for_what_failed_before(rig):
    rig.submit("v")
    rig.enlist("w")
    job = rig.claim("w")
    rig.do(queue.keep, job, 3, "states/v/1-3")
    rig.do(queue.fail, job, "x", "why", rig.settings, -1e6, seconds=1.0, retry=True)
    job = rig.claim("w")
    rig.do(queue.keep, job, 3, "states/v/2-3")  # no further than before
    assert rig.row("v").attempts == 1
    rig.do(queue.keep, job, 4, "states/v/2-4")
    assert (rig.row("v").attempts, rig.row("v").checkpoint) == (0, "states/v/2-4")


def test_a_job_on_which_workers_are_lost_again_and_again_fails(rig):
    rig.set(max_losses=3)
    rig.submit("v")
    for i in range(3):
        assert rig.row("v").losses == i
        rig.claim(rig.enlist(f"w{i}"))
        rig.do(life.unregister, f"w{i}")
        assert life.take_over(rig.database, life.Watch(10.0), rig.settings, 1.0) == ["v"]
    row = rig.row("v")
    assert (row.state, row.error_code) == (FAILED, "worker_lost")
    assert "3 workers were lost on it" in row.error
    assert rig.balance() == 1000.0


def test_a_claim_whose_answer_was_lost_is_put_back_and_what_is_in_hand_is_not(rig):
    rig.submit("a")
    rig.submit("b")
    rig.enlist("w")
    job = rig.claim("w")
    lost = rig.claim("w").id
    assert rig.do(queue.put_back, "w", [job]) == [lost]
    assert rig.row(lost).state == QUEUED
    assert rig.row(job.id).state == RUNNING
    assert rig.row(lost).losses == 0


# Who is alive.


class Clock:
    """A monotonic clock that goes as it is told."""

    def __init__(self, monkeypatch):
        self.now = 50.0
        monkeypatch.setattr(life, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def elsewhere(rig, id="w"):
    """Enlist a worker of another machine: of its process nothing can be seen."""
    rig.enlist(id)
    rig.do(lambda c: c.execute(update(workers).where(workers.c.id == id).values(boot="b 1 2")))
    return id


def look(rig, watch):
    return life.take_over(rig.database, watch, rig.settings, 1.0)


def test_one_whose_count_stands_still_for_long_enough_is_dead(rig, clock):
    rig.submit("v")
    rig.claim(elsewhere(rig))
    watch = life.Watch(10.0)
    for seconds in range(0, 10, 2):
        assert look(rig, watch) == [], seconds
        clock.now += 2
    assert look(rig, watch) == ["v"]
    assert rig.row("v").state == QUEUED
    assert rig.row("v").losses == 1
    assert known(rig) == {}


def test_one_whose_count_moves_on_lives_whatever_its_times_say(rig, clock):
    rig.submit("v")
    rig.claim(elsewhere(rig))
    watch = life.Watch(10.0)
    for i in range(30):
        now = [0.0, 86_400.0, -86_400.0, 4e9][i % 4]  # its clock jumps
        assert rig.do(life.beat, "w", now)
        assert life.take_over(rig.database, watch, rig.settings, -now) == []
        clock.now += 4
    assert rig.row("v").state == RUNNING


def test_who_did_not_watch_kills_nobody(rig, clock):
    """The watcher slept, or the database was away: what it did not see it does not count."""
    rig.submit("v")
    rig.claim(elsewhere(rig))
    watch = life.Watch(10.0)
    look(rig, watch)
    clock.now += 3600
    assert look(rig, watch) == []
    clock.now += 4
    assert look(rig, watch) == []
    clock.now += 4
    assert look(rig, watch) == []
    clock.now += 4
    assert look(rig, watch) == ["v"]


def test_one_that_gave_a_sign_since_it_was_looked_at_lives(rig, clock, monkeypatch):
    rig.submit("v")
    rig.claim(elsewhere(rig))
    watch = life.Watch(10.0)
    look(rig, watch)
    for _ in range(2):
        clock.now += 4
        look(rig, watch)
    clock.now += 4
    dead = watch.dead

    def late(rows):
        found = dead(rows)
        assert found == ["w"]
        rig.do(life.beat, "w", 1.0)
        return found

    monkeypatch.setattr(watch, "dead", late)
    assert look(rig, watch) == []
    assert rig.row("v").state == RUNNING


def test_a_process_of_this_machine_that_has_ended_is_seen_at_once(rig):
    """Killed, and not even waited for by its parent."""
    rig.submit("v")
    code = (
        "import sys, time\n"
        "from kineograph.serve import life, queue\n"
        "from kineograph.serve.database import Database\n"
        "database = Database(sys.argv[1])\n"
        "with database.write() as c:\n"
        "    life.register(c, 'w', ['nano'], 0.0)\n"
        "    assert queue.claim(c, 'w', ['nano'], time.time()).id == 'v'\n"
        "print('claimed', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, rig.url], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"claimed\n"
        watch = life.Watch(1000.0)
        assert look(rig, watch) == []
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
        assert look(rig, watch) == ["v"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_number_of_a_process_alone_says_nothing(rig):
    """Of another boot, another container or another start of the same number."""
    here = life.boot_of(os.getpid())
    boot, space, start = here.split(" ")
    rig.enlist("w")
    for told, gone in (
        (here, False),
        (f"{boot} {space} 1", True),
        (f"{boot} 7 {start}", False),
        (f"other {space} {start}", False),
        ("", False),
    ):
        rig.do(lambda c, told=told: c.execute(update(workers).values(boot=told)))
        with rig.database.read() as c:
            rows = c.execute(select(workers)).mappings().all()
        assert life.Watch(1000.0).dead(rows) == (["w"] if gone else []), told


def test_two_that_take_over_at_once_do_it_once(rig):
    rig.submit("v")
    rig.claim(rig.enlist("w"))
    rig.do(life.unregister, "w")
    barrier, told = threading.Barrier(4), []

    def take():
        database = Database(rig.url)
        barrier.wait()
        told.append(life.take_over(database, life.Watch(10.0), rig.settings, 1.0))
        database.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [[], [], [], ["v"]]
    assert rig.row("v").losses == 1
