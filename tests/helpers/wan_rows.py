"""Scaled-down rows of the open Wan models, and folders of them in both layouts.

Run as a script it is the command `kineo` with the table of models scaled down.
"""

import json
import sys
from dataclasses import replace

from kineograph.presets import PRESETS
from kineograph.spec import FrameSize, ImageConfig, TextConfig

TEXT = TextConfig(vocab_size=1024, dim=16, head_dim=8, num_heads=2, ffn_dim=32, num_layers=2)
IMAGE = ImageConfig(image_size=28, patch_size=7, dim=20, ffn_dim=40, num_heads=2, num_layers=2)
SIZE = FrameSize(32, 48, 32, 48)
PICKLES = {
    "vae": "Wan2.1_VAE.pth",
    "text": "models_t5_umt5-xxl-enc-bf16.pth",
    "image": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
}
TRUE = dict(PRESETS)  # before the rows are scaled
ROWS = [name for name, spec in PRESETS.items() if spec.hub]


def scaled(name):
    """The row of a model with every width cut down; what is special of it stays."""
    spec = TRUE[name]
    deep = spec.vae.residual
    vae = replace(
        spec.vae, encoder_dim=4, decoder_dim=8 if deep else 4, z_dim=6 if deep else 4,
        latents_mean=tuple(0.1 * i for i in range(6 if deep else 4)),
        latents_std=tuple(1 + 0.2 * i for i in range(6 if deep else 4)),
    )  # fmt: skip
    more = vae.z_dim + 4 if spec.concatenates else 0
    image = IMAGE if spec.image else None
    control = {}
    if spec.dit.control_layers:
        stride = spec.vae.spatial_stride
        control = {"control_layers": (0,), "control_channels": 2 * vae.z_dim + stride**2}
    dit = replace(
        spec.dit, **control, dim=24,
        ffn_dim=48, num_heads=2, num_layers=2, text_dim=TEXT.dim, freq_dim=32,
        in_channels=vae.z_dim + more, out_channels=vae.z_dim, image_dim=IMAGE.dim if image else 0,
        image_positions=2 * IMAGE.tokens if spec.dit.image_positions else 0,
    )  # fmt: skip
    sizes = {"16:9": FrameSize(32, 64, 32, 64) if deep else SIZE}
    return replace(
        spec, vae=vae, dit=dit, text=TEXT, image=image, sizes=sizes, other_sizes={}, steps=4,
        num_frames=9, max_frames=9,
    )  # fmt: skip


def scale_table():
    """Put the scaled rows in the place of the true ones."""
    for name in ROWS:
        PRESETS[name] = scaled(name)


def random_modules(spec, seed=0):
    """Every part of a row with random weights."""
    import torch

    from kineograph.weights.files import skeleton
    from kineograph.weights.layouts import configs_of

    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for kind, config in configs_of(spec).items():
        module = skeleton("dit" if kind == "low_dit" else kind, config, "cpu")
        with torch.no_grad():
            for parameter in module.parameters():
                std = 0.3 if kind == "vae" else 0.2  # clips of contrast, which differ
                parameter.normal_(std=std, generator=generator)
        modules[kind] = module
    return modules


def write_original(folder, spec, modules):
    """Write our modules as the original repositories lay their files out."""
    import torch

    from kineograph.weights.files import save_tensors
    from kineograph.weights.keymaps import IMAGE_TO_WAN, rename, vae_to_wan

    folder.mkdir()
    experts = {"dit": ""}
    if spec.boundary:
        experts = {"dit": "high_noise_model", "low_dit": "low_noise_model"}
    for kind, name in experts.items():
        (folder / name).mkdir(exist_ok=True)
        path = folder / name / "diffusion_pytorch_model.safetensors"
        save_tensors(path, modules[kind].state_dict(), {"format": "pt"})
    vae = rename(modules["vae"].state_dict(), vae_to_wan(spec.vae))
    name = "Wan2.2_VAE.pth" if spec.vae.residual else PICKLES["vae"]
    torch.save(vae, folder / name)
    torch.save(modules["text"].state_dict(), folder / PICKLES["text"])
    if spec.image:
        clip = rename(modules["image"].state_dict(), IMAGE_TO_WAN)
        last = f"visual.transformer.{spec.image.num_layers}.mlp.0.bias"
        clip |= {"log_scale": torch.zeros(()), "textual.norm.weight": torch.zeros(3)}
        clip |= {"visual.head": torch.zeros(2, 2), last: torch.zeros(4)}
        torch.save(clip, folder / PICKLES["image"])
    _write_tokenizer(folder / "google" / "umt5-xxl")


def write_diffusers(folder, spec, modules):
    """Write our modules as diffusers lays its files out, each transformer in two shards."""
    from kineograph.weights.files import save_tensors
    from kineograph.weights.keymaps import new_name
    from kineograph.weights.layouts import FOLDERS
    from kineograph.weights.wan import _piece, table_of

    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    for kind, module in modules.items():
        table, _ = table_of(module.config, "diffusers")
        state = {}
        for name, weight in module.state_dict().items():
            piece = _piece(new_name(name, table))
            state |= dict(zip(piece, weight.chunk(len(piece)), strict=True))
        part = folder / FOLDERS[kind]
        part.mkdir()
        if "dit" not in kind:
            save_tensors(part / "model.safetensors", state, {"format": "pt"})
            continue
        index = {}
        for i in range(2):
            name = f"diffusion_pytorch_model-{i + 1:05}-of-00002.safetensors"
            shard = {key: state[key] for key in sorted(state)[i::2]}
            save_tensors(part / name, shard, {"format": "pt"})
            index |= dict.fromkeys(shard, name)
        told = json.dumps({"metadata": {}, "weight_map": index})
        (part / "diffusion_pytorch_model.safetensors.index.json").write_text(told)
    _write_tokenizer(folder / "tokenizer")


def _write_tokenizer(folder):
    from kineograph.weights.folder import package_folder

    folder.mkdir(parents=True)
    words = (package_folder() / "tiny" / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(words)


if __name__ == "__main__":
    from huggingface_hub import constants

    from kineograph import cli

    constants.DOWNLOAD_CHUNK_SIZE = 4096
    scale_table()
    sys.argv[0] = "kineo"
    cli.entry()
