import json
import time

import pytest
from sqlalchemy import select

from kineograph.serve import queue, store
from kineograph.serve.announcing import render
from kineograph.serve.outbox import MADE, STARTED
from kineograph.serve.refusals import NotFound
from kineograph.serve.service import Service
from kineograph.serve.tables import deliveries

URL = "https://receiver.example/told"
TOLD = {"size": "64x64", "fps": 12, "seed": 1, "media": [], "metadata": {}}


def announced(rig):
    with rig.database.read() as c:
        return c.execute(select(deliveries).order_by(deliveries.c.created_at)).mappings().all()


def begun(rig, **values):
    """Return a video that a worker has just taken, and the worker's hold on it."""
    rig.submit("v", told=TOLD, **values)
    rig.enlist("w")
    return rig.do(queue.claim, "w", ["nano"], time.time())


def test_the_callback_of_a_kling_task_hears_of_its_start_and_its_end(rig):
    job = begun(rig, dialect="kling", callback_url=URL)
    [start] = announced(rig)
    assert (start["type"], start["url"]) == (STARTED, URL)
    service = Service(rig.settings, rig.database)
    assert json.loads(render(service, start))["task_status"] == "processing"
    # It yields and waits again, which is nothing that a client of Kling's knows.
    rig.do(queue.release, job, 1.0, time.time())
    assert json.loads(render(service, start))["task_status"] == "processing"
    job = rig.do(queue.claim, "w", ["nano"], time.time())
    assert len(announced(rig)) == 1
    rig.do(queue.complete, job, {"output": "x"}, 1.0, time.time())
    [end] = announced(rig)  # the start, untold until now, is not told after the end
    assert end["type"] == MADE
    assert json.loads(render(service, end))["task_status"] == "succeed"
    with pytest.raises(NotFound, match="over"):
        render(service, start)


def test_others_hear_of_the_end_alone(rig):
    begun(rig, callback_url=URL)
    assert announced(rig) == []
    rig.do(store.delete, "v", None, time.time())
