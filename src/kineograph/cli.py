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
from typing import Any, NoReturn

from kineograph import __version__, flags
from kineograph.errors import KineographError, RequestError, WeightsError
from kineograph.presets import DEFAULT_MODEL
from kineograph.progress import progress, say
from kineograph.request import GenerationRequest, changed
from kineograph.runtime.options import RunOptions
from kineograph.serve import flags as serve_flags
from kineograph.serve.operate import flags as operate_flags
from kineograph.sidecar import read_sidecar, request_from_sidecar

# Which extra brings what may be missing; everything else is the service's.
EXTRAS = {"pyarrow": "data", "matplotlib": "train", "torchao": "quant"}


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
    flags.add_generate(_command(commands, "generate", "make a video from a sentence", generate))

    flags.add_plan(
        _command(commands, "plan", "say what a clip will cost: time and memory", plan)
    )
    sub = _command(commands, "models", "list the models: sizes, licence, weights", models)
    sub.add_argument("--json", action="store_true", help="print the list as JSON")
    flags.add_download(
        _command(commands, "download", "fetch the weights of a model from the hub", download)
    )

    world = _command(commands, "world", "draw from the procedural world", None)
    what = world.add_subparsers(required=True, metavar="WHAT")
    sub = _command(what, "sample", "write clips, captions and the truth of scenes", world_sample)
    flags.add_world_sample(sub)
    flags.add_world_sheet(_command(what, "sheet", "write a contact sheet of scenes", world_sheet))
    sub = _command(what, "suite", "write prompts and first frames to test any model", world_suite)
    flags.add_world_suite(sub)
    sub = _command(what, "gallery", "write a page of films of the world", world_gallery)
    flags.add_world_gallery(sub)
    sub = _command(what, "shards", "write a data set of clips, sound and truth", world_shards)
    flags.add_world_shards(sub)

    flags.add_train(_command(commands, "train", "run one stage of training by its recipe", train))
    flags.add_assemble(
        _command(commands, "assemble", "collect a finished run into a model folder", assemble)
    )
    flags.add_evaluate(
        _command(commands, "evaluate", "measure a model, or anybody's videos", evaluate)
    )

    sub = _command(commands, "export", "write a model for another library", export)
    sub.add_argument("--format", required=True, choices=["diffusers"], help="layout to write")
    flags.add_model(sub)
    sub.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write"
    )

    serve_flags.add_serve(
        _command(commands, "serve", "run the service: API, queue and workers", serve)
    )
    serve_flags.add_worker(
        _command(commands, "worker", "run one more worker of a service", worker)
    )
    operate_flags.add_all(commands, _command, serve_flags.add_store)
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


