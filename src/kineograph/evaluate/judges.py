"""Judges: what objects, motions, floor, sky and camera move a clip shows, read from its pixels.

The networks are trained on renders (`training.py`) before any model is measured, and are then
frozen. None is used that reads fewer than 95 % of true renders right. A clip is seen at 64 x 64
pixels, 13 frames over 2.4 s. Objects are told apart by colour: one of ten, and two of the same
colour are one to all judges but the count's.

Letters: b clips, t frames, h height, w width, n frames of any clips.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kineograph.errors import KineographError, RequestError, WeightsError
from kineograph.evaluate.nets import ClipNet, CropNet, MotionNet, PixelNet
from kineograph.weights.files import save_tensors
from kineograph.world.scene import (
    CAMERA_MOVES,
    COLOURS,
    FLOORS,
    SHAPES,
    SKIES,
    WORLD_VERSION,
    Scene,
)

SIDE = 64  # pixels of a judged frame, each way
TIMES = np.arange(13) / 5  # s, of the judged frames
COUNTS = (1, 2, 3)
MOTION_CLASSES = (
    "still", "fall", "move left", "move right", "throw left", "throw right", "spin",
    "collide left", "collide right", "struck left", "struck right",
)  # fmt: skip


def _mirrored(names: tuple[str, ...]) -> Tensor:
    """Return, for each class, the index of the class that a mirror shows."""
    swap = {"left": "right", "right": "left"}
    other = [" ".join(swap.get(word, word) for word in name.split()) for name in names]
    return torch.tensor([names.index(name) for name in other])


MIRRORED_MOVES = _mirrored(CAMERA_MOVES)
MIRRORED_MOTIONS = _mirrored(MOTION_CLASSES)
GATE = 0.95  # share of true renders that a judge must read right
CROP_FRAMES = 5  # frames that vote on a shape
# Mean area of a colour, in judged pixels, from which on it is an object: below lie flickers at
# edges and in mirrors (200 clips of the judges' own seeds, looked at before they were tested).
MIN_PIXELS = 11.0
WEIGHTS = "judges.safetensors"


@dataclass(frozen=True)
class ObjectReading:
    """One object as the judges see it; `area` is its mean number of judged pixels."""

    colour: str
    shape: str
    motion: str  # of MOTION_CLASSES
    area: float


@dataclass(frozen=True)
class Reading:
    """What the judges see in one clip; objects largest first."""

    count: int
    floor: str
    sky: str
    camera: str
    objects: tuple[ObjectReading, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reading:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "objects": tuple(ObjectReading(**o) for o in data["objects"])})


def motion_class(scene: Scene, index: int) -> str:
    """Return the class of an object's motion; rolling and sliding are one: shapes decide which."""
    thing = scene.objects[index]
    if thing.struck:
        runner = next(o for o in scene.objects if o.motion == "collide")
        return f"struck {runner.direction}"
    name = "move" if thing.motion in ("roll", "slide") else thing.motion
    return name if thing.direction is None else f"{name} {thing.direction}"


def true_reading(scene: Scene) -> Reading:
    """Return what perfect judges would read in a clip of a scene."""
    things = tuple(
        ObjectReading(o.colour, o.shape, motion_class(scene, i), 0.0)
        for i, o in enumerate(scene.objects)
    )
    return Reading(len(things), scene.floor, scene.sky, scene.camera.move, things)


def judged(video: UInt8[np.ndarray, "t h w 3"], fps: float) -> Float[Tensor, "13 3 64 64"]:
    """Return the frames of a square clip that judges look at, in [-1, 1].

    Raises `RequestError` for a clip that is not square or too short.
    """
    t, height, width, _ = video.shape
    index = np.round(TIMES * fps).astype(int)
    if height != width or height < SIDE:
        raise RequestError(f"clips of {width}x{height} cannot be judged; 64x64 or larger squares")
    if index[-1] >= t:
        raise RequestError(f"{t} frames at {fps:g} fps cannot be judged; 2.4 s are needed")
    return to_side(video[index])


