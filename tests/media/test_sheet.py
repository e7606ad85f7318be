"""Contact sheets: what is where, and captions that are either drawn or listed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from kineograph.errors import RequestError
from kineograph.media import sheet as sheets
from kineograph.media.sheet import GAP, contact_sheet, save_png

CHINESE = "一个红色的金属球滚过棋盘格地板。"


def clip(frames=9, height=20, width=30, blue=200):
    """Every pixel of frame i is (i, 0, blue)."""
    made = np.zeros((frames, height, width, 3), np.uint8)
    made[..., 0] = np.arange(frames)[:, None, None]
    made[..., 2] = blue
    return made


@pytest.fixture
def no_cjk(monkeypatch, tmp_path):
    monkeypatch.setattr(sheets, "FONT_FOLDERS", (str(tmp_path / "no fonts"),))
    sheets._find_cjk_font.cache_clear()
    yield
    sheets._find_cjk_font.cache_clear()


def test_frames_are_evenly_spaced_from_first_to_last():
    sheet = np.asarray(contact_sheet([clip(9), clip(25)], columns=5))
    assert sheet.shape == (GAP + 2 * (20 + GAP), GAP + 5 * (30 + GAP), 3)
    places = [GAP + i * (30 + GAP) for i in range(5)]
    assert [sheet[GAP, x, 0] for x in places] == [0, 2, 4, 6, 8]
    assert [sheet[GAP + 20 + GAP, x, 0] for x in places] == [0, 6, 12, 18, 24]
    assert (sheet[:GAP] == 255).all()


def test_stills_fill_a_grid():
    sheet = np.asarray(contact_sheet([clip(1, blue=i) for i in range(5)], columns=3))
    assert sheet.shape == (GAP + 2 * (20 + GAP), GAP + 3 * (30 + GAP), 3)
    assert sheet[GAP, GAP + 2 * (30 + GAP), 2] == 2
    assert sheet[GAP + 20 + GAP, GAP, 2] == 3


@pytest.mark.parametrize(("scale", "height"), [(2, 40), (0.5, 10)])
def test_scale_changes_the_frames(scale, height):
    sheet = contact_sheet([clip(1)], columns=1, scale=scale)
    assert sheet.height == height + 2 * GAP


def test_clips_of_different_shapes_share_a_sheet():
    sheet = contact_sheet([clip(4, 20, 30), clip(2, 40, 10)], columns=4)
    assert sheet.size == (GAP + 4 * (30 + GAP), GAP + 20 + GAP + 40 + GAP)


def test_english_captions_are_drawn_inside_the_sheet(no_cjk):
    bare = contact_sheet([clip(6, 40, 60)])
    words = "A small red metal ball rolls over a checkered floor; " * 4
    captioned = contact_sheet([clip(6, 40, 60)], [words])
    assert captioned.width == bare.width
    assert captioned.info["undrawn"] == []
    ink = (np.asarray(captioned)[bare.height :] < 128).all(-1)
    lines = np.flatnonzero(np.diff(ink.any(1).astype(int)) == 1)
    assert len(lines) > 2  # it was broken
    assert not ink[:, :GAP].any()
    assert not ink[:, -GAP:].any()


def test_what_no_font_draws_is_marked_and_listed(no_cjk, tmp_path):
    captions = ["a red ball", CHINESE, "a ball 球"]
    sheet = contact_sheet([clip()] * 3, captions)
    assert sheet.info["undrawn"] == [1, 2]
    written = save_png(sheet, tmp_path / "sheet.png")
    assert written == [tmp_path / "sheet.png", tmp_path / "sheet.txt"]
    listed = (tmp_path / "sheet.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [f"{i}\t{caption}" for i, caption in enumerate(captions, 1)]
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.text["Description"].splitlines() == listed
        assert np.array_equal(np.asarray(image), np.asarray(sheet))


def test_chinese_is_drawn_where_the_machine_has_a_font():
    if sheets._find_cjk_font() is None:
        pytest.skip("no font with Chinese on this machine")
    sheet = contact_sheet([clip(6, 40, 60)], [CHINESE])
    assert sheet.info["undrawn"] == []


def test_a_drawn_caption_needs_no_list(tmp_path, no_cjk):
    written = save_png(contact_sheet([clip()], ["a red ball"]), tmp_path / "a.png")
    assert written == [tmp_path / "a.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


def test_fonts_are_found_by_name_best_first(monkeypatch, tmp_path):
    for name in ("x/uming.ttc", "y/wqy-zenhei.ttc", "y/Other.ttf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sheets, "FONT_FOLDERS", (str(tmp_path),))
    sheets._find_cjk_font.cache_clear()
    try:
        assert sheets._find_cjk_font() == (tmp_path / "y" / "wqy-zenhei.ttc", 0)
    finally:
        sheets._find_cjk_font.cache_clear()


def test_a_font_knows_what_it_lacks():
    font = ImageFont.load_default(16)
    assert all(sheets._draws(font, char) for char in "Aaz09 ,.")
    assert not any(sheets._draws(font, char) for char in CHINESE)


def test_lines_never_begin_with_a_chinese_full_stop():
    font = ImageFont.load_default(16)
    for width in range(20, 120, 7):
        lines = sheets._wrap("红球，蓝球。" * 8, sheets._Pen([font]), width)
        assert "".join(lines) == "红球，蓝球。" * 8
        assert not any(line.startswith(("，", "。")) for line in lines if width > 40)


def test_a_word_longer_than_the_sheet_is_broken():
    font = ImageFont.load_default(16)
    lines = sheets._wrap("a " + "w" * 50 + " b", sheets._Pen([font]), 100)
    assert all(font.getlength(line) <= 100 for line in lines)
    assert "".join(lines).replace(" ", "") == "a" + "w" * 50 + "b"


def test_a_line_of_two_scripts_is_drawn_with_two_fonts():
    found = sheets._find_cjk_font()
    if found is None:
        pytest.skip("no Chinese font on this machine")
    latin, chinese = sheets._latin_font(14), sheets._cjk_font(*found, 14)
    pen = sheets._Pen([latin, chinese])
    assert pen._runs("right: 红球 2") == [(latin, "right: "), (chinese, "红球 "), (latin, "2")]
    assert pen.length("right: 红球 2") == pytest.approx(
        latin.getlength("right: ") + chinese.getlength("红球 ") + latin.getlength("2")
    )


@pytest.mark.parametrize(
    ("clips", "captions"), [([], None), ([clip(0)], None), ([clip()], ["a", "b"]), ([clip()], [])]
)
def test_a_sheet_of_nothing_is_an_error(clips, captions):
    with pytest.raises(ValueError):
        contact_sheet(clips, captions)


def test_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no folder"):
        save_png(contact_sheet([clip()]), tmp_path / "none" / "a.png")
