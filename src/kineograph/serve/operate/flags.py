"""The flags of the operator's commands. Nothing else is imported before one of them is chosen."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import inf
from typing import Any

STATES = ("queued", "running", "paused", "completed", "failed", "cancelled")
Add = Callable[[Any, str, str, Any], argparse.ArgumentParser]


@dataclass(frozen=True)
class Runs:
    """A command's function, which is imported when the command is run."""

    module: str
    name: str

    def __call__(self, args: argparse.Namespace) -> None:
        getattr(import_module(f"kineograph.serve.operate.{self.module}"), self.name)(args)


@dataclass(frozen=True)
class Group:
    """The commands of one word, such as `kineo queue`."""

    commands: Any  # the subparsers
    add: Add
    store: Callable[[argparse.ArgumentParser], None]
    module: str

    def command(self, name: str, help: str, function: str) -> argparse.ArgumentParser:
        parser = self.add(self.commands, name, help, Runs(self.module, function))
        self.store(parser)
        return parser


def add_all(commands: Any, add: Add, store: Callable[[argparse.ArgumentParser], None]) -> None:  # noqa: ANN401 - argparse's
    """Add every command; `add` makes a parser, and `store` gives it what names the database."""

    def group(name: str, help: str, module: str) -> Group:
        parser = add(commands, name, help, None)
        return Group(parser.add_subparsers(required=True, metavar="WHAT"), add, store, module)

    _queue(group("queue", "see the queue of a service and change it", "queue"))
    machines = Group(commands, add, store, "machines")
    _json(machines.command("workers", "list the workers of a service", "workers"))
    _accounts(group("accounts", "make accounts; give tiers and credits", "people"))
    _keys(group("keys", "make and revoke API keys", "people"))
    _invite(group("invite", "make codes that open accounts", "entry"))
    _applications(group("applications", "decide about the waiting list", "entry"))
    _webhooks(group("webhooks", "see what is sent to webhooks, and send it again", "machines"))


def _json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


def _limit(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--limit", type=_whole, default=100, metavar="N", help=f"{what} that are listed at most"
    )


def _id(parser: argparse.ArgumentParser, of: str, name: str = "id") -> None:
    parser.add_argument(name, metavar=name.upper(), help=f"id of {of}")


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not allowed; 1 to 1000000 is")
    return int(text)


def _above(text: str) -> float:
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not allowed; a number above 0 is")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = inf
    if not abs(value) <= 1e9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not allowed; -1e9 to 1e9 is")
    return value


def _queue(group: Group) -> None:
    sub = _json(group.command("list", "list what waits, runs or is over", "listing"))
    sub.add_argument("--state", choices=STATES, help="of one state; default: all in hand")
    sub.add_argument("--account", metavar="ID", help="of one account")
    _limit(sub, "videos")
    _id(_json(group.command("show", "show all that is known of a video", "one")), "a video")
    _id(group.command("retry", "let a failed video wait again, at its price", "retry"), "a video")
    _id(group.command("cancel", "cancel a video of anybody's", "cancel"), "a video")
    sub = group.command("move", "move a waiting video in the queue", "move")
    _id(sub, "the video")
    where = sub.add_mutually_exclusive_group(required=True)
    where.add_argument("--before", metavar="ID", help="to right before another one")
    where.add_argument("--last", action="store_true", help="behind all others")
    where.add_argument("--first", action="store_true", help="before all others")
    group.command("hold", "let no video be begun; what runs goes on", "hold")
    group.command("release", "let videos be begun again", "release")
    sub = group.command("drain", "hold the queue and wait until nothing runs", "drain")
    sub.add_argument(
        "--timeout", type=_above, metavar="SECONDS", help="give up after so long, with status 1"
    )
    sub = _json(group.command("eta", "say how far off the foretold ends were", "eta"))
    sub.add_argument(
        "--days", type=_above, default=1.0, metavar="N", help="of videos finished in so many days"
    )


