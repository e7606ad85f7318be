"""`kineo invite` and `kineo applications`: how people come in."""

from __future__ import annotations

import argparse
import time

from kineograph.errors import RequestError
from kineograph.serve import invitations
from kineograph.serve.operate import show
from kineograph.serve.operate.place import changing, reading

DAY = 86_400.0


def _ends(args: argparse.Namespace, now: float) -> float | None:
    return None if args.days is None else now + args.days * DAY


def create(args: argparse.Namespace) -> None:
    """Make an invitation and show its code, this once."""
    now = time.time()
    with changing(args, make=True) as (connection, settings):
        code = invitations.create_invitation(
            connection, settings, now, tier=args.tier, credits=args.credits, uses=args.uses,
            expires_at=_ends(args, now), note=args.note,
        )  # fmt: skip
    if args.json:
        show.as_json({"code": code, "tier": args.tier, "uses": args.uses,
                      "expires_at": _ends(args, now)})  # fmt: skip
        return
    show.line(code)
    show.note("it is shown this once and stored nowhere")


def listing(args: argparse.Namespace) -> None:
    """List invitations, the newest first."""
    with reading(args) as (connection, _):
        rows = invitations.list_invitations(connection)
    if args.json:
        show.as_json(rows)
        return
    show.table(
        ("id", "tier", "#credits", "#uses left", "made (UTC)", "ends (UTC)", "note"),
        ([r["id"], r["tier"], r["credits"], r["left"], show.when(r["created_at"]),
          show.when(r["expires_at"]), r["note"]] for r in rows),
        empty="there are no invitations",
    )  # fmt: skip


def revoke(args: argparse.Namespace) -> None:
    """Let an invitation be used no more."""
    with changing(args) as (connection, _):
        invitations.revoke_invitation(connection, args.id)
    show.line(f"invitation {args.id} is revoked")


def applications(args: argparse.Namespace) -> None:
    """List the applications of a state, the oldest first."""
    state = None if args.state == "all" else args.state
    with reading(args) as (connection, _):
        rows = invitations.list_applications(connection, state=state, limit=args.limit)
    if args.json:
        show.as_json(rows)
        return
    show.table(
        ("id", "contact", "state", "sent (UTC)", "decided (UTC)", "note"),
        ([r["id"], r["contact"], r["state"], show.when(r["created_at"]),
          show.when(r["decided_at"]), r["note"]] for r in rows),
        empty="no application is there" if state is None else f"no application is {state}",
    )  # fmt: skip


def admit(args: argparse.Namespace) -> None:
    """Admit people of the waiting list; each gets a code, shown this once.

    Raises:
        RequestError: neither ids nor a number are given, or both.
    """
    if bool(args.ids) == (args.next is not None):
        raise RequestError("name the ids of applications, or --next N for the first N; one of them")
    now = time.time()
    with changing(args) as (connection, settings):
        found = invitations.admit(
            connection, args.ids or args.next, settings, now, tier=args.tier,
            credits=args.credits, expires_at=_ends(args, now),
        )  # fmt: skip
    if args.json:
        show.as_json([
            {"id": one.application_id, "contact": one.contact, "code": one.code} for one in found
        ])  # fmt: skip
        return
    show.table(
        ("id", "contact", "code"),
        ([one.application_id, one.contact, one.code] for one in found),
        empty="nobody waits",
    )
    if found:
        show.note("tell each their code: the service sends no mail and stores no codes")


def decline(args: argparse.Namespace) -> None:
    """Take somebody off the waiting list for good."""
    with changing(args) as (connection, _):
        invitations.decline(connection, args.id, time.time())
    show.line(f"application {args.id} is declined")
