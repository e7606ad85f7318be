"""Shards: the same bytes whatever interrupts them, and what WebDataset reads."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap

import av
import numpy as np
import pytest
from pyarrow import parquet

from kineograph.errors import RequestError
from kineograph.media.video import read_video
from kineograph.world import shards
from kineograph.world.shards import Clip, Generator, read_shards, verify, write_shards

COLUMNS = {"speed": float, "objects": int, "falls": bool, "floor": str}
FRAMES = 12  # fewer would not show what the encoder's memory does to its bytes
FILES = ["clips-{:06d}.tar", "truth-{:06d}.parquet", "shard-{:06d}.json"]


def make(index):
    rng = np.random.default_rng(index)
    t, y, x = np.mgrid[:FRAMES, :48, :80]
    waves = [np.sin((x + 3 * t) / 9), np.cos((y - 2 * t) / 7), np.sin((x + y + index) / 11)]
    video = 127 + 100 * np.stack(waves, -1) + rng.normal(0, 4, (FRAMES, 48, 80, 3))
    sound = rng.normal(0, 0.1, (2400, 2)).astype(np.float32) if index % 2 else None
    return Clip(
        key=f"clip-{index:05d}",
        video=video.clip(0, 255).astype(np.uint8),
        fps=10,
        audio=sound,
        captions={"en": [f"clip {index}", "a ball"], "zh": ["球"]},
        truth={"seed": index, "track": [[0.5, 1.0], [0.25, index]]},
        columns={
            "speed": None if index == 3 else index / 2,
            "objects": np.int64(index % 3),
            "falls": index % 2 == 0,
            "floor": None,
        },
    )


GENERATOR = Generator("test", "1", make, COLUMNS)
SETTINGS = {"clips": 5, "seed": 3, "clips_per_shard": 2}


def write(folder, generator=GENERATOR, **settings):
    write_shards(folder, generator, **SETTINGS | settings)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "set"
    write(folder)
    return folder


def test_a_folder_holds_tars_tables_entries_and_a_manifest(whole):
    named = {name.format(k) for name in FILES for k in range(3)}
    assert set(content(whole)) == named | {"plan.json", "manifest.json"}
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["generator"] == {"name": "test", "version": "1"}
    assert (manifest["seeds"], manifest["clips_per_shard"]) == ([3, 7], 2)
    assert (manifest["clips"], manifest["frames"], manifest["shards"]) == (5, 5 * FRAMES, 3)
    assert {"kineograph", "python", "av", "numpy", "pyarrow"} <= set(manifest["tools"])
    assert set(manifest["files"]) == {name.format(k) for name in FILES[:2] for k in range(3)}
    for name, stat in manifest["files"].items():
        assert stat == shards.digest(whole / name)
    assert manifest["bytes"] == sum(stat["bytes"] for stat in manifest["files"].values())
    assert verify(whole) == []


def test_a_tar_is_what_webdataset_reads(whole):
    # its rules: a sample is a run of files with the same name up to the first dot, and what
    # follows the dot says what a file is
    keys = []
    for shard in range(3):
        with tarfile.open(whole / f"clips-{shard:06d}.tar") as tar:
            members = tar.getmembers()
            assert all(m.isfile() and m.mtime == m.uid == m.gid == 0 for m in members)
            samples = {}
            for member in members:
                key, _, ending = member.name.partition(".")
                assert "/" not in key
                assert key not in samples or key == list(samples)[-1]  # side by side
                samples.setdefault(key, {})[ending] = tar.extractfile(member).read()
        assert all(set(files) == {"mp4", "json"} for files in samples.values())
        keys += samples
    assert keys == [f"clip-{i:05d}" for i in range(3, 8)]


def test_clips_are_read_back_in_order_with_sound_captions_and_truth(whole, tmp_path):
    found = list(read_shards(whole))
    assert [key for key, *_ in found] == [f"clip-{i:05d}" for i in range(3, 8)]
    for index, (_, truth, captions, mp4) in enumerate(found, 3):
        clip = make(index)
        assert truth == clip.truth and captions == clip.captions
        path = tmp_path / "a.mp4"
        path.write_bytes(mp4)
        with read_video(path) as reader:
            frames = np.stack(list(reader))
            assert reader.fps == 10
        assert frames.shape == clip.video.shape
        assert np.abs(frames.astype(int) - clip.video).mean() < 8
        with av.open(io.BytesIO(mp4)) as file:
            assert len(file.streams.audio) == index % 2
            if index % 2:
                sound = file.streams.audio[0]
                assert (sound.rate, sound.channels) == (24000, 2)
    assert [key for key, *_ in read_shards(whole, [2, 0])] == [
        "clip-00007", "clip-00003", "clip-00004"
    ]  # fmt: skip


def test_tables_have_the_same_columns_though_all_of_one_are_none(whole):
    tables = [parquet.read_table(whole / f"truth-{k:06d}.parquet") for k in range(3)]
    assert tables[0].schema == tables[1].schema == tables[2].schema
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["index"] for row in rows] == [3, 4, 5, 6, 7]
    assert [row["speed"] for row in rows] == [None, 2.0, 2.5, 3.0, 3.5]
    assert [row["samples"] for row in rows] == [2400, 0, 2400, 0, 2400]
    assert rows[0]["key"] == "clip-00003" and (rows[0]["height"], rows[0]["width"]) == (48, 80)
    assert (rows[1]["falls"], rows[1]["objects"], rows[1]["floor"]) == (True, 1, None)
    assert json.loads(rows[1]["truth"]) == make(4).truth
    assert dict(rows[1]["captions"]) == make(4).captions


class Stop(BaseException):
    pass


def stop(*_, **__):
    raise Stop


def interrupt(monkeypatch, where):
    """Return a generator to write with; stop in the middle of a shard, or before a step of one."""
    if where == "shard":
        calls = []

        def once(index):
            calls.append(index)
            return stop() if index == 6 else make(index)

        return Generator("test", "1", once, COLUMNS)
    if where == "table":
        monkeypatch.setattr(shards, "write_table", stop)
    if where == "entry":
        monkeypatch.setattr(shards, "tools", stop)
    if where == "manifest":
        monkeypatch.setattr(shards, "_merge", stop)
    return GENERATOR


@pytest.mark.parametrize("where", ["shard", "table", "entry", "manifest"])
def test_a_run_stopped_anywhere_ends_in_the_same_bytes(whole, tmp_path, monkeypatch, where):
    with monkeypatch.context() as patch, pytest.raises(Stop):
        write(tmp_path / "set", interrupt(patch, where))
    left = content(tmp_path / "set")
    assert "manifest.json" not in left and not any(name.startswith(".") for name in left)
    assert ("clips-000000.tar" in left) and ("truth-000000.parquet" in left) == (where != "table")
    assert ("shard-000000.json" in left) == (where in ("shard", "manifest"))
    made = []

    def counted(index):
        made.append(index)
        return make(index)

    write(tmp_path / "set", Generator("test", "1", counted, COLUMNS))
    assert content(tmp_path / "set") == content(whole)
    # what was whole is not made again
    assert made == {"shard": [5, 6, 7], "manifest": []}.get(where, [3, 4, 5, 6, 7])


PROGRAM = textwrap.dedent(
    """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from test_shards import COLUMNS, SETTINGS, make
    from kineograph.world.shards import Generator, write_shards

    def killed(index):
        if index == {kill}:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(index)

    write_shards(
        Path({folder!r}), Generator("test", "1", killed, COLUMNS), **SETTINGS,
        worker={worker}, workers={workers},
    )
    """
)


# glibc fills what it hands out with a byte: what is left in memory must not decide a file
MEMORY = {"MALLOC_PERTURB_": "85", "MALLOC_MMAP_THRESHOLD_": "1000000000"}


def start(request, folder, *, kill=-1, worker=0, workers=1):
    code = PROGRAM.format(
        tests=str(request.path.parent), folder=str(folder), kill=kill, worker=worker,
        workers=workers,
    )  # fmt: skip
    words = [sys.executable, "-W", "error", "-c", code]
    return subprocess.Popen(words, stderr=subprocess.PIPE, env=os.environ | MEMORY)


def finished(process):
    """Return exit status and stderr; a process that does not end is killed."""
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, said.decode()


def test_a_killed_process_leaves_nothing_that_stays(whole, tmp_path, request):
    status, _ = finished(start(request, tmp_path / "set", kill=4))
    assert status == -9
    assert ".clips-000000.tar.part" in content(tmp_path / "set")
    write(tmp_path / "set")
    assert content(tmp_path / "set") == content(whole)


def test_workers_make_their_own_shards_at_the_same_time(whole, tmp_path, request):
    folder = tmp_path / "set"
    workers = [start(request, folder, worker=k, workers=2) for k in range(2)]
    for status, said in [finished(process) for process in workers]:
        assert status == 0, said
    assert content(folder) == content(whole)


def test_a_worker_makes_only_its_own_and_the_last_one_the_manifest(whole, tmp_path):
    write(tmp_path, worker=1, workers=2)
    assert set(content(tmp_path)) == {"plan.json", *(name.format(1) for name in FILES)}
    with pytest.raises(RequestError, match="not finished"):
        next(read_shards(tmp_path))
    assert [f.file for f in verify(tmp_path)] == ["shard-000000.json", "shard-000002.json"]
    write(tmp_path, worker=0, workers=2)
    assert content(tmp_path) == content(whole)


def test_a_shard_that_another_process_makes_is_left_alone(tmp_path, request):
    write(tmp_path)
    (tmp_path / "shard-000001.json").unlink()
    with shards._locked(tmp_path, 1):
        status, said = finished(start(request, tmp_path))
    assert status == 1
    assert "shard 1 of" in said and "another process" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generator": Generator("other", "1", make, COLUMNS)}, ['"test"', '"other"']),
        (
            {"generator": Generator("test", "2", make, COLUMNS)},
            ['"version": "1"', '"version": "2"'],
        ),
        ({"generator": Generator("test", "1", make, {"speed": float})}, ['"floor"', "columns"]),
        ({"seed": 4}, ["seed 3", "not 4"]),
        ({"clips_per_shard": 3}, ["clips_per_shard 2", "not 3"]),
        ({"clips": 6}, ["clips 5", "not 6"]),
    ],
)
def test_a_folder_of_other_clips_is_refused(whole, change, said):
    before = content(whole)
    with pytest.raises(RequestError) as refused:
        write(whole, **change)
    assert all(part in str(refused.value) for part in (*said, str(whole)))
    assert content(whole) == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [cut, flip, lambda path: path.unlink()])
@pytest.mark.parametrize("name", [name.format(1) for name in FILES] + ["manifest.json"])
def test_what_is_damaged_or_missing_is_found_and_made_again(whole, tmp_path, harm, name):
    for path, data in content(whole).items():
        (tmp_path / path).write_bytes(data)
    harm(tmp_path / name)
    faults = verify(tmp_path)
    if name != "shard-000001.json":  # of which a wrong hash is left, or nothing
        assert [fault.file for fault in faults] == [name]
    assert {fault.shard for fault in faults} == {None if name == "manifest.json" else 1}
    write(tmp_path)
    assert content(tmp_path) == content(whole)
    assert verify(tmp_path) == []


def test_a_damaged_tar_is_no_end_of_the_clips(whole, tmp_path):
    for path, data in content(whole).items():
        (tmp_path / path).write_bytes(data)
    path = tmp_path / "clips-000001.tar"
    data = path.read_bytes()
    for size in (0, 400, 1500):  # the end is filled up with zeros
        path.write_bytes(data[:size])
        with pytest.raises(RequestError, match=r"clips-000001\.tar"):
            list(read_shards(tmp_path))
    path.unlink()
    with pytest.raises(RequestError, match=r"clips-000001\.tar"):
        list(read_shards(tmp_path))


def test_progress_counts_what_is_there_and_reckons_with_what_is_made(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(shards, "monotonic", lambda: float(next(clock)))
    write(tmp_path, worker=0, workers=2)
    (tmp_path / "shard-000002.json").unlink()
    seen = []
    clock = iter([0.0, 0.0, 0.5])
    write(tmp_path, worker=0, workers=2, on_progress=seen.append)
    assert [(p.done, p.total) for p in seen] == [(2, 3), (3, 3)]
    assert (seen[0].rate, seen[0].seconds_left) == (None, None)
    seen.clear()
    clock = iter([0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    write(tmp_path / "new", on_progress=seen.append)
    assert seen[2].line == "2/5 clips, 2 a second, about 2 s left"
    assert seen[0].line == "0/5 clips"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clips": 0}, "clips 0"),
        ({"seed": -1}, "seed -1"),
        ({"clips_per_shard": 0}, "clips_per_shard 0"),
        ({"worker": 2, "workers": 2}, "worker 2 of 2.*0 to 1"),
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(tmp_path, settings, said):
    with pytest.raises(RequestError, match=said):
        write(tmp_path / "set", **settings)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    for read in (verify, lambda folder: next(read_shards(folder))):
        with pytest.raises(RequestError, match="holds no dataset"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "a.b"}, "'a.b'"),
        ({"key": "a/b"}, "'a/b'"),
        ({"key": "same"}, "taken"),
        ({"truth": {"x": float("nan")}}, "no JSON"),
        ({"truth": {"x": object()}}, "no JSON"),
        ({"columns": {"speed": 1.0}}, "floor"),
        ({"columns": {"speed": "fast", "objects": 1, "falls": True, "floor": ""}}, "speed.*float"),
        ({"columns": {"speed": 1, "objects": True, "falls": True, "floor": ""}}, "objects.*int"),
    ],
)
def test_a_clip_that_is_none_is_the_generators_fault(tmp_path, change, said):
    def wrong(index):
        return Clip(**{**vars(make(index)), **change})

    with pytest.raises(ValueError, match=said):
        write(tmp_path, Generator("test", "1", wrong, COLUMNS))
    assert set(content(tmp_path)) == {"plan.json"}
    for columns in ({"key": str}, {"x": list}):
        with pytest.raises(ValueError, match="column"):
            write(tmp_path, Generator("test", "1", make, columns))
