"""Pictures in: every kind that a person may hand us, and those that no one should."""

from __future__ import annotations

import os
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kineograph.errors import RequestError
from kineograph.media.image import fit_image, read_image

MEDIA = Path(__file__).parents[3] / "shared" / "media"


def picture(height=40, width=60):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 0 * x + 90], -1).astype(
        np.uint8
    )


def png(width, height, data=b"", depth=8, colour=2):
    """Return the bytes of a PNG with any header one likes."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("name", "worst"),
    [("a.png", 0), ("a.bmp", 0), ("a.jpg", 12), ("a.webp", 40), ("misnamed.txt", 0)],
)
def test_usual_formats_are_read_whatever_their_name(tmp_path, name, worst):
    kind = {"misnamed.txt": "PNG"}.get(name)
    Image.fromarray(picture()).save(tmp_path / name, kind)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - picture()).max() <= worst


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path, orientation):
    stored = Image.fromarray(picture())
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    p = picture()
    upright = {
        1: p,
        2: p[:, ::-1],
        3: p[::-1, ::-1],
        4: p[::-1],
        5: p.swapaxes(0, 1),
        6: np.rot90(p, -1),
        7: p[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(p),
    }[orientation]
    assert np.array_equal(read_image(tmp_path / "a.png"), upright)


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 51]]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[200, 0, 0], [255] * 3, [244, 204, 204]]]
    grey = Image.merge("LA", (Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 51)))
    grey.save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").tolist() == [[[204] * 3]]


def test_palettes_are_resolved_with_and_without_transparency(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[10, 20, 30], [200, 100, 50]]]
    palette.save(tmp_path / "b.png", transparency=0)
    assert read_image(tmp_path / "b.png").tolist() == [[[255] * 3, [200, 100, 50]]]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65278, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 128, 254, 255]


def test_sixteen_bit_colour_and_single_bits_are_read(tmp_path):
    pixel = struct.pack(">BHHH", 0, 65535, 32768, 0)
    (tmp_path / "a.png").write_bytes(png(1, 1, pixel, depth=16))
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 128, 0]]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").tolist() == [[[255] * 3, [0] * 3]]


def test_cmyk_jpeg_is_read(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = read_image(tmp_path / "a.jpg")[4, 4].tolist()
    assert red > 200
    assert green < 60
    assert blue < 60


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, kind):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    path = tmp_path / "a.bin"
    first.save(path, kind, save_all=True, append_images=[second], duration=100)
    red, _, blue = read_image(path)[0, 0].tolist()
    assert red > 240
    assert blue < 15


def cut(folder, kind):
    whole = folder / "whole"
    Image.fromarray(picture(200, 300)).save(whole, kind)
    data = whole.read_bytes()
    whole.unlink()
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"not a picture", "truncated, damaged or no image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>', "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
        (b"\x89PNG\r\n\x1a\n", "no image"),
        (png(60_000, 60_000), "far too large"),
        (png(12_000, 8_000), "12000x8000 pixels; allowed: up to 64 million"),
        (png(2**31 - 1, 2**31 - 1), "far too large|no image"),
        (png(40, 40), "truncated"),
        (png(0, 4), "no image|0x4"),
        (b"II*\0" + bytes(60), "no image"),  # TIFF: no decoder of it is tried
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "eps",
        "magic",
        "bomb",
        "large",
        "huge",
        "no data",
        "zero",
        "tiff",
    ],
)
def test_hostile_files_are_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_truncated_files_are_refused(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(cut(tmp_path, kind))
    with pytest.raises(RequestError, match=r"truncated.*allowed: PNG, JPEG, WEBP, GIF, BMP"):
        read_image(path)


def test_the_limit_is_the_callers(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(RequestError, match="60x40"):
        read_image(tmp_path / "a.png", max_pixels=2399)


def test_missing_files_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.png", tmp_path, tmp_path / "pipe", "/dev/zero", "", "a\0b"):
        with pytest.raises(RequestError, match=r"no such file|not a file"):
            read_image(path)


def test_fit_of_the_same_size_changes_nothing():
    fitted = fit_image(picture(), 40, 60)
    assert fitted.dtype == torch.float32
    back = ((fitted + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.allclose(back, picture(), atol=1e-3)


def test_fit_cuts_the_middle():
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = 255
    assert torch.all(fit_image(image, 10, 10) == 1)
    assert torch.all(fit_image(image.swapaxes(0, 1), 8, 8) == 1)
    assert torch.all(fit_image(image, 20, 20) == 1)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (30, 47), (1, 1), (64, 64)])
def test_fit_averages_areas_exactly(height, width):
    column = np.random.default_rng(0).integers(0, 256, (97, 1, 3), dtype=np.uint8)
    fitted = fit_image(np.repeat(column, 131, 1), height, width)
    assert fitted.shape == (3, height, width)
    # The same by brute force: every pixel repeated 1000 times, then whole blocks averaged.
    scale = min(97 / height, 131 / width)
    top = (97 - height * scale) / 2
    edges = [round((top + i * scale) * 1000) for i in range(height + 1)]
    fine = column[:, 0].astype(float).repeat(1000, 0)
    expected = np.stack([fine[a:b].mean(0) for a, b in pairwise(edges)])
    assert np.allclose((fitted[:, :, 0].T.numpy() + 1) * 127.5, expected, atol=0.1)


def test_fit_to_what_is_visible_puts_the_whole_picture_there():
    image = picture(45, 80)
    fitted = ((fit_image(image, 48, 80, (45, 80)) + 1) * 127.5).permute(1, 2, 0).numpy()
    # A pixel and a half above and below is drawn out: at the edges of cells, half of two rows.
    assert np.allclose(fitted[0], image[0], atol=1e-3)
    assert np.allclose(fitted[-1], image[-1], atol=1e-3)
    between = (image[:-1].astype(float) + image[1:]) / 2
    assert np.allclose(fitted[2:-2], between, atol=1e-3)
    larger = picture(60, 80)  # has more above and below: it is seen there
    assert torch.equal(fit_image(larger, 48, 80, (45, 80)), fit_image(larger, 48, 80))


@pytest.mark.parametrize(("height", "width"), [(9, 16), (480, 800), (31, 200)])
def test_fit_to_all_that_there_is_changes_nothing(height, width):
    image = picture(height, width)
    assert torch.equal(fit_image(image, 48, 80, (48, 80)), fit_image(image, 48, 80))


def test_fit_draws_out_the_edges_of_a_small_picture_too():
    flat = np.full((9, 16, 3), 255, np.uint8)
    assert torch.equal(fit_image(flat, 48, 80, (45, 80)), torch.ones(3, 48, 80))


def test_fit_keeps_flat_colour_and_stays_in_range():
    flat = np.full((333, 517, 3), 255, np.uint8)
    assert torch.allclose(fit_image(flat, 48, 80), torch.ones(3, 48, 80), atol=1e-5)
    enlarged = fit_image(picture(10, 10), 48, 80)
    assert enlarged.min() >= -1
    assert enlarged.max() <= 1


def test_a_fine_pattern_becomes_grey_and_not_moire():
    stripes = np.zeros((480, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    assert fit_image(stripes, 48, 80).abs().max() < 0.01


@pytest.mark.skipif(not MEDIA.is_dir(), reason="no folder of real media here")
@pytest.mark.parametrize("name", ["cat-surfing.jpg", "flf-first.png", "flf-last.png"])
def test_real_stills_fit(name):
    image = read_image(MEDIA / name)
    fitted = fit_image(image, 48, 80)
    assert fitted.shape == (3, 48, 80)
    assert fitted.std() > 0.1
