"""Pictures in: whatever a person may hand us becomes plain RGB, or one line that says why not."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageOps
from torch import Tensor

from kineograph.errors import RequestError
from kineograph.media.files import refuse_os_errors

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # Pillow's names; no other decoder is tried
MAX_PIXELS = 64_000_000  # a 50-megapixel phone and some room: 200 MB as RGB
MAX_FILE_BYTES = 256 << 20
WHITE = (255, 255, 255, 255)


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> UInt8[ndarray, "h w 3"]:
    """Read a picture as 8-bit RGB, upright (EXIF), transparency laid on white.

    Of an animation the first frame is taken; 16-bit grey is scaled to 8, other depths and
    palettes are converted. A colour profile is ignored: numbers are taken for sRGB.

    Raises:
        RequestError: the file is missing, empty, truncated, larger than `max_pixels`, or is
            none of `FORMATS`.
    """
    path = Path(path)
    with refuse_os_errors(path, "read"):
        if not path.exists():
            raise RequestError(f"cannot read image {path}: there is no such file; {_allowed()}")
        if not path.is_file():
            raise RequestError(f"cannot read image {path}: it is not a file; {_allowed()}")
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            what = f"it has {size / 1e6:.0f} MB" if size else "it is empty"
            raise RequestError(f"cannot read image {path}: {what}; {_allowed()}")
        path.open("rb").close()  # a permission that is missing is the system's word, not Pillow's
    try:
        # Warnings are about odd metadata and sizes below our own limit; what matters raises.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            _check_size(path, image.size, max_pixels)
            return _to_rgb(image)
    except RequestError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, above ours
        raise RequestError(f"cannot read image {path}: it is far too large") from error
    except Exception as error:  # a decoder raises almost anything at a hostile file
        raise RequestError(
            f"cannot read image {path}: truncated, damaged or no image; {_allowed()}"
        ) from error


def fit_image(
    image: UInt8[ndarray, "h w 3"],
    height: int,
    width: int,
    visible: tuple[float, float] | None = None,
) -> Float[Tensor, "3 height width"]:
    """Cut the middle of `image` to the ratio of `height` to `width` and resize it to that size.

    Shrinking averages the exact area behind each pixel, enlarging is bicubic. Values are in
    [-1, 1]. Where only the middle (`visible`: height, width) will be seen, the cut is made to that;
    the rim is what lies around it in the image, or the image's edge drawn out.
    """
    h, w, _ = image.shape
    seen_height, seen_width = (height, width) if visible is None else visible
    scale = min(h / seen_height, w / seen_width)  # pixels of the image for one of ours
    top, left = (h - height * scale) / 2, (w - width * scale) / 2
    rows, columns = (max(0, math.ceil(-margin - 1e-6)) for margin in (top, left))
    if rows or columns:
        image = np.pad(image, ((rows, rows), (columns, columns), (0, 0)), mode="edge")
        h, w, top, left = h + 2 * rows, w + 2 * columns, top + rows, left + columns
    if scale < 1:
        resized = Image.fromarray(image).resize(
            (width, height), Image.Resampling.BICUBIC, (left, top, w - left, h - top)
        )
        pixels = rearrange(torch.from_numpy(np.array(resized)).float(), "h w c -> c h w")
    else:
        down, along = _area_weights(h, top, scale, height), _area_weights(w, left, scale, width)
        channels = rearrange(torch.from_numpy(np.array(image)), "h w c -> c h w")
        # One channel at a time: a large photo as floats takes four times its size.
        pixels = torch.stack([down @ channel.float() @ along.T for channel in channels])
    return pixels / 127.5 - 1


def _area_weights(size: int, start: float, scale: float, out: int) -> Float[Tensor, "out size"]:
    """Return how much of each of `size` pixels each of `out` pixels covers; rows sum to 1."""
    edges = start + scale * torch.arange(out + 1, dtype=torch.float64)
    pixel = torch.arange(size, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (covered.clamp(min=0) / scale).float()


def _allowed() -> str:
    return f"allowed: {', '.join(FORMATS)}"


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Look at what the header says; nothing is decompressed yet."""
    width, height = size
    if not 0 < width * height <= max_pixels:
        raise RequestError(
            f"cannot read image {path}: it has {width}x{height} pixels; "
            f"allowed: up to {max_pixels / 1e6:g} million"
        )


def _to_rgb(image: Image.Image) -> UInt8[ndarray, "h w 3"]:
    image.load()  # decodes the first frame; a truncated file raises here
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips at 255
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
    return np.array(image.convert("RGB"))
