"""What every test shares: checked signatures, no network, one request to vary."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import checking
import pytest

# Tests start many processes: what is compiled for one is kept for the next, as Python does unless
# the environment forbids it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Every annotation of ours is checked at run time, tensor shapes included. It must stand before the
# first import of kineograph.
checking.install()

# Of several workers, none takes the cores of the others, nor do threads that wait.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The peers that tests compare with must not ask a hub for anything.
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parents[1]

# Files that take long begin first, so that none is alone at the end.
LONG = (
    "serve/test_worker.py", "evaluate/v2/test_measures.py", "weights/test_whole.py",
    "test_generate.py", "weights/test_fetching.py", "serve/test_kling_client.py",
    "evaluate/v2/test_training.py", "serve/test_schema_fuzz.py", "serve/test_operate.py",
    "serve/test_api.py", "test_produce.py", "evaluate/v2/test_run.py", "weights/test_killed.py",
    "serve/test_chaos.py", "runtime/test_parallel.py", "evaluate/v2/test_judges.py",
    "runtime/test_plan.py", "serve/test_real_worker.py", "weights/test_wan.py",
    "world/v2/test_ranges.py", "evaluate/test_videos.py", "world/test_captions.py",
    "evaluate/test_distance.py", "world/v2/test_draw.py", "evaluate/test_judges.py",
    "test_imports.py", "world/v2/test_gallery.py", "world/v2/test_simulate.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the long files first."""
    place = {ROOT / "tests" / name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(LONG)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run this Python, warnings being errors, where the package under test can be imported."""
    import kineograph

    source = str(Path(kineograph.__file__).parents[1])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
            env=env,
            cwd=cwd,
        )

    return run
