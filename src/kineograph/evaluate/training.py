"""Training of the judges: `python -m kineograph.evaluate.training --out FOLDER`.

About an hour on one core. Renders, trains the four networks, measures
them on fresh renders, and writes the file with what each reads right: one below 95 % is not
asked. What is done is kept in FOLDER, so that the command given again goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from kineograph.evaluate.fitting import Fitter, draw_weights
from kineograph.evaluate.judges import (
    CROP_FRAMES,
    MIRRORED_MOTIONS,
    MIRRORED_MOVES,
    SIDE,
    TIMES,
    Judges,
    Reading,
    cut_crops,
    default_path,
    follow,
    save_judges,
    true_reading,
    trusted,
)
from kineograph.evaluate.pool import TEST_SEED, Pool, judge_scene, make_pool
from kineograph.evaluate.soften import soften
from kineograph.models.vae import VideoVAE
from kineograph.weights.files import build
from kineograph.world.render import render
from kineograph.world.scene import Scene


@dataclass(frozen=True)
class JudgeRecipe:
    """How the judges are trained; steps of 48 frames, 128 crops, 24 clips and 24 objects."""

    clips: int = 24_000
    pixel_steps: int = 1500
    crop_steps: int = 1500
    scene_steps: int = 4000
    motion_steps: int = 9000
    test_clips: int = 600
    vae_clips: int = 1500
    lr: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 5
    compiled: bool = True  # the renderer, which takes minutes to compile and needs a C++ compiler


class Trainer(Fitter):
    """Trains one network after the other on a pool of clips."""

    def __init__(
        self, recipe: JudgeRecipe, pool: Pool, folder: Path, say: Callable[[str], None]
    ) -> None:
        super().__init__(folder, recipe.seed, recipe.lr, recipe.weight_decay, say)
        self.recipe, self.pool, self.judges = recipe, pool, Judges()
        self.labels, self.things = pool.labels(), pool.things()
        draw_weights(self.judges, self.generator)

    def run(self) -> Judges:
        r, fit = self.recipe, self.fit
        fit("pixel", self.judges.pixel, r.pixel_steps, self._pixel_loss)
        if not all(self.has(name) for name in ("crop", "motion")):
            self._look()  # for those who learn from what the pixel judge sees
        fit("crop", self.judges.crop, r.crop_steps, self._crop_loss)
        fit("scene", self.judges.scene, r.scene_steps, self._scene_loss)
        fit("motion", self.judges.motion, r.motion_steps, self._motion_loss)
        return self.judges.eval().requires_grad_(False)

    def _pixel_loss(self) -> Tensor:
        clip, time = self.draw(len(self.pool.frames), 48), self.draw(len(TIMES), 48)
        x = torch.cat(
            [self.pool.clips(i[None], self.rng, t[None]) for i, t in zip(clip, time, strict=True)]
        )
        x = torch.cat([soften(p, self.rng, self.generator) for p in x.split(12)])
        truth = self.pool.colours[clip, time].long()
        logits = self.judges.pixel(x.flatten(0, 1))
        return F.cross_entropy(logits.float(), truth)

    @torch.no_grad()
    def _look(self) -> None:
        """Replace the true colours by what the pixel judge sees, half of it in softened clips."""
        self.begin("look")
        for start in range(0, len(self.pool.frames), 20):
            index = torch.arange(start, min(start + 20, len(self.pool.frames)))
            x = self.pool.clips(index, self.rng)
            if self.rng.random() < 0.5:
                x = soften(x, self.rng, self.generator)
            with torch.autocast("cpu", torch.bfloat16):
                seen = self.judges.segment(x.flatten(0, 1))
            self.pool.colours[index] = seen.view(self.pool.colours[index].shape)
        self.say("looked at every clip")

    def _crop_loss(self) -> Tensor:
        rows = self.things[self.draw(len(self.things), 128)]
        seen = self.pool.colours[rows[:, 0]] == (rows[:, 1] + 1)[:, None, None, None]
        # one of the frames in which most of the object is seen: the others do not vote
        best = seen.sum((2, 3)).topk(CROP_FRAMES + 2, dim=1).indices
        time = best.gather(1, self.draw(CROP_FRAMES + 2, 128)[:, None])[:, 0]
        masks = seen[torch.arange(128), time].float()
        x = torch.cat(
            [self.pool.clips(r[:1], self.rng, t[None]) for r, t in zip(rows, time, strict=True)]
        )
        x = torch.cat([soften(p, self.rng, self.generator) for p in x.split(16)]).flatten(0, 1)
        crops = cut_crops(x, masks)
        if self.rng.random() < 0.5:
            crops = crops.flip(-1)
        return F.cross_entropy(self.judges.crop(crops).float(), rows[:, 2])

    def _scene_loss(self) -> Tensor:
        index = self.draw(len(self.pool.frames), 24)
        x, labels = self.pool.clips(index, self.rng), self.labels[index].clone()
        x = torch.cat([soften(p, self.rng, self.generator) for p in x.split(8)])
        if self.rng.random() < 0.5:
            x = x.flip(-1)
            labels[:, 0] = MIRRORED_MOVES[labels[:, 0]]
        logits = self.judges.scene(rearrange(x, "b t c h w -> b c t h w"))
        losses = [F.cross_entropy(a.float(), labels[:, i]) for i, a in enumerate(logits)]
        return torch.stack(losses).sum()

    def _motion_loss(self) -> Tensor:
        rows = self.things[self.draw(len(self.things), 24)]
        x, motions = self.pool.clips(rows[:, 0], self.rng), rows[:, 3]
        moves = self.labels[rows[:, 0], 0]
        x = torch.cat([soften(p, self.rng, self.generator) for p in x.split(8)])
        # Neither the colours nor the place in the picture say what moves how.
        x = x[:, :, self.rng.sample(range(3), 3)]
        colours = self.pool.colours[rows[:, 0]]
        mine = (colours == (rows[:, 1] + 1)[:, None, None, None]).float()
        crops = follow(x, mine)
        x = torch.cat((x.transpose(1, 2), torch.stack((mine, colours > 0), 1).float()), 1)
        down, right = (
            (torch.arange(SIDE) + self.rng.randint(-6, 6)).clamp(0, SIDE - 1) for _ in range(2)
        )
        x = x[..., down[:, None], right]
        if self.rng.random() < 0.5:
            x, crops, motions = x.flip(-1), crops.flip(-1), MIRRORED_MOTIONS[motions]
            moves = MIRRORED_MOVES[moves]
        motion, camera = self.judges.motion(x, crops)
        hint = F.cross_entropy(camera.float(), moves)
        return F.cross_entropy(motion.float(), motions) + 0.3 * hint


def finished(folder: Path) -> Judges | None:
    """Return the judges of a folder in which all four networks have been trained."""
    judges = Judges()
    for name, net in judges.named_children():
        path = folder / f"{name}.pt"
        if not path.exists():
            return None
        net.load_state_dict(torch.load(path, weights_only=True))
    return judges.eval().requires_grad_(False)


def compare(scene: Scene, reading: Reading) -> dict[str, list[bool]]:
    """Return, by judge, what is right in the reading of a clip of a scene."""
    truth = true_reading(scene)
    found = {o.colour: o for o in reading.objects}
    right: dict[str, list[bool]] = {
        name: [getattr(truth, name) == getattr(reading, name)]
        for name in ("count", "floor", "sky", "camera")
    }
    seen = [(o, found.get(o.colour)) for o in truth.objects]
    # a colour that no object has is as wrong as one that is missed
    wrong = [False] * sum(name not in {o.colour for o in truth.objects} for name in found)
    right["colour"] = [f is not None for _, f in seen] + wrong
    right["shape"] = [f is not None and f.shape == o.shape for o, f in seen]
    right["motion"] = [f is not None and f.motion == o.motion for o, f in seen]
    return right


def measure(
    judges: Judges,
    clips: int,
    generator: torch.Generator | None = None,
    *,
    compiled: bool = False,
) -> tuple[dict[str, dict[str, int]], list[tuple[Scene, Reading]]]:
    """Read fresh renders, softened where a generator is given; return counts and readings."""
    scenes = [judge_scene(TEST_SEED + i, twins=False) for i in range(clips)]
    pairs: list[tuple[Scene, Reading]] = []
    for start in range(0, clips, 100):
        some = scenes[start : start + 100]
        video, _ = render(some, TIMES, SIDE, SIDE, compiled=compiled)
        x = rearrange(video, "b t h w c -> b t c h w").float() / 127.5 - 1
        for i in range(0, len(some), 10):
            part = x[i : i + 10]
            if generator is not None:
                part = soften(part, random.Random(f"test {start + i}"), generator)
            pairs += zip(some[i : i + 10], judges.read(part), strict=True)
    rows: dict[str, dict[str, int]] = {}
    for scene, reading in pairs:
        for name, right in compare(scene, reading).items():
            row = rows.setdefault(name, {"right": 0, "n": 0})
            row["right"] += sum(right)
            row["n"] += len(right)
    return rows, pairs


def train(recipe: JudgeRecipe, folder: Path, out: Path, vae_path: Path | None) -> None:
    """Train, measure, and write the judges to `out`; raises `KineographError` if none passes."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"[{monotonic() - begin:5.0f} s] {line}\n")

    vae = None if vae_path is None else build("vae", vae_path)
    assert vae is None or isinstance(vae, VideoVAE)
    if vae is None:
        recipe = replace(recipe, vae_clips=0)
    judges = finished(folder)
    if judges is None:
        pool = make_pool(
            folder, recipe.clips, vae, recipe.vae_clips, say, compiled=recipe.compiled
        )
        judges = Trainer(recipe, pool, folder, say).run()
    for tensor in judges.parameters():  # measured as they are stored
        tensor.copy_(tensor.half().float() if tensor.ndim > 1 else tensor)
    rows, _ = measure(judges, recipe.test_clips, compiled=recipe.compiled)
    generator = torch.Generator().manual_seed(0)
    softened, _ = measure(judges, recipe.test_clips, generator, compiled=recipe.compiled)
    for name, row in rows.items():
        soft = softened[name]
        say(
            f"{name}: {row['right'] / row['n']:.3f} of {row['n']} true renders, "
            f"{soft['right'] / soft['n']:.3f} softened"
        )
    good = trusted(rows)
    for name in sorted(set(rows) - good):
        say(f"{name} is below the gate and will not be asked")
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"on_softened": json.dumps(softened), "recipe": repr(recipe)}
    save_judges(out, judges, rows, metadata)
    say(f"wrote {out}, {out.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Train the judges from the command line."""
    parser = argparse.ArgumentParser(description="Train the judges on renders of the world.")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in and resume from")
    parser.add_argument("--vae", type=Path, help="vae.safetensors whose output to train on as well")
    parser.add_argument("--judges", type=Path, default=default_path(), help="file to write")
    args = parser.parse_args()
    train(JudgeRecipe(), args.out, args.judges, args.vae)


if __name__ == "__main__":
    main()
