"""What is measured in numbers in a clip, by suite."""

from __future__ import annotations

from kineograph.evaluate.v2.clips import Clip
from kineograph.evaluate.v2.judges import Judges
from kineograph.evaluate.v2.suites import Prompt

MEASURES_VERSION = 1
HELD_TO: tuple[str, ...] = ()


def measure(suite: str, prompt: Prompt, clip: Clip, judges: Judges) -> dict[str, float | None]:
    """Return the numbers of a clip."""
    return {}
