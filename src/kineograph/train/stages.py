"""The stages that make a model, by the names the command line gives them.

A run folder holds one folder a stage; a stage finds what it needs of the earlier ones beside
its own: `RUN/vae`, `RUN/tokenizer`, `RUN/text`, `RUN/latents`, `RUN/dit`, and so on.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kineograph.errors import RequestError
from kineograph.media.files import atomic_write, write_json
from kineograph.spec import VaeConfig
from kineograph.train.engine import Task, say_line, train
from kineograph.train.plots import plot_log
from kineograph.train.recipe import (
    DiTRecipe,
    LatentRecipe,
    TextRecipe,
    TokenizerRecipe,
    UpsamplerRecipe,
    VaeRecipe,
    load_recipe,
)
from kineograph.weights.files import RESERVED, load_weights, save_weights
from kineograph.world.render import CPU


@dataclass(frozen=True)
class How:
    """How a stage is run, which changes nothing of what it makes but the last bits."""

    resume: bool = False
    device: torch.device = CPU
    seconds: float = math.inf  # after so many it stops, as if interrupted


def _train(task: Task, out: Path, how: How) -> bool:
    return train(task, out, resume=how.resume, seconds=how.seconds)


def _need(path: Path, stage: str) -> Path:
    if not path.exists():
        raise RequestError(f"{path} is missing; run the {stage} stage first")
    return path


def run_vae(recipe: Path, out: Path, how: How) -> bool:
    """Train the VAE, from nothing or from the weights of the stage that its recipe names."""
    from kineograph.train.vae import VaeTask

    loaded: VaeRecipe = load_recipe(recipe, VaeRecipe)
    first = loaded.begin_with
    begin = _need(out.parent / first / "vae.safetensors", first) if first else None
    return _train(VaeTask(loaded, how.device, begin), out, how)


def run_tokenizer(recipe: Path, out: Path, how: How) -> bool:
    """Learn the tokenizer; a second run writes the same file again."""
    from kineograph.train.tokens import learn_tokenizer

    out.mkdir(parents=True, exist_ok=True)
    learn_tokenizer(load_recipe(recipe, TokenizerRecipe), out / "tokenizer.json")
    return True


def run_text(recipe: Path, out: Path, how: How) -> bool:
    """Train the text encoder."""
    from kineograph.train.text import TextTask

    tokenizer = _need(out.parent / "tokenizer" / "tokenizer.json", "tokenizer")
    return _train(TextTask(load_recipe(recipe, TextRecipe), tokenizer, how.device), out, how)


def run_latents(recipe: Path, out: Path, how: How) -> bool:
    """Render and encode the training clips; goes on by itself where it stopped."""
    from kineograph.train.latents import write_latents

    vae = _need(out.parent / "vae" / "vae.safetensors", "vae")
    return write_latents(load_recipe(recipe, LatentRecipe), vae, out, how.device, how.seconds)


def run_dit(recipe: Path, out: Path, how: How) -> bool:
    """Train the transformer."""
    from kineograph.train.dit import DiTTask

    run = out.parent
    task = DiTTask(
        load_recipe(recipe, DiTRecipe),
        _need(run / "latents", "latents"),
        _need(run / "vae" / "vae.safetensors", "vae"),
        _need(run / "tokenizer" / "tokenizer.json", "tokenizer"),
        _need(run / "text" / "text.safetensors", "text"),
        how.device,
    )
    return _train(task, out, how)


def run_upsampler(recipe: Path, out: Path, how: How) -> bool:
    """Train the upsampler."""
    from kineograph.train.upsampler import UpsamplerTask

    vae = _need(out.parent / "vae" / "vae.safetensors", "vae")
    task = UpsamplerTask(load_recipe(recipe, UpsamplerRecipe), vae, how.device)
    return _train(task, out, how)


STAGES = {
    "vae": run_vae,
    "tokenizer": run_tokenizer,
    "text": run_text,
    "latents": run_latents,
    "dit": run_dit,
    "upsampler": run_upsampler,
}


def run_stage(kind: str, recipe: Path, out: Path, how: How) -> None:
    """Run a stage to its end and plot its log.

    Raises `KeyboardInterrupt` where a signal or its time stopped it, with its state on disk, so
    that whoever called ends as interrupted; `RequestError` for an unknown stage, one whose turn
    has not come, or a device that is not there.
    """
    if kind not in STAGES:
        raise RequestError(f"unknown stage {kind!r}; allowed: {', '.join(STAGES)}")
    if how.device.type == "cuda" and not torch.cuda.is_available():
        raise RequestError("device 'cuda' is not there; allowed: cpu")
    finished = STAGES[kind](recipe, out, how)
    if (out / "log.jsonl").exists():
        plot_log(out / "log.jsonl", out / "log.png")
    if not finished:
        raise KeyboardInterrupt
    say_line(f"{kind}: finished")


def assemble(run: Path, folder: Path) -> None:
    """Collect the finished weights of a run into a model folder.

    Raises `RequestError` naming the first file that is missing, before anything is written.
    """
    sources = [run / name / f"{name}.safetensors" for name in ("dit", "text", "upsampler")]
    sources += [run / "tokenizer" / "tokenizer.json", run / "tokenizer" / "words.json"]
    vae = run / "vae" / "vae.safetensors"
    statistics = run / "latents" / "statistics.json"
    for source in (*sources, vae, statistics):
        _need(source, source.parent.name)
    model = json.loads(_need(run / "dit" / "recipe.json", "dit").read_text())["model"]
    config, tensors, header = load_weights(vae, "vae")
    metadata = {key: value for key, value in header.items() if key not in RESERVED}
    assert isinstance(config, VaeConfig)
    numbers = json.loads(statistics.read_text())
    config = replace(
        config, latents_mean=tuple(numbers["mean"]), latents_std=tuple(numbers["std"])
    )
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        with atomic_write(folder / source.name) as file:
            file.write(source.read_bytes())
    save_weights(folder / vae.name, tensors, config, metadata, torch.bfloat16)
    write_json(folder / "model.json", {"preset": model})
