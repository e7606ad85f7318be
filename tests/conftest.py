"""What every test shares: checked signatures, no network, one request to vary."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook
from sqlalchemy import RowMapping

# Every annotation of ours is checked at run time, tensor shapes included; an int will do for
# a float, as static checkers have it. It must stand before the first import of kineograph, and
# takes its checker by name only: hence a module that exists in memory. A row of a database says
# what its keys are in words that only its own module knows: it is looked at as an object.
checker = ModuleType("kineograph_test_checker")
checker.__dict__["check"] = beartype(
    conf=BeartypeConf(
        is_pep484_tower=True, hint_overrides=FrozenDict({RowMapping: object})
    )
)
sys.modules[checker.__name__] = checker
install_import_hook("kineograph", f"{checker.__name__}.check")

# Of several workers, none takes the cores of the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The peers that tests compare with must not ask a hub for anything.
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parents[1]


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
