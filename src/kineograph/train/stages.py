"""The stages that make a model, by the names the command line gives them.

A run folder holds one folder a stage; a stage finds what it needs of the earlier ones beside
its own: `RUN/vae`, `RUN/tokenizer`, `RUN/text`, `RUN/latents`, `RUN/dit`, and so on.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kineograph.errors import RequestError
from kineograph.media.files import atomic_write, write_json
from kineograph.spec import VaeConfig
from kineograph.train.engine import Task, say_line, train
from kineograph.train.plots import plot_log
from kineograph.train.recipe import (
    ClipRecipe,
    DiTRecipe,
    FewStepRecipe,
    InterpolatorRecipe,
    LatentRecipe,
    TextRecipe,
    TokenizerRecipe,
    UpsamplerRecipe,
    VaeRecipe,
    load_recipe,
)
from kineograph.weights.files import RESERVED, load_weights, save_weights
from kineograph.weights.folder import WEIGHTS, locate
from kineograph.world.render import CPU

FEW_STEPS = 6  # of a model that has learnt to take few, unless more are asked for


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


def run_clips(recipe: Path, out: Path, how: How) -> bool:
    """Render the clips that a VAE draws from; goes on by itself where it stopped."""
    from kineograph.train.pool import write_clips

    return write_clips(load_recipe(recipe, ClipRecipe), out, how.seconds)


def run_vae(recipe: Path, out: Path, how: How) -> bool:
    """Train the VAE, from nothing or from the weights of the stage or model of its recipe."""
    from kineograph.train.vae import VaeTask

    loaded: VaeRecipe = load_recipe(recipe, VaeRecipe)
    kind, _, model = loaded.begin_with.partition(":")
    begin = None
    if kind == "model" and model:
        begin = locate(model) / WEIGHTS["vae"]
    elif loaded.begin_with:
        begin = _need(out.parent / kind / "vae.safetensors", kind)
    clips = _need(out.parent / "clips", "clips") if loaded.pool else None
    return _train(VaeTask(loaded, how.device, begin, clips), out, how)


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
    """Train the transformer, from nothing or from that of the stage of its recipe."""
    from kineograph.train.dit import DiTTask

    run, loaded = out.parent, load_recipe(recipe, DiTRecipe)
    begin = loaded.begin_with
    task = DiTTask(
        loaded,
        _need(run / "latents", "latents"),
        _need(run / "vae" / "vae.safetensors", "vae"),
        _need(run / "tokenizer" / "tokenizer.json", "tokenizer"),
        _need(run / "text" / "text.safetensors", "text"),
        how.device,
        _need(run / begin / "dit.safetensors", begin) if begin else None,
    )
    return _train(task, out, how)


def run_fewstep(recipe: Path, out: Path, how: How) -> bool:
    """Teach the transformer to take long steps."""
    from kineograph.train.fewstep import FewStepTask

    run, loaded = out.parent, load_recipe(recipe, FewStepRecipe)
    task = FewStepTask(
        loaded,
        _need(run / "latents", "latents"),
        _need(run / "vae" / "vae.safetensors", "vae"),
        _need(run / "tokenizer" / "tokenizer.json", "tokenizer"),
        _need(run / "text" / "text.safetensors", "text"),
        _need(run / loaded.begin_with / "dit.safetensors", loaded.begin_with),
        how.device,
    )
    return _train(task, out, how)


def run_upsampler(recipe: Path, out: Path, how: How) -> bool:
    """Train the upsampler."""
    from kineograph.train.upsampler import UpsamplerTask

    vae = _need(out.parent / "vae" / "vae.safetensors", "vae")
    task = UpsamplerTask(load_recipe(recipe, UpsamplerRecipe), vae, how.device)
    return _train(task, out, how)


def run_interpolator(recipe: Path, out: Path, how: How) -> bool:
    """Train the interpolator."""
    from kineograph.train.interpolator import InterpolatorTask

    vae = _need(out.parent / "vae" / "vae.safetensors", "vae")
    task = InterpolatorTask(load_recipe(recipe, InterpolatorRecipe), vae, how.device)
    return _train(task, out, how)


STAGES = {
    "clips": run_clips,
    "vae": run_vae,
    "tokenizer": run_tokenizer,
    "text": run_text,
    "latents": run_latents,
    "dit": run_dit,
    "fewstep": run_fewstep,
    "upsampler": run_upsampler,
    "interpolator": run_interpolator,
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


def _repack(model: Path, folder: Path, dtype: torch.dtype) -> None:
    """Write a model folder again, its matrices rounded to `dtype`."""
    if folder.resolve() == model.resolve():
        raise RequestError(f"{model} is the model itself; name another folder to write")
    folder.mkdir(parents=True, exist_ok=True)
    for kind, name in WEIGHTS.items():
        if (model / name).exists():
            config, tensors, header = load_weights(model / name, kind)
            metadata = {key: value for key, value in header.items() if key not in RESERVED}
            save_weights(folder / name, tensors, config, metadata, dtype)
    for source in sorted(model.glob("*.json")):
        with atomic_write(folder / source.name) as file:
            file.write(source.read_bytes())


def assemble(run: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Collect the finished weights of a run into a model folder, matrices rounded to `dtype`.

    A transformer that has learnt to take few steps goes before the one that it learnt from. A run
    without upsampler or interpolator makes a model without them. A model folder may be given for
    a run: the same model is then written in `dtype`.

    Raises `RequestError` naming the first file that is missing, before anything is written.
    """
    if (run / "model.json").exists():
        _repack(run, folder, dtype)
        return
    few = run / "fewstep" / "dit.safetensors"
    if few.parent.exists() and not few.exists():
        say_line(f"{few.parent} has not finished: the transformer of all steps is taken")
    weights = {
        "vae": run / "vae" / "vae.safetensors",
        "dit": few if few.exists() else run / "dit" / "dit.safetensors",
        "text": run / "text" / "text.safetensors",
    }
    for name in ("upsampler", "interpolator"):
        if (run / name).exists():
            weights[name] = run / name / f"{name}.safetensors"
    words = [run / "tokenizer" / "tokenizer.json", run / "tokenizer" / "words.json"]
    statistics = run / "latents" / "statistics.json"
    recipe = weights["dit"].parent / "recipe.json"
    for source in (*weights.values(), *words, statistics, recipe):
        _need(source, source.parent.name)
    made = json.loads(recipe.read_text())
    told: dict[str, Any] = {"preset": made["model"]}
    if few.exists():
        told["defaults"] = {"steps": FEW_STEPS, "guidance_scale": 1.0, "solver": "euler"}
    numbers = json.loads(statistics.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for kind, source in weights.items():
        config, tensors, header = load_weights(source, kind)
        if isinstance(config, VaeConfig):
            mean, std = tuple(numbers["mean"]), tuple(numbers["std"])
            config = replace(config, latents_mean=mean, latents_std=std)
        metadata = {key: value for key, value in header.items() if key not in RESERVED}
        save_weights(folder / WEIGHTS[kind], tensors, config, metadata, dtype)
    for source in words:
        with atomic_write(folder / source.name) as file:
            file.write(source.read_bytes())
    write_json(folder / "model.json", told)
