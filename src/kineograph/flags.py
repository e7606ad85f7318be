"""The flags of every command, as data for argparse; what they do is in cli.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from kineograph.presets import DEFAULT_MODEL
from kineograph.request import GenerationRequest, kind_of, option_of
from kineograph.runtime.options import ATTENTION, GUIDANCE_BATCH, STRATEGIES, WEIGHTS
from kineograph.spec import ASPECT_RATIOS
from kineograph.weights.hub import LAYOUTS

# Those of train/stages.py.
STAGES = (
    "clips", "vae", "tokenizer", "text", "latents", "dit", "fewstep", "upsampler", "interpolator",
)  # fmt: skip


# Of a request's fields, those whose flags have other names than they.
NAMES = {
    "prompt": ["prompt"],
    "output": ["-o", "--output"],
    "keyframes": ["--keyframe"],
    "references": ["--reference"],
}


def add_generate(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo generate`."""
    for field in fields(GenerationRequest):
        option = option_of(field)
        flag = "--" + field.name.replace("_", "-")
        names = NAMES.get(field.name, [flag])
        kind = kind_of(field)
        settings: dict[str, Any] = {"type": kind, "metavar": option.metavar}
        if kind is bool:
            settings = {"action": "store_true", "default": None}
        elif kind is tuple:
            settings = {"action": "append", "dest": field.name, "metavar": option.metavar}
        elif field.name == "prompt":
            settings["nargs"] = "?"
        parser.add_argument(*names, help=option.help, **settings)
    parser.add_argument(
        "--from",
        dest="sidecar",
        type=Path,
        metavar="OUT.json",
        help="make a recorded clip again from its sidecar, frame for frame; flags given beside "
        "it overrule it; written beside it as NAME-again",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with this command where it was interrupted"
    )
    parser.add_argument(
        "--preview", action="store_true", help="show frames in the terminal where it can"
    )
    parser.add_argument(
        "--threads", type=at_least(1), metavar="N", help="CPU threads to use (default: all cores)"
    )
    _add_device(parser)
    parser.add_argument(
        "--fit",
        choices=STRATEGIES,
        help="how much of the model is on the device at a time: all of it (resident), one part "
        "(stages), one block (stream), and the VAE in tiles besides (tiles); default: by `kineo "
        "plan`; where memory runs out the next one is taken up by itself",
    )
    parser.add_argument(
        "--attention",
        choices=ATTENTION,
        default="sdpa",
        help="kernel of attention: torch's own (sdpa), or of a library that is installed",
    )
    _add_weights(parser)
    parser.add_argument(
        "--compile",
        dest="compiled",
        action="store_true",
        help="compile the transformer's blocks first: pays for long runs",
    )
    _add_guidance_batch(parser)
    parser.add_argument(
        "--shard",
        action="store_true",
        help="under torchrun: each process holds a part of the transformer's weights",
    )


