"""A worker and its child, the fake generator: whatever happens, the job and the worker live on."""

import json
import os
import signal
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import select, update

from kineograph.serve import life, queue, scratch, store
from kineograph.serve.fake import FakeGenerator
from kineograph.serve.refusals import Unavailable
from kineograph.serve.storage import Storage
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
from kineograph.serve.task import Task


@pytest.fixture(autouse=True)
def own_scratch(tmp_path, monkeypatch):
    """Workers lay out their jobs below the test's own folder."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []  # workers that end in order leave nothing


@pytest.fixture
def quick(monkeypatch):
    """Jobs that failed are tried again at once."""
    monkeypatch.setattr(queue, "BACKOFF", 0.02)


def undisturbed(rig, id, folder):
    """Return the video that a job makes when nothing happens to it."""
    made = folder / f"undisturbed-{id}"
    made.mkdir()
    (folder / f"{id}.once").touch()  # what goes wrong once has gone wrong
    task = Task(id, made, json.loads(rig.row(id).request))
    FakeGenerator(0.0).make(task, lambda *a, **k: None, lambda path: None, lambda text: None)
    return (made / task.output).read_bytes()


def at_step(rig, id, step):
    rig.until(lambda: rig.row(id).steps_done >= step and rig.row(id).state == RUNNING)


# One job.


def test_a_video_is_made_and_everything_about_it_is_written_down(rig, monkeypatch, tmp_path):
    rig.submit("v")
    rig.step = 0.05
    with rig.working(monkeypatch):
        rig.until(lambda: rig.row("v").preview is not None)
        row = rig.row("v")
        assert row.state == RUNNING
        assert rig.storage.get(row.preview)[:3] == b"\xff\xd8\xff"
        assert 0 < row.progress < 1
        assert (row.stage, row.steps) == ("denoise", 8)
        row = rig.wait("v")
    assert (row.state, row.stage, row.progress, row.steps_done) == (COMPLETED, COMPLETED, 1.0, 8)
    assert (row.error, row.worker_id, row.wanted) == (None, None, None)
    assert 8 * rig.step <= row.used_seconds < 60
    assert row.started_at <= row.completed_at
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)
    for key in (row.thumbnail, row.spritesheet, row.preview):
        assert rig.storage.get(key)[:3] == b"\xff\xd8\xff"
    assert list(rig.storage.names("states")) == []  # nobody goes on from them any more
    assert rig.entries("v") == ["reserve", "settle"]
    with rig.database.read() as c:
        assert c.execute(select(workers)).all() == []


def test_how_long_a_model_takes_is_learnt(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.submit("v", told={"operations": 1e9})
    with rig.working(monkeypatch):
        row = rig.wait("v")
    with rig.database.read() as c:
        value = c.scalar(select(settings.c.value).where(settings.c.name == "rate:nano"))
    assert json.loads(value)["count"] == 1
    assert json.loads(value)["rate"] == pytest.approx(1e9 / row.used_seconds, rel=0.01)


def test_a_picture_is_made(sqlite_rig, monkeypatch):
    request = {"prompt": "a ball", "seed": 1, "steps": 3, "num_frames": 1}
    sqlite_rig.submit("v", request=request)
    with sqlite_rig.working(monkeypatch):
        assert sqlite_rig.wait("v").output.endswith("/video.png")


def test_inputs_are_laid_out_and_one_that_is_gone_is_the_jobs_end(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.storage.put("inputs/a/one", b"one")
    rig.submit("a", inputs={"input-one": "inputs/a/one"})
    rig.submit("plain")
    rig.submit("gone", inputs={"input-one": "inputs/gone"})
    with rig.working(monkeypatch):
        rig.wait("a", "plain", "gone")
    assert rig.result("a") != rig.result("plain")
    row = rig.row("gone")
    assert (row.state, row.error_code) == (FAILED, "input_missing")
    assert "there is no file 'inputs/gone'" in row.error


# Faults.


FAULTS = {
    "crash": (FAILED, "generator_crashed", "signal 9 after step 3"),
    "fail": (FAILED, "generator_failed", "a fault was asked for at step 3"),
    "refuse": (FAILED, "invalid_request", "a refusal was asked for at step 3"),
    "oom": (FAILED, "out_of_memory", "a lack of memory was asked for at step 3"),
    "once": (COMPLETED, None, None),
    "hang": (FAILED, "stuck", "nothing happened for 2 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_as_it_must_and_the_worker_lives_on(
    sqlite_rig, monkeypatch, quick, fault, tmp_path
):
    rig = sqlite_rig
    rig.submit("bad", prompt=f"x [{fault}@3]")
    rig.submit("good", "member")
    timeout = 2.0 if fault == "hang" else 60.0
    with rig.working(monkeypatch, job_timeout=timeout, max_attempts=2) as worker:
        rig.wait("bad", "good")
        first = worker.id
        rig.submit("next")
        rig.wait("next")
        assert worker.id == first
    state, code, reason = FAULTS[fault]
    row = rig.row("bad")
    assert (row.state, row.error_code) == (state, code)
    if reason is None:
        assert rig.result("bad") == undisturbed(rig, "bad", tmp_path)
    else:
        assert reason in row.error
        assert row.attempts == (1 if fault == "refuse" else 2)
        assert rig.entries("bad") == ["reserve", "refund"]
    assert rig.row("good").state == rig.row("next").state == COMPLETED


def test_a_job_for_which_there_is_no_room_waits_and_others_go_on(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.submit("full", prompt="x [full@2]")
    rig.submit("good")
    with rig.working(monkeypatch):
        rig.wait("good")
        row = rig.wait("full", state=QUEUED)
        assert row.attempts == 0  # it is not the job's fault
        assert row.not_before > time.time() + 5
        rig.do(store.cancel, "full", None, 1.0)
    assert rig.balance() == 999.0


def test_a_fault_of_the_workers_own_is_the_jobs_alone(sqlite_rig, monkeypatch, quick):
    rig = sqlite_rig
    rig.submit("v", prompt="x")
    real = queue.complete

    def broken(connection, job, *rest):
        if job.id == "v":
            raise ZeroDivisionError("a bug \0 with a strange message \udc80")
        return real(connection, job, *rest)

    monkeypatch.setattr(queue, "complete", broken)
    with rig.working(monkeypatch, max_attempts=2, log="error"):
        row = rig.wait("v")
        rig.submit("next")
        assert rig.wait("next").state == COMPLETED
    assert (row.state, row.error) == (
        FAILED, "ZeroDivisionError: a bug ? with a strange message ?"
    )  # fmt: skip


# What is asked of a running one.


def test_a_cancel_frees_the_worker_within_a_step(rig, monkeypatch):
    rig.step = 0.2
    rig.submit("v", steps=100)
    with rig.working(monkeypatch):
        at_step(rig, "v", 2)
        rig.do(store.cancel, "v", "free", time.time())
        since, step = time.monotonic(), rig.row("v").steps_done
        row = rig.wait("v")
        assert time.monotonic() - since < 3 * rig.step + 0.5
    assert row.state == CANCELLED
    assert row.steps_done <= step + 2
    assert rig.balance() == 1000.0
    assert list(rig.storage.names("states")) == list(rig.storage.names("videos")) == []


def test_a_cancel_frees_the_worker_from_one_that_hangs(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.submit("v", prompt="x [hang@2]")
    rig.submit("next")
    with rig.working(monkeypatch, drain=0.3):
        at_step(rig, "v", 2)
        rig.do(store.cancel, "v", "free", time.time())
        assert rig.wait("v", "next").state == CANCELLED
    assert rig.row("next").state == COMPLETED


def test_a_deleted_video_stops_and_costs_nothing(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.submit("v", steps=1000)
    with rig.working(monkeypatch):
        at_step(rig, "v", 2)
        rig.do(store.delete, "v", "free", time.time())
        assert rig.wait("v").state == CANCELLED
    assert rig.balance() == 1000.0


def test_a_paused_video_goes_on_where_it_stopped_to_the_same_bytes(rig, monkeypatch, tmp_path):
    rig.step = 0.05
    rig.submit("v", steps=40)
    with rig.working(monkeypatch):
        at_step(rig, "v", 3)
        rig.do(store.pause, "v", "free")
        row = rig.wait("v", state=PAUSED)
        assert 3 <= row.steps_done < 40
        assert row.kept == row.steps_done
        rig.submit("other", "member", steps=2)
        rig.wait("other")
        assert rig.row("v").state == PAUSED
        rig.do(store.resume, "v", "free")
        after = rig.wait("v")
    assert after.fence == 2
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)
    assert row.used_seconds < after.used_seconds


def test_a_member_interrupts_a_free_job_within_a_step_and_nothing_is_lost(
    rig, monkeypatch, tmp_path
):
    rig.step = 0.25
    rig.submit("free", steps=12)
    with rig.working(monkeypatch):
        at_step(rig, "free", 3)
        step = rig.row("free").steps_done
        rig.submit("urgent", "member", steps=2)
        rig.until(lambda: rig.row("urgent").state == RUNNING and rig.row("free").state == QUEUED)
        row = rig.row("free")
        assert step <= row.steps_done <= step + 2  # the one in hand, and one that began meanwhile
        assert row.kept == row.steps_done
        rig.wait("urgent")
        assert rig.row("free").state != COMPLETED
        rig.wait("free")
    assert rig.result("free") == undisturbed(rig, "free", tmp_path)


def test_a_running_job_is_left_alone_where_another_worker_is_idle(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.step = 0.05
    rig.submit("free", steps=30)
    with rig.working(monkeypatch, poll=0.1):
        at_step(rig, "free", 1)
        with rig.working(monkeypatch):
            time.sleep(0.3)
            rig.submit("urgent", "member", steps=2)
            rig.wait("urgent", "free")
    assert rig.row("free").fence == 1


# Workers that end, in order or not.


def test_one_that_is_told_to_end_gives_its_job_back_at_the_next_step(rig, tmp_path):
    rig.step = 0.1
    rig.submit("v", steps=15)
    with rig.processes() as (process,):
        at_step(rig, "v", 3)
        process.send_signal(signal.SIGTERM)
        since = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - since < 10
        row = rig.row("v")
        assert (row.state, row.losses, row.attempts) == (QUEUED, 0, 0)
        assert row.kept == row.steps_done >= 3
        with rig.database.read() as c:
            assert c.execute(select(workers)).all() == []
    rig.step = 0.0
    with rig.processes() as (process,):
        rig.wait("v")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)


def test_one_that_is_told_to_end_waits_no_longer_than_it_may(sqlite_rig):
    rig = sqlite_rig
    rig.submit("v", prompt="x [hang@2]")
    with rig.processes(1, "--drain", "0.3") as (process,):
        at_step(rig, "v", 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (rig.row("v").state, rig.row("v").kept) == (QUEUED, 2)


def test_a_job_of_a_killed_worker_goes_on_in_another_one(rig, tmp_path, own_scratch):
    rig.step = 0.1
    rig.submit("v", steps=15)
    with rig.processes(2) as processes:
        at_step(rig, "v", 3)
        with rig.database.read() as c:
            pid = c.scalar(select(workers.c.pid).where(workers.c.video_id == "v"))
        next(p for p in processes if p.pid == pid).kill()
        rig.until(lambda: rig.row("v").fence == 2, 5)
        assert rig.row("v").losses <= 1
        rig.wait("v")
        assert rig.result("v") == undisturbed(rig, "v", tmp_path)
        assert rig.row("v").kept == 15
        left = next(p for p in processes if p.pid != pid)
        left.send_signal(signal.SIGTERM)
        assert left.wait(20) == 0
    assert len(list(own_scratch.iterdir())) == 1  # what the killed one had
    scratch.sweep()


def test_a_job_of_a_killed_worker_goes_on_from_its_state_in_s3(
    sqlite_rig, tmp_path, bucket, own_scratch
):
    rig = sqlite_rig
    rig.set(storage=bucket)
    rig.storage = Storage(bucket)
    rig.step = 0.1
    rig.submit("v", steps=20)
    with rig.processes(2, "--storage", bucket) as processes:
        at_step(rig, "v", 8)
        with rig.database.read() as c:
            pid = c.scalar(select(workers.c.pid).where(workers.c.video_id == "v"))
        next(p for p in processes if p.pid == pid).kill()
        seen = []

        def second_state():
            names = [key.rpartition("/")[2] for key, _ in rig.storage.names("states/v")]
            seen.extend(int(name[2:]) for name in names if name.startswith("2-"))
            return seen

        rig.until(second_state)
        assert min(seen) > 6  # it did not begin again
        rig.wait("v")
        assert rig.result("v") == undisturbed(rig, "v", tmp_path)
        left = next(p for p in processes if p.pid != pid)
        left.send_signal(signal.SIGTERM)
        assert left.wait(20) == 0
    assert list(rig.storage.names("states")) == []
    assert not list((rig.data / "files").iterdir())  # nothing beside the bucket
    scratch.sweep()


def test_a_generator_goes_with_its_worker(sqlite_rig, own_scratch):
    rig = sqlite_rig
    rig.submit("v", prompt="x [hang@1]")
    with rig.processes() as (process,):
        at_step(rig, "v", 1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.kill()
        process.wait()
        rig.until(lambda: not _runs(children[0]), 5)
    scratch.sweep()


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_folder_that_is_held_is_not_swept(own_scratch):
    held = scratch.Scratch()
    scratch.sweep()
    assert held.path.exists()
    held.close()


def test_a_worker_that_was_taken_for_dead_stops_its_child_and_begins_anew(
    sqlite_rig, monkeypatch, tmp_path
):
    rig = sqlite_rig
    rig.step = 0.05
    rig.submit("v", steps=20)
    with rig.working(monkeypatch) as worker:
        at_step(rig, "v", 3)
        before = worker.id
        rig.do(life.unregister, before)
        rig.until(lambda: worker.id != before)
        rig.wait("v")
        assert rig.row("v").fence == 2
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)
    assert rig.entries("v") == ["reserve", "settle"]


def test_a_lost_lease_stops_the_child(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.submit("v", steps=1000)
    rig.submit("next", steps=2)
    with rig.working(monkeypatch):
        at_step(rig, "v", 2)
        other = {"fence": 9, "worker_id": rig.enlist("other")}
        rig.do(lambda c: c.execute(update(videos).where(videos.c.id == "v").values(other)))
        rig.wait("next")
        row = rig.row("v")
    assert (row.fence, row.worker_id, row.state) == (9, "other", RUNNING)


def test_a_claim_whose_answer_was_lost_is_not_lost(sqlite_rig, monkeypatch):
    """The database took it, and the line was cut before it said so."""
    rig = sqlite_rig
    rig.submit("v")
    real, cut = queue.claim, []

    with rig.working(monkeypatch) as worker:
        write = worker.write

        def once(change):
            told = write(change)
            if isinstance(told, queue.Job) and not cut:
                cut.append(told.id)
                raise Unavailable("the line was cut")
            return told

        monkeypatch.setattr(worker, "write", once)
        assert rig.wait("v").state == COMPLETED
    assert cut == ["v"]
    assert rig.row("v").fence == 2
    assert real is queue.claim


# The database and the storage go away and come back.


def test_a_locked_database_kills_nobody(sqlite_rig, monkeypatch, tmp_path):
    """Longer than it takes to be dead: whoever cannot write does not judge either."""
    rig = sqlite_rig
    rig.step = 0.02
    rig.submit("v", steps=60)
    with rig.working(monkeypatch) as one, rig.working(monkeypatch) as other:
        at_step(rig, "v", 2)
        ids = {one.id, other.id}
        lock = sqlite3.connect(rig.url.removeprefix("sqlite:///"), isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        time.sleep(2.5 * rig.settings.dead_after)
        lock.execute("COMMIT")
        lock.close()
        rig.wait("v")
        assert {one.id, other.id} == ids
    assert rig.row("v").fence == 1
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)


def test_postgresql_goes_away_and_comes_back(request, postgres, monkeypatch, tmp_path):
    rig = _postgres_rig(request, postgres, tmp_path)
    rig.step = 0.05
    rig.submit("v", steps=30)
    with rig.working(monkeypatch) as worker:
        at_step(rig, "v", 3)
        first = worker.id
        postgres.stop()
        time.sleep(1.0)
        postgres.start()
        rig.wait("v")
        assert worker.id == first
        rig.submit("next")
        assert rig.wait("next").state == COMPLETED
    assert rig.row("v").fence == 1
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)
    rig.close()


def _postgres_rig(request, postgres, tmp_path):
    from serve_rig import Rig

    template = request.getfixturevalue("migrated_postgres")
    rig = Rig(postgres.create(f"away{os.getpid()}", template), tmp_path / "data")
    rig.account("free")
    return rig


class Moody(Storage):
    """A storage that takes nothing while it is away."""

    away = False

    def put(self, key, source):
        if self.away:
            raise Unavailable("the storage is full")
        return super().put(key, source)


def test_a_storage_that_is_full_holds_the_job_up_and_loses_nothing(
    sqlite_rig, monkeypatch, tmp_path
):
    rig = sqlite_rig
    rig.storage = Moody(rig.settings.storage_url())
    rig.storage.away = True
    rig.submit("v", steps=4)
    with rig.working(monkeypatch):
        at_step(rig, "v", 4)
        time.sleep(0.3)
        assert rig.row("v").state == RUNNING
        rig.storage.away = False
        rig.wait("v")
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)


def test_a_job_that_waits_for_the_storage_can_be_cancelled(sqlite_rig, monkeypatch):
    rig = sqlite_rig
    rig.storage = Moody(rig.settings.storage_url())
    rig.storage.away = True
    rig.submit("v", steps=2)
    with rig.working(monkeypatch):
        at_step(rig, "v", 2)
        rig.do(store.cancel, "v", "free", time.time())
        assert rig.wait("v").state == CANCELLED


def test_a_state_that_is_gone_costs_time_alone(sqlite_rig, monkeypatch, tmp_path):
    rig = sqlite_rig
    rig.step = 0.05
    rig.submit("v", steps=8)
    with rig.working(monkeypatch):
        at_step(rig, "v", 3)
        rig.do(store.pause, "v", None)
        rig.storage.delete(rig.wait("v", state=PAUSED).checkpoint)
        rig.do(store.resume, "v", None)
        rig.wait("v")
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)


def test_a_clock_that_jumps_changes_nothing(sqlite_rig, monkeypatch, tmp_path):
    rig = sqlite_rig
    rig.step = 0.05
    rig.submit("v", steps=20)
    real, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])
    with rig.working(monkeypatch) as one, rig.working(monkeypatch) as other:
        at_step(rig, "v", 2)
        ids = {one.id, other.id}
        for jump[0] in (86_400.0, -86_400.0, 0.0):
            time.sleep(0.3)
        rig.wait("v")
        assert {one.id, other.id} == ids
    assert rig.row("v").fence == 1
    assert rig.result("v") == undisturbed(rig, "v", tmp_path)
