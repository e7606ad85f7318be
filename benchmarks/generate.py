"""Time and memory of `kineo generate` as a user meets them: whole processes, start included.

    python benchmarks/generate.py [--model nano] [--resolution 256] [--runs 3]

Prints, for each run, the wall-clock seconds and the peak memory of the process, and the seconds
of each stage as its sidecar has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT = "a red ball bounces on a checkered floor"


def main() -> None:
    """Generate the README's clip a few times and print what each run cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--resolution", help="of those that the model delivers")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    command = [sys.executable, "-m", "kineograph", "generate", PROMPT, "--model", args.model]
    command += ["--resolution", args.resolution] if args.resolution else []
    for run in range(args.runs):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "clip.mp4"
            start = time.monotonic()
            process = subprocess.Popen(
                [*command, "--seed", "1", "-o", str(out)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - start
            if status:
                sys.exit(f"kineo generate failed with status {os.waitstatus_to_exitcode(status)}")
            timings = json.loads(out.with_suffix(".json").read_text())["timings"]
        stages = ", ".join(f"{name} {value:.2f}" for name, value in timings.items())
        peak = usage.ru_maxrss / 1024
        print(f"run {run + 1}: {seconds:.1f} s, peak {peak:.0f} MiB; {stages}", flush=True)


if __name__ == "__main__":
    main()