def add_download(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo download`."""
    parser.add_argument(
        "model", metavar="MODEL", help="name of a model of open weights, or OWNER/NAME on the hub"
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="of its files, for the name of a model (default original)"
    )
    parser.add_argument(
        "--revision", metavar="R", help="branch, tag or commit (default main)"
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="folder for the files (default: the hub's cache)"
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo plan`."""
    names = ("model", "aspect_ratio", "resolution", "duration", "num_frames", "steps",
             "guidance_scale", "solver", "image", "last_image")  # fmt: skip
    for field in fields(GenerationRequest):
        if field.name in names:
            option = option_of(field)
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(
                flag, type=kind_of(field), metavar=option.metavar, help=option.help
            )
    _add_device(parser)
    parser.add_argument(
        "--memory", type=above_zero, metavar="GB", help="plan for a GPU with so much free memory"
    )
    parser.add_argument(
        "--rate",
        type=above_zero,
        metavar="TFLOPS",
        help="matrix products a second to reckon with, in 10^12 operations (default: measured)",
    )
    parser.add_argument(
        "--fit", choices=STRATEGIES, help="how much of the model shall be on the device at a time"
    )
    _add_weights(parser)
    _add_guidance_batch(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def _add_guidance_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--guidance-batch",
        choices=GUIDANCE_BATCH,
        default="auto",
        help="both sides of guidance in one call: where it pays on a GPU and memory allows (auto), "
        "always, or never; frames may differ in a few bits",
    )


def _add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        help="round the matrices of the text encoder and the transformers to 8 bits (torchao): "
        "half the memory, a little less exact",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda or cuda:N (default: a GPU where there is one)"
    )


def above_zero(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; a number above 0 is")
    return value


def add_world_sample(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo world sample`."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    _add_draws(parser, count=8)


def add_world_sheet(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo world sheet`."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.png", help="picture to write"
    )
    _add_draws(parser, count=24)


def _add_draws(parser: argparse.ArgumentParser, count: int) -> None:
    parser.add_argument(
        "--count", type=at_least(1), default=count, metavar="N", help="number of scenes"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="seed of the first scene"
    )
    parser.add_argument(
        "--aspect-ratio", choices=ASPECT_RATIOS, default="1:1", help="width to height"
    )
    _add_compile(parser)


def _add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--compile",
        dest="compiled",
        action="store_true",
        help="compile the renderer first: pays for many clips, needs a C++ compiler",
    )


def add_world_suite(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo world suite`."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--world", type=int, choices=(1, 2), default=1, help="which world's suites (default 1)"
    )
    _add_suite(parser)
    parser.add_argument(
        "--prompts", type=at_least(1), metavar="N", help="prompts a suite (default: all)"
    )
    parser.add_argument(
        "--size",
        type=at_least(1),
        default=512,
        metavar="PIXELS",
        help="side of the first frames, a multiple of 64 up to 1024",
    )


def add_world_gallery(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo world gallery`."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--scenes", type=at_least(1), default=12, metavar="N", help="scenes drawn at random"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="seed of them")
    _add_size(parser, 192)
    _add_compile(parser)


def add_world_shards(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo world shards`."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--clips", type=at_least(1), required=True, metavar="N", help="clips in all"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="seed of the first clip"
    )
    parser.add_argument(
        "--clips-per-shard", type=at_least(1), default=256, metavar="N", help="clips of one shard"
    )
    parser.add_argument(
        "--worker", type=at_least(0), default=0, metavar="K", help="which worker this is, from 0"
    )
    parser.add_argument("--workers", type=at_least(1), default=1, metavar="N", help="of how many")
    parser.add_argument(
        "--held-out", action="store_true", help="draw combinations that training must not see too"
    )
    _add_size(parser, 128)
    _add_compile(parser)


def _add_size(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--size", type=at_least(16), default=default, metavar="PIXELS",
        help="side of a square frame, a multiple of 16; others have its area",
    )  # fmt: skip


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo train`."""
    parser.add_argument("kind", choices=STAGES, help="stage to run, in this order")
    parser.add_argument("recipe", type=Path, metavar="RECIPE.py", help="recipe, a Python file")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUNDIR/KIND",
        help="folder of the stage's checkpoints and plots; earlier stages are looked for beside it",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint, if there is one"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to train"
    )
    parser.add_argument(
        "--minutes",
        type=at_least(1),
        metavar="N",
        help="stop after so long, with a checkpoint and exit status 130",
    )


def add_assemble(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo assemble`."""
    parser.add_argument(
        "run_folder",
        type=Path,
        metavar="RUNDIR",
        help="folder of the stages, or of a model that is to be written in other bits",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )
    parser.add_argument(
        "--bits", type=int, choices=(8, 16), default=16,
        help="of a weight: 16 (bfloat16), or 8 with a scale for each row (default 16)",
    )  # fmt: skip


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `kineo evaluate`."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"name of the model; see `kineo models` (default {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--videos",
        type=Path,
        metavar="FOLDER",
        help="in the place of a model's clips, videos named by the ids of their prompts: "
        "ID.mp4, .webm, .mov, .mkv or .gif",
    )
    _add_suite(parser)
    parser.add_argument(
        "--prompts",
        metavar="N/FILE",
        help="prompts a suite (default: all); with --videos the file of their prompts, which "
        "`kineo world suite` writes",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the report"
    )


def _add_suite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", metavar="NAME", help="suite of prompts (default: all)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the flag of a model's name."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="name of the model; see `kineo models`",
    )


def at_least(low: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` on; it raises `ArgumentTypeError`."""
    def number(text: str) -> int:
        value = int(text) if text.strip().isdecimal() else low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {low} or more")
        return value

    return number
