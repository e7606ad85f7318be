"""The command `kineo`: one function a command, lazy imports, no logic.

Nothing heavy is imported before a command is chosen, so that `kineo --help` and
every refusal answer at once.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kineograph import __version__
from kineograph.errors import KineographError, RequestError, WeightsError
from kineograph.presets import DEFAULT_MODEL
from kineograph.progress import progress, say
from kineograph.request import GenerationRequest, changed, kind_of, option_of
from kineograph.sidecar import read_sidecar, request_from_sidecar
from kineograph.spec import ASPECT_RATIOS

if TYPE_CHECKING:
    from kineograph.weights.folder import Entry

STAGES = ("vae", "tokenizer", "text", "latents", "dit", "upsampler")  # those of train/stages.py


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line and never guesses at a shortened flag."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - handed to argparse as they are
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"kineo: error: {message} (see `{self.prog} --help`)\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; docs/cli.md is written from it."""
    parser = Parser(prog="kineo", description="Text in, video out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_generate(_command(commands, "generate", "make a video from a sentence", generate))

    sub = _command(commands, "models", "list the models: sizes, licence, weights", models)
    sub.add_argument("--json", action="store_true", help="print the list as JSON")

    world = _command(commands, "world", "draw from the procedural world", None)
    _add_world(world.add_subparsers(required=True, metavar="WHAT"))

    _add_train(_command(commands, "train", "run one stage of training by its recipe", train))
    _add_assemble(
        _command(commands, "assemble", "collect a finished run into a model folder", assemble)
    )
    _add_evaluate(_command(commands, "evaluate", "measure a model against its world", evaluate))

    sub = _command(commands, "export", "write a model for another library", export)
    sub.add_argument("--format", required=True, choices=["diffusers"], help="layout to write")
    _add_model(sub)
    sub.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )

    _command(commands, "version", "print the version", version)
    return parser


def _command(
    commands: Any,  # noqa: ANN401 - argparse keeps the class of its subparsers private
    name: str,
    help: str,
    run: Callable[[argparse.Namespace], None] | None,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}."
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    for field in fields(GenerationRequest):
        option = option_of(field)
        flag = "--" + field.name.replace("_", "-")
        names = {"prompt": ["prompt"], "output": ["-o", flag]}.get(field.name, [flag])
        settings: dict[str, Any] = {"nargs": "?"} if field.name == "prompt" else {}
        parser.add_argument(
            *names, type=kind_of(field), metavar=option.metavar, help=option.help, **settings
        )
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
        "--threads", type=_at_least(1), metavar="N", help="CPU threads to use (default: all cores)"
    )


def _add_world(what: Any) -> None:  # noqa: ANN401 - as in `_command`
    sample = _command(what, "sample", "write clips, captions and the truth of scenes", world_sample)
    sheet = _command(what, "sheet", "write a contact sheet of scenes", world_sheet)
    sample.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    sheet.add_argument(
        "--out", type=Path, required=True, metavar="FILE.png", help="picture to write"
    )
    for parser, count in ((sample, 8), (sheet, 24)):
        parser.add_argument(
            "--count", type=_at_least(1), default=count, metavar="N", help="number of scenes"
        )
        parser.add_argument(
            "--seed", type=_at_least(0), default=0, metavar="N", help="seed of the first scene"
        )
        parser.add_argument(
            "--aspect-ratio", choices=ASPECT_RATIOS, default="1:1", help="width to height"
        )
        parser.add_argument(
            "--compile",
            dest="compiled",
            action="store_true",
            help="compile the renderer first: pays for many clips, needs a C++ compiler",
        )


def _add_train(parser: argparse.ArgumentParser) -> None:
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
        type=_at_least(1),
        metavar="N",
        help="stop after so long, with a checkpoint and exit status 130",
    )


def _add_assemble(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUNDIR", help="folder of the stages")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--suite", metavar="NAME", help="suite of prompts (default: all)")
    parser.add_argument(
        "--prompts", type=_at_least(1), metavar="N", help="prompts a suite (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the report"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="name of the model; see `kineo models`",
    )


def _at_least(low: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text) if text.strip().isdecimal() else low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {low} or more")
        return value

    return number


