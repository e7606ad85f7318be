"""The real model behind a worker, interrupted and killed: as if nothing had happened."""

import json
import os
import subprocess
import sys

from serve_rig import SOURCE
from sqlalchemy import select

from kineograph.serve.tables import QUEUED, RUNNING, workers

WORDS = {"prompt": "a red ball falls", "seed": 7, "num_frames": 5, "aspect_ratio": "1:1"}
REAL = ("--generator", "real", "--threads", "1", "--device", "cpu", "--heartbeat", "0.5",
        "--dead-after", "10")  # fmt: skip


UNDISTURBED = """
import json, sys
import torch
from kineograph.produce import run
from kineograph.request import GenerationRequest
from kineograph.runtime.options import RunOptions
torch.set_num_threads(1)
options = RunOptions(device="cpu", repeatable=True)
run(GenerationRequest.from_dict(json.loads(sys.argv[1])), options=options)
"""


def generated(folder, steps):
    """What `kineo generate` makes of the same request, undisturbed, in a file that repeats."""
    request = {**WORDS, "model": "nano", "steps": steps, "output": str(folder / "clip.mp4")}
    env = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", UNDISTURBED, json.dumps(request)], env=env, check=True, timeout=300
    )
    return (folder / "clip.mp4").read_bytes()


def test_an_interrupted_and_killed_job_ends_in_the_same_bytes(sqlite_rig, tmp_path):
    rig, steps = sqlite_rig, 12
    rig.submit("v", request={**WORDS, "model": "nano", "steps": steps}, steps=steps)

    def runs_at(step):
        row = rig.row("v")
        return row.state == RUNNING and step <= row.steps_done < steps

    with rig.processes(1, *REAL) as (first,):
        rig.until(lambda: runs_at(2), 120)
        rig.submit("urgent", "member", request={**WORDS, "model": "nano", "steps": 2}, steps=2)
        rig.until(lambda: rig.row("urgent").state == RUNNING and rig.row("v").state == QUEUED, 60)
        yielded = rig.row("v")
        assert 2 <= yielded.kept == yielded.steps_done < steps
        rig.wait("urgent", seconds=120)
        rig.until(lambda: runs_at(yielded.steps_done + 2), 60)
        first.kill()
        first.wait()
        assert rig.row("v").state == RUNNING
        with rig.processes(1, *REAL) as (second,):
            rig.until(lambda: rig.row("v").fence == 3, 60)
            with rig.database.read() as c:
                assert c.scalars(select(workers.c.pid)).all() == [second.pid]
            assert rig.wait("v", seconds=120).fence == 3
            second.terminate()
            assert second.wait(60) == 0
    assert rig.result("v") == generated(tmp_path, steps)
    assert rig.row("v").preview is not None
    assert rig.entries("v") == ["reserve", "settle"]
