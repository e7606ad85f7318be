"""What lies beside a clip: a JSON file that makes its frames again.

It is written whole or not at all, and read as a stranger's: bounded, and refused by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kineograph import __version__
from kineograph.errors import RequestError, shown
from kineograph.outputs import renamed
from kineograph.request import GenerationRequest, ResolvedRequest

MAX_SIDECAR_BYTES = 1 << 20


@dataclass(frozen=True)
class Sidecar:
    """What lies beside a clip as JSON: enough to make its frames again, and what it cost."""

    request: ResolvedRequest
    timings: dict[str, float]  # seconds a stage
    weights: dict[str, str]  # sha256 a file
    warnings: list[str]  # for one: words that the model does not know
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        data = asdict(self)
        return {"kineograph": data.pop("version")} | data

    @classmethod
    def from_dict(cls, data: object) -> Sidecar:
        """Read what `to_dict` wrote; raises `RequestError`."""
        parts = {"kineograph": str, "request": dict, "timings": dict, "weights": dict}
        if not isinstance(data, Mapping):
            raise RequestError(f"a sidecar must be an object of fields, not {shown(data)}")
        for name, kind in (parts | {"warnings": list}).items():
            if not isinstance(data.get(name), kind):
                raise RequestError(f"{name!r} is missing or not of type {kind.__name__}")
        return cls(
            request=ResolvedRequest.from_dict(data["request"]),
            timings=data["timings"],
            weights=data["weights"],
            warnings=data["warnings"],
            version=data["kineograph"],
        )


def sidecar_path(request: ResolvedRequest) -> Path:
    """Return where the sidecar of a clip lies: clip.json beside clip.mp4 or the folder clip."""
    return renamed(request.output, request.format, ending=".json")


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Write a sidecar whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        text = json.dumps(sidecar.to_dict(), ensure_ascii=False, indent=2) + "\n"
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar; raises `OSError` if there is none, `RequestError` if it is not one."""
    with path.open("rb") as file:
        raw = file.read(MAX_SIDECAR_BYTES + 1)
    try:
        if len(raw) > MAX_SIDECAR_BYTES:
            raise RequestError(f"longer than {MAX_SIDECAR_BYTES} bytes")
        return Sidecar.from_dict(json.loads(raw))
    except (RequestError, ValueError, RecursionError) as error:
        raise RequestError(f"{path} is not a sidecar of kineograph: {error}") from None


def request_from_sidecar(path: Path) -> GenerationRequest:
    """Return the request that makes a recorded clip again, beside it, as NAME-again."""
    resolved = read_sidecar(path).request
    again = path.with_name(renamed(resolved.output, resolved.format, "-again").name)
    return replace(resolved.as_request(), output=str(again))
