"""Kept contexts: exact, found by all that decides them, and few."""

import torch

from kineograph.runtime import contexts
from kineograph.runtime.contexts import ContextStore

ROWS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def test_a_context_is_found_by_its_tokens_and_by_what_made_it(tmp_path):
    store = ContextStore(tmp_path / "kept", {"text": "a"})
    assert store.get([1, 2, 3]) is None
    store.put([1, 2, 3], ROWS)
    assert torch.equal(store.get([1, 2, 3]), ROWS)
    assert store.get([1, 2]) is None
    assert ContextStore(tmp_path / "kept", {"text": "b"}).get([1, 2, 3]) is None
    store.path([1, 2, 3]).write_bytes(b"damaged")
    assert store.get([1, 2, 3]) is None


def test_no_more_than_so_many_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(contexts, "KEPT", 2)
    store = ContextStore(tmp_path, {})
    for i in range(4):
        store.put([i], ROWS)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path):
    (tmp_path / "file").write_text("")
    store = ContextStore(tmp_path / "file" / "kept", {})
    store.put([1], ROWS)
    assert store.get([1]) is None
