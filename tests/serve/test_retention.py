import time

import pytest
from sqlalchemy import update

from kineograph.serve import queue, retention, store
from kineograph.serve.service import Service
from kineograph.serve.tables import videos

DAY = 86_400.0


@pytest.fixture
def service(rig):
    return Service(rig.settings, rig.database)


def made(rig, id, **told):
    """Make a video with its files, and return when it was made."""
    rig.submit(id, told=told)
    rig.storage.put(f"inputs/{id}/input-image.png", b"in")
    rig.storage.put(f"states/{id}/1-4", b"state")
    rig.storage.put(f"videos/{id}/1/video.mp4", b"out")
    job = rig.do(queue.claim, "w", ["nano"], time.time())
    now = time.time()
    rig.do(queue.complete, job, {"output": f"videos/{id}/1/video.mp4"}, 1.0, now)
    return now


def files(rig):
    return sorted(key for key, _ in rig.storage.names(""))


def test_a_video_is_kept_as_long_as_was_said_and_what_made_it_is_not(rig, service):
    rig.enlist("w")
    now = made(rig, "v")
    assert rig.row("v").expires_at == pytest.approx(now + 30 * DAY, abs=1)
    retention.sweep(service, now + 1)
    assert files(rig) == ["videos/v/1/video.mp4"]
    retention.sweep(service, now + 30 * DAY + 1)
    assert files(rig) == []
    row = rig.row("v")
    assert (row.state, row.output) == ("completed", None)


def test_its_sender_may_want_it_shorter(rig, service):
    rig.enlist("w")
    now = made(rig, "v", expires_after=3600)
    retention.sweep(service, now + 3500)
    assert "videos/v/1/video.mp4" in files(rig)
    retention.sweep(service, now + 3601)
    assert files(rig) == []


def test_a_deleted_video_leaves_nothing_that_says_what_it_was(rig, service):
    rig.enlist("w")
    now = made(rig, "v")
    rig.do(store.delete, "v", None, now)
    retention.sweep(service, now)
    assert files(rig) == []
    assert (rig.row("v").prompt, rig.row("v").request) == ("", "{}")


def test_what_waits_keeps_its_inputs_and_its_state(rig, service):
    rig.submit("v")
    rig.storage.put("inputs/v/input-image.png", b"in")
    rig.storage.put("states/v/1-4", b"state")
    retention.sweep(service, time.time() + 365 * DAY)
    assert len(files(rig)) == 2


def test_what_failed_may_be_tried_again_for_a_day(rig, service, monkeypatch):
    rig.submit("v")
    rig.storage.put("states/v/1-4", b"state")
    with rig.database.write() as c:
        c.execute(update(videos).values(state="failed"))
    retention.sweep(service, time.time())
    assert files(rig) == ["states/v/1-4"]
    then = time.time() + 25 * 3600
    monkeypatch.setattr(time, "time", lambda: then)
    retention.sweep(service, then)
    assert files(rig) == []
