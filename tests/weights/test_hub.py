"""Ids of the hub as names of models, and what lies in its cache; nothing else is asked."""

import socket

import pytest
from wan_rows import ROWS, random_modules, scaled, write_diffusers, write_original

from kineograph.errors import RequestError, WeightsError
from kineograph.pipeline import load
from kineograph.presets import PRESETS
from kineograph.request import GenerationRequest
from kineograph.resolving import resolve
from kineograph.weights.folder import inventory, locate, open_parts, spec_of
from kineograph.weights.hub import HubId, hub_id, which

COMMIT, OTHER = "a" * 40, "b" * 40
TI2V, T2V, SMALL = "wan2.2-ti2v-5b", "wan2.2-t2v-a14b", "wan2.1-t2v-1.3b"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, no network, and the table scaled."""
    for name in ROWS:
        monkeypatch.setitem(PRESETS, name, scaled(name))
    monkeypatch.setenv("KINEOGRAPH_CACHE", str(tmp_path / "kineograph"))
    monkeypatch.delenv("KINEOGRAPH_MODELS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "hub"


def put(cache, repo, name, write, revision="main", commit=COMMIT):
    """Lay a scaled model into the cache as the hub's library does; return its snapshot."""
    home = cache / f"models--{repo.replace('/', '--')}"
    (home / "snapshots").mkdir(parents=True, exist_ok=True)
    folder = home / "snapshots" / commit
    write(folder, PRESETS[name], random_modules(PRESETS[name]))
    (home / "blobs").mkdir(exist_ok=True)
    for i, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        blob = path.rename(home / "blobs" / f"{commit[:4]}{i}")
        path.symlink_to(blob)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / revision).write_text(commit)
    return folder


@pytest.mark.parametrize(("layout", "write"), [(0, write_original), (1, write_diffusers)])
@pytest.mark.parametrize("name", [TI2V, T2V])
def test_a_row_and_its_id_are_found_in_the_cache_in_either_layout(cache, name, layout, write):
    repo = PRESETS[name].hub[layout]
    folder = put(cache, repo, name, write)
    assert locate(name) == locate(repo) == folder
    spec = spec_of(repo)
    assert (spec.name, spec.dit) == (repo, PRESETS[name].dit)
    wanted = random_modules(PRESETS[name])
    modules = open_parts(repo).modules
    assert set(modules) == set(wanted)
    for kind, module in modules.items():
        for key, weight in wanted[kind].state_dict().items():
            assert module.state_dict()[key].equal(weight), (kind, key)


def test_an_id_is_loaded_and_asked_by_its_own_name(cache):
    repo = f"{PRESETS[SMALL].hub[0]}@v1"
    put(cache, PRESETS[SMALL].hub[0], SMALL, write_original, revision="v1")
    pipeline = load(repo)
    assert resolve(GenerationRequest("a ball", model=repo), pipeline.spec).model == repo
    with pytest.raises(WeightsError, match="fetch it with: kineo download Wan-AI/Wan2"):
        locate(PRESETS[SMALL].hub[0])  # whose main is not here


def test_a_revision_is_a_branch_or_a_commit(cache):
    repo = PRESETS[TI2V].hub[1]
    main = put(cache, repo, TI2V, write_diffusers)
    old = put(cache, repo, TI2V, write_diffusers, revision="old", commit=OTHER)
    assert locate(repo) == locate(f"{repo}@main") == locate(f"{repo}@{COMMIT}") == main
    assert locate(f"{repo}@old") == locate(f"{repo}@{OTHER}") == old


