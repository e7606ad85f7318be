"""The gallery and the data set, as small as they get."""

import json
import re

import pytest

from kineograph import cli
from kineograph.errors import RequestError
from kineograph.media.video import read_video
from kineograph.world.shards import read_shards, verify
from kineograph.world.v2 import gallery
from kineograph.world.v2.clips import generator
from kineograph.world.v2.draw import draw_scene
from kineograph.world.v2.gallery import Film, films, write_gallery
from kineograph.world.v2.parse import parse
from kineograph.world.v2.scene import CAMERA_MOVES, MOTIONS, STYLES


def test_the_gallery_shows_every_motion_move_and_style():
    found = list(films(2, 0))
    titles = {f.title for f in found}
    assert titles >= {*MOTIONS, *CAMERA_MOVES, *STYLES}
    assert len({f.name for f in found}) == len(found)
    by_motion = {f.title: f.play for f in found if f.section == "motions"}
    assert all(play.scene.objects[0].motion == motion for motion, play in by_motion.items())


def test_a_gallery_is_a_page_with_its_films(tmp_path, monkeypatch):
    _, play = draw_scene(1, count=1, more="shot")
    monkeypatch.setattr(gallery, "films", lambda *_: iter([Film("scenes", "one", "<1>", play)]))
    steps = []
    write_gallery(tmp_path, side=64, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 1)]
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'src="one.mp4"' in text and "&lt;1&gt;" in text
    data = json.loads(re.search(r'id="films">(.*?)</script>', text, re.S).group(1))
    assert data[0]["times"][-1] == play.scene.seconds
    before = (tmp_path / "one.mp4").stat().st_mtime_ns
    write_gallery(tmp_path, side=64)
    assert (tmp_path / "one.mp4").stat().st_mtime_ns == before
    with pytest.raises(RequestError, match="another size"):
        write_gallery(tmp_path, side=80)


@pytest.mark.parametrize("side", [16, 100, 528])
def test_sizes_that_no_gallery_has_are_refused(tmp_path, side):
    with pytest.raises(RequestError, match=f"size {side} is not allowed"):
        write_gallery(tmp_path / "new", side=side)
    assert not (tmp_path / "new").exists()


def test_a_data_set_of_the_world(tmp_path):
    line = f"world shards --out {tmp_path} --clips 2 --clips-per-shard 2 --seed 5 --size 64"
    assert cli.main(line.split()) == 0
    assert verify(tmp_path) == []
    clips = list(read_shards(tmp_path))
    assert [key for key, *_ in clips] == ["000000005", "000000006"]
    for _, truth, captions, film in clips:
        (tmp_path / "film.mp4").write_bytes(film)
        with read_video(tmp_path / "film.mp4") as reader:
            assert float(reader.fps) == 12
            assert sum(1 for _ in reader) == len(truth["times"])
        assert set(captions) == {"en", "zh"}
        assert not parse(captions["en"][0]).unknown
        assert not parse(captions["zh"][0]).unknown


def test_sizes_that_no_clip_has_are_refused():
    with pytest.raises(RequestError, match="size 100 is not allowed"):
        generator(100)
