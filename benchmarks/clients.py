"""Run the tests of OpenAI's client against several of its versions, each in a place of its own.

python benchmarks/clients.py             # 2.24 and the newest
python benchmarks/clients.py 2.24.* 3.*
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
VERSIONS = ("2.24.*", "")  # of openai; "" is the newest


def main() -> int:
    """Run them all; the exit status says whether one has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    failed = [version for version in parser.parse_args().versions if not passes(version)]
    return 1 if failed else 0


def passes(version: str) -> bool:
    """Install a version of the client and run the tests with it before all else on the path."""
    wanted = f"openai=={version}" if version else "openai"
    with TemporaryDirectory(prefix="kineo-clients-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
        subprocess.run(pip, check=True)
        ask = "import openai, sysconfig; print(openai.__version__, sysconfig.get_path('purelib'))"
        found = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
        installed, packages = found.stdout.split()
        tests = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/serve/test_clients.py", "-q", "-rs"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": packages},
        )
    print(f"openai {installed}: {'passes' if tests.returncode == 0 else 'FAILS'}", flush=True)
    return tests.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