def test_what_a_snapshot_lacks_is_named(cache):
    repo = PRESETS[T2V].hub[1]
    folder = put(cache, repo, T2V, write_diffusers)
    shard = "transformer_2/diffusion_pytorch_model-00002-of-00002.safetensors"
    (folder / shard).resolve().unlink()  # a link that leads nowhere is no file
    for name in (T2V, repo):
        with pytest.raises(WeightsError, match=f"incomplete, it lacks {shard}; .*{repo}"):
            locate(name)
    (folder / "transformer_2" / "diffusion_pytorch_model.safetensors.index.json").unlink()
    with pytest.raises(WeightsError, match=f"it lacks {shard};"):  # told by the other's name
        locate(T2V)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"lacks tokenizer/tokenizer\.json, transformer_2/"):
        open_parts(repo)
    original = put(cache, PRESETS[T2V].hub[0], T2V, write_original, commit=OTHER)
    assert locate(T2V) == original  # the other layout is whole
    (original / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(WeightsError, match=r"lacks Wan\*_VAE\.pth"):
        locate(T2V)


def test_an_unknown_id_is_told_by_its_files(cache):
    put(cache, "someone/my-wan2.1-t2v-14b", "wan2.1-t2v-14b", write_diffusers)
    assert spec_of("someone/my-wan2.1-t2v-14b").hub == PRESETS["wan2.1-t2v-14b"].hub
    put(cache, "someone/five", TI2V, write_original)
    assert spec_of("someone/five").fps == 24
    assert load("someone/five").spec.name == "someone/five"
    with pytest.raises(WeightsError, match=r"someone/six is neither a folder nor .*/hub; if"):
        spec_of("someone/six")


def test_the_folders_of_the_variable_come_first(cache, tmp_path, monkeypatch):
    repo = PRESETS[TI2V].hub[0]
    put(cache, repo, TI2V, write_original)
    monkeypatch.setenv("KINEOGRAPH_MODELS", str(tmp_path))
    mine = tmp_path / repo.rsplit("/", 1)[-1]
    write_original(mine, PRESETS[TI2V], random_modules(PRESETS[TI2V]))
    assert locate(TI2V) == locate(repo) == mine
    assert locate(f"{repo}@{COMMIT}") != mine  # which revision that is nobody knows


def test_a_missing_model_names_the_command_that_fetches_it():
    with pytest.raises(WeightsError, match=rf"fetch them with: kineo download {TI2V}$"):
        locate(TI2V)


def test_the_list_of_models_tells_of_open_weights(cache):
    put(cache, PRESETS[T2V].hub[1], T2V, write_diffusers)
    entry = next(entry for entry in inventory() if entry.spec.name == T2V)
    modules = random_modules(PRESETS[T2V])
    numbers = [sum(w.numel() for w in modules[k].state_dict().values()) for k in ("dit", "low_dit")]
    assert entry.parameters == sum(numbers)
    assert entry.bytes > 4 * entry.parameters


def test_names_that_lead_out_of_the_cache_are_no_ids(cache):
    for name in ("../a", "a/..", "a/b@../../c", "a/b@/etc", "a/b/c", "a--b/c", "a", "/a/b", "a/b@"):
        assert hub_id(name) is None, name
    assert hub_id("a/b.c@refs/pr/1") == HubId("a/b.c", "refs/pr/1")
    home = cache / "models--a--b"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(f"../../{COMMIT}")
    (cache / COMMIT).mkdir()
    with pytest.raises(WeightsError, match="neither a folder nor in"):
        locate("a/b")


def test_which_id_is_meant():
    assert which(TI2V, None, None) == HubId("Wan-AI/Wan2.2-TI2V-5B")
    assert which(TI2V, "diffusers", "v1") == HubId("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "v1")
    assert which("a/b@v1", None, None) == which("a/b", None, "v1") == HubId("a/b", "v1")
    for arguments, message in (
        (("nano", None, None), "nano is not on the hub; published there are: wan2.1-t2v-1.3b"),
        (("giant", None, None), "unknown model .giant.: neither a name that"),
        ((f"{SMALL.replace('1.3', '14')}-distill", "diffusers", None), "has no layout 'diffusers'"),
        (("a/b", "original", None), "layout 'original' goes with the name of a model"),
        ((TI2V, "odd", None), "unknown layout 'odd'; allowed: original, diffusers"),
        (("a/b@v1", None, "v2"), "revision 'v2' is not allowed with 'a/b@v1'"),
        (("a/b", None, "../c"), r"revision '\.\./c' is not allowed"),
    ):
        with pytest.raises(RequestError, match=message):
            which(*arguments)