def generate(args: argparse.Namespace) -> None:
    """Make a video from a sentence."""
    names = [field.name for field in fields(GenerationRequest)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
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
        artifacts = run(
            request, resume=args.resume, preview=args.preview, options=_options(args),
            on_event=on_event,
        )  # fmt: skip
    for artifact in artifacts:
        print(artifact.path)
        say(", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in artifact.timings.items()))
        if args.sidecar is not None and _weights(args.sidecar) != _weights(artifact.sidecar):
            say(f"warning: the weights are not those of {args.sidecar}; the frames differ")


def plan(args: argparse.Namespace) -> None:
    """Say what a clip will cost: time and memory."""
    from kineograph.produce import plan_for
    from kineograph.runtime.plan import as_dict, as_text

    names = {field.name for field in fields(GenerationRequest)}
    given = {k: v for k, v in vars(args).items() if k in names and v is not None}
    made = plan_for(
        GenerationRequest("what it is of does not matter", **given),
        options=_options(args),
        memory=None if args.memory is None else round(args.memory * 1e9),
        rate=None if args.rate is None else args.rate * 1e12,
    )
    if args.json:
        print(json.dumps(as_dict(made), indent=2))
        return
    from kineograph.tables import show_plan

    show_plan(made)
    print(as_text(made))


def _options(args: argparse.Namespace) -> RunOptions:
    """Return how a request is to be run, of the flags that a command has."""
    given = {f.name: getattr(args, f.name) for f in fields(RunOptions) if hasattr(args, f.name)}
    return RunOptions(**given | {"device": _device(args.device)})


def _device(name: str | None) -> str | None:
    """Return the name of a device; a `RequestError` if it is none or not there."""
    if name is None or name == "cpu":
        return name
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise RequestError(f"device {name!r} is not allowed; cpu, cuda or cuda:N is") from None
    count = torch.cuda.device_count()
    if device.type != "cuda" or (device.index or 0) >= count:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
        raise RequestError(f"device {name!r} is not here; there is {there}")
    return name


def _weights(sidecar: Path) -> dict[str, str]:
    return read_sidecar(sidecar).weights


def models(args: argparse.Namespace) -> None:
    """List the models: sizes, licence, weights."""
    from kineograph.tables import model_row, show_models
    from kineograph.weights.folder import inventory

    rows = [model_row(entry) for entry in inventory()]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    show_models(rows)


def download(args: argparse.Namespace) -> None:
    """Fetch the weights of a model from the hub."""
    from kineograph.weights.fetching import download as fetch

    with progress() as on_event:
        folder = fetch(
            args.model, layout=args.layout, revision=args.revision, to=args.to, on_event=on_event
        )
    print(folder)


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


def world_suite(args: argparse.Namespace) -> None:
    """Write prompts and first frames to test any model."""
    from kineograph.evaluate.prompts import write_suite
    from kineograph.evaluate.v2.prompts import write_suite as write_suite_v2
    from kineograph.produce import Event

    write: Callable[..., Path] = write_suite if args.world == 1 else write_suite_v2
    with progress() as on_event:
        path = write(
            args.out,
            args.suite,
            args.prompts,
            side=args.size,
            on_progress=lambda done, total: on_event(Event("first frames", done, total)),
        )
    print(path)


def world_gallery(args: argparse.Namespace) -> None:
    """Write a page of films of the world."""
    from kineograph.produce import Event
    from kineograph.world.v2.gallery import write_gallery

    with progress() as on_event:
        write_gallery(
            args.out,
            scenes=args.scenes,
            seed=args.seed,
            side=args.size,
            compiled=args.compiled,
            on_progress=lambda done, total: on_event(Event("films", done, total)),
        )
    print(args.out / "index.html")


def world_shards(args: argparse.Namespace) -> None:
    """Write a data set of clips, sound and truth."""
    from kineograph.produce import Event
    from kineograph.world.shards import write_shards
    from kineograph.world.v2.clips import generator

    with progress() as on_event:
        write_shards(
            args.out,
            generator(args.size, compiled=args.compiled, train=not args.held_out),
            clips=args.clips,
            seed=args.seed,
            clips_per_shard=args.clips_per_shard,
            worker=args.worker,
            workers=args.workers,
            on_progress=lambda found: on_event(Event("clips", found.done, found.total)),
        )
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
    import torch

    from kineograph.train.stages import assemble as collect

    collect(args.run_folder, args.output, torch.int8 if args.bits == 8 else torch.bfloat16)
    print(args.output)


def evaluate(args: argparse.Namespace) -> None:
    """Measure a model, or anybody's videos."""
    if args.videos is None:
        count = _number_of_prompts(args.prompts)
        from kineograph.evaluate.run import main as evaluate_main

        model = args.model or DEFAULT_MODEL
        evaluate_main(model=model, suite=args.suite, prompts=count, out=args.out)
        return
    if args.model is not None:
        raise RequestError("--videos and --model exclude each other: one of them makes the clips")
    if args.prompts is None:
        raise RequestError(
            "--videos needs --prompts FILE, what they show; `kineo world suite` writes it"
        )
    from kineograph.evaluate.prompts import version_of
    from kineograph.evaluate.run import score
    from kineograph.evaluate.v2.run import score as score_v2

    path = Path(args.prompts)
    judge: Callable[..., Any] = score if version_of(path) == 1 else score_v2
    judge(videos=args.videos, prompts=path, suite=args.suite, out=args.out)


def _number_of_prompts(text: str | None) -> int | None:
    try:
        return None if text is None else flags.at_least(1)(text)
    except argparse.ArgumentTypeError as error:
        raise RequestError(f"--prompts {error}; a file goes with --videos") from None


def export(args: argparse.Namespace) -> None:
    """Write a model for another library."""
    from kineograph.weights.export import export_diffusers

    export_diffusers(args.model, args.output)
    print(args.output)


def serve(args: argparse.Namespace) -> None:
    """Run the service: API, queue and workers."""
    from kineograph.serve.commands import serve as run

    run(args)


def worker(args: argparse.Namespace) -> None:
    """Run one more worker of a service."""
    from kineograph.serve.commands import worker as run

    run(args)


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
        extra = EXTRAS.get((error.name or "").split(".")[0], "serve")
        return _fail(f"needs {error.name}: pip install 'kineograph[{extra}]'", 1)
    return 0


def _fail(message: str, status: int) -> int:
    say("error: " + " ".join(message.split()))
    return status


def _how_to_go_on(args: argparse.Namespace | None, words: list[str]) -> str:
    if args is not None and args.command == "download":
        return f"interrupted; go on with: {shlex.join(['kineo', *words])}"
    if not hasattr(args, "resume"):
        return "interrupted"
    words = [word for word in words if word != "--resume"]
    return f"interrupted; go on with: {shlex.join(['kineo', words[0], '--resume', *words[1:]])}"


def entry() -> NoReturn:
    """Run the command of this process; a polite kill ends it as Ctrl-C does, cleaning up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
