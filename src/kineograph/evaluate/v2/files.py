"""The file of the second world's judges: weights, and how well each reads true renders."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError, safe_open

from kineograph.errors import WeightsError
from kineograph.evaluate.judges import half_state
from kineograph.evaluate.v2.judges import GATE, Judges
from kineograph.weights.files import save_tensors
from kineograph.world.v2.scene import VERSION

WEIGHTS = "judges-v2.safetensors"
# By kind of style, alone or `crowded`, and judge: "right" of "n".
OnTruth = dict[str, dict[str, dict[str, int]]]
FEWEST = 50  # answers, by which a judge is measured well enough to be asked
FEW = 2  # objects; with more, judges of objects are measured apart


def default_path() -> Path:
    """Return where the package keeps its judges."""
    return Path(str(files("kineograph"))) / "assets" / "judges" / WEIGHTS


def save_judges(
    path: Path, judges: Judges, on_truth: OnTruth, metadata: dict[str, str] | None = None
) -> None:
    """Write the judges' weights as float16, small tensors as float32."""
    told = {
        "format": "pt", "kind": "judges", "on_truth": json.dumps(on_truth),
        "world_version": str(VERSION),
    }  # fmt: skip
    save_tensors(path, half_state(judges), told | (metadata or {}))


def load_judges(path: Path | None = None) -> tuple[Judges, OnTruth]:
    """Return the judges and how well each reads true renders, in each kind of style.

    Raises:
        WeightsError: the file is missing, damaged, or of other networks.
    """
    path = default_path() if path is None else path
    if not path.is_file():
        raise WeightsError(
            f"judges {path} are missing; python -m kineograph.evaluate.v2.training trains them"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            state = {name: file.get_tensor(name).float() for name in names}
        on_truth: OnTruth = json.loads(metadata["on_truth"])
        if metadata["world_version"] != str(VERSION):
            raise ValueError(f"they know world {metadata['world_version']}, not {VERSION}")
        judges = Judges()
        judges.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path} holds no judges of this version: {line}") from None
    return judges.eval().requires_grad_(False), on_truth


def crowded(group: str) -> str:
    """Return under which name judges of objects are kept for clips of more than FEW objects."""
    return f"{group}, {FEW + 1} or more"


def trusted(on_truth: OnTruth, group: str, objects: int = 1) -> frozenset[str]:
    """Return the judges that read 95 % of true renders right, of a kind of style and crowd."""
    rows = on_truth.get(group, {})
    if objects > FEW:
        rows = rows | on_truth.get(crowded(group), {})
    enough = {n: row for n, row in rows.items() if row["n"] >= FEWEST}
    return frozenset(n for n, row in enough.items() if row["right"] >= GATE * row["n"])
