"""Names of weights elsewhere, as tables: a rename is a row, never code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from kineograph.spec import ImageConfig, VaeConfig

Table = Sequence[tuple[str, str]]


def new_name(name: str, table: Table) -> str:
    """Return a weight's new name: each row is a regular expression and its replacement.

    Rows apply in order, each to the result of the one before.
    """
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def rename(state_dict: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Return the weights under new names; raises `ValueError` if two would end under one."""
    renamed: dict[str, Tensor] = {}
    for name, weight in state_dict.items():
        new = new_name(name, table)
        if new in renamed:
            raise ValueError(f"two weights would be named {new!r}")
        renamed[new] = weight
    return renamed


def used(name: str, unused: str) -> bool:
    """Return whether a weight in a file of others is one that we read."""
    return re.search(unused, name) is None


def split_qkv(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with every joint projection of queries, keys and values in three."""
    split: dict[str, Tensor] = {}
    for name, weight in state_dict.items():
        if ".qkv_proj." not in name:
            split[name] = weight
            continue
        for letter, part in zip("qkv", weight.chunk(3), strict=True):
            split[name.replace(".qkv_proj.", f".{letter}_proj.")] = part
    return split


# VideoDiT carries the parameter names of the original Wan files.
DIT_TO_DIFFUSERS: Table = [
    (r"^text_embedding\.0\.", "condition_embedder.text_embedder.linear_1."),
    (r"^text_embedding\.2\.", "condition_embedder.text_embedder.linear_2."),
    (r"^time_embedding\.0\.", "condition_embedder.time_embedder.linear_1."),
    (r"^time_embedding\.2\.", "condition_embedder.time_embedder.linear_2."),
    (r"^time_projection\.1\.", "condition_embedder.time_proj."),
    (r"^img_emb\.proj\.0\.", "condition_embedder.image_embedder.norm1."),
    (r"^img_emb\.proj\.1\.", "condition_embedder.image_embedder.ff.net.0.proj."),
    (r"^img_emb\.proj\.3\.", "condition_embedder.image_embedder.ff.net.2."),
    (r"^img_emb\.proj\.4\.", "condition_embedder.image_embedder.norm2."),
    (r"^img_emb\.emb_pos$", "condition_embedder.image_embedder.pos_embed"),
    (r"^head\.head\.", "proj_out."),
    (r"modulation$", "scale_shift_table"),
    (r"^head\.scale", "scale"),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.([kv])_img\.", r".add_\1_proj."),
    (r"\.norm_k_img\.", ".norm_added_k."),
    (r"\.before_proj\.", ".proj_in."),
    (r"\.after_proj\.", ".proj_out."),
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

# transformers ties this to the first, and some files hold it.
TEXT_UNUSED_IN_TRANSFORMERS = r"^encoder\.embed_tokens\."

# ImageEncoder carries the parameter names of the original Wan files as well, but for their prefix.
IMAGE_TO_WAN: Table = [(r"^", "visual.")]
# transformers keeps queries, keys and values apart: `split_qkv` comes last.
IMAGE_TO_TRANSFORMERS: Table = [
    (r"^patch_embedding\.", "embeddings.patch_embedding."),
    (r"^cls_embedding$", "embeddings.class_embedding"),
    (r"^pos_embedding$", "embeddings.position_embedding.weight"),
    (r"^pre_norm\.", "pre_layrnorm."),  # transformers' spelling
    (r"^transformer\.", "encoder.layers."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"\.attn\.to_qkv\.", ".self_attn.qkv_proj."),
    (r"\.attn\.proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
]
OLD_PREFIX = "vision_model."  # before these names in files of transformers before 5


def image_unused_in_wan(config: ImageConfig) -> str:
    """Return the pattern of what Wan's file holds besides: the text tower, last block and head."""
    last = rf"visual\.(transformer\.{config.num_layers}|post_norm|head)"
    return rf"^(textual\.|log_scale$|{last}(\.|$))"


def image_unused_in_transformers(config: ImageConfig) -> str:
    """Return the pattern of what transformers' file holds besides: the last block and the head."""
    last = rf"encoder\.layers\.{config.num_layers}|post_layernorm|embeddings\.position_ids"
    return rf"^({last}|visual_projection)(\.|$)"


# VideoVAE carries the parameter names of diffusers' AutoencoderKLWan: nothing to rename.
VAE_TO_DIFFUSERS: Table = []


def vae_to_wan(config: VaeConfig) -> Table:
    """Return the table from VideoVAE to the original files of Wan 2.1, or 2.2 where residual."""
    blocks = config.num_res_blocks
    inside = [
        (r"\.norm1\.", ".residual.0."),
        (r"\.conv1\.", ".residual.2."),
        (r"\.norm2\.", ".residual.3."),
        (r"\.conv2\.", ".residual.6."),
        (r"\.conv_shortcut\.", ".shortcut."),
    ]
    around = [
        (r"^quant_conv\.", "conv1."),
        (r"^post_quant_conv\.", "conv2."),
        (r"\.conv_in\.", ".conv1."),
        (r"\.norm_out\.", ".head.0."),
        (r"\.conv_out\.", ".head.2."),
        (r"\.mid_block\.resnets\.0\.", ".middle.0."),
        (r"\.mid_block\.attentions\.0\.", ".middle.1."),
        (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    ]
    if config.residual:
        levels = [
            (r"\.down_blocks\.(\d+)\.resnets\.", r".downsamples.\1.downsamples."),
            (r"\.down_blocks\.(\d+)\.downsampler\.", rf".downsamples.\1.downsamples.{blocks}."),
            (r"\.up_blocks\.(\d+)\.resnets\.", r".upsamples.\1.upsamples."),
            (r"\.up_blocks\.(\d+)\.upsampler\.", rf".upsamples.\1.upsamples.{blocks + 1}."),
        ]
    else:
        levels = [(r"\.down_blocks\.", ".downsamples.")]
        # There the parts of all levels stand in one row.
        for i in range(len(config.dim_mult)):
            first = i * (blocks + 2)
            levels += [
                (rf"\.up_blocks\.{i}\.resnets\.{j}\.", f".upsamples.{first + j}.")
                for j in range(blocks + 1)
            ]
            last = first + blocks + 1
            levels.append((rf"\.up_blocks\.{i}\.upsamplers\.0\.", f".upsamples.{last}."))
    return inside + around + levels