def generate(args: argparse.Namespace) -> None:
    """Make a video from a sentence."""
    names = [field.name for field in fields(GenerationRequest)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.sidecar is not None:
        request = changed(request_from_sidecar(args.sidecar), given)
    elif args.prompt is None:
        raise RequestError("the prompt is missing; say in words what the video shows")
    else:
        request = GenerationRequest(**given)
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    from kineograph.produce import run

    with progress() as on_event:
        artifacts = run(request, resume=args.resume, preview=args.preview, on_event=on_event)
    for artifact in artifacts:
        print(artifact.path)
        say(", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in artifact.timings.items()))
        if args.sidecar is not None and _weights(args.sidecar) != _weights(artifact.sidecar):
            say(f"warning: the weights are not those of {args.sidecar}; the frames differ")


def _weights(sidecar: Path) -> dict[str, str]:
    return read_sidecar(sidecar).weights


def models(args: argparse.Namespace) -> None:
    """List the models: sizes, licence, weights."""
    from kineograph.weights.folder import inventory

    rows = [_model_row(entry) for entry in inventory()]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "parameters", "on disk", "length", "size", "licence", "weights")
    for row in rows:
        name, here = row["name"], row["here"]
        table.add_row(
            f"{name} (default)" if name == DEFAULT_MODEL else name,
            f"{row['parameters'] / 1e6:.1f} M" if here else "-",
            f"{row['bytes'] / 1e6:.1f} MB" if here else "-",
            f"{row['durations'][0]:g} to {row['durations'][-1]:g} s",
            next(f"{size} at {ratio}" for ratio, size in row["sizes"].items()),
            row["licence"],
            "here" if here else f"not here: {row['source']}",
        )
    Console().print(table)


def _model_row(entry: Entry) -> dict[str, Any]:
    spec = entry.spec
    return {
        "name": spec.name,
        "summary": spec.summary,
        "parameters": entry.parameters,
        "bytes": entry.bytes,
        "fps": spec.fps,
        "num_frames": spec.allowed_frames(),
        "durations": [frames / spec.fps for frames in spec.allowed_frames()],
        "sizes": {ratio: f"{s.out_width}x{s.out_height}" for ratio, s in spec.sizes.items()},
        "languages": list(spec.languages),
        "licence": spec.licence,
        "source": spec.source,
        "here": entry.folder is not None,
    }


def world_sample(args: argparse.Namespace) -> None:
    """Write clips, captions and the truth of scenes."""
    from kineograph.world.sample import write_samples

    write_samples(args.out, **_drawn(args))
    print(args.out)


def world_sheet(args: argparse.Namespace) -> None:
    """Write a contact sheet of scenes."""
    from kineograph.world.sample import write_sheet

    write_sheet(args.out, **_drawn(args))
    print(args.out)


def _drawn(args: argparse.Namespace) -> dict[str, Any]:
    names = ("count", "seed", "aspect_ratio", "compiled")
    return {name: getattr(args, name) for name in names}


def train(args: argparse.Namespace) -> None:
    """Run one stage of training by its recipe."""
    from kineograph.train import main as train_main

    train_main(
        args.kind, args.recipe, args.out,
        resume=args.resume, device=args.device, minutes=args.minutes,
    )  # fmt: skip


def assemble(args: argparse.Namespace) -> None:
    """Collect a finished run into a model folder."""
    from kineograph.train.stages import assemble as collect

    collect(args.run_folder, args.output)
    print(args.output)


def evaluate(args: argparse.Namespace) -> None:
    """Measure a model against its world."""
    from kineograph.evaluate.run import main as evaluate_main

    evaluate_main(model=args.model, suite=args.suite, prompts=args.prompts, out=args.out)


def export(args: argparse.Namespace) -> None:
    """Write a model for another library."""
    from kineograph.weights.export import export_diffusers

    export_diffusers(args.model, args.output)
    print(args.output)


def version(args: argparse.Namespace) -> None:
    """Print the version."""
    print(__version__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for what the user can mend, 130, or 1."""
    words = list(sys.argv[1:] if argv is None else argv)
    args: argparse.Namespace | None = None
    try:
        args = build_parser().parse_args(words)
        args.run(args)
    except SystemExit as stop:  # argparse has said all there is to say
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        say(_how_to_go_on(args, words))
        return 130
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _fail(f"{where}{error.strerror or error}", 2)
    except (RequestError, WeightsError) as error:
        return _fail(str(error), 2)
    except KineographError as error:
        return _fail(str(error), 1)
    except ModuleNotFoundError as error:
        if (error.name or "kineograph").split(".")[0] == "kineograph":
            raise
        return _fail(f"needs {error.name}: pip install 'kineograph[train]'", 1)
    return 0


def _fail(message: str, status: int) -> int:
    say("error: " + " ".join(message.split()))
    return status


def _how_to_go_on(args: argparse.Namespace | None, words: list[str]) -> str:
    if not hasattr(args, "resume"):
        return "interrupted"
    words = [word for word in words if word != "--resume"]
    return f"interrupted; go on with: {shlex.join(['kineo', words[0], '--resume', *words[1:]])}"


def entry() -> NoReturn:
    """Run the command of this process; a polite kill ends it as Ctrl-C does, cleaning up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
