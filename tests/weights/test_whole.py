"""Whole clips of open weights by the command, however the run is made: near the plain one.

The command is called in this process, and where several make a clip, started by torchrun.
"""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from wan_rows import PRESETS, ROWS, random_modules, scaled, write_diffusers, write_original

from kineograph import cli

T2V, TI2V = "wan2.2-t2v-a14b", "wan2.2-ti2v-5b"


@pytest.fixture(scope="module")
def clips(tmp_path_factory, root):
    """Make a clip once: of a model, run in some way, by some processes."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINEOGRAPH_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", str(root / "src"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ROWS:
            patch.setitem(PRESETS, name, scaled(name))
        write_original(folder / T2V, PRESETS[T2V], random_modules(PRESETS[T2V]))
        write_diffusers(folder / TI2V, PRESETS[TI2V], random_modules(PRESETS[TI2V]))
        Image.linear_gradient("L").convert("RGB").save(folder / "first.png")
        known = {}

        def make(name, *flags, processes=1):
            given = (name, flags, processes)
            if given in known:
                return known[given]
            out = folder / f"clip{len(known)}"
            words = ["generate", "a red ball rolls", "--model", str(folder / name), "--device",
                     "cpu", "--seed", "5", "--steps", "8", "--format", "png", "-o", str(out),
                     *flags]  # fmt: skip
            words += ["--image", str(folder / "first.png")] if name == TI2V else []
            if processes == 1:
                assert cli.main(words) == 0
            else:
                team = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                        "--nproc-per-node", str(processes),
                        str(root / "tests/helpers/wan_rows.py")]  # fmt: skip
                ended = subprocess.run(
                    [*team, *words], capture_output=True, text=True, timeout=120, check=False
                )
                assert ended.returncode == 0, ended.stderr[-3000:]
            frames = [np.asarray(Image.open(path)) for path in sorted(out.iterdir())]
            known[given] = np.stack(frames).astype(float)
            return known[given]

        yield make


# The mean difference of a value, of 255: at least, since something else was computed, and at most.
WAYS = [
    pytest.param(T2V, ["--weights", "int8"], 1, (0.1, 2), id="int8"),
    pytest.param(T2V, ["--weights", "fp8"], 1, (0.2, 4), id="fp8"),
    pytest.param(T2V, [], 2, (0, 0.01), id="guidance by two processes"),
    pytest.param(TI2V, ["--shard", "--guidance-scale", "1"], 2, (0, 0.01), id="weights in shards"),
    pytest.param(T2V, ["--fit", "stream", "--guidance-batch", "on"], 1, (0, 0.01), id="streamed"),
]


@pytest.mark.parametrize(("name", "flags", "processes", "between"), WAYS)
def test_a_clip_is_near_that_of_the_plain_run(clips, name, flags, processes, between):
    plain = clips(name, *(f for f in flags if f in ("--guidance-scale", "1")))
    found = clips(name, *flags, processes=processes)
    assert found.shape == plain.shape and plain.std() > 5
    low, high = between
    off = float(np.abs(found - plain).mean())
    assert low <= off <= high, off
