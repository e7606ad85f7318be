"""What the tests of training share: tiny parts on disk, made once, and one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from kineograph.presets import TINY
from kineograph.train import latents
from kineograph.train.recipe import LatentRecipe, TokenizerRecipe
from kineograph.train.tokens import learn_tokenizer
from kineograph.train.world1 import FirstWorld
from kineograph.weights.files import save_weights
from kineograph.weights.folder import random_parts


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Bits are compared: sums must not be cut otherwise from one run to the next.

    Of the modules' scope, so that the runs that a module shares are made under it too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_vae(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save_weights(path, random_parts(TINY)["vae"], TINY.vae)
    return path


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    learn_tokenizer(TokenizerRecipe("tiny", captions=200), path)
    return path


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.safetensors"
    save_weights(path, random_parts(TINY)["text"], TINY.text)
    return path


@contextmanager
def shortened() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FirstWorld, "num_frames", 5)
        yield


@pytest.fixture
def short_clips() -> Iterator[None]:
    """Clips of five frames instead of 25."""
    with shortened():
        yield


@pytest.fixture(scope="session")
def store_recipe() -> LatentRecipe:
    """Four shards of two clips each, two of two images, and two clips for validation."""
    return LatentRecipe(
        "tiny", clips=8, images=4, shard=2, statistics_clips=2, validation_clips=2, compiled=False
    )


@pytest.fixture(scope="session")
def store(store_recipe, tiny_vae, tmp_path_factory) -> Path:
    """Made of short clips, in this process."""
    folder = tmp_path_factory.mktemp("store") / "latents"
    with shortened():
        latents.write_latents(store_recipe, tiny_vae, folder, workers=1)
    return folder


def same(a: Any, b: Any) -> bool:
    """Compare nested states bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.fixture(scope="session")
def same_state() -> Callable[[Path, Path], bool]:
    """Tell whether the checkpoints of two runs agree in every bit but the time they took."""

    def compare(a: Path, b: Path) -> bool:
        first, second = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (a, b))
        assert first.pop("seconds") > 0 and second.pop("seconds") > 0
        return same(first, second)

    return compare
