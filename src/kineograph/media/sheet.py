"""Contact sheets: clips under one another as one picture, with captions we can draw or list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from kineograph.media.files import atomic_write

GAP = 4  # pixels between frames and around captions
PAPER, INK = (255, 255, 255), (30, 30, 30)
# Pillow's own font is Latin. Fonts with Chinese that systems come with, best first, and
# which member of a collection has the simplified forms.
CJK_FONTS = {
    "NotoSansCJK-Regular.ttc": 2,
    "NotoSansSC-Regular.otf": 0,
    "NotoSansSC-Regular.ttf": 0,
    "SourceHanSansSC-Regular.otf": 0,
    "wqy-microhei.ttc": 0,
    "wqy-zenhei.ttc": 0,
    "DroidSansFallbackFull.ttf": 0,
    "DroidSansFallback.ttf": 0,
    "PingFang.ttc": 0,
    "Hiragino Sans GB.ttc": 0,
    "STHeiti Light.ttc": 0,
    "Arial Unicode.ttf": 0,
    "msyh.ttc": 0,
    "simhei.ttf": 0,
    "simsun.ttc": 0,
    "uming.ttc": 0,
}
FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)
NO_GLYPH = "\U0010fffe"  # never a character: whatever a font draws for it means "I have none"
# A word with the spaces after it, or one Chinese character with the signs that follow it,
# which must not begin a line.
TOKENS = re.compile(r"[⺀-鿿豈-﫿][，。、；：！？）》”]*|[^\s⺀-鿿豈-﫿]+\s*|\s+")


def contact_sheet(
    clips: Sequence[UInt8[ndarray, "_ _ _ 3"]],
    captions: Sequence[str] | None = None,
    columns: int = 6,
    scale: float = 1.0,
    font: Path | None = None,
) -> Image.Image:
    """Lay out `columns` frames of each clip, evenly spaced from first to last, and its caption.

    Clips `(t, h, w, 3)` may differ in shape. Clips with fewer frames than `columns` stand
    beside one another as far as they fit, stills in a full grid. `scale` enlarges (by
    repeating pixels) or shrinks frames, not captions. `font` is a font file for captions;
    by default Pillow's own, and for Chinese the first of `CJK_FONTS` on this machine. What
    no font can draw becomes "…" behind the clip's number: `save_png` lists the full text.

    Raises:
        ValueError: no clips, an empty clip, or not one caption for each.
    """
    if not clips or any(not len(clip) for clip in clips):
        raise ValueError("a contact sheet needs at least one clip, and each at least one frame")
    if captions is not None and len(captions) != len(clips):
        raise ValueError(f"{len(captions)} captions for {len(clips)} clips")
    if columns < 1 or scale <= 0:
        raise ValueError(f"columns is {columns} and scale {scale}; both must be above 0")
    strips = [_strip(clip, columns, scale) for clip in clips]
    undrawn: list[int] = []
    if captions is not None:
        width = max(strip.width for strip in strips)
        pen = _make_pen(min(18, max(11, width // 48)), font)
        for index, caption in enumerate(captions):
            lines, whole = _fit_caption(" ".join(caption.split()), index, width, pen)
            strips[index] = _with_caption(strips[index], pen, lines, width)
            if not whole:
                undrawn.append(index)
    longest = min(columns, max(len(clip) for clip in clips))
    sheet = _stack(strips, columns // longest)
    sheet.info["captions"] = list(captions or [])
    sheet.info["undrawn"] = undrawn
    return sheet


def save_png(sheet: Image.Image, path: str | Path) -> list[Path]:
    """Write a contact sheet as PNG, its captions inside as text; return the paths written.

    Where a caption could not be drawn in full, all are also listed in a text file (UTF-8)
    beside the picture: sheet.png, sheet.txt.

    Raises:
        RequestError: the file cannot be written.
    """
    path = Path(path)
    captions: list[str] = sheet.info.get("captions", [])
    listed = "".join(f"{i}\t{caption}\n" for i, caption in enumerate(captions, 1))
    inside = PngImagePlugin.PngInfo()
    if listed:
        inside.add_itxt("Description", listed)
    with atomic_write(path) as file:
        sheet.save(file, "PNG", pnginfo=inside)
    if not sheet.info.get("undrawn"):
        return [path]
    beside = path.with_suffix(".txt")
    with atomic_write(beside) as file:
        file.write(listed.encode())
    return [path, beside]


def _strip(clip: UInt8[ndarray, "t h w 3"], columns: int, scale: float) -> Image.Image:
    """Return evenly spaced frames of one clip, side by side."""
    chosen = np.linspace(0, len(clip) - 1, min(columns, len(clip))).round().astype(int)
    height, width = (max(1, round(side * scale)) for side in clip.shape[1:3])
    resample = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    strip = Image.new("RGB", (len(chosen) * (width + GAP) - GAP, height), PAPER)
    for place, index in enumerate(chosen):
        frame = Image.fromarray(clip[index]).resize((width, height), resample)
        strip.paste(frame, (place * (width + GAP), 0))
    return strip


def _stack(cells: list[Image.Image], per_row: int) -> Image.Image:
    """Lay cells out in rows, `per_row` to each."""
    rows = [cells[i : i + per_row] for i in range(0, len(cells), per_row)]
    column = max(cell.width for cell in cells) + GAP
    heights = [max(cell.height for cell in row) + GAP for row in rows]
    sheet = Image.new("RGB", (GAP + column * len(rows[0]), GAP + sum(heights)), PAPER)
    for row, top in zip(rows, np.cumsum([GAP, *heights[:-1]]).tolist(), strict=True):
        for place, cell in enumerate(row):
            sheet.paste(cell, (GAP + place * column, top))
    return sheet


class _Pen:
    """Draws text, each character with the first font that has it."""

    def __init__(self, fonts: list[ImageFont.FreeTypeFont]) -> None:
        self.fonts = fonts
        metrics = [font.getmetrics() for font in fonts]
        self.ascent = max(ascent for ascent, _ in metrics)
        self.pitch = self.ascent + max(descent for _, descent in metrics)

    def can_draw(self, char: str) -> bool:
        return any(_draws(font, char) for font in self.fonts)

    def length(self, text: str) -> float:
        """Return the width of a line in pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def write(self, draw: ImageDraw.ImageDraw, top: int, text: str) -> None:
        """Draw a line from the left edge."""
        x = 0.0
        for font, run in self._runs(text):
            draw.text((x, top + self.ascent), run, fill=INK, font=font, anchor="ls")
            x += font.getlength(run)

    def _runs(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        runs: list[tuple[ImageFont.FreeTypeFont, str]] = []
        for char in text:
            font = next((f for f in self.fonts if _draws(f, char)), self.fonts[0])
            if runs and (font is runs[-1][0] or char.isspace()):
                font, before = runs.pop()
                char = before + char
            runs.append((font, char))
        return runs


def _with_caption(strip: Image.Image, pen: _Pen, lines: list[str], width: int) -> Image.Image:
    """Return the strip with its caption under it."""
    height = strip.height + GAP + pen.pitch * len(lines) + GAP
    cell = Image.new("RGB", (width, height), PAPER)
    cell.paste(strip, (0, 0))
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        pen.write(draw, strip.height + GAP + number * pen.pitch, line)
    return cell


def _fit_caption(caption: str, index: int, width: int, pen: _Pen) -> tuple[list[str], bool]:
    """Break a caption into lines of at most `width` pixels; tell whether all of it can be drawn."""
    missing = {char for char in caption if not pen.can_draw(char)}
    if missing:
        drawn = re.sub(f"[{re.escape(''.join(missing))}]+", "…", caption)
        caption = f"[{index + 1}] {drawn}"
    return _wrap(caption, pen, width), not missing


def _wrap(text: str, pen: _Pen, width: int) -> list[str]:
    lines, line = [], ""
    for token in TOKENS.findall(text):
        pieces = [token] if pen.length(token.rstrip()) <= width else list(token)
        for piece in pieces:
            if line and pen.length((line + piece).rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece
    return [*lines, line.rstrip()]


def _make_pen(size: int, path: Path | None) -> _Pen:
    """Return a pen with one font file, or with the fonts there are: Latin, then Chinese."""
    if path is not None:
        return _Pen([ImageFont.truetype(str(path), size)])
    fonts = [_latin_font(size)]
    found = _find_cjk_font()
    if found is not None:
        fonts.append(_cjk_font(*found, size))
    return _Pen(fonts)


@cache
def _latin_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType, which contact sheets need")
    return font


@cache
def _cjk_font(path: Path, index: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size, index)


@cache
def _find_cjk_font() -> tuple[Path, int] | None:
    """Look through the system's font folders, once."""
    installed: dict[str, Path] = {}
    for folder in FONT_FOLDERS:
        for file in Path(folder).expanduser().rglob("*.[to]t[cf]"):
            installed.setdefault(file.name, file)
    for name, index in CJK_FONTS.items():
        if name in installed:
            return installed[name], index
    return None


def _draws(font: ImageFont.FreeTypeFont, char: str) -> bool:
    """Tell whether a font has a character: one it lacks looks like one that nobody has."""
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask(NO_GLYPH))
