"""Judges of the second world: what objects, motions, places, styles and camera moves a clip shows.

Five networks, trained on renders (`training.py`) before any model is measured, then frozen.
What a judge reads right is known for three kinds of style apart: photographs, styles that keep
colours, and styles that have none; where it is fewer than 95 % of true renders, it is not asked.

Letters: b clips, t frames, h height, w width, n frames of any clips.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from kineograph.evaluate.egomotion import estimate
from kineograph.evaluate.judges import cut_crops
from kineograph.evaluate.nets import ActNet, ClipNet, DeepPixelNet, FrameNet, LookNet
from kineograph.evaluate.v2.found import Place, find_objects
from kineograph.evaluate.v2.seen import (
    FRAMES,
    MOTION_CLASSES,
    ORDERS,
    PIXEL_CLASSES,
    THEN_CLASSES,
    motion_class,
    then_class,
)
from kineograph.world.styles import COLOURLESS
from kineograph.world.v2.scene import (
    CAMERA_MOVES,
    FLOORS,
    MATERIALS,
    MAX_OBJECTS,
    SHAPES,
    SHOT_SECONDS,
    SIZES,
    SKIES,
    SPEEDS,
    STYLES,
    WEATHERS,
    Scene,
)

GATE = 0.95  # share of true renders that a judge must read right
SCENE_HEADS: dict[str, tuple[Any, ...]] = {
    "camera": CAMERA_MOVES,
    "count": tuple(range(1, MAX_OBJECTS + 1)),
    "floor": FLOORS,
    "sky": SKIES,
    "weather": WEATHERS,
    "style": STYLES,
}
# What single frames show as well.
FRAME_HEADS = {name: SCENE_HEADS[name] for name in ("floor", "sky", "weather", "style")}
CROP_HEADS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "material": MATERIALS,
    "real": ("yes", "no"),  # whether it is an object, and not a part of one or a shade
}
MOTION_HEADS: dict[str, tuple[str, ...]] = {
    "motion": MOTION_CLASSES,
    "then": THEN_CLASSES,
    "order": ORDERS,
    "speed": SPEEDS,
    "size": SIZES,
}
CROP_SIDE = 48  # pixels of a crop that shows an object's shape and material
CROP_FRAMES = 5  # frames that vote on a shape and a material
REAL = 5.0  # by which the logarithm of the odds must speak for an object


def _mirrored(names: Sequence[str]) -> Tensor:
    """Return, for each class, the index of the class that a mirror shows."""
    swap = {"left": "right", "right": "left"}
    other = [" ".join(swap.get(word, word) for word in str(name).split()) for name in names]
    return torch.tensor([list(names).index(name) for name in other])


MIRRORED_MOVES = _mirrored(CAMERA_MOVES)
MIRRORED_MOTIONS = _mirrored(MOTION_CLASSES)


def group_of(style: str) -> str:
    """Return which kind of style it is: "photo", "coloured" or "colourless"."""
    if style == "photoreal":
        return "photo"
    return "colourless" if style in COLOURLESS else "coloured"


@dataclass(frozen=True)
class ObjectReading:
    """One object as the judges see it; `area` is its mean number of judged pixels."""

    colour: str | None  # None in a style without colours
    shape: str
    material: str
    motion: str  # of MOTION_CLASSES
    then: str = "nothing"
    order: str = "first"
    speed: str = "normal"
    size: str = "medium"
    colour_to: str | None = None
    place: Place | None = None
    area: float = 0.0


@dataclass(frozen=True)
class Reading:
    """What the judges see in one clip; objects largest first."""

    camera: str
    count: int
    floor: str
    sky: str
    weather: str
    style: str
    objects: tuple[ObjectReading, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Reading:
        """Read what `to_dict` wrote."""
        things = []
        for thing in data["objects"]:
            place = None if thing["place"] is None else Place(**thing["place"])
            things.append(ObjectReading(**{**thing, "place": place}))
        return cls(**{**data, "objects": tuple(things)})


NOTHING = Reading("", 0, "", "", "", "", ())  # right in nothing


def true_reading(scene: Scene) -> Reading:
    """Return what perfect judges would read in a clip of a scene with one shot."""
    plain = scene.style in COLOURLESS
    things = tuple(
        ObjectReading(
            None if plain else o.colour, o.shape, o.material, motion_class(scene, i),
            then_class(scene, i), ORDERS[o.order], o.speed or "normal", o.size,
            None if plain else o.colour_to,
        )
        for i, o in enumerate(scene.objects)
    )  # fmt: skip
    return Reading(
        scene.shots[0].camera.move, len(things), scene.floor, scene.sky, scene.weather,
        scene.style, things,
    )  # fmt: skip


def halved(clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c y x"]:
    """Return clips at half the size, as the networks that see whole clips take them."""
    return F.avg_pool2d(clips.flatten(0, 1), 2).unflatten(0, clips.shape[:2])


def scene_view(clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t 4 y x"]:
    """Return clips at half the size, and how fine what is lost by that is: rain, snow, dots."""
    small = halved(clips)
    grey = clips.mean(2, keepdim=True)
    large = halved(grey).flatten(0, 1)
    back = F.interpolate(large, scale_factor=2).unflatten(0, clips.shape[:2])
    return torch.cat((small, 4 * halved((grey - back).abs())), 2)


def follow(
    clips: Float[Tensor, "b t 3 h w"], masks: Float[Tensor, "b t h w"]
) -> Float[Tensor, "b 4 t 32 32"]:
    """Return crops that follow objects through their clips; a corner where one is not seen."""
    crops = cut_crops(clips.flatten(0, 1), masks.flatten(0, 1))
    return crops.unflatten(0, clips.shape[:2]).movedim(2, 1)


def views(
    clips: Float[Tensor, "b t 3 h w"], masks: Float[Tensor, "b t h w"], any_: Tensor
) -> tuple[Float[Tensor, "b 5 t y x"], Float[Tensor, "b 4 t 32 32"]]:
    """Return the two views of an object that the motion judge takes; `any_` masks all objects."""
    whole = torch.cat((clips, masks[:, :, None], any_.float()[:, :, None]), 2)
    return halved(whole).movedim(2, 1), follow(clips, masks)


class Judges(nn.Module):
    """The five networks, and how a clip is read with them."""

    def __init__(self) -> None:
        super().__init__()
        self.pixel = DeepPixelNet(PIXEL_CLASSES)
        self.crop = LookNet(sum(map(len, CROP_HEADS.values())))
        self.scene = ClipNet(4, tuple(map(len, SCENE_HEADS.values())))
        self.frame = FrameNet(tuple(map(len, FRAME_HEADS.values())))
        self.motion = ActNet(sum(map(len, MOTION_HEADS.values())), len(CAMERA_MOVES))

    @torch.no_grad()
    def segment(self, frames: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n h w"]:
        """Return the class of every pixel: 0 background, 1 + a colour's index, 11 no colour."""
        parts = [self.pixel(part).argmax(1).to(torch.uint8) for part in frames.split(17)]
        return torch.cat(parts)

    @torch.no_grad()
    def shares(
        self, frames: Float[Tensor, "n 3 h w"], classes: Sequence[Collection[int]]
    ) -> Float[Tensor, "o n h w"]:
        """Return how likely each pixel is of any class of each set."""
        parts = []
        for part in frames.split(17):
            likely = self.pixel(part).softmax(1)
            parts.append(torch.stack([likely[:, sorted(some)].sum(1) for some in classes]))
        return torch.cat(parts, 1)

    @torch.no_grad()
    def read(self, clips: Sequence[Float[Tensor, "17 3 _ _"]]) -> list[Reading]:
        """Read judged frames (`seen.judged`) of clips, which may differ in aspect ratio."""
        return [self._read_one(clip) for clip in clips]

    def _read_one(self, clip: Float[Tensor, "17 3 h w"]) -> Reading:
        classes = self.segment(clip)
        told = self._scene(clip)
        told["camera"] = _camera(clip, classes > 0)
        seen = find_objects(classes.numpy(), told["style"] in COLOURLESS)
        things: list[ObjectReading] = []
        if seen:
            masks = torch.from_numpy(np.stack([s.mask for s in seen])).float()
            looks = self._looks(clip, masks)
            # The largest is an object whatever it looks like: some answer must stand.
            kept = [
                i for i, (s, look) in enumerate(zip(seen, looks, strict=True))
                if i == 0 or (look["real"] == "yes" and s.lasts)
            ]  # fmt: skip
            acts = self._acts(clip, masks[kept], classes > 0)
            for i, act in zip(kept, acts, strict=True):
                s, look = seen[i], looks[i]
                turned = s.colour_to is not None
                if turned and act["motion"] not in ("recolour",) and act["then"] == "nothing":
                    act["then"] = "recolour"
                things.append(
                    ObjectReading(
                        s.colour, look["shape"], look["material"], **act,
                        colour_to=s.colour_to, place=s.place, area=s.area,
                    )
                )  # fmt: skip
        if told["style"] not in COLOURLESS:
            told["count"] = len(things)
        return Reading(**told, objects=tuple(things))

    def _scene(self, clip: Float[Tensor, "17 3 h w"]) -> dict[str, Any]:
        """Let a clip, some of its frames and their mirror images vote on what all of it shows."""
        x = scene_view(clip[None]).movedim(2, 1)
        plain, mirrored = self.scene(x), self.scene(x.flip(-1))
        votes = {
            name: (a.log_softmax(1) + b.log_softmax(1))[0]
            for name, a, b in zip(SCENE_HEADS, plain, mirrored, strict=True)
            if name != "camera"
        }
        frames = clip[:: FRAMES // 4]
        both = self.frame(torch.cat((frames, frames.flip(-1))))
        for name, a in zip(FRAME_HEADS, both, strict=True):
            votes[name] = votes[name] + 4 * a.log_softmax(1).mean(0)
        return {name: SCENE_HEADS[name][int(vote.argmax())] for name, vote in votes.items()}

    def _looks(
        self, clip: Float[Tensor, "17 3 h w"], masks: Float[Tensor, "k 17 h w"]
    ) -> list[dict[str, str]]:
        """Let the frames in which most of an object is seen vote on its shape and material."""
        best = masks.sum((2, 3)).topk(CROP_FRAMES, dim=1).indices
        rows = torch.arange(len(masks))[:, None]
        crops = cut_crops(clip[best.flatten()], masks[rows, best].flatten(0, 1), CROP_SIDE)
        logits = self.crop(crops) + self.crop(crops.flip(-1))
        votes = [
            part.log_softmax(1).unflatten(0, (len(masks), CROP_FRAMES)).sum(1)
            for part in logits.split([len(n) for n in CROP_HEADS.values()], 1)
        ]
        votes[-1][:, CROP_HEADS["real"].index("no")] += REAL
        return [_answers(parts, CROP_HEADS) for parts in zip(*votes, strict=True)]

    def _acts(
        self, clip: Float[Tensor, "17 3 h w"], masks: Float[Tensor, "k 17 h w"], any_: Tensor
    ) -> list[dict[str, str]]:
        """Let a clip and its mirror image vote on what each object does."""
        clips = clip.expand(len(masks), *clip.shape)
        both = views(clips, masks, any_.expand(len(masks), *any_.shape))
        widths = [len(n) for n in MOTION_HEADS.values()]
        plain = [a.log_softmax(1) for a in self.motion(*both)[0].split(widths, 1)]
        flipped = (view.flip(-1) for view in both)
        mirrored = [a.log_softmax(1) for a in self.motion(*flipped)[0].split(widths, 1)]
        mirrored[0] = mirrored[0][:, MIRRORED_MOTIONS]
        votes = [a + b for a, b in zip(plain, mirrored, strict=True)]
        return [_answers(parts, MOTION_HEADS) for parts in zip(*votes, strict=True)]


def _camera(clip: Float[Tensor, "17 3 h w"], objects: Tensor) -> str:
    """Return the camera's move, by aligning frames: no network is as good at it."""
    frames = clip.movedim(1, -1).add(1).mul(127.5).round().byte().numpy()
    return estimate(frames, (FRAMES - 1) / SHOT_SECONDS, objects.numpy()).move


def _answers(parts: Sequence[Tensor], heads: dict[str, tuple[str, ...]]) -> dict[str, str]:
    pairs = zip(heads.items(), parts, strict=True)
    return {name: names[int(part.argmax())] for (name, names), part in pairs}
