"""`kineo download` against a hub on this machine, as a command of its own process."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fake_hub import TOKEN, serving
from wan_rows import PRESETS, ROWS, random_modules, scaled, write_diffusers, write_original

from kineograph.errors import RequestError
from kineograph.weights import fetching
from kineograph.weights.folder import locate, open_parts

TI2V, T2V = "wan2.2-ti2v-5b", "wan2.2-t2v-a14b"
SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
NOT_NEEDED = ("README.md", "assets/film.mp4", "vae/config.json", "spare.bin", "xlm/tokenizer.json")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folders of two models in both layouts, with files besides that no model is opened from."""
    made = {}
    for name in (TI2V, T2V):
        spec = scaled(name)
        modules = random_modules(spec)
        for i, write in enumerate((write_original, write_diffusers)):
            folder = tmp_path_factory.mktemp("published") / "model"
            write(folder, spec, modules)
            for more in NOT_NEEDED:
                (folder / more).parent.mkdir(exist_ok=True)
                (folder / more).write_bytes(b"not needed")
            made[spec.hub[i]] = folder
    return made


@pytest.fixture
def hub(published):
    with serving() as hub:
        hub.repos |= published
        yield hub


@pytest.fixture
def kineo(hub, tmp_path, root):
    """Run the command with the scaled table, the hub of this test and a home of its own."""
    env = os.environ | {
        "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
        "KINEOGRAPH_CACHE": str(tmp_path / "kineograph"), "PYTHONPATH": str(root / "src"),
    }  # fmt: skip
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "KINEOGRAPH_MODELS"):
        env.pop(name, None)
    script = str(root / "tests" / "helpers" / "wan_rows.py")

    def start(*words, **more):
        return subprocess.Popen(
            [sys.executable, script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=env | more, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(*words, **more):
        process = start(*words, **more)
        out, said = process.communicate(timeout=60)
        assert "Traceback" not in said, said
        return SimpleNamespace(status=process.returncode, out=out.strip(), said=said.strip())

    run.start, run.home = start, tmp_path / "home" / "hub"
    return run


@pytest.fixture
def looked_up(kineo, monkeypatch, tmp_path):
    """Let this process look where the command has put things."""
    for name in ROWS:
        monkeypatch.setitem(PRESETS, name, scaled(name))
    monkeypatch.delenv("KINEOGRAPH_MODELS", raising=False)
    monkeypatch.setenv("KINEOGRAPH_CACHE", str(tmp_path / "kineograph"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(kineo.home))


def names_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("name", "layout"), [(TI2V, "diffusers"), (T2V, "original")])
def test_exactly_what_a_model_needs_is_fetched_and_found(kineo, hub, looked_up, name, layout):
    repo = scaled(name).hub[0 if layout == "original" else 1]
    done = kineo("download", name, "--layout", layout)
    assert done.status == 0, done.said
    folder = locate(name)
    assert done.out == str(folder) == str(locate(repo))
    needed = names_in(hub.repos[repo]) - set(NOT_NEEDED)
    assert names_in(folder) == needed
    # Indexes are read to know what is needed, and fetched with the rest.
    assert {path for path, _ in hub.fetched()} == needed
    size = sum((folder / n).stat().st_size for n in needed) / 1e9
    said = f"{len(needed)} files, {size:.2f} GB, of which {size:.2f} GB are to be fetched; "
    assert said in done.said
    wanted = random_modules(scaled(name))
    for kind, module in open_parts(name).modules.items():
        for key, weight in wanted[kind].state_dict().items():
            assert module.state_dict()[key].equal(weight), (kind, key)

    # The hub's own library finds it whole without asking; a second time nothing is fetched.
    from huggingface_hub import snapshot_download

    theirs = snapshot_download(
        repo, cache_dir=kineo.home, local_files_only=True, allow_patterns=sorted(needed)
    )
    assert theirs == str(folder)
    hub.asked.clear()
    again = kineo("download", repo)
    assert again.status == 0 and "of which 0.00 GB" in again.said
    assert all("index" in path for path, _ in hub.fetched())


def test_a_generation_never_downloads_and_says_how_to(kineo, hub, tmp_path):
    for words in (["--model", TI2V], ["--model", PRESETS[TI2V].hub[1]]):
        done = kineo("generate", "a ball", *words, "-o", str(tmp_path / "x.mp4"))
        assert done.status == 2
        assert done.said.splitlines()[-1].endswith(f"kineo download {words[1]}")
    assert not hub.asked


def stopped_in_the_middle(kineo, hub, how, *words):
    """Start a download, wait until a file hangs half way, stop it, and let the hub go on."""
    data = (hub.repos[scaled(TI2V).hub[1]] / SHARD).read_bytes()
    hub.stall[SHARD] = len(data) // 2
    process = kineo.start("download", TI2V, "--layout", "diffusers", *words)
    assert hub.stalled.wait(30)
    while not (parts := [p for p in kineo.home.parent.parent.rglob("*.part") if p.stat().st_size]):
        assert process.poll() is None, process.communicate()
    process.send_signal(how)
    said = process.communicate(timeout=30)[1]
    hub.stall.clear()
    kept = parts[0].stat().st_size
    assert 0 < kept <= len(data) // 2
    return process.returncode, said, kept


def test_an_interrupted_download_goes_on_where_it_was(kineo, hub, looked_up):
    status, said, kept = stopped_in_the_middle(kineo, hub, signal.SIGINT)
    assert status == 130
    words = f"kineo download {TI2V} --layout diffusers"
    assert said.endswith(f"kineo: interrupted; go on with: {words}\n")
    with pytest.raises(Exception, match=r"incomplete, it lacks .*00002-of-00002.*kineo download"):
        locate(TI2V)  # named, not half loaded
    before = {path for path, _ in hub.fetched()} - {SHARD}
    hub.asked.clear()
    done = kineo(*words.split()[1:])
    assert done.status == 0, done.said
    fetched = dict(hub.fetched())
    assert fetched[SHARD] == f"bytes={kept}-"
    assert not {n for n in before if n.endswith(".safetensors")} & fetched.keys()
    data = (hub.repos[scaled(TI2V).hub[1]] / SHARD).read_bytes()
    assert (locate(TI2V) / SHARD).read_bytes() == data
    assert not list(kineo.home.rglob("*.part"))
    open_parts(TI2V)


def test_a_killed_download_into_a_folder_goes_on_too(kineo, hub, looked_up, tmp_path):
    to = tmp_path / "models" / TI2V
    status, _, kept = stopped_in_the_middle(kineo, hub, signal.SIGKILL, "--to", str(to))
    assert status == -signal.SIGKILL
    hub.asked.clear()
    done = kineo("download", TI2V, "--layout", "diffusers", "--to", str(to))
    assert (done.status, done.out) == (0, str(to))
    assert dict(hub.fetched())[SHARD] == f"bytes={kept}-"
    assert names_in(to) == names_in(hub.repos[scaled(TI2V).hub[1]]) - set(NOT_NEEDED)
    assert not kineo.home.exists()  # the cache is not for what has a folder
    open_parts(str(to))


def test_what_comes_wrong_never_gets_its_name(kineo, hub, looked_up):
    hub.flip.add("tokenizer/tokenizer.json")  # a small one has git's hash
    assert "tokenizer.json of" in kineo("download", TI2V, "--layout", "diffusers").said
    hub.flip.clear()
    hub.flip.add(SHARD)
    done = kineo("download", TI2V, "--layout", "diffusers")
    assert done.status == 2
    digest = hashlib.sha256((hub.repos[scaled(TI2V).hub[1]] / SHARD).read_bytes()).hexdigest()
    assert f"{SHARD} of Wan-AI/Wan2.2-TI2V-5B-Diffusers is not what the hub" in done.said
    assert digest[:12] in done.said
    assert not list(kineo.home.rglob("*.part"))
    assert not list(kineo.home.rglob(f"*{SHARD.rsplit('/')[-1]}"))
    hub.flip.clear()
    assert kineo("download", TI2V, "--layout", "diffusers").status == 0
    open_parts(TI2V)


def test_what_lies_there_damaged_is_fetched_again(kineo, hub, looked_up):
    assert kineo("download", TI2V, "--layout", "diffusers").status == 0
    path = locate(TI2V) / SHARD
    good = path.read_bytes()
    path.resolve().write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    hub.asked.clear()
    done = kineo("download", TI2V, "--layout", "diffusers")
    assert done.status == 0
    assert f"warning: {path} is not what the hub tells of it" in done.said
    assert {n for n, _ in hub.fetched() if n.endswith("safetensors")} == {SHARD}
    assert path.read_bytes() == good


def test_a_file_of_yours_stays_until_its_successor_is_whole(kineo, hub, tmp_path):
    to = tmp_path / "mine"
    (to / "transformer").mkdir(parents=True)
    (to / SHARD).write_bytes(b"something of mine")
    hub.flip.add(SHARD)
    kineo("download", TI2V, "--layout", "diffusers", "--to", str(to))
    assert (to / SHARD).read_bytes() == b"something of mine"


def test_a_disk_without_room_is_refused_before_anything_is_fetched(kineo, hub):
    hub.claim["Wan2.2_VAE.pth"] = 10**18
    done = kineo("download", TI2V)
    assert done.status == 2
    said = done.said.splitlines()[-1]
    assert re.search(r"5B needs 1000000000\.00 GB more and \S+ has [\d.]+ GB free; --to", said)
    assert not hub.fetched()


def test_the_token_goes_to_the_hub_and_to_nobody_else(kineo, hub):
    repo = scaled(TI2V).hub[0]
    hub.private.add(repo)
    done = kineo("download", TI2V)
    assert done.status == 2
    assert f"error: the hub has no model {repo}, or keeps it for those whose token" in done.said
    assert kineo("download", TI2V, HF_TOKEN=TOKEN).status == 0
    assert not hub.leaked
    hub.private.clear()
    hub.gated.add(repo)
    done = kineo("download", TI2V, "--to", str(kineo.home / "x"))
    assert done.status == 2
    assert f"{repo} is for those who accepted its terms at {hub.url}/{repo}; then" in done.said


def test_every_trouble_is_one_line(kineo, hub, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.bin").write_bytes(b"x")
    hub.repos["someone/other"] = other
    for words, status, message in (
        (["giant"], 2, "unknown model 'giant': neither a name"),
        (["nano"], 2, "nano is not on the hub"),
        (["someone/none"], 2, "the hub has no model someone/none"),
        ([TI2V, "--revision", "v9"], 2, "Wan-AI/Wan2.2-TI2V-5B has no revision 'v9'"),
        (["someone/other"], 2, r"someone/other has no \*\.safetensors and no Wan"),
        ([TI2V, "--layout", "odd"], 2, "invalid choice: 'odd'"),
    ):
        done = kineo("download", *words)
        assert done.status == status, done.said
        assert re.search(f"^kineo: error: .*{message}", done.said), done.said
        assert len(done.said.splitlines()) == 1
    hub.down = True
    done = kineo("download", TI2V)
    assert (done.status, len(done.said.splitlines())) == (1, 1)
    assert "failed at Wan-AI/Wan2.2-TI2V-5B with status 503" in done.said
    done = kineo("download", TI2V, HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.status, len(done.said.splitlines())) == (1, 1)
    assert "the hub at http://127.0.0.1:9 cannot be reached" in done.said
    done = kineo("download", TI2V, HF_HUB_OFFLINE="1")
    assert (done.status, len(done.said.splitlines())) == (1, 1)
    assert "HF_HUB_OFFLINE keeps from the network" in done.said


def test_a_revision_gets_its_own_name(kineo, hub, looked_up):
    repo = scaled(TI2V).hub[1]
    done = kineo("download", f"{repo}@v1")
    assert done.status == 0, done.said
    assert done.out == str(locate(f"{repo}@v1")) == str(locate(f"{repo}@{hub.commit(repo)}"))
    with pytest.raises(Exception, match="are not here"):
        locate(TI2V)


def test_two_at_once_do_not_write_into_each_other(tmp_path):
    path = tmp_path / "x.part"
    with (
        path.open("ab") as one,
        fetching._alone(one, path),
        path.open("ab") as two,
        pytest.raises(RequestError, match=r"x\.part is being fetched by another process"),
        fetching._alone(two, path),
    ):
        pass


def test_a_hub_that_begins_anew_leaves_no_old_beginning(tmp_path):
    counted = []
    with (tmp_path / "x").open("ab+") as file:
        out = fetching._Counted(file, counted.append)
        out.write(b"old")
        out.seek(max(out.tell() - 3, 0))
        out.truncate()
        out.write(b"newer")
    assert (tmp_path / "x").read_bytes() == b"newer"
    assert sum(counted) == 5