def to_side(frames: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n 3 64 64"]:
    """Return square frames in [-1, 1] at the judged size, averaged over area."""
    x = rearrange(torch.from_numpy(frames), "n h w c -> n c h w").float() / 127.5 - 1
    return x if x.shape[-1] == SIDE else F.interpolate(x, (SIDE, SIDE), mode="area")


def cut_crops(
    frames: Float[Tensor, "n 3 h w"], masks: Float[Tensor, "n h w"], size: int = 32
) -> Float[Tensor, "n 4 s s"]:
    """Return crops around masks, as large as their objects and the mask as a fourth channel."""
    n, height, width = masks.shape
    area = masks.sum((1, 2)).clamp_min(1)
    x = (masks.sum(1) @ torch.arange(width).float()) / area
    y = (masks.sum(2) @ torch.arange(height).float()) / area
    half = (1.5 * area.sqrt()).clamp(6, 0.6875 * size)
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    at_x = (x[:, None] + half[:, None] * line + 0.5) * (2 / width) - 1
    at_y = (y[:, None] + half[:, None] * line + 0.5) * (2 / height) - 1
    grid = torch.stack(
        [at_x[:, None, :].expand(n, size, size), at_y[:, :, None].expand(n, size, size)], -1
    )
    source = torch.cat((frames, masks[:, None]), 1)
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False)


def follow(
    clips: Float[Tensor, "b t 3 h w"], masks: Float[Tensor, "b t h w"]
) -> Float[Tensor, "b 4 t 32 32"]:
    """Return crops that follow objects through their clips; a corner where one is not seen."""
    crops = cut_crops(clips.flatten(0, 1), masks.flatten(0, 1))
    return rearrange(crops, "(b t) c h w -> b c t h w", b=len(clips))


