"""Write docs/cli.md from the parsers of the command: `python docs/build_cli.py`.

A test fails when the page is not what this script would write.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from kineograph.cli import build_parser

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# The command `kineo`

Written by `python docs/build_cli.py` from the command itself; edit the help there.

A command that is refused says why in one line, names what is allowed, and ends with
status 2; one that is interrupted ends with 130 and says how to go on with it.
"""


def page() -> str:
    """Return the whole page as Markdown."""
    return "\n".join([HEAD, *(section(parser) for parser in leaves(build_parser()))])


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of the commands that do something, in the order of the help."""
    choices = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not choices:
        yield parser
    for group in choices:
        for child in group.values():
            yield from leaves(child)


def section(parser: argparse.ArgumentParser) -> str:
    """Return the section of one command: its sentence and a table of its arguments."""
    lines = [f"## `{parser.prog}`", "", parser.description or "", ""]
    actions = [a for a in parser._actions if a.dest != "help"]
    if actions:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| {_name(action)} | {_meaning(action)} |" for action in actions]
        lines.append("")
    return "\n".join(lines)


def _name(action: argparse.Action) -> str:
    choices = None if action.choices is None else "\\|".join(map(str, action.choices))
    value = action.metavar or choices
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    return names if action.nargs == 0 else f"{names} `{value}`"


def _meaning(action: argparse.Action) -> str:
    notes = []
    if not action.option_strings and action.choices is not None:
        notes.append(", ".join(action.choices))
    if action.required and action.option_strings:
        notes.append("required")
    if action.default is not None and action.default is not False:
        notes.append(f"default {action.default}")
    return (action.help or "").replace("|", "\\|") + (f" ({'; '.join(notes)})" if notes else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
