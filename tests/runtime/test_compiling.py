"""Compiled blocks make the same velocity within rounding, and hooks around them still run."""

# In a process of its own: the compiler cannot trace the checks that tests hang into signatures.
SCRIPT = """
import sys, torch
from kineograph.presets import TINY
from kineograph.runtime.compiling import compile_blocks
from kineograph.weights.folder import random_parts

dit, seen = random_parts(TINY)["dit"], []
config = dit.config
x = torch.randn(1, config.in_channels, 2, 4, 4, generator=torch.Generator().manual_seed(0))
context = torch.ones(1, config.text_len, config.text_dim)
dit.blocks[0].register_forward_pre_hook(lambda *_: seen.append("before"))
plain = dit.blocks[0].forward
with torch.no_grad():
    wanted = dit(x, torch.tensor([0.5]), context)
    compile_blocks(dit)
    found = dit(x, torch.tensor([0.5]), context)
assert dit.blocks[0].forward is not plain
torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
print(*seen)
"""


def test_compiled_blocks_make_the_same_velocity_and_keep_their_hooks(run_python, tmp_path):
    script = tmp_path / "compiled.py"
    script.write_text(SCRIPT)
    ended = run_python("-W", "default", str(script))
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.split() == ["before", "before"]