class Judges(nn.Module):
    """The four networks, and how a clip is read with them."""

    def __init__(self) -> None:
        super().__init__()
        self.pixel = PixelNet(1 + len(COLOURS))
        self.crop = CropNet(len(SHAPES))
        self.scene = ClipNet(3, (len(CAMERA_MOVES), len(COUNTS), len(FLOORS), len(SKIES)))
        self.motion = MotionNet(len(MOTION_CLASSES), len(CAMERA_MOVES))

    @torch.no_grad()
    def segment(self, frames: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n h w"]:
        """Return 0 for background, 1 + the colour's index for an object."""
        parts = [self.pixel(part).argmax(1).to(torch.uint8) for part in frames.split(64)]
        return torch.cat(parts)

    @torch.no_grad()
    def read(self, clips: Float[Tensor, "b 13 3 64 64"]) -> list[Reading]:
        """Read judged frames (`judged`) of clips."""
        b, t = clips.shape[:2]
        colours = self.segment(clips.flatten(0, 1)).unflatten(0, (b, t))
        answers = [a.argmax(1).tolist() for a in self._scenes(clips.transpose(1, 2))]
        found: list[tuple[int, int, float]] = []
        for clip in range(b):
            counts = torch.bincount(colours[clip].flatten().long(), minlength=len(COLOURS) + 1)
            areas = counts[1:].float() / t
            order = areas.argsort(descending=True)[: len(COUNTS)].tolist()
            # The largest is an object however small: some answer must stand.
            kept = [k for i, k in enumerate(order) if i == 0 or areas[k] >= MIN_PIXELS]
            found += [(clip, k, float(areas[k])) for k in kept]
        things: dict[int, list[ObjectReading]] = {clip: [] for clip in range(b)}
        for part in (found[i : i + 16] for i in range(0, len(found), 16)):
            which = [clip for clip, _, _ in part]
            keys = torch.tensor([1 + k for _, k, _ in part], dtype=torch.uint8)
            masks = (colours[which] == keys[:, None, None, None]).float()
            shapes = self._shapes(clips[which], masks)
            seen = torch.stack((masks, (colours[which] > 0).float()), 1)
            whole = torch.cat((clips[which].transpose(1, 2), seen), 1)
            views = (whole, follow(clips[which], masks))
            # In a mirror left is right: two views of each clip vote.
            plain = self.motion(*views)[0].log_softmax(1)
            mirrored = self.motion(*(view.flip(-1) for view in views))[0].log_softmax(1)
            motions = (plain + mirrored[:, MIRRORED_MOTIONS]).argmax(1).tolist()
            for (clip, k, area), shape, motion in zip(part, shapes, motions, strict=True):
                things[clip].append(
                    ObjectReading(COLOURS[k], SHAPES[shape], MOTION_CLASSES[motion], area)
                )
        camera, count, floor, sky = answers
        return [
            Reading(
                COUNTS[count[i]], FLOORS[floor[i]], SKIES[sky[i]], CAMERA_MOVES[camera[i]],
                tuple(things[i]),
            )
            for i in range(b)
        ]  # fmt: skip

    def _scenes(self, x: Float[Tensor, "b 3 t h w"]) -> tuple[Float[Tensor, "b _"], ...]:
        """Return votes on camera move, count, floor and sky, of each clip and its mirror image."""
        camera, *others = self.scene(x.flip(-1))
        mirrored = (camera[:, MIRRORED_MOVES], *others)
        pairs = zip(self.scene(x), mirrored, strict=True)
        return tuple(a.log_softmax(1) + b.log_softmax(1) for a, b in pairs)

    @torch.no_grad()
    def rows(self, frames: Float[Tensor, "t 3 h w"], colour: str) -> Float[np.ndarray, " t"]:
        """Return the row, in pixels from the top, of the middle of a colour in every frame.

        Pixels weigh as much as they are thought to be of the colour. NaN where none is.
        """
        key = 1 + COLOURS.index(colour)
        chance = torch.cat([self.pixel(part).softmax(1)[:, key] for part in frames.split(64)])
        weight = torch.where(chance > 0.3, chance, 0).sum(2)
        middle = torch.arange(weight.shape[1]) + 0.5
        total = weight.sum(1)
        return torch.where(total > 1, (weight @ middle) / total, torch.nan).double().numpy()

    def _shapes(
        self, clips: Float[Tensor, "b t 3 h w"], masks: Float[Tensor, "b t h w"]
    ) -> list[int]:
        """Let the frames in which most of an object is seen vote on its shape."""
        best = masks.sum((2, 3)).topk(CROP_FRAMES, dim=1).indices
        rows = torch.arange(len(clips))[:, None]
        crops = cut_crops(clips[rows, best].flatten(0, 1), masks[rows, best].flatten(0, 1))
        votes = self.crop(crops).log_softmax(1).unflatten(0, (len(clips), CROP_FRAMES))
        return votes.sum(1).argmax(1).tolist()


def read_videos(
    judges: Judges, videos: Sequence[UInt8[np.ndarray, "t h w 3"]], fps: float
) -> list[Reading]:
    """Read whole clips, a few at a time."""
    readings: list[Reading] = []
    for start in range(0, len(videos), 16):
        batch = [judged(video, fps) for video in videos[start : start + 16]]
        readings += judges.read(torch.stack(batch))
    return readings


def default_path() -> Path:
    """Return where the package keeps its judges."""
    return Path(str(files("kineograph"))) / "assets" / "judges" / WEIGHTS


def half_state(judges: nn.Module) -> dict[str, Tensor]:
    """Return weights as float16, small tensors as float32: what is written to a file."""
    state = judges.state_dict()
    return {name: t.half() if t.ndim > 1 else t for name, t in state.items()}


def save_judges(
    path: Path, judges: Judges, on_truth: dict[str, Any], metadata: dict[str, str] | None = None
) -> None:
    """Write the judges' weights as float16, small tensors as float32."""
    told = {
        "format": "pt",
        "kind": "judges",
        "on_truth": json.dumps(on_truth),
        "world_version": str(WORLD_VERSION),
    }
    save_tensors(path, half_state(judges), told | (metadata or {}))


def load_judges(path: Path | None = None) -> tuple[Judges, dict[str, Any]]:
    """Return the judges and how well each reads true renders: {"colour": {"right", "n"}...}.

    Raises:
        WeightsError: the file is missing, damaged, or of other networks.
        KineographError: no judge reads 95 % of true renders right.
    """
    path = default_path() if path is None else path
    if not path.is_file():
        raise WeightsError(f"judges {path} are missing; train them with runs/judges.sh")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            state = {name: file.get_tensor(name).float() for name in names}
        on_truth: dict[str, Any] = json.loads(metadata["on_truth"])
        if metadata["world_version"] != str(WORLD_VERSION):
            raise ValueError(f"they know world {metadata['world_version']}, not {WORLD_VERSION}")
        judges = Judges()
        judges.load_state_dict(state, strict=True)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())[:160]
        raise WeightsError(f"{path} holds no judges of this version: {line}") from None
    trusted(on_truth)
    return judges.eval().requires_grad_(False), on_truth


def trusted(on_truth: dict[str, Any]) -> frozenset[str]:
    """Return the judges that read at least 95 % of true renders right: no other is asked.

    Raises `KineographError` if there is none.
    """
    good = frozenset(n for n, row in on_truth.items() if row["right"] >= GATE * row["n"])
    if not good:
        shares = ", ".join(f"{n} {row['right'] / row['n']:.1%}" for n, row in on_truth.items())
        raise KineographError(
            f"no judge reads {GATE:.0%} of true renders right ({shares}): train them longer"
        )
    return good
