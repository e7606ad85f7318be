"""Two processes make one clip: the same latent as one alone, within float32's rounding."""

import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys, torch
from dataclasses import replace
torch.set_num_threads(1)
from kineograph.generate import generate
from kineograph.pipeline import load
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.runtime.options import RunOptions
from kineograph.runtime.parallel import join_team, leave_team
folder, guidance, shard, image = sys.argv[1:]
options = RunOptions(device="cpu", shard=shard == "shard")
spec = load("tiny").spec
request = resolve(GenerationRequest("a red ball", model="tiny", seed=1, steps=2, num_frames=9,
    guidance_scale=float(guidance), aspect_ratio="16:9", image=image or None), spec)

def latent(pipeline):
    states = []
    frames = generate(pipeline, request, on_step=states.append)
    next(frames)
    return states[-1].x

alone = latent(load("tiny"))
team = join_team("cpu", guided=float(guidance) != 1, heads=spec.dit.num_heads)
together = latent(load("tiny", options=options, team=team))
if team.writes:
    torch.save((alone, together, [team.mesh.size(i) for i in (0, 1)]), folder)
leave_team()
"""


@pytest.mark.parametrize(
    ("guidance", "shard", "image", "axes"),
    [("1", "", False, [1, 2]), ("3", "", False, [2, 1]), ("1", "shard", False, [1, 2]),
     ("1", "", True, [1, 2])],
    ids=["tokens", "guidance", "shards", "a frame known"],
)  # fmt: skip
def test_two_processes_make_the_latent_of_one(tmp_path, guidance, shard, image, axes):
    from PIL import Image

    script, out, path = tmp_path / "run.py", tmp_path / "out", ""
    script.write_text(SCRIPT)
    if image:
        path = str(tmp_path / "first.png")
        Image.new("RGB", (64, 64), (200, 30, 30)).save(path)
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(script), str(out), guidance, shard, path,
    ]  # fmt: skip
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    alone, together, sizes = torch.load(out)
    assert sizes == axes
    assert float((alone - together).abs().max()) < 1e-5 * float(alone.abs().max())


def test_two_processes_write_one_file_and_its_record(tmp_path):
    import json

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
