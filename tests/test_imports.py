from __future__ import annotations

import ast
import importlib
import json

import pytest

# What neither planning nor refusing may wait for.
HEAVY = ("torch", "numpy", "einops", "jaxtyping", "safetensors", "tokenizers", "av", "PIL", "rich")
# What only the tests install: no module of ours may need it.
PEERS = ("diffusers", "transformers", "accelerate", "beartype", "pytest")

LIGHT_MODULES = (
    "kineograph",
    "kineograph.errors",
    "kineograph.request",
    "kineograph.resolving",
    "kineograph.sidecar",
    "kineograph.spec",
    "kineograph.presets",
    "kineograph.progress",
    "kineograph.flags",
    "kineograph.cli",
    "kineograph.__main__",
)

IMPORT_ALL = """
import json, logging, os, pkgutil, random, signal, sys, threading, warnings
import numpy, torch
def state():
    return {
        "environment": dict(os.environ),
        "folder": [os.getcwd(), sorted(os.listdir())],
        "handlers": [str(handler) for handler in logging.getLogger().handlers],
        "torch seed": torch.initial_seed(),
        "torch random": torch.random.get_rng_state().tolist(),
        "torch threads": torch.get_num_threads(),
        "torch dtype": str(torch.get_default_dtype()),
        "torch grad": torch.is_grad_enabled(),
        "torch determinism": torch.are_deterministic_algorithms_enabled(),
        "numpy random": str(numpy.random.get_state()),
        "python random": str(random.getstate()),
        "threads": threading.active_count(),
        "signals": str([signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]),
        "warnings": str(warnings.filters),
        "hooks": str([sys.excepthook, sys.meta_path]),
    }
before = state()
import kineograph
names = [m.name for m in pkgutil.walk_packages(kineograph.__path__, "kineograph.")]
for name in names:
    __import__(name)
after = state()
print(json.dumps({
    "names": names,
    "changed": [key for key in before if before[key] != after[key]],
    "peers": [name for name in sys.argv[1:] if name in sys.modules],
}))
"""


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_planning_and_refusing_import_nothing_heavy(run_python, module):
    done = run_python(
        "-c", f"import sys, {module}\nprint([n for n in {HEAVY + PEERS} if n in sys.modules])"
    )
    assert done.stderr == ""
    assert done.stdout == "[]\n"


def test_importing_the_package_costs_less_than_a_fifth_of_a_second(run_python):
    # CPU time, not the clock: a busy machine must not fail it.
    code = (
        "from time import process_time as now\n"
        "start = now()\n"
        "import kineograph, kineograph.request, kineograph.presets\n"
        "print(now() - start)"
    )
    assert float(run_python("-c", code).stdout) < 0.2


def test_importing_any_module_changes_nothing_else(run_python, tmp_path):
    done = run_python("-c", IMPORT_ALL, *PEERS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    seen = json.loads(done.stdout)  # so nothing else was printed
    assert {"kineograph.request", "kineograph.flow.solvers"} <= set(seen["names"])
    assert seen["changed"] == []
    assert seen["peers"] == []
    assert not list(tmp_path.iterdir())


def test_scripts_import_what_is_there(root):
    scripts = [p for name in ("benchmarks", "runs", "docs") for p in (root / name).rglob("*.py")]
    assert len(scripts) > 30
    for script in scripts:
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kineograph"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):  # then it is a module itself
                        importlib.import_module(f"{node.module}.{alias.name}")
