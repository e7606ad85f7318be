"""The generator of a worker's child: the models, kept loaded from one video to the next.

The one module of the service that imports torch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kineograph.decoding import decode
from kineograph.flow.sigmas import make_sigmas
from kineograph.flow.solvers import SamplerState
from kineograph.pipeline import Pipeline
from kineograph.produce import Event, open_pipeline, run
from kineograph.request import GenerationRequest, ResolvedRequest
from kineograph.runtime.options import RunOptions
from kineograph.runtime.parallel import Team
from kineograph.serve.runner import Tell
from kineograph.serve.task import Task
from kineograph.spec import ModelSpec

PREVIEW_SIDE = 256  # pixels of the longer side


class ModelGenerator:
    """Make videos with the models of this machine; `device` as the command takes it."""

    def __init__(self, device: str | None = None, threads: int = 0) -> None:
        self.options = RunOptions(device=device, repeatable=True)
        if threads:
            torch.set_num_threads(threads)
        self._key: object = None
        self._pipeline: Pipeline | None = None

    def make(
        self, task: Task, tell: Tell, show: Callable[[Path], None], warn: Callable[[str], None]
    ) -> None:
        """Write the video of a task, going on from its state where there is one."""
        request = GenerationRequest.from_dict({**task.request, "output": task.output})
        preview = _Preview(task.folder / "preview.jpg", show)

        def on_event(event: Event) -> None:
            if event.message is not None:
                warn(event.message)
            tell(event.stage, event.done, event.total)

        def opened(
            clip: ResolvedRequest, spec: ModelSpec, options: RunOptions,
            on_event: Callable[[Event], None], team: Team | None,
        ) -> Pipeline:  # fmt: skip
            preview.clip = clip
            preview.pipeline = self._opened(clip, spec, options, on_event, team)
            return preview.pipeline

        run(
            request, resume=True, options=self.options, on_event=on_event, opened=opened,
            on_state=preview.see,
        )  # fmt: skip

    def _opened(
        self, clip: ResolvedRequest, spec: ModelSpec, options: RunOptions,
        on_event: Callable[[Event], None], team: Team | None,
    ) -> Pipeline:  # fmt: skip
        """Return the model's pipeline: the one of the video before, or a new one in its place."""
        key = (spec.name, clip.lora, options)
        if self._pipeline is None or self._key != key:
            self._pipeline = None  # first, so that two models are never held at once
            gc.collect()
            self._pipeline = open_pipeline(clip, spec, options, on_event, team)
            self._key = key
        return self._pipeline


class _Preview:
    """What a video will look like, while it is denoised: its first frame, a few times.

    Between two states x moves by the velocity times the change of sigma; drawn on in a line to
    sigma 0 that is what the model holds for the clean latent now.
    """

    def __init__(self, path: Path, show: Callable[[Path], None]) -> None:
        self.path, self.show = path, show
        self.clip: ResolvedRequest | None = None
        self.pipeline: Pipeline | None = None
        self.before: tuple[int, Tensor] | None = None

    @torch.no_grad()
    def see(self, state: SamplerState) -> None:
        """Look at a state, and show a preview of every eighth of the way."""
        clip, pipeline = self.clip, self.pipeline
        if clip is None or pipeline is None:
            return
        index, first = state.index, state.x[:, :, :1].clone()
        before, self.before = self.before, (index, first)
        every = max(clip.steps // 8, 1)
        if before is None or before[0] != index - 1 or index % every or index >= clip.steps:
            return
        sigmas = make_sigmas(clip.steps, clip.shift, sigma_max=pipeline.spec.sigma_max)
        step = float(sigmas[index] - sigmas[index - 1])
        clean = before[1] - float(sigmas[index - 1]) * (first - before[1]) / step
        video = next(iter(decode(pipeline, clean)))
        frame = ((video[0, :, 0].float().clamp(-1, 1) + 1) * 127.5).byte()
        picture = Image.fromarray(frame.permute(1, 2, 0).cpu().numpy())
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        picture.save(self.path, "JPEG", quality=80)
        self.show(self.path)
