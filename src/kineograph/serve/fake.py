"""A generator without a model: deterministic, quick to start, and able to go wrong.

Each step hashes the state before it, so that the last one tells whether every step was made
once and in order; the video shows its bits. Words in the prompt bring faults about, such as
"[crash@3]": see `FAULTS`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from kineograph.errors import KineographError, RequestError
from kineograph.serve.runner import Tell
from kineograph.serve.task import Task

FAULTS = {
    "crash": "the process dies",
    "fail": "an error that may pass",
    "refuse": "an error that does not pass",
    "oom": "memory runs out",
    "full": "the disk is full",
    "hang": "nothing more happens",
    "once": "an error the first time alone",
}
_FAULT = re.compile(r"\[(" + "|".join(FAULTS) + r")@(\d+)\]")
SIDE = 64  # pixels
# Without what makes x264 read memory that nothing was written to; see `media.encoders`.
ENCODER = {"threads": "1", "preset": "ultrafast", "x264-params": "mbtree=0:sync-lookahead=0"}


class FakeGenerator:
    """Steps that take `step_seconds` each, and a small video of `frames` frames."""

    def __init__(self, step_seconds: float = 0.05, frames: int = 5) -> None:
        self.step_seconds, self.frames = step_seconds, frames

    @classmethod
    def from_environment(cls) -> FakeGenerator:
        """Return one as KINEO_FAKE_STEP (seconds) says."""
        return cls(float(os.environ.get("KINEO_FAKE_STEP", "0.05")))

    def make(
        self, task: Task, tell: Tell, show: Callable[[Path], None], warn: Callable[[str], None]
    ) -> None:
        """Write the video of a task; see `Generator`."""
        steps = int(task.request.get("steps") or 8)
        step, digest = self._begin(task)
        tell("load")
        tell("condition")
        tell("denoise", step, steps)
        while step < steps:
            self._fault(task, step)
            time.sleep(self.step_seconds)
            step, digest = step + 1, hashlib.sha256(digest).digest()
            _save(task.state, {"step": step, "digest": digest.hex()})
            if step % 4 == 0:
                preview = task.folder / "preview.jpg"
                Image.fromarray(_picture(digest)).save(preview, "JPEG")
                show(preview)
            tell("denoise", step, steps)
        if task.output.endswith(".png"):
            Image.fromarray(_picture(digest)).save(task.folder / task.output)
        else:
            self._write(task.folder / task.output, digest)
        tell("decode", self.frames, self.frames)

    def _begin(self, task: Task) -> tuple[int, bytes]:
        if task.state.exists():
            state = json.loads(task.state.read_text())
            return state["step"], bytes.fromhex(state["digest"])
        whole = {name: value for name, value in sorted(task.request.items())}
        for name in sorted(task.folder.glob("input-*")):
            whole[name.name] = hashlib.sha256(name.read_bytes()).hexdigest()
        digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).digest()
        _save(task.state, {"step": 0, "digest": digest.hex()})
        return 0, digest

    def _fault(self, task: Task, step: int) -> None:
        for kind, at in _FAULT.findall(str(task.request["prompt"])):
            if int(at) != step:
                continue
            mark = task.folder.parent / f"{task.id}.once"
            match kind:
                case "crash":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "fail":
                    raise KineographError(f"a fault was asked for at step {step}")
                case "refuse":
                    raise RequestError(f"a refusal was asked for at step {step}")
                case "oom":
                    raise MemoryError(f"a lack of memory was asked for at step {step}")
                case "full":
                    raise OSError(28, "No space left on device")
                case "hang":
                    time.sleep(1e6)
                case "once" if not mark.exists():
                    mark.touch()
                    raise KineographError(f"a fault was asked for, once, at step {step}")

    def _write(self, path: Path, digest: bytes) -> None:
        """Write a small video, the same bytes each time."""
        part = path.with_name(f".{path.name}")
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=12, options=dict(ENCODER))
            stream.width = stream.height = SIDE
            stream.pix_fmt = "yuv420p"
            for _ in range(self.frames):
                frame = av.VideoFrame.from_ndarray(_picture(digest), format="rgb24")
                container.mux(stream.encode(frame))
                digest = hashlib.sha256(digest).digest()
            container.mux(stream.encode())
        part.replace(path)


def _picture(digest: bytes) -> np.ndarray:
    """Return a picture of 16 x 16 squares, a bit each: black or white."""
    bits = np.unpackbits(np.frombuffer(digest, np.uint8)).reshape(16, 16)
    return np.repeat(np.repeat(bits * 255, SIDE // 16, 0), SIDE // 16, 1)[..., None].repeat(3, 2)


def _save(path: Path, state: dict[str, object]) -> None:
    part = path.with_name(f".{path.name}")
    part.write_text(json.dumps(state))
    part.replace(path)
