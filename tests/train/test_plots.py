"""A log is read as it was meant, however its run was cut, and drawn."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from kineograph.train.plots import plot_log, read_log


def write(path, *rows):
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path


def test_a_step_that_was_done_twice_counts_once_and_the_later_time(tmp_path):
    log = write(
        tmp_path / "log.jsonl",
        {"step": 2, "loss": 3.0},
        {"step": 4, "loss": 2.0},
        {"validation": {"step": 4, "loss": 2.5}},
        {"step": 3, "loss": 2.1},
        {"step": 4, "loss": 2.2},
        {"validation": {"step": 4, "loss": 2.6}},
    )
    training, validation = read_log(log)
    assert [(row["step"], row["loss"]) for row in training] == [(2, 3.0), (3, 2.1), (4, 2.2)]
    assert validation == [{"step": 4, "loss": 2.6}]


def test_a_line_that_was_cut_off_is_skipped(tmp_path):
    log = write(tmp_path / "log.jsonl", {"step": 1, "loss": 3.0}, '{"step": 2, "lo')
    assert read_log(log) == ([{"step": 1, "loss": 3.0}], [])


def test_a_log_becomes_a_picture(tmp_path):
    rows = [
        {"step": k, "seconds": 1.0 * k, "rate": 1.0, "loss": 3.0 / k, "psnr": 20.0 + k}
        for k in range(1, 9)
    ]
    log = write(tmp_path / "log.jsonl", *rows, {"validation": {"step": 8, "bin0": 0.4}})
    plot_log(log, tmp_path / "log.png")
    with Image.open(tmp_path / "log.png") as picture:
        assert picture.width > 3 * 300  # loss, psnr and bin0 beside one another
        assert np.asarray(picture.convert("L")).min() < 60


def test_an_empty_log_is_drawn_too(tmp_path):
    plot_log(write(tmp_path / "log.jsonl"), tmp_path / "log.png")
    assert (tmp_path / "log.png").stat().st_size > 100
