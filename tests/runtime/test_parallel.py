"""Two processes make one clip: the same latent as one alone, within float32's rounding."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

# How a clip is made: its guidance, whether weights are in shards, whether a frame is known; and
# the sizes of the axes.
CASES = {
    "tokens": (1.0, False, False, [1, 2]),
    "guidance": (3.0, False, False, [2, 1]),
    "shards": (1.0, True, False, [1, 2]),
    "a frame known": (1.0, False, True, [1, 2]),
}
SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
from kineograph.generate import generate
from kineograph.pipeline import load
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.runtime.options import RunOptions
from kineograph.runtime.parallel import join_team, leave_team
out, picture, cases = sys.argv[1:]
plain = load("tiny")
made = {}
for name, (guidance, shard, known, _) in json.loads(cases).items():
    request = resolve(GenerationRequest("a red ball", model="tiny", seed=1, steps=2, num_frames=9,
        guidance_scale=guidance, aspect_ratio="16:9", image=picture if known else None), plain.spec)

    def latent(pipeline):
        states = []
        frames = generate(pipeline, request, on_step=states.append)
        next(frames)
        return states[-1].x

    options = RunOptions(device="cpu", shard=shard)
    team = join_team("cpu", guided=guidance != 1, heads=plain.spec.dit.num_heads)
    together = latent(load("tiny", options=options, team=team))
    if team.writes:
        made[name] = (latent(plain), together, [team.mesh.size(i) for i in (0, 1)])
leave_team()
if made:
    torch.save(made, out)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The latents of all cases: of one process alone, and of two together."""
    folder = tmp_path_factory.mktemp("team")
    script, out, picture = (folder / name for name in ("run.py", "out", "first.png"))
    script.write_text(SCRIPT)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(picture)
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(script), str(out), str(picture), json.dumps(CASES),
    ]  # fmt: skip
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return torch.load(out)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_latent_of_one(made, case):
    alone, together, sizes = made[case]
    assert sizes == CASES[case][-1]
    assert float((alone - together).abs().max()) < 1e-5 * float(alone.abs().max())


def test_two_processes_write_one_file_and_its_record(tmp_path):
    out = tmp_path / "clip.gif"
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "kineograph", "generate", "a red ball", "--model", "tiny", "--steps", "2",
        "--num-frames", "5", "--guidance-scale", "1", "--device", "cpu", "-o", str(out),
    ]  # fmt: skip
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.split() == [str(out)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.gif", "clip.json"]
    record = json.loads((tmp_path / "clip.json").read_text())
    assert record["made_on"]["processes"] == "1 x 2"
