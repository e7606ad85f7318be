"""Pictures and videos that a clip is made from or between, at its size and its rate.

Letters: t frames, h height, w width (2: at the base size).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.media.image import fit_image, read_image
from kineograph.media.video import read_video
from kineograph.request import ResolvedRequest
from kineograph.resolving import is_picture
from kineograph.spec import FrameSize, ModelSpec
from kineograph.ways import AFTER_LATENTS, BEFORE_LATENTS

Picture = UInt8[ndarray, "h w 3"]


def still(path: str, size: FrameSize) -> Float[Tensor, "3 h w"]:
    """Return a picture in [-1, 1] at the base size, its middle cut to the delivered ratio."""
    return _based(read_image(path), size)


def whole(path: str, size: FrameSize) -> Float[Tensor, "3 h w"]:
    """Return all of a picture in [-1, 1], as large as it fits in, on white."""
    picture = read_image(path)
    scale = min(size.height / picture.shape[0], size.width / picture.shape[1])
    height, width = (max(1, round(scale * n)) for n in picture.shape[:2])
    seen = fit_image(picture, height, width)
    page = seen.new_ones(3, size.height, size.width)
    top, left = (size.height - height) // 2, (size.width - width) // 2
    page[:, top : top + height, left : left + width] = seen
    return page


def mask_frames(path: str, count: int, fps: int, size: FrameSize) -> Float[Tensor, "1 t h w"]:
    """Return where a video, or a picture for all frames, is bright: 1 there, 0 elsewhere."""
    if is_picture(path):
        video = still(path, size)[:, None].expand(-1, count, -1, -1)
    else:
        video = first_frames(path, count, fps, size)
    return (video.mean(0, keepdim=True) > 0).float()


def _based(picture: Picture, size: FrameSize) -> Float[Tensor, "3 h2 w2"]:
    """Fit a picture so that what is delivered of the base size shows it as far as it can be seen.

    A clip is enlarged by a whole number, then cut; what is cut away must not cost the picture.
    """
    visible = (size.out_height / size.enlarged, size.out_width / size.enlarged)
    return fit_image(picture, size.height, size.width, visible)


def at_rate(path: str, fps: int) -> Iterator[Picture]:
    """Yield the frames of a video that are nearest to the times of another rate.

    A picture, told by its ending, is a video of one frame.
    """
    if is_picture(path):
        yield read_image(path)
        return
    with read_video(path) as video:
        ratio, number = float(video.fps) / fps, 0
        for i, frame in enumerate(video):
            while int(number * ratio + 0.5) == i:
                yield frame
                number += 1


def first_frames(path: str, count: int, fps: int, size: FrameSize) -> Float[Tensor, "3 t h w"]:
    """Return how a video begins, in [-1, 1]; a `RequestError` says if it is too short."""
    frames = [_based(frame, size) for frame in islice(at_rate(path, fps), count)]
    _check_length(path, len(frames), count, fps)
    return torch.stack(frames, 1)


def last_frames(
    path: str, count: int, fps: int, size: FrameSize, times: int = 1
) -> Float[Tensor, "3 t h w"]:
    """Return how a video ends, in [-1, 1]; a `RequestError` says if it is too short.

    Where it is delivered at `times` the rate, its very last frame there is the last one here.
    """
    end = list(deque(at_rate(path, times * fps), times * (count - 1) + 1))
    frames = [_based(frame, size) for frame in end[::-1][::times][::-1]]
    _check_length(path, len(frames), count, fps)
    return torch.stack(frames, 1)


def _check_length(path: str, found: int, count: int, fps: int) -> None:
    if found < count:
        raise RequestError(f"{path} has {found} frames at {fps} fps; at least {count} are needed")


def check_inputs(request: ResolvedRequest, spec: ModelSpec) -> None:
    """Refuse, before anything is computed, files that cannot be read or are too short."""
    for path in (*(path for path, _ in request.pictures()), *(request.references or ())):
        read_image(path)
    stride, fps = spec.vae.temporal_stride, request.fps
    for video, count in (
        (request.before, 1 + stride * (BEFORE_LATENTS - 1)),
        (request.after, 1 + stride * AFTER_LATENTS),
        (request.video, request.num_frames),
        (request.control, request.num_frames),
        (request.control_mask, request.num_frames),
    ):
        if video is not None and video == request.control_mask and is_picture(video):
            read_image(video)
        elif video is not None:
            found = sum(1 for _ in islice(at_rate(video, fps), count))
            _check_length(video, found, count, fps)


def fitted(path: str, fps: int, height: int, width: int) -> Iterator[Picture]:
    """Yield the frames of a video at a rate and a size, as pixels."""
    for frame in at_rate(path, fps):
        values = fit_image(frame, height, width).clamp(-1, 1).add(1).mul(127.5).round()
        yield np.ascontiguousarray(values.to(torch.uint8).permute(1, 2, 0).numpy())


def join(before: Iterable[Picture], after: Iterable[Picture], overlap: int) -> Iterator[Picture]:
    """Yield one video behind another; the last frames of the one fade into the first of the other.

    Both show the same there, the one as it was filmed, the other as the model gives it back.
    """
    waiting: deque[Picture] = deque()
    for frame in before:
        waiting.append(frame)
        if len(waiting) > overlap:
            yield waiting.popleft()
    coming = iter(after)
    for i, old in enumerate(waiting):
        share = (i + 1) / (len(waiting) + 1)
        yield (old + (next(coming) - old.astype(np.float32)) * share).round().astype(np.uint8)
    yield from coming