def _account(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _id(parser, "an account", "account")
    return parser


def _note(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--note", default="", metavar="TEXT", help="kept with it, for operators")


def _accounts(group: Group) -> None:
    sub = _json(group.command("create", "make an account", "create"))
    sub.add_argument("name", metavar="NAME", help="what it is called")
    sub.add_argument("--tier", default="free", help="its tier, of those in the settings")
    sub.add_argument("--credits", type=_number, default=0.0, metavar="N", help="to begin with")
    _note(sub)
    sub = _json(group.command("list", "list accounts, the newest first", "listing"))
    _limit(sub, "accounts")
    sub = _account(group.command("tier", "give an account another tier", "tier"))
    sub.add_argument("tier", metavar="TIER", help="one of those in the settings")
    sub = _account(group.command("credits", "give an account credits, or take some", "credits"))
    sub.add_argument("amount", type=_number, metavar="N", help="credits; below 0: taken")
    _note(sub)
    _account(group.command("disable", "refuse all keys of an account", "disable"))
    _account(group.command("enable", "take the keys of an account again", "enable"))
    sub = _json(group.command("ledger", "list what changed an account's credits", "entries"))
    _account(sub)
    _limit(sub, "entries")
    group.command("audit", "compare every balance with the sum of its entries", "audit")


def _keys(group: Group) -> None:
    sub = _json(group.command("create", "make a key and show its token, once", "create_key"))
    _account(sub)
    sub.add_argument("--name", default="key", help="what it is called")
    sub.add_argument(
        "--scopes", default="videos:write,videos:read,account", metavar="WORDS",
        help="what it is for, with commas between: videos:write, videos:read, account, admin",
    )  # fmt: skip
    sub.add_argument(
        "--days", type=_above, metavar="N", help="after which it ends; none: it does not"
    )
    sub.add_argument(
        "--signing", action="store_true", help="take signed tokens too, as Kling's clients send"
    )
    _account(_json(group.command("list", "list the keys of an account", "list_keys")))
    _id(group.command("revoke", "revoke a key for good", "revoke_key"), "a key")


def _worth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tier", default="free", help="of the account, of those in the settings")
    parser.add_argument(
        "--credits", type=_number, metavar="N", help="for each; none: as `invited_credits` says"
    )
    parser.add_argument("--days", type=_above, metavar="N", help="for which a code is good")


def _invite(group: Group) -> None:
    sub = _json(group.command("create", "make a code and show it, once", "create"))
    _worth(sub)
    sub.add_argument("--uses", type=_whole, default=1, metavar="N", help="accounts that it opens")
    _note(sub)
    _json(group.command("list", "list the codes, by ids that open nothing", "listing"))
    _id(group.command("revoke", "let a code be used no more", "revoke"), "a code, as listed")


def _applications(group: Group) -> None:
    sub = _json(group.command("list", "list who applied, the first at the top", "applications"))
    states = ("waiting", "admitted", "declined", "all")
    sub.add_argument("--state", choices=states, default="waiting", help="what became of them")
    _limit(sub, "applications")
    sub = _json(group.command("admit", "give some of the waiting list a code each", "admit"))
    sub.add_argument("ids", nargs="*", metavar="ID", help="ids of applications")
    sub.add_argument("--next", type=_whole, metavar="N", help="the first N of the list instead")
    _worth(sub)
    _id(group.command("decline", "take somebody off the waiting list", "decline"),
        "an application")  # fmt: skip


def _webhooks(group: Group) -> None:
    sub = _json(group.command("list", "list what is sent, the newest first", "sent"))
    sub.add_argument("--account", metavar="ID", help="of one account")
    sub.add_argument("--video", metavar="ID", help="of one video")
    _limit(sub, "announcements")
    _id(group.command("replay", "send a delivery again, or all those of a video", "replay"),
        "a delivery or of a video")  # fmt: skip
