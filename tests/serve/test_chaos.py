"""Processes are killed at random under load: the short version of benchmarks/serve_chaos.py."""

import json
import os
import subprocess
import sys

import pytest
from serve_rig import SOURCE


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_kill_loses_doubles_or_changes_a_job(root, database, request):
    url = database
    if database == "postgresql":
        url = request.getfixturevalue("postgres").create("chaos")
    command = [sys.executable, "-W", "error", str(root / "benchmarks/serve_chaos.py"),
               "--kills", "10", "--jobs", "5", "--workers", "2", "--pause", "0.4",
               "--step", "0.02", "--database", url]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert told["kills"]["worker"] + told["kills"]["generator"] == 10
    assert told["jobs"] >= 5
    assert (told["lost"], told["doubled"], told["different"], told["ledger"]) == (0, 0, 0, [])
    assert told["claims"] > told["jobs"]  # the kills did hit something
    assert told["takeover_seconds"]["max"] < 20
