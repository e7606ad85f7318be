from __future__ import annotations

import pytest
import torch

from kineograph.weights.keymaps import rename


def test_rows_apply_in_order_each_to_the_result_of_the_one_before():
    weights = {"blocks.0.attn.q.weight": torch.zeros(1), "head.bias": torch.ones(1)}
    table = [(r"\.attn\.", ".attn1."), (r"(attn1)\.([qkv])\.", r"\1.to_\2."), (r"^head\.", "out.")]
    renamed = rename(weights, table)
    assert list(renamed) == ["blocks.0.attn1.to_q.weight", "out.bias"]
    assert renamed["out.bias"] is weights["head.bias"]


def test_refuses_to_lose_a_weight():
    with pytest.raises(ValueError, match="two weights would be named 'x'"):
        rename({"a": torch.zeros(1), "b": torch.zeros(1)}, [("[ab]", "x")])
