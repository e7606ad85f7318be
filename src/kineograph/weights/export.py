"""The way out: a model as a folder that diffusers' `WanPipeline` loads and runs.

Everything is written by hand, JSON and safetensors; neither diffusers nor transformers is
needed. The upsampler has no place in that pipeline: it makes clips of the base size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from kineograph.errors import RequestError
from kineograph.media.files import PendingFile, refuse_os_errors
from kineograph.models.tokenizer import END, PAD, UNKNOWN
from kineograph.spec import DiTConfig, ModelSpec, TextConfig, VaeConfig
from kineograph.weights.files import save_tensors
from kineograph.weights.folder import Parts, open_parts
from kineograph.weights.keymaps import (
    DIT_TO_DIFFUSERS,
    TEXT_TO_TRANSFORMERS,
    VAE_TO_DIFFUSERS,
    Table,
    rename,
)

DIFFUSERS_VERSION = "0.37.0"  # the oldest that our tests run
# Parts of a transformer that diffusers has no place for; without numbers and without the ends of
# steps it computes the same.
OURS = ("control_embedding.", "way_embedding.")
SIGMA_SCALE = 1000  # diffusers' timestep is sigma times this, as is the input of our embedding


def export_diffusers(model: str, output: Path) -> None:
    """Write a model to a new folder in diffusers' layout, in float32, whole or not at all.

    Raises:
        RequestError: `model` is unknown, or the folder is not empty or cannot be written.
        WeightsError: the model's files are missing or damaged.
    """
    with refuse_os_errors(output):
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise RequestError(f"cannot write {output}: it exists and is not an empty folder")
    pending = PendingFile(output)
    parts = open_parts(model)
    try:
        with refuse_os_errors(output):
            _write_all(parts, pending.temporary)
            pending.commit()
    except BaseException:
        pending.discard()
        raise


def _write_all(parts: Parts, folder: Path) -> None:
    spec, modules = parts.spec, parts.modules
    weights = "diffusion_pytorch_model.safetensors"
    folder.mkdir()
    _write_json(folder / "model_index.json", _index())
    _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler(spec))
    rows: list[tuple[str, str, nn.Module, Table, dict[str, Any]]] = [
        ("transformer", weights, modules["dit"], DIT_TO_DIFFUSERS, _transformer(spec.dit)),
        ("vae", weights, modules["vae"], VAE_TO_DIFFUSERS, _vae(spec.vae)),
        (
            "text_encoder",
            "model.safetensors",
            modules["text"],
            TEXT_TO_TRANSFORMERS,
            _text_encoder(spec.text),
        ),
    ]
    for name, file, module, table, config in rows:
        _write_json(folder / name / "config.json", config)
        known = {
            key: t.float() for key, t in module.state_dict().items() if not key.startswith(OURS)
        }
        tensors = rename(known, table)
        save_tensors(folder / name / file, tensors, {"format": "pt"})
    _write_json(folder / "tokenizer" / "tokenizer_config.json", _tokenizer(spec.dit))
    copy = folder / "tokenizer" / "tokenizer.json"
    copy.write_bytes(parts.tokenizer.read_bytes())


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _index() -> dict[str, Any]:
    return {
        "_class_name": "WanPipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "boundary_ratio": None,
        "expand_timesteps": False,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def _scheduler(spec: ModelSpec) -> dict[str, Any]:
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": SIGMA_SCALE,
        "shift": spec.shift,
    }


def _transformer(dit: DiTConfig) -> dict[str, Any]:
    return {
        "_class_name": "WanTransformer3DModel",
        "_diffusers_version": DIFFUSERS_VERSION,
        "patch_size": list(dit.patch_size),
        "num_attention_heads": dit.num_heads,
        "attention_head_dim": dit.head_dim,
        "in_channels": dit.in_channels,
        "out_channels": dit.out_channels,
        "text_dim": dit.text_dim,
        "freq_dim": dit.freq_dim,
        "ffn_dim": dit.ffn_dim,
        "num_layers": dit.num_layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": dit.eps,
    }


def _vae(vae: VaeConfig) -> dict[str, Any]:
    return {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": DIFFUSERS_VERSION,
        "base_dim": vae.encoder_dim,
        "decoder_base_dim": vae.decoder_dim,
        "z_dim": vae.z_dim,
        "dim_mult": list(vae.dim_mult),
        "num_res_blocks": vae.num_res_blocks,
        "attn_scales": [],
        "temperal_downsample": list(vae.temporal_downsample),  # diffusers' spelling
        "dropout": 0.0,
        "latents_mean": list(vae.latents_mean or (0.0,) * vae.z_dim),
        "latents_std": list(vae.latents_std or (1.0,) * vae.z_dim),
        "is_residual": vae.residual,
        "in_channels": vae.in_channels * vae.patch_size**2,
        "out_channels": vae.in_channels * vae.patch_size**2,
        "patch_size": vae.patch_size if vae.patch_size > 1 else None,
        "scale_factor_temporal": vae.temporal_stride,
        "scale_factor_spatial": vae.spatial_stride,
    }


def _text_encoder(text: TextConfig) -> dict[str, Any]:
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "vocab_size": text.vocab_size,
        "d_model": text.dim,
        "d_kv": text.head_dim,
        "d_ff": text.ffn_dim,
        "num_layers": text.num_layers,
        "num_heads": text.num_heads,
        "relative_attention_num_buckets": text.num_buckets,
        "relative_attention_max_distance": text.max_distance,
        "layer_norm_epsilon": text.eps,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "use_cache": False,
        "dtype": "float32",
    }


def _tokenizer(dit: DiTConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": dit.text_len,
        "padding_side": "right",
        "pad_token": PAD,
        "eos_token": END,
        "unk_token": UNKNOWN,
        "clean_up_tokenization_spaces": False,
    }
