"""Training of the second world's judges: `python -m kineograph.evaluate.v2.training --out FOLDER`.

Renders, trains the five networks, measures them on fresh renders, and writes the file with what
each reads right, in each kind of style. What is done is kept in FOLDER, so that the command
given again goes on; `--only scene` trains one network alone, beside another process.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.evaluate.fitting import Fitter, draw_weights
from kineograph.evaluate.judges import cut_crops
from kineograph.evaluate.soften import soften
from kineograph.evaluate.v2.files import default_path, load_judges, save_judges
from kineograph.evaluate.v2.found import MIN_PIXELS
from kineograph.evaluate.v2.judges import (
    CROP_FRAMES,
    CROP_HEADS,
    CROP_SIDE,
    FRAME_HEADS,
    MIRRORED_MOTIONS,
    MIRRORED_MOVES,
    MOTION_HEADS,
    SCENE_HEADS,
    Judges,
    scene_view,
    views,
)
from kineograph.evaluate.v2.pool import Shard, distinct, make_pool
from kineograph.evaluate.v2.seen import (
    COLOURLESS_CLASS,
    FRAMES,
    ORDERS,
    PIXEL_CLASSES,
    UNSURE,
    motion_class,
    then_class,
)
from kineograph.evaluate.v2.testing import measure
from kineograph.media.files import atomic_write
from kineograph.weights.header import sha256
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2.scene import PACED, Scene

NETWORKS = ("pixel", "crop", "scene", "frame", "motion")
SMALLEST = 60  # pixels of all frames together, that an object must show to be learnt from


@dataclass(frozen=True)
class JudgeRecipe:
    """How the judges are trained; steps of 24 frames, 96 crops, 24 clips, 48 frames, 24 objects."""

    clips: int = 6000
    skip: int = 0  # clips that are left out before the first
    pixel_steps: int = 8000
    crop_steps: int = 4000
    scene_steps: int = 3500
    frame_steps: int = 5000
    motion_steps: int = 8000
    test_clips: int = 300  # of each kind of style
    lr: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 5

    def shorter(self, share: float) -> JudgeRecipe:
        """Return the recipe with a share of its steps, 250 a network at least."""
        steps = {f"{name}_steps": getattr(self, f"{name}_steps") for name in NETWORKS}
        return replace(self, **{key: max(250, round(n * share)) for key, n in steps.items()})


def scene_labels(scene: Scene) -> list[int]:
    """Return the classes of what is true of a whole clip, in the order of SCENE_HEADS."""
    values = (
        scene.shots[0].camera.move, len(scene.objects), scene.floor, scene.sky, scene.weather,
        scene.style,
    )  # fmt: skip
    return [names.index(v) for names, v in zip(SCENE_HEADS.values(), values, strict=True)]


def object_labels(scene: Scene, i: int) -> list[int]:
    """Return the classes of an object: CROP_HEADS, then MOTION_HEADS; -100 where none is true."""
    o = scene.objects[i]
    paced = o.motion in PACED
    values = (
        o.shape, o.material, "yes", motion_class(scene, i), then_class(scene, i), ORDERS[o.order],
        o.speed if paced else None, o.size,
    )  # fmt: skip
    heads = (*CROP_HEADS.values(), *MOTION_HEADS.values())
    return [-100 if v is None else n.index(v) for n, v in zip(heads, values, strict=True)]


class Trainer(Fitter):
    """Trains one network after the other on a pool of clips."""

    def __init__(
        self, recipe: JudgeRecipe, pool: list[Shard], folder: Path, say: Callable[[str], None],
        start: Judges | None = None,
    ) -> None:  # fmt: skip
        super().__init__(folder, recipe.seed, recipe.lr, recipe.weight_decay, say)
        self.recipe, self.pool, self.judges = recipe, pool, Judges()
        draw_weights(self.judges, self.generator)
        if start is not None:
            self.judges.load_state_dict(start.state_dict())
        self.labels = [torch.tensor([scene_labels(s) for s in p.scenes]) for p in pool]
        self.things = [_things(shard) for shard in pool]
        self.looks: list[Tensor] = []
        self.shams: list[Tensor] = []

    def run(self, only: str | None = None) -> Judges:
        """Train all networks, or one, and what it needs."""
        r, j = self.recipe, self.judges
        if only in (None, "scene"):
            self.fit("scene", j.scene, r.scene_steps, self._scene_loss)
        if only in (None, "frame"):
            self.fit("frame", j.frame, r.frame_steps, self._frame_loss)
        if only not in ("scene", "frame"):
            self.fit("pixel", j.pixel, r.pixel_steps, self._pixel_loss)
        late = [n for n in ("crop", "motion") if only in (None, n)]
        if not all(self.has(name) for name in late):
            self._look()
        if "crop" in late:
            self.fit("crop", j.crop, r.crop_steps, self._crop_loss)
        if "motion" in late:
            self.fit("motion", j.motion, r.motion_steps, self._motion_loss)
        return j

    def _shard(self) -> int:
        return int(self.draw(len(self.pool), 1))

    def _soft(
        self, clips: Float[Tensor, "b t 3 h w"], parts: int = 8
    ) -> Float[Tensor, "b t 3 h w"]:
        """Return clips softened, some at a time."""
        return torch.cat([soften(p, self.rng, self.generator) for p in clips.split(parts)])

    def _soft_view(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        """Return a view of the motion judge with its colours softened, its masks as they are."""
        x = x.movedim(1, 2)
        return torch.cat((self._soft(x[:, :, :3]), x[:, :, 3:]), 2).movedim(2, 1)

    def _pixel_loss(self) -> Tensor:
        k = self._shard()
        shard = self.pool[k]
        clip, time = self.draw(len(shard.scenes), 24), self.draw(FRAMES, 24)
        x = self._soft(_signed(shard.frames[clip, time])[:, None]).flatten(0, 1)
        truth = shard.truth(clip, time).long()
        logits = self.judges.pixel(x)
        return F.cross_entropy(logits.float(), truth, ignore_index=UNSURE)

    def _look(self) -> None:
        """Look at every clip as the pixel judge sees it: half of them softened."""
        mark = sha256(self.folder / "pixel.pt")[:12]
        for n, shard in enumerate(self.pool):
            path = self.folder / f"look-{mark}-{n:04d}.npy"
            if not path.exists():
                self.begin(f"look {n}")
                with atomic_write(path) as file:
                    np.save(file, self._seen(shard).numpy())
            seen = torch.from_numpy(np.load(path, mmap_mode="c"))
            self.looks.append(seen)
            self.shams.append(_shams(shard, seen))
            if (n + 1) % 10 == 0:
                self.say(f"looked at {n + 1} of {len(self.pool)} shards")

    @torch.no_grad()
    def _seen(self, shard: Shard) -> UInt8[Tensor, "n t h w"]:
        """Return the classes of the pixels of a shard."""
        seen = torch.empty(shard.owners.shape, dtype=torch.uint8)
        for start in range(0, len(seen), 10):
            x = _signed(shard.frames[start : start + 10])
            if self.rng.random() < 0.5:
                x = soften(x, self.rng, self.generator)
            with torch.autocast("cpu", torch.bfloat16):
                found = self.judges.segment(x.flatten(0, 1))
            seen[start : start + 10] = found.unflatten(0, x.shape[:2])
        return seen

    def _objects(
        self, k: int, count: int, shams: int = 0
    ) -> tuple[Tensor, UInt8[Tensor, "b t h w"], Tensor]:
        """Draw objects of a shard: their rows (`_things`), masks, and masks of all objects.

        The last ones may be what the pixel judge took for objects and are none.
        """
        false = self.shams[k]
        shams = shams if len(false) else 0
        rows = self.things[k][self.draw(len(self.things[k]), count - shams)]
        if shams:
            rows = torch.cat((rows, false[self.draw(len(false), shams)]))
        seen = self.looks[k][rows[:, 0]]
        masks = seen == rows[:, 1][:, None, None, None]
        masks |= seen == rows[:, 2][:, None, None, None]
        return rows, masks.to(torch.uint8), seen > 0

    def _crop_loss(self) -> Tensor:
        k = self._shard()
        rows, seen, _ = self._objects(k, 96, shams=20)
        # one of the frames in which most of the object is seen: the others do not vote
        best = seen.sum((2, 3), dtype=torch.long).topk(CROP_FRAMES + 3, dim=1).indices
        time = best.gather(1, self.draw(CROP_FRAMES + 3, 96)[:, None])[:, 0]
        masks = seen[torch.arange(96), time].float()
        x = _signed(self.pool[k].frames[rows[:, 0], time])
        x = self._soft(x[:, None], 16).flatten(0, 1)
        crops = cut_crops(x, masks, CROP_SIDE)
        if self.rng.random() < 0.5:
            crops = crops.flip(-1)
        return _losses(self.judges.crop(crops), rows[:, 3:], CROP_HEADS)

    def _scene_loss(self) -> Tensor:
        k = self._shard()
        index = self.draw(len(self.pool[k].scenes), 24)
        labels = self.labels[k][index].clone()
        x = scene_view(_signed(self.pool[k].frames[index]))
        fine = x[:, :, 3:] * self.rng.choice((1.0, 1.0, self.rng.uniform(0.2, 1)))  # if softened
        x = torch.cat((self._soft(x[:, :, :3]), fine), 2).movedim(2, 1)
        if self.rng.random() < 0.5:
            x = x.flip(-1)
            labels[:, 0] = MIRRORED_MOVES[labels[:, 0]]
        logits = torch.cat(self.judges.scene(x), 1)
        return _losses(logits, labels, SCENE_HEADS)

    def _frame_loss(self) -> Tensor:
        k = self._shard()
        index, time = self.draw(len(self.pool[k].scenes), 48), self.draw(FRAMES, 48)
        x = self._soft(_signed(self.pool[k].frames[index, time])[:, None]).flatten(0, 1)
        if self.rng.random() < 0.5:
            x = x.flip(-1)
        columns = [list(SCENE_HEADS).index(name) for name in FRAME_HEADS]
        logits = torch.cat(self.judges.frame(x), 1)
        return _losses(logits, self.labels[k][index][:, columns], FRAME_HEADS)

    def _motion_loss(self) -> Tensor:
        k = self._shard()
        rows, masks, any_ = self._objects(k, 24)
        x = _signed(self.pool[k].frames[rows[:, 0]])
        # Neither the colours nor the place in the picture say what moves how.
        x = x[:, :, self.rng.sample(range(3), 3)]
        down, right = (
            (torch.arange(n) + self.rng.randint(-10, 10)).clamp(0, n - 1) for n in x.shape[-2:]
        )
        x, mine, others = (a[..., down[:, None], right] for a in (x, masks.float(), any_))
        moves = self.labels[k][rows[:, 0], 0]
        labels = rows[:, 3 + len(CROP_HEADS) :].clone()
        whole, near = (self._soft_view(v) for v in views(x, mine, others))
        if self.rng.random() < 0.5:
            whole, near = whole.flip(-1), near.flip(-1)
            labels[:, 0] = MIRRORED_MOTIONS[labels[:, 0]]
            moves = MIRRORED_MOVES[moves]
        answer, camera = self.judges.motion(whole, near)
        hint = F.cross_entropy(camera.float(), moves)
        return _losses(answer, labels, MOTION_HEADS) + 0.3 * hint


def _signed(frames: UInt8[Tensor, "*n h w 3"]) -> Float[Tensor, "*n 3 h w"]:
    return frames.movedim(-1, -3).float() / 127.5 - 1


def _things(shard: Shard) -> Tensor:
    """Return the objects that a judge can tell from the others: `n 11`.

    Clip, class of its pixels, class of those it turns into, labels.
    """
    rows = []
    for clip, scene in enumerate(shard.scenes):
        plain = scene.style in COLOURLESS
        if not distinct(scene) or (plain and len(scene.objects) > 1):
            continue
        for i in range(len(scene.objects)):
            shown = int((shard.owners[clip] == i + 1).sum())
            if shown >= SMALLEST:
                classes = shard.classes[clip, :, i + 1]
                known = classes[classes != UNSURE]
                first = COLOURLESS_CLASS if plain else int(known[0])
                rows.append([clip, first, int(known[-1]), *object_labels(scene, i)])
    return torch.tensor(rows)


def _shams(shard: Shard, seen: UInt8[Tensor, "n t h w"]) -> Tensor:
    """Return rows as `_things` for colours in a clip that no object of it has."""
    unknown = [-100] * (len(CROP_HEADS) - 1)
    label = [*unknown, CROP_HEADS["real"].index("no"), *[-100] * len(MOTION_HEADS)]
    rows = []
    for clip, scene in enumerate(shard.scenes):
        if scene.style in COLOURLESS:
            continue
        areas = torch.bincount(seen[clip].flatten().long(), minlength=PIXEL_CLASSES) / FRAMES
        known = set(shard.classes[clip].flatten().tolist())
        rows += [
            [clip, k, k, *label]
            for k in range(1, COLOURLESS_CLASS)
            if areas[k] >= MIN_PIXELS and k not in known
        ]
    return torch.tensor(rows)


def _losses(
    logits: Float[Tensor, "b _"], labels: Tensor, heads: dict[str, tuple[str, ...]]
) -> Tensor:
    """Return the sum of the cross entropies of some heads; labels of -100 are passed over."""
    parts = logits.float().split([len(n) for n in heads.values()], 1)
    return torch.stack(
        [
            F.cross_entropy(p, labels[:, i], ignore_index=-100, reduction="sum")
            / (labels[:, i] >= 0).sum().clamp_min(1)
            for i, p in enumerate(parts)
        ]
    ).sum()


def train(
    recipe: JudgeRecipe, folder: Path, out: Path, only: str | None = None,
    start: Path | None = None, keep: Collection[str] = (),
) -> None:  # fmt: skip
    """Train, from the networks of a file if one is given, measure, and write the judges to `out`.

    Those of `keep` stay as the file has them.

    Raises:
        RequestError: something is to be kept, and there is no file.
        WeightsError: `start` holds no judges.
    """
    if keep and start is None:
        raise RequestError(f"keep {' '.join(keep)} says nothing without start")
    folder.mkdir(parents=True, exist_ok=True)
    begin = monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"[{monotonic() - begin:5.0f} s] {line}\n")

    fitter = Fitter(folder, recipe.seed, recipe.lr, recipe.weight_decay, say)
    given = None if start is None else load_judges(start)[0]  # before anything is rendered
    if given is not None:
        for name in set(keep):
            if not fitter.has(name):
                fitter.give(name, given.get_submodule(name))
    judges = Judges()
    if all(fitter.has(name) for name in NETWORKS):
        for name, net in judges.named_children():
            fitter.take(name, net)
    else:
        pool = make_pool(folder, recipe.clips, say, skip=recipe.skip)
        judges = Trainer(recipe, pool, folder, say, given).run(only)
        if only is not None:
            return
    judges.eval().requires_grad_(False)
    for tensor in judges.parameters():  # measured as they are stored
        tensor.copy_(tensor.half().float() if tensor.ndim > 1 else tensor)
    rows = measure(judges, recipe.test_clips, say)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_judges(out, judges, rows, {"recipe": repr(recipe)})
    say(f"wrote {out}, {out.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    """Train the judges from the command line."""
    parser = argparse.ArgumentParser(description="Train the judges of the second world.")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in and resume from")
    parser.add_argument("--judges", type=Path, default=default_path(), help="file to write")
    parser.add_argument("--only", choices=NETWORKS, help="train this one and stop")
    parser.add_argument("--start", type=Path, help="judges to go on from; from nothing if unsaid")
    parser.add_argument(
        "--keep", nargs="+", choices=NETWORKS, default=(), help="networks of START left as they are"
    )
    recipe = JudgeRecipe()
    parser.add_argument("--clips", type=int, default=recipe.clips, help="clips to train on")
    parser.add_argument("--skip", type=int, default=0, help="clips to leave out before these")
    parser.add_argument("--share", type=float, default=1.0, help="share of the recipe's steps")
    parser.add_argument("--lr", type=float, default=recipe.lr, help="learning rate at its highest")
    args = parser.parse_args()
    recipe = replace(recipe, clips=args.clips, skip=args.skip, lr=args.lr).shorter(args.share)
    train(recipe, args.out, args.judges, args.only, args.start, args.keep)


if __name__ == "__main__":
    main()
