"""Suites on disk: complete, the same every time, and read back only as they were written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from kineograph.errors import RequestError
from kineograph.evaluate import prompts as module
from kineograph.evaluate.prompts import read_prompts, suite_entries, write_suite
from kineograph.evaluate.suites import SUITES, make_prompts
from kineograph.world.captions import facts
from kineograph.world.render import render


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_suite(tmp_path_factory.mktemp("suite") / "out", "two", 3, side=64)


def test_a_suite_is_prompts_with_all_that_a_model_is_asked_for(written):
    rows = lines(written)
    assert [row["id"] for row in rows] == ["two-0000", "two-0001", "two-0002"]
    for row, prompt in zip(rows, make_prompts(SUITES["two"], 3), strict=True):
        known = facts(prompt.scene)
        assert row["facts"] == {name: known[name] for name in prompt.said}
        assert (row["prompt"], row["seed"]) == (prompt.text, prompt.seed)
        assert (row["suite"], row["language"]) == ("two", prompt.language)
        assert (row["aspect_ratio"], row["fps"], row["num_frames"]) == ("1:1", 10, 25)


def test_first_frames_are_those_of_the_scenes(written):
    for row, prompt in zip(lines(written), make_prompts(SUITES["two"], 3), strict=True):
        with Image.open(written.parent / row["first_frame"]) as picture:
            found = np.asarray(picture.convert("RGB"))
        video, _ = render([prompt.scene], np.zeros(1), 64, 64)
        assert np.array_equal(found, video[0, 0].numpy())


def test_all_suites_are_written_and_a_second_run_makes_only_what_is_missing(tmp_path, monkeypatch):
    seen, made = [], []
    whole = module._write_first_frame
    path = write_suite(
        tmp_path, prompts=1, side=64, on_progress=lambda done, total: seen.append((done, total))
    )
    assert [row["suite"] for row in lines(path)] == list(SUITES)
    assert seen == [(k, len(SUITES)) for k in range(1, len(SUITES) + 1)]
    (tmp_path / "first" / "two-0000.png").write_bytes(b"cut")

    def counted(picture, *rest, **named):
        made.append(picture.stem)
        whole(picture, *rest, **named)

    monkeypatch.setattr(module, "_write_first_frame", counted)
    write_suite(tmp_path, prompts=1, side=64)
    assert made == ["two-0000"]
    with pytest.raises(RequestError, match="holds other prompts"):
        write_suite(tmp_path, prompts=2, side=64)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"suite": "no"}, "unknown suite 'no'; available: single"),
        ({"suite": "two", "prompts": 211}, "1 to 210 prompts, not 211"),
        ({"side": 100}, "size 100.*multiples of 64 up to 1024"),
        ({"side": 1088}, "size 1088"),
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(tmp_path, settings, said):
    with pytest.raises(RequestError, match=said):
        write_suite(tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())


def test_prompts_are_read_back_in_any_order_and_number(written, tmp_path):
    entries = suite_entries(SUITES["two"], 3)
    assert read_prompts(written) == entries
    some = written.read_text(encoding="utf-8").splitlines()[::-2]
    path = tmp_path / "some.jsonl"
    path.write_text("\n\n".join(some), encoding="utf-8")
    assert read_prompts(path) == entries[::-2]


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"prompt": "a red ball"}, "prompt is a red ball; the suite has"),
        (lambda row: row | {"seed": 1}, "seed is 1"),
        (lambda row: row | {"facts": {}}, "facts is {}"),
        (lambda row: row | {"fps": 10.0}, "fps is 10.0; the suite has 10"),
        (lambda row: row | {"suites_version": 0}, "suites_version is 0"),
        (lambda row: row | {"colour": "red"}, "unknown field colour; fields: id, suite"),
        (lambda row: without(row, "seed"), "field 'seed' is missing"),
        (lambda row: without(row, "id"), "the id None is none of a suite"),
        (lambda row: row | {"id": "two-0000"}, "the id 'two-0000' comes twice"),
        (lambda row: row | {"id": "../x"}, r"the id \.\./x is none"),
        (lambda row: row | {"id": "no-0001"}, "unknown suite 'no'; available"),
        (lambda row: row | {"id": "two-0210"}, "suite two has 210 prompts, and no 'two-0210'"),
        (lambda row: [row], "must be an object"),
    ],
)
def test_a_line_that_is_not_the_suites_is_refused_with_its_number(written, tmp_path, change, said):
    rows = lines(written)
    if "twice" in said:
        rows[1] = rows[0]
    else:
        rows[1] = change(rows[1])
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with pytest.raises(RequestError, match=rf"p\.jsonl, line 2: .*{said}"):
        read_prompts(path)


@pytest.mark.parametrize("content", ["", "\n\n", "{not json", "\0\xff"])
def test_a_file_that_holds_no_prompts_is_refused(tmp_path, content):
    path = tmp_path / "p.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RequestError, match=r"p\.jsonl"):
        read_prompts(path)
    with pytest.raises(FileNotFoundError):
        read_prompts(tmp_path / "none")
