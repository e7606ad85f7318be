"""What the command shows as tables: the models that there are, and what a clip will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kineograph.presets import DEFAULT_MODEL

if TYPE_CHECKING:
    from kineograph.runtime.plan import Plan
    from kineograph.weights.folder import Entry


def show_plan(plan: Plan) -> None:
    """Print the stages of a plan."""
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "10^12 operations", "seconds", "GB on the device")
    for stage in plan.stages:
        size = stage.on_device(plan.fit, plan.weight_bytes)
        table.add_row(
            stage.name, f"{stage.operations / 1e12:.3g}", f"{stage.seconds:.3g}",
            f"{size / 1e9:.2f}",
        )  # fmt: skip
    Console().print(table)


def show_models(rows: list[dict[str, Any]]) -> None:
    """Print the inventory, as `model_row` has each of its entries."""
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "parameters", "on disk", "length", "size", "licence", "weights")
    for row in rows:
        name, here = row["name"], row["here"]
        table.add_row(
            f"{name} (default)" if name == DEFAULT_MODEL else name,
            f"{row['parameters'] / 1e6:.1f} M" if here else "-",
            f"{row['bytes'] / 1e6:.1f} MB" if here else "-",
            f"{row['durations'][0]:.2g} to {row['durations'][-1]:.2g} s",
            next(f"{size} at {ratio}" for ratio, size in row["sizes"].items()),
            row["licence"],
            "here" if here else f"not here: {row['source']}",
        )
    Console().print(table)


def model_row(entry: Entry) -> dict[str, Any]:
    """Return an entry of the inventory as JSON has it."""
    spec = entry.spec
    return {
        "name": spec.name,
        "summary": spec.summary,
        "parameters": entry.parameters,
        "bytes": entry.bytes,
        "fps": spec.fps,
        "delivered_fps": spec.out_fps,
        "num_frames": spec.allowed_frames(),
        "durations": [frames / spec.fps for frames in spec.allowed_frames()],
        "sizes": {ratio: f"{s.out_width}x{s.out_height}" for ratio, s in spec.sizes.items()},
        "languages": list(spec.languages),
        "licence": spec.licence,
        "source": spec.source,
        "here": entry.folder is not None,
    }
