import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kineograph.errors import RequestError
from kineograph.serve import storage as storage_module
from kineograph.serve.refusals import NotFound, Unavailable
from kineograph.serve.storage import CHUNK, Storage


@pytest.fixture
def folder(tmp_path):
    return Storage(str(tmp_path / "files"))


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path):
    if request.param == "folder":
        return Storage(str(tmp_path / "files"))
    return Storage(request.getfixturevalue("bucket"))


def test_files_come_back_as_they_were_put(storage, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 3)
    assert storage.put("a/b/one", source) == 768
    assert storage.put("a/two", b"two") == 3
    assert storage.get("a/b/one") == source.read_bytes()
    assert storage.size("a/two") == 3
    storage.put("a/two", b"another")
    assert storage.get("a/two") == b"another"


def test_ranges_are_streamed_in_pieces(storage):
    content = os.urandom(2 * CHUNK + 5)
    storage.put("v", content)
    assert [len(piece) for piece in storage.stream("v")] == [CHUNK, CHUNK, 5]
    assert b"".join(storage.stream("v")) == content
    assert b"".join(storage.stream("v", 7, CHUNK + 9)) == content[7 : CHUNK + 9]
    assert b"".join(storage.stream("v", 5, 5)) == b""


def test_names_are_those_below_a_folder(storage):
    for key in ("v/1/a", "v/1/b", "v/10/c", "w/d"):
        storage.put(key, b"x")
    assert sorted(key for key, _ in storage.names("v/1")) == ["v/1/a", "v/1/b"]
    assert list(storage.names("nothing")) == []


def test_what_is_not_there_is_not_found(storage, tmp_path):
    for ask in (storage.get, storage.size, lambda key: list(storage.stream(key))):
        with pytest.raises(NotFound, match="no file 'x/y'"):
            ask("x/y")
    with pytest.raises(NotFound):
        storage.fetch("x/y", tmp_path / "target")
    with pytest.raises(NotFound):
        storage.copy("x/y", "z")
    assert not (tmp_path / "target").exists()  # nor half of it
    assert not list(tmp_path.glob(".*"))
    storage.delete("x/y")


def test_a_copy_and_its_source_go_by_themselves(storage):
    storage.put("uploads/a", b"x" * 1000)
    storage.copy("uploads/a", "inputs/b")
    storage.delete("uploads/a")
    assert storage.get("inputs/b") == b"x" * 1000
    assert [key for key, _ in storage.names("")] == ["inputs/b"]


def test_the_time_of_a_file_is_that_of_its_last_change(storage):
    before = time.time()
    storage.put("a", b"x")
    [(key, changed)] = storage.names("")
    assert key == "a"
    assert before - 2 < changed < time.time() + 2  # S3 tells whole seconds


def test_a_file_is_fetched_whole_or_not_at_all(storage, tmp_path, monkeypatch):
    storage.put("v", b"abc")
    target = tmp_path / "target"
    storage.fetch("v", target)
    assert target.read_bytes() == b"abc"

    def broken(self, key, start=0, end=None):
        yield b"half"
        raise Unavailable("the line was cut")

    monkeypatch.setattr(Storage, "stream", broken)
    with pytest.raises(Unavailable):
        storage.fetch("v", target)
    assert target.read_bytes() == b"abc"
    assert not list(tmp_path.glob(".*"))


FULL = """
import resource, signal, sys
from kineograph.serve.refusals import Unavailable
from kineograph.serve.storage import Storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
storage = Storage(sys.argv[1])
storage.put("small", b"x" * 1000)
try:
    storage.put("small", b"y" * 200_000)
except Unavailable as error:
    print(error)
assert storage.get("small") == b"x" * 1000, "half of a file took the place of a whole one"
"""


def test_a_file_for_which_there_is_no_room_leaves_the_one_before(tmp_path, run_python):
    ran = run_python("-c", FULL, str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert "the storage did not take 'small'" in ran.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_unavailable_until_there_is_room(tiny_disk):
    storage = Storage(str(tiny_disk / "files"))
    storage.put("a", b"x" * 100_000)
    with pytest.raises(Unavailable, match=r"did not take 'b'.*No space left"):
        storage.put("b", b"y" * 200_000)
    assert [key for key, _ in storage.names("")] == ["a"]
    storage.delete("a")
    storage.put("b", b"y" * 200_000)


def test_a_storage_that_is_away_is_unavailable(tmp_path):
    storage = Storage(str(tmp_path / "files"))
    storage.put("folder/a", b"x")
    with pytest.raises(Unavailable, match="did not take 'folder/a/b'"):
        storage.put("folder/a/b", b"y")  # a file is where a folder should be


def test_an_s3_that_is_away_or_has_no_such_bucket_is_unavailable(bucket, monkeypatch):
    storage = Storage(bucket.replace("bucket", "nobody", 1))
    for ask in (lambda: storage.put("a", b"x"), lambda: list(storage.names(""))):
        with pytest.raises(Unavailable, match=r"nobody-.*non-2xx"):
            ask()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nobody listens
    away = Storage(bucket)
    since = time.monotonic()
    for ask in (away.get, away.size, away.delete, lambda key: away.put(key, b"x")):
        with pytest.raises(Unavailable, match="the storage did not"):
            ask("a")
    assert time.monotonic() - since < 4 * storage_module.PATIENCE["retry_timeout"].seconds


def test_what_is_put_is_on_the_disk_with_the_folders_that_name_it(folder, tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda n: (synced.append(Path(f"/proc/self/fd/{n}").readlink()), real(n))
    )
    folder.put("a/b", b"x")
    root = tmp_path / "files"
    assert synced == [root / "a/b", root / "a", root]


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(RequestError, match=r"gs://bucket.*a folder or s3:// is"):
        Storage("gs://bucket")


def test_two_names_are_not_one(storage):
    assert sys.platform != "linux" or storage.put("A", b"1") == storage.put("a", b"2")
    assert storage.get("A") != storage.get("a")
