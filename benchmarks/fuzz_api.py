"""Ask the whole API all that its OpenAPI document allows and forbids, and check what it answers.

    python benchmarks/fuzz_api.py --examples 100

A service of its own is started, with the generator that makes nothing; schemathesis sends examples,
the borders of every schema, random bodies good and bad, and chains of requests. What is checked,
and the few statuses that are allowed besides, is in benchmarks/fuzz_api.toml.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from databases import HELP, database_at, free_port

HERE = Path(__file__).parent


def main() -> int:
    """Start a service, ask it everything, and return what schemathesis made of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=100, help="random ones a route")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--only", help="regular expression of the paths to ask")
    parser.add_argument("--database", default="sqlite", help=HELP)
    args = parser.parse_args()
    with TemporaryDirectory(prefix="kineo-fuzz-") as folder, database_at(args.database) as url:
        port = free_port()
        serve = [sys.executable, "-m", "kineograph", "serve", "--data", folder, "--generator",
                 "fake", "--port", str(port), "--log", "error", "--database", url]  # fmt: skip
        service = subprocess.Popen(serve, env=os.environ | {"KINEO_FAKE_STEP": "0.001"})
        try:
            address = f"http://127.0.0.1:{port}/openapi.json"
            wait(address, service)
            ask = [Path(sys.executable).with_name("schemathesis"),
                   "--config-file", HERE / "fuzz_api.toml", "run", address,
                   "--max-examples", str(args.examples), "--seed", str(args.seed),
                   "--phases", args.phases, "--continue-on-failure"]  # fmt: skip
            if args.only:
                ask += ["--include-path-regex", args.only]
            return subprocess.run(ask).returncode
        finally:
            service.terminate()
            service.wait(60)


def wait(address: str, service: subprocess.Popen[bytes]) -> None:
    """Wait until the service answers."""
    end = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=10).close()
        except OSError:
            if service.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
