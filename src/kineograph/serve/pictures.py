"""Small pictures of a finished video: one for lists, and a sheet of many for scrubbing."""

from __future__ import annotations

from pathlib import Path

import av
from PIL import Image

THUMBNAIL = 320  # pixels of the longer side
TILE = 160
TILES = 25  # of a sheet, in rows of five


def write_pictures(video: Path, thumbnail: Path, spritesheet: Path) -> None:
    """Write a JPEG of a video's middle frame, and one of frames from all over it.

    The sheet has 5 columns, filled by rows, 25 frames at equal distances (fewer of short videos).
    """
    frames = _evenly(video, TILES)
    middle = frames[len(frames) // 2].copy()
    middle.thumbnail((THUMBNAIL, THUMBNAIL))
    middle.save(thumbnail, "JPEG", quality=85)
    for frame in frames:
        frame.thumbnail((TILE, TILE))
    width, height = frames[0].size
    rows = -(-len(frames) // 5)
    sheet = Image.new("RGB", (width * min(5, len(frames)), height * rows))
    for i, frame in enumerate(frames):
        sheet.paste(frame, (i % 5 * width, i // 5 * height))
    sheet.save(spritesheet, "JPEG", quality=80)


def _evenly(video: Path, count: int) -> list[Image.Image]:
    if video.suffix in (".png", ".jpg", ".jpeg", ".webp"):
        with Image.open(video) as picture:
            return [picture.convert("RGB")]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        total = max(stream.frames, 1)
        wanted = {round(i * (total - 1) / max(count - 1, 1)) for i in range(count)}
        return [
            Image.fromarray(frame.to_ndarray(format="rgb24"))
            for i, frame in enumerate(container.decode(stream))
            if i in wanted or total == 1
        ]
