"""Names of weights elsewhere, as tables: a rename is a row, never code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

Table = Sequence[tuple[str, str]]

# VideoVAE carries the parameter names of diffusers' AutoencoderKLWan: nothing to rename.
VAE_TO_DIFFUSERS: Table = []


def rename(state_dict: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Return the weights under new names: each row is a regular expression and its replacement.

    Rows apply in order, each to the result of the one before. Raises `ValueError` if two
    weights end under one name.
    """
    renamed: dict[str, Tensor] = {}
    for name, weight in state_dict.items():
        new = name
        for pattern, replacement in table:
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise ValueError(f"two weights would be named {new!r}")
        renamed[new] = weight
    return renamed

# VideoDiT carries the parameter names of the original Wan files.
DIT_TO_DIFFUSERS: Table = [
    (r"^text_embedding\.0\.", "condition_embedder.text_embedder.linear_1."),
    (r"^text_embedding\.2\.", "condition_embedder.text_embedder.linear_2."),
    (r"^time_embedding\.0\.", "condition_embedder.time_embedder.linear_1."),
    (r"^time_embedding\.2\.", "condition_embedder.time_embedder.linear_2."),
    (r"^time_projection\.1\.", "condition_embedder.time_proj."),
    (r"^head\.head\.", "proj_out."),
    (r"modulation$", "scale_shift_table"),
    (r"^head\.scale", "scale"),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"(\.attn[12])\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attn[12])\.o\.", r"\1.to_out.0."),
    (r"\.norm3\.", ".norm2."),
    (r"\.ffn\.0\.", ".ffn.net.0.proj."),
    (r"\.ffn\.2\.", ".ffn.net.2."),
]

# TextEncoder carries the parameter names of the original Wan files as well.
TEXT_TO_TRANSFORMERS: Table = [
    (r"^token_embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.", "encoder.block."),
    (r"\.norm1\.", ".layer.0.layer_norm."),
    (r"\.pos_embedding\.embedding\.", ".layer.0.SelfAttention.relative_attention_bias."),
    (r"\.attn\.", ".layer.0.SelfAttention."),
    (r"\.norm2\.", ".layer.1.layer_norm."),
    (r"\.ffn\.gate\.0\.", ".layer.1.DenseReluDense.wi_0."),
    (r"\.ffn\.fc1\.", ".layer.1.DenseReluDense.wi_1."),
    (r"\.ffn\.fc2\.", ".layer.1.DenseReluDense.wo."),
]
