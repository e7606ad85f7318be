"""`kineo accounts` and `kineo keys`: who may use a service, and what for."""

from __future__ import annotations

import argparse
import time

from kineograph.errors import KineographError
from kineograph.serve import access, ledger
from kineograph.serve.operate import show
from kineograph.serve.operate.place import changing, reading
from kineograph.serve.settings import MICRO

DAY = 86_400.0


def create(args: argparse.Namespace) -> None:
    """Make an account."""
    with changing(args, make=True) as (connection, settings):
        row = access.create_account(
            connection, args.name, args.tier, settings, time.time(), credits=args.credits,
            note=args.note,
        )  # fmt: skip
    if args.json:
        show.as_json(_account(dict(row)))
        return
    show.line(row["id"])


def _account(row: dict[str, object]) -> dict[str, object]:
    return row | {"balance": int(str(row["balance"])) / MICRO}


def listing(args: argparse.Namespace) -> None:
    """List accounts, the newest first."""
    with reading(args) as (connection, _):
        rows = access.list_accounts(connection, limit=args.limit)
    if args.json:
        show.as_json([_account(dict(row)) for row in rows])
        return
    show.table(
        ("id", "name", "tier", "#credits", "made (UTC)", "disabled (UTC)"),
        ([r["id"], r["name"], r["tier"], r["balance"] / MICRO, show.when(r["created_at"]),
          show.when(r["disabled_at"])] for r in rows),
        empty="there are no accounts",
    )  # fmt: skip


def tier(args: argparse.Namespace) -> None:
    """Give an account another tier."""
    with changing(args) as (connection, settings):
        access.set_tier(connection, args.account, args.tier, settings)
    show.line(f"{args.account} is of the tier {args.tier}; what waits stays where it stands")


def credits(args: argparse.Namespace) -> None:
    """Give an account credits, or take some."""
    with changing(args) as (connection, _):
        balance = ledger.grant(
            connection, args.account, args.amount, now=time.time(), note=args.note
        )
    show.line(f"{args.account} has {balance / MICRO:.6f} credits")


def disable(args: argparse.Namespace) -> None:
    """Refuse all keys of an account."""
    with changing(args) as (connection, _):
        access.disable_account(connection, args.account, time.time())
    show.line(f"{args.account} is disabled: its keys are refused")


def enable(args: argparse.Namespace) -> None:
    """Take the keys of an account again."""
    with changing(args) as (connection, _):
        access.disable_account(connection, args.account, None)
    show.line(f"{args.account} is enabled")


def entries(args: argparse.Namespace) -> None:
    """List what changed an account's credits, the newest first."""
    with reading(args) as (connection, _):
        account = access.get_account(connection, args.account)
        rows = ledger.entries(connection, account["id"], limit=args.limit)
    if args.json:
        show.as_json(rows)
        return
    show.table(
        ("#entry", "kind", "#credits", "#balance", "video", "time (UTC)", "note"),
        ([r["id"], r["kind"], int(str(r["amount"])) / MICRO, int(str(r["balance"])) / MICRO,
          r["video_id"], show.when(float(str(r["created_at"]))), r["note"]] for r in rows),
        empty="there are no entries",
    )  # fmt: skip


def audit(args: argparse.Namespace) -> None:
    """Compare each balance with the sum of its entries.

    Raises:
        KineographError: one differs.
    """
    with reading(args) as (connection, _):
        wrong = ledger.audit(connection)
    for text in wrong:
        show.line(text)
    if wrong:
        raise KineographError(f"{len(wrong)} balances are not the sums of their entries")
    show.line("every balance is the sum of its entries")


def create_key(args: argparse.Namespace) -> None:
    """Make a key and show its token, this once."""
    scopes = [word.strip() for word in args.scopes.split(",") if word.strip()]
    now = time.time()
    ends = None if args.days is None else now + args.days * DAY
    with changing(args) as (connection, settings):
        new = access.create_key(
            connection, args.account, args.name, settings, now,
            scopes=scopes, expires_at=ends, signing=args.signing,
        )  # fmt: skip
    if args.json:
        told = {"id": new.id, "name": new.name, "scopes": new.scopes, "token": new.token,
                "expires_at": new.expires_at}  # fmt: skip
        show.as_json(told | ({"secret_key": new.secret} if args.signing else {}))
        return
    show.line(new.token)
    if args.signing:
        show.note(f"for signed tokens: access key {new.id}, secret key {new.secret}")
    show.note("it is shown this once and stored nowhere")


def list_keys(args: argparse.Namespace) -> None:
    """List the keys of an account, the newest first."""
    with reading(args) as (connection, _):
        access.get_account(connection, args.account)
        rows = access.list_keys(connection, args.account)
    if args.json:
        show.as_json(rows)
        return
    show.table(
        ("id", "name", "scopes", "made (UTC)", "used (UTC)", "ends (UTC)", "revoked (UTC)"),
        ([r["id"], r["name"], " ".join(r["scopes"]), *(show.when(r[n]) for n in (
            "created_at", "used_at", "expires_at", "revoked_at"))] for r in rows),
        empty=f"{args.account} has no keys",
    )  # fmt: skip


def revoke_key(args: argparse.Namespace) -> None:
    """Revoke a key of anybody's, for good."""
    with changing(args) as (connection, _):
        access.revoke_key(connection, None, args.id, time.time())
    show.line(f"key {args.id} is revoked")
